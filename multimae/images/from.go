package images

import (
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"

	"github.com/gomae/gomae/multimae"
)

// Map is one modality of one view before normalisation. Colour is in 0..1, depth is the stored
// value / 2^16 or, for floating-point numbers that are standardised, the stored value, and class
// maps hold ids. Exactly one of Pix and IDs is set, but for Label.
type Map struct {
	C, H, W int       // C is 0 for a class map
	Pix     []float32 // image kinds: [C, H, W]
	IDs     []uint8   // class maps: [H, W]; see multimae.IDPadding and IDIgnored
	// Valid says for image kinds which pixels were measured, [H, W]; nil means all. Pix holds for the
	// others what is stored, perhaps NaN. See multimae.Input.Invalid.
	Valid []bool
	// Label is the class of the whole image, of a map of one pixel that has neither Pix nor IDs.
	Label int
}

// Label returns the map of an image's class, which may be of any number.
func Label(class int) *Map { return &Map{H: 1, W: 1, Label: class} }

// IsLabel reports whether the map is one of Label.
func (m *Map) IsLabel() bool { return m.H == 1 && m.W == 1 && m.Pix == nil && m.IDs == nil }

// Hide makes the pixels for which hidden reports true, by their number in [H, W], not valid.
func (m *Map) Hide(hidden func(i int) bool) {
	for i := range m.H * m.W {
		if !hidden(i) {
			continue
		}
		if m.Valid == nil {
			m.Valid = slices.Repeat([]bool{true}, m.H*m.W)
		}
		m.Valid[i] = false
	}
}

// sameShape reports whether the sides of two maps have the same ratio, up to the rounding of the
// smaller one to whole pixels. Otherwise they cannot show the same view.
func (m *Map) sameShape(o *Map) bool {
	d := m.W*o.H - o.W*m.H
	return max(d, -d) <= max(m.W, m.H, o.W, o.H)
}

// Size returns the width and height of the largest map, to which crops refer.
func Size(maps map[string]*Map) (w, h int) {
	for _, m := range maps {
		w, h = max(w, m.W), max(h, m.H)
	}
	return w, h
}

// Problem is what is wrong with an image, a file or a folder, and what to do about it.
type Problem struct {
	File    string `json:"file"` // "" where it is not known
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
}

// Error returns "file: message; remedy".
func (p *Problem) Error() string {
	if p.File == "" {
		return p.Message + "; " + p.Remedy
	}
	return p.File + ": " + p.Message + "; " + p.Remedy
}

// From takes the values of one modality from an image of any size.
//
// For 3 channels it may be any kind of image: alpha is dropped, and grey is repeated. Values are
// v/255, or v/65535 where the image has more than 8 bits. A lossy WebP needs WidenWebP first. For 4
// channels alpha is the last. For one channel it is an image.Gray16 (v/65536) or, unless
// Input.Needs16Bits, an image.Gray (v/255). A class map is an image.Gray or image.Paletted whose
// values are ids below NumClasses, multimae.IDPadding or multimae.IDIgnored. Pixels of one channel
// that hold one of Invalid are not valid; such ids become IDIgnored.
//
// Errors are of type *Problem.
func From(img image.Image, in *multimae.Input) (*Map, error) {
	bad := func(remedy, format string, args ...any) (*Map, error) {
		return nil, &Problem{Message: fmt.Sprintf(format, args...), Remedy: remedy}
	}
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	if w < 1 || h < 1 {
		return bad("give an image that has pixels", "%d×%d pixels", w, h)
	}
	if in.Kind == multimae.KindClasses {
		var pix []uint8
		var stride int
		switch img := img.(type) {
		case *image.Gray:
			pix, stride = img.Pix, img.Stride
		case *image.Paletted:
			pix, stride = img.Pix, img.Stride
		default:
			return bad("store class ids as an 8-bit grey PNG without a transparent colour", "a class map as %T, expected *image.Gray or *image.Paletted", img)
		}
		out := &Map{H: h, W: w, IDs: make([]uint8, w*h)}
		for y := range h {
			copy(out.IDs[y*w:][:w], pix[y*stride:])
		}
		if prob := CheckIDs(out, in); prob != nil {
			return nil, prob
		}
		return out, nil
	}
	out := &Map{C: in.Channels, H: h, W: w}
	switch out.C {
	default:
		return bad("split the modality into several of 1, 3 or 4 channels", "modality %s has %d channels, which no image holds", in.Name, out.C)
	case 3, 4:
		out.Pix = make([]float32, out.C*w*h)
		fillColour(out, img)
	case 1:
		out.Pix = make([]float32, w*h)
		switch img := img.(type) {
		case *image.Gray16:
			for y := range h {
				row := img.Pix[y*img.Stride:]
				for x := range w {
					out.Pix[y*w+x] = float32(binary.BigEndian.Uint16(row[2*x:])) * 0x1p-16
				}
			}
		case *image.Gray:
			if in.Needs16Bits() {
				return bad("store it as a 16-bit grey PNG, value = depth·65536/range, or depth/unit for depth in a unit", "8-bit grey as *image.Gray, expected *image.Gray16")
			}
			for y := range h {
				for x, v := range img.Pix[y*img.Stride:][:w] {
					out.Pix[y*w+x] = unit[v]
				}
			}
		default:
			return bad("store it as a grey PNG without a transparent colour", "%T, expected one channel: *image.Gray16 or *image.Gray", img)
		}
		if len(in.Invalid) > 0 {
			out.Hide(func(i int) bool { return slices.Contains(in.Invalid, stored(img, i%w, i/w)) })
		}
	}
	return out, nil
}

