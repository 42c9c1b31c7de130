package tensor

import (
	"math"
	"slices"

	"github.com/gomae/gomae/asm"
)

// ConcatCols joins tensors along their last axis: [..., C₁], [..., C₂], … give
// [..., C₁+C₂+…].
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
				g, fresh := t.RawGrad(xs[part])
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

// MeanRows returns the mean of the N rows of each sequence of x [B, N, D], of
// its tokens: [B, D].
func MeanRows(t *Tape, x *Tensor) *Tensor {
	mustBe("MeanRows axes", len(x.Shape), 3)
	batch, n, d := x.Shape[0], x.Shape[1], x.Shape[2]
	y := t.New(batch, d)
	t.Parallel(batch, func(_, b int) {
		o := y.Data[b*d : (b+1)*d]
		clear(o)
		asm.AddRows(o, x.Data[b*n*d:], n, d, d)
		asm.Scale(o, o, 1/float32(n))
	})
	if t.Record("mean", y, x) {
		t.Back(func() {
			g, fresh := t.RawGrad(x)
			t.each(batch*n, 64, func(_, from, to int) {
				for r := from; r < to; r++ {
					o, dy := g[r*d:(r+1)*d], y.Grad[r/n*d:][:d]
					putScaled(o, dy, 1/float32(n), fresh)
				}
			})
		})
	}
	return y
}

// NormalizeRows divides each row of x [..., D] by its Euclidean norm. A row of
// zeros becomes NaN.
func NormalizeRows(t *Tape, x *Tensor) *Tensor {
	d := x.Cols()
	y := t.New(x.Shape...)
	var inverse []float32 // norms
	if t.Recording() {
		inverse = t.Values(x.Rows())
	}
	t.each(x.Rows(), 64, func(_, from, to int) {
		for r := from; r < to; r++ {
			row := x.Data[r*d : (r+1)*d]
			f := float32(1 / math.Sqrt(asm.SumSq(row)))
			asm.Scale(y.Data[r*d:(r+1)*d], row, f)
			if inverse != nil {
				inverse[r] = f
			}
		}
	})
	if t.Record("normalisation", y, x) {
		t.Back(func() {
			// dx += (dy − y·(y·dy)) / norm
			g, fresh := t.RawGrad(x)
			t.each(len(inverse), 64, func(_, from, to int) {
				for r := from; r < to; r++ {
					row, dy, o := y.Data[r*d:(r+1)*d], y.Grad[r*d:(r+1)*d], g[r*d:(r+1)*d]
					asm.Axpy(dy, row, -asm.Dot(row, dy))
					putScaled(o, dy, inverse[r], fresh)
				}
			})
		})
	}
	return y
}

// MatMulT returns a·bᵀ, [B, M, N], of the matrices a [B, M, K] and b [B, N, K].
func MatMulT(t *Tape, a, b *Tensor) *Tensor {
	mustBe("MatMulT axes", len(a.Shape), 3)
	batch, m, k := a.Shape[0], a.Shape[1], a.Shape[2]
	mustBe("MatMulT axes", len(b.Shape), 3)
	n := b.Shape[1]
	mustShape("MatMulT second matrix", b, batch, n, k)
	y := t.New(batch, m, n)
	for i := range batch {
		right := operand{matrix: rowMajor(b.Data[i*n*k:], k).transposed()}
		t.gemm(y.Data[i*m*n:], n, rowMajor(a.Data[i*m*k:], k), right, m, n, k, epilogue{})
	}
	if t.Record("matrix product", y, a, b) {
		t.Back(func() {
			if da, fresh := t.RawGrad(a); da != nil {
				for i := range batch {
					right := operand{matrix: rowMajor(b.Data[i*n*k:], k)}
					g := da[i*m*k:]
					t.gemm(g, k, rowMajor(y.Grad[i*m*n:], n), right, m, k, n, epilogue{accumulate: !fresh})
				}
			}
			if m == 0 {
				t.Grad(b) // zeros, where nothing was added yet
				return
			}
			db, fresh := t.RawGrad(b)
			if db == nil {
				return
			}
			for i := range batch {
				right := operand{matrix: rowMajor(a.Data[i*m*k:], k)}
				g := db[i*n*k:]
				t.gemm(g, k, rowMajor(y.Grad[i*m*n:], n).transposed(), right, n, k, m, epilogue{accumulate: !fresh})
			}
		})
	}
	return y
}
