package tensor

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomae/gomae/asm"
	"github.com/gomae/gomae/internal/testkit"
)

// gemmCase is a matrix product with strides. The reference is the formula.
type gemmCase struct {
	m, n, k               int
	ars, acs, brs, bcs    int
	ldc                   int // n but for gemmSmall
	bias, add, accumulate bool
	gelu                  bool
	small                 bool // gemmSmall
	seed                  string
}

func sumSquares(x []float32) (s float64) {
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return s
}

// chain is how many additions a sum of k products is rounded by: asm.GemmPanel sums up 128 at a
// time, and a block of k may end with fewer.
func chain(k int) int { return min(k, 160) + k/128 + k/blockK + 2 }

func (p gemmCase) check(t *testing.T, tape *Tape) {
	t.Helper()
	r := seeded(p.seed)
	span := func(rows, rs, cols, cs int) int { return max(0, (rows-1)*rs+(cols-1)*cs+1) }
	draw := func(rows, rs, cols, cs int) ([]float32, []num) {
		if rows == 0 || cols == 0 {
			return nil, nil
		}
		x := normal(r, span(rows, rs, cols, cs))
		v := make([]num, len(x))
		for i := range v {
			v[i] = exact(float64(x[i]))
		}
		return x, v
	}
	a, va := draw(p.m, p.ars, p.k, p.acs)
	b, vb := draw(p.k, p.brs, p.n, p.bcs)
	c, vc := draw(p.m, p.ldc, p.n, 1)
	old := append([]float32(nil), c...)
	var e epilogue
	var vbias, vadd []num
	if p.bias {
		e.bias, vbias = draw(1, 1, p.n, 1)
	}
	if p.add {
		e.add, vadd = draw(p.m, p.n, p.n, 1)
	}
	e.accumulate = p.accumulate
	if p.gelu {
		e.gelu = make([]float32, len(c))
		copy(e.gelu, c)
	}
	e.rowsSq = make([]float64, p.m)
	left := matrix{data: a, rows: p.m, cols: p.k, rs: p.ars, cs: p.acs}
	right := rhs{matrix: matrix{data: b, rows: p.k, cols: p.n, rs: p.brs, cs: p.bcs}}
	if p.small {
		panels := make([]float32, asm.PackedLen(p.k, p.n))
		asm.PackB(panels, b, p.k, p.n, p.brs, p.bcs)
		gemmSmall(matrix{data: c, rows: p.m, cols: p.n, rs: p.ldc, cs: 1}, left, panels, p.accumulate)
	} else {
		if r.IntN(2) == 0 { // packed ahead, or by each task
			right = tape.packed(right.matrix)
		}
		tape.gemm(c, left, right, e)
	}
	for i, got := range e.rowsSq {
		if want := sumSquares(c[i*p.ldc:][:p.n]); !p.small && !(math.Abs(got-want) <= 1e-13*want) {
			t.Fatalf("%+v: the squares of row %d sum to %v, want %v", p, i, got, want)
		}
	}
	for i := range c {
		row, col := i/p.ldc, i%p.ldc
		if col >= p.n {
			if c[i] != old[i] || p.gelu && e.gelu[i] != old[i] {
				t.Fatalf("%+v: wrote (%d,%d), outside the matrix", p, row, col)
			}
			continue
		}
		want := dot(p.k, vec{va, row * p.ars, p.acs}, vec{vb, col * p.bcs, p.brs}, sequential(chain(p.k)))
		if p.accumulate {
			// It comes first, and each part of k rounds the sum.
			want = want.add(num{vc[i].v, float64(chain(p.k)) * u * vc[i].abs()})
		}
		if p.bias {
			want = want.add(vbias[col])
		}
		if vadd != nil {
			want = want.add(vadd[row*p.n+col])
		}
		if got := float64(c[i]); !(math.Abs(got-want.v) <= want.e) {
			t.Fatalf("%+v: (%d,%d) is %v, want %v within %.2g", p, row, col, got, want.v, want.e)
		}
		if p.gelu {
			v := float64(c[i])
			g := v * 0.5 * math.Erfc(-v/math.Sqrt2)
			if got := float64(e.gelu[i]); !(math.Abs(got-g) <= 1.5e-7+2*u*math.Abs(g)) {
				t.Fatalf("%+v: GELU of (%d,%d) is %v, want %v", p, row, col, got, g)
			}
		}
	}
}

