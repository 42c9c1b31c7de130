package multimae

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// Losses returns the loss of every output in the order of Config.Outputs, each
// a single number, or nil where the batch has no target for it.
//
// A loss is the mean over the masked patches of a sample, and of that the mean
// over the samples that have any; a sample without a masked patch contributes
// neither loss nor gradient. All patches count where Output.LossOnUnmasked is
// set and where the output's task is not an input. Pixels of the ids 254 and
// 255 never count.
func (m *Model) Losses(t *tensor.Tape, preds []*tensor.Tensor, b *Batch, masks *Masks) ([]*tensor.Tensor, error) {
	if err := m.Check(b); err != nil {
		return nil, err
	}
	if len(preds) != len(m.outputs) {
		return nil, fmt.Errorf("losses: got %d predictions, want %d", len(preds), len(m.outputs))
	}
	if err := m.checkMaskSize(masks, b.Size, b.H, b.W); err != nil {
		return nil, err
	}
	nh, nw := m.Config.Grid(b.H, b.W)
	losses := make([]*tensor.Tensor, len(m.outputs))
	for i := range m.Config.Outputs {
		o := &m.Config.Outputs[i]
		if !b.has(o.Task) {
			continue
		}
		p := m.Config.PatchSize / o.Stride
		if want := []int{b.Size, nh * nw, o.Channels * p * p}; !slices.Equal(want, preds[i].Shape) {
			return nil, fmt.Errorf("losses: prediction of %s has shape %v, want %v", o.Name, preds[i].Shape, want)
		}
		counts := func(s, patch int) bool { return true }
		if masks.Index(o.Task) >= 0 && !o.LossOnUnmasked {
			counts = func(s, patch int) bool { return masks.Task(s, o.Task)[patch] }
		}
		if o.Loss == LossCrossEntropy {
			losses[i] = classLoss(t, preds[i], o, b, nh*nw, p, counts)
		} else {
			losses[i] = pixelLoss(t, preds[i], o, b, nh*nw, p, counts)
		}
	}
	return losses, nil
}

// pixelLoss is the loss of an image kind, preds [B, n, C·p·p].
func pixelLoss(t *tensor.Tape, pred *tensor.Tensor, o *Output, b *Batch, n, p int, counts func(s, patch int) bool) *tensor.Tensor {
	f := o.Channels * p * p
	h, w := b.H/o.Stride, b.W/o.Stride
	images := b.Images[o.Task]
	target := t.Values(b.Size * n * f)
	weights := t.Values(b.Size * n)
	clear(weights)
	eachSample(t, b.Size, n, 1, func(s, i, _ int) bool { return counts(s, i) }, func(s, i, _ int, weight float32) {
		weights[s*n+i] = weight
	})
	t.Parallel(b.Size*n, func(_, r int) {
		if weights[r] == 0 {
			return
		}
		row := target[r*f : (r+1)*f]
		vit.Patch(row, images[r/n*o.Channels*h*w:][:o.Channels*h*w], o.Channels, h, w, p, r%n)
		if o.Loss == LossNormMSE {
			standardizePatch(row)
		}
	})
	d := tensor.L2
	if o.Loss == LossL1 {
		d = tensor.L1
	}
	return tensor.RegressionLoss(t, pred, target, weights, d)
}

// standardizePatch brings the values of a patch, all channels together, to
// mean 0 and unbiased variance 1, as in He et al., "Masked Autoencoders Are
// Scalable Vision Learners" (2022).
func standardizePatch(x []float32) {
	mean, variance := patchMoments(x)
	r := 1 / math.Sqrt(variance+patchEps)
	for i, v := range x {
		x[i] = float32((float64(v) - mean) * r)
	}
}

const patchEps = 1e-6

func patchMoments(x []float32) (mean, variance float64) {
	for _, v := range x {
		mean += float64(v)
	}
	mean /= float64(len(x))
	for _, v := range x {
		variance += (float64(v) - mean) * (float64(v) - mean)
	}
	if len(x) > 1 {
		variance /= float64(len(x) - 1)
	}
	return mean, variance
}

// classLoss is the cross-entropy of a class map, logits [B, n, classes·p·p].
func classLoss(t *tensor.Tape, logits *tensor.Tensor, o *Output, b *Batch, n, p int, counts func(s, patch int) bool) *tensor.Tensor {
	pp := p * p
	h, w := b.H/o.Stride, b.W/o.Stride
	maps := b.Classes[o.Task]
	targets := t.Ints(b.Size * n * pp)
	weights := t.Values(b.Size * n * pp)
	for r := range b.Size * n {
		vit.Patch(targets[r*pp:(r+1)*pp], maps[r/n*h*w:][:h*w], 1, h, w, p, r%n)
	}
	clear(weights)
	eachSample(t, b.Size, n, pp, func(s, i, j int) bool {
		id := targets[(s*n+i)*pp+j]
		return counts(s, i) && int(id) < o.Channels
	}, func(s, i, j int, weight float32) { weights[(s*n+i)*pp+j] = weight })
	return tensor.CrossEntropy(t, logits, o.Channels, targets, weights, o.LabelSmoothing)
}

// eachSample calls set for the parts (pixels, or whole patches) that count,
// with the weight that makes a sum a mean over a sample's parts and over the
// samples that have any.
func eachSample(t *tensor.Tape, size, patches, parts int, counts func(s, i, j int) bool, set func(s, i, j int, weight float32)) {
	number := t.Ints(size)
	clear(number)
	samples := 0
	for s := range size {
		for k := range patches * parts {
			if counts(s, k/parts, k%parts) {
				number[s]++
			}
		}
		if number[s] > 0 {
			samples++
		}
	}
	for s, c := range number {
		if c == 0 {
			continue
		}
		weight := float32(1 / (float64(c) * float64(samples)))
		for k := range patches * parts {
			if counts(s, k/parts, k%parts) {
				set(s, k/parts, k%parts, weight)
			}
		}
	}
}

// Balancer weighs the losses of the outputs against each other by learned
// uncertainties: Kendall, Gal and Cipolla, "Multi-Task Learning Using
// Uncertainty to Weigh Losses" (2018).
type Balancer struct {
	Params *nn.Params // log_vars [outputs]: σ_t, zero at first
	sigma  *tensor.Tensor
}

// NewBalancer returns a balancer for n outputs.
func NewBalancer(n int) *Balancer {
	ps := nn.NewParams()
	return &Balancer{ps, ps.Add("log_vars", nn.Zeros, n)}
}

// Total returns Σ_t exp(−σ_t)·L_t + σ_t over the losses that are not nil. A
// loss of exactly 0, of a task that had nothing to predict, is left out.
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
