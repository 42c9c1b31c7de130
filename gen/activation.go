package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func activationFamily(s *simd) {
	s.expSum()
	s.softmax()
	s.softmaxBackward()
	s.gelu()
	s.geluBackward()
}

// expConstants are the numbers exp needs, kept over a loop.
type expConstants struct {
	log2e, negLn2Hi, negLn2Lo, lowest, highest Op
	round, half, sixth, powers                 reg.VecVirtual // AVX-512
}

// expPolynomial approximates (exp(r)-1-r)/r² for |r| <= ln(2)/2, highest power
// first: AVX2's. It and the splitting of ln 2 are those of Cephes' expf.
var expPolynomial = []float64{1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1}

// expConstants loads them. The bounds are where float32 results are 0 and
// +Inf; inside them 2^n can be applied in two factors that are normal numbers.
func (s *simd) expConstants() expConstants {
	c := expConstants{
		log2e:    s.constant(math.Log2E),
		negLn2Hi: s.constant(-0.693359375),
		negLn2Lo: s.constant(2.12194440e-4),
		lowest:   s.constant(-104.5),
		highest:  s.constant(89.5),
	}
	if !s.avx512 {
		return c
	}
	powers := make([]uint32, 16)
	for i := range powers {
		powers[i] = math.Float32bits(float32(math.Exp2(float64(i) / 16)))
	}
	c.powers = s.vec()
	s.VMOVUPS(s.table("powers", powers), c.powers)
	c.round = s.constantReg(3 << 18)
	// exp(r) - 1 - r = r²/2 + r³/6 + r⁴/24, the last for |r| <= h replaced by
	// what of it is a multiple of r².
	const h = math.Ln2 / 32
	c.half, c.sixth = s.constantReg(0.5+h*h/24), s.constantReg(1.0/6)
	return c
}

// polynomial evaluates a polynomial at x, highest power first, with AVX2. The
// coefficients come from memory: registers are scarcer than loads there.
func (s *simd) polynomial(coefficients []float64, x reg.VecVirtual) reg.VecVirtual {
	p := s.constantReg(coefficients[0])
	for _, f := range coefficients[1:] {
		s.VFMADD213PS(s.constant(f), x, p)
	}
	return p
}

// operandReg returns an operand in a register.
func (s *simd) operandReg(o Op) reg.VecVirtual {
	if r, ok := o.(reg.VecVirtual); ok {
		return r
	}
	v := s.vec()
	s.VMOVUPS(o, v)
	return v
}

// exp replaces t by exp(t): 2^n times a polynomial in r, t = n ln 2 + r. The
// operand order of minimum and maximum is what carries NaN.
func (s *simd) exp(t reg.VecVirtual, c expConstants) {
	s.VMAXPS(t, s.operandReg(c.lowest), t)
	s.VMINPS(t, s.operandReg(c.highest), t)
	square := s.vec()
	if s.avx512 {
		// n is a multiple of 1/16, so that r is small and a short polynomial
		// does.
		n, sixteenths := s.nearest(t, c.log2e, c.round)
		s.VFMADD231PS(c.negLn2Hi, n, t)
		s.VFMADD231PS(c.negLn2Lo, n, t)
		power := s.vec()
		s.VPERMPS(c.powers, sixteenths, power)
		p := s.copyOf(c.sixth)
		s.VFMADD213PS(c.half, t, p)
		s.VMULPS(t, t, square)
		s.VFMADD213PS(t, square, p)
		s.VFMADD213PS(power, power, p)
		s.VSCALEFPS(n, p, t) // which rounds n down
		return
	}
	n := s.vec()
	s.VMULPS(c.log2e, t, n)
	const nearest = U8(8)
	s.VROUNDPS(nearest, n, n)
	s.VFMADD231PS(c.negLn2Hi, n, t)
	s.VFMADD231PS(c.negLn2Lo, n, t)
	p := s.polynomial(expPolynomial, t)
	s.VMULPS(t, t, square)
	s.VFMADD213PS(t, square, p)
	s.VADDPS(s.constant(1), p, t)
	half := s.vec()
	s.VCVTPS2DQ(n, n)
	s.VPSRAD(U8(1), n, half)
	s.VPSUBD(half, n, n)
	for _, e := range []reg.VecVirtual{half, n} {
		s.VPADDD(s.bits(127), e, e)
		s.VPSLLD(U8(23), e, e)
		s.VMULPS(e, t, t)
	}
}

