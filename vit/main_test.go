package vit

import (
	"math"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

const u = testkit.U

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
