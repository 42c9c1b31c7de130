package asm

import (
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"unsafe"
)

// everyLevel runs body at each level this machine has. A level that GOMAE_REQUIRE names and the
// machine lacks is an error.
func everyLevel(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	have := map[string]bool{}
	for _, l := range Supported() {
		have[l.String()] = true
		t.Run(l.String(), func(t *testing.T) {
			defer Use(l)()
			body(t)
		})
	}
	for _, name := range strings.Split(os.Getenv("GOMAE_REQUIRE"), ",") {
		if name = strings.TrimSpace(name); name != "" && !have[name] {
			t.Errorf("GOMAE_REQUIRE names %q, which this machine does not support", name)
		}
	}
}

// useOneOf switches to a level that a fuzzer's number chooses.
func useOneOf(number uint8) (restore func()) {
	levels := Supported()
	return Use(levels[int(number)%len(levels)])
}

// mustPanic checks that f panics with a message of this package about key.
func mustPanic(t *testing.T, key string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		r := recover()
		if s, ok := r.(string); !ok || !strings.HasPrefix(s, "asm: ") || !strings.Contains(s, key) {
			t.Errorf("panic %v, want one about %q", r, key)
		}
	}()
	f()
}

// magic fills what a kernel must not write.
const magic = float32(-12345.678)

// surrounded returns n floats that begin off floats after a multiple of 64 bytes, the size of the
// widest vector, and a check that the memory around them was not written.
func surrounded(n, off int) (s []float32, check func(t *testing.T)) {
	all := make([]float32, n+64)
	for i := range all {
		all[i] = magic
	}
	past := int(uintptr(unsafe.Pointer(&all[0]))/4) % 16 // the last such multiple
	start := 32 - past + off%16
	return all[start : start+n : start+n], func(t *testing.T) {
		t.Helper()
		for i, v := range all {
			if (i < start || i >= start+n) && v != magic {
				t.Fatalf("element %d of %d was written", i-start, n)
			}
		}
	}
}

var specials = []float32{
	float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 0, float32(math.Copysign(0, -1)),
	1e-40, -1e-40, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 88.5, -87.3, -103.5, 13, -13,
}

// maxLen is the length up to which all are tried: the longest round of a loop takes 8 vectors of
// 16, and what follows is a tail.
const maxLen = 130

// trial runs k on slices of n floats and checks its results, and that inputs did not change. place
// returns the memory of operand number i. The first operand is the same slice as operand number
// same, if that is not 0.
func (k *kernel) trial(t *testing.T, r *rand.Rand, n int, place func(i int) []float32, same int, special bool) {
	t.Helper()
	s, before := make([][]float32, len(k.operands)), make([][]float64, len(k.operands))
	for i, o := range k.operands {
		s[i] = place(i)
		for j := range s[i] {
			s[i][j] = float32(o.draw(r))
			if !special || r.IntN(4) > 0 {
				continue
			}
			switch {
			case !k.onlyNaN:
				s[i][j] = specials[r.IntN(len(specials))]
			case o.role != updated:
				s[i][j] = float32(math.NaN())
			}
		}
	}
	if same > 0 {
		copy(s[0], s[same])
		s[same] = s[0]
	}
	for i := range s {
		before[i] = make([]float64, n)
		for j, v := range s[i] {
			before[i][j] = float64(v)
		}
	}
	want, wantScalars := k.want(before)
	scalars := k.run(s)
	for i, w := range wantScalars {
		if !w.ok(scalars[i]) {
			t.Fatalf("n=%d: result %d: got %v, want %v within %v", n, i, scalars[i], w.v, w.tol)
		}
	}
	for i, o := range k.operands {
		if same > 0 && i == same {
			continue
		}
		for j, got := range s[i] {
			if o.role == input {
				if float64(got) != before[i][j] && !math.IsNaN(before[i][j]) {
					t.Fatalf("n=%d: input %s[%d] changed", n, o.name, j)
				}
			} else if w := want[i][j]; !w.ok(float64(got)) {
				t.Fatalf("n=%d: %s[%d]: got %v, want %v within %v (operands %v)", n, o.name, j, got, w.v, w.tol, column(before, j))
			}
		}
	}
}

// TestKernels tries every length from 0 to 130: at the end of readable memory, also in place where
// that is allowed and with special values, and at every offset.
func TestKernels(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		for _, k := range kernels {
			t.Run(k.name, func(t *testing.T) {
				for _, same := range append([]int{0}, k.dstMayBe...) {
					name := "apart"
					if same > 0 {
						name = k.operands[0].name + " is " + k.operands[same].name
					}
					t.Run(name, func(t *testing.T) {
						r := rand.New(rand.NewPCG(1, uint64(same)))
						ends := make([][]float32, len(k.operands))
						for i := range ends {
							ends[i] = guarded(t, maxLen)
						}
						for n := k.min; n <= maxLen; n++ {
							place := func(i int) []float32 { return ends[i][maxLen-n:] }
							k.trial(t, r, n, place, same, false)
							k.trial(t, r, n, place, same, true)
						}
					})
				}
				t.Run("offsets", func(t *testing.T) {
					r := rand.New(rand.NewPCG(1, 2))
					for n := k.min; n <= maxLen; n++ {
						for off := range 16 {
							checks := make([]func(*testing.T), len(k.operands))
							k.trial(t, r, n, func(i int) (s []float32) {
								s, checks[i] = surrounded(n, off+5*i)
								return s
							}, 0, false)
							for _, check := range checks {
								check(t)
							}
						}
					}
				})
			})
		}
	})
}

// FuzzKernels runs a random kernel on random lengths and data.
func FuzzKernels(f *testing.F) {
	for i := range kernels {
		f.Add(uint64(i), uint8(i), uint16(100*i), uint8(i))
	}
	f.Fuzz(func(t *testing.T, seed uint64, which uint8, n uint16, how uint8) {
		k := kernels[int(which)%len(kernels)]
		length := max(k.min, int(n)%5000)
		defer useOneOf(how)()
		same := 0
		if i := int(how/4) % (len(k.dstMayBe) + 1); i > 0 {
			same = k.dstMayBe[i-1]
		}
		k.trial(t, rand.New(rand.NewPCG(seed, 0)), length, func(int) []float32 { return guarded(t, length) }, same, how&128 != 0)
	})
}

func TestLengthChecks(t *testing.T) {
	for _, k := range kernels {
		if len(k.operands) < 2 {
			continue
		}
		name, _, _ := strings.Cut(k.name, "/")
		for short, o := range k.operands {
			t.Run(k.name+"/"+o.name, func(t *testing.T) {
				s := make([][]float32, len(k.operands))
				for i := range s {
					s[i] = make([]float32, 9)
				}
				s[short] = s[short][:8]
				mustPanic(t, name+" len(", func() { k.run(s) })
			})
		}
	}
	t.Run("Max of nothing", func(t *testing.T) { mustPanic(t, "Max len(x)", func() { Max(nil) }) })
}

func TestNoAllocation(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		for _, k := range kernels {
			t.Run(k.name, func(t *testing.T) {
				s := make([][]float32, len(k.operands))
				for i := range s {
					s[i] = make([]float32, 64)
				}
				if got := testing.AllocsPerRun(10, func() { k.run(s) }); got > 0 {
					t.Errorf("allocates %v times", got)
				}
			})
		}
	})
}

func TestPeakFMA(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		if f := PeakFMA(10); f < 160 {
			t.Errorf("PeakFMA(10) counts %v operations, want at least 160", f)
		}
	})
}
