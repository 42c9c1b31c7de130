package vit

import (
	"fmt"
	"math"

	"github.com/gomae/gomae/tensor"
)

// SinCos writes the fixed position table of an nh×nw grid to dst [dim, nh, nw]: the channels are
// [sin(u·ω), cos(u·ω), sin(v·ω), cos(v·ω)] with u the row, v the column and ω_k =
// 10000^(−k/(dim/4)). dim is a multiple of 4.
//
// On a square grid this is the table of the published MultiMAE. On other grids the published index
// order mixes up rows and columns, while here u stays the row. A checkpoint brings a table of its
// own, which is used instead of this one.
func SinCos(dst []float32, dim, nh, nw int) {
	if dim%4 != 0 || len(dst) != dim*nh*nw {
		panic(fmt.Sprintf("vit: SinCos, got dim %d and %d values, want a multiple of 4 and %d", dim, len(dst), dim*nh*nw))
	}
	q := dim / 4
	for k := range q {
		omega := math.Pow(10000, -float64(k)/float64(q))
		for u := range nh {
			for v := range nw {
				i := u*nw + v
				su, cu := math.Sincos(float64(u) * omega)
				sv, cv := math.Sincos(float64(v) * omega)
				for j, x := range [4]float64{su, cu, sv, cv} {
					dst[(j*q+k)*nh*nw+i] = float32(x)
				}
			}
		}
	}
}

// Resampling says how a position table is resized to another grid.
type Resampling int

// Image modalities use Bicubic (a = −0.75), class maps and decoders Bilinear. Both have
// align_corners=false and no antialiasing.
const (
	Bicubic Resampling = iota
	Bilinear
)

// PositionRows returns the position table [dim, nh, nw], resampled to th×tw, in token order:
// [th·tw, dim]. The workers of the tape share the work, which ends with the context of Tape.Until;
// the result outlives the tape.
func PositionRows(t *tensor.Tape, table []float32, dim, nh, nw, th, tw int, r Resampling) []float32 {
	if len(table) != dim*nh*nw {
		panic(fmt.Sprintf("vit: PositionRows, got %d values, want %d×%d×%d", len(table), dim, nh, nw))
	}
	rows := make([]float32, th*tw*dim)
	same := th == nh && tw == nw
	var ys, xs []tap
	if !same {
		ys, xs = resampleTaps(nh, th, r), resampleTaps(nw, tw, r)
	}
	// A piece of the work is a few positions side by side, which take milliseconds at most.
	const span = 16
	spans := (tw + span - 1) / span
	t.Parallel(th*spans, func(_, piece int) {
		i, from := piece/spans, piece%spans*span
		to := min(tw, from+span)
		for c := range dim {
			plane := table[c*nh*nw:][:nh*nw]
			for j := from; j < to; j++ {
				if same {
					rows[(i*tw+j)*dim+c] = plane[i*nw+j]
					continue
				}
				y, x := &ys[i], &xs[j]
				sum := 0.0
				for a := range y.at {
					line := 0.0
					for b := range x.at {
						line += x.weight[b] * float64(plane[y.at[a]*nw+x.at[b]])
					}
					sum += y.weight[a] * line
				}
				rows[(i*tw+j)*dim+c] = float32(sum)
			}
		}
	})
	return rows
}

// tap is what an output position is computed from: four input positions, clamped to the border, and
// their weights.
type tap struct {
	at     [4]int
	weight [4]float64
}

func resampleTaps(in, out int, r Resampling) []tap {
	taps := make([]tap, out)
	for i := range taps {
		src := (float64(i)+0.5)*float64(in)/float64(out) - 0.5
		if r == Bilinear {
			src = max(src, 0)
		}
		base := math.Floor(src)
		f := src - base
		w := [4]float64{0, 1 - f, f, 0}
		if r == Bicubic {
			w = [4]float64{cubic(1 + f), cubic(f), cubic(1 - f), cubic(2 - f)}
		}
		for k := range 4 {
			taps[i].at[k] = min(max(int(base)-1+k, 0), in-1)
		}
		taps[i].weight = w
	}
	return taps
}

// cubic is the convolution kernel of Keys (1981) with a = −0.75.
func cubic(x float64) float64 {
	const a = -0.75
	if x <= 1 {
		return ((a+2)*x-(a+3))*x*x + 1
	}
	return a * (((x-5)*x+8)*x - 4)
}
