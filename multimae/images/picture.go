package images

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"

	"github.com/gomae/gomae/internal/sizes"
	"github.com/gomae/gomae/multimae"
)

var (
	nanColor     = color.RGBA{255, 0, 255, 255}
	ignoreColor  = color.RGBA{0, 0, 0, 255}
	classPalette = newClassPalette()
)

// Picture returns the picture of one sample of a prediction. A class map is drawn as the most
// probable classes in false colours, and anything else as Pixels does it, in the range of its own
// values. Predictions of patches that are each standardised have no colours of their own: 0 is
// drawn as grey, and two deviations as full.
func Picture(p *multimae.Predicted, sample int) *image.RGBA {
	if p.Kind == multimae.KindClasses {
		return Classes(p.IDs(sample), p.H, p.W)
	}
	pix := p.Image(sample)
	return Pixels(pix, p.H, p.W, p.Normalization, pix)
}

// Prediction is Picture for a batch of one sample, in the range of the truth where the batch has it, and
// otherwise, as Picture is, in the range of the prediction's own values.
func Prediction(p *multimae.Predicted, b *multimae.Batch) *image.RGBA {
	if truth := b.Images[p.Task]; truth != nil && p.Kind == multimae.KindImage {
		return Pixels(p.Pix, p.H, p.W, p.Normalization, truth)
	}
	return Picture(p, 0)
}

// Drawn returns the outputs of a prediction that are drawn, by modality: the first of each. Patches that
// are each standardised are not, for a picture would need the mean and the variance of each.
func Drawn(p *multimae.Prediction) map[string]*multimae.Predicted {
	drawn := map[string]*multimae.Predicted{}
	for i := range p.Outputs {
		if out := &p.Outputs[i]; out.Normalization != multimae.NormalizePatches && drawn[out.Task] == nil {
			drawn[out.Task] = out
		}
	}
	return drawn
}

// Input returns the picture of a modality of a batch of one sample, which must have it. Pixels without
// a measurement are black, as those without a class are.
func Input(in *multimae.Input, b *multimae.Batch) *image.RGBA {
	h, w := b.H/in.Stride, b.W/in.Stride
	if len(b.Images[in.Name])+len(b.Classes[in.Name]) == 0 {
		panic(fmt.Sprintf("images: Input: the batch has no %s", in.Name))
	}
	if in.Kind == multimae.KindClasses {
		return Classes(b.Classes[in.Name], h, w)
	}
	pix := b.Images[in.Name]
	return Blacken(Pixels(pix, h, w, in.Normalization(), pix), b.Valid[in.Name])
}

// Blacken makes the pixels of img black that are not valid, and returns img. valid has a value for each
// pixel, [h, w]; nil means that all are valid.
func Blacken(img *image.RGBA, valid []bool) *image.RGBA {
	w := img.Rect.Dx()
	if n := w * img.Rect.Dy(); valid != nil && len(valid) != n {
		panic(fmt.Sprintf("images: Blacken: got %d values, want %d", len(valid), n))
	}
	for i, ok := range valid {
		if !ok {
			img.SetRGBA(i%w, i/w, ignoreColor)
		}
	}
	return img
}

// Pixels returns the picture of pix [C, h, w], which is normalised as in a batch or a prediction:
// normalization is a multimae.Normalize constant. Three channels are drawn as colour. Of any other
// number, the first is drawn as by Depth, in the range of the first h·w values of scale without the
// hundredth at both ends: pix itself or, where it is known, the truth.
func Pixels(pix []float32, h, w int, normalization string, scale []float32) *image.RGBA {
	if len(pix) != 3*h*w {
		lo, hi := Range(scale[:h*w], 0.01)
		return Depth(pix[:h*w], h, w, lo, hi)
	}
	switch normalization {
	case multimae.NormalizeImageNet:
		pix = slices.Clone(pix)
		DenormalizeRGB(pix)
	case multimae.NormalizePatches:
		pix = slices.Clone(pix)
		for i, v := range pix {
			pix[i] = v/4 + 0.5
		}
	}
	return RGB(pix, h, w)
}

// RGB returns the picture of pix [3,h,w], the planes red, green and blue with values in 0..1.
// Values outside are clamped; a pixel with a NaN is magenta. Call DenormalizeRGB first where the
// values are normalised.
func RGB(pix []float32, h, w int) *image.RGBA {
	img := newImage("RGB", len(pix), 3, h, w)
	n := h * w
	for i := range n {
		r, g, b := pix[i], pix[n+i], pix[2*n+i]
		c := color.RGBA{byteOf(r), byteOf(g), byteOf(b), 255}
		if r != r || g != g || b != b {
			c = nanColor
		}
		set(img, i, c)
	}
	return img
}

// Depth returns the picture of pix [h,w] in the colour map viridis: lo and less are dark violet, hi
// and more are yellow, and NaN is magenta. Viridis is perceptually uniform, so that equal steps in
// depth look equal, and readable for the colour-blind. If hi is not above lo, every value has the
// colour in the middle. Range returns bounds that outliers do not spoil.
func Depth(pix []float32, h, w int, lo, hi float32) *image.RGBA {
	img := newImage("Depth", len(pix), 1, h, w)
	scale := 1 / (float64(hi) - float64(lo))
	for i, v := range pix {
		c := nanColor
		if v == v {
			t := 0.5
			if hi > lo {
				t = (float64(v) - float64(lo)) * scale
			}
			c = viridis(t)
		}
		set(img, i, c)
	}
	return img
}

