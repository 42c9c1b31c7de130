package asm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// panelCase is one call of GemmPanel.
type panelCase struct {
	m, n, k               int
	ars, acs, ldc         int
	packed                bool // A is packed from what ars and acs describe
	bias, add, accumulate bool
	special               bool // one element of A is NaN or infinite
	seed                  uint64
}

// panelMemory holds the operands; each ends at a guard page.
type panelMemory struct{ c, a, packed, b, bias, add []float32 }

func newPanelMemory(t testing.TB, floats int) *panelMemory {
	g := func() []float32 { return guarded(t, floats) }
	return &panelMemory{g(), g(), g(), g(), g(), g()}
}

// end returns the last n floats of s.
func end(s []float32, n int) []float32 { return s[len(s)-n:] }

// check compares with float64, and checks that nothing else in C was written.
func (c panelCase) check(t *testing.T, mem *panelMemory) {
	t.Helper()
	r := rand.New(rand.NewPCG(c.seed, uint64(c.m*1000+c.n)))
	fill := func(s []float32) []float32 {
		for i := range s {
			s[i] = float32(r.NormFloat64())
		}
		return s
	}
	nr := PanelCols()
	g := GemmArgs{
		M: c.m, N: c.n, K: c.k,
		C: fill(end(mem.c, (c.m-1)*c.ldc+c.n)), LDC: c.ldc,
		ARS: c.ars, ACS: c.acs,
		Accumulate: c.accumulate,
	}
	if c.k > 0 {
		g.A, g.B = fill(end(mem.a, (c.m-1)*c.ars+(c.k-1)*c.acs+1)), fill(end(mem.b, c.k*nr))
		if c.special {
			g.A[r.IntN(len(g.A))] = []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}[r.IntN(3)]
		}
	}
	if c.bias {
		g.Bias = fill(end(mem.bias, c.n))
	}
	if c.add {
		g.LDAdd = c.n + 3
		g.Add = fill(end(mem.add, (c.m-1)*g.LDAdd+c.n))
	}
	a := g.A
	if c.packed {
		columns := make([]float32, c.m*c.k)
		for i := range c.m {
			for p := range c.k {
				columns[p*c.m+i] = a[i*c.ars+p*c.acs]
			}
		}
		g.A, g.ARS, g.ACS, g.PackedA = end(mem.packed, c.m*c.k), -1, -1, true
		PackA(g.A, c.m, c.k, columns, 0, c.k, c.m)
	}
	old, given := slices.Clone(g.C), g
	GemmPanel(&g)
	if !reflect.DeepEqual(g, given) { // which compares slices by their place before their contents
		t.Fatalf("%+v: the arguments changed", c)
	}
	for i := range c.m {
		for j := c.n; j < c.ldc && i*c.ldc+j < len(g.C); j++ {
			if g.C[i*c.ldc+j] != old[i*c.ldc+j] {
				t.Fatalf("%+v: wrote (%d,%d), outside the columns", c, i, j)
			}
		}
		for j := range c.n {
			var v, abs float64
			term := func(f float64) { v += f; abs += math.Abs(f) }
			for p := range c.k {
				term(float64(a[i*c.ars+p*c.acs]) * float64(g.B[p*nr+j]))
			}
			if c.bias {
				term(float64(g.Bias[j]))
			}
			if c.add {
				term(float64(g.Add[i*g.LDAdd+j]))
			}
			if c.accumulate {
				term(float64(old[i*c.ldc+j]))
			}
			want := value{v, float64(min(c.k, sumLength+sumTail)+c.k/sumLength+4) * u * abs}
			if got := float64(g.C[i*c.ldc+j]); !want.ok(got) {
				t.Fatalf("%+v: element (%d,%d): got %v, want %v within %v", c, i, j, got, v, want.tol)
			}
		}
	}
}

