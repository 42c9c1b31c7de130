package peers

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// product is GELU(x·wᵀ + bias) or x·wᵀ, in float64.
func product(l *Layer) []float32 {
	y := make([]float32, l.M*l.N)
	for i := range l.M {
		for j := range l.N {
			sum := 0.0
			for p := range l.K {
				sum += float64(l.X[i*l.K+p]) * float64(l.W[j*l.K+p])
			}
			if l.GELU {
				sum += float64(l.Bias[j])
				sum *= (1 + math.Erf(sum/math.Sqrt2)) / 2
			}
			y[i*l.N+j] = float32(sum)
		}
	}
	return y
}

func TestVerify(t *testing.T) {
	for _, gelu := range []bool{false, true} {
		l := &Layer{M: 5, N: 4, K: 33, GELU: gelu}
		l.fill()
		y := product(l)
		if err := l.verify(y); err != nil {
			t.Errorf("gelu %t: a right result is refused: %v", gelu, err)
		}
		y[7] += 1e-3
		if l.verify(y) == nil {
			t.Errorf("gelu %t: a wrong element is not found", gelu)
		}
		y[7] = float32(math.NaN())
		if l.verify(y) == nil {
			t.Errorf("gelu %t: NaN is not found", gelu)
		}
		if l.verify(y[1:]) == nil {
			t.Errorf("gelu %t: a short result is not found", gelu)
		}
	}
}

// A wrong result must not be timed, and a missing library must be told apart.
func TestRunRefuses(t *testing.T) {
	timed := false
	wrong := Peer{Name: "wrong", Start: func(int) (Library, error) {
		return Library{Compute: func(l *Layer) ([]float32, Measure, error) {
			return make([]float32, l.M*l.N), func(time.Duration) (int, time.Duration, error) { timed = true; return 1, 1, nil }, nil
		}}, nil
	}}
	only := func(l *Layer, name string) bool {
		return strings.HasPrefix(name, "BenchmarkGemm/shape=98x768x768/weights=raw/threads=1")
	}
	if err := run(wrong, only, []int{1}, 1, time.Millisecond); err == nil || timed {
		t.Errorf("got error %v, timed %t; want an error and no time", err, timed)
	}
	missing := Peer{Name: "missing", Start: func(int) (Library, error) { return Library{}, &Absent{"not there"} }}
	var a *Absent
	if err := run(missing, only, []int{1}, 1, time.Millisecond); !errors.As(err, &a) {
		t.Errorf("got error %v, want that it is absent", err)
	}
}

func TestShapesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range layers(true) {
		if seen[l.Name] {
			t.Errorf("%s is listed twice", l.Name)
		}
		seen[l.Name] = true
	}
}
