package tensor

import (
	"fmt"

	"github.com/gomae/gomae/asm"
)

// Images are [B, H, W, C], channels last: tokens in rows and columns are that
// already, and a 1×1 convolution is Linear. Weights have PyTorch's axes,
// channels before the kernel's rows and columns, here called taps.

// Conv2D returns the convolution (not mirrored, as is usual) of images x
// [B, H, W, C] with a weight w [O, C, kh, kw] and a bias b [O] or nil: images
// [B, H', W', O], H' = (H+2·pad−kh)/stride+1, W' likewise. Around x are pad
// pixels of 0.
func Conv2D(t *Tape, x, w, b *Tensor, stride, pad int) *Tensor {
	batch, height, width, c := imagesOf("Conv2D", x)
	mustBe("Conv2D axes of the weight", len(w.Shape), 4)
	o, kh, kw := w.Shape[0], w.Shape[2], w.Shape[3]
	mustBe("Conv2D channels of the weight", w.Shape[1], c)
	if b != nil {
		mustBe("Conv2D len(bias)", len(b.Data), o)
	}
	rows, cols := convSize("Conv2D", height, kh, stride, pad), convSize("Conv2D", width, kw, stride, pad)
	if kh == 1 && kw == 1 && stride == 1 && pad == 0 {
		return Linear(t, x, w, b)
	}
	y := t.New(batch, rows, cols, o)
	in := &window{x: x.Data, h: height, w: width, c: c, rows: rows, cols: cols, kh: kh, kw: kw, stride: stride, top: pad, left: pad}
	panels := packTaps(t, w, true)
	var e epilogue
	if b != nil {
		e.bias = b.Data
	}
	t.gemm(y.Data, o, in, operand{panels: panels}, batch*rows*cols, o, kh*kw*c, e)
	unpackTaps(t, w, panels)
	if t.Record("convolution", y, x, w, b) {
		t.Back(func() { conv2DBackward(t, y, x, w, b, in) })
	}
	return y
}

// conv2DBackward adds, with dy [B, H', W', O] and taps k of the kernel:
//
//	dw[k] [C, O] += xₖᵀ·dy, xₖ being x as the tap sees it
//	dx += the convolution of dy, spread out by the stride, with w mirrored
func conv2DBackward(t *Tape, y, x, w, b *Tensor, in *window) {
	dy, o := y.Grad, w.Shape[0]
	pixels := y.Rows()
	if w.needsGrad() {
		right := operand{panels: t.buffers.take(asm.PackedLen(pixels, o))}
		packPanels(t, right.panels, rowMajor(dy, o), pixels, o)
		dw := t.buffers.take(len(w.Data)) // [taps, C, O]
		for k := range in.kh * in.kw {
			t.gemm(dw[k*in.c*o:], o, tapOf{in, k / in.kw, k % in.kw}, right, in.c, o, pixels, epilogue{})
		}
		addTaps(t, w, dw)
		t.buffers.give(dw)
		t.buffers.give(right.panels)
	}
	biasBackward(t, b, dy)
	dx, fresh := t.rawGrad(x)
	if dx == nil {
		return
	}
	out := &window{x: dy, h: in.rows, w: in.cols, c: o, rows: in.h, cols: in.w, kh: in.kh, kw: in.kw, stride: 1, top: in.kh - 1 - in.top, left: in.kw - 1 - in.left}
	if in.stride > 1 {
		out.spread(t, x.Shape[0], in.stride)
		defer t.buffers.give(out.x)
	}
	m, k, c := x.Rows(), in.kh*in.kw*o, in.c
	mirrored := t.buffers.take(len(w.Data)) // [taps, O, C]
	moveTaps(t, mirrored, w, c, o*c, true)
	right := operand{panels: t.buffers.take(asm.PackedLen(k, c))}
	packPanels(t, right.panels, rowMajor(mirrored, c), k, c)
	t.gemm(dx, c, out, right, m, c, k, epilogue{accumulate: !fresh})
	t.buffers.give(right.panels)
	t.buffers.give(mirrored)
}

// ConvTranspose2D returns the transposed convolution of images x [B, H, W, C]
// with a weight w [C, O, k, k], whose stride is its kernel, and a bias b [O] or
// nil: each pixel becomes k×k of them, [B, H·k, W·k, O].
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
	panels := packTaps(t, w, false)
	t.gemm(z, n, rowMajor(x.Data, c), operand{panels: panels}, pixels, n, c, e)
	unpackTaps(t, w, panels)
	t.eachRun(batch*height, width, k, o, func(fine, coarse, n int) { copy(y.Data[fine:fine+n], z[coarse:]) })
	t.buffers.give(e.bias)
	t.buffers.give(z)
	if t.Record("transposed convolution", y, x, w, b) {
		t.Back(func() { convTranspose2DBackward(t, y, x, w, b) })
	}
	return y
}

