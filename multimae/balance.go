package multimae

import (
	"math"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Total returns the sum of the losses that are not nil.
func Total(t *tensor.Tape, losses []*tensor.Tensor) *tensor.Tensor {
	var terms []*tensor.Tensor
	for _, l := range losses {
		if l != nil {
			terms = append(terms, l)
		}
	}
	return tensor.Sum(t, terms...)
}

// Balancer weighs the losses of the outputs against each other by learned uncertainties: Kendall,
// Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses" (2018).
type Balancer struct {
	Params *nn.Params // log_vars [outputs]: σ_t, zero at first
	sigma  *tensor.Tensor
}

// NewBalancer returns a balancer for n outputs.
func NewBalancer(n int) *Balancer {
	ps := nn.NewParams()
	return &Balancer{ps, ps.Add("log_vars", nn.Zeros, n)}
}

// Total returns Σ_t exp(−σ_t)·L_t + σ_t over the losses that are not nil. A loss of exactly 0, that
// of a task with nothing to predict, is left out.
func (u *Balancer) Total(t *tensor.Tape, losses []*tensor.Tensor) *tensor.Tensor {
	y := t.New(1)
	inputs := []*tensor.Tensor{u.sigma}
	sum := 0.0
	for i, l := range losses {
		if l == nil || l.Data[0] == 0 {
			continue
		}
		s := float64(u.sigma.Data[i])
		sum += math.Exp(-s)*float64(l.Data[0]) + s
		inputs = append(inputs, l)
	}
	y.Data[0] = float32(sum)
	if t.Record("uncertainty weighting", y, inputs...) {
		t.Back(func() {
			gs := t.Grad(u.sigma)
			for i, l := range losses {
				if l == nil || l.Data[0] == 0 {
					continue
				}
				w := math.Exp(-float64(u.sigma.Data[i]))
				if gs != nil {
					gs[i] += y.Grad[0] * float32(1-w*float64(l.Data[0]))
				}
				if g := t.Grad(l); g != nil {
					g[0] += y.Grad[0] * float32(w)
				}
			}
		})
	}
	return y
}
