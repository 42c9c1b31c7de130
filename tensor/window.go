package tensor

import (
	"fmt"

	"github.com/gomae/gomae/asm"
)

// window is a matrix gathered from images. Its rows are the places of a kernel, rows×cols of them
// in an image, and its columns the (ky, kx, channel) that the kernel sees from there. Only what a
// block of a product needs is ever in memory.
type window struct {
	x          []float32 // [batch, h, w, c]
	batch      int
	h, w, c    int
	kh, kw     int
	stride     int
	top, left  int // pixels of 0 around x; negative: pixels of x that are left out
	rows, cols int // places
}

// newWindow is the window of a kernel of kh×kw on images x with pad pixels of 0 around them.
func newWindow(op string, x *Tensor, kh, kw, stride, pad int) *window {
	batch, h, w, c := imagesOf(op, x)
	return &window{
		x: x.Data, batch: batch, h: h, w: w, c: c,
		kh: kh, kw: kw, stride: stride, top: pad, left: pad,
		rows: convSize(op, h, kh, stride, pad), cols: convSize(op, w, kw, stride, pad),
	}
}

// reversed is the window by which the gradient of g's images comes from dy, c channels at each of
// g's places: the mirrored kernel at each pixel of the images. With a stride, only every stride-th
// tap of the kernel sees a pixel, and which ones depends on its row and column. The window is that
// of the pixels whose taps are ry, ry+stride, … of the rows and rx, rx+stride, … of the columns.
func (g *window) reversed(dy []float32, c, ry, rx int) *window {
	r := &window{x: dy, batch: g.batch, h: g.rows, w: g.cols, c: c, stride: 1}
	r.kh, r.rows, r.top = g.phase(g.h, g.kh, g.top, ry)
	r.kw, r.cols, r.left = g.phase(g.w, g.kw, g.left, rx)
	return r
}

// phase describes the pixels of an axis that tap r of a kernel of k and every stride-th after it
// see: how many taps and pixels these are, and the padding of places by which pixel number i sees
// place i−pad and those after it.
func (g *window) phase(n, k, pad, r int) (taps, pixels, reversedPad int) {
	first := g.firstPixel(pad, r)
	taps, pixels = g.every(k, r), g.every(n, first)
	return taps, pixels, taps - 1 - (first+pad-r)/g.stride
}

// every is how many of from, from+stride, … are below n. from is below stride.
func (g *window) every(n, from int) int { return (n - from + g.stride - 1) / g.stride }

// firstPixel is the first pixel of an axis that tap r < stride sees from some place, be it outside
// of the grid.
func (g *window) firstPixel(pad, r int) int { return ((r-pad)%g.stride + g.stride) % g.stride }

// addPhase adds z, values of the pixels of reversed(…, ry, rx), to the pixels dx of g's images, or
// puts them there if these are fresh.
func (g *window) addPhase(t *Tape, dx, z []float32, ry, rx int, fresh bool) {
	_, rows, _ := g.phase(g.h, g.kh, g.top, ry)
	_, cols, _ := g.phase(g.w, g.kw, g.left, rx)
	y0, x0 := g.firstPixel(g.top, ry), g.firstPixel(g.left, rx)
	t.Parallel(g.batch*rows, func(_, i int) {
		image, y := i/rows, y0+i%rows*g.stride
		for j := range cols {
			at := ((image*g.h+y)*g.w + x0 + j*g.stride) * g.c
			put(dx[at:at+g.c], z[(i*cols+j)*g.c:][:g.c], fresh)
		}
	})
}

// mirrored is the place of a tap among the kernels of all phases, one after another and each of
// them mirrored.
func (g *window) mirrored(tap int) int {
	if g.stride == 1 {
		return g.kh*g.kw - 1 - tap
	}
	ky, kx := tap/g.kw, tap%g.kw
	ry, rx := ky%g.stride, kx%g.stride
	h, w := g.every(g.kh, ry), g.every(g.kw, rx)
	at := (h-1-ky/g.stride)*w + w - 1 - kx/g.stride
	for r := range ry {
		at += g.every(g.kh, r) * g.kw
	}
	for r := range rx {
		at += h * g.every(g.kw, r)
	}
	return at
}

func (g *window) size() (rows, cols int) { return g.batch * g.rows * g.cols, g.kh * g.kw * g.c }

func (g *window) copied(int, int) bool { return true }

func (g *window) block(dst []float32, i0, i1, k0, k1 int) matrix {
	n, span := k1-k0, g.kw*g.c
	for i := i0; i < i1; i++ {
		row := dst[(i-i0)*n:][:n]
		image, y, x := i/(g.rows*g.cols), i/g.cols%g.rows*g.stride-g.top, i%g.cols*g.stride-g.left
		lo, hi := inside(x, g.kw, g.w)
		for ky := range g.kh {
			// Columns of this row of the kernel, and those within the image, which lie side by
			// side.
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
	return rowMajor(dst, i1-i0, n)
}

// inside is the range of k < n for which 0 ≤ at+k < size.
func inside(at, n, size int) (lo, hi int) {
	lo = min(max(0, -at), n)
	return lo, max(lo, min(n, size-at))
}

// tapOf is the transpose of a window's columns of one tap: [c, places].
type tapOf struct {
	*window
	ky, kx int
}

func (g tapOf) size() (rows, cols int) { return g.c, g.batch * g.rows * g.cols }

func (g tapOf) block(dst []float32, i0, i1, k0, k1 int) matrix {
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
		// pack packs places of this row; a nil x stands for zeros.
		pack := func(x []float32, from, to int) {
			asm.PackA(dst, m, k1-k0, x, p-k0+from, p-k0+to, g.stride*g.c)
		}
		pack(nil, 0, lo)
		if lo < hi {
			pack(g.x[((image*g.h+y)*g.w+(x+lo)*g.stride-off)*g.c+i0:], lo, hi)
		}
		pack(nil, hi, n)
		p += n
	}
	return packedA(dst, m, k1-k0)
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
