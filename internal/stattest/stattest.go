// Package stattest judges random draws in tests: whether a sample can come from the distribution
// that it should have. It needs only the standard library, so that whoever imports a package whose
// tests use it need not download more.
//
// Seeds of such tests are fixed, so each passes always or never. The limits let a right
// implementation pass for about 999 in 1000 seeds.
package stattest

import (
	"fmt"
	"math"
	"slices"
)

const (
	// PLimit is the least probability of a statistic that a test lets pass.
	PLimit = 1e-3
	// KSLimit is the most that a test lets [KS] be.
	KSLimit = 1.95
)

// KS sorts x and returns √n times the largest distance between its distribution and the continuous
// one with the distribution function cdf (Kolmogorov and Smirnov), or +Inf where cdf is NaN. For a
// large sample, it is beyond [KSLimit] once in a thousand times.
func KS(x []float64, cdf func(float64) float64) float64 {
	slices.Sort(x)
	d, n := 0., float64(len(x))
	for i, v := range x {
		p := cdf(v)
		d = max(d, p-float64(i)/n, float64(i+1)/n-p)
	}
	if math.IsNaN(d) {
		return math.Inf(1)
	}
	return d * math.Sqrt(n)
}

// ChiSquareSurvival is the probability that a χ² variate with so many degrees of freedom, at least
// one, is above x.
func ChiSquareSurvival(x float64, degrees int) float64 {
	if degrees < 1 {
		panic(fmt.Sprintf("stattest: ChiSquareSurvival, got %d degrees of freedom, want at least 1", degrees))
	}
	// Q(x; k+2) = Q(x; k) + (x/2)^(k/2)·e^(−x/2) / Γ(k/2+1), from the closed forms of one and of
	// two degrees.
	h := x / 2
	k, q, term := 2-degrees%2, math.Exp(-h), h*math.Exp(-h)
	if k == 1 {
		q, term = math.Erfc(math.Sqrt(h)), math.Sqrt(h)*math.Exp(-h)/math.Gamma(1.5)
	}
	for ; k < degrees; k += 2 {
		q += term
		term *= h / (float64(k)/2 + 1)
	}
	return q
}

// NormalCDF is the distribution function of the standard normal distribution.
func NormalCDF(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }

// UniformCDF returns the distribution function of the uniform distribution over lo..hi.
func UniformCDF(lo, hi float64) func(float64) float64 {
	return func(x float64) float64 { return min(max((x-lo)/(hi-lo), 0), 1) }
}

// BetaCDF returns the distribution function of the Beta distribution with parameters a and b above
// 0. Its error is below about 1e-14·(1+a+b).
func BetaCDF(a, b float64) func(float64) float64 {
	lgamma := func(x float64) float64 {
		l, _ := math.Lgamma(x)
		return l
	}
	logBeta := lgamma(a) + lgamma(b) - lgamma(a+b)
	// The continued fraction 8.17.22 of the DLMF, evaluated as the sum of the differences between
	// its convergents, which is fast left of the mean.
	left := func(a, b, x, y float64) float64 { // y is 1 − x
		sum, difference, ratio := 1., 1., 1.
		for k := 1; k < 100_000 && math.Abs(difference) > 1e-17*math.Abs(sum); k++ {
			m, n := float64(k/2), float64(k)
			d := m * (b - m)
			if k%2 == 1 {
				d = -(a + m) * (a + b + m)
			}
			d *= x / ((a + (n - 1)) * (a + n))
			ratio = 1 / (1 + d*ratio)
			difference *= ratio - 1
			sum += difference
		}
		return math.Exp(a*math.Log(x)+b*math.Log(y)-logBeta) / a * sum
	}
	return func(x float64) float64 {
		switch {
		case x <= 0:
			return 0
		case x >= 1:
			return 1
		case x < (a+1)/(a+b+2):
			return left(a, b, x, 1-x)
		}
		return 1 - left(b, a, 1-x, x)
	}
}