func TestGemmPanel(t *testing.T) {
	// Where the rows of A lie.
	type layout func(m, k int) (ars, acs int)
	rowMajor := func(_, k int) (int, int) { return k + 1, 1 }
	columns := func(m, _ int) (int, int) { return 1, m }
	strided := func(_, k int) (int, int) { return 2*k + 3, 2 }
	oneRow := func(_, _ int) (int, int) { return 0, 1 }   // for all rows of C
	pages := func(_, _ int) (int, int) { return 1024, 1 } // a page apart, for which tiles are lower
	ks := []int{0, 1, 2, 5, 33, sumLength + 1, sumLength + sumTail, 2*sumLength + sumTail - 1}
	if testing.Short() {
		ks = []int{0, 5, sumLength + sumTail}
	}
	for _, v := range []struct {
		name   string
		a      layout
		ldc    int // 0: n and pad
		pad    int
		call   panelCase
		single bool // also one tile at every height, with any number of columns
	}{
		{"row-major", rowMajor, 0, 0, panelCase{}, true},
		{"columns, bias", columns, 0, 1, panelCase{bias: true}, true},
		{"packed", rowMajor, 0, 0, panelCase{packed: true}, true},
		{"strided, add", strided, 0, 2, panelCase{add: true}, true},
		{"one row, bias, add", oneRow, 0, 0, panelCase{bias: true, add: true}, true},
		{"row-major, accumulate", rowMajor, 0, 1, panelCase{accumulate: true}, true},
		{"packed, bias, accumulate, NaN and Inf", rowMajor, 0, 2, panelCase{packed: true, bias: true, accumulate: true, special: true}, true},
		{"columns, accumulate, NaN and Inf", columns, 0, 2, panelCase{accumulate: true, special: true}, true},
		{"strided, add, accumulate", strided, 0, 0, panelCase{add: true, accumulate: true}, true},
		{"one row, bias, add, accumulate", oneRow, 0, 1, panelCase{bias: true, add: true, accumulate: true}, true},
		{"pages of A", pages, 0, 2, panelCase{}, false},
		{"columns, pages of C, bias", columns, 1024, 0, panelCase{bias: true}, false},
		{"packed, pages of C, add", rowMajor, 1024, 0, panelCase{packed: true, add: true}, false},
		{"pages of A and C, add", pages, 1024, 0, panelCase{add: true}, false},
		{"pages of A and C, bias, add", pages, 1024, 0, panelCase{bias: true, add: true}, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			everyLevel(t, func(t *testing.T) {
				mem := newPanelMemory(t, 1<<15)
				check := func(m, n, k int) {
					c := v.call
					c.m, c.n, c.k, c.ldc, c.seed = m, n, k, n+v.pad, uint64(k)
					if v.ldc > 0 {
						c.ldc = v.ldc
					}
					c.ars, c.acs = v.a(m, k)
					c.check(t, mem)
				}
				nr := PanelCols()
				for _, k := range ks {
					for n := 1; n <= nr && v.single; n++ {
						for m := 1; m <= TileRows(); m++ {
							check(m, n, k)
						}
					}
					for _, n := range []int{1, nr / 2, nr - 1, nr} {
						for m := TileRows() + 1; m <= 2*TileRows()+3; m++ { // several tiles
							check(m, n, k)
						}
					}
				}
			})
		})
	}
}

// TestGemmPanelBits checks that the bits of an element do not depend on the tile it is computed in.
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
		a, panel := random(rows*k), random(k*nr)
		full := make([]float32, rows*nr)
		GemmPanel(&GemmArgs{M: rows, N: nr, K: k, C: full, LDC: nr, A: a, ARS: k, ACS: 1, B: panel})
		right := make([]float32, PackedLen(k, nr/2)) // the right half, as a panel of its own
		PackB(right, panel[nr/2:], k, nr/2, nr, 1)
		for m := 1; m <= rows; m++ {
			c := make([]float32, m*nr)
			for first := 0; first+m <= rows; first++ {
				GemmPanel(&GemmArgs{M: m, N: nr, K: k, C: c, LDC: nr, A: a[first*k:], ARS: k, ACS: 1, B: panel})
				GemmPanel(&GemmArgs{M: m, N: nr/2 - 1, K: k, C: c[nr/2:], LDC: nr, A: a[first*k:], ARS: k, ACS: 1, B: right})
				for i, v := range c {
					if v != full[first*nr+i] {
						t.Fatalf("%d rows from row %d: element %d is %v, not %v", m, first, i, v, full[first*nr+i])
					}
				}
			}
		}
	})
}

