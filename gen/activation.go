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
	s.geluSlope()
}

// expConstants holds the constants of exp, which are loaded before a loop.
type expConstants struct {
	log2e, negLn2Hi, negLn2Lo, lowest, highest Op
	round, half, sixth, powers                 reg.VecVirtual // AVX-512
}

// expPolynomial approximates (exp(r)-1-r)/r² for |r| <= ln(2)/2, highest power first, for AVX2. It
// and the split of ln 2 are those of Cephes' expf.
var expPolynomial = []float64{1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1}

// expConstants loads them. Beyond the bounds a float32 result is 0 or +Inf. Within them 2^n is a
// product of two normal numbers.
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
	// exp(r) - 1 - r = r²/2 + r³/6 + r⁴/24. For |r| <= h the last term is replaced by the nearest
	// multiple of r².
	const h = math.Ln2 / 32
	c.half, c.sixth = s.constantReg(0.5+h*h/24), s.constantReg(1.0/6)
	return c
}

// polynomial evaluates a polynomial at x with AVX2, highest power first. The coefficients come from
// memory, as registers are scarcer than loads.
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

// exp replaces t by exp(t), which is 2^n times a polynomial in r with t = n ln 2 + r. The order of
// the operands of minimum and maximum lets NaN through.
func (s *simd) exp(t reg.VecVirtual, c expConstants) {
	s.VMAXPS(t, s.operandReg(c.lowest), t)
	s.VMINPS(t, s.operandReg(c.highest), t)
	if s.avx512 {
		// n is a multiple of 1/16, so r is small and a short polynomial suffices.
		n, sixteenths := s.nearest(t, c.log2e, c.round)
		s.VFMADD231PS(c.negLn2Hi, n, t)
		s.VFMADD231PS(c.negLn2Lo, n, t)
		power, square := s.vec(), s.vec()
		s.VPERMPS(c.powers, sixteenths, power)
		p := s.copyOf(c.sixth)
		s.VFMADD213PS(c.half, t, p)
		s.VMULPS(t, t, square)
		s.VFMADD213PS(t, square, p)
		s.VFMADD213PS(power, power, p)
		s.VSCALEFPS(n, p, t) // which rounds n down: the sixteenths are in power
		return
	}
	n, half := s.reduced(t, c), s.vec()
	s.VPSRAD(U8(1), n, half)
	s.VPSUBD(half, n, n)
	s.timesPower(t, half)
	s.timesPower(t, n)
}

// normalExp is exp with AVX2 for t from -1000 to 0, where what is below the smallest normal number
// may become 0.
func (s *simd) normalExp(t reg.VecVirtual) {
	n, least := s.reduced(t, s.expConstants()), int32(-127)
	s.VPMAXSD(s.bits(uint32(least)), n, n)
	s.timesPower(t, n)
}

// reduced replaces t by exp(t)/2^n, which is between 0.7 and 1.5, and returns the integers n.
func (s *simd) reduced(t reg.VecVirtual, c expConstants) (n reg.VecVirtual) {
	n = s.vec()
	s.VMULPS(c.log2e, t, n)
	const nearest = U8(8)
	s.VROUNDPS(nearest, n, n)
	s.VFMADD231PS(c.negLn2Hi, n, t)
	s.VFMADD231PS(c.negLn2Lo, n, t)
	p, square := s.polynomial(expPolynomial, t), s.vec()
	s.VMULPS(t, t, square)
	s.VFMADD213PS(t, square, p)
	s.VADDPS(s.constant(1), p, t)
	s.VCVTPS2DQ(n, n)
	return n
}

// timesPower multiplies t by 2^n, by 0 for n = -127, and overwrites n.
func (s *simd) timesPower(t, n reg.VecVirtual) {
	s.VPADDD(s.bits(127), n, n)
	s.VPSLLD(U8(23), n, n)
	s.VMULPS(n, t, t)
}

// nearest returns scale*x rounded to a multiple of the spacing of float32 numbers near round, and a
// vector whose lowest bits are that multiple. round is 1.5 times a power of two and far larger than
// scale*x.
func (s *simd) nearest(x reg.VecVirtual, scale Op, round reg.VecVirtual) (n, count reg.VecVirtual) {
	count, n = s.copyOf(round), s.vec()
	s.VFMADD231PS(scale, x, count)
	s.VSUBPS(round, count, n)
	return n, count
}

// expTerm replaces a vector x in memory by exp(scale*x - shift) and returns it.
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

// down emits a loop down the columns at p of matrices: rounds of four rows, then of one. The number
// of rows is the parameter rows of the kernel; ld is the stride in bytes. body is given, for each
// row of a round, its address in each matrix.
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

// softmax takes a vector of columns at a time. It sums four rows in float32 and adds up these sums
// in float64. The maximum may miss a NaN: its exponential is NaN, and so is the sum.
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

