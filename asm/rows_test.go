package asm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The kernels on rows at a stride: AddRows, DivRows and SlideRows.

// checkAddRows has pad floats behind the n of dst, which must stay as they are. One element of x is
// NaN, which must show in its column alone.
func checkAddRows(t *testing.T, r *rand.Rand, rows, n, ld, pad int) {
	t.Helper()
	x, dst := guarded(t, (rows-1)*ld+n), guarded(t, n+pad)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	for i := range dst {
		dst[i] = magic
	}
	for j := 0; j < n; j++ {
		dst[j] = float32(j)
	}
	x[r.IntN(len(x))] = float32(math.NaN())
	AddRows(dst, x, rows, n, ld)
	for j, got := range dst {
		if j >= n {
			if got != magic {
				t.Fatalf("rows=%d n=%d: dst[%d] was written", rows, n, j)
			}
			continue
		}
		v, abs := sum(rows, func(i int) float64 { return float64(x[i*ld+j]) })
		w := value{v + float64(j), float64(min(rows, addRowsBlock)+rows/addRowsBlock+2)*u*abs + u*math.Abs(v+float64(j))*float64(1+rows/addRowsBlock)}
		if !w.ok(float64(got)) {
			t.Fatalf("rows=%d n=%d ld=%d: dst[%d]: got %v, want %v within %v", rows, n, ld, j, got, w.v, w.tol)
		}
	}
}

func TestAddRows(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		for _, rows := range []int{1, 2, 3, 8, 131} {
			t.Run(fmt.Sprintf("rows=%d", rows), func(t *testing.T) {
				r := rand.New(rand.NewPCG(3, uint64(rows)))
				for n := 1; n <= maxLen; n++ {
					checkAddRows(t, r, rows, n, n+r.IntN(3), n%2*16)
				}
			})
		}
		for _, c := range []struct {
			name             string
			rows, n, ld, pad int
		}{
			{"a long sum", 1000, 33, 33, 1},
			{"one row nine times", 9, 40, 0, 0},
		} {
			t.Run(c.name, func(t *testing.T) {
				checkAddRows(t, rand.New(rand.NewPCG(3, 4)), c.rows, c.n, c.ld, c.pad)
			})
		}
	})
}

// FuzzAddRows runs AddRows on random shapes.
func FuzzAddRows(f *testing.F) {
	f.Add(uint64(1), uint16(99), uint8(70), uint8(3), uint8(2))
	f.Fuzz(func(t *testing.T, seed uint64, rows uint16, n, pad, level uint8) {
		defer useOneOf(level)()
		cols := 1 + int(n)
		checkAddRows(t, rand.New(rand.NewPCG(seed, 0)), 1+int(rows)%500, cols, cols+int(pad%20), int(pad%3))
	})
}

func TestDivRows(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		for _, first := range []float64{2, 0, math.Inf(1), math.NaN()} {
			t.Run(fmt.Sprintf("first divisor %v", first), func(t *testing.T) {
				r := rand.New(rand.NewPCG(11, 12))
				for n := 1; n <= maxLen; n++ {
					for _, rows := range []int{1, 2, 9} {
						checkDivRows(t, r, rows, n, n+n%3, float32(first))
					}
				}
			})
		}
		t.Run("no rows", func(*testing.T) { DivRows(nil, 0, 0, 5, nil) })
	})
}

// checkDivRows divides the first row by first. What lies between the rows must stay.
func checkDivRows(t *testing.T, r *rand.Rand, rows, n, ld int, first float32) {
	t.Helper()
	x, by := guarded(t, (rows-1)*ld+n), guarded(t, rows)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	for i := range by {
		by[i] = float32(math.Exp(3 * r.NormFloat64()))
	}
	by[0] = first
	old := slices.Clone(x)
	DivRows(x, ld, rows, n, by)
	for i, got := range x {
		want := value{float64(old[i]), 0}
		if i%ld < n {
			v := float64(old[i]) / float64(by[i/ld])
			want = value{v, 3 * u * math.Abs(v)}
		}
		if !want.ok(float64(got)) {
			t.Fatalf("rows=%d n=%d ld=%d: x[%d]: got %v, want %v within %v", rows, n, ld, i, got, want.v, want.tol)
		}
	}
}

// slideCase is a call of SlideRows.
type slideCase struct {
	m, rows, n int
	pad        int // the most floats between two rows
}

