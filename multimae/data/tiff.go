package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"io"
	"math"
	"slices"

	"golang.org/x/image/tiff"

	"github.com/gomae/gomae/internal/imagehead"
	"github.com/gomae/gomae/multimae"
)

// The tags of a TIFF directory that golang.org/x/image/tiff looks at, and two that it does not.
const (
	tiffWidth, tiffHeight             = 256, 257
	tiffBits, tiffCompression         = 258, 259
	tiffPhotometric, tiffFillOrder    = 262, 266
	tiffStripOffsets, tiffSamples     = 273, 277
	tiffRowsPerStrip, tiffStripCounts = 278, 279
	tiffPlanar                        = 284
	tiffT4, tiffT6, tiffPredictor     = 292, 293, 317
	tiffColours                       = 320
	tiffTileWidth, tiffTileHeight     = 322, 323
	tiffTileOffsets, tiffTileCounts   = 324, 325
	tiffExtra, tiffSampleFormat       = 338, 339
)

// tiffDirectory is the first directory of a TIFF file.
type tiffDirectory struct {
	order  binary.ByteOrder
	values map[int][]uint32
}

// parseTIFF reads the first directory of a TIFF file. The arrays of all tags together are no larger
// than the file: several could share their bytes.
func parseTIFF(b []byte) (*tiffDirectory, error) {
	d := &tiffDirectory{order: binary.LittleEndian, values: map[int][]uint32{}}
	if b[0] == 'M' {
		d.order = binary.BigEndian
	}
	if len(b) < 8 {
		return nil, io.ErrUnexpectedEOF
	}
	at := uint64(d.order.Uint32(b[4:]))
	if at+2 > uint64(len(b)) {
		return nil, io.ErrUnexpectedEOF
	}
	n := uint64(d.order.Uint16(b[at:]))
	if at+2+12*n > uint64(len(b)) {
		return nil, io.ErrUnexpectedEOF
	}
	total := uint64(0)
	for e := b[at+2:][:12*n]; len(e) > 0; e = e[12:] {
		tag, kind, count := int(d.order.Uint16(e)), d.order.Uint16(e[2:]), uint64(d.order.Uint32(e[4:]))
		switch tag {
		case tiffWidth, tiffHeight, tiffBits, tiffCompression, tiffPhotometric, tiffFillOrder, tiffStripOffsets, tiffSamples, tiffRowsPerStrip,
			tiffStripCounts, tiffPlanar, tiffT4, tiffT6, tiffPredictor, tiffColours, tiffTileWidth, tiffTileHeight, tiffTileOffsets, tiffTileCounts,
			tiffExtra, tiffSampleFormat:
		default:
			continue
		}
		size := map[uint16]uint64{1: 1, 3: 2, 4: 4}[kind]
		if size == 0 {
			return nil, tiff.UnsupportedError(fmt.Sprintf("tag %d of type %d", tag, kind))
		}
		if d.values[tag] != nil {
			return nil, tiff.FormatError(fmt.Sprintf("tag %d is there twice", tag))
		}
		raw := e[8:]
		if total += size * count; total > uint64(len(b)) {
			return nil, tiff.FormatError("its tags are larger than the file")
		}
		if size*count > 4 {
			from := uint64(d.order.Uint32(raw))
			if from+size*count > uint64(len(b)) {
				return nil, io.ErrUnexpectedEOF
			}
			raw = b[from:]
		}
		v := make([]uint32, count)
		for i := range v {
			switch kind {
			case 1:
				v[i] = uint32(raw[i])
			case 3:
				v[i] = uint32(d.order.Uint16(raw[2*i:]))
			default:
				v[i] = d.order.Uint32(raw[4*i:])
			}
		}
		d.values[tag] = v
	}
	return d, nil
}

// first returns the first value of a tag, or otherwise.
func (d *tiffDirectory) first(tag int, otherwise int64) int64 {
	if v := d.values[tag]; len(v) > 0 {
		return int64(v[0])
	}
	return otherwise
}

// padded reports whether the last tile of a row reaches beyond the picture. Of most types the decoder
// takes what lies there for the beginning of the next row.
func (d *tiffDirectory) padded() bool {
	side := d.first(tiffTileWidth, 0)
	return side > 0 && d.first(tiffWidth, 0)%side != 0
}

var errTIFF = errors.New("its blocks do not fit its size")