// convTranspose2DBackward adds, with dz [pixels of x, taps·O] the values of dy
// in another order:
//
//	dx [pixels, C] += dz·wᵀ        dw [taps·O, C] += dzᵀ·x
func convTranspose2DBackward(t *Tape, y, x, w, b *Tensor) {
	c, o, k := w.Shape[0], w.Shape[1], w.Shape[2]
	pixels, n := x.Rows(), k*k*o
	dz := t.buffers.take(pixels * n)
	t.eachRun(x.Shape[0]*x.Shape[1], x.Shape[2], k, o, func(fine, coarse, n int) { copy(dz[coarse:coarse+n], y.Grad[fine:]) })
	if w.needsGrad() {
		dw := t.buffers.take(len(w.Data))
		clear(dw)
		if pixels > 0 {
			right := operand{panels: t.buffers.take(asm.PackedLen(pixels, c))}
			packPanels(t, right.panels, rowMajor(x.Data, c), pixels, c)
			t.gemm(dw, c, rowMajor(dz, n).transposed(), right, n, c, pixels, epilogue{})
			t.buffers.give(right.panels)
		}
		addTaps(t, w, dw)
		t.buffers.give(dw)
	}
	biasBackward(t, b, y.Grad)
	if dx, fresh := t.rawGrad(x); dx != nil {
		flat := t.buffers.take(len(w.Data)) // [C, taps, O]
		moveTaps(t, flat, w, n, o, false)
		t.gemm(dx, c, rowMajor(dz, n), operand{matrix: rowMajor(flat, n).transposed()}, pixels, c, n, epilogue{accumulate: !fresh})
		t.buffers.give(flat)
	}
	t.buffers.give(dz)
}

// imagesOf returns the axes of images.
func imagesOf(op string, x *Tensor) (batch, height, width, channels int) {
	mustBe(op+" axes of x", len(x.Shape), 4)
	return x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
}

// convSize is how many places a kernel of k taps has along an axis of n pixels.
func convSize(op string, n, k, stride, pad int) int {
	if stride < 1 || pad < 0 {
		panic(fmt.Sprintf("tensor: %s stride and padding, got %d and %d, want at least 1 and 0", op, stride, pad))
	}
	if k < 1 || k > n+2*pad {
		panic(fmt.Sprintf("tensor: %s kernel, got %d, want 1 to %d, the padded image", op, k, n+2*pad))
	}
	return (n+2*pad-k)/stride + 1
}

// window is a matrix gathered from images. Its rows are places of a kernel,
// rows×cols of them in an image, and its columns the (ky, kx, channel) that the
// kernel has under it there. Only what a block of a product needs is ever in memory.
type window struct {
	x                 []float32 // [batch, h, w, c]
	h, w, c           int
	rows, cols        int
	kh, kw            int
	stride, top, left int // padding at the top and to the left; it may be negative
}

func (g *window) inPlace() bool { return false }

func (g *window) part(dst []float32, i0, i1, k0, k1 int) matrix {
	n, span := k1-k0, g.kw*g.c
	for i := i0; i < i1; i++ {
		row := dst[(i-i0)*n:][:n]
		image, y, x := i/(g.rows*g.cols), i/g.cols%g.rows*g.stride-g.top, i%g.cols*g.stride-g.left
		lo, hi := inside(x, g.kw, g.w)
		for ky := range g.kh {
			// Columns of this row of the kernel, and those within the image,
			// which lie side by side.
			k := ky * span
			from, to := max(k0, k), min(k1, k+span)
			if from >= to {
				continue
			}
			first, last := min(max(from, k+lo*g.c), to), max(from, min(to, k+hi*g.c))
			if y+ky < 0 || y+ky >= g.h || first >= last {
				clear(row[from-k0 : to-k0])
				continue
			}
			clear(row[from-k0 : first-k0])
			copy(row[first-k0:last-k0], g.x[((image*g.h+y+ky)*g.w+x)*g.c+first-k:])
			clear(row[last-k0 : to-k0])
		}
	}
	return matrix{dst, n, 1}
}

// inside is the range of k < n for which 0 ≤ at+k < size.
func inside(at, n, size int) (lo, hi int) {
	lo = min(max(0, -at), n)
	return lo, max(lo, min(n, size-at))
}

// spread puts stride−1 zeros between the pixels of x, in memory of its own.
func (g *window) spread(t *Tape, batch, stride int) {
	h, w := (g.h-1)*stride+1, (g.w-1)*stride+1
	x := t.buffers.take(batch * h * w * g.c)
	t.Parallel(batch*h, func(_, i int) {
		row := x[i*w*g.c : (i+1)*w*g.c]
		clear(row)
		if image, y := i/h, i%h; y%stride == 0 {
			from := g.x[(image*g.h+y/stride)*g.w*g.c:]
			for px := range g.w {
				copy(row[px*stride*g.c:][:g.c], from[px*g.c:])
			}
		}
	})
	g.x, g.h, g.w = x, h, w
}