// Range returns bounds for Depth: a share of tail (0 ≤ tail < 0.5) of pix is below lo, and as much
// above hi. NaN and infinities are left out. Without any finite value it returns 0, 1.
func Range(pix []float32, tail float64) (lo, hi float32) {
	finite := make([]float32, 0, len(pix))
	for _, v := range pix {
		if !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) {
			finite = append(finite, v)
		}
	}
	if len(finite) == 0 {
		return 0, 1
	}
	slices.Sort(finite)
	k := 0
	if tail > 0 {
		k = min(int(tail*float64(len(finite))), (len(finite)-1)/2)
	}
	return finite[k], finite[len(finite)-1-k]
}

// Classes returns the picture of the class ids [h,w]. An id has the same colour in every picture:
// the palette has 255 well separated colours, which repeat for ids above 255. multimae.IDIgnored
// and negative ids are black.
func Classes(ids []int32, h, w int) *image.RGBA {
	img := newImage("Classes", len(ids), 1, h, w)
	for i, id := range ids {
		set(img, i, ClassColor(id))
	}
	return img
}

// ClassName returns what a legend calls a class: its name, or its number where there is none.
func ClassName(names []string, id int) string {
	if id >= 0 && id < len(names) {
		return names[id]
	}
	return fmt.Sprint("class ", id)
}

// ClassColor returns the colour in which Classes draws an id, for a legend.
func ClassColor(id int32) color.RGBA {
	if id < 0 || id == multimae.IDIgnored {
		return ignoreColor
	}
	return classPalette[int(id)%len(classPalette)]
}

// newImage returns a blank picture, after checking that n values are channels planes of h×w pixels.
func newImage(what string, n, channels, h, w int) *image.RGBA {
	if want, ok := sizes.Product(channels, h, w); !ok || n != want {
		panic(fmt.Sprintf("images: %s: got %d values, want %d x %d x %d", what, n, channels, h, w))
	}
	return image.NewRGBA(image.Rect(0, 0, w, h))
}

// set writes pixel i of an image that newImage made, whose rows lie back to back.
func set(img *image.RGBA, i int, c color.RGBA) {
	p := img.Pix[4*i:][:4]
	p[0], p[1], p[2], p[3] = c.R, c.G, c.B, c.A
}

// byteOf maps 0..1 to 0..255, rounding to nearest; NaN becomes 0.
func byteOf[F float32 | float64](v F) uint8 {
	switch {
	case v >= 1:
		return 255
	case v > 0:
		return uint8(v*255 + 0.5)
	}
	return 0
}

// viridis returns the colour at t, clamped to 0..1: the sixth-degree fit of matplotlib's viridis
// (CC0) published by Matt Zucker (CC0, https://www.shadertoy.com/view/WlfXRN), within 2% of the
// table.
func viridis(t float64) color.RGBA {
	t = min(max(t, 0), 1)
	var c [3]uint8
	for k := range c {
		v := 0.0
		for i := len(viridisFit) - 1; i >= 0; i-- {
			v = v*t + viridisFit[i][k]
		}
		c[k] = byteOf(v)
	}
	return color.RGBA{c[0], c[1], c[2], 255}
}

var viridisFit = [7][3]float64{
	{0.2777273272234177, 0.005407344544966578, 0.3340998053353061},
	{0.1050930431085774, 1.404613529898575, 1.384590162594685},
	{-0.3308618287255563, 0.214847559468213, 0.09509516302823659},
	{-4.634230498983486, -5.799100973351585, -19.33244095627987},
	{6.228269936347081, 14.17993336680509, 56.69055260068105},
	{4.776384997670288, -13.74514537774601, -65.35303263337234},
	{-5.435455855934631, 4.645852612178535, 26.3124352495832},
}

// newClassPalette returns the colours of the ids 0..254. Hues follow the golden ratio, which keeps
// any number of consecutive ids far apart on the circle; lightness and chroma alternate, which
// separates ids with similar hues. All this is in Oklch, where distances are those that the eye
// sees.
func newClassPalette() (palette [255]color.RGBA) {
	lightness := [...]float64{0.66, 0.82, 0.50, 0.74, 0.58, 0.90, 0.42}
	chroma := [...]float64{0.17, 0.11, 0.15, 0.06}
	for i := range palette {
		_, hue := math.Modf(0.08 + float64(i)*(math.Sqrt(5)-1)/2)
		palette[i] = oklch(lightness[i%len(lightness)], chroma[i%len(chroma)], 2*math.Pi*hue)
	}
	return palette
}

// oklch converts a colour of Björn Ottosson's Oklab in polar form
// (https://bottosson.github.io/posts/oklab/, public domain) to sRGB, with as much less chroma as it
// takes for the colour to exist there.
func oklch(l, c, hue float64) color.RGBA {
	for ; ; c -= 0.005 {
		a, b := max(c, 0)*math.Cos(hue), max(c, 0)*math.Sin(hue)
		cube := func(v float64) float64 { return v * v * v }
		x := cube(l + 0.3963377774*a + 0.2158037573*b)
		y := cube(l - 0.1055613458*a - 0.0638541728*b)
		z := cube(l - 0.0894841775*a - 1.2914855480*b)
		rgb := [3]float64{
			4.0767416621*x - 3.3077115913*y + 0.2309699292*z,
			-1.2684380046*x + 2.6097574011*y - 0.3413193965*z,
			-0.0041960863*x - 0.7034186147*y + 1.7076147010*z,
		}
		if c <= 0 || slices.Min(rgb[:]) >= 0 && slices.Max(rgb[:]) <= 1 {
			return color.RGBA{gamma(rgb[0]), gamma(rgb[1]), gamma(rgb[2]), 255}
		}
	}
}

// gamma applies the sRGB transfer curve to a linear value.
func gamma(v float64) uint8 {
	if v <= 0.0031308 {
		return byteOf(12.92 * v)
	}
	return byteOf(1.055*math.Pow(v, 1/2.4) - 0.055)
}
