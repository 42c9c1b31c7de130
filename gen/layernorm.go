package gen

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func layerNormFamily(s *simd) {
	s.layerNorm()
	s.layerNormBackward()
}

// perElement returns sum/n as a float32 in all lanes. Both are float64 scalars.
func (s *simd) perElement(sum reg.VecVirtual, n reg.VecVirtual) reg.VecVirtual {
	mean := s.XMM()
	s.VDIVSD(n, sum, mean)
	s.VCVTSD2SS(mean, mean, mean)
	v := s.vec()
	s.VBROADCASTSS(mean, v)
	return v
}

// count returns the parameter n as a float64 scalar.
func (s *simd) count() reg.VecVirtual {
	x := s.XMM()
	s.VXORPS(x, x, x)
	s.VCVTSI2SDQ(s.gp("n"), x, x)
	return x
}

// layerNorm sums each vector of a round in a chain of its own, adds up the vectors pairwise in float32
// and their lanes in float64, so that long rows stay accurate.
func (s *simd) layerNorm() {
	s.function("layerNorm", "(y, x, w, b *float32, n int, eps float32) (mean, rstd float32)",
		"mean = sum over i < n of x[i] / n",
		"rstd = 1/sqrt(sum over i < n of (x[i]-mean)² / n + eps)",
		"for i < n { y[i] = (x[i]-mean)*rstd*w[i] + b[i] }")
	y, x, w, b := s.gp("y"), s.gp("x"), s.gp("w"), s.gp("b")
	n := s.count()

	acc := s.zeros(4)
	s.loop(s.gp("n"), len(acc), func(round []at) {
		for i, p := range round {
			s.VADDPS(p.load(x), acc[i], acc[i])
		}
	})
	mean := s.perElement(s.total(acc), n)
	s.result(mean.AsX(), s.Return("mean"))

	acc = s.zeros(4)
	s.loop(s.gp("n"), len(acc), func(round []at) {
		for i, p := range round {
			v := p.load(x)
			s.VSUBPS(mean, v, v)
			p.zeroTail(v)
			s.VFMADD231PS(v, v, acc[i])
		}
	})
	variance, eps, one := s.total(acc), s.XMM(), s.XMM()
	s.VDIVSD(n, variance, variance)
	s.VMOVSS(s.param("eps"), eps)
	s.VCVTSS2SD(eps, eps, eps)
	s.VADDSD(eps, variance, variance)
	s.VSQRTSD(variance, variance, variance)
	oneBits := s.GP64()
	s.MOVQ(U32(1), oneBits)
	s.VXORPS(one, one, one)
	s.VCVTSI2SDQ(oneBits, one, one)
	s.VDIVSD(variance, one, one)
	s.storeF32(one, 1)
	rstd := s.vec()
	s.VCVTSD2SS(one, one, one)
	s.VBROADCASTSS(one, rstd)

	s.loop(s.gp("n"), 2, func(round []at) {
		for _, p := range round {
			v := p.load(x)
			s.VSUBPS(mean, v, v)
			s.VMULPS(rstd, v, v)
			s.VFMADD213PS(p.load(b), p.load(w), v)
			p.store(v, y)
		}
	})
	s.ret()
}

func (s *simd) layerNormBackward() {
	s.function("layerNormBackward", "(dx, dw, db, dy, x, w *float32, n int, mean, rstd float32, accumulate bool)",
		"xhat[i] = (x[i]-mean)*rstd; g[i] = w[i]*dy[i]",
		"for i < n { dw[i] += dy[i]*xhat[i]; db[i] += dy[i] }",
		"for i < n { dx[i] (+)= rstd*(g[i] - sum(g)/n - xhat[i]*sum(g*xhat)/n) }")
	dx, dy, x, w := s.gp("dx"), s.gp("dy"), s.gp("x"), s.gp("w")
	mean, rstd := s.broadcast("mean"), s.broadcast("rstd")
	n := s.count()

	xhat := func(p at) reg.VecVirtual {
		v := p.load(x)
		s.VSUBPS(mean, v, v)
		s.VMULPS(rstd, v, v)
		return v
	}
	dw, db := s.gp("dw"), s.gp("db")
	sumG, sumGX := s.zeros(2), s.zeros(2)
	s.loop(s.gp("n"), 2, func(round []at) {
		for i, p := range round {
			d, h := p.load(dy), xhat(p)
			v := p.load(dw)
			s.VFMADD231PS(h, d, v)
			p.store(v, dw)
			v = p.load(db)
			s.VADDPS(d, v, v)
			p.store(v, db)
			g := p.load(w)
			s.VMULPS(d, g, g)
			s.VADDPS(g, sumG[i], sumG[i])
			s.VFMADD231PS(h, g, sumGX[i])
		}
	})
	meanG, meanGX := s.perElement(s.total(sumG), n), s.perElement(s.total(sumGX), n)

	pass := func(accumulate bool) {
		s.loop(s.gp("n"), 2, func(round []at) {
			for _, p := range round {
				h, g := xhat(p), p.load(w)
				s.VFMSUB132PS(p.load(dy), meanG, g)
				s.VFNMADD231PS(meanGX, h, g)
				if accumulate {
					v := p.load(dx)
					s.VFMADD231PS(rstd, g, v)
					p.store(v, dx)
				} else {
					s.VMULPS(rstd, g, g)
					p.store(g, dx)
				}
			}
		})
		s.ret()
	}
	adding, flag := s.label("accumulate"), s.GP8()
	s.Load(s.Param("accumulate"), flag)
	s.TESTB(flag, flag)
	s.JNE(LabelRef(adding))
	pass(false)
	s.Label(adding)
	pass(true)
}
