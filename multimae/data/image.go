package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // decoder
	_ "image/png"  // decoder
	"io"
	"os"

	"github.com/gomae/gomae/multimae"
)

const (
	maxPixels    = 64_000_000 // of one image: far above any training set, far below what exhausts memory
	maxFileBytes = 1 << 30
	idPadding    = 254 // class id of padding in files
	idIgnore     = 255 // class id of pixels that no loss looks at
)

// Problem is one thing wrong with one file or folder of a dataset. It is the
// error type of ReadImage and of datasets opened by OpenFolder.
type Problem struct {
	File    string `json:"file"`
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
}

// Error is "file: message; remedy".
func (p *Problem) Error() string {
	if p.Remedy == "" {
		return p.File + ": " + p.Message
	}
	return p.File + ": " + p.Message + "; " + p.Remedy
}

// ReadImage reads the PNG or JPEG file of one modality.
//
// An image of 3 channels may have 8 or 16 bits a channel, a palette or an
// alpha channel, which is dropped; grey is repeated. Values are v/255 or
// v/65535. An image of one channel is a grey PNG: of 16 bits (v/65536) where
// the modality is standardised per sample, for 8 bits would quantise depth too
// coarsely. A class map is an 8-bit grey or palette PNG whose values are ids
// below NumClasses, 254 (padding) or 255 (ignore).
//
// Any other error than one of opening the file is a *Problem. Images of more
// than 64 megapixels are refused before they are decoded.
func ReadImage(path string, m multimae.Input) (*Map, error) {
	f, err := os.Open(path)
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

// decode is ReadImage for the bytes of a file; the Problem has no File.
func decode(b []byte, m *multimae.Input) (*Map, *Problem) {
	bad := func(remedy, format string, args ...any) (*Map, *Problem) {
		return nil, &Problem{Message: fmt.Sprintf(format, args...), Remedy: remedy}
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
	// Division rather than multiplication: a forged header may overflow.
	if conf.Width < 1 || conf.Height < 1 || conf.Width > maxPixels/conf.Height {
		return bad("store a smaller image", "%d×%d pixels, outside 1..%d million", conf.Width, conf.Height, maxPixels/1_000_000)
	}
	bits := 8
	if format == "png" {
		bits = int(pngHeader(b).bits)
	}
	// The header alone decides these, before the cost of decoding.
	if m.Kind == multimae.KindClasses {
		const remedy = "store class ids as an 8-bit grey PNG"
		if format != "png" {
			return bad(remedy, "a class map as %s, whose compression alters ids", format)
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
	} else if m.Channels != 3 && m.Channels != 4 {
		return bad("split the modality into several of 1, 3 or 4 channels", "modality %s has %d channels, which no image file holds", m.Name, m.Channels)
	}
	img, _, err := image.Decode(bytes.NewReader(b))
	if err != nil {
		return undecodable(err)
	}
	// A JPEG may carry several frame headers, so what was decoded decides.
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	if w != conf.Width || h != conf.Height {
		return bad("write the file again", "damaged image (its header says %d×%d, its data %d×%d)", conf.Width, conf.Height, w, h)
	}
	out := &Map{C: m.Channels, H: h, W: w}
	if m.Kind == multimae.KindClasses {
		out.C = 0
		out.IDs = make([]uint8, w*h)
		var pix []uint8
		var stride int
		switch img := img.(type) {
		case *image.Gray:
			pix, stride = img.Pix, img.Stride
		case *image.Paletted:
			pix, stride = img.Pix, img.Stride
		default:
			return bad("store class ids as an 8-bit grey PNG without a transparent colour", "a class map decoded as %T", img)
		}
		for y := range h {
			copy(out.IDs[y*w:][:w], pix[y*stride:])
		}
		return checkIDs(out, m)
	}
	out.Pix = make([]float32, out.C*w*h)
	switch {
	case out.C == 1 && bits == 16:
		g, ok := img.(*image.Gray16)
		if !ok {
			return bad("store it as a 16-bit grey PNG without a transparent colour", "decoded as %T", img)
		}
		for y := range h {
			row := g.Pix[y*g.Stride:]
			for x := range w {
				out.Pix[y*w+x] = float32(binary.BigEndian.Uint16(row[2*x:])) * 0x1p-16
			}
		}
	case out.C == 1:
		g, ok := img.(*image.Gray)
		if !ok {
			return bad("store it as a grey PNG without a transparent colour", "decoded as %T", img)
		}
		for y := range h {
			for x, v := range g.Pix[y*g.Stride:][:w] {
				out.Pix[y*w+x] = unit[v]
			}
		}
	default:
		fillColour(out, img)
	}
	return out, nil
}

// hasEnd reports whether the mark that ends a PNG or JPEG is there. Decoders
// notice a missing end in many places, and name it in as many ways.
func hasEnd(b []byte) bool {
	return bytes.Contains(b, []byte("IEND")) || bytes.HasPrefix(b, []byte{0xff, 0xd8}) && bytes.Contains(b, []byte{0xff, 0xd9})
}

// PNG colour types.
const (
	pngGrey    = 0
	pngPalette = 3
)

type pngIHDR struct{ bits, color byte }

// pngHeader reads bit depth and colour type, which image/png keeps to itself:
// it widens ids of 1, 2 or 4 bits to 0..255. IHDR is always the first chunk.
func pngHeader(b []byte) pngIHDR {
	if len(b) < 26 {
		return pngIHDR{}
	}
	return pngIHDR{b[24], b[25]}
}

// unit[v] is v/255. Everything that makes 8-bit values goes through it, so
// that rendered scenes survive a PNG exactly.
var unit = func() (t [256]float32) {
	for i := range t {
		t[i] = float32(i) / 255
	}
	return t
}()

// fillColour fills a map of 3 or 4 channels. Alpha is a channel of its own and
// never multiplied into colour.
func fillColour(out *Map, img image.Image) {
	w, h := out.W, out.H
	plane := w * h
	set := func(i int, c color.NRGBA) {
		out.Pix[i], out.Pix[plane+i], out.Pix[2*plane+i] = unit[c.R], unit[c.G], unit[c.B]
		if out.C == 4 {
			out.Pix[3*plane+i] = unit[c.A]
		}
	}
	b := img.Bounds()
	bytes4 := func(pix []uint8, stride int) {
		for y := range h {
			row := pix[y*stride:][:4*w]
			for x := range w {
				set(y*w+x, color.NRGBA{row[4*x], row[4*x+1], row[4*x+2], row[4*x+3]})
			}
		}
	}
	switch img := img.(type) {
	case *image.NRGBA:
		bytes4(img.Pix, img.Stride)
	case *image.RGBA: // image/png uses it for opaque images only
		bytes4(img.Pix, img.Stride)
	case *image.Gray:
		for y := range h {
			for x, v := range img.Pix[y*img.Stride:][:w] {
				set(y*w+x, color.NRGBA{v, v, v, 255})
			}
		}
	case *image.YCbCr:
		for y := range h {
			for x := range w {
				i, j := img.YOffset(b.Min.X+x, b.Min.Y+y), img.COffset(b.Min.X+x, b.Min.Y+y)
				r, g, bl := color.YCbCrToRGB(img.Y[i], img.Cb[j], img.Cr[j])
				set(y*w+x, color.NRGBA{r, g, bl, 255})
			}
		}
	case *image.Paletted:
		var table [256]color.NRGBA
		for i, c := range img.Palette {
			table[i] = color.NRGBAModel.Convert(c).(color.NRGBA)
		}
		for y := range h {
			for x, v := range img.Pix[y*img.Stride:][:w] {
				set(y*w+x, table[v])
			}
		}
	default:
		for y := range h {
			for x := range w {
				c := color.NRGBA64Model.Convert(img.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA64)
				for k, v := range [4]uint16{c.R, c.G, c.B, c.A} {
					if k < out.C {
						out.Pix[k*plane+y*w+x] = float32(v) / 65535
					}
				}
			}
		}
	}
}

// checkIDs refuses ids that the model has no class for.
func checkIDs(out *Map, m *multimae.Input) (*Map, *Problem) {
	first, count := -1, 0
	for i, id := range out.IDs {
		if int(id) >= m.NumClasses && id < idPadding {
			if count == 0 {
				first = i
			}
			count++
		}
	}
	if count == 0 {
		return out, nil
	}
	more := ""
	if count > 1 {
		more = fmt.Sprintf(" (and at %d more pixels)", count-1)
	}
	return nil, &Problem{
		Message: fmt.Sprintf("pixel (%d,%d) has class id %d, outside 0..%d%s", first%out.W, first/out.W, out.IDs[first], m.NumClasses-1, more),
		Remedy:  fmt.Sprintf("map it to a class, or to %d to ignore it, or raise num_classes", idIgnore),
	}
}
