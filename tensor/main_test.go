package tensor

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/asm"
)

// TestMain fills released memory with NaN in all tests: whatever is used after
// Reset or Done, or read before it is written, ends in a comparison that fails.
func TestMain(m *testing.M) {
	PoisonReleased(true)
	os.Exit(m.Run())
}

// everyLevel runs body at each SIMD level this machine has. A level that
// GOMAE_REQUIRE names and the machine lacks is an error.
func everyLevel(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	have := map[string]bool{}
	for _, l := range asm.Supported() {
		have[l.String()] = true
		t.Run(l.String(), func(t *testing.T) {
			defer asm.Use(l)()
			body(t)
		})
	}
	for _, name := range strings.Split(os.Getenv("GOMAE_REQUIRE"), ",") {
		if name = strings.TrimSpace(name); name != "" && !have[name] {
			t.Errorf("GOMAE_REQUIRE names %q, which this machine does not support", name)
		}
	}
}

// seeded returns the same numbers for the same name in every run.
func seeded(name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(h.Sum64(), 1))
}

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// sameBits reports the first element in which got is not want.
func sameBits(t *testing.T, what string, got, want []float32) bool {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return false
	}
	for i, v := range got {
		if math.Float32bits(v) != math.Float32bits(want[i]) {
			t.Errorf("%s: element %d is %v, want the bits of %v", what, i, v, want[i])
			return false
		}
	}
	return true
}

// poisonScratch fills what the workers have left over.
func poisonScratch(t *Tape) {
	for w := range t.scratch {
		fillNaN(t.scratch[w][:cap(t.scratch[w])])
		for i := range t.wide[w] {
			t.wide[w][i] = math.NaN()
		}
	}
}

// pools returns a pool of each size, beyond GOMAXPROCS too, closed with the
// test.
func pools(t *testing.T, workers ...int) []*Pool {
	ps := make([]*Pool, len(workers))
	for i, n := range workers {
		ps[i] = newPool(n)
		t.Cleanup(ps[i].Close)
	}
	return ps
}

// mustPanic wants a panic with exactly that message.
func mustPanic(t *testing.T, message string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if r := recover(); r != message {
			t.Errorf("panic %q, want %q", r, message)
		}
	}()
	f()
}

func allNaN(x []float32) bool {
	return !slices.ContainsFunc(x, func(v float32) bool { return v == v })
}
