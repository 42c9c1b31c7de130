package tensor

import (
	"fmt"
	"slices"

	"github.com/gomae/gomae/asm"
)

// Source is one term of a GatherSum: row Rows[r] of Table is added to row r of the result, or
// nothing if Rows[r] is negative.
type Source struct {
	Table *Tensor // its last axis is that of the result
	Rows  []int32 // one for each row of the result; must stay unchanged until Reset
}

// gatherCols is how many columns a worker takes: two cache lines, so that workers never write to
// one line.
const gatherCols = 32

// GatherSum returns the sum of rows picked from tables, a tensor of the given shape: tokens put in
// their places, embeddings looked up, position tables added. A row may be picked any number of
// times.
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
				if g, fresh := t.rawGrad(s.Table); g != nil {
					scatterAdd(t, g, fresh, s, y.Grad, d)
				}
			}
		})
	}
	return y
}

// PickRows returns those rows of x [..., D] one after another, [R, D].
func PickRows(t *Tape, x *Tensor, rows []int32) *Tensor {
	return GatherSum(t, []int{len(rows), x.Cols()}, Source{x, rows})
}

// scatterAdd adds the rows of dy to the rows of g that they came from. It is split by columns: any
// number of rows may meet in one.
func scatterAdd(t *Tape, g []float32, fresh bool, s Source, dy []float32, d int) {
	tableRows := s.Table.Rows()
	// The sum for a row that is picked often, such as a mask token, would lose digits in float32.
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

// ConcatCols joins tensors along their last axis: [..., C₁], [..., C₂], … give [..., C₁+C₂+…].
func ConcatCols(t *Tape, xs ...*Tensor) *Tensor {
	cols := 0
	for _, x := range xs {
		last := len(x.Shape) - 1
		want := append(slices.Clone(xs[0].Shape[:last]), x.Cols())
		mustShape("ConcatCols part", x, want...)
		cols += x.Cols()
	}
	y := t.newLike(xs[0], cols)
	xs = slices.Clone(xs)
	each := func(f func(k, from, to, at int)) { // values from..to of part k are those at at of the result
		t.each(y.Rows(), 1+span/(cols+1), func(_, r0, r1 int) {
			for r := r0; r < r1; r++ {
				at := r * cols
				for k, x := range xs {
					n := x.Cols()
					f(k, r*n, (r+1)*n, at)
					at += n
				}
			}
		})
	}
	each(func(k, from, to, at int) { copy(y.Data[at:at+to-from], xs[k].Data[from:to]) })
	if t.Record("concatenation", y, xs...) {
		t.Back(func() {
			for part := range xs {
				g, fresh := t.rawGrad(xs[part])
				if g == nil {
					continue
				}
				each(func(k, from, to, at int) {
					if k == part {
						put(g[from:to], y.Grad[at:at+to-from], fresh)
					}
				})
			}
		})
	}
	return y
}
