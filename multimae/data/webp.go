package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"io"

	"golang.org/x/image/vp8l"
	"golang.org/x/image/webp"

	"github.com/gomae/gomae/internal/imagehead"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
)

var (
	errAnimation = errors.New("an animation, or no picture at all")
	errLossless  = errors.New("a lossless WebP with wrong codes")
	errCanvas    = errors.New("its alpha has another size than its colours")
)

// headWebP reads the head of a WebP file: see
// https://developers.google.com/speed/webp/docs/riff_container.
func headWebP(b []byte, m *multimae.Input) (*head, *Problem) {
	h := &head{format: "webp", bits: 8, orientation: imagehead.Orientation(b)}
	size := uint64(binary.LittleEndian.Uint32(b[4:])) + 8
	if size < 12 || size > uint64(len(b)) {
		return nil, undecodable(b, io.ErrUnexpectedEOF)
	}
	limit := 2 * limit(b)
	var decoded int64
	alpha, first := false, true
	var alphaW, alphaH int // 0 without an ALPH
	for rest := b[12:size]; h.w == 0; {
		if len(rest) < 8 {
			return nil, problem("", "save it as PNG or as an ordinary WebP", "this WebP is not read (%v)", errAnimation)
		}
		name, n := string(rest[:4]), uint64(binary.LittleEndian.Uint32(rest[4:]))
		rest = rest[8:]
		if n > uint64(len(rest)) {
			return nil, undecodable(b, io.ErrUnexpectedEOF)
		}
		body := rest[:n]
		rest = rest[min(n+n%2, uint64(len(rest))):]
		switch {
		case name == "VP8 " && n >= 10:
			h.w, h.h = int(binary.LittleEndian.Uint16(body[6:])&0x3fff), int(binary.LittleEndian.Uint16(body[8:])&0x3fff)
			if alphaW > 0 && (h.w != alphaW || h.h != alphaH) {
				return nil, undecodable(b, errCanvas)
			}
			blocks := int64((h.w+15)/16) * int64((h.h+15)/16)
			decoded += blocks*(16*16*3/2+32) + 2*int64(n)
		case name == "VP8L" && n >= 5:
			bits := binary.LittleEndian.Uint32(body[1:])
			h.w, h.h = int(bits&0x3fff)+1, int(bits>>14&0x3fff)+1
			need, err := losslessMemory(body[5:], h.w, h.h, limit)
			if err != nil {
				return nil, undecodable(b, err)
			}
			decoded += need
			h.decode = func() (image.Image, error) { return vp8l.Decode(bytes.NewReader(body)) }
		case name == "ALPH" && n >= 1 && decoded == 0:
			if !alpha || len(rest) < 18 {
				return nil, undecodable(b, io.ErrUnexpectedEOF)
			}
			canvas := b[20+4:] // in VP8X
			alphaW = 1 + (int(canvas[0]) | int(canvas[1])<<8 | int(canvas[2])<<16)
			alphaH = 1 + (int(canvas[3]) | int(canvas[4])<<8 | int(canvas[5])<<16)
			if alphaW > maxPixels/alphaH {
				return nil, problem("", "store a smaller image", "%d×%d pixels, outside 1..%d million", alphaW, alphaH, maxPixels/1_000_000)
			}
			decoded = int64(alphaW) * int64(alphaH)
			if body[0]&3 == 1 {
				need, err := losslessMemory(body[1:], alphaW, alphaH, limit)
				if err != nil {
					return nil, undecodable(b, err)
				}
				decoded += need
			}
		case name == "VP8X" && n == 10 && first:
			alpha = body[0]&0x10 != 0
		case name == "VP8 ", name == "VP8L", name == "VP8X", name == "ALPH":
			return nil, undecodable(b, io.ErrUnexpectedEOF)
		}
		first = false
	}
	if h.decode == nil {
		h.decode = func() (image.Image, error) { return decodeWebP(b, m) }
	}
	if h.w > 0 && h.h > 0 && h.w <= maxPixels/h.h {
		if m.Channels == 4 { // alpha and colours are put together
			decoded += 4 * int64(h.w) * int64(h.h)
		}
		h.plan = planPixels(limit, h.w, h.h, h.orientation, true, 4, decoded, m)
	}
	return h, nil
}

// decodeWebP decodes a picture for modality m, as one of the types that reduce takes.
func decodeWebP(b []byte, m *multimae.Input) (image.Image, error) {
	img, err := webp.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	images.WidenWebP(img)
	alpha, ok := img.(*image.NYCbCrA)
	if !ok {
		return img, nil
	}
	if m.Channels != 4 {
		return &alpha.YCbCr, nil
	}
	out := image.NewNRGBA(alpha.Rect)
	for y := range alpha.Rect.Dy() {
		for x := range alpha.Rect.Dx() {
			i, j := alpha.YOffset(x, y), alpha.COffset(x, y)
			red, green, blue := color.YCbCrToRGB(alpha.Y[i], alpha.Cb[j], alpha.Cr[j])
			out.SetNRGBA(x, y, color.NRGBA{R: red, G: green, B: blue, A: alpha.A[alpha.AOffset(x, y)]})
		}
	}
	return out, nil
}

// losslessMemory returns what golang.org/x/image/vp8l allocates for a picture of w×h pixels. A few
// bytes may ask for thousands of Huffman trees, so it reads all that stands before the pixels: see
// https://developers.google.com/speed/webp/docs/webp_lossless_bitstream_specification.
func losslessMemory(b []byte, w, h int, limit int64) (int64, error) {
	const (
		group = 5 * (24 + 128*4) // bytes of a group of trees without their nodes
		node  = 8                // of which a tree has less than two for each symbol
	)
	pixels := int64(w) * int64(h)
	memory := 10 * pixels // the pixels twice, and up to three images of a sixteenth
	if memory > limit {
		return memory, nil
	}
	r := &bitReader{b: b}
	tiles := func(n, bits int) int { return (n + 1<<bits - 1) >> bits }
	for n := 0; r.bits(1) == 1; n++ {
		if n == 4 {
			return 0, errLossless
		}
		switch r.bits(2) {
		case 0, 1:
			bits := r.bits(3) + 2
			r.image(tiles(w, bits), tiles(h, bits))
		case 3:
			colours := r.bits(8) + 1
			r.image(colours, 1)
			switch {
			case colours <= 2:
				w = tiles(w, 3)
			case colours <= 4:
				w = tiles(w, 2)
			case colours <= 16:
				w = tiles(w, 1)
			}
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	cache := r.cache()
	groups := int64(1)
	if r.bits(1) == 1 {
		bits := r.bits(3) + 2
		for _, p := range r.image(tiles(w, bits), tiles(h, bits)) {
			groups = max(groups, int64(p>>8&0xffff)+1)
		}
	}
	memory += groups * group
	for range groups {
		if memory > limit {
			break
		}
		for _, symbols := range r.trees(cache) {
			memory += 2*node*int64(symbols.n) + 16*int64(symbols.alphabet)
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	return memory, nil
}
