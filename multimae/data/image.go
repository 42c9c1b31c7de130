package data

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"os"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"github.com/gomae/gomae/internal/imagehead"
	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
)

const (
	maxPixels    = 64_000_000 // of one image: far more than any training set has, far less than memory holds
	maxFileBytes = 1 << 30
)

// ReadImage reads the file of one modality, in the form that images.From takes. Colour may be PNG,
// JPEG, WebP, TIFF, BMP or PPM. Depth is a PNG, TIFF or PGM of 16 bits, or an array of numpy.save of
// uint16 or, in any unit, of floating-point numbers, of which those that are not finite are not
// Map.Valid. Class ids are a PNG, TIFF or PGM of 8 bits, or an array of whole numbers. The content
// tells the type, whatever the name.
//
// A photograph is turned as its EXIF orientation says. Errors are of type *Problem, except those of
// opening and reading the file. Anything but a regular file is refused before it is opened, and
// images of more than 64 megapixels before they are decoded. Decoding takes at most 48 MB of memory
// and 20 times the size of the file, for a JPEG or WebP twice that: an image that would take more is
// reduced by a whole number, or refused where that does not help. One of more than 16 megapixels is
// reduced, too. Class ids, arrays, and images with a side of one pixel are never reduced.
func ReadImage(path string, m multimae.Input) (*Map, error) {
	p, err := readPicture(path, &m)
	if err != nil {
		return nil, err
	}
	return p.m, nil
}

// DecodeImage is ReadImage for the bytes of a file, which came from a network perhaps. Its errors
// are of type *Problem and name no file.
func DecodeImage(b []byte, m multimae.Input) (*Map, error) {
	if len(b) > maxFileBytes {
		return nil, problem("", "store a smaller image", "more than %d bytes", maxFileBytes)
	}
	p, prob := decode(b, &m)
	if prob != nil {
		return nil, prob
	}
	return p.m, nil
}

// picture is what a file holds.
type picture struct {
	m      *Map
	w, h   int     // of the picture as it is seen, before a reduction
	turned bool    // by its EXIF orientation
	unit   float64 // stored values of depth are so many times those of the map
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
	if len(b) == 0 {
		return nil, problem("", "write the file again", "empty file")
	}
	if bytes.HasPrefix(b, []byte(npyMagic)) {
		return decodeNPY(b, m)
	}
	h, prob := readHead(b, m)
	if prob == nil {
		prob = h.check(len(b), m)
	}
	if prob != nil {
		return nil, prob
	}
	img, err := h.decode()
	if err != nil {
		return nil, undecodable(b, err)
	}
	// A JPEG may have several frame headers, so the size of the decoded image counts.
	w, height := img.Bounds().Dx(), img.Bounds().Dy()
	if w != h.w || height != h.h {
		return nil, problem("", "write the file again", "damaged image (its header says %d×%d, its data %d×%d)", h.w, h.h, w, height)
	}
	if h.orientation > 4 {
		w, height = height, w
	}
	out, err := images.From(images.Upright(reduce(img, h.plan.reduce, holesOf(m)), h.orientation), m)
	if errors.As(err, &prob) {
		return nil, prob
	}
	return &picture{m: out, w: w, h: height, turned: h.orientation > 1, unit: 65536}, nil
}

// head is what the first bytes of a picture say about it.
type head struct {
	format      string // "png", "jpeg", "webp", "tiff", "bmp" or "pnm"
	w, h        int    // as stored
	bits        int    // of a value
	grey        bool   // one channel, without a palette
	palette     bool
	orientation int // of EXIF, 1 to 8
	plan        plan
	decode      func() (image.Image, error)
}

// readHead reads the head of a picture of modality m, without the cost of decoding it.
func readHead(b []byte, m *multimae.Input) (*head, *Problem) {
	switch {
	case bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n")):
		return headPNG(b, m)
	case bytes.HasPrefix(b, []byte("\xff\xd8")):
		return headJPEG(b, m)
	case bytes.HasPrefix(b, []byte("RIFF")) && len(b) > 12 && string(b[8:12]) == "WEBP":
		return headWebP(b, m)
	case bytes.HasPrefix(b, []byte("II*\x00")), bytes.HasPrefix(b, []byte("MM\x00*")):
		return headTIFF(b, m)
	case bytes.HasPrefix(b, []byte("BM")) && len(b) > 14:
		return headBMP(b, m)
	case len(b) > 2 && b[0] == 'P' && (b[1] == '2' || b[1] == '3' || b[1] == '5' || b[1] == '6') && isSpace(b[2]):
		return headPNM(b, m)
	}
	return nil, notRead(b)
}

