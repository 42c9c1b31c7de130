package tensor

import (
	"fmt"
	"slices"

	"github.com/gomae/gomae/asm"
)

// ResizeBilinear returns images x [B, H, W, C] as [B, h, w, C], interpolated bilinearly as by
// PyTorch's interpolate without antialiasing. With alignCorners the centres of the corner pixels
// stay where they are; without it the corners of the image do, and the outermost pixels are
// repeated beyond their centres.
func ResizeBilinear(t *Tape, x *Tensor, h, w int, alignCorners bool) *Tensor {
	batch, height, width, c := imagesOf("ResizeBilinear", x)
	if min(height, width, h, w) < 1 {
		panic(fmt.Sprintf("tensor: ResizeBilinear sizes, got %d×%d to %d×%d, want at least 1", height, width, h, w))
	}
	y := t.New(batch, h, w, c)
	vertical, horizontal := newAxis(t, height, h, alignCorners), newAxis(t, width, w, alignCorners)
	t.Parallel(batch*h, func(worker, i int) {
		// First between two rows, for the whole row at once, then within it.
		lo, hi, f := vertical.at(i % h)
		image := x.Data[i/h*height*width*c:]
		row := t.Scratch(worker, width*c)
		mix(row, image[lo*width*c:], image[hi*width*c:], f)
		out := y.Data[i*w*c:]
		for j := range w {
			lo, hi, f := horizontal.at(j)
			mix(out[j*c:(j+1)*c], row[lo*c:], row[hi*c:], f)
		}
	})
	if t.Record("resize", y, x) {
		t.Back(func() { resizeBackward(t, y, x, vertical, horizontal) })
	}
	return y
}

// resizeBackward adds, to the gradient of each row of x, those of the rows of y that were computed
// from it.
func resizeBackward(t *Tape, y, x *Tensor, vertical, horizontal axis) {
	dx, fresh := t.rawGrad(x)
	height, width, c := x.Shape[1], x.Shape[2], x.Shape[3]
	h, w := y.Shape[1], y.Shape[2]
	t.Parallel(x.Shape[0]*height, func(worker, i int) {
		row := t.Scratch(worker, w*c)
		clear(row)
		dy := y.Grad[i/height*h*w*c:]
		from, to := vertical.users(i % height)
		for k := from; k < to; k++ {
			if lo, hi, f := vertical.at(k); lo == hi {
				asm.Add(row, row, dy[k*w*c:(k+1)*w*c])
			} else if lo == i%height {
				asm.Axpy(row, dy[k*w*c:(k+1)*w*c], 1-f)
			} else if f != 0 {
				asm.Axpy(row, dy[k*w*c:(k+1)*w*c], f)
			}
		}
		out := dx[i*width*c : (i+1)*width*c]
		if fresh {
			clear(out)
		}
		for j := range w {
			lo, hi, f := horizontal.at(j)
			asm.Axpy(out[lo*c:(lo+1)*c], row[j*c:(j+1)*c], 1-f)
			if f != 0 {
				asm.Axpy(out[hi*c:(hi+1)*c], row[j*c:(j+1)*c], f)
			}
		}
	})
}

// axis says between which pixels of x those of the result lie along one axis: pixel i is
// x[low[i]]·(1−frac[i]) + x[low[i]+1]·frac[i], where the last pixel of x is its own next.
type axis struct {
	low  []int32
	frac []float32
	last int // pixel of x
}

func newAxis(t *Tape, from, to int, alignCorners bool) axis {
	a := axis{t.Ints(to), t.Values(to), from - 1}
	// In float32, as in PyTorch: in float64, an image of 224 pixels would differ in the fifth
	// digit.
	scale := float32(from) / float32(to)
	if alignCorners {
		scale = 0
		if to > 1 {
			scale = float32(from-1) / float32(to-1)
		}
	}
	for i := range a.low {
		at := scale * float32(i)
		if !alignCorners {
			at = max(0, float32(scale*(float32(i)+0.5))-0.5)
		}
		low := min(int(at), a.last)
		a.low[i], a.frac[i] = int32(low), min(at-float32(low), 1)
	}
	return a
}

func (a axis) at(i int) (lo, hi int, f float32) {
	lo = int(a.low[i])
	return lo, min(lo+1, a.last), a.frac[i]
}

// users is the range of pixels of the result that may use pixel k of x.
func (a axis) users(k int) (from, to int) {
	// low is in ascending order.
	from, _ = slices.BinarySearch(a.low, int32(k-1))
	to, _ = slices.BinarySearch(a.low, int32(k+1))
	return from, to
}

// mix computes dst = (1−f)·x + f·y.
func mix(dst, x, y []float32, f float32) {
	asm.Scale(dst, x[:len(dst)], 1-f)
	if f != 0 {
		asm.Axpy(dst, y[:len(dst)], f)
	}
}
