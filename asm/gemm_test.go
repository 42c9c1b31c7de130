package asm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// panelCase is one call of GemmPanel.
type panelCase struct {
	m, n, k      int
	ars, acs     int
	ldc          int
	bias, add    bool
	accumulate   bool // add is c
	special      bool // with NaN and Inf
	seed1, seed2 uint64
	memory       *panelMemory
}

// panelMemory holds the operands; each ends at a guard page.
type panelMemory struct{ c, a, b, bias, add []float32 }

func newPanelMemory(t testing.TB, floats int) *panelMemory {
	g := func() []float32 { return guarded(t, floats) }
	return &panelMemory{g(), g(), g(), g(), g()}
}

// end returns the last n floats of s.
func end(s []float32, n int) []float32 { return s[len(s)-n:] }

func (tc panelCase) check(t *testing.T) {
	t.Helper()
	r := rand.New(rand.NewPCG(tc.seed1, tc.seed2))
	fill := func(s []float32) []float32 {
		for i := range s {
			s[i] = float32(r.NormFloat64())
		}
		return s
	}
	m, n, k, ldc, nr, mem := tc.m, tc.n, tc.k, tc.ldc, PanelCols(), tc.memory
	c := fill(end(mem.c, (m-1)*ldc+n))
	var a, b, bias, add []float32
	if k > 0 {
		a, b = fill(end(mem.a, (m-1)*tc.ars+(k-1)*tc.acs+1)), fill(end(mem.b, k*nr))
		if tc.special {
			a[r.IntN(len(a))] = specials[r.IntN(3)]
		}
	}
	if tc.bias {
		bias = fill(end(mem.bias, n))
	}
	ldadd := 0
	if tc.add {
		ldadd = n + 3
		add = fill(end(mem.add, (m-1)*ldadd+n))
	}
	old := append([]float32(nil), c...)
	oldAdd := append([]float32(nil), add...)
	GemmPanel(&GemmArgs{
		M: m, N: n, K: k, C: c, LDC: ldc, A: a, ARS: tc.ars, ACS: tc.acs, B: b,
		Accumulate: tc.accumulate, Bias: bias, Add: add, LDAdd: ldadd,
	})
	for i := 0; i < m; i++ {
		for j := n; j < ldc && i*ldc+j < len(c); j++ {
			if c[i*ldc+j] != old[i*ldc+j] {
				t.Fatalf("%+v: wrote (%d,%d), outside the columns", tc, i, j)
			}
		}
		for j := 0; j < n; j++ {
			var v, abs float64
			term := func(f float64) { v += f; abs += math.Abs(f) }
			for p := 0; p < k; p++ {
				term(float64(a[i*tc.ars+p*tc.acs]) * float64(b[p*nr+j]))
			}
			if bias != nil {
				term(float64(bias[j]))
			}
			if add != nil {
				term(float64(oldAdd[i*ldadd+j]))
			}
			if tc.accumulate {
				term(float64(old[i*ldc+j]))
			}
			want := value{v, float64(min(k, sumLength)+k/sumLength+4) * u * abs}
			if got := float64(c[i*ldc+j]); !want.ok(got) {
				t.Fatalf("%+v: element (%d,%d): got %v, want %v within %v", tc, i, j, got, v, want.tol)
			}
		}
	}
}

func TestGemmPanel(t *testing.T) {
	ks := []int{0, 1, 2, 5, 33, sumLength + 1}
	if testing.Short() {
		ks = []int{0, 5, sumLength}
	}
	everyLevel(t, func(t *testing.T) {
		mem := newPanelMemory(t, 1<<15)
		nr := PanelCols()
		check := func(m, n, k, variant int) {
			tc := panelCase{m: m, n: n, k: k, ldc: n + variant%3, memory: mem, seed1: uint64(m*100 + n), seed2: uint64(k*10 + variant),
				bias: variant&1 != 0, add: variant&2 != 0, accumulate: variant&4 != 0, special: variant == 5 && k > 0}
			switch variant % 4 {
			case 0: // row-major
				tc.ars, tc.acs = k+1, 1
			case 1: // packed by PackA
				tc.ars, tc.acs = 1, m
			case 2: // neither contiguous
				tc.ars, tc.acs = 2*k+3, 2
			case 3: // one row for all
				tc.ars, tc.acs = 0, 1
			}
			if variant >= 8 && variant != 9 { // rows of A a page apart
				tc.ars, tc.acs = 1024, 1
			}
			if variant >= 9 { // those of C
				tc.ldc = 1024
			}
			tc.check(t)
		}
		for _, k := range ks {
			for n := 1; n <= nr; n++ {
				for m := 1; m <= TileRows(); m++ { // one tile
					for variant := range 8 {
						check(m, n, k, variant)
					}
				}
			}
			for _, n := range []int{1, nr / 2, nr - 1, nr} { // several
				for m := TileRows() + 1; m <= 2*TileRows()+3; m++ {
					for variant := range 12 {
						check(m, n, k, variant)
					}
				}
			}
		}
	})
}

