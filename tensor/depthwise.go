package tensor

import "github.com/gomae/gomae/asm"

// DepthwiseConv2D returns the convolution of each channel of images x [B, H, W, C] with a kernel of
// its own, w [C, 1, kh, kw], plus b [C] or nil: images [B, H+2·pad−kh+1, W+2·pad−kw+1, C]. Around x
// are pad pixels of 0.
func DepthwiseConv2D(t *Tape, x, w, b *Tensor, pad int) *Tensor {
	_, _, _, c := imagesOf("DepthwiseConv2D", x)
	mustBe("DepthwiseConv2D axes of the weight", len(w.Shape), 4)
	kh, kw := w.Shape[2], w.Shape[3]
	mustShape("DepthwiseConv2D weight", w, c, 1, kh, kw)
	if b != nil {
		mustBe("DepthwiseConv2D len(bias)", len(b.Data), c)
	}
	in := newWindow("DepthwiseConv2D", x, kh, kw, 1, pad)
	y := t.New(in.batch, in.rows, in.cols, c)
	taps := t.buffers.take(len(w.Data)) // [taps, C]
	moveTaps(t, taps, w, 1, c, nil)
	in.depthwise(t, y.Data, taps, func(out []float32) {
		if b == nil {
			clear(out)
			return
		}
		for i := 0; i < len(out); i += c {
			copy(out[i:], b.Data)
		}
	})
	t.buffers.give(taps)
	if t.Record("depthwise convolution", y, x, w, b) {
		t.Back(func() { depthwiseBackward(t, y, x, w, b, in) })
	}
	return y
}

func depthwiseBackward(t *Tape, y, x, w, b *Tensor, in *window) {
	dy := y.Grad
	if w.needsGrad() {
		in.depthwiseWeight(t, w, dy)
	}
	biasBackward(t, b, dy)
	if dx, fresh := t.rawGrad(x); dx != nil {
		mirrored := t.buffers.take(len(w.Data))
		moveTaps(t, mirrored, w, 1, in.c, in.mirrored)
		in.reversed(dy, in.c, 0, 0).depthwise(t, dx, mirrored, func(row []float32) {
			if fresh {
				clear(row)
			}
		})
		t.buffers.give(mirrored)
	}
}

// runs calls f for runs of n places in a row, from place on, where the same taps lo..hi of each row
// of the kernel are within the image.
func (g *window) runs(f func(place, n, lo, hi int)) {
	for place := 0; place < g.cols; {
		n := 1
		lo, hi := inside(place-g.left, g.kw, g.w)
		if lo == 0 && hi == g.kw {
			n = g.w + g.left - g.kw - place + 1 // all places up to the right edge
			n = min(n, g.cols-place)
		}
		if lo < hi {
			f(place, n, lo, hi)
		}
		place += n
	}
}

// source is the row of x that row y of the window's grid sees under row ky of the kernel, or nil.
func (g *window) source(image, y, ky int) []float32 {
	if y += ky - g.top; y < 0 || y >= g.h {
		return nil
	}
	return g.x[(image*g.h+y)*g.w*g.c:][:g.w*g.c]
}

// depthwise adds to dst, after init of each row, the products of what the window sees with taps
// [kh, kw, c].
func (g *window) depthwise(t *Tape, dst, taps []float32, init func(row []float32)) {
	c := g.c
	t.Parallel(g.batch*g.rows, func(_, i int) {
		out := dst[i*g.cols*c : (i+1)*g.cols*c]
		init(out)
		for ky := range g.kh {
			x := g.source(i/g.rows, i%g.rows, ky)
			if x == nil {
				continue
			}
			g.runs(func(place, n, lo, hi int) {
				asm.SlideRows(out[place*c:], c, x[(place-g.left+lo)*c:], c, taps[(ky*g.kw+lo)*c:], c, n, hi-lo, c)
			})
		}
	})
}

// depthwiseRows is how many rows of an image share a partial sum of the weight's gradient.
const depthwiseRows = 8

// depthwiseWeight adds to the gradient of w the products of what the window sees with dy: where
// depthwise sums over the taps for each place, this sums over the places for each tap.
func (g *window) depthwiseWeight(t *Tape, w *Tensor, dy []float32) {
	c, n := g.c, len(w.Data)
	parts := ceilDiv(g.rows, depthwiseRows) // of an image
	partial := t.buffers.take(g.batch * parts * n)
	t.Parallel(g.batch*parts, func(_, i int) {
		p := partial[i*n : (i+1)*n] // [kh, kw, c]
		clear(p)
		image := i / parts
		for y, end := split(g.rows, parts, i%parts); y < end; y++ {
			d := dy[(image*g.rows+y)*g.cols*c:][:g.cols*c]
			for ky := range g.kh {
				x := g.source(image, y, ky)
				if x == nil {
					continue
				}
				g.runs(func(place, n, lo, hi int) {
					asm.SlideRows(p[(ky*g.kw+lo)*c:], c, x[(place-g.left+lo)*c:], c, d[place*c:], c, hi-lo, n, c)
				})
			}
		}
	})
	dw := t.buffers.take(n)
	t.each(n, 1024, func(_, from, to int) {
		clear(dw[from:to])
		if g.batch > 0 {
			asm.AddRows(dw[from:to], partial[from:], g.batch*parts, to-from, n)
		}
	})
	addTaps(t, w, dw)
	t.buffers.give(dw)
	t.buffers.give(partial)
}