// TestGemm tries all ways of striding and finishing at sizes around those of tiles, panels and
// blocks.
func TestGemm(t *testing.T) {
	sizes := [][3]int{{1, 1, 1}, {3, 5, 2}, {15, 33, 17}, {6, 16, 7}, {28, 64, 9}, {113, 40, 11}, {225, 9, 3}, {7, 130, 25}, {5, 9, blockK + 1}, {16, 34, 2*blockK + 1}}
	if testing.Short() {
		sizes = sizes[:5]
	}
	testkit.EachLevel(t, func(t *testing.T) {
		tape := NewTape(pools(t, 2)[0])
		for _, s := range sizes {
			t.Run(fmt.Sprintf("%dx%dx%d", s[0], s[1], s[2]), func(t *testing.T) {
				for how := range 48 {
					p := gemmCase{m: s[0], n: s[1], k: s[2], ldc: s[1], seed: fmt.Sprint(s, how)}
					p.ars, p.acs = p.k+how%3, 1
					p.brs, p.bcs = p.n+how%3, 1
					if how&1 != 0 {
						p.ars, p.acs = 1, p.m+how%3 // transposed, as of a gradient
					}
					if how&2 != 0 {
						p.brs, p.bcs = 1, p.k+how%5 // transposed, as of a weight
					}
					switch how / 4 % 3 {
					case 1:
						p.add = true
					case 2:
						p.accumulate = true
					}
					p.bias = how&4 != 0
					p.gelu = how >= 24 && how&8 != 0
					p.small = how >= 40
					if p.small {
						p.bias, p.add, p.gelu, p.ldc = false, false, false, p.n+how%3
					}
					p.check(t, tape)
				}
			})
		}
	})
}

// TestCopiedRows checks which rows are copied where the second-level cache is small, and that copies
// change no bit.
func TestCopiedRows(t *testing.T) {
	defer func(n int) { cacheFloats = n }(cacheFloats)
	testkit.EachLevel(t, func(t *testing.T) {
		for _, c := range []struct {
			m, k, panels, apart int
			one, three          bool // whether so many workers copy, with a small cache
		}{
			{201, 1024, 32, 1024, true, true}, // two blocks of k
			{201, 600, 32, 1024, true, true},  // a part of wider rows
			{201, 600, 31, 1024, true, false},
			{201, 600, 16, 2048, true, false},
			{201, 600, 15, 1024, false, false},
			{189, 600, 32, 1024, true, false}, // 63 rows for each of three
			{64, 600, 32, 1024, true, false},
			{63, 600, 32, 1024, false, false},
			{201, 600, 64, 1000, true, false},
			{201, 600, 63, 1000, false, false},
		} {
			r := seeded("copied rows")
			n := c.panels * asm.PanelCols()
			a := matrix{data: normal(r, c.m*c.apart), rows: c.m, cols: c.k, rs: c.apart, cs: 1}
			b := matrix{data: normal(r, c.k*n), rows: c.k, cols: n, rs: n, cs: 1}
			var want []float32
			for _, cacheFloats = range []int{1 << 18, 1 << 17} {
				small := cacheFloats == 1<<17
				for _, pool := range pools(t, 1, 3) {
					tape := NewInference(pool)
					got := make([]float32, c.m*n)
					tape.gemm(got, a, tape.packed(b), epilogue{})
					if copies := map[int]bool{1: c.one, 3: c.three}[tape.Workers()]; tape.product.copiesA != (small && copies) {
						t.Errorf("%+v, small cache %v, %d workers: copied: %v", c, small, tape.Workers(), tape.product.copiesA)
					}
					if want == nil {
						want = got
					}
					if !slices.Equal(got, want) {
						t.Fatalf("%+v, small cache %v, %d workers: other bits", c, small, tape.Workers())
					}
				}
			}
		}
	})
}

func TestSplit(t *testing.T) {
	for n := range 300 {
		for size := 1; size < 40; size++ {
			count := ceilDiv(n, size)
			end, shortest, longest := 0, n, 0
			for i := range count {
				from, to := split(n, count, i)
				if from != end {
					t.Fatalf("part %d of %d of %d starts at %d, not %d", i, count, n, from, end)
				}
				end, shortest, longest = to, min(shortest, to-from), max(longest, to-from)
			}
			if end != n || longest > size || count > 0 && longest-shortest > 1 {
				t.Fatalf("%d in parts of at most %d: end %d, lengths %d to %d", n, size, end, shortest, longest)
			}
		}
	}
}