// TestGemmPanelBits checks that the bits of an element do not depend on the
// tile it is computed in.
func TestGemmPanelBits(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		const k = 2*sumLength + 77
		r := rand.New(rand.NewPCG(5, 6))
		rows, nr := 2*TileRows()+3, PanelCols()
		random := func(n int) []float32 {
			s := make([]float32, n)
			for i := range s {
				s[i] = float32(r.NormFloat64())
			}
			return s
		}
		a, wide := random(rows*k), random(k*nr)
		full := make([]float32, rows*nr)
		GemmPanel(&GemmArgs{M: rows, N: nr, K: k, C: full, LDC: nr, A: a, ARS: k, ACS: 1, B: wide})
		narrow := make([]float32, PackedLen(k, nr/2))
		PackB(narrow, wide[nr/2:], k, nr/2, nr, 1)
		for m := 1; m <= rows; m++ {
			c := make([]float32, m*nr)
			for first := 0; first+m <= rows; first++ {
				GemmPanel(&GemmArgs{M: m, N: nr, K: k, C: c, LDC: nr, A: a[first*k:], ARS: k, ACS: 1, B: wide})
				GemmPanel(&GemmArgs{M: m, N: nr/2 - 1, K: k, C: c[nr/2:], LDC: nr, A: a[first*k:], ARS: k, ACS: 1, B: narrow})
				for i, v := range c {
					if v != full[first*nr+i] {
						t.Fatalf("%d rows from row %d: element %d is %v, not %v", m, first, i, v, full[first*nr+i])
					}
				}
			}
		}
	})
}

func checkPack(t *testing.T, k, n, rs, cs int, b, dst []float32) {
	t.Helper()
	for i := range b {
		b[i] = float32(i + 1)
	}
	for i := range dst {
		dst[i] = magic
	}
	PackB(dst, b, k, n, rs, cs)
	nr, i := PanelCols(), 0
	for q := 0; q*nr < n; q++ {
		if i != q*nr*k {
			t.Fatalf("panel %d at %d", q, i)
		}
		for p := 0; p < k; p++ {
			for j := q * nr; j < q*nr+nr; j++ {
				want := float32(0)
				if j < n {
					want = b[p*rs+j*cs]
				}
				if dst[i] != want {
					t.Fatalf("k=%d n=%d rs=%d cs=%d: element (%d,%d) is %v, want %v", k, n, rs, cs, p, j, dst[i], want)
				}
				i++
			}
		}
	}
	if i != len(dst) {
		t.Fatalf("k=%d n=%d: %d floats, PackedLen says %d", k, n, i, len(dst))
	}
}

func TestPackB(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		src, dst := guarded(t, 1<<14), guarded(t, 1<<14)
		for n := 1; n <= 3*PanelCols()+3; n++ {
			for _, k := range []int{1, 2, 7, 8, 9, 15, 16, 17, 33, 50} {
				for _, s := range [][2]int{{n, 1}, {n + 3, 1}, {1, k}, {1, k + 5}, {2, 2 * k}} {
					checkPack(t, k, n, s[0], s[1], end(src, (k-1)*s[0]+(n-1)*s[1]+1), end(dst, PackedLen(k, n)))
				}
			}
		}
	})
}

func TestPackA(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		src, dst := guarded(t, 1<<13), guarded(t, 1<<13)
		for m := 1; m <= 3*PanelCols()+3; m++ {
			for _, k := range []int{1, 2, 17, 40} {
				for _, lda := range []int{m, m + 9, 0} {
					a, d := end(src, (k-1)*lda+m), end(dst, m*k)
					for i := range a {
						a[i] = float32(i + 1)
					}
					PackA(d, a, m, k, lda)
					for i := 0; i < m; i++ {
						for p := 0; p < k; p++ {
							if d[p*m+i] != a[p*lda+i] {
								t.Fatalf("m=%d k=%d lda=%d: element (%d,%d) is %v, want %v", m, k, lda, i, p, d[p*m+i], a[p*lda+i])
							}
						}
					}
				}
			}
		}
	})
}

