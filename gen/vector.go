package gen

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func vectorFamily(s *simd) {
	s.add()
	s.mul()
	s.axpy()
	s.scale()
	s.relu()
	s.reluBackward()
	s.addRows()
	s.divRows()
	s.slideRows(7, 1)
	s.slideRows(1, 4)
	s.dot()
	s.max()
	s.sumSq()
	s.readSum()
	s.peakFMA()
	s.pause()
}

func (s *simd) add() {
	s.function("add", "(dst, x, y *float32, n int)", "for i < n { dst[i] = x[i] + y[i] }")
	dst, x, y := s.gp("dst"), s.gp("x"), s.gp("y")
	s.loop(s.gp("n"), 2, func(round []at) {
		for _, p := range round {
			v := p.load(x)
			s.VADDPS(p.load(y), v, v)
			p.store(v, dst)
		}
	})
	s.ret()
}

// pause is the same for all levels.
func (s *simd) pause() {
	if s.avx512 {
		return
	}
	s.Function("pause")
	s.Attributes(attr.NOSPLIT)
	s.SignatureExpr("func()")
	s.Doc("pause waits 40 to 140 ns and leaves the core to the other thread on it.")
	s.PAUSE()
	s.PAUSE()
	s.RET()
}

func (s *simd) mul() {
	s.function("mul", "(dst, x, y *float32, n int)", "for i < n { dst[i] = x[i]*y[i] }")
	dst, x, y := s.gp("dst"), s.gp("x"), s.gp("y")
	s.loop(s.gp("n"), 2, func(round []at) {
		for _, p := range round {
			v := p.load(x)
			s.VMULPS(p.load(y), v, v)
			p.store(v, dst)
		}
	})
	s.ret()
}

func (s *simd) axpy() {
	s.function("axpy", "(dst, x *float32, a float32, n int)", "for i < n { dst[i] += a*x[i] }")
	dst, x, a := s.gp("dst"), s.gp("x"), s.broadcast("a")
	s.loop(s.gp("n"), 2, func(round []at) {
		for _, p := range round {
			v := p.load(dst)
			s.VFMADD231PS(p.load(x), a, v)
			p.store(v, dst)
		}
	})
	s.ret()
}

func (s *simd) scale() {
	s.function("scale", "(dst, x *float32, a float32, n int)", "for i < n { dst[i] = a*x[i] }")
	dst, x, a := s.gp("dst"), s.gp("x"), s.broadcast("a")
	s.loop(s.gp("n"), 2, func(round []at) {
		for _, p := range round {
			v := p.load(x)
			s.VMULPS(a, v, v)
			p.store(v, dst)
		}
	})
	s.ret()
}

// relu passes x as the operand that the maximum instruction returns if one is NaN.
func (s *simd) relu() {
	s.function("relu", "(dst, x *float32, n int)", "for i < n { dst[i] = x[i], or 0 if x[i] < 0 }")
	dst, x, zero := s.gp("dst"), s.gp("x"), s.zero()
	s.loop(s.gp("n"), 2, func(round []at) {
		for _, p := range round {
			v := p.load(x)
			s.VMAXPS(v, zero, v)
			p.store(v, dst)
		}
	})
	s.ret()
}

func (s *simd) reluBackward() {
	s.function("reluBackward", "(dst, y, dy *float32, n int)", "for i < n { dst[i] = dy[i], or 0 if y[i] <= 0 }")
	dst, y, dy, zero := s.gp("dst"), s.gp("y"), s.gp("dy"), s.zero()
	const notLessOrEqual = U8(6)
	s.loop(s.gp("n"), 2, func(round []at) {
		for _, p := range round {
			v, d := p.load(y), p.load(dy)
			if s.avx512 {
				k := s.K()
				s.VCMPPS(notLessOrEqual, zero, v, k)
				s.VMOVAPS_Z(d, k, d)
			} else {
				s.VCMPPS(notLessOrEqual, zero, v, v)
				s.VANDPS(v, d, d)
			}
			p.store(d, dst)
		}
	})
	s.ret()
}

func (s *simd) divRows() {
	s.function("divRows", "(x *float32, ld, rows, n int, by *float32)", "for r < rows, j < n { x[r*ld+j] *= 1/by[r] }")
	x, by := s.gp("x"), s.gp("by")
	one := s.XMM()
	s.VMOVSS(s.bits(math.Float32bits(1)), one)
	ld, rows, top := s.gp("ld"), s.gp("rows"), s.label("row")
	s.SHLQ(U8(2), ld)
	s.Label(top)
	inv, factor := s.XMM(), s.vec()
	s.VDIVSS(Mem{Base: by}, one, inv)
	s.VBROADCASTSS(inv, factor)
	s.loop(s.gp("n"), 2, func(round []at) { // which overwrites n
		for _, p := range round {
			v := p.load(x)
			s.VMULPS(factor, v, v)
			p.store(v, x)
		}
	})
	s.ADDQ(ld, x)
	s.ADDQ(U8(4), by)
	s.DECQ(rows)
	s.JNE(LabelRef(top))
	s.ret()
}

