package train

import (
	"math"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/nn"
)

var streamBlend = nn.Hash("mixup and cutmix")

// blending is how the images of a batch were blended with those of the same batch in reverse order:
// by mixup (Zhang et al., 2018), which adds them, or by cutmix (Yun et al., 2019), which pastes a
// rectangle.
type blending struct {
	share float64 // of the own image, and of its class in the loss
}

// blend replaces the pixels of a batch of images that are classified, if the configuration says so.
// Class maps cannot be added, so a batch that has any is blended by cutmix alone.
func blend(b *multimae.Batch, c *heads.Train, rng *nn.RNG) *blending {
	mixup, cut := c.Mixup, c.CutMix
	if len(b.Classes) > 0 {
		mixup = 0
	}
	if mixup == 0 && cut == 0 || b.Size < 2 {
		return nil
	}
	b.Valid = nil // it is that of the images before, and no head looks at it
	if mixup > 0 && cut > 0 {
		if rng.Chance(0.5) {
			mixup = 0
		} else {
			cut = 0
		}
	}
	if mixup > 0 {
		share := beta(rng, mixup)
		for name, pix := range b.Images {
			b.Images[name] = mixed(pix, b.Size, float32(share))
		}
		return &blending{share}
	}
	// A rectangle of the remaining share of the area, cut off at the border.
	side := math.Sqrt(1 - beta(rng, cut))
	x, y := rng.Float64(), rng.Float64()
	x0, x1 := max(0, x-side/2), min(1, x+side/2)
	y0, y1 := max(0, y-side/2), min(1, y+side/2)
	box := func(w, h int) (int, int, int, int) {
		return int(x0 * float64(w)), int(x1 * float64(w)), int(y0 * float64(h)), int(y1 * float64(h))
	}
	for name, pix := range b.Images {
		b.Images[name] = pasted(pix, b.Size, len(pix)/(b.Size*b.H*b.W), b.W, b.H, box)
	}
	for name, ids := range b.Classes {
		stride := int(math.Round(math.Sqrt(float64(b.Size*b.H*b.W) / float64(len(ids)))))
		b.Classes[name] = pasted(ids, b.Size, 1, b.W/stride, b.H/stride, box)
	}
	left, right, top, bottom := box(b.W, b.H)
	return &blending{1 - float64((right-left)*(bottom-top))/float64(b.W*b.H)}
}

// beta draws from Beta(a, a).
func beta(rng *nn.RNG, a float64) float64 {
	x, y := rng.LogGamma(a), rng.LogGamma(a)
	return 1 / (1 + math.Exp(y-x))
}

// mixed returns share of each of n images plus the rest of its partner.
func mixed(pix []float32, n int, share float32) []float32 {
	out, size := make([]float32, len(pix)), len(pix)/n
	for s := range n {
		own, other := pix[s*size:][:size], pix[(n-1-s)*size:][:size]
		for i, v := range own {
			out[s*size+i] = share*v + (1-share)*other[i]
		}
	}
	return out
}

// pasted returns n maps of c planes of w×h values, each with a rectangle of its partner.
func pasted[T any](v []T, n, c, w, h int, box func(w, h int) (left, right, top, bottom int)) []T {
	out := make([]T, len(v))
	copy(out, v)
	left, right, top, bottom := box(w, h)
	for s := range n {
		for k := range c {
			for y := top; y < bottom; y++ {
				row := (k*h + y) * w
				copy(out[s*c*h*w+row+left:s*c*h*w+row+right], v[(n-1-s)*c*h*w+row+left:])
			}
		}
	}
	return out
}

// partners returns the targets of the partners: those of a batch of n in reverse order. Only classes
// of whole images are blended.
func (x *blending) partners(targets *heads.Targets, n int) *heads.Targets {
	out := &heads.Targets{Classes: map[string][]int32{}}
	for name, ids := range targets.Classes {
		reversed := make([]int32, n)
		for i, id := range ids {
			reversed[n-1-i] = id
		}
		out.Classes[name] = reversed
	}
	return out
}
