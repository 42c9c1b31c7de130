// Package testkit is what tests of several packages share. Importing it fills released memory with
// NaN, so that a use after release ends in a comparison that fails.
package testkit

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/gomae/gomae/asm"
	"github.com/gomae/gomae/internal/poison"
)

func init() { poison.On = true }

// U is the largest relative rounding error of float32.
const U = 1.0 / (1 << 24)

// Normal returns n standard normal numbers, the same for the same name.
func Normal(name string, n int) []float32 {
	h := fnv.New64a()
	h.Write([]byte(name))
	r := rand.New(rand.NewPCG(h.Sum64(), 0))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// SameBits reports the first element in which got is not want, bit by bit.
func SameBits(t testing.TB, what string, got, want []float32) {
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

// Mentions reports whether text has every part of want, in that order. Parts are separated by "…".
// It judges an error by what it names, and not by its sentence.
func Mentions(text, want string) bool {
	for _, part := range strings.Split(want, "…") {
		_, after, ok := strings.Cut(text, part)
		if !ok {
			return false
		}
		text = after
	}
	return true
}

// MustPanic wants f to panic with exactly that message.
func MustPanic(t testing.TB, message string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if r := recover(); r != message {
			t.Errorf("panic %q, want %q", r, message)
		}
	}()
	f()
}

// ErrorNames wants an error whose message has all of the words: the file, key or value that is
// wrong.
func ErrorNames(t testing.TB, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v, want one that names %q", err, w)
			return
		}
	}
}

// Allocated returns how many bytes the program allocates while f runs.
func Allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// EachLevel runs a test, as a subtest, at each SIMD level that this machine has. A level that
// GOMAE_REQUIRE names and the machine lacks is an error.
func EachLevel(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	have := map[string]bool{}
	for _, l := range asm.Supported() {
		have[l.String()] = true
		t.Run(l.String(), func(t *testing.T) {
			defer asm.Use(l)()
			f(t)
		})
	}
	for _, name := range strings.Split(os.Getenv("GOMAE_REQUIRE"), ",") {
		if name = strings.TrimSpace(name); name != "" && !have[name] {
			t.Errorf("GOMAE_REQUIRE names %q, which this machine does not support", name)
		}
	}
}
