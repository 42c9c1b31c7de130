package asm

import "math"

// ExpSum computes dst[i] = exp(scale*x[i] - shift) and returns the sum of dst. Both have the same
// length; dst may be x. Exponentials that are too small for a float32 become 0, those too large
// +Inf; NaN stays NaN.
//
// For softmax take shift = scale*Max(x). To recompute the probabilities in a backward pass take
// shift = the stored log-sum-exp.
func ExpSum(dst, x []float32, scale, shift float32) float32 {
	mustLen("ExpSum len(x)", len(x), len(dst))
	if len(dst) == 0 {
		return 0
	}
	return expSum(dst, x, scale, shift)
}

func expSumGeneric(dst, x []float32, scale, shift float32) float32 {
	copy(dst, x)
	return float32(expColumn(dst, 1, len(dst), scale, shift))
}

// Softmax replaces each column x[j], x[ld+j], … of rows scores, j < n, by exp(scale*x - shift[j])
// with shift[j] = scale * the column's maximum, and sets sum[j] to the sum of the new column. The
// softmax of scale*x is then x/sum. Rows have stride ld; rows is at least 1. shift and sum have at
// least n floats. If a column contains NaN, its sum is NaN.
//
// Each column has a lane of its own, so neither maximum nor sum crosses lanes.
func Softmax(x []float32, ld, rows, n int, scale float32, shift, sum []float32) {
	if n <= 0 {
		return
	}
	mustHold("Softmax rows", rows, 1)
	mustHold("Softmax stride", ld, n)
	mustHold("Softmax len(x)", len(x), (rows-1)*ld+n)
	mustHold("Softmax len(shift)", len(shift), n)
	mustHold("Softmax len(sum)", len(sum), n)
	softmax(x, ld, rows, n, scale, shift, sum)
}

func softmaxGeneric(x []float32, ld, rows, n int, scale float32, shift, sum []float32) {
	for j := range n {
		top := float32(math.Inf(-1))
		for i := range rows {
			top = max(top, x[i*ld+j])
		}
		shift[j] = scale * top
		sum[j] = float32(expColumn(x[j:], ld, rows, scale, shift[j]))
	}
}

// expColumn replaces a column by exp(scale*x - shift) and returns its sum.
func expColumn(x []float32, ld, rows int, scale, shift float32) (sum float64) {
	for i := range rows {
		e := float32(math.Exp(float64(scale)*float64(x[i*ld]) - float64(shift)))
		x[i*ld] = e
		sum += float64(e)
	}
	return sum
}

// SoftmaxBackward is the backward pass of [Softmax]. It takes the scores x that Softmax was given
// and the shift that it set. With p the softmax of a column and dp the gradient of p, it replaces x
// by p, and dp by the gradient of the scores,
//
//	scale*(dp - sum p*dp)*p
//
// Both have rows of n floats at stride ld; rows is at least 1. They must not overlap.
func SoftmaxBackward(x, dp []float32, ld, rows, n int, scale float32, shift []float32) {
	if n <= 0 {
		return
	}
	mustHold("SoftmaxBackward rows", rows, 1)
	mustHold("SoftmaxBackward stride", ld, n)
	mustHold("SoftmaxBackward len(x)", len(x), (rows-1)*ld+n)
	mustHold("SoftmaxBackward len(dp)", len(dp), (rows-1)*ld+n)
	mustHold("SoftmaxBackward len(shift)", len(shift), n)
	softmaxBackward(x, dp, ld, rows, n, scale, shift)
}

func softmaxBackwardGeneric(x, dp []float32, ld, rows, n int, scale float32, shift []float32) {
	for j := range n {
		inv := 1 / expColumn(x[j:], ld, rows, scale, shift[j])
		delta := 0.0
		for i := j; i < rows*ld; i += ld {
			x[i] = float32(inv * float64(x[i]))
			delta += float64(x[i]) * float64(dp[i])
		}
		for i := j; i < rows*ld; i += ld {
			dp[i] = scale * (dp[i] - float32(delta)) * x[i]
		}
	}
}

// GELU computes dst[i] = x[i]*Phi(x[i]), where Phi is the distribution function of the normal
// distribution. This is the exact GELU, not its tanh approximation (Hendrycks and Gimpel,
// https://arxiv.org/abs/1606.08415). Both have the same length; dst may be x. NaN stays NaN; +Inf
// gives +Inf and -Inf gives 0.
func GELU(dst, x []float32) {
	mustLen("GELU len(x)", len(x), len(dst))
	if len(dst) > 0 {
		gelu(dst, x)
	}
}

func geluGeneric(dst, x []float32) {
	for i, v := range x {
		// Below -20 Phi is 0 in float32. The bound makes -Inf*0 a -0 and not a NaN.
		z := math.Max(float64(v), -20)
		dst[i] = float32(z * normalCDF(z))
	}
}

// GELUSlope computes [GELU], dst[i] = x[i]*Phi(x[i]), and its derivative,
//
//	slope[i] = Phi(x[i]) + x[i]*Phi'(x[i])
//
// where Phi' is the density of the normal distribution. Both at once cost little more than GELU,
// and the backward pass is a multiplication. All have the same length; slope may be x.
func GELUSlope(slope, dst, x []float32) {
	mustLen("GELUSlope len(dst)", len(dst), len(slope))
	mustLen("GELUSlope len(x)", len(x), len(slope))
	if len(slope) > 0 {
		geluSlope(slope, dst, x)
	}
}

func geluSlopeGeneric(slope, dst, x []float32) {
	const invSqrt2Pi = 0.3989422804014326779399460599343819
	geluGeneric(dst, x)
	for i, v := range x {
		z := math.Min(math.Max(float64(v), -20), 20)
		slope[i] = float32(normalCDF(z) + z*invSqrt2Pi*math.Exp(-0.5*z*z))
	}
}

// normalCDF is Phi, the distribution function of the normal distribution. Erfc keeps its relative
// accuracy in the negative tail, where 1+Erf would cancel.
func normalCDF(z float64) float64 { return 0.5 * math.Erfc(-z/math.Sqrt2) }