// checkPackB packs b into dst, which is exactly as long as PackedLen says.
func checkPackB(t *testing.T, k, n, rs, cs int, b, dst []float32) {
	t.Helper()
	for i := range b {
		b[i] = float32(i + 1)
	}
	for i := range dst {
		dst[i] = magic
	}
	PackB(dst, b, k, n, rs, cs)
	nr, i := PanelCols(), 0
	for j0 := 0; j0 < n; j0 += nr {
		for p := range k {
			for j := j0; j < j0+nr; j++ {
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
	for _, layout := range []struct {
		name    string
		strides func(k, n int) (rs, cs int)
	}{
		{"rows", func(_, n int) (int, int) { return n, 1 }},
		{"rows with gaps", func(_, n int) (int, int) { return n + 3, 1 }},
		{"columns", func(k, _ int) (int, int) { return 1, k }},
		{"columns with gaps", func(k, _ int) (int, int) { return 1, k + 5 }},
		{"neither contiguous", func(k, _ int) (int, int) { return 2, 2 * k }},
	} {
		t.Run(layout.name, func(t *testing.T) {
			everyLevel(t, func(t *testing.T) {
				src, dst := guarded(t, 1<<14), guarded(t, 1<<14)
				for n := 1; n <= 3*PanelCols()+3; n++ {
					for _, k := range []int{1, 2, 7, 8, 9, 15, 16, 17, 33, 50} {
						rs, cs := layout.strides(k, n)
						checkPackB(t, k, n, rs, cs, end(src, (k-1)*rs+(n-1)*cs+1), end(dst, PackedLen(k, n)))
					}
				}
			})
		})
	}
}

func TestPackA(t *testing.T) {
	for _, layout := range []struct {
		name string
		lda  func(m int) int
	}{
		{"rows", func(m int) int { return m }},
		{"rows with gaps", func(m int) int { return m + 9 }},
		{"one row for all", func(int) int { return 0 }},
	} {
		t.Run(layout.name, func(t *testing.T) {
			everyLevel(t, func(t *testing.T) {
				src, dst := guarded(t, 1<<13), guarded(t, 1<<13)
				for m := 1; m <= 3*PanelCols()+3; m++ {
					for _, k := range []int{1, 2, 17, 40} {
						lda := layout.lda(m)
						checkPackA(t, m, k, lda, end(src, (k-1)*lda+m), end(dst, m*k))
					}
				}
			})
		})
	}
}

// TestPackARows compares it with PackA of the transposed matrix. Neither reads or writes too far.
func TestPackARows(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		src, dst := guarded(t, 1<<13), guarded(t, 1<<13)
		for m := 1; m <= 3*TileRows()+3; m++ {
			for _, k := range []int{1, 2, 7, 8, 9, 15, 16, 17, 40} {
				for _, gap := range []int{0, 5} {
					lda := k + gap
					a := end(src, (m-1)*lda+k)
					columns := make([]float32, k*m)
					for i := range a {
						a[i] = float32(i + 1)
						if row, p := i/lda, i%lda; p < k {
							columns[p*m+row] = a[i]
						}
					}
					room := end(dst, m*k+1) // a value before the matrix
					room[0] = magic
					PackARows(room[1:], m, k, a, lda)
					want := make([]float32, m*k)
					PackA(want, m, k, columns, 0, k, m)
					if !slices.Equal(room[1:], want) || room[0] != magic {
						t.Fatalf("m=%d k=%d lda=%d: got %v, want %v", m, k, lda, room[1:], want)
					}
					// Values that follow are left alone.
					long := make([]float32, m*k+PanelCols())
					PackARows(long, m, k, a, lda)
					if slices.Max(long[m*k:]) != 0 {
						t.Fatalf("m=%d k=%d lda=%d: wrote %v behind the matrix", m, k, lda, long[m*k:])
					}
				}
			}
		}
	})
}

// checkPackA packs a in three parts, the last columns first, and once more with zeros in the middle.
func checkPackA(t *testing.T, m, k, lda int, a, dst []float32) {
	t.Helper()
	for i := range a {
		a[i] = float32(i + 1)
	}
	for i := range dst {
		dst[i] = magic
	}
	from, to := k/3, (k+1)/2
	for _, part := range [][2]int{{to, k}, {0, from}, {from, to}} {
		if part[0] < part[1] {
			PackA(dst, m, k, a[part[0]*lda:], part[0], part[1], lda)
		}
	}
	check := func(want func(i, p int) float32) {
		t.Helper()
		count := (m + TileRows() - 1) / TileRows()
		at := 0
		for q, row := 0, 0; q < count; q++ {
			h := m / count
			if q < m%count {
				h++
			}
			for p := range k {
				for i := row; i < row+h; i++ {
					if got := dst[at]; got != want(i, p) {
						t.Fatalf("m=%d k=%d lda=%d: element (%d,%d) is %v, want %v", m, k, lda, i, p, got, want(i, p))
					}
					at++
				}
			}
			row += h
		}
	}
	check(func(i, p int) float32 { return a[p*lda+i] })
	PackA(dst, m, k, nil, from, to, lda)
	check(func(i, p int) float32 {
		if from <= p && p < to {
			return 0
		}
		return a[p*lda+i]
	})
}

func FuzzGemmPanel(f *testing.F) {
	f.Add(uint64(1), uint8(14), uint8(32), uint16(64), uint8(0), uint8(3))
	f.Add(uint64(2), uint8(3), uint8(5), uint16(9), uint8(7), uint8(0))
	f.Fuzz(func(t *testing.T, seed uint64, m, n uint8, k uint16, flags, pad uint8) {
		defer useOneOf(flags >> 4)()
		c := panelCase{
			m: 1 + int(m)%(3*TileRows()), n: 1 + int(n)%PanelCols(), k: int(k) % 300, seed: seed,
			bias: flags&1 != 0, add: flags&2 != 0, accumulate: flags&4 != 0, special: flags&8 != 0,
		}
		c.ldc, c.ars, c.acs = c.n+int(pad%7), c.k+int(pad%5), 1
		if pad&2 != 0 {
			c.ars, c.acs = 1+int(pad%3), c.m*3
		}
		c.packed = pad&4 != 0
		c.check(t, newPanelMemory(t, 1<<16))
	})
}

func FuzzPackB(f *testing.F) {
	f.Add(uint8(16), uint8(33), uint8(0), uint8(2))
	f.Fuzz(func(t *testing.T, k8, n8, flags, pad uint8) {
		defer useOneOf(flags >> 4)()
		k, n := 1+int(k8), 1+int(n8)
		rs, cs := n+int(pad), 1
		if flags&1 != 0 {
			rs, cs = 1, k+int(pad)
		}
		checkPackB(t, k, n, rs, cs, guarded(t, (k-1)*rs+(n-1)*cs+1), guarded(t, PackedLen(k, n)))
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
		panel := func(change func(g *GemmArgs)) func() {
			return func() {
				bad := good
				change(&bad)
				GemmPanel(&bad)
			}
		}
		for key, run := range map[string]func(){
			"GemmPanel N":             panel(func(g *GemmArgs) { g.N++ }),
			"GemmPanel K":             panel(func(g *GemmArgs) { g.K = -1 }),
			"GemmPanel LDC":           panel(func(g *GemmArgs) { g.LDC = -1 }),
			"GemmPanel ARS":           panel(func(g *GemmArgs) { g.ARS = -1 }),
			"GemmPanel ACS":           panel(func(g *GemmArgs) { g.ACS = -1 }),
			"GemmPanel LDAdd":         panel(func(g *GemmArgs) { g.LDAdd = -1 }),
			"GemmPanel len(C)":        panel(func(g *GemmArgs) { g.C = g.C[1:] }),
			"GemmPanel len(A)":        panel(func(g *GemmArgs) { g.A = g.A[1:] }),
			"GemmPanel len(packed A)": panel(func(g *GemmArgs) { g.A, g.PackedA = g.A[1:], true }),
			"GemmPanel len(B)":        panel(func(g *GemmArgs) { g.B = g.B[1:] }),
			"GemmPanel len(Bias)":     panel(func(g *GemmArgs) { g.Bias = g.Bias[1:] }),
			"GemmPanel len(Add)":      panel(func(g *GemmArgs) { g.Add = g.Add[1:] }),
			"PackB row stride":        func() { PackB(s(k*nr), s(k*nr), k, nr, -1, 1) },
			"PackB column stride":     func() { PackB(s(k*nr), s(k*nr), k, nr, nr, -1) },
			"PackB len(dst)":          func() { PackB(s(k*nr-1), s(k*nr), k, nr, nr, 1) },
			"PackB len(b)":            func() { PackB(s(k*nr), s(k*nr-1), k, nr, nr, 1) },
			"PackA first column":      func() { PackA(s(mr*k), mr, k, s(mr*k), -1, 2, mr) },
			"PackA k":                 func() { PackA(s(mr*k), mr, k-1, s(mr*k), 0, k, mr) },
			"PackA row stride":        func() { PackA(s(mr*k), mr, k, s(mr*k), 0, k, -1) },
			"PackA len(dst)":          func() { PackA(s(mr*k-1), mr, k, s(mr*k), 0, k, mr) },
			"PackA len(a)":            func() { PackA(s(mr*k), mr, k, s(mr*k-1), 0, k, mr) },
			"PackARows row stride":    func() { PackARows(s(mr*k), mr, k, s(mr*k), -1) },
			"PackARows len(dst)":      func() { PackARows(s(mr*k-1), mr, k, s(mr*k), k) },
			"PackARows len(a)":        func() { PackARows(s(mr*k), mr, k, s(mr*k-1), k) },
		} {
			t.Run(key, func(t *testing.T) { mustPanic(t, key, run) })
		}
	})
}

func TestGemmNoAllocation(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		m, n := 2*TileRows()+1, PanelCols()
		const k = 4
		a, b, c, packed := make([]float32, m*k), make([]float32, k*n), make([]float32, m*n), make([]float32, m*k)
		for name, run := range map[string]func(){
			"GemmPanel": func() { GemmPanel(&GemmArgs{M: m, N: n, K: k, C: c, LDC: n, A: a, ARS: k, ACS: 1, B: b}) },
			"PackA":     func() { PackA(packed, m, k, a, 0, k, m) },
			"PackB":     func() { PackB(b, a, k, TileRows(), TileRows(), 1) },
		} {
			t.Run(name, func(t *testing.T) {
				if got := testing.AllocsPerRun(10, run); got > 0 {
					t.Errorf("allocates %v times", got)
				}
			})
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