// nearest returns scale*x rounded to the spacing of numbers of round's size, and
// a vector whose lowest bits count those spacings. round is 1.5 times a power of
// two, far above what is rounded.
func (s *simd) nearest(x reg.VecVirtual, scale Op, round reg.VecVirtual) (n, count reg.VecVirtual) {
	count, n = s.copyOf(round), s.vec()
	s.VFMADD231PS(scale, x, count)
	s.VSUBPS(round, count, n)
	return n, count
}

// expTerm stores exp(scale*x - shift) of one vector to dst and returns it with
// zeros past the end, ready to be summed.
func (s *simd) expTerm(p at, dst, x reg.GPVirtual, scale, shift reg.VecVirtual, c expConstants) reg.VecVirtual {
	t := p.load(x)
	s.VFMSUB213PS(shift, scale, t)
	s.exp(t, c)
	p.store(t, dst)
	p.zeroTail(t)
	return t
}

func (s *simd) expSum() {
	s.function("expSum", "(dst, x *float32, scale, shift float32, n int) float32",
		"for i < n { dst[i] = exp(scale*x[i] - shift) }; sum over i < n of dst[i]")
	dst, x := s.gp("dst"), s.gp("x")
	scale, shift := s.broadcast("scale"), s.broadcast("shift")
	c := s.expConstants()
	acc := s.zeros(2)
	s.loop(s.gp("n"), len(acc), func(round []at) {
		for i, p := range round {
			t := s.expTerm(p, dst, x, scale, shift, c)
			s.VADDPS(t, acc[i], acc[i])
		}
	})
	s.returnF32(s.total(acc))
}

// eachRow emits body once for each of the rows that the parameters ld and rows
// give, with the pointers at the row's start.
func (s *simd) eachRow(pointers []reg.GPVirtual, scalars []reg.GPVirtual, body func(n reg.GPVirtual)) {
	ld, rows := s.gp("ld"), s.gp("rows")
	s.SHLQ(U8(2), ld)
	top := s.label("row")
	s.Label(top)
	body(s.gp("n")) // loops use it up
	for _, p := range pointers {
		s.ADDQ(ld, p)
	}
	for _, p := range scalars {
		s.ADDQ(U8(4), p)
	}
	s.DECQ(rows)
	s.JNE(LabelRef(top))
	s.ret()
}

// spread puts the first lane of v, a float32, in all lanes.
func (s *simd) spread(v reg.VecVirtual) reg.VecVirtual {
	w := s.vec()
	s.VBROADCASTSS(v.AsX(), w)
	return w
}

// rowPairs is eachRow for two rows at a time and a last one alone: a row is a
// long chain of operations that wait for each other, and two chains overlap.
// Pointers and scalars are given to body for each row.
func (s *simd) rowPairs(pointers []reg.GPVirtual, scalars []reg.GPVirtual, body func(n reg.GPVirtual, rows []softmaxRow)) {
	ld, left := s.gp("ld"), s.gp("rows")
	s.SHLQ(U8(2), ld)
	single, done := s.label("single"), s.label("rowsdone")
	for _, count := range []int{2, 1} {
		top := s.label("rows")
		s.SUBQ(I8(int8(count)), left)
		s.JLT(LabelRef(map[int]string{2: single, 1: done}[count]))
		s.Label(top)
		rows := []softmaxRow{{pointers, scalars, 0}}
		if count == 2 {
			second := softmaxRow{scalars: scalars, disp: 4}
			for _, p := range pointers {
				next := s.GP64()
				s.LEAQ(Mem{Base: p, Index: ld, Scale: 1}, next)
				second.pointers = append(second.pointers, next)
			}
			rows = append(rows, second)
		}
		body(s.gp("n"), rows) // loops use it up
		for _, p := range pointers {
			for range count {
				s.ADDQ(ld, p)
			}
		}
		for _, p := range scalars {
			s.ADDQ(I8(int8(4*count)), p)
		}
		s.SUBQ(I8(int8(count)), left)
		s.JGE(LabelRef(top))
		if count == 2 {
			s.Label(single)
			s.ADDQ(I8(2), left)
		}
	}
	s.Label(done)
	s.ret()
}

