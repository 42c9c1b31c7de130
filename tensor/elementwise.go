package tensor

import "github.com/gomae/gomae/asm"

// span is how many values of an elementwise operation a worker takes at once.
const span = 1 << 14

// Add returns x + y, of the same shape.
func Add(t *Tape, x, y *Tensor) *Tensor {
	mustShape("Add's second term", y, x.Shape...)
	z := t.New(x.Shape...)
	t.each(len(z.Data), span, func(_, i, j int) { asm.Add(z.Data[i:j], x.Data[i:j], y.Data[i:j]) })
	if t.Record("sum", z, x, y) {
		t.Back(func() {
			if g, fresh := t.rawGrad(y); g != nil {
				t.each(len(g), span, func(_, i, j int) { put(g[i:j], z.Grad[i:j], fresh) })
			}
			t.passGrad(x, z)
		})
	}
	return z
}

// ReLU returns max(x, 0); NaN stays NaN. Its gradient at 0 is 0.
func ReLU(t *Tape, x *Tensor) *Tensor {
	return elementwise(t, "ReLU", x,
		func(y []float32, from int) { asm.ReLU(y, x.Data[from:from+len(y)]) },
		func(dy, y []float32, from int) { asm.ReLUBackward(dy, y, dy) })
}

// Mul returns x times constants, one for each of its values, such as a mask for dropout.
func Mul(t *Tape, x *Tensor, scale []float32) *Tensor {
	mustBe("Mul constants", len(scale), len(x.Data))
	return elementwise(t, "product", x,
		func(y []float32, from int) {
			for i, v := range x.Data[from : from+len(y)] {
				y[i] = v * scale[from+i]
			}
		},
		func(dy, y []float32, from int) {
			for i := range dy {
				dy[i] *= scale[from+i]
			}
		})
}

// elementwise is an operation on one value at a time. forward fills y, the part of the result that
// begins at value number from; backward turns dy, the gradient of such a part, into that of x.
func elementwise(t *Tape, op string, x *Tensor, forward func(y []float32, from int), backward func(dy, y []float32, from int)) *Tensor {
	y := t.New(x.Shape...)
	t.each(len(y.Data), span, func(_, i, j int) { forward(y.Data[i:j], i) })
	if t.Record(op, y, x) {
		t.Back(func() {
			t.each(len(y.Data), span, func(_, i, j int) { backward(y.Grad[i:j], y.Data[i:j], i) })
			t.passGrad(x, y)
		})
	}
	return y
}

// AddScaled returns x + scale[b]·h for x and h of B sequences, [B, ...]: the end of a residual
// branch that is dropped for some samples.
func AddScaled(t *Tape, x, h *Tensor, scale []float32) *Tensor {
	mustShape("AddScaled branch", h, x.Shape...)
	mustBe("AddScaled scales", len(scale), x.Shape[0])
	y := t.New(x.Shape...)
	n := len(x.Data) / max(1, len(scale))
	t.Parallel(len(scale), func(_, b int) {
		o := y.Data[b*n : (b+1)*n]
		copy(o, x.Data[b*n:(b+1)*n])
		if scale[b] != 0 { // 0·Inf would be NaN: a dropped branch must not matter
			asm.Axpy(o, h.Data[b*n:(b+1)*n], scale[b])
		}
	})
	if t.Record("residual", y, x, h) {
		t.Back(func() {
			if g, fresh := t.rawGrad(h); g != nil {
				t.Parallel(len(scale), func(_, b int) {
					putScaled(g[b*n:(b+1)*n], y.Grad[b*n:(b+1)*n], scale[b], fresh)
				})
			}
			t.passGrad(x, y)
		})
	}
	return y
}
