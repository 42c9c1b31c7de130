package gen

import "github.com/mmcloughlin/avo/reg"

func adamWFamily(s *simd) {
	s.function("adamW", "(p, grad, m, v *float32, s *adamWScalars, n int)",
		"for i < n {",
		"	d := s.gradScale*grad[i]",
		"	m[i] = s.beta1*m[i] + s.rest1*d",
		"	v[i] = s.beta2*v[i] + s.rest2*d*d",
		"	p[i] = s.keep*p[i] - s.stepSize*m[i]/(sqrt(v[i])*s.invCorr2 + s.eps)",
		"}")
	p, g, m, v := s.gp("p"), s.gp("grad"), s.gp("m"), s.gp("v")
	scalars := s.fields("s")
	scalar := func(name string) reg.VecVirtual {
		x := s.vec()
		s.VBROADCASTSS(scalars(name), x)
		return x
	}
	gradScale, keep := scalar("gradScale"), scalar("keep")
	beta1, rest1, beta2, rest2 := scalar("beta1"), scalar("rest1"), scalar("beta2"), scalar("rest2")
	invCorr2, eps, stepSize := scalar("invCorr2"), scalar("eps"), scalar("stepSize")
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
