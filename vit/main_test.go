package vit

import (
	"math"
	"os"
	"testing"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// TestMain fills released memory with NaN in all tests, so that a use after
// release ends in a comparison that fails.
func TestMain(m *testing.M) {
	tensor.PoisonReleased(true)
	os.Exit(m.Run())
}

const u = 1.0 / (1 << 24) // the largest relative rounding error of float32

// normal returns n standard normal numbers, the same for the same name.
func normal(name string, n int) []float32 {
	r := nn.NewRNG(nn.Hash(name))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.Normal())
	}
	return x
}

// sameBits reports the first element in which got is not want.
func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	for i, v := range got {
		if math.Float32bits(v) != math.Float32bits(want[i]) {
			t.Errorf("%s: element %d is %v, want the bits of %v", what, i, v, want[i])
			return
		}
	}
}

// near reports the first element farther from want than within.
func near(t *testing.T, what string, got []float32, want []float64, within float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	for i, v := range got {
		if d := math.Abs(float64(v) - want[i]); !(d <= within) {
			t.Errorf("%s: element %d is %v, want %v ± %.2g", what, i, v, want[i], within)
			return
		}
	}
}