// check runs SlideRows on matrices in memory that place returns, of so many floats for operand
// number i. The floats between rows must stay as they are. A NaN in a must reach the sums that see
// it and no others, and each sum must have the bits that it has alone.
func (c slideCase) check(t *testing.T, r *rand.Rand, place func(i, floats int) []float32) {
	t.Helper()
	stride := func() int { return c.n + r.IntN(c.pad+1) }
	ldd, lda, ldb := stride(), stride(), stride()
	draw := func(i, rows, ld int) []float32 {
		x := place(i, max(0, (rows-1)*ld+c.n))
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	dst, a, b := draw(0, c.m, ldd), draw(1, c.m+c.rows-1, lda), draw(2, c.rows, ldb)
	if len(a) > 0 {
		a[r.IntN(len(a))] = float32(math.NaN())
	}
	before, keptA, keptB := slices.Clone(dst), slices.Clone(a), slices.Clone(b)
	SlideRows(dst, ldd, a, lda, b, ldb, c.m, c.rows, c.n)
	for k, got := range dst {
		i, j, was := k/max(ldd, 1), k%max(ldd, 1), before[k]
		if j >= c.n || c.rows == 0 {
			if got != was {
				t.Fatalf("%+v: dst was written at (%d,%d)", c, i, j)
			}
			continue
		}
		v, abs := sum(c.rows, func(r int) float64 { return float64(a[(i+r)*lda+j]) * float64(b[r*ldb+j]) })
		w := value{v + float64(was), float64(c.rows+1)*u*abs + u*math.Abs(v+float64(was)) + tiny}
		if !w.ok(float64(got)) {
			t.Fatalf("%+v, strides %d %d %d: (%d,%d): got %v, want %v within %v", c, ldd, lda, ldb, i, j, got, w.v, w.tol)
		}
		alone := []float32{was}
		SlideRows(alone, 0, a[i*lda+j:], lda, b[j:], ldb, 1, c.rows, 1)
		if math.Float32bits(alone[0]) != math.Float32bits(got) {
			t.Fatalf("%+v: (%d,%d): got %v, alone %v", c, i, j, got, alone[0])
		}
	}
	same := func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) }
	if !slices.EqualFunc(a, keptA, same) || !slices.EqualFunc(b, keptB, same) {
		t.Fatalf("%+v: an input changed", c)
	}
}

func TestSlideRows(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		atGuardPage := func(t *testing.T) func(int, int) []float32 {
			return func(_, floats int) []float32 { return guarded(t, floats) }
		}
		for _, m := range []int{1, 3, 7, 16} {
			t.Run(fmt.Sprintf("m=%d", m), func(t *testing.T) {
				r := rand.New(rand.NewPCG(7, uint64(m)))
				for n := 1; n <= maxLen; n++ {
					slideCase{m, 1 + r.IntN(9), n, r.IntN(17)}.check(t, r, atGuardPage(t))
				}
			})
		}
		for _, m := range []int{1, 9} { // which the kernels of one and of seven rows take
			t.Run(fmt.Sprintf("offsets, m=%d", m), func(t *testing.T) {
				r := rand.New(rand.NewPCG(9, uint64(m)))
				for n := 1; n <= maxLen; n++ {
					for off := range 16 {
						var around [3]func(*testing.T)
						slideCase{m, 3, n, 1}.check(t, r, func(i, floats int) (s []float32) {
							s, around[i] = surrounded(floats, off+5*i)
							return s
						})
						for _, check := range around {
							check(t)
						}
					}
				}
			})
		}
		for name, c := range map[string]slideCase{
			"a long sum": {7, 1000, 33, 1},
			"many rows":  {300, 7, 20, 0},
			"no results": {0, 7, 20, 0},
			"no rows":    {7, 0, 20, 0},
			"no columns": {7, 7, 0, 3},
		} {
			t.Run(name, func(t *testing.T) { c.check(t, rand.New(rand.NewPCG(7, 8)), atGuardPage(t)) })
		}
	})
}

// FuzzSlideRows runs SlideRows on random shapes.
func FuzzSlideRows(f *testing.F) {
	f.Add(uint64(1), uint8(9), uint8(7), uint8(70), uint8(3), uint8(2))
	f.Fuzz(func(t *testing.T, seed uint64, m, rows, n, pad, level uint8) {
		defer useOneOf(level)()
		c := slideCase{int(m), int(rows), int(n), int(pad % 20)}
		c.check(t, rand.New(rand.NewPCG(seed, 0)), func(_, floats int) []float32 { return guarded(t, floats) })
	})
}