// stored returns the value that pixel (x, y) of a grey image has in its file.
func stored(img image.Image, x, y int) float64 {
	if img, ok := img.(*image.Gray16); ok {
		return float64(binary.BigEndian.Uint16(img.Pix[y*img.Stride+2*x:]))
	}
	return float64(img.(*image.Gray).Pix[y*img.(*image.Gray).Stride+x])
}

// Image is the inverse of From, up to the rounding of colour to 8 bits. Values are clamped to what
// the image holds, which does not say what is Valid. It shares no memory with the map. A map of other
// than 1, 3 or 4 channels is an error.
func (m *Map) Image() (image.Image, error) {
	r := image.Rect(0, 0, m.W, m.H)
	n := m.W * m.H
	level := func(v, scale, limit float32) float32 {
		if v = v*scale + 0.5; v > 0 { // false for NaN, too
			return min(v, limit)
		}
		return 0
	}
	switch {
	case m.IDs != nil && len(m.IDs) == n:
		return &image.Gray{Pix: slices.Clone(m.IDs), Stride: m.W, Rect: r}, nil
	case m.IDs != nil || len(m.Pix) != m.C*n:
	case m.C == 1:
		img := image.NewGray16(r)
		for i, v := range m.Pix {
			k := uint16(level(v, 65536, math.MaxUint16))
			img.Pix[2*i], img.Pix[2*i+1] = uint8(k>>8), uint8(k)
		}
		return img, nil
	case m.C == 3 || m.C == 4:
		img := image.NewNRGBA(r)
		for i := range n {
			c := color.NRGBA{A: 255}
			for k, p := range []*uint8{&c.R, &c.G, &c.B, &c.A}[:m.C] {
				*p = uint8(level(m.Pix[k*n+i], 255, 255))
			}
			img.Pix[4*i], img.Pix[4*i+1], img.Pix[4*i+2], img.Pix[4*i+3] = c.R, c.G, c.B, c.A
		}
		return img, nil
	}
	return nil, fmt.Errorf("a map of [%d,%d,%d] with %d values and %d ids does not fit a PNG", m.C, m.H, m.W, len(m.Pix), len(m.IDs))
}

// unit[v] is v/255.
var unit = func() (t [256]float32) {
	for i := range t {
		t[i] = float32(i) / 255
	}
	return t
}()

