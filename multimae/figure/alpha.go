package figure

import (
	"fmt"
	"math"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
)

// Alpha draws how the visible patches are shared out among the inputs of a model for several
// concentrations α of the Dirichlet distribution: for three inputs the shares of many samples in a
// triangle, whose corners are one input alone, and for any number of inputs those of a few samples
// as bars.
func Alpha(c *multimae.Config, alphas []float64, visible int, seed uint64) (*Drawing, error) {
	const width, bars, barH, samples = 190.0, 14, 7.0, 500
	names := c.Inputs.Names()
	nh, nw := c.Grid(c.ImageSize, c.ImageSize)
	triangle := 0.0
	if len(names) == 3 {
		triangle = width*math.Sqrt(3)/2 + 52
	}
	const head, foot = 26.0, 34.0
	d := &Drawing{
		Width:  2*margin + float64(len(alphas))*(width+28) - 28,
		Height: 2*margin + head + triangle + bars*(barH+2) + foot,
	}
	for i, alpha := range alphas {
		x0, y0 := margin+float64(i)*(width+28), margin
		d.title(x0+width/2, y0+14, 13, "middle", fmt.Sprintf("α = %g", alpha))
		y0 += head
		rng := nn.NewRNG(seed, nn.Hash("figure alpha"), uint64(i))
		masks, err := multimae.DrawMasks(&rng, samples, names, nh*nw, multimae.MaskOptions{Visible: visible, Alphas: []float64{alpha}})
		if err != nil {
			return nil, err
		}
		shares := make([][]float64, samples)
		for s := range shares {
			shares[s] = make([]float64, len(names))
			for k, name := range names {
				for _, hidden := range masks.Task(s, name) {
					if !hidden {
						shares[s][k] += 1 / float64(visible)
					}
				}
			}
		}
		if triangle > 0 {
			corners := [3]point{{x0 + 14, y0 + triangle - 34}, {x0 + width - 14, y0 + triangle - 34}, {x0 + width/2, y0 + triangle - 34 - (width-28)*math.Sqrt(3)/2}}
			for k := range corners {
				a, b := corners[k], corners[(k+1)%3]
				d.line(a.x, a.y, b.x, b.y, 1, soft)
			}
			for k, anchor := range []string{"start", "end", "middle"} {
				y := corners[k].y + 14
				if k == 2 {
					y = corners[k].y - 6
				}
				x := corners[k].x + []float64{-14, 14, 0}[k]
				d.text(x, y, 11, anchor, series[k], word(names[k]))
			}
			for _, s := range shares {
				var p point
				for k, c := range corners {
					p.x += s[k] * c.x
					p.y += s[k] * c.y
				}
				d.dot(p.x, p.y, 1.5, ink)
			}
		}
		y := y0 + triangle
		for _, s := range shares[:bars] {
			x := x0
			for k, v := range s {
				if v > 0 {
					d.rect(x, y, v*width, barH, series[k%len(series)])
				}
				x += v * width
			}
			y += barH + 2
		}
	}
	x, y := margin, d.Height-margin-4
	for k, name := range names {
		d.rect(x, y-9, 10, 10, series[k%len(series)])
		d.text(x+15, y, 11, "start", ink, word(name))
		x += 30 + 7*float64(len(word(name)))
	}
	d.text(x, y, 11, "start", soft, fmt.Sprintf("shares of %d visible patches", visible))
	return d, nil
}