// softmaxRow is one of the rows that rowPairs works on.
type softmaxRow struct {
	pointers []reg.GPVirtual // at the row's start
	scalars  []reg.GPVirtual // with disp, at its number
	disp     int
}

func (r softmaxRow) scalar(i int) Mem { return Mem{Base: r.scalars[i], Disp: r.disp} }

// softmax needs no maximum that knows NaN: a NaN stays one as an exponential,
// and in the sum.
func (s *simd) softmax() {
	s.function("softmax", "(x *float32, ld, rows, n int, scale float32, shift, sum *float32)",
		"for r < rows {",
		"	shift[r] = scale * the largest x[r*ld+i], i < n",
		"	for i < n { x[r*ld+i] = exp(scale*x[r*ld+i] - shift[r]) }",
		"	sum[r] = sum over i < n of x[r*ld+i]",
		"}")
	x, shift, sum := s.gp("x"), s.gp("shift"), s.gp("sum")
	scale := s.broadcast("scale")
	c := s.expConstants()
	lowest := s.constantReg(math.Inf(-1))
	s.rowPairs([]reg.GPVirtual{x}, []reg.GPVirtual{shift, sum}, func(n reg.GPVirtual, rows []softmaxRow) {
		left := s.GP64()
		s.MOVQ(n, left)
		var best, minus []reg.VecVirtual
		for range rows {
			best = append(best, s.copyOf(lowest))
		}
		s.loop(left, 1, func(round []at) {
			p := round[0]
			for i, r := range rows {
				v := p.load(r.pointers[0])
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
		for i, r := range rows {
			m := s.reduce(best[i], s.VMAXPS)
			s.VMULSS(scale.AsX(), m.AsX(), m.AsX())
			s.VMOVSS(m.AsX(), r.scalar(0))
			minus = append(minus, s.spread(m))
		}
		acc := s.zeros(len(rows))
		s.loop(n, 1, func(round []at) {
			for i, r := range rows {
				t := s.expTerm(round[0], r.pointers[0], r.pointers[0], scale, minus[i], c)
				s.VADDPS(t, acc[i], acc[i])
			}
		})
		for i, r := range rows {
			total, f := s.totalF64(s.widen(acc[i])), s.XMM()
			s.VCVTSD2SS(total.AsX(), total.AsX(), f)
			s.VMOVSS(f, r.scalar(1))
		}
	})
}

func (s *simd) softmaxBackward() {
	s.function("softmaxBackward", "(x, dp *float32, ld, rows, n int, scale float32, shift *float32)",
		"for r < rows {",
		"	for i < n { p[i] = exp(scale*x[r*ld+i] - shift[r]) }",
		"	for i < n { x[r*ld+i] = p[i] / sum of p }",
		"	delta = sum over i < n of x[r*ld+i]*dp[r*ld+i]",
		"	for i < n { dp[r*ld+i] = scale*(dp[r*ld+i]-delta)*x[r*ld+i] }",
		"}")
	x, dp, shift := s.gp("x"), s.gp("dp"), s.gp("shift")
	scale := s.broadcast("scale")
	c := s.expConstants()
	s.rowPairs([]reg.GPVirtual{x, dp}, []reg.GPVirtual{shift}, func(n reg.GPVirtual, rows []softmaxRow) {
		left := s.GP64()
		s.MOVQ(n, left)
		var minus, inv, delta []reg.VecVirtual
		for _, r := range rows {
			v := s.vec()
			s.VBROADCASTSS(r.scalar(0), v)
			minus = append(minus, v)
		}
		sum, dot := s.zeros(len(rows)), s.zeros(len(rows))
		s.loop(left, 1, func(round []at) {
			p := round[0]
			for i, r := range rows {
				t := s.expTerm(p, r.pointers[0], r.pointers[0], scale, minus[i], c)
				s.VADDPS(t, sum[i], sum[i])
				s.VFMADD231PS(p.load(r.pointers[1]), t, dot[i])
			}
		})
		for i := range rows {
			total, inner := s.totalF64(s.widen(sum[i])), s.totalF64(s.widen(dot[i]))
			one, f := s.XMM(), s.XMM()
			s.VMOVSS(s.bits(math.Float32bits(1)), f)
			s.VCVTSS2SD(f, f, one)
			s.VDIVSD(total.AsX(), one, total.AsX())
			s.VMULSD(total.AsX(), inner.AsX(), inner.AsX())
			s.VCVTSD2SS(total.AsX(), total.AsX(), total.AsX())
			s.VCVTSD2SS(inner.AsX(), inner.AsX(), inner.AsX())
			inv, delta = append(inv, s.spread(total)), append(delta, s.spread(inner))
		}
		s.loop(n, 1, func(round []at) {
			for i, r := range rows {
				a := round[0]
				p := a.load(r.pointers[0])
				s.VMULPS(inv[i], p, p)
				a.store(p, r.pointers[0])
				v := a.load(r.pointers[1])
				s.VSUBPS(delta[i], v, v)
				s.VMULPS(scale, v, v)
				s.VMULPS(p, v, v)
				a.store(v, r.pointers[1])
			}
		})
	})
}

// normalTail approximates Q(z)*exp(z²/2)*(z+tailK), Q being the upper tail of
// the normal distribution, by a polynomial in u = 1 - 2*tailK/(z+tailK) that
// is within 2e-8 of it, relatively, for 0 <= z <= 14.5, beyond which Q is 0 in
// float32. It was fitted through Chebyshev nodes; highest power first. The
// choice of tailK keeps the coefficients as small as the result, so rounding
// is not amplified.
var normalTail = []float64{-0.00012082212, 0.000199193786, 0.00157028209, -0.0035262525, -0.00752836648,
	0.060406989, -0.186522772, 0.387136645, -0.607896617, 0.755285139}

const tailK = 4

// normal, for AVX2, returns z = min(|x|, 16), e = exp(-z²/2) and q = Q(z), the
// upper tail of the normal distribution. With them GELU(x) = max(x,0) - z*q
// needs no branch and keeps its relative accuracy for negative x. The bound
// keeps infinities out of 0*Inf.
func (s *simd) normal(x reg.VecVirtual) (z, e, q reg.VecVirtual) {
	z, e = s.vec(), s.vec()
	s.VANDPS(s.constantBits(0x7fffffff), x, z)
	s.VMINPS(z, s.constantReg(16), z)
	t, u := s.vec(), s.vec()
	s.VADDPS(s.constant(tailK), z, u)
	s.VDIVPS(u, s.constantReg(1), t)
	u = s.constantReg(-2 * tailK)
	s.VFMADD213PS(s.constant(1), t, u)
	q = s.polynomial(normalTail, u)
	s.VMULPS(t, q, q)
	s.VMULPS(z, z, e)
	s.VMULPS(s.constant(-0.5), e, e)
	s.exp(e, s.expConstants())
	s.VMULPS(e, q, q)
	return z, e, q
}

// pieceWidth, pieces and pieceDegree describe a function of z >= 0 as
// polynomials about the multiples of pieceWidth. 32 numbers lie in two
// registers of AVX-512, from which one instruction takes each lane's own. The
// degree keeps the relative error of the normal tail below 2e-7 up to z = 5.
const (
	pieceWidth  = 0.25
	pieces      = 32
	pieceDegree = 6
)

// pieceTable returns the coefficients of f, lowest power first, each for all
// pieces. The last piece is 0, as f nearly is there, and z is bounded to lie in it.
func pieceTable(f func(z float64) float64) (table [pieceDegree + 1][pieces]uint32) {
	const n = pieceDegree + 1
	for i := range pieces - 1 {
		// Newton's form through the Chebyshev nodes, then multiplied out.
		var x, d [n]float64
		for k := range n {
			x[k] = pieceWidth / 2 * math.Cos(math.Pi*(float64(k)+0.5)/n)
			d[k] = f(float64(i)*pieceWidth + x[k])
		}
		for order := 1; order < n; order++ {
			for k := n - 1; k >= order; k-- {
				d[k] = (d[k] - d[k-1]) / (x[k] - x[k-order])
			}
		}
		var c [n]float64
		for k := n - 1; k >= 0; k-- {
			for j := n - 1; j > 0; j-- {
				c[j] = c[j-1] - x[k]*c[j]
			}
			c[0] = d[k] - x[k]*c[0]
		}
		for k := range n {
			table[k][i] = math.Float32bits(float32(c[k]))
		}
	}
	return table
}

// piecewise returns what emits f(z) for z = min(|x|, the last piece), and z. It
// needs AVX-512.
func (s *simd) piecewise(name string, f func(z float64) float64) func(x reg.VecVirtual) (z, y reg.VecVirtual) {
	var lo, hi [pieceDegree + 1]reg.VecVirtual
	for k, words := range pieceTable(f) {
		m := s.table(fmt.Sprintf("%s_%d", name, k), words[:])
		lo[k], hi[k] = s.vec(), s.vec()
		s.VMOVUPS(m, lo[k])
		s.VMOVUPS(m.Offset(4*s.lanes), hi[k])
	}
	abs, bound := s.constantBits(0x7fffffff), s.constantReg((pieces-1)*pieceWidth)
	perUnit, width := s.constantReg(1/pieceWidth), s.constantReg(pieceWidth)
	round := s.constantReg(3 << 22)
	return func(x reg.VecVirtual) (z, y reg.VecVirtual) {
		z, r := s.vec(), s.vec()
		s.VANDPS(abs, x, z)
		s.VMINPS(z, bound, z)
		n, index := s.nearest(z, perUnit, round)
		s.VMOVAPS(z, r)
		s.VFNMADD231PS(width, n, r)
		for k := pieceDegree; k >= 0; k-- {
			c := s.copyOf(index)
			s.VPERMI2PS(hi[k], lo[k], c)
			if y != nil {
				s.VFMADD231PS(y, r, c)
			}
			y = c
		}
		return z, y
	}
}

// upperTail is Q, the upper tail of the normal distribution, and density its
// negative derivative.
func upperTail(z float64) float64 { return math.Erfc(z/math.Sqrt2) / 2 }
func density(z float64) float64   { return math.Exp(-z*z/2) / math.Sqrt(2*math.Pi) }

func (s *simd) gelu() {
	s.function("gelu", "(dst, x *float32, n int)", "for i < n { dst[i] = x[i]*Phi(x[i]) }")
	dst, x := s.gp("dst"), s.gp("x")
	var tail func(x reg.VecVirtual) (z, q reg.VecVirtual)
	if s.avx512 {
		tail = s.piecewise("upper_tail", upperTail)
	} else {
		tail = func(x reg.VecVirtual) (z, q reg.VecVirtual) {
			z, _, q = s.normal(x)
			return z, q
		}
	}
	zero := s.zero()
	s.loop(s.gp("n"), 1, func(round []at) {
		for _, p := range round {
			v := p.load(x)
			z, q := tail(v)
			s.VMAXPS(v, zero, v)
			s.VFNMADD231PS(q, z, v)
			p.store(v, dst)
		}
	})
	s.ret()
}

func (s *simd) geluBackward() {
	s.function("geluBackward", "(dst, x, dy *float32, n int)",
		"for i < n { dst[i] = dy[i]*(Phi(x[i]) + x[i]*phi(x[i])) }")
	dst, x, dy := s.gp("dst"), s.gp("x"), s.gp("dy")
	// The derivative at -z is Q(z) - z*density(z), that at z is 1 less it.
	var slope func(x reg.VecVirtual) reg.VecVirtual
	if s.avx512 {
		table := s.piecewise("gelu_slope", func(z float64) float64 { return upperTail(z) - z*density(z) })
		slope = func(x reg.VecVirtual) reg.VecVirtual {
			_, g := table(x)
			return g
		}
	} else {
		slope = func(x reg.VecVirtual) reg.VecVirtual {
			z, e, g := s.normal(x)
			s.VMULPS(s.constant(density(0)), e, e)
			s.VFNMADD231PS(e, z, g)
			return g
		}
	}
	one := s.constant(1)
	s.loop(s.gp("n"), 1, func(round []at) {
		for _, p := range round {
			v := p.load(x)
			g, other := slope(v), s.vec()
			s.VSUBPS(g, s.operandReg(one), other)
			if s.avx512 {
				negative := s.K()
				s.VPMOVD2M(v, negative)
				s.VMOVAPS(g, negative, other)
			} else {
				s.VBLENDVPS(v, g, other, other)
			}
			d := p.load(dy)
			s.VMULPS(other, d, d)
			p.store(d, dst)
		}
	})
	s.ret()
}
