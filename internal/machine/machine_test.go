package machine

import (
	"slices"
	"testing"
	"time"
)

func TestSIMD(t *testing.T) {
	level, why, _ := SIMD()
	if !slices.Contains([]string{"generic", "avx2", "avx512"}, level) || why == "" {
		t.Errorf("level %q, because %q", level, why)
	}
}

// TestMeasure holds the units and orders of magnitude; any machine that runs
// this is within them.
func TestMeasure(t *testing.T) {
	const d = 2 * time.Millisecond
	for _, c := range []struct {
		name   string
		got    float64
		lo, hi float64
	}{
		{"peak", PeakGFLOPS(d), 0.01, 2000},
		{"peak of 2", PeakGFLOPSAll(2, d), 0.01, 4000},
		{"peak of −1", PeakGFLOPSAll(-1, 0), 0, 2000},
		{"read", readBandwidth(1, 0, d), 1e7, 2e12},
		{"read of 3", readBandwidth(3, 1<<19, d), 1e7, 4e12},
	} {
		if !(c.got >= c.lo && c.got <= c.hi) {
			t.Errorf("%s: %g, want %g to %g", c.name, c.got, c.lo, c.hi)
		}
	}
}

// TestBestRound: what is slept away counts, in every worker.
func TestBestRound(t *testing.T) {
	slow := func() float64 { time.Sleep(time.Millisecond); return 1 }
	if got := bestRound([]func() float64{slow, slow}, 5*time.Millisecond); got <= 0 || got > 2000 {
		t.Errorf("got %g a second, want at most 2 each millisecond", got)
	}
}
