package asm

import "runtime"

// Add computes dst[i] = x[i] + y[i]. All three have the same length; dst may be x or y.
func Add(dst, x, y []float32) {
	mustLen("Add len(x)", len(x), len(dst))
	mustLen("Add len(y)", len(y), len(dst))
	if len(dst) > 0 {
		add(dst, x, y)
	}
}

func addGeneric(dst, x, y []float32) {
	for i := range dst {
		dst[i] = x[i] + y[i]
	}
}

// Pause waits about 100 ns, in a loop that waits for another thread. In assembly it leaves the core
// to the other thread that may run on it.
func Pause() { pause() }

// Mul computes dst[i] = x[i]*y[i]. All three have the same length; dst may be x or y.
func Mul(dst, x, y []float32) {
	mustLen("Mul len(x)", len(x), len(dst))
	mustLen("Mul len(y)", len(y), len(dst))
	if len(dst) > 0 {
		mul(dst, x, y)
	}
}

func mulGeneric(dst, x, y []float32) {
	for i := range dst {
		dst[i] = x[i] * y[i]
	}
}

// Axpy computes dst[i] += a*x[i]. Both have the same length; dst may be x.
func Axpy(dst, x []float32, a float32) {
	mustLen("Axpy len(x)", len(x), len(dst))
	if len(dst) > 0 {
		axpy(dst, x, a)
	}
}

func axpyGeneric(dst, x []float32, a float32) {
	for i := range dst {
		dst[i] += a * x[i]
	}
}

// Scale computes dst[i] = a*x[i]. Both have the same length; dst may be x.
func Scale(dst, x []float32, a float32) {
	mustLen("Scale len(x)", len(x), len(dst))
	if len(dst) > 0 {
		scale(dst, x, a)
	}
}

func scaleGeneric(dst, x []float32, a float32) {
	for i := range dst {
		dst[i] = a * x[i]
	}
}

// ReLU computes dst[i] = x[i], or 0 where x[i] < 0. Both have the same length; dst may be x.
func ReLU(dst, x []float32) {
	mustLen("ReLU len(x)", len(x), len(dst))
	if len(dst) > 0 {
		relu(dst, x)
	}
}

func reluGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = max(v, 0) // which keeps NaN and needs no branch
	}
}

// ReLUBackward computes dst[i] = dy[i], or 0 where y[i] <= 0; y is the result of [ReLU]. All three
// have the same length; dst may be y or dy.
func ReLUBackward(dst, y, dy []float32) {
	mustLen("ReLUBackward len(y)", len(y), len(dst))
	mustLen("ReLUBackward len(dy)", len(dy), len(dst))
	if len(dst) > 0 {
		reluBackward(dst, y, dy)
	}
}

func reluBackwardGeneric(dst, y, dy []float32) {
	for i, v := range y {
		d := dy[i]
		if v <= 0 {
			d = 0
		}
		dst[i] = d
	}
}

// addRowsBlock is the most rows that are summed up before the sum is added to dst. Adding short
// sums to a total rounds less than one long sum does.
const addRowsBlock = 128

// AddRows adds the column sums of a rows×n matrix with row stride ld to dst:
//
//	dst[j] += sum_i x[i*ld+j]
//
// for j < n. dst has at least n floats. This is the gradient of a bias.
func AddRows(dst, x []float32, rows, n, ld int) {
	if rows <= 0 || n <= 0 {
		return
	}
	mustHold("AddRows stride", ld, 0)
	mustHold("AddRows len(dst)", len(dst), n)
	mustHold("AddRows len(x)", len(x), (rows-1)*ld+n)
	for i := 0; i < rows; i += addRowsBlock {
		addRows(dst[:n], x[i*ld:], min(addRowsBlock, rows-i), ld)
	}
}

func addRowsGeneric(dst, x []float32, rows, ld int) {
	for j := range dst {
		var s float32
		for i := 0; i < rows; i++ {
			s += x[i*ld+j]
		}
		dst[j] += s
	}
}

