package stattest

import (
	"fmt"
	"math"
	"testing"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/gomae/gomae/nn"
)

// TestLogGamma stands here and not in package nn because it compares with gonum's Gamma
// distribution.
func TestLogGamma(t *testing.T) {
	const n = 100_000
	sample := func(draw func() float64) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = draw()
		}
		return x
	}
	for _, shape := range []float64{1e-3, 0.05, 0.3, 0.999, 1, 1.001, 2.5, 40, 1000} {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			cdf := func(l float64) float64 {
				if l < -600 { // leading term of the series, in logarithms
					lg, _ := math.Lgamma(shape + 1)
					return math.Exp(shape*l - lg)
				}
				return distuv.Gamma{Alpha: shape, Beta: 1}.CDF(math.Exp(l))
			}
			r := nn.NewRNG(13)
			x := sample(func() float64 { return r.LogGamma(shape) })
			if d := KS(x, cdf); d > KSLimit {
				t.Errorf("√n·D = %.2f", d)
			}
			// The logarithm has mean ψ(a) and variance ψ′(a) = ζ(2, a).
			mean, variance := mathext.Digamma(shape), mathext.Zeta(2, shape)
			sum, squares, fourth := 0., 0., 0.
			for _, v := range x {
				d := (v - mean) * (v - mean) / variance
				sum, squares, fourth = sum+v-mean, squares+d, fourth+d*d
			}
			if z := sum / math.Sqrt(n*variance); math.Abs(z) > 4 {
				t.Errorf("mean %.4g, want %.4g: %.1f standard errors", sum/n+mean, mean, z)
			}
			if z := (squares - n) / math.Sqrt(fourth-n); math.Abs(z) > 4 {
				t.Errorf("variance %.4g, want %.4g: %.1f standard errors", squares/n*variance, variance, z)
			}
		})
	}
	// The variate of a large shape is as good as normal, with that mean and variance.
	const large = 1e9
	r := nn.NewRNG(13)
	x := sample(func() float64 { return (r.LogGamma(large) - math.Log(large)) * math.Sqrt(large) })
	if d := KS(x, NormalCDF); d > KSLimit {
		t.Errorf("shape %g: √n·D = %.2f", large, d)
	}
}
