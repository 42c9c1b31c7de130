package peers

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// product computes a layer in float64.
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
		for _, c := range []struct {
			name   string
			change func(y []float32) []float32
			right  bool
		}{
			{"right", func(y []float32) []float32 { return y }, true},
			{"wrong element", func(y []float32) []float32 { y[7] += 1e-3; return y }, false},
			{"NaN", func(y []float32) []float32 { y[7] = float32(math.NaN()); return y }, false},
			{"too short", func(y []float32) []float32 { return y[1:] }, false},
		} {
			t.Run(fmt.Sprintf("%s, gelu %t", c.name, gelu), func(t *testing.T) {
				l := &Layer{M: 5, N: 4, K: 33, GELU: gelu}
				l.fill()
				if err := l.Verify(c.change(product(l))); (err == nil) != c.right {
					t.Errorf("got error %v", err)
				}
			})
		}
	}
}

func TestTransposed(t *testing.T) {
	l := &Layer{M: 1, N: 2, K: 3, W: []float32{1, 2, 3, 4, 5, 6}}
	if got := fmt.Sprint(l.Transposed()); got != "[1 4 2 5 3 6]" {
		t.Errorf("got %s", got)
	}
}

// TestRun has peers that compute the right and the wrong result, and one that is missing.
func TestRun(t *testing.T) {
	timed := 0
	peer := func(result func(l *Layer) []float32) Peer {
		return Peer{Name: "x", Start: func(int) (Library, error) {
			return Library{Version: "1.2", Compute: func(l *Layer) ([]float32, Measure, error) {
				return result(l), func(time.Duration) (int, time.Duration, error) { timed++; return 2, 4 * time.Microsecond, nil }, nil
			}}, nil
		}}
	}
	only := func(l *Layer, name string) bool {
		return strings.Contains(name, "Gemm/shape=98x768x768/weights=raw/threads=1")
	}
	t.Run("right", func(t *testing.T) {
		var out strings.Builder
		timed = 0
		if err := run(&out, peer(product), only, []int{1}, effort{3, 0, time.Millisecond}); err != nil || timed != 3 {
			t.Errorf("error %v, timed %d times; want none and 3", err, timed)
		}
		if strings.Count(out.String(), " 2000 ns/op\t") != 3 || !strings.Contains(out.String(), "peer: x\nversion: 1.2\n") {
			t.Errorf("it prints\n%s", &out)
		}
	})
	t.Run("wrong", func(t *testing.T) {
		timed = 0
		zeros := func(l *Layer) []float32 { return make([]float32, l.M*l.N) }
		if err := run(&strings.Builder{}, peer(zeros), only, []int{1}, effort{1, 0, time.Millisecond}); err == nil || timed != 0 {
			t.Errorf("error %v, timed %d times; want an error and no time", err, timed)
		}
	})
	t.Run("turns", func(t *testing.T) {
		for _, turns := range []int{6, 7} {
			var out strings.Builder
			timed = 0
			if err := run(&out, peer(product), only, []int{1}, effort{1, turns, time.Millisecond}); err != nil || timed != 2*turns {
				t.Fatalf("error %v, timed %d times; want none and %d", err, timed, 2*turns)
			}
			line := out.String()[strings.Index(out.String(), "BenchmarkTurns/Gemm"):]
			var name string
			var n int
			var their, our, ratio, low, high float64
			if _, err := fmt.Sscanf(line, "%s %d %f ns/op %f gomae-ns/op %f over-gomae %f low %f high", &name, &n, &their, &our, &ratio, &low, &high); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			if n != turns || their != 2000 || !(our > 1e5) || low > ratio || ratio > high || ratio > 2000/1e5 {
				t.Errorf("it prints %q", line)
			}
		}
		zeros := func(l *Layer) []float32 { return make([]float32, l.M*l.N) }
		if err := run(&strings.Builder{}, peer(zeros), only, []int{1}, effort{1, 6, time.Millisecond}); err == nil {
			t.Error("a wrong result: no error")
		}
	})
	t.Run("missing", func(t *testing.T) {
		missing := Peer{Name: "missing", Start: func(int) (Library, error) { return Library{}, &AbsentError{"not there"} }}
		var absent *AbsentError
		if err := run(&strings.Builder{}, missing, only, []int{1}, effort{1, 0, time.Millisecond}); !errors.As(err, &absent) {
			t.Errorf("got error %v, want an AbsentError", err)
		}
	})
}

func TestMedianInterval(t *testing.T) {
	for _, c := range []struct{ n, low, high int }{ // from a table of the sign test: the bounds are values number low and high of n
		{6, 1, 6}, {8, 1, 8}, {9, 2, 8}, {10, 2, 9}, {20, 6, 15}, {25, 8, 18}, {61, 23, 39}, {mostTurns, 469, 532},
	} {
		values := make([]float64, c.n)
		for i := range values {
			values[i] = float64(1 + i*7%c.n) // 1 to n in another order, unless 7 divides n
		}
		low, median, high := medianInterval(values)
		if low != float64(c.low) || high != float64(c.high) || median != float64(c.n+1)/2 {
			t.Errorf("of 1 to %d: %v, %v, %v; want %d, %v, %d", c.n, low, median, high, c.low, float64(c.n+1)/2, c.high)
		}
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