// blocks checks the strips or tiles of a w×h picture, size bytes a pixel, in a file of n bytes, and
// returns how many bytes the largest takes in memory while it is decoded.
func (d *tiffDirectory) blocks(w, h, size, n int64, b []byte) (int64, error) {
	bw, bh := w, min(d.first(tiffRowsPerStrip, h), h)
	offsets, counts := d.values[tiffStripOffsets], d.values[tiffStripCounts]
	if d.first(tiffTileWidth, 0) > 0 {
		bw, bh = d.first(tiffTileWidth, 0), d.first(tiffTileHeight, 0)
		offsets, counts = d.values[tiffTileOffsets], d.values[tiffTileCounts]
		// Tiles are no larger than what they cover, up to their padding.
		if bw < 8 || bh < 8 || bw > max(2*w, w+1024) || bh > max(2*h, h+1024) {
			return 0, errTIFF
		}
	}
	if bw < 1 || bh < 1 {
		return 0, errTIFF
	}
	blocks := ((w + bw - 1) / bw) * ((h + bh - 1) / bh)
	if int64(len(offsets)) < blocks || int64(len(counts)) < blocks {
		return 0, errTIFF
	}
	compression := d.first(tiffCompression, 1)
	total, most, bytes := int64(0), int64(0), bw*bh*size
	for i := range blocks {
		at, c := int64(offsets[i]), int64(counts[i])
		if at+c > n {
			return 0, io.ErrUnexpectedEOF
		}
		// Blocks that share their bytes would take any time.
		if total += c; total > n {
			return 0, errTIFF
		}
		if compression == 32773 {
			most = max(most, packBits(b[at:][:c]))
		}
	}
	switch compression {
	case 1, 0:
		return 0, nil // blocks are parts of the file
	case 32773:
		if most > 2*bytes+1024 {
			return 0, errTIFF
		}
		return 4 * most, nil
	}
	return 4 * 8 * bw * bh, nil // as much as a buffer grows to hold eight bytes a pixel
}

// packBits returns how many bytes a block unfolds to.
func packBits(b []byte) (n int64) {
	for i := 0; i < len(b); {
		switch c := int8(b[i]); {
		case c >= 0:
			n += int64(c) + 1
			i += int(c) + 2
		case c == math.MinInt8:
			i++
		default:
			n += 1 - int64(c)
			i += 2
		}
	}
	return n
}

// headTIFF reads the head of a TIFF file.
func headTIFF(b []byte, m *multimae.Input) (*head, *Problem) {
	d, err := parseTIFF(b)
	if err != nil {
		return nil, undecodable(b, err)
	}
	h := &head{
		format: "tiff", w: int(d.first(tiffWidth, 0)), h: int(d.first(tiffHeight, 0)), bits: int(d.first(tiffBits, 1)),
		palette: d.first(tiffPhotometric, 0) == 3, grey: d.first(tiffPhotometric, 0) < 2, orientation: imagehead.Orientation(b),
		decode: func() (image.Image, error) { return tiff.Decode(bytes.NewReader(b)) },
	}
	samples := len(d.values[tiffBits])
	for _, v := range d.values[tiffSampleFormat] {
		if v != 1 {
			return nil, problem("", "save depth as .npy or as 16-bit grey TIFF, and colour with 8 bits", "a TIFF of floating-point or signed numbers is not read")
		}
	}
	switch {
	case d.first(tiffPlanar, 1) != 1 && d.first(tiffSamples, 1) > 1:
		return nil, undecodable(b, tiff.UnsupportedError("planes of colour that are stored one after the other"))
	case d.first(tiffPhotometric, 0) == 0 && m.Channels != 3 && m.Channels != 4:
		return nil, undecodable(b, tiff.UnsupportedError("values that grow from white to black"))
	case d.first(tiffFillOrder, 1) != 1 && !slices.Contains([]int64{2, 3, 4}, d.first(tiffCompression, 1)):
		// The decoder follows this order in the compressions of fax alone.
		return nil, undecodable(b, tiff.UnsupportedError("bytes whose lowest bit comes first"))
	case d.padded() && !(h.bits == 16 && samples < 2 || h.bits == 8 && samples > 2):
		return nil, undecodable(b, tiff.UnsupportedError("tiles that reach over its right side, in anything but grey of 16 bits or colour of 8"))
	case h.bits != 1 && h.bits != 8 && h.bits != 16, h.palette && h.bits > 8, samples > 4:
		return nil, undecodable(b, tiff.UnsupportedError(fmt.Sprintf("%d values of %d bits in a pixel", max(1, samples), h.bits)))
	}
	if h.w < 1 || h.h < 1 || h.w > maxPixels/h.h {
		return h, nil
	}
	size := int64(1)
	if !h.grey && !h.palette {
		size = 4
	}
	size *= int64((h.bits + 7) / 8)
	w, height, n := int64(h.w), int64(h.h), int64(len(b))
	block, err := d.blocks(w, height, size, n, b)
	if err != nil {
		return nil, undecodable(b, err)
	}
	stored := (w*int64(h.bits)*int64(max(1, samples)) + 7) / 8 * height
	present := true
	switch d.first(tiffCompression, 1) {
	case 0, 1:
		present = stored <= n
	case 32773:
		present = stored <= 64*n
	case 5, 8, 32946:
		present = stored <= 2048*n // LZW: a code of 12 bits stands for at most 4096 bytes
	}
	h.plan = planPixels(limit(b), h.w, h.h, h.orientation, present, size, w*height*size+block+12*n, m)
	return h, nil
}
