package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func adamWFamily(s *simd) {
	s.function("adamW", "(p, grad, m, v, scalars *float32, n int)",
		"s = the fields of adamWScalars",
		"for i < n {",
		"	d := s.gradScale*grad[i]",
		"	m[i] = s.beta1*m[i] + s.rest1*d",
		"	v[i] = s.beta2*v[i] + s.rest2*d*d",
		"	p[i] = s.keep*p[i] - s.stepSize*m[i]/(sqrt(v[i])*s.invCorr2 + s.eps)",
		"}")
	p, g, m, v, scalars := s.gp("p"), s.gp("grad"), s.gp("m"), s.gp("v"), s.gp("scalars")
	field := func(i int) reg.VecVirtual {
		x := s.vec()
		s.VBROADCASTSS(Mem{Base: scalars, Disp: 4 * i}, x)
		return x
	}
	gradScale, keep := field(0), field(1)
	beta1, rest1, beta2, rest2 := field(2), field(3), field(4), field(5)
	invCorr2, eps, stepSize := field(6), field(7), field(8)
	s.loop(s.gp("n"), 1, func(round []at) {
		for _, a := range round {
			d := a.load(g)
			s.VMULPS(gradScale, d, d)
			square := s.vec()
			s.VMULPS(rest2, d, square)
			s.VMULPS(d, square, square)
			s.VMULPS(rest1, d, d)
			s.VFMADD231PS(a.load(m), beta1, d)
			a.store(d, m)
			s.VFMADD231PS(a.load(v), beta2, square)
			a.store(square, v)
			s.VSQRTPS(square, square)
			s.VFMADD213PS(eps, invCorr2, square)
			s.VMULPS(stepSize, d, d)
			s.VDIVPS(square, d, d)
			s.VFMSUB231PS(a.load(p), keep, d)
			a.store(d, p)
		}
	})
	s.ret()
}
