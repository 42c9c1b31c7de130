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
	"io/fs"
	"os"

	"github.com/gomae/gomae/internal/jpeghead"
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
// A photograph is turned as its EXIF orientation says. Errors are of type *Problem, except those of
// opening and reading the file. Anything but a regular file is refused before it is opened, and
// images of more than 64 megapixels before they are decoded. Decoding takes at most 48 MB of memory
// and 20 times the size of the file, for a JPEG twice that: an image that would take more is refused
// or reduced by a whole number, and so is one of more than 16 megapixels.
func ReadImage(path string, m multimae.Input) (*Map, error) {
	p, err := readPicture(path, &m)
	if err != nil {
		return nil, err
	}
	return p.m, nil
}

// picture is what a file holds.
type picture struct {
	m      *Map
	w, h   int     // of the picture as it is seen, before a reduction
	turned bool    // by its EXIF orientation
	unit   float64 // of depth: the stored value is so many times that of the map
}

func readPicture(path string, m *multimae.Input) (*picture, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if prob := checkFile(path, info.Mode()); prob != nil {
		return nil, prob
	}
	f, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if info.Size() > maxFileBytes {
		return nil, problem(path, "store a smaller image", "more than %d bytes", maxFileBytes)
	}
	b := make([]byte, info.Size())
	n, err := io.ReadFull(f, b)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF { // shorter by now: seen by decode
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	p, prob := decode(b[:n], m)
	if prob != nil {
		prob.File = path
		return nil, prob
	}
	return p, nil
}

// checkFile returns a problem unless mode is that of a regular file. Others may block for ever when
// they are opened, or have no end.
func checkFile(path string, mode fs.FileMode) *Problem {
	if kind := regular.Kind(mode); kind != "" {
		return problem(path, "put an image file in its place, or remove it", "%s, not a file", kind)
	}
	return nil
}

// decode does what ReadImage does for the bytes of a file. The Problem has no File.
func decode(b []byte, m *multimae.Input) (*picture, *Problem) {
	bad := func(remedy, format string, args ...any) (*picture, *Problem) {
		return nil, problem("", remedy, format, args...)
	}
	if len(b) == 0 {
		return bad("write the file again", "empty file")
	}
	undecodable := func(err error) (*picture, *Problem) {
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
	if conf.Width == 1 && conf.Height == 1 {
		return bad("write the file again", "one pixel, which is no picture")
	}
	bits, orientation := 8, 1
	var p plan
	if format == "png" {
		bits = int(pngHeader(b).bits)
		p = planPNG(b, conf.Width, conf.Height, m)
	} else {
		head, ok := jpeghead.Parse(b)
		switch scans := bytes.Count(b, []byte{0xff, 0xda}); {
		case !ok || head.W != conf.Width || head.H != conf.Height:
			return undecodable(errors.New("no frame before its first scan"))
		case scans > maxScans:
			return bad("write the file again", "a JPEG of %d scans, at most %d are read", scans, maxScans)
		}
		orientation = head.Orientation
		p = planJPEG(b, &head, m)
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
	switch {
	case !p.present:
		return bad("write the file again", "truncated image (%d bytes cannot hold %d×%d pixels)", len(b), conf.Width, conf.Height)
	case p.reduce == 0:
		return bad("store a smaller image", "%d×%d pixels in %d bytes would take %d MB of memory, more than the %d MB for a file of this size",
			conf.Width, conf.Height, len(b), p.bytes/1_000_000, p.limit/1_000_000)
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
	if orientation > 4 {
		w, h = h, w
	}
	out, err := images.From(images.Upright(reduce(img, p.reduce), orientation), m)
	if prob := new(Problem); errors.As(err, &prob) {
		return nil, prob
	}
	return &picture{m: out, w: w, h: h, turned: orientation > 1, unit: 65536}, nil
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
