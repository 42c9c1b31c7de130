package tensor

import "github.com/gomae/gomae/asm"

// Images are [B, H, W, C], channels last: tokens in rows and columns are that already, and a 1×1
// convolution is Linear. Weights have PyTorch's axes, channels before the kernel's rows and
// columns, here called taps.

// Conv2D returns the convolution (not mirrored, as is usual) of images x [B, H, W, C] with a weight
// w [O, C, kh, kw] and a bias b [O] or nil: images [B, H', W', O], H' = (H+2·pad−kh)/stride+1, W'
// likewise. Around x are pad pixels of 0.
func Conv2D(t *Tape, x, w, b *Tensor, stride, pad int) *Tensor {
	_, _, _, c := imagesOf("Conv2D", x)
	mustBe("Conv2D axes of the weight", len(w.Shape), 4)
	o, kh, kw := w.Shape[0], w.Shape[2], w.Shape[3]
	mustBe("Conv2D channels of the weight", w.Shape[1], c)
	if b != nil {
		mustBe("Conv2D len(bias)", len(b.Data), o)
	}
	in := newWindow("Conv2D", x, kh, kw, stride, pad)
	if kh == 1 && kw == 1 && stride == 1 && pad == 0 {
		return Linear(t, x, w, b)
	}
	y := t.New(in.batch, in.rows, in.cols, o)
	right := packTaps(t, w, true)
	var e epilogue
	if b != nil {
		e.bias = b.Data
	}
	t.gemm(y.Data, in, right, e)
	releaseTaps(t, w, right)
	if t.Record("convolution", y, x, w, b) {
		t.Back(func() { conv2DBackward(t, y, x, w, b, in) })
	}
	return y
}

// conv2DBackward adds, with dy [B, H', W', O] and taps k of the kernel:
//
//	dw[k] [C, O] += xₖᵀ·dy, xₖ being x as the tap sees it
//	dx += the convolution of dy with w mirrored, one for each phase of the stride
func conv2DBackward(t *Tape, y, x, w, b *Tensor, in *window) {
	dy, o := y.Grad, w.Shape[0]
	if w.needsGrad() {
		right := t.packed(rowMajor(dy, y.Rows(), o))
		dw := t.buffers.take(len(w.Data)) // [taps, C, O]
		for k := range in.kh * in.kw {
			t.gemm(dw[k*in.c*o:], tapOf{in, k / in.kw, k % in.kw}, right, epilogue{})
		}
		addTaps(t, w, dw)
		t.buffers.give(dw)
		t.buffers.give(right.panels)
	}
	biasBackward(t, b, dy)
	if dx, fresh := t.rawGrad(x); dx != nil {
		taps := t.buffers.take(len(w.Data)) // [taps, O, C]
		moveTaps(t, taps, w, in.c, o*in.c, in.mirrored)
		for phase, rest := 0, taps; phase < in.stride*in.stride; phase++ {
			ry, rx := phase/in.stride, phase%in.stride
			out := in.reversed(dy, o, ry, rx)
			k := out.kh * out.kw * o
			right := t.packed(rowMajor(rest[:k*in.c], k, in.c))
			if in.stride == 1 {
				t.gemm(dx, out, right, epilogue{accumulate: !fresh})
			} else {
				z := t.buffers.take(in.batch * out.rows * out.cols * in.c)
				t.gemm(z, out, right, epilogue{})
				in.addPhase(t, dx, z, ry, rx, fresh)
				t.buffers.give(z)
			}
			t.buffers.give(right.panels)
			rest = rest[k*in.c:]
		}
		t.buffers.give(taps)
	}
}

// ConvTranspose2D returns the transposed convolution of images x [B, H, W, C] with a weight w [C,
// O, k, k], whose stride is its kernel, and a bias b [O] or nil: each pixel becomes k×k of them,
// [B, H·k, W·k, O].
func ConvTranspose2D(t *Tape, x, w, b *Tensor) *Tensor {
	batch, height, width, c := imagesOf("ConvTranspose2D", x)
	mustBe("ConvTranspose2D axes of the weight", len(w.Shape), 4)
	o, k := w.Shape[1], w.Shape[2]
	mustShape("ConvTranspose2D weight", w, c, o, k, k)
	y := t.New(batch, height*k, width*k, o)
	pixels, n := batch*height*width, k*k*o
	z := t.buffers.take(pixels * n) // [pixels, taps, O]
	var e epilogue
	if b != nil {
		mustBe("ConvTranspose2D len(bias)", len(b.Data), o)
		e.bias = t.buffers.take(n)
		for tap := range k * k {
			copy(e.bias[tap*o:], b.Data)
		}
	}
	right := packTaps(t, w, false)
	t.gemm(z, rowMajor(x.Data, pixels, c), right, e)
	releaseTaps(t, w, right)
	t.eachRun(batch*height, width, k, o, func(fine, coarse, n int) { copy(y.Data[fine:fine+n], z[coarse:]) })
	t.buffers.give(e.bias)
	t.buffers.give(z)
	if t.Record("transposed convolution", y, x, w, b) {
		t.Back(func() { convTranspose2DBackward(t, y, x, w, b) })
	}
	return y
}

// convTranspose2DBackward adds, with dz [pixels of x, taps·O] the values of dy in another order:
//
//	dx [pixels, C] += dz·wᵀ        dw [taps·O, C] += dzᵀ·x
func convTranspose2DBackward(t *Tape, y, x, w, b *Tensor) {
	c, o, k := w.Shape[0], w.Shape[1], w.Shape[2]
	pixels, n := x.Rows(), k*k*o
	dz := t.buffers.take(pixels * n)
	t.eachRun(x.Shape[0]*x.Shape[1], x.Shape[2], k, o, func(fine, coarse, n int) { copy(dz[coarse:coarse+n], y.Grad[fine:]) })
	left := rowMajor(dz, pixels, n)
	if w.needsGrad() {
		right := t.packed(rowMajor(x.Data, pixels, c))
		dw := t.buffers.take(len(w.Data)) // [taps·O, C]
		t.gemm(dw, left.transposed(), right, epilogue{})
		addTaps(t, w, dw)
		t.buffers.give(dw)
		t.buffers.give(right.panels)
	}
	biasBackward(t, b, y.Grad)
	if dx, fresh := t.rawGrad(x); dx != nil {
		flat := t.buffers.take(len(w.Data)) // [C, taps·O]
		moveTaps(t, flat, w, n, o, nil)
		t.gemm(dx, left, rhs{matrix: rowMajor(flat, c, n).transposed()}, epilogue{accumulate: !fresh})
		t.buffers.give(flat)
	}
	t.buffers.give(dz)
}

// biasRows is how many pixels share a partial sum of a bias's gradient. One sum over all pixels
// would lose digits.
const biasRows = 1024

// biasBackward adds the column sums of dy to the gradient of b, if it has one.
func biasBackward(t *Tape, b *Tensor, dy []float32) {
	g := t.Grad(b)
	if g == nil {
		return
	}
	n := len(g)
	rows := len(dy) / max(1, n)
	parts := ceilDiv(rows, biasRows)
	partial := t.buffers.take(parts * n)
	t.Parallel(parts, func(_, i int) {
		from, to := split(rows, parts, i)
		p := partial[i*n : (i+1)*n]
		clear(p)
		asm.AddRows(p, dy[from*n:], to-from, n, n)
	})
	asm.AddRows(g, partial, parts, n, n)
	t.buffers.give(partial)
}