// addRows goes down a strip of columns at a time. It keeps two sums of each column, of the even and
// of the odd rows, so a column is summed in the same order in any strip.
func (s *simd) addRows() {
	s.function("addRows", "(dst, x *float32, rows, n, ld int)", "for j < n { dst[j] += sum over i < rows of x[i*ld+j] }")
	dst, x, ld := s.gp("dst"), s.gp("x"), s.gp("ld")
	s.SHLQ(U8(2), ld)
	s.loop(s.gp("n"), 4, func(round []at) {
		even, odd := s.zeros(len(round)), s.zeros(len(round))
		rows, row, next := s.gp("rows"), s.GP64(), s.GP64()
		s.MOVQ(x, row)
		top, last, done := s.label("rows"), s.label("last"), s.label("sum")
		addRow := func(base reg.GPVirtual, sums []reg.VecVirtual) {
			for i, p := range round {
				s.VADDPS(p.load(base), sums[i], sums[i])
			}
		}
		s.SUBQ(U32(2), rows)
		s.JLT(LabelRef(last))
		s.Label(top)
		s.LEAQ(Mem{Base: row, Index: ld, Scale: 1}, next)
		addRow(row, even)
		addRow(next, odd)
		s.LEAQ(Mem{Base: row, Index: ld, Scale: 2}, row)
		s.SUBQ(U32(2), rows)
		s.JGE(LabelRef(top))
		s.Label(last)
		s.ADDQ(U32(2), rows)
		s.JEQ(LabelRef(done))
		addRow(row, even)
		s.Label(done)
		for i, p := range round {
			s.VADDPS(odd[i], even[i], even[i])
			v := p.load(dst)
			s.VADDPS(even[i], v, v)
			p.store(v, dst)
		}
	})
	s.ret()
}

// slideRows keeps the sums of m rows by vecs vectors in registers. Loads bound its speed: m
// multiply-adds share a load of b. For a single row, more vectors hide the latency of the
// multiply-adds instead.
func (s *simd) slideRows(m, vecs int) {
	s.function(fmt.Sprintf("slideRows%d", m), "(dst *float32, ldd int, a *float32, lda int, b *float32, ldb, rows, n int)",
		fmt.Sprintf("for i < %d, j < n {", m),
		"	dst[i*ldd+j] += sum over r < rows of a[(i+r)*lda+j]*b[r*ldb+j]",
		"} // rows is at least 1")
	a, lda, b, ldb := s.gp("a"), s.gp("lda"), s.gp("b"), s.gp("ldb")
	s.SHLQ(U8(2), lda)
	s.SHLQ(U8(2), ldb)
	left, right := s.GP64(), s.GP64()
	rows := s.rowAddresses(left, lda, m)
	s.loop(s.gp("n"), vecs, func(round []at) {
		acc := make([][]reg.VecVirtual, m)
		for i := range acc {
			acc[i] = s.zeros(len(round))
		}
		count, top := s.gp("rows"), s.label("rows")
		s.LEAQ(round[0].mem(a), left)
		s.LEAQ(round[0].mem(b), right)
		s.Label(top)
		for v, p := range round {
			bv := s.vec()
			s.loadTo(Mem{Base: right, Disp: p.disp}, p.mask, bv)
			for i, row := range rows {
				row.Disp += p.disp
				av := s.vec()
				s.loadTo(row, p.mask, av)
				s.VFMADD231PS(av, bv, acc[i][v])
			}
		}
		s.ADDQ(lda, left)
		s.ADDQ(ldb, right)
		s.DECQ(count)
		s.JNE(LabelRef(top))
		dst, ldd := s.gp("dst"), s.gp("ldd")
		s.SHLQ(U8(2), ldd)
		for i := range acc {
			for v, p := range round {
				d := p.load(dst)
				s.VADDPS(acc[i][v], d, d)
				p.store(d, dst)
			}
			s.ADDQ(ldd, dst)
		}
	})
	s.ret()
}