// normalTail is a polynomial in u = 1 - 2*tailK/(z+tailK), highest power first, that approximates
// Q(z)*exp(z²/2)*(z+tailK), where Q is the upper tail of the normal distribution. Its relative
// error is below 2e-8 for 0 <= z <= 14.5; beyond, Q is 0 in float32. It interpolates at Chebyshev
// nodes. With this tailK the coefficients are no larger than the result, so rounding errors are not
// amplified.
var normalTail = []float64{-0.00012082212, 0.000199193786, 0.00157028209, -0.0035262525, -0.00752836648,
	0.060406989, -0.186522772, 0.387136645, -0.607896617, 0.755285139}

const tailK = 4

// normal returns z = min(|x|, 16), e = exp(-z²/2) and q = Q(z), the upper tail of the normal
// distribution, with AVX2. GELU(x) = max(x,0) - z*q then needs no branch and keeps its relative
// accuracy for negative x. The bound on z avoids 0*Inf.
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
	s.normalExp(e)
	s.VMULPS(e, q, q)
	return z, e, q
}

// With AVX-512 a function of z >= 0 is a polynomial of degree pieceDegree about each multiple of
// pieceWidth. The coefficients of one power for all 32 pieces fill two registers, from which one
// instruction selects one for each lane. The degree keeps the relative error of the normal tail
// below 2e-7 up to z = 5.
const (
	pieceWidth  = 0.25
	pieces      = 32
	pieceDegree = 6
)

// pieceTable returns the coefficients of f, lowest power first, each for all pieces. In the last
// piece, which z is bounded by, f is taken as 0.
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

// piecewise loads the coefficients of f. The function that it returns emits z = min(|x|, the last
// piece) and y = f(z). It needs AVX-512.
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

// upperTail is Q, the upper tail of the normal distribution.
func upperTail(z float64) float64 { return math.Erfc(z/math.Sqrt2) / 2 }

// density is that of the normal distribution, the negative derivative of Q.
func density(z float64) float64 { return math.Exp(-z*z/2) / math.Sqrt(2*math.Pi) }

func (s *simd) gelu() {
	s.function("gelu", "(dst, x *float32, n int)",
		"for i < n { dst[i] = x[i]*Phi(x[i]) } // Phi is the normal distribution function")
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
			p.store(s.geluOf(v, zero, z, q), dst)
		}
	})
	s.ret()
}

// geluOf returns GELU of v, which it overwrites, from z = |v| and the upper tail there.
func (s *simd) geluOf(v, zero, z, q reg.VecVirtual) reg.VecVirtual {
	s.VMAXPS(v, zero, v)
	s.VFNMADD231PS(q, z, v)
	return v
}

// geluSlope shares all of the work for the tail with AVX2. The tables of AVX-512 do not both fit
// the registers, so there it is a loop for each result.
func (s *simd) geluSlope() {
	s.function("geluSlope", "(slope, dst, x *float32, n int)",
		"for i < n {",
		"	dst[i] = x[i]*Phi(x[i]) // Phi is the normal distribution function",
		"	slope[i] = Phi(x[i]) + x[i]*Phi'(x[i])",
		"}")
	slope, dst, x := s.gp("slope"), s.gp("dst"), s.gp("x")
	zero, one := s.zero(), s.constant(1)
	if s.avx512 {
		tail := s.piecewise("upper_tail", upperTail)
		s.loop(s.gp("n"), 1, func(round []at) {
			for _, p := range round {
				v := p.load(x)
				z, q := tail(v)
				p.store(s.geluOf(v, zero, z, q), dst)
			}
		})
		table := s.piecewise("gelu_slope", func(z float64) float64 { return upperTail(z) - z*density(z) })
		s.loop(s.gp("n"), 1, func(round []at) {
			for _, p := range round {
				v := p.load(x)
				_, g := table(v)
				p.store(s.slopeOf(v, g, one), slope)
			}
		})
		s.ret()
		return
	}
	s.loop(s.gp("n"), 1, func(round []at) {
		for _, p := range round {
			v := p.load(x)
			z, e, q := s.normal(v)
			g := s.copyOf(q)
			s.VMULPS(s.constant(density(0)), e, e)
			s.VFNMADD231PS(e, z, g)
			other := s.slopeOf(v, g, one)
			p.store(s.geluOf(v, zero, z, q), dst)
			p.store(other, slope)
		}
	})
	s.ret()
}

// slopeOf returns the derivative of GELU at v. At -z it is g = Q(z) - z*density(z); at z it is 1
// minus that.
func (s *simd) slopeOf(v, g reg.VecVirtual, one Op) reg.VecVirtual {
	other := s.vec()
	s.VSUBPS(g, s.operandReg(one), other)
	if s.avx512 {
		negative := s.K()
		s.VPMOVD2M(v, negative)
		s.VMOVAPS(g, negative, other)
	} else {
		s.VBLENDVPS(v, g, other, other)
	}
	return other
}