// fillColour fills a map of 3 or 4 channels. Alpha is a channel of its own, by which colours are
// never multiplied.
func fillColour(out *Map, img image.Image) {
	w, h := out.W, out.H
	plane := w * h
	set := func(i int, c color.NRGBA) {
		out.Pix[i], out.Pix[plane+i], out.Pix[2*plane+i] = unit[c.R], unit[c.G], unit[c.B]
		if out.C == 4 {
			out.Pix[3*plane+i] = unit[c.A]
		}
	}
	set16 := func(i int, c color.NRGBA64) {
		for k, v := range [4]uint16{c.R, c.G, c.B, c.A} {
			if k < out.C {
				out.Pix[k*plane+i] = float32(v) / 65535
			}
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
	if rgba, ok := img.(*image.RGBA); ok && rgba.Opaque() { // otherwise its colours are multiplied by alpha
		bytes4(rgba.Pix, rgba.Stride)
		return
	}
	switch img := img.(type) {
	case *image.NRGBA:
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
				set(y*w+x, colourYCC(img, b.Min.X+x, b.Min.Y+y, 255))
			}
		}
	case *image.NYCbCrA:
		for y := range h {
			for x := range w {
				set(y*w+x, colourYCC(&img.YCbCr, b.Min.X+x, b.Min.Y+y, img.A[img.AOffset(b.Min.X+x, b.Min.Y+y)]))
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
	case *image.CMYK: // as below, but At would take memory for each pixel
		for y := range h {
			for x := range w {
				r, g, bl, a := img.CMYKAt(b.Min.X+x, b.Min.Y+y).RGBA()
				set16(y*w+x, color.NRGBA64{R: uint16(r), G: uint16(g), B: uint16(bl), A: uint16(a)})
			}
		}
	case *image.NRGBA64:
		for y := range h {
			for x := range w {
				set16(y*w+x, img.NRGBA64At(b.Min.X+x, b.Min.Y+y))
			}
		}
	default:
		for y := range h {
			for x := range w {
				set16(y*w+x, color.NRGBA64Model.Convert(img.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA64))
			}
		}
	}
}

// colourYCC returns pixel (x, y) in RGB, which alpha does not multiply.
func colourYCC(img *image.YCbCr, x, y int, alpha uint8) color.NRGBA {
	i, j := img.YOffset(x, y), img.COffset(x, y)
	r, g, b := color.YCbCrToRGB(img.Y[i], img.Cb[j], img.Cr[j])
	return color.NRGBA{r, g, b, alpha}
}

// WidenWebP gives a lossy WebP, as golang.org/x/image/webp decodes it, its full contrast, in the memory
// of img. The file holds luma of 16 to 235 and chroma of 16 to 240, which that package leaves as they
// are, while image.YCbCr stands for 0 to 255. Call it once, for what image.Decode says is "webp"; a
// lossless one stays as it is.
func WidenWebP(img image.Image) {
	var ycc *image.YCbCr
	switch img := img.(type) {
	case *image.YCbCr:
		ycc = img
	case *image.NYCbCrA:
		ycc = &img.YCbCr
	default:
		return
	}
	var luma, chroma [256]uint8
	for i := range 256 {
		luma[i] = uint8(min(max((float64(i)-16)*255/219+0.5, 0), 255))
		chroma[i] = uint8(min(max((float64(i)-128)*255/224+128.5, 0), 255))
	}
	for i, v := range ycc.Y {
		ycc.Y[i] = luma[v]
	}
	for i := range ycc.Cb {
		ycc.Cb[i], ycc.Cr[i] = chroma[ycc.Cb[i]], chroma[ycc.Cr[i]]
	}
}

// CheckIDs makes the ids of a class map that are among Input.Invalid IDIgnored, and returns a problem
// if the modality has no class for another.
func CheckIDs(out *Map, in *multimae.Input) *Problem {
	if len(in.Invalid) > 0 {
		for i, id := range out.IDs {
			if slices.Contains(in.Invalid, float64(id)) {
				out.IDs[i] = multimae.IDIgnored
			}
		}
	}
	first, count := -1, 0
	for i, id := range out.IDs {
		if int(id) >= in.NumClasses && id < multimae.IDPadding {
			if count == 0 {
				first = i
			}
			count++
		}
	}
	if count == 0 {
		return nil
	}
	more := ""
	if count > 1 {
		more = fmt.Sprintf(" (and at %d more pixels)", count-1)
	}
	return &Problem{
		Message: fmt.Sprintf("pixel (%d,%d) has class id %d, outside 0..%d%s", first%out.W, first/out.W, out.IDs[first], in.NumClasses-1, more),
		Remedy:  fmt.Sprintf("map it to a class, or to %d to ignore it, or raise num_classes", multimae.IDIgnored),
	}
}