func (s *simd) dot() {
	s.function("dot", "(x, y *float32, n int) float32", "sum over i < n of x[i]*y[i]")
	x, y := s.gp("x"), s.gp("y")
	acc := s.zeros(8)
	s.loop(s.gp("n"), len(acc), func(round []at) {
		for i, p := range round {
			s.VFMADD231PS(p.load(y), p.load(x), acc[i])
		}
	})
	s.returnF32(s.total(acc))
}

// returnF32 returns from the kernel with a float64 scalar as a float32.
func (s *simd) returnF32(sum reg.VecVirtual) {
	s.storeF32(sum, 0)
	s.ret()
}

// storeF32 sets a result to a float64 scalar as a float32.
func (s *simd) storeF32(v reg.VecVirtual, result int) {
	f := s.XMM()
	s.VCVTSD2SS(v.AsX(), v.AsX(), f)
	s.result(f, s.ReturnIndex(result))
}

// max notes NaN separately: the maximum instruction forgets it as soon as a number follows.
func (s *simd) max() {
	s.function("max", "(x *float32, n int) float32", "the largest x[i], i < n, or NaN if there is one")
	x := s.gp("x")
	const unordered = U8(3)
	lowest := s.constantReg(math.Inf(-1))
	nan := s.zeros(4) // all ones, which is a NaN, in lanes that saw one
	var best []reg.VecVirtual
	for range nan {
		best = append(best, s.copyOf(lowest))
	}
	s.loop(s.gp("n"), len(best), func(round []at) {
		for i, p := range round {
			v := p.load(x)
			isNaN := s.vec()
			if s.avx512 {
				k := s.K()
				s.VCMPPS(unordered, v, v, k)
				s.VPMOVM2D(k, isNaN)
			} else {
				s.VCMPPS(unordered, v, v, isNaN)
			}
			s.VORPS(isNaN, nan[i], nan[i])
			switch {
			case p.mask == nil:
			case s.avx512:
				s.VBLENDMPS(v, lowest, p.mask, v)
			default:
				s.VBLENDVPS(p.mask, v, lowest, v)
			}
			s.VMAXPS(v, best[i], best[i])
		}
	})
	m := s.reduce(s.combine(best, s.VMAXPS), s.VMAXPS)
	bad := s.reduce(s.combine(nan, s.VORPS), s.VORPS)
	s.VORPS(bad, m, m)
	s.result(m, s.ReturnIndex(0))
	s.ret()
}

// reduce reduces the lanes of v to one, which is the first lane of the result.
func (s *simd) reduce(v reg.VecVirtual, op func(...Op)) reg.VecVirtual {
	y := v
	if s.avx512 {
		y = s.YMM()
		s.VEXTRACTF32X8(U8(1), v, y)
		op(v.AsY(), y, y)
	}
	x, t := s.XMM(), s.XMM()
	s.VEXTRACTF128(U8(1), y.AsY(), x)
	op(y.AsX(), x, x)
	s.VPERMILPD(U8(1), x, t)
	op(t, x, x)
	s.VPERMILPS(U8(1), x, t)
	op(t, x, x)
	return x
}

func (s *simd) sumSq() {
	s.function("sumSq", "(x *float32, n int) float64", "sum over i < n of float64(x[i])*float64(x[i])")
	x := s.gp("x")
	acc := s.zeros(8)
	s.loop(s.gp("n"), len(acc)/2, func(round []at) {
		for i, p := range round {
			for j, half := range s.widen(p.load(x)) {
				s.VFMADD231PD(half, half, acc[2*i+j])
			}
		}
	})
	sum := s.totalF64(acc)
	s.result(sum, s.ReturnIndex(0))
	s.ret()
}

func (s *simd) readSum() {
	s.function("readSum", "(x *float32, n int) float32", "sum over i < n of x[i]")
	x := s.gp("x")
	acc := s.zeros(8)
	s.loop(s.gp("n"), len(acc), func(round []at) {
		for i, p := range round {
			s.VADDPS(p.load(x), acc[i], acc[i])
		}
	})
	s.returnF32(s.total(acc))
}

// peakChains is the number of independent multiply-adds. It is at least latency times throughput of
// every core so far.
const peakChains = 12

func (s *simd) peakFMA() {
	s.function("peakFMA", "(iters int)", fmt.Sprintf("for i < iters { %d independent vector multiply-adds }", peakChains))
	iters := s.gp("iters")
	a, acc := s.zero(), s.zeros(peakChains)
	top := s.label("loop")
	s.Label(top)
	for _, v := range acc {
		s.VFMADD231PS(a, a, v)
	}
	s.DECQ(iters)
	s.JNE(LabelRef(top))
	s.ret()
}
