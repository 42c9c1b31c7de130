package data

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // decoder
	_ "image/png"  // decoder
	"io"

	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
)

const (
	maxPixels    = 64_000_000 // of one image: far more than any training set has, far less than memory holds
	maxFileBytes = 1 << 30
)

// ReadImage reads the PNG or JPEG file of one modality, in the form that images.From takes: a class
// map must be a PNG of 8 bits, depth a PNG of 16.
//
// Errors are of type *Problem, except those of opening and reading the file. Images of more than 64
// megapixels are refused before they are decoded.
func ReadImage(path string, m multimae.Input) (*Map, error) {
	f, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out, prob := decode(b, &m)
	if prob != nil {
		prob.File = path
		return nil, prob
	}
	return out, nil
}

// decode does what ReadImage does for the bytes of a file. The Problem has no File.
func decode(b []byte, m *multimae.Input) (*Map, *Problem) {
	bad := func(remedy, format string, args ...any) (*Map, *Problem) {
		return nil, problem("", remedy, format, args...)
	}
	if len(b) == 0 {
		return bad("write the file again", "empty file")
	}
	if len(b) > maxFileBytes {
		return bad("store a smaller image", "more than %d bytes", maxFileBytes)
	}
	undecodable := func(err error) (*Map, *Problem) {
		switch {
		case errors.Is(err, image.ErrFormat):
			return bad("convert it to PNG or JPEG", "neither a PNG nor a JPEG image")
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), !hasEnd(b):
			return bad("write the file again", "truncated image")
		}
		return bad("write the file again", "damaged image (%v)", err)
	}
	conf, format, err := image.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return undecodable(err)
	}
	// Division, because the product of a forged header may overflow.
	if conf.Width < 1 || conf.Height < 1 || conf.Width > maxPixels/conf.Height {
		return bad("store a smaller image", "%d×%d pixels, outside 1..%d million", conf.Width, conf.Height, maxPixels/1_000_000)
	}
	bits := 8
	if format == "png" {
		bits = int(pngHeader(b).bits)
	}
	// The header alone decides the following, without the cost of decoding.
	if m.Kind == multimae.KindClasses {
		const remedy = "store class ids as an 8-bit grey PNG"
		if format != "png" {
			return bad(remedy, "a class map as %s, whose compression changes ids", format)
		}
		switch h := pngHeader(b); {
		case h.color == pngPalette, h.color == pngGrey && bits == 8:
		case h.color == pngGrey:
			return bad(remedy, "a class map with %d bits a pixel, expected 8", bits)
		default:
			return bad(remedy, "a class map in colour, expected grey ids")
		}
	} else if m.Channels == 1 {
		standardize := m.Normalization() == "standardize"
		grey := conf.ColorModel == color.GrayModel || conf.ColorModel == color.Gray16Model
		switch {
		case standardize && (format != "png" || bits != 16 && grey):
			return bad("store it as a 16-bit grey PNG, value = depth·65536/range", "%d-bit %s, expected 16-bit PNG", bits, format)
		case !grey:
			return bad("store it as a grey PNG", "a colour image, expected one channel")
		}
	}
	img, _, err := image.Decode(bytes.NewReader(b))
	if err != nil {
		return undecodable(err)
	}
	// A JPEG may have several frame headers, so the size of the decoded image counts.
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	if w != conf.Width || h != conf.Height {
		return bad("write the file again", "damaged image (its header says %d×%d, its data %d×%d)", conf.Width, conf.Height, w, h)
	}
	out, err := images.From(img, m)
	if p := new(Problem); errors.As(err, &p) {
		return nil, p
	}
	return out, nil
}

// hasEnd reports whether b has the mark that ends a PNG or JPEG. Decoders notice a missing end in
// many places and give it as many names.
func hasEnd(b []byte) bool {
	return bytes.Contains(b, []byte("IEND")) || bytes.HasPrefix(b, []byte{0xff, 0xd8}) && bytes.Contains(b, []byte{0xff, 0xd9})
}

// PNG colour types.
const (
	pngGrey    = 0
	pngPalette = 3
)

type pngIHDR struct{ bits, color byte }

// pngHeader reads bit depth and colour type, which image/png keeps to itself: it widens ids of 1, 2
// or 4 bits to 0..255. IHDR is always the first chunk.
func pngHeader(b []byte) pngIHDR {
	if len(b) < 26 {
		return pngIHDR{}
	}
	return pngIHDR{b[24], b[25]}
}
