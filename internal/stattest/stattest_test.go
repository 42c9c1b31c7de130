package stattest

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// TestKS has a sample whose distances from the uniform distribution are 0.2, 0.3, 0.4 and 0.1, and
// one that lies above its distribution.
func TestKS(t *testing.T) {
	x := []float64{0.9, 0.2}
	if got := KS(x, UniformCDF(0, 1)); math.Abs(got-0.4*math.Sqrt2) > 1e-15 || x[0] != 0.2 {
		t.Errorf("got %v of %v, want 0.4·√2", got, x)
	}
	if got := KS([]float64{5, 4, 7, 8}, UniformCDF(0, 4)); got != 2 {
		t.Errorf("got %v, want 2", got)
	}
	if got := KS([]float64{1, 2}, func(float64) float64 { return math.NaN() }); !math.IsInf(got, 1) {
		t.Errorf("got %v, want +Inf", got)
	}
}

func near(t *testing.T, got, want, limit float64, what string, args ...any) {
	t.Helper()
	if !(math.Abs(got-want) <= limit) {
		t.Errorf(what+": got %v, want %v", append(args, got, want)...)
	}
}

func TestSimple(t *testing.T) {
	for x := -9.; x <= 9; x += 0.125 {
		want := distuv.UnitNormal.CDF(x)
		near(t, NormalCDF(x), want, 1e-14*want, "normal at %g", x)
		near(t, UniformCDF(-3, 5)(x), distuv.Uniform{Min: -3, Max: 5}.CDF(x), 0, "uniform at %g", x)
	}
}

func TestChiSquareSurvival(t *testing.T) {
	for k := 1; k <= 120; k++ {
		for _, x := range []float64{0, 1e-9, 0.01, 0.5, 1, 3, 6.6, 10.8, 20, 50, 100, 200, 400} {
			want := distuv.ChiSquared{K: float64(k)}.Survival(x)
			near(t, ChiSquareSurvival(x, k), want, 1e-12*want, "%d degrees at %g", k, x)
		}
	}
	if got := ChiSquareSurvival(math.NaN(), 3); !math.IsNaN(got) {
		t.Errorf("of NaN: %g", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("no degrees of freedom: no panic")
		}
	}()
	ChiSquareSurvival(1, 0)
}

func TestBetaCDF(t *testing.T) {
	parameters := []float64{1e-6, 1e-3, 0.2, 0.5, 0.999, 1, 1.5, 2, 7, 40, 1000, 1e5}
	for _, a := range parameters {
		for _, b := range parameters {
			cdf, reference, mirrored := BetaCDF(a, b), distuv.Beta{Alpha: a, Beta: b}, distuv.Beta{Alpha: b, Beta: a}
			mean, sd := a/(a+b), math.Sqrt(a*b/(a+b+1))/(a+b)
			points := []float64{-1, 0, 1e-250, 1e-100, 1e-20, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-15, 1, 2}
			for z := -5.; z <= 5; z += 0.5 {
				points = append(points, min(max(mean+z*sd, 0), 1))
			}
			for _, x := range points {
				want := reference.CDF(x)
				if x > 0.5 { // where gonum's has an error of up to 1e-6 for a small b
					want = 1 - mirrored.CDF(1-x)
				}
				near(t, cdf(x), want, 1e-14*(1+a+b), "%g, %g at %g", a, b, x)
			}
		}
	}
}
