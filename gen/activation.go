package gen

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

// expTerm replaces a vector in memory by exp(scale*x - shift), which it returns.
func (s *simd) expTerm(m Mem, mask reg.Register, scale, shift reg.VecVirtual, c expConstants) reg.VecVirtual {
	t := s.vec()
	s.loadTo(m, mask, t)
	s.VFMSUB213PS(shift, scale, t)
	s.exp(t, c)
	s.storeTo(t, mask, m)
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
			t := p.load(x)
			s.VFMSUB213PS(shift, scale, t)
			s.exp(t, c)
			p.store(t, dst)
			p.zeroTail(t)
			s.VADDPS(t, acc[i], acc[i])
		}
	})
	s.returnF32(s.total(acc))
}

// down emits a loop over the rows, whose number is a parameter, of matrices
// with the stride ld in bytes, at the columns of p: rounds of four rows, then of
// one. body gets the addresses in each matrix of each row of a round.
func (s *simd) down(p at, ld reg.GPVirtual, body func(rows [][]Mem), matrices ...reg.GPVirtual) {
	left := s.gp("rows")
	var starts []reg.GPVirtual
	rows := make([][]Mem, 4)
	for _, m := range matrices {
		start := s.GP64()
		s.LEAQ(p.mem(m), start)
		starts = append(starts, start)
		for i, row := range s.rowAddresses(start, ld, len(rows)) {
			rows[i] = append(rows[i], row)
		}
	}
	for _, count := range []int{len(rows), 1} {
		top, after := s.label("rows"), s.label("after")
		s.SUBQ(U32(count), left)
		s.JLT(LabelRef(after))
		s.Label(top)
		body(rows[:count])
		for _, start := range starts {
			s.LEAQ(Mem{Base: start, Index: ld, Scale: uint8(count)}, start)
		}
		s.SUBQ(U32(count), left)
		s.JGE(LabelRef(top))
		s.Label(after)
		s.ADDQ(U32(count), left)
	}
}

// softmax takes a vector of columns at a time. Sums of four rows are added up in
// float64. It needs no maximum that knows NaN: a NaN stays one as an
// exponential, and in the sum.
func (s *simd) softmax() {
	s.function("softmax", "(x *float32, ld, rows, n int, scale float32, shift, sum *float32)",
		"for j < n {",
		"	shift[j] = scale * the largest x[i*ld+j], i < rows",
		"	for i < rows { x[i*ld+j] = exp(scale*x[i*ld+j] - shift[j]) }",
		"	sum[j] = sum over i < rows of x[i*ld+j]",
		"}")
	x, ld, shift, sum := s.gp("x"), s.gp("ld"), s.gp("shift"), s.gp("sum")
	s.SHLQ(U8(2), ld)
	scale := s.broadcast("scale")
	c := s.expConstants()
	s.loop(s.gp("n"), 1, func(round []at) {
		p := round[0]
		lowest := s.constantReg(math.Inf(-1))
		best := []reg.VecVirtual{lowest, s.copyOf(lowest), s.copyOf(lowest), s.copyOf(lowest)}
		s.down(p, ld, func(rows [][]Mem) {
			for i, m := range rows {
				v := s.vec()
				s.loadTo(m[0], p.mask, v)
				s.VMAXPS(v, best[i], best[i])
			}
		}, x)
		minus, total := s.combine(best, s.VMAXPS), s.zeros(2)
		s.VMULPS(scale, minus, minus)
		p.store(minus, shift)
		s.down(p, ld, func(rows [][]Mem) {
			e := s.expTerm(rows[0][0], p.mask, scale, minus, c)
			for _, m := range rows[1:] {
				s.VADDPS(s.expTerm(m[0], p.mask, scale, minus, c), e, e)
			}
			s.addF64(e, total)
		}, x)
		p.store(s.narrow(total), sum)
	})
	s.ret()
}

func (s *simd) softmaxBackward() {
	s.function("softmaxBackward", "(x, dp *float32, ld, rows, n int, scale float32, shift *float32)",
		"for j < n {",
		"	for i < rows { p[i] = exp(scale*x[i*ld+j] - shift[j]) }",
		"	for i < rows { x[i*ld+j] = p[i] / sum of p }",
		"	delta = sum over i < rows of x[i*ld+j]*dp[i*ld+j]",
		"	for i < rows { dp[i*ld+j] = scale*(dp[i*ld+j]-delta)*x[i*ld+j] }",
		"}")
	x, dp, ld, shift := s.gp("x"), s.gp("dp"), s.gp("ld"), s.gp("shift")
	s.SHLQ(U8(2), ld)
	scale := s.broadcast("scale")
	c := s.expConstants()
	s.loop(s.gp("n"), 1, func(round []at) {
		p := round[0]
		minus := p.load(shift)
		total, inner := s.zeros(2), s.zeros(2)
		s.down(p, ld, func(rows [][]Mem) {
			e, d := s.expTerm(rows[0][0], p.mask, scale, minus, c), s.vec()
			s.loadTo(rows[0][1], p.mask, d)
			s.VMULPS(e, d, d)
			for _, m := range rows[1:] {
				t, v := s.expTerm(m[0], p.mask, scale, minus, c), s.vec()
				s.loadTo(m[1], p.mask, v)
				s.VFMADD231PS(v, t, d)
				s.VADDPS(t, e, e)
			}
			s.addF64(e, total)
			s.addF64(d, inner)
		}, x, dp)
		one := s.widen(s.constantReg(1))
		for i := range total {
			s.VDIVPD(total[i], one[i], total[i])
			s.VMULPD(total[i], inner[i], inner[i])
		}
		inv, delta := s.narrow(total), s.narrow(inner)
		s.down(p, ld, func(rows [][]Mem) {
			for _, m := range rows {
				v, d := s.vec(), s.vec()
				s.loadTo(m[0], p.mask, v)
				s.VMULPS(inv, v, v)
				s.storeTo(v, p.mask, m[0])
				s.loadTo(m[1], p.mask, d)
				s.VSUBPS(delta, d, d)
				s.VMULPS(scale, d, d)
				s.VMULPS(v, d, d)
				s.storeTo(d, p.mask, m[1])
			}
		}, x, dp)
	})
	s.ret()
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
