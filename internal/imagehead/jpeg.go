// Package imagehead reads from the heads of picture files what Go's decoders keep to themselves: how
// the picture is to be turned, and what its decoding takes.
package imagehead

import (
	"bytes"
	"encoding/binary"
)

// JPEG is what stands before the first scan of a JPEG file.
type JPEG struct {
	Orientation int // of EXIF, 1 to 8; 1 where there is none
	Progressive bool
	W, H        int
	Uncommon    string   // what image/jpeg does not read, "" if it may read all
	Components  [][2]int // horizontal and vertical sampling factors
	RGB         bool     // by the names of the components
}

// ParseJPEG reads the head of a JPEG file. It reports false for bytes that have no head with a frame
// that image/jpeg reads.
func ParseJPEG(b []byte) (JPEG, bool) {
	h := JPEG{Orientation: 1}
	if !bytes.HasPrefix(b, []byte{0xff, 0xd8}) {
		return h, false
	}
	for b = b[2:]; ; {
		marker, body, rest := segment(b)
		if marker == 0 {
			return h, false
		}
		b = rest
		switch marker {
		case 0xe1:
			if exif, ok := bytes.CutPrefix(body, []byte("Exif\x00\x00")); ok && h.Orientation == 1 {
				h.Orientation = orientation(exif)
			}
		case 0xc0, 0xc1, 0xc2:
			h.Progressive = marker == 0xc2
			if !h.frame(body) {
				return h, false
			}
		case 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf:
			h.Uncommon = "a lossless or hierarchical JPEG"
			if marker >= 0xc9 {
				h.Uncommon = "a JPEG with arithmetic coding"
			}
			return h, false
		case 0xda:
			return h, h.Components != nil
		}
	}
}

// Scans returns the number of scans of a JPEG file, and whether a segment of Adobe's, which may stand
// behind them, says that three components are RGB. Bytes behind its end do not count, such as the film
// that a phone appends.
func Scans(b []byte) (n int, rgb bool) {
	for b = bytes.TrimPrefix(b, []byte{0xff, 0xd8}); ; {
		marker, body, rest := segment(b)
		switch marker {
		case 0:
			return n, rgb
		case 0xee:
			rgb = rgb || len(body) >= 12 && bytes.HasPrefix(body, []byte("Adobe")) && body[11] == 0
		case 0xda:
			n++
		}
		b = rest // where the data of a scan are passed over as bytes of no segment
	}
}

// segment returns the marker and the body of the first segment of b, and what follows it. The marker
// is 0 where the picture ends or b is no JPEG any more.
func segment(b []byte) (marker byte, body, rest []byte) {
	for {
		// Like image/jpeg, pass over bytes that belong to no segment, and over fill bytes.
		i := bytes.IndexByte(b, 0xff)
		if i < 0 {
			return 0, nil, nil
		}
		for b = b[i:]; len(b) > 0 && b[0] == 0xff; {
			b = b[1:]
		}
		if len(b) == 0 {
			return 0, nil, nil
		}
		marker, b = b[0], b[1:]
		switch {
		case marker == 0, marker >= 0xd0 && marker <= 0xd7: // a stuffed 0xff, or a restart: no length
			continue
		case marker == 0xd9, len(b) < 2:
			return 0, nil, nil
		}
		n := int(binary.BigEndian.Uint16(b))
		if n < 2 || n > len(b) {
			return 0, nil, nil
		}
		return marker, b[2:n], b[n:]
	}
}

func (h *JPEG) frame(body []byte) bool {
	if h.Components != nil || len(body) < 6 || len(body) != 6+3*int(body[5]) {
		return false
	}
	h.H, h.W = int(binary.BigEndian.Uint16(body[1:])), int(binary.BigEndian.Uint16(body[3:]))
	for c := body[6:]; len(c) > 0; c = c[3:] {
		across, down := int(c[1]>>4), int(c[1]&15)
		if across < 1 || across > 4 || down < 1 || down > 4 {
			return false
		}
		h.Components = append(h.Components, [2]int{across, down})
	}
	h.RGB = len(h.Components) == 3 && body[6] == 'R' && body[9] == 'G' && body[12] == 'B'
	return len(h.Components) > 0
}

// Blocks returns the number of blocks of 8×8 samples of all components.
func (h *JPEG) Blocks() int64 {
	if len(h.Components) == 1 {
		return int64((h.W+7)/8) * int64((h.H+7)/8)
	}
	across, down, each := 1, 1, 0
	for _, c := range h.Components {
		across, down, each = max(across, c[0]), max(down, c[1]), each+c[0]*c[1]
	}
	ceil := func(n, size int) int64 { return int64((n + size - 1) / size) }
	return ceil(h.W, 8*across) * ceil(h.H, 8*down) * int64(each)
}
