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

// TestMeasure holds the units: no machine is so fast.
func TestMeasure(t *testing.T) {
	const d = 2 * time.Millisecond
	for _, c := range []struct {
		name    string
		measure func() float64
		most    float64
	}{
		{"peak", func() float64 { return PeakGFLOPS(1, d) }, 2000},
		{"peak of 2 threads", func() float64 { return PeakGFLOPS(2, d) }, 4000},
		{"peak of −1 threads", func() float64 { return PeakGFLOPS(-1, d) }, 2000},
		{"read", func() float64 { return readBandwidth(1, 0, d) }, 2e12},
		{"read of 3 threads", func() float64 { return readBandwidth(3, 1<<19, d) }, 4e12},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.measure(); !(got > 0 && got <= c.most) {
				t.Errorf("%g, want up to %g", got, c.most)
			}
		})
	}
}

// TestBestRound: the time that functions sleep counts, for each of them.
func TestBestRound(t *testing.T) {
	slow := func() float64 { time.Sleep(time.Millisecond); return 1 }
	if got := bestRound([]func() float64{slow, slow}, 5*time.Millisecond); got <= 0 || got > 2000 {
		t.Errorf("%g a second, want at most 2 a millisecond", got)
	}
}