// tapOf is the transpose of a window's columns of one tap: [c, places].
type tapOf struct {
	*window
	ky, kx int
}

func (g tapOf) part(dst []float32, i0, i1, k0, k1 int) matrix {
	m := i1 - i0
	for p := k0; p < k1; {
		image, y, x := p/(g.rows*g.cols), p/g.cols%g.rows*g.stride-g.top+g.ky, p%g.cols
		n := min(g.cols-x, k1-p) // places in this row of the image
		// Those whose pixel is within it: its column is place·stride − off.
		off := g.left - g.kx
		lo := min(n, max(0, (max(0, off)+g.stride-1)/g.stride-x))
		hi := max(lo, min(n, max(0, g.w-1+off+g.stride)/g.stride-x))
		if y < 0 || y >= g.h {
			lo, hi = n, n
		}
		o := dst[(p-k0)*m:][:n*m]
		clear(o[:lo*m])
		if lo < hi {
			asm.PackA(o[lo*m:], g.x[((image*g.h+y)*g.w+(x+lo)*g.stride-off)*g.c+i0:], m, hi-lo, g.stride*g.c)
		}
		clear(o[hi*m:])
		p += n
	}
	return matrix{dst, 1, m}
}

// packTaps packs a weight w [A, B, taps] as [A, taps·B], or its transpose, for
// gemm. Call unpackTaps when the panels are no longer needed; those of a frozen
// weight are kept.
func packTaps(t *Tape, w *Tensor, transposed bool) []float32 {
	a, n := w.Shape[0], size(w.Shape[1:])
	k := a
	if transposed {
		k, n = n, a
	}
	pack := func(panels []float32) {
		flat := t.buffers.take(len(w.Data))
		cols := size(w.Shape[1:])
		moveTaps(t, flat, w, cols, w.Shape[1], false)
		m := rowMajor(flat, cols)
		if transposed {
			m = m.transposed()
		}
		packPanels(t, panels, m, k, n)
		t.buffers.give(flat)
	}
	if w.frozen {
		w.packed.once.Do(func() {
			w.packed.panels = alloc(asm.PackedLen(k, n))
			pack(w.packed.panels)
		})
		return w.packed.panels
	}
	panels := t.buffers.take(asm.PackedLen(k, n))
	pack(panels)
	return panels
}

func unpackTaps(t *Tape, w *Tensor, panels []float32) {
	if !w.frozen {
		t.buffers.give(panels)
	}
}

// moveTaps writes the value (a, b, k) of a weight w [A, B, taps] to
// dst[a*strideA + k*strideTap + b], the taps in reverse if it is to be mirrored.
func moveTaps(t *Tape, dst []float32, w *Tensor, strideA, strideTap int, mirror bool) {
	n, taps := w.Shape[1], size(w.Shape[2:])
	t.each(w.Shape[0], 1+(1<<12)/(n*taps+1), func(_, from, to int) {
		for a := from; a < to; a++ {
			in := w.Data[a*n*taps : (a+1)*n*taps]
			for k := range taps {
				at := k
				if mirror {
					at = taps - 1 - k
				}
				out := dst[a*strideA+at*strideTap:][:n]
				for b := range out {
					out[b] = in[b*taps+k]
				}
			}
		}
	})
}

// addTaps adds dw [taps, B, A] to the gradient of a weight w [A, B, taps].
func addTaps(t *Tape, w *Tensor, dw []float32) {
	g, fresh := t.rawGrad(w)
	rows, n, taps := w.Shape[0], w.Shape[1], size(w.Shape[2:])
	// A cache line of dw at a time.
	t.each(rows, 16, func(_, from, to int) {
		if fresh {
			clear(g[from*n*taps : to*n*taps])
		}
		for b := range n {
			for k := range taps {
				for a, v := range dw[(k*n+b)*rows+from : (k*n+b)*rows+to] {
					g[((from+a)*n+b)*taps+k] += v
				}
			}
		}
	})
}

// biasRows is how many pixels share a partial sum of a bias's gradient. One sum
// over all pixels would lose digits.
const biasRows = 1024

// biasBackward adds the column sums of dy to the gradient of b, if it has one.
func biasBackward(t *Tape, b *Tensor, dy []float32) {
	if b == nil {
		return
	}
	g := t.Grad(b)
	if g == nil {
		return
	}
	n := len(g)
	rows := len(dy) / max(1, n)
	parts := blocks(rows, biasRows)
	partial := t.buffers.take(parts * n)
	t.Parallel(parts, func(_, i int) {
		from, to := block(rows, parts, i)
		p := partial[i*n : (i+1)*n]
		clear(p)
		asm.AddRows(p, dy[from*n:], to-from, n, n)
	})
	asm.AddRows(g, partial, parts, n, n)
	t.buffers.give(partial)
}
