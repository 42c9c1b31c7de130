package multimae

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// Losses returns the loss of every output in the order of Config.Outputs, each a single number, or
// nil where the batch has no target for it. masks are those that Forward had, but not nil.
//
// A loss is the mean over the pixels of a sample that count, and then over the samples that have
// any. What does not count adds neither loss nor gradient:
//
//   - visible patches, unless Output.LossOnUnmasked is set or the task of the output is not among
//     Masks.Inputs;
//   - of a class map, pixels whose id is no class, NumClasses or more: a batch may have IDIgnored
//     (255) where there is no label, and IDPadding (254) outside of an image;
//   - of an image, pixels that Batch.Valid says were not measured.
//
// The losses of fine-tuned models, in package heads, know no masks, and their targets follow the same
// rule for ids and for valid pixels. Their mean is over all pixels of the batch that count.
func (m *Model) Losses(t *tensor.Tape, preds []*tensor.Tensor, b *Batch, masks *Masks) ([]*tensor.Tensor, error) {
	if err := m.Check(b); err != nil {
		return nil, err
	}
	if len(preds) != len(m.decoders) {
		return nil, fmt.Errorf("losses: got %d predictions, want %d", len(preds), len(m.decoders))
	}
	if err := m.checkMaskSize(masks, b.Size, b.H, b.W); err != nil {
		return nil, err
	}
	s := t.Scope()
	losses := make([]*tensor.Tensor, len(preds))
	for i := range losses {
		o := &m.Config.Outputs[i]
		if !b.has(o.Task) {
			continue
		}
		side := m.Config.PatchSize / o.Stride
		if want := []int{b.Size, masks.Patches, o.Channels * side * side}; !slices.Equal(want, preds[i].Shape) {
			return nil, fmt.Errorf("losses: the prediction of %s has shape %v, want %v", o.Name, preds[i].Shape, want)
		}
		rows := lossRows(t, o, masks)
		losses[i] = m.loss(t, o, tensor.PickRows(t, preds[i], rows), rows, b, 0)
	}
	s.Keep(nil, losses...)
	return losses, nil
}

// ForwardLosses goes forward as Forward does, for masks that are not nil, and returns what Losses
// does, but for rounding. It costs less: the last layers of a decoder compute those patches alone
// that the loss is taken of.
//
// For a part of a batch, samples is LossSamples of the whole: what it returns for all parts adds up
// to the losses of the whole. nil means that the part is the whole.
func (m *Model) ForwardLosses(t *tensor.Tape, b *Batch, masks *Masks, rng *nn.RNG, samples []int) ([]*tensor.Tensor, error) {
	l, err := m.layout(t, b, masks)
	if err != nil {
		return nil, err
	}
	tokens := m.encode(t, b, l, rng)
	losses := make([]*tensor.Tensor, len(m.decoders))
	for i, d := range m.decoders {
		if !b.has(d.out.Task) {
			continue
		}
		of := 0
		if samples != nil {
			of = samples[i]
		}
		rows := lossRows(t, d.out, masks)
		losses[i] = m.loss(t, d.out, d.forward(t, tokens, l, rows), rows, b, of)
	}
	return losses, nil
}

// LossSamples returns for every output how many samples of a batch its loss is the mean of.
func (m *Model) LossSamples(b *Batch, masks *Masks) []int {
	samples := make([]int, len(m.decoders))
	for i := range samples {
		o := &m.Config.Outputs[i]
		if !b.has(o.Task) {
			continue
		}
		counts := patchesThatCount(o, masks)
		side := m.Config.PatchSize / o.Stride
		ids := make([]int32, side*side)
		h, w := b.H/o.Stride, b.W/o.Stride
		some := func(s int) bool {
			for patch := range masks.Patches {
				if !counts(s, patch) {
					continue
				}
				if o.Loss != LossCrossEntropy {
					if b.Valid[o.Task] == nil || b.validPatch(o.Task, o.Stride, side, s, patch).count() > 0 {
						return true
					}
					continue
				}
				vit.Patch(ids, b.Classes[o.Task][s*h*w:][:h*w], 1, h, w, side, patch)
				if slices.ContainsFunc(ids, func(id int32) bool { return int(id) < o.Channels }) {
					return true
				}
			}
			return false
		}
		for s := range b.Size {
			if some(s) {
				samples[i]++
			}
		}
	}
	return samples
}

// patchesThatCount says which patches of which samples the loss of an output is taken of.
func patchesThatCount(o *Output, masks *Masks) func(s, patch int) bool {
	k := masks.Index(o.Task)
	if k < 0 || o.LossOnUnmasked {
		return func(s, patch int) bool { return true }
	}
	return func(s, patch int) bool { return masks.Masked[(s*len(masks.Inputs)+k)*masks.Patches+patch] }
}

// lossRows lists the patches that count, in ascending order, by their rows in a prediction [B, n,
// C·side·side]: s·n + p for patch p of sample s.
func lossRows(t *tensor.Tape, o *Output, masks *Masks) []int32 {
	counts, n := patchesThatCount(o, masks), masks.Patches
	rows := t.Ints(masks.Size * n)[:0]
	for r := range masks.Size * n {
		if counts(r/n, r%n) {
			rows = append(rows, int32(r))
		}
	}
	return rows
}

