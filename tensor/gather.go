package tensor

import (
	"fmt"

	"github.com/gomae/gomae/asm"
)

// Source is one term of a GatherSum: row Rows[r] of Table is added to row r of
// the result, nothing where Rows[r] is negative.
type Source struct {
	Table *Tensor // its last axis is that of the result
	Rows  []int32 // one for each row of the result; must stay unchanged until Reset
}

// gatherCols is how many columns a worker takes: two cache lines, so that
// workers never write to one line.
const gatherCols = 32

// GatherSum returns the sum of rows picked from tables, a tensor of the given
// shape: tokens put in their places, embeddings looked up, position tables
// added. A row may be picked any number of times.
func GatherSum(t *Tape, shape []int, sources ...Source) *Tensor {
	y := t.New(shape...)
	rows, d := y.Rows(), y.Cols()
	inputs := make([]*Tensor, len(sources))
	for k, s := range sources {
		inputs[k] = s.Table
		mustBe("GatherSum columns of a table", s.Table.Cols(), d)
		mustBe("GatherSum rows picked", len(s.Rows), rows)
		for _, r := range s.Rows {
			if n := s.Table.Rows(); int(r) >= n {
				panic(fmt.Sprintf("tensor: GatherSum row, got %d, want below %d", r, n))
			}
		}
	}
	t.each(rows, 1+(1<<13)/(d+1), func(_, from, to int) {
		for r := from; r < to; r++ {
			o := y.Data[r*d : (r+1)*d]
			first := true
			for _, s := range sources {
				if s.Rows[r] < 0 {
					continue
				}
				in := s.Table.Data[int(s.Rows[r])*d:][:d]
				if first {
					copy(o, in)
				} else {
					asm.Add(o, o, in)
				}
				first = false
			}
			if first {
				clear(o)
			}
		}
	})
	if t.Record("gather", y, inputs...) {
		t.Back(func() {
			for _, s := range sources {
				if g, fresh := t.RawGrad(s.Table); g != nil {
					scatterAdd(t, g, fresh, s, y.Grad, d)
				}
			}
		})
	}
	return y
}

// scatterAdd adds the rows of dy to the rows of g that they came from. It is
// split by columns: any number of rows may meet in one.
func scatterAdd(t *Tape, g []float32, fresh bool, s Source, dy []float32, d int) {
	tableRows := s.Table.Rows()
	// A row that is picked often, as a mask token is, would lose digits in a
	// long float32 sum.
	wide := tableRows*4 <= len(s.Rows)
	t.each(d, gatherCols, func(w, c0, c1 int) {
		if fresh {
			for r := range tableRows {
				clear(g[r*d+c0 : r*d+c1])
			}
		}
		if !wide {
			for r, to := range s.Rows {
				if to >= 0 {
					o := g[int(to)*d+c0 : int(to)*d+c1]
					asm.Add(o, o, dy[r*d+c0:r*d+c1])
				}
			}
			return
		}
		n := c1 - c0
		sums := t.scratch64(w, tableRows*n)
		clear(sums)
		for r, to := range s.Rows {
			if to < 0 {
				continue
			}
			o := sums[int(to)*n:][:n]
			for j, v := range dy[r*d+c0 : r*d+c1] {
				o[j] += float64(v)
			}
		}
		for r := range tableRows {
			o := g[r*d+c0 : r*d+c1]
			for j := range o {
				o[j] += float32(sums[r*n+j])
			}
		}
	})
}

// AddScaled returns x + scale[b]·h for x and h of B sequences, [B, ...]: the
// end of a residual branch that is dropped for some samples.
func AddScaled(t *Tape, x, h *Tensor, scale []float32) *Tensor {
	mustShape("AddScaled branch", h, x.Shape...)
	mustBe("AddScaled scales", len(scale), x.Shape[0])
	y := t.New(x.Shape...)
	n := len(x.Data) / max(1, len(scale))
	t.Parallel(len(scale), func(_, b int) {
		o := y.Data[b*n : (b+1)*n]
		copy(o, x.Data[b*n:(b+1)*n])
		if scale[b] != 0 { // 0·Inf would be NaN: a dropped branch has no say
			asm.Axpy(o, h.Data[b*n:(b+1)*n], scale[b])
		}
	})
	if t.Record("residual", y, x, h) {
		t.Back(func() {
			if g, fresh := t.RawGrad(h); g != nil {
				t.Parallel(len(scale), func(_, b int) {
					putScaled(g[b*n:(b+1)*n], y.Grad[b*n:(b+1)*n], scale[b], fresh)
				})
			}
			t.passGrad(x, y)
		})
	}
	return y
}
