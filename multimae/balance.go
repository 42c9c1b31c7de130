package multimae

import (
	"math"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Total returns the sum [1] of the losses that are not nil, each [1], such as those of Model.Losses. It
// is 0 if all are nil. weights, if there are any, has one for each loss, as Outputs.LossWeights does: what
// it is multiplied by, where 0 means 1.
func Total(t *tensor.Tape, losses []*tensor.Tensor, weights ...float64) *tensor.Tensor {
	var terms []*tensor.Tensor
	for i, l := range losses {
		if l == nil {
			continue
		}
		if len(weights) > 0 && weights[i] != 0 && weights[i] != 1 {
			l = tensor.Mul(t, l, []float32{float32(weights[i])})
		}
		terms = append(terms, l)
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

// Total returns Σ_t exp(−σ_t)·L_t + σ_t, [1]. losses and samples have one for each output, in the order
// of Config.Outputs: a loss L_t, [1], or nil, and how many samples it is the mean of, by
// Model.LossSamples. An output without a loss or samples is left out.
//
// For a part of a batch, samples is that of the whole: what Total returns for all parts adds up to that
// of the whole. first is set for exactly one of the parts, which adds the σ_t; the whole is its own
// first part.
func (u *Balancer) Total(t *tensor.Tape, losses []*tensor.Tensor, samples []int, first bool) *tensor.Tensor {
	counts := func(i int) bool { return losses[i] != nil && samples[i] > 0 }
	share := 0.0
	if first {
		share = 1
	}
	y := t.New(1)
	inputs := []*tensor.Tensor{u.sigma}
	sum := 0.0
	for i, l := range losses {
		if !counts(i) {
			continue
		}
		s := float64(u.sigma.Data[i])
		sum += math.Exp(-s)*float64(l.Data[0]) + share*s
		inputs = append(inputs, l)
	}
	y.Data[0] = float32(sum)
	if t.Record("uncertainty weighting", y, inputs...) {
		t.Back(func() {
			gs := t.Grad(u.sigma)
			for i, l := range losses {
				if !counts(i) {
					continue
				}
				w := math.Exp(-float64(u.sigma.Data[i]))
				if gs != nil {
					gs[i] += y.Grad[0] * float32(share-w*float64(l.Data[0]))
				}
				if g := t.Grad(l); g != nil {
					g[0] += y.Grad[0] * float32(w)
				}
			}
		})
	}
	return y
}
