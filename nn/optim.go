package nn

import (
	"math"

	"github.com/gomae/gomae/tensor"
)

// AdamW is the optimiser of Loshchilov and Hutter, https://arxiv.org/abs/1711.05101, in the form of
// torch.optim.AdamW: weight decay is applied to every trained parameter, as MultiMAE's pre-training
// does. A parameter that a step's loss does not depend on (see tensor.Tensor.HasGrad) stays as it
// is in that step: no decay, the same moments.
type AdamW struct {
	Beta1, Beta2, Eps float64

	Steps int // calls of Step
	// Of each trained parameter, in the order of Params: the number of steps that changed it, and
	// the first and second moments.
	Updates []int
	M, V    [][]float32
	// What single parameters have of the learning rate and of the weight decay of Step, in the
	// same order; nil means all of both.
	LRScale, DecayScale []float64

	params []*Param
}

// NewAdamW returns the optimiser of the trained parameters in each of sets, in order.
func NewAdamW(beta1, beta2, eps float64, sets ...*Params) *AdamW {
	a := &AdamW{Beta1: beta1, Beta2: beta2, Eps: eps}
	for _, ps := range sets {
		for _, p := range ps.list {
			if !p.Fixed {
				a.params = append(a.params, p)
				a.M = append(a.M, tensor.New(len(p.Data)).Data)
				a.V = append(a.V, tensor.New(len(p.Data)).Data)
			}
		}
	}
	a.Updates = make([]int, len(a.params))
	return a
}

// Params returns the parameters that the optimiser trains. The slice must not be changed.
func (a *AdamW) Params() []*Param { return a.params }

// Step updates the parameters by their gradients times gradScale, which is 1, or less for clipping.
func (a *AdamW) Step(t *tensor.Tape, lr, weightDecay, gradScale float64) {
	a.Steps++
	s := tensor.AdamWStep{LR: lr, Beta1: a.Beta1, Beta2: a.Beta2, Eps: a.Eps, WeightDecay: weightDecay, GradScale: gradScale}
	corrected := 0 // the number of updates that s corrects the bias of the moments for
	for k, p := range a.params {
		if !p.HasGrad() {
			continue
		}
		a.Updates[k]++
		s.LR, s.WeightDecay = lr, weightDecay
		if a.LRScale != nil {
			s.LR *= a.LRScale[k]
		}
		if a.DecayScale != nil {
			s.WeightDecay *= a.DecayScale[k]
		}
		if n := a.Updates[k]; n != corrected {
			s.Correction1 = 1 - math.Pow(a.Beta1, float64(n))
			s.Correction2Sqrt = math.Sqrt(1 - math.Pow(a.Beta2, float64(n)))
			corrected = n
		}
		tensor.AdamW(t, p.Data, p.Grad, a.M[k], a.V[k], &s)
	}
}

// ClipScale returns the factor that brings a gradient of the given norm down to limit: 1 where the
// norm is not above it, or limit is 0.
func ClipScale(norm, limit float64) float64 {
	if limit > 0 && norm > limit {
		return limit / (norm + 1e-6)
	}
	return 1
}

// Schedule is a learning rate that rises linearly from 0 to Base over Warmup steps and then falls
// along half a cosine to 0 at step Steps. Loshchilov and Hutter, https://arxiv.org/abs/1608.03983.
type Schedule struct {
	Base          float64
	Warmup, Steps int
}

// At returns the rate of step number step, counted from 0.
func (s Schedule) At(step int) float64 {
	if step < s.Warmup {
		return s.Base * float64(step+1) / float64(s.Warmup)
	}
	if step >= s.Steps {
		return 0
	}
	done := float64(step-s.Warmup) / float64(max(1, s.Steps-s.Warmup))
	return s.Base * 0.5 * (1 + math.Cos(math.Pi*done))
}
