package tensor

import "github.com/gomae/gomae/asm"

// Linear returns x·wᵀ + b, [..., N], for x [..., K], a weight w of N rows of K values (its axes
// after the first taken as one, so that a convolution whose stride is its kernel can be written
// so), and b [N] or nil.
func Linear(t *Tape, x, w, b *Tensor) *Tensor {
	y := newLinear(t, x, w, b)
	linear(t, y.Data, x, w, b, epilogue{})
	if t.Record("linear", y, x, w, b) {
		t.Back(func() { linearBackward(t, y.Grad, x, w, b) })
	}
	return y
}

// LinearAdd returns res + x·wᵀ + b: a linear layer at the end of a residual branch. res has the
// shape of the result.
func LinearAdd(t *Tape, x, w, b, res *Tensor) *Tensor {
	y := newLinear(t, x, w, b)
	mustShape("LinearAdd residual", res, y.Shape...)
	linear(t, y.Data, x, w, b, epilogue{add: res.Data})
	if t.Record("linear", y, x, w, b, res) {
		t.Back(func() {
			linearBackward(t, y.Grad, x, w, b)
			t.passGrad(res, y)
		})
	}
	return y
}

// LinearGELU returns GELU(x·wᵀ + b), the exact GELU: see asm.GELU.
func LinearGELU(t *Tape, x, w, b *Tensor) *Tensor {
	y := newLinear(t, x, w, b)
	slope := y.Data // GELU's input, in its place
	if t.recording {
		slope = t.Values(len(y.Data))
	}
	linear(t, slope, x, w, b, epilogue{gelu: y.Data, slope: t.recording})
	if t.Record("linear and GELU", y, x, w, b) {
		y.fused.slope = slope
		t.Back(func() {
			dy := y.Grad
			if slope := y.takeSlope(); slope != nil {
				t.each(len(dy), 1<<13, func(_, i, j int) { asm.Mul(dy[i:j], dy[i:j], slope[i:j]) })
			}
			linearBackward(t, dy, x, w, b)
		})
	}
	return y
}

func newLinear(t *Tape, x, w, b *Tensor) *Tensor {
	n := w.Shape[0]
	mustBe("Linear size of the weight", size(w.Shape), n*x.Cols())
	if b != nil {
		mustBe("Linear len(bias)", len(b.Data), n)
	}
	return t.newLike(x, n)
}

// linear writes x·wᵀ + b, with the rest of an epilogue, to y.
func linear(t *Tape, y []float32, x, w, b *Tensor, e epilogue) {
	m, k := x.Rows(), x.Cols()
	if b != nil {
		e.bias = b.Data
	}
	if w.Data == nil && t.recording {
		panic("tensor: Linear with " + w.Name + ", got a packed weight, want a tape of NewInference")
	}
	t.gemm(y, rowMajor(x.Data, m, k), w.forward(t), e)
}

// linearBackward adds, with dy [m,n]:
//
//	dx [m,k] += dy·w        dw [n,k] += dyᵀ·x        db [n] += sum of dy's rows
func linearBackward(t *Tape, dy []float32, x, w, b *Tensor) {
	m, n, k := x.Rows(), w.Shape[0], x.Cols()
	if m == 0 { // a modality of which no patch is visible
		for _, v := range []*Tensor{w, b, x} {
			t.Grad(v) // zeros, if nothing has been added
		}
		return
	}
	left := rowMajor(dy, m, n)
	if dw, fresh := t.weightGrad(w, m); dw != nil {
		right := t.packed(rowMajor(x.Data, m, k)) // every task needs all of x
		t.gemm(dw, left.transposed(), right, epilogue{accumulate: !fresh, rowsSq: w.rowsSq(n)})
		t.buffers.give(right.panels)
	}
	if db := t.Grad(b); db != nil {
		t.each(n, 128, func(_, i, j int) { asm.AddRows(db[i:j], dy[i:], m, j-i, n) })
	}
	if dx, fresh := t.rawGrad(x); dx != nil {
		e := epilogue{accumulate: !fresh}
		if x.fused.reads == 1 {
			e.times = x.takeSlope()
		}
		t.gemm(dx, left, w.backward(), e)
	}
}