// loss returns the loss of an output for pred [R, C·side·side], those rows of its prediction that
// lossRows lists. of is how many samples the mean is of, or 0 for those of b.
func (m *Model) loss(t *tensor.Tape, o *Output, pred *tensor.Tensor, rows []int32, b *Batch, of int) *tensor.Tensor {
	nh, nw := m.Config.Grid(b.H, b.W)
	p := &patches{o, b, rows, nh * nw, m.Config.PatchSize / o.Stride}
	if o.Loss == LossCrossEntropy {
		return p.classLoss(t, pred, of)
	}
	return p.pixelLoss(t, pred, of)
}

// patches are those of a batch that the loss of an output is taken of.
type patches struct {
	o    *Output
	b    *Batch
	rows []int32 // of lossRows
	n    int     // patches of a sample
	side int     // of a patch, in pixels of the output
}

// pixelLoss returns the loss of an image kind for pred [R, C·side·side].
func (p *patches) pixelLoss(t *tensor.Tape, pred *tensor.Tensor, of int) *tensor.Tensor {
	o, b, side := p.o, p.b, p.side
	weights := t.Values(len(p.rows))
	valid := func(r int) validPatch { return b.validPatch(o.Task, o.Stride, side, r/p.n, r%p.n) }
	holes := b.Valid[o.Task] != nil
	all := 1 // what weights has for a patch of which every pixel counts
	if holes {
		all = side * side
	}
	for i, r := range p.rows {
		weights[i] = 1
		if holes {
			weights[i] = float32(valid(int(r)).count())
		}
	}
	p.meanBySample(weights, all, of)

	h, w, patch := b.H/o.Stride, b.W/o.Stride, pred.Cols()
	images, image := b.Images[o.Task], o.Channels*h*w
	target := t.Values(len(pred.Data))
	t.Parallel(len(p.rows), func(_, i int) {
		if weights[i] == 0 {
			return
		}
		r := int(p.rows[i])
		x, predicted := target[i*patch:][:patch], pred.Data[i*patch:][:patch]
		vit.Patch(x, images[r/p.n*image:][:image], o.Channels, h, w, side, r%p.n)
		v := valid(r)
		if o.Loss == LossNormMSE {
			standardizePatch(x, v)
		}
		for j := range x {
			if v.pixels != nil && !v.at(j) { // without a distance there is neither loss nor gradient
				x[j] = predicted[j]
			}
		}
	})
	distance := tensor.L2
	if o.Loss == LossL1 {
		distance = tensor.L1
	}
	return tensor.RegressionLoss(t, pred, target, weights, distance)
}

// classLoss returns the cross-entropy of a class map for logits [R, classes·side·side], by the
// pixels that have a class.
func (p *patches) classLoss(t *tensor.Tape, logits *tensor.Tensor, of int) *tensor.Tensor {
	o, b, pixels := p.o, p.b, p.side*p.side
	h, w := b.H/o.Stride, b.W/o.Stride
	maps := b.Classes[o.Task]
	targets := t.Ints(len(p.rows) * pixels)
	weights := t.Values(len(p.rows) * pixels)
	for i, r := range p.rows {
		vit.Patch(targets[i*pixels:][:pixels], maps[int(r)/p.n*h*w:][:h*w], 1, h, w, p.side, int(r)%p.n)
	}
	for i, id := range targets {
		weights[i] = 0
		if int(id) < o.Channels {
			weights[i] = 1
		}
	}
	p.meanBySample(weights, 1, of)
	return tensor.CrossEntropy(t, logits, o.Channels, targets, weights, o.LabelSmoothing)
}

// meanBySample turns weights [R] or [R, pixels], which say how many of the pixels of a patch count,
// into those that make a weighted sum over patches the mean over what counts in a sample, and then
// over the samples that have any: so many of a larger batch, if samples is not 0. all is what a
// patch has of which every pixel counts. The loss of a patch is the mean over all of its pixels, to
// which those that do not count add 0.
func (p *patches) meanBySample(weights []float32, all, samples int) {
	per := len(weights) / max(1, len(p.rows))
	of := func(s int) []float32 { // the weights of a sample
		from, _ := slices.BinarySearch(p.rows, int32(s*p.n))
		to, _ := slices.BinarySearch(p.rows, int32((s+1)*p.n))
		return weights[from*per : to*per]
	}
	counted := func(s int) (k float64) {
		for _, w := range of(s) {
			k += float64(w)
		}
		return k
	}
	if samples == 0 {
		for s := range p.b.Size {
			if counted(s) > 0 {
				samples++
			}
		}
	}
	for s := range p.b.Size {
		k, of := counted(s), of(s)
		for i, w := range of {
			if w != 0 {
				of[i] = float32(float64(all) / (k * float64(samples)))
			}
		}
	}
}

// standardizePatch brings the values of a patch, all channels together, to mean 0 and unbiased
// variance 1, as in He et al., "Masked Autoencoders Are Scalable Vision Learners" (2022). Only the
// valid pixels count.
func standardizePatch(x []float32, valid validPatch) {
	const eps = 1e-6
	mean, variance, n := 0.0, 0.0, 0
	for i, v := range x {
		if valid.at(i) {
			mean += float64(v)
			n++
		}
	}
	mean /= float64(max(1, n))
	for i, v := range x {
		if valid.at(i) {
			variance += (float64(v) - mean) * (float64(v) - mean)
		}
	}
	variance /= float64(max(1, n-1))
	r := 1 / math.Sqrt(variance+eps)
	for i, v := range x {
		x[i] = float32((float64(v) - mean) * r)
	}
}