func FuzzGemmPanel(f *testing.F) {
	f.Add(uint64(1), uint8(14), uint8(32), uint16(64), uint8(0), uint8(3))
	f.Add(uint64(2), uint8(3), uint8(5), uint16(9), uint8(7), uint8(0))
	f.Fuzz(func(t *testing.T, seed uint64, m, n uint8, k uint16, flags, pad uint8) {
		levels := Supported()
		defer Use(levels[int(flags>>4)%len(levels)])()
		tc := panelCase{m: 1 + int(m)%(3*TileRows()), n: 1 + int(n)%PanelCols(), k: int(k) % 300, seed1: seed,
			bias: flags&1 != 0, add: flags&2 != 0, accumulate: flags&4 != 0, special: flags&8 != 0}
		tc.ldc, tc.ars, tc.acs = tc.n+int(pad%7), tc.k+int(pad%5), 1
		if pad&2 != 0 {
			tc.ars, tc.acs = 1+int(pad%3), tc.m*3
		}
		tc.memory = newPanelMemory(t, 1<<15)
		tc.check(t)
	})
}

func FuzzPackB(f *testing.F) {
	f.Add(uint8(16), uint8(33), uint8(0), uint8(2))
	f.Fuzz(func(t *testing.T, k8, n8, flags, pad uint8) {
		levels := Supported()
		defer Use(levels[int(flags>>4)%len(levels)])()
		k, n := 1+int(k8), 1+int(n8)
		rs, cs := n+int(pad), 1
		if flags&1 != 0 {
			rs, cs = 1, k+int(pad)
		}
		checkPack(t, k, n, rs, cs, guarded(t, (k-1)*rs+(n-1)*cs+1), guarded(t, PackedLen(k, n)))
	})
}

func TestGemmChecks(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		mr, nr := TileRows(), PanelCols()
		const k = 4
		s := func(n int) []float32 { return make([]float32, n) }
		good := GemmArgs{
			M: mr, N: nr, K: k, C: s(mr * nr), LDC: nr, A: s(mr * k), ARS: k, ACS: 1, B: s(k * nr),
			Bias: s(nr), Add: s(mr * nr), LDAdd: nr,
		}
		GemmPanel(&good)
		for what, change := range map[string]func(*GemmArgs){
			"N":         func(g *GemmArgs) { g.N++ },
			"K":         func(g *GemmArgs) { g.K = -1 },
			"LDC":       func(g *GemmArgs) { g.LDC = -1 },
			"ARS":       func(g *GemmArgs) { g.ARS = -1 },
			"ACS":       func(g *GemmArgs) { g.ACS = -1 },
			"LDAdd":     func(g *GemmArgs) { g.LDAdd = -1 },
			"len(C)":    func(g *GemmArgs) { g.C = g.C[1:] },
			"len(A)":    func(g *GemmArgs) { g.A = g.A[1:] },
			"len(B)":    func(g *GemmArgs) { g.B = g.B[1:] },
			"len(Bias)": func(g *GemmArgs) { g.Bias = g.Bias[1:] },
			"len(Add)":  func(g *GemmArgs) { g.Add = g.Add[1:] },
		} {
			bad := good
			change(&bad)
			mustPanic(t, what, "GemmPanel "+what, func() { GemmPanel(&bad) })
		}
		mustPanic(t, "PackB dst", "PackB len(dst)", func() { PackB(s(3), s(100), k, nr, nr, 1) })
		mustPanic(t, "PackB b", "PackB len(b)", func() { PackB(s(k*nr), s(k*nr-1), k, nr, nr, 1) })
		mustPanic(t, "PackA dst", "PackA len(dst)", func() { PackA(s(mr*k-1), s(mr*k), mr, k, mr) })
		mustPanic(t, "PackA a", "PackA len(a)", func() { PackA(s(mr*k), s(mr*k-1), mr, k, mr) })
		if got := testing.AllocsPerRun(10, func() {
			GemmPanel(&GemmArgs{M: mr, N: nr, K: k, C: good.C, LDC: nr, A: good.A, ARS: k, ACS: 1, B: good.B, Bias: good.Bias})
		}); got != 0 {
			t.Errorf("GemmPanel allocates %v times", got)
		}
	})
}

func ExampleGemmPanel() {
	defer Use(Generic)() // tile sizes, and so the panel below, depend on the level
	a := []float32{
		1, 2, 3,
		4, 5, 6,
	}
	b := []float32{
		1, 0,
		0, 1,
		1, 1,
	}
	const m, n, k = 2, 2, 3
	panel := make([]float32, PackedLen(k, n))
	PackB(panel, b, k, n, n, 1)
	c := make([]float32, m*n)
	GemmPanel(&GemmArgs{
		M: m, N: n, K: k,
		C: c, LDC: n,
		A: a, ARS: k, ACS: 1,
		B:    panel,
		Bias: []float32{10, 20},
	})
	fmt.Println(c)
	// Output: [14 25 20 31]
}