// SlideRows slides the rows of b over those of a and sums up the products, each column by itself:
//
//	dst[i*ldd+j] += sum_r a[(i+r)*lda+j]*b[r*ldb+j]
//
// for i < m, j < n, r < rows. This computes a row of pixels of a depthwise convolution, where i
// counts pixels and r taps, and the gradient of its weight, where i counts taps and r pixels. Each
// sum is taken in the order of r and then added to dst, so its bits do not depend on m or n. dst
// must not overlap a or b.
func SlideRows(dst []float32, ldd int, a []float32, lda int, b []float32, ldb, m, rows, n int) {
	if m <= 0 || rows <= 0 || n <= 0 {
		return
	}
	mustHold("SlideRows ldd", ldd, 0)
	mustHold("SlideRows lda", lda, 0)
	mustHold("SlideRows ldb", ldb, 0)
	mustHold("SlideRows len(dst)", len(dst), (m-1)*ldd+n)
	mustHold("SlideRows len(a)", len(a), (m+rows-2)*lda+n)
	mustHold("SlideRows len(b)", len(b), (rows-1)*ldb+n)
	slideRows(dst, ldd, a, lda, b, ldb, m, rows, n)
}

func slideRowsGeneric(dst []float32, ldd int, a []float32, lda int, b []float32, ldb, m, rows, n int) {
	for i := range m {
		for j := range n {
			var s float32
			for r := range rows {
				s += a[(i+r)*lda+j] * b[r*ldb+j]
			}
			dst[i*ldd+j] += s
		}
	}
}

// DivRows divides each row by a number, by way of the reciprocal: x[r*ld+j] *= 1/by[r] for
// r < rows, j < n.
func DivRows(x []float32, ld, rows, n int, by []float32) {
	if rows <= 0 || n <= 0 {
		return
	}
	mustHold("DivRows stride", ld, n)
	mustHold("DivRows len(x)", len(x), (rows-1)*ld+n)
	mustHold("DivRows len(by)", len(by), rows)
	divRows(x, ld, rows, n, by)
}

func divRowsGeneric(x []float32, ld, rows, n int, by []float32) {
	for r := range rows {
		f := 1 / by[r]
		for j := range x[r*ld : r*ld+n] {
			x[r*ld+j] *= f
		}
	}
}

// Dot returns the inner product of x and y, which have the same length.
func Dot(x, y []float32) float32 {
	mustLen("Dot len(y)", len(y), len(x))
	if len(x) == 0 {
		return 0
	}
	return dot(x, y)
}

func dotGeneric(x, y []float32) float32 {
	var s float64
	for i, v := range x {
		s += float64(v) * float64(y[i])
	}
	return float32(s)
}

// Max returns the largest element of x, or NaN if x contains one. It panics if x is empty.
func Max(x []float32) float32 {
	mustHold("Max len(x)", len(x), 1)
	return maxOf(x)
}

func maxGeneric(x []float32) float32 {
	m := x[0]
	for _, v := range x {
		if v > m || v != v {
			m = v
		}
	}
	// Once m is NaN no v compares greater, so it stays.
	return m
}

// SumSq returns the sum of the squares of x, summed up in float64. It is for the norm of gradients.
func SumSq(x []float32) float64 {
	if len(x) == 0 {
		return 0
	}
	return sumSq(x)
}

func sumSqGeneric(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return s
}

// ReadSum returns the sum of x in float32. It is for measuring how fast memory can be read; its
// rounding error is larger than that of a sum in float64.
func ReadSum(x []float32) float32 {
	if len(x) == 0 {
		return 0
	}
	return readSum(x)
}

func readSumGeneric(x []float32) float32 {
	var s float64
	for _, v := range x {
		s += float64(v)
	}
	return float32(s)
}

// PeakFMA runs iters rounds of independent fused multiply-adds on registers at the current level
// and returns how many floating-point operations these are, two for each multiply-add of a lane.
// The time that it takes gives the peak of the machine. At Generic it runs plain multiplications
// and additions.
func PeakFMA(iters int) (flops float64) {
	if iters <= 0 {
		return 0
	}
	return peakFMA(iters)
}

func peakFMAGeneric(iters int) float64 {
	const chains, a, b = 8, 0.999, 0.001
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for i := 0; i < iters; i++ {
		s0 = s0*a + b
		s1 = s1*a + b
		s2 = s2*a + b
		s3 = s3*a + b
		s4 = s4*a + b
		s5 = s5*a + b
		s6 = s6*a + b
		s7 = s7*a + b
	}
	runtime.KeepAlive(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7)
	return float64(iters) * chains * 2
}