// check returns a problem unless a picture with this head, in a file of size bytes, may be decoded
// for modality m.
func (h *head) check(size int, m *multimae.Input) *Problem {
	// Division, because the product of a forged header may overflow.
	if h.w < 1 || h.h < 1 || h.w > maxPixels/h.h {
		return problem("", "store a smaller image", "%d×%d pixels, outside 1..%d million", h.w, h.h, maxPixels/1_000_000)
	}
	if h.w == 1 && h.h == 1 {
		return problem("", "write the file again", "one pixel, which is no picture")
	}
	if m.Kind == multimae.KindClasses {
		const remedy = "store class ids as an 8-bit grey PNG"
		switch {
		case h.format == "jpeg", h.format == "webp":
			return problem("", remedy, "a class map as %s, whose compression changes ids", h.format)
		case h.palette && h.format != "bmp", h.grey && h.bits == 8:
		case h.grey:
			return problem("", remedy, "a class map with %d bits a pixel, expected 8", h.bits)
		default:
			return problem("", remedy, "a class map in colour, expected grey ids")
		}
	} else if m.Channels == 1 {
		switch {
		case m.Needs16Bits() && (h.format == "jpeg" || h.format == "webp" || h.bits != 16 && h.grey):
			return problem("", "store it as a 16-bit grey PNG, value = depth·65536/range, or depth/unit for depth in a unit", "%d-bit %s, expected 16-bit PNG", h.bits, h.format)
		case len(holesOf(m).values) > 0 && (h.format == "jpeg" || h.format == "webp"):
			return problem("", "store it as a grey PNG", "values that mark holes as %s, whose compression changes them", h.format)
		case !h.grey:
			return problem("", "store it as a grey PNG", "a colour image, expected one channel")
		}
	}
	switch p := h.plan; {
	case !p.present:
		return problem("", "write the file again", "truncated image (%d bytes cannot hold %d×%d pixels)", size, h.w, h.h)
	case p.reduce == 0:
		return problem("", "store a smaller image", "%d×%d pixels in %d bytes would take %d MB of memory, more than the %d MB for a file of this size",
			h.w, h.h, size, p.bytes/1_000_000, p.limit/1_000_000)
	}
	return nil
}

func headPNG(b []byte, m *multimae.Input) (*head, *Problem) {
	c, err := png.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return nil, undecodable(b, err)
	}
	ihdr := pngHeader(b)
	h := &head{
		format: "png", w: c.Width, h: c.Height, bits: int(ihdr.bits),
		grey:    ihdr.color == pngGrey && (c.ColorModel == color.GrayModel || c.ColorModel == color.Gray16Model),
		palette: ihdr.color == pngPalette, orientation: imagehead.Orientation(b),
		decode: func() (image.Image, error) { return png.Decode(bytes.NewReader(b)) },
	}
	if h.w > 0 && h.h > 0 && h.w <= maxPixels/h.h {
		h.plan = planPNG(b, h.w, h.h, h.orientation, m)
	}
	return h, nil
}

func headJPEG(b []byte, m *multimae.Input) (*head, *Problem) {
	c, err := jpeg.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return nil, undecodable(b, err)
	}
	frame, ok := imagehead.ParseJPEG(b)
	scans, rgb := imagehead.Scans(b)
	switch {
	case !ok || frame.W != c.Width || frame.H != c.Height:
		return nil, undecodable(b, errors.New("no frame before its first scan"))
	case scans > maxScans:
		return nil, problem("", "write the file again", "a JPEG of %d scans, at most %d are read", scans, maxScans)
	}
	frame.RGB = frame.RGB || rgb && len(frame.Components) == 3
	h := &head{
		format: "jpeg", w: c.Width, h: c.Height, bits: 8, grey: c.ColorModel == color.GrayModel, orientation: frame.Orientation,
		decode: func() (image.Image, error) { return jpeg.Decode(bytes.NewReader(b)) },
	}
	if h.w > 0 && h.h > 0 && h.w <= maxPixels/h.h {
		h.plan = planJPEG(b, &frame, m)
	}
	return h, nil
}

// undecodable is the problem of a picture that its decoder refuses.
func undecodable(b []byte, err error) *Problem {
	const remedy = "write the file again"
	frame, _ := imagehead.ParseJPEG(b)
	switch {
	case frame.Uncommon != "", errors.As(err, new(jpeg.UnsupportedError)), errors.As(err, new(png.UnsupportedError)),
		errors.As(err, new(tiff.UnsupportedError)), errors.Is(err, bmp.ErrUnsupported):
		what := cmp.Or(frame.Uncommon, err.Error())
		return problem("", "save it again as PNG, or as an ordinary JPEG", "this kind of file is not read (%s), though it may be sound", what)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), !hasEnd(b):
		return problem("", remedy, "truncated image")
	}
	return problem("", remedy, "damaged image (%v)", err)
}

// hasEnd reports whether b has the mark that ends a PNG or JPEG, as far as it is one. Decoders
// notice a missing end in many places and give it as many names.
func hasEnd(b []byte) bool {
	switch {
	case bytes.HasPrefix(b, []byte("\x89PNG")):
		return bytes.Contains(b, []byte("IEND"))
	case bytes.HasPrefix(b, []byte("\xff\xd8")):
		return bytes.Contains(b, []byte("\xff\xd9"))
	}
	return true
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
