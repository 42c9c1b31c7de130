package nn

import (
	"fmt"
	"math"
	"testing"

	"github.com/gomae/gomae/internal/stattest"
	"github.com/gomae/gomae/internal/testkit"
)

// TestRNGStream holds the streams that weights, scenes, batches and masks are made from: if it
// fails, they all change.
func TestRNGStream(t *testing.T) {
	// The first numbers of SplitMix64 from state 0, as published with it.
	r := RNG{}
	for i, want := range []uint64{0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f} {
		if got := r.Uint64(); got != want {
			t.Errorf("state 0, number %d: %#x, want %#x", i, got, want)
		}
	}
	for _, c := range []struct {
		key  []uint64
		want uint64
	}{{nil, 0x74d28e025ceaac29}, {[]uint64{7}, 0x7013be5b3c2b86b6}, {[]uint64{1, 2, 3}, 0x45b23a12f2008d7e}} {
		t.Run(fmt.Sprint(c.key), func(t *testing.T) {
			r := NewRNG(c.key...)
			if got := r.Uint64(); got != c.want {
				t.Errorf("%#x, want %#x", got, c.want)
			}
		})
	}
	r = NewRNG(1, 2, 3)
	r.Uint64()
	if v := r.Float64(); v != 0.4513778417061973 {
		t.Errorf("Float64: %v", v)
	}
	if v := r.Uniform(-2, 3); v != 0.43545105345354074 {
		t.Errorf("Uniform: %v", v)
	}
	if v := r.Float32(1, 5); v != 3.595832 {
		t.Errorf("Float32: %v", v)
	}
	if v := r.Intn(1000); v != 982 {
		t.Errorf("Intn: %v", v)
	}
	if v := r.Chance(0.5); !v {
		t.Errorf("Chance: %v", v)
	}
	if v := r.Normal(); math.Abs(v-0.2158651046480484) > 1e-14 {
		t.Errorf("Normal: %.16g", v)
	}
	if v := r.LogGamma(0.5); math.Abs(v+0.2566609532343809) > 1e-14 {
		t.Errorf("LogGamma: %.16g", v)
	}
	if v := Hash(""); v != 0xf52a15e9a9b5e89b {
		t.Errorf("Hash of nothing: %#x", v)
	}
	if v := Hash("encoder.0.attn.qkv.weight"); v != 0x7ceb6052c6eedbaf {
		t.Errorf("Hash: %#x", v)
	}
}

func TestRNGKeys(t *testing.T) {
	keys := [][]uint64{{}, {0}, {0, 0}, {1}, {0, 1}, {1, 0}, {1, 1}, {2, 1}, {1, 2}, {Hash("a")}, {Hash("b")}, {1 << 63}, {math.MaxUint64}}
	seen := map[uint64][]uint64{}
	for _, k := range keys {
		r := NewRNG(k...)
		v := r.Uint64()
		if other, ok := seen[v]; ok {
			t.Errorf("keys %v and %v give the same stream", other, k)
		}
		seen[v] = k
	}
	// Neighbouring keys are as unrelated as neighbouring draws: half of the bits differ.
	var bits float64
	const n = 1000
	for k := range uint64(n) {
		a, b := NewRNG(k, 5), NewRNG(k+1, 5)
		for x := a.Uint64() ^ b.Uint64(); x != 0; x &= x - 1 {
			bits++
		}
	}
	if z := (bits/n - 32) / math.Sqrt(16./n); math.Abs(z) > 4 {
		t.Errorf("neighbouring keys differ in %.2f of 64 bits", bits/n)
	}
}

func sampleOf(n int, draw func() float64) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = draw()
	}
	return x
}

func TestRNGUniform(t *testing.T) {
	r := NewRNG(11)
	const n = 50_000
	if d := stattest.KS(sampleOf(n, r.Float64), stattest.UniformCDF(0, 1)); d > stattest.KSLimit {
		t.Errorf("Float64: √n·D = %.2f", d)
	}
	if d := stattest.KS(sampleOf(n, func() float64 { return r.Uniform(-3, 5) }), stattest.UniformCDF(-3, 5)); d > stattest.KSLimit {
		t.Errorf("Uniform: √n·D = %.2f", d)
	}
	if d := stattest.KS(sampleOf(n, func() float64 { return float64(r.Float32(2, 3)) }), stattest.UniformCDF(2, 3)); d > stattest.KSLimit {
		t.Errorf("Float32: √n·D = %.2f", d)
	}
	var count [7]float64
	hits := 0.
	for range n {
		count[r.Intn(7)]++
		if r.Chance(0.3) {
			hits++
		}
	}
	chi := 0.
	for _, k := range count {
		chi += (k - n/7.) * (k - n/7.) / (n / 7.)
	}
	if p := stattest.ChiSquareSurvival(chi, 6); p < stattest.PLimit {
		t.Errorf("Intn: counts %v, p = %.2g", count, p)
	}
	if z := (hits - 0.3*n) / math.Sqrt(0.21*n); math.Abs(z) > 4 {
		t.Errorf("Chance(0.3): %v of %d", hits, n)
	}
}

func TestRNGNormal(t *testing.T) {
	r := NewRNG(12)
	const n = 500_000
	x := sampleOf(n, r.Normal)
	// Moments 1, 2, … of the standard normal, and the variances of those powers, (2k−1)!! −
	// moment².
	for k, m := range []struct{ want, variance float64 }{{0, 1}, {1, 2}, {0, 15}, {3, 96}, {0, 945}, {15, 10170}} {
		sum := 0.
		for _, v := range x {
			sum += math.Pow(v, float64(k+1))
		}
		if z := (sum/n - m.want) / math.Sqrt(m.variance/n); math.Abs(z) > 4 {
			t.Errorf("moment %d: %.4f, want %.4f: %.1f standard errors", k+1, sum/n, m.want, z)
		}
	}
	lag := 0.
	for i := range n - 1 {
		lag += x[i] * x[i+1]
	}
	if z := lag / math.Sqrt(n); math.Abs(z) > 4 {
		t.Errorf("neighbours correlate: %.1f standard errors", z)
	}
	if d := stattest.KS(x, stattest.NormalCDF); d > stattest.KSLimit {
		t.Errorf("√n·D = %.2f", d)
	}
	a, b := NewRNG(3), NewRNG(3)
	a.Normal()
	b.Uint64()
	b.Uint64()
	if a != b {
		t.Error("a draw does not move the stream by two")
	}
}

// TestRNGLogGamma has the shapes at the edges. That the variates are Gamma distributed is tested in
// internal/stattest, which knows that distribution.
func TestRNGLogGamma(t *testing.T) {
	r := NewRNG(13)
	for _, shape := range []float64{math.SmallestNonzeroFloat64, 1e-308, 1e-300, 1e-20} {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			for range 1000 {
				if l := r.LogGamma(shape); math.IsNaN(l) || math.IsInf(l, 0) {
					t.Fatal(l)
				}
			}
		})
	}
	for _, shape := range []float64{0, -1, math.NaN()} {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			want := fmt.Sprintf("nn: LogGamma, got shape %g, want a positive number", shape)
			testkit.MustPanic(t, want, func() { r.LogGamma(shape) })
		})
	}
}

func BenchmarkRNG(b *testing.B) {
	r := NewRNG(1)
	for _, c := range []struct {
		name string
		draw func() float64
	}{{"Float64", r.Float64}, {"Normal", r.Normal}, {"LogGamma1", func() float64 { return r.LogGamma(1) }}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.draw()
			}
		})
	}
}