// FuzzGemm runs products of random sizes and strides.
func FuzzGemm(f *testing.F) {
	f.Add(uint16(14), uint16(33), uint16(70), uint16(0x00), uint16(0x00))
	f.Add(uint16(113), uint16(9), uint16(3), uint16(0x15), uint16(0x231))
	f.Add(uint16(5), uint16(31), uint16(2*blockK), uint16(0x2a), uint16(0x102))
	f.Fuzz(func(t *testing.T, m, n, k, flags, pads uint16) {
		levels := asm.Supported()
		defer asm.Use(levels[int(flags>>8)%len(levels)])()
		p := gemmCase{m: int(m % 130), n: 1 + int(n%100), k: 1 + int(k)%(3*blockK), bias: flags&1 != 0, add: flags&2 != 0, accumulate: flags&4 != 0, gelu: flags&8 != 0,
			small: flags&16 != 0, seed: fmt.Sprint(m, n, k, flags, pads)}
		if p.m*p.n*p.k > 1<<21 {
			p.k = max(1, 1<<21/(p.m*p.n))
		}
		pad := func(shift int) int { return int(pads>>shift) % 8 }
		p.ldc = p.n
		if p.small {
			p.m = max(p.m, 1) // attention has none without a query
			p.bias, p.add, p.gelu, p.ldc = false, false, false, p.n+pad(0)
		}
		p.ars, p.acs, p.brs, p.bcs = p.k+pad(6), 1, p.n+pad(9), 1
		if flags&32 != 0 {
			p.ars, p.acs = 1, p.m*2+pad(6)
			if p.small { // which reads A wherever it lies
				p.ars += pad(12) % 2
			}
		}
		if flags&64 != 0 {
			p.brs, p.bcs = 1+pad(12)%2, p.k*2+pad(9)
		}
		p.check(t, NewTape(nil))
	})
}

// fuzzCase compares a case with the reference at some level, and with another number of workers,
// for tracked inputs or leaves.
func fuzzCase(t *testing.T, c *opCase, how uint8) {
	c.prepare()
	levels := asm.Supported()
	defer asm.Use(levels[int(how)%len(levels)])()
	p := newPool(1 + int(how>>2)%4)
	defer p.Close()
	tracked := how&128 != 0
	x := c.leaves(all)
	compare(t, c.name+": result", c.step(NewTape(p), x, tracked), c.out, nil)
	for i := range x {
		compare(t, fmt.Sprintf("%s: gradient %d", c.name, i), x[i].Grad, c.grads[i], c.start[i])
	}
}

func FuzzLinear(f *testing.F) {
	f.Add(uint8(14), uint8(70), uint8(33), uint8(0), uint8(0))
	f.Add(uint8(113), uint8(3), uint8(65), uint8(1), uint8(0x85))
	f.Add(uint8(0), uint8(9), uint8(5), uint8(2), uint8(0x0a))
	f.Add(uint8(29), uint8(40), uint8(18), uint8(4), uint8(0x84)) // with GELU
	f.Add(uint8(7), uint8(130), uint8(34), uint8(5), uint8(0x05))
	f.Fuzz(func(t *testing.T, m, k, n, kind, how uint8) {
		fuzzCase(t, linearCase(int(m), int(k), int(n), kind&1 != 0, kind&2 != 0, kind&6 == 4), how)
	})
}

func FuzzAttention(f *testing.F) {
	f.Add(uint8(2), uint16(17), uint16(20), uint8(3), uint8(8), uint8(0))
	f.Add(uint8(1), uint16(230), uint16(9), uint8(1), uint8(5), uint8(0x85))
	f.Add(uint8(3), uint16(0), uint16(4), uint8(2), uint8(1), uint8(0x4a)) // of no queries
	f.Add(uint8(2), uint16(19), uint16(37), uint8(1), uint8(15), uint8(0xc4))
	f.Fuzz(func(t *testing.T, batch uint8, n, m uint16, heads, dh, how uint8) {
		b, h, d := int(batch%4), 1+int(heads%4), 1+int(dh%70)
		cross := how&64 != 0
		nn, mm := int(n%500), int(m%1100)
		if !cross {
			mm = nn
		}
		for b*h*nn*mm*d > 1<<20 {
			nn, mm = nn/2, mm/2
		}
		if !cross {
			mm = nn
		}
		fuzzCase(t, attentionCase(b, nn, mm, h, d, cross), how)
	})
}
