package images

import (
	"maps"
	"math"
	"slices"

	"github.com/gomae/gomae/multimae"
)

// shiftHue turns the hue of a colour, r, g and b in 0..1, by that many degrees on the circle of HSV
// and keeps its saturation and value. A grey has no hue and stays as it is.
func shiftHue(r, g, b float32, degrees float64) (r2, g2, b2 float32) {
	hi, lo := max(r, g, b), min(r, g, b)
	chroma := float64(hi) - float64(lo)
	if !(chroma > 0) {
		return r, g, b
	}
	var hue float64 // in sixths of the circle
	switch hi {
	case r:
		hue = float64(g-b) / chroma
	case g:
		hue = 2 + float64(b-r)/chroma
	default:
		hue = 4 + float64(r-g)/chroma
	}
	hue += degrees / 60
	// Channel n is hi, lo or on the way between them, depending on its distance from the hue.
	channel := func(n float64) float32 {
		k := math.Mod(n+hue, 6)
		if k < 0 {
			k += 6
		}
		return float32(float64(hi) - chroma*max(0, min(k, 4-k, 1)))
	}
	return channel(5), channel(3), channel(1)
}

// TurnHue returns a batch of one sample as shiftHue makes it: colour in, which is normalised as
// multimae.NormalizeImageNet says, is turned at the pixels for which on reports true, by their number
// in [H, W]. The rest is shared with b.
func TurnHue(b *multimae.Batch, in *multimae.Input, degrees float64, on func(i int) bool) *multimae.Batch {
	pix := slices.Clone(b.Images[in.Name])
	DenormalizeRGB(pix)
	plane := len(pix) / 3
	for i := range plane {
		if on(i) {
			pix[i], pix[plane+i], pix[2*plane+i] = shiftHue(pix[i], pix[plane+i], pix[2*plane+i], degrees)
		}
	}
	NormalizeRGB(pix)
	turned := *b
	turned.Images = maps.Clone(b.Images)
	turned.Images[in.Name] = pix
	return &turned
}