// TestRowChecks calls each kernel on rows with a slice that is a float too short, or with a stride
// that its rows do not fit.
func TestRowChecks(t *testing.T) {
	const rows, n, ld = 3, 5, 6
	of := func(rows int) []float32 { return make([]float32, (rows-1)*ld+n) }
	short := func(rows int) []float32 { return of(rows)[1:] }
	for _, c := range []struct {
		key string
		run func()
	}{
		{"AddRows stride", func() { AddRows(of(1), of(rows), rows, n, -1) }},
		{"AddRows len(dst)", func() { AddRows(short(1), of(rows), rows, n, ld) }},
		{"AddRows len(x)", func() { AddRows(of(1), short(rows), rows, n, ld) }},
		{"DivRows stride", func() { DivRows(of(rows), n-1, rows, n, of(rows)) }},
		{"DivRows len(x)", func() { DivRows(short(rows), ld, rows, n, of(rows)) }},
		{"DivRows len(by)", func() { DivRows(of(rows), ld, rows, n, make([]float32, rows-1)) }},
		{"SlideRows ldd", func() { SlideRows(of(2), -1, of(rows+1), ld, of(rows), ld, 2, rows, n) }},
		{"SlideRows lda", func() { SlideRows(of(2), ld, of(rows+1), -1, of(rows), ld, 2, rows, n) }},
		{"SlideRows ldb", func() { SlideRows(of(2), ld, of(rows+1), ld, of(rows), -1, 2, rows, n) }},
		{"SlideRows len(dst)", func() { SlideRows(short(2), ld, of(rows+1), ld, of(rows), ld, 2, rows, n) }},
		{"SlideRows len(a)", func() { SlideRows(of(2), ld, short(rows+1), ld, of(rows), ld, 2, rows, n) }},
		{"SlideRows len(b)", func() { SlideRows(of(2), ld, of(rows+1), ld, short(rows), ld, 2, rows, n) }},
		{"Softmax rows", func() { Softmax(of(rows), ld, 0, n, 1, of(1), of(1)) }},
		{"Softmax stride", func() { Softmax(of(rows), n-1, rows, n, 1, of(1), of(1)) }},
		{"Softmax len(x)", func() { Softmax(short(rows), ld, rows, n, 1, of(1), of(1)) }},
		{"Softmax len(shift)", func() { Softmax(of(rows), ld, rows, n, 1, short(1), of(1)) }},
		{"Softmax len(sum)", func() { Softmax(of(rows), ld, rows, n, 1, of(1), short(1)) }},
		{"SoftmaxBackward rows", func() { SoftmaxBackward(of(rows), of(rows), ld, 0, n, 1, of(1)) }},
		{"SoftmaxBackward stride", func() { SoftmaxBackward(of(rows), of(rows), n-1, rows, n, 1, of(1)) }},
		{"SoftmaxBackward len(x)", func() { SoftmaxBackward(short(rows), of(rows), ld, rows, n, 1, of(1)) }},
		{"SoftmaxBackward len(dp)", func() { SoftmaxBackward(of(rows), short(rows), ld, rows, n, 1, of(1)) }},
		{"SoftmaxBackward len(shift)", func() { SoftmaxBackward(of(rows), of(rows), ld, rows, n, 1, short(1)) }},
	} {
		t.Run(c.key, func(t *testing.T) { mustPanic(t, c.key, c.run) })
	}
}

func TestRowsNoAllocation(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		const rows, n = 9, 20
		x, y, z := make([]float32, rows*n), make([]float32, rows*n), make([]float32, n)
		for name, run := range map[string]func(){
			"AddRows":         func() { AddRows(z, x, rows, n, n) },
			"DivRows":         func() { DivRows(x, n, rows, n, z) },
			"SlideRows":       func() { SlideRows(z, n, x, n, y, n, 1, rows, n) },
			"Softmax":         func() { Softmax(x, n, rows, n, 1, z, z) },
			"SoftmaxBackward": func() { SoftmaxBackward(x, y, n, rows, n, 1, z) },
		} {
			t.Run(name, func(t *testing.T) {
				if got := testing.AllocsPerRun(10, run); got > 0 {
					t.Errorf("allocates %v times", got)
				}
			})
		}
	})
}
