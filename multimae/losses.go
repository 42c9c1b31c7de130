package multimae

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// Losses returns the loss of every output in the order of Config.Outputs, each a single number, or
// nil where the batch has no target for it. masks are those that Forward had, but not nil.
//
// A loss is the mean over the masked patches of a sample, and then over the samples that have any:
// a sample without a masked patch contributes neither loss nor gradient. All patches count where
// Output.LossOnUnmasked is set and where the task of the output is not an input. Pixels with the
// ids IDPadding and IDIgnored, and those that are not Batch.Valid, never count: then the mean is
// over the pixels that do.
func (m *Model) Losses(t *tensor.Tape, preds []*tensor.Tensor, b *Batch, masks *Masks) ([]*tensor.Tensor, error) {
	return m.PartLosses(t, preds, b, masks, nil)
}

// PartLosses is Losses for a part of a batch: what it returns for all parts adds up to the losses
// of the whole. samples is LossSamples of the whole; nil means that the part is the whole.
func (m *Model) PartLosses(t *tensor.Tape, preds []*tensor.Tensor, b *Batch, masks *Masks, samples []int) ([]*tensor.Tensor, error) {
	if err := m.Check(b); err != nil {
		return nil, err
	}
	if len(preds) != len(m.decoders) {
		return nil, fmt.Errorf("losses: got %d predictions, want %d", len(preds), len(m.decoders))
	}
	if err := m.checkMaskSize(masks, b.Size, b.H, b.W); err != nil {
		return nil, err
	}
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
		of := 0
		if samples != nil {
			of = samples[i]
		}
		if o.Loss == LossCrossEntropy {
			losses[i] = classLoss(t, preds[i], o, b, side, patchesThatCount(o, masks), of)
		} else {
			losses[i] = pixelLoss(t, preds[i], o, b, side, patchesThatCount(o, masks), of)
		}
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

// pixelLoss returns the loss of an image kind for pred [B, n, C·side·side], by the patches that
// count; of is how many samples the mean is of, or 0 for those of b.
func pixelLoss(t *tensor.Tape, pred *tensor.Tensor, o *Output, b *Batch, side int, counts func(s, patch int) bool, of int) *tensor.Tensor {
	n, patch := pred.Shape[1], pred.Cols()
	weights := t.Values(b.Size * n)
	valid := func(r int) validPatch { return b.validPatch(o.Task, o.Stride, side, r/n, r%n) }
	all := 1 // what weights has for a patch of which every pixel counts
	if b.Valid[o.Task] != nil {
		all = side * side
	}
	for r := range weights {
		switch {
		case !counts(r/n, r%n):
			weights[r] = 0
		case all == 1:
			weights[r] = 1
		default:
			weights[r] = float32(valid(r).count())
		}
	}
	meanBySample(weights, all, b.Size, of)

	h, w := b.H/o.Stride, b.W/o.Stride
	images, image := b.Images[o.Task], o.Channels*h*w
	target := t.Values(len(pred.Data))
	t.Parallel(b.Size*n, func(_, r int) {
		if weights[r] == 0 {
			return
		}
		x := target[r*patch:][:patch]
		vit.Patch(x, images[r/n*image:][:image], o.Channels, h, w, side, r%n)
		v := valid(r)
		if o.Loss == LossNormMSE {
			standardizePatch(x, v)
		}
		for i := range x {
			if v.pixels != nil && !v.at(i) { // without a distance there is neither loss nor gradient
				x[i] = pred.Data[r*patch+i]
			}
		}
	})
	distance := tensor.L2
	if o.Loss == LossL1 {
		distance = tensor.L1
	}
	return tensor.RegressionLoss(t, pred, target, weights, distance)
}

// classLoss returns the cross-entropy of a class map for logits [B, n, classes·side·side], by the
// pixels that have a class in the patches that count.
func classLoss(t *tensor.Tape, logits *tensor.Tensor, o *Output, b *Batch, side int, counts func(s, patch int) bool, of int) *tensor.Tensor {
	n, pixels := logits.Shape[1], side*side
	h, w := b.H/o.Stride, b.W/o.Stride
	maps := b.Classes[o.Task]
	targets := t.Ints(b.Size * n * pixels)
	weights := t.Values(b.Size * n * pixels)
	for r := range b.Size * n {
		vit.Patch(targets[r*pixels:][:pixels], maps[r/n*h*w:][:h*w], 1, h, w, side, r%n)
	}
	for i, id := range targets {
		weights[i] = 0
		if r := i / pixels; counts(r/n, r%n) && int(id) < o.Channels {
			weights[i] = 1
		}
	}
	meanBySample(weights, 1, b.Size, of)
	return tensor.CrossEntropy(t, logits, o.Channels, targets, weights, o.LabelSmoothing)
}

// meanBySample turns weights [size, n], which say how many of the pixels of a patch count, into
// those that make a weighted sum over patches the mean over what counts in a sample, and then over
// the samples that have any: so many of a larger batch, if samples is not 0. all is what a patch
// has of which every pixel counts. The loss of a patch is the mean over all of its pixels, to which
// those that do not count add 0.
func meanBySample(weights []float32, all, size, samples int) {
	n := len(weights) / size
	counted := func(s int) (k float64) {
		for _, w := range weights[s*n:][:n] {
			k += float64(w)
		}
		return k
	}
	if samples == 0 {
		for s := range size {
			if counted(s) > 0 {
				samples++
			}
		}
	}
	for s := range size {
		k := counted(s)
		for i, w := range weights[s*n:][:n] {
			if w != 0 {
				weights[s*n+i] = float32(float64(all) / (k * float64(samples)))
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
