package asm

import "math"

// AdamWStep holds the hyperparameters of one [AdamW] step.
type AdamWStep struct {
	LR              float64 // learning rate
	Beta1, Beta2    float64 // decay of the first and second moment
	Eps             float64 // added to the denominator
	WeightDecay     float64 // decoupled decay, times LR
	Correction1     float64 // 1 - Beta1^t at step t = 1, 2, ...
	Correction2Sqrt float64 // sqrt(1 - Beta2^t)
	GradScale       float64 // factor on the gradient: clipping, averaging
}

// adamWScalars is what the loop needs of a step. The generator looks up where the fields lie by
// their names.
type adamWScalars struct {
	gradScale    float32
	keep         float32 // 1 - LR*WeightDecay
	beta1, rest1 float32 // Beta1, 1-Beta1
	beta2, rest2 float32 // Beta2, 1-Beta2
	invCorr2     float32 // 1/Correction2Sqrt
	eps          float32
	stepSize     float32 // LR/Correction1
}

// AdamW updates the parameters p and their moments m and v with the gradient g (Loshchilov and
// Hutter, https://arxiv.org/abs/1711.05101, in the form of torch.optim.AdamW). All slices have the
// same length; g is unchanged.
//
//	g' = GradScale*g
//	m  = Beta1*m + (1-Beta1)*g'
//	v  = Beta2*v + (1-Beta2)*g'*g'
//	p  = (1-LR*WeightDecay)*p - LR/Correction1 * m/(sqrt(v)/Correction2Sqrt + Eps)
func AdamW(p, g, m, v []float32, s *AdamWStep) {
	mustLen("AdamW len(g)", len(g), len(p))
	mustLen("AdamW len(m)", len(m), len(p))
	mustLen("AdamW len(v)", len(v), len(p))
	if len(p) == 0 {
		return
	}
	// Each is rounded to float32 only here: 1-float32(0.999) would be off in the fifth digit.
	k := adamWScalars{
		gradScale: float32(s.GradScale),
		keep:      float32(1 - s.LR*s.WeightDecay),
		beta1:     float32(s.Beta1),
		rest1:     float32(1 - s.Beta1),
		beta2:     float32(s.Beta2),
		rest2:     float32(1 - s.Beta2),
		invCorr2:  float32(1 / s.Correction2Sqrt),
		eps:       float32(s.Eps),
		stepSize:  float32(s.LR / s.Correction1),
	}
	adamW(p, g, m, v, &k)
}

func adamWGeneric(p, g, m, v []float32, k *adamWScalars) {
	for i := range p {
		gi := k.gradScale * g[i]
		m[i] = k.beta1*m[i] + k.rest1*gi
		v[i] = k.beta2*v[i] + k.rest2*gi*gi
		p[i] = k.keep*p[i] - k.stepSize*m[i]/(sqrt32(v[i])*k.invCorr2+k.eps)
	}
}

// sqrt32 returns the correctly rounded root. The compiler turns it into one float32 instruction.
func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }
