package metrics

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// TestSum compares sums with those of numbers of 3000 bits, rounded once.
func TestSum(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, exponents := range []int{0, 5, 100, 600} {
		for range 200 {
			var s sum
			exact := new(big.Float).SetPrec(3000)
			for range 1 + r.IntN(50) {
				x := math.Ldexp(r.NormFloat64(), r.IntN(2*exponents+1)-exponents)
				if r.IntN(3) == 0 {
					x = math.Ldexp(math.Copysign(1, x), r.IntN(2*exponents+1)-exponents) // halves lead to ties
				}
				s.add(x)
				exact.Add(exact, big.NewFloat(x))
			}
			if want, _ := exact.Float64(); s.value() != want {
				t.Fatalf("exponents up to %d: got %v, want %v", exponents, s.value(), want)
			}
		}
	}
}

func TestSumTies(t *testing.T) {
	// 1 + 2⁻⁵³ lies half way between two numbers; what comes after it decides.
	for _, c := range []struct{ rest, want float64 }{{0, 1}, {0x1p-200, 1 + 0x1p-52}, {-0x1p-200, 1}} {
		var s sum
		for _, x := range []float64{c.rest, 1, 0x1p-53} {
			s.add(x)
		}
		if s.value() != c.want {
			t.Errorf("rest %g: got %v, want %v", c.rest, s.value(), c.want)
		}
	}
}

func TestSumNotFinite(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		terms []float64
		want  float64
	}{{nil, 0}, {[]float64{1, inf}, inf}, {[]float64{inf, 1, -1}, inf}, {[]float64{-inf, 3}, -inf}} {
		var s sum
		for _, x := range c.terms {
			s.add(x)
		}
		if s.value() != c.want {
			t.Errorf("%v: got %v, want %v", c.terms, s.value(), c.want)
		}
	}
	for _, terms := range [][]float64{{inf, -inf}, {math.NaN(), 1}, {1, math.NaN()}} {
		var s sum
		for _, x := range terms {
			s.add(x)
		}
		if s.value() == s.value() {
			t.Errorf("%v: got %v, want NaN", terms, s.value())
		}
	}
}
