package heads

import (
	"fmt"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/tensor"
)

// Targets are what the outputs are compared with, by their names. An output without a target has no
// loss.
type Targets struct {
	// Classes holds the ids for cross-entropy, [B] for a linear head and [B, H, W] for a map. Ids
	// of NumClasses and more, such as multimae.IDIgnored, do not count.
	Classes map[string][]int32
	// Values holds the values of regressions, [B, C, H, W].
	Values map[string][]float32
	// Valid says for regressions which pixels count, [B, H, W]. An output without an entry counts
	// all of them.
	Valid map[string][]bool
}

// Losses returns the loss of every output in the order of Config.Outputs, each a single number, or
// nil where there is no target for it. A loss is the mean over all pixels of the batch that count,
// or 0 if none does.
func (m *Model) Losses(t *tensor.Tape, preds []*tensor.Tensor, targets *Targets) ([]*tensor.Tensor, error) {
	return m.PartLosses(t, preds, targets, nil)
}

// Whole is what a part of a batch takes from the others.
type Whole struct {
	Pixels []int // Config.LossPixels of the whole
	// Largest is called for each output with LossBerHu in turn, and returns the largest x of all parts:
	// so these must be computed at the same time. See Config.Lanes.
	Largest func(x float64) (float64, error)
}

// PartLosses is Losses for a part of a batch: what it returns for all parts adds up to the losses
// of the whole. A whole that is nil means that the part is all of it.
func (m *Model) PartLosses(t *tensor.Tape, preds []*tensor.Tensor, targets *Targets, whole *Whole) ([]*tensor.Tensor, error) {
	if len(preds) != len(m.heads) {
		return nil, fmt.Errorf("losses: got %d predictions, want %d", len(preds), len(m.heads))
	}
	losses := make([]*tensor.Tensor, len(preds))
	for i := range m.Config.Outputs {
		o := &m.Config.Outputs[i]
		var err error
		of, largest := 0, func(x float64) (float64, error) { return x, nil }
		if whole != nil {
			of, largest = whole.Pixels[i], whole.Largest
		}
		if o.Loss == LossCrossEntropy {
			losses[i], err = classLoss(t, o, preds[i], targets, of)
		} else {
			losses[i], err = valueLoss(t, o, preds[i], targets, of, largest)
		}
		if err != nil {
			return nil, fmt.Errorf("target of %s: %w", o.Name, err)
		}
	}
	return losses, nil
}

// LossPixels returns for every output how many pixels, or for Linear samples, its loss is the mean
// of.
func (c *Config) LossPixels(targets *Targets) []int {
	pixels := make([]int, len(c.Outputs))
	for i := range c.Outputs {
		o := &c.Outputs[i]
		for _, id := range targets.Classes[o.Name] {
			if int(id) < o.NumClasses {
				pixels[i]++
			}
		}
		if valid, ok := targets.Valid[o.Name]; ok {
			for _, v := range valid {
				if v {
					pixels[i]++
				}
			}
		} else {
			pixels[i] += len(targets.Values[o.Name]) / o.NumClasses
		}
	}
	return pixels
}

// Slice returns the targets of samples from..to of size, which share the memory of the whole.
func (x *Targets) Slice(from, to, size int) *Targets {
	part := &Targets{Classes: map[string][]int32{}, Values: map[string][]float32{}, Valid: map[string][]bool{}}
	for name, v := range x.Classes {
		part.Classes[name] = slice(v, from, to, size)
	}
	for name, v := range x.Values {
		part.Values[name] = slice(v, from, to, size)
	}
	for name, v := range x.Valid {
		part.Valid[name] = slice(v, from, to, size)
	}
	return part
}

func slice[T any](v []T, from, to, size int) []T {
	n := len(v) / size
	return v[from*n : to*n]
}

func classLoss(t *tensor.Tape, o *Output, pred *tensor.Tensor, targets *Targets, of int) (*tensor.Tensor, error) {
	ids, ok := targets.Classes[o.Name]
	if !ok {
		return nil, nil
	}
	if want := pred.Rows(); len(ids) != want {
		return nil, fmt.Errorf("got %d ids, want %d, one for each pixel of the prediction %v", len(ids), want, pred.Shape)
	}
	counts := func(r int) bool { return int(ids[r]) < o.NumClasses }
	for r, id := range ids {
		if id < 0 {
			return nil, fmt.Errorf("id %d at index %d, want 0..%d, or %d for an ignored pixel", id, r, o.NumClasses-1, multimae.IDIgnored)
		}
	}
	return tensor.CrossEntropy(t, pred, o.NumClasses, ids, means(t, pred.Rows(), of, counts), o.LabelSmoothing), nil
}

func valueLoss(t *tensor.Tape, o *Output, pred *tensor.Tensor, targets *Targets, of int, largest func(x float64) (float64, error)) (*tensor.Tensor, error) {
	values, ok := targets.Values[o.Name]
	if !ok {
		return nil, nil
	}
	if len(values) != len(pred.Data) {
		return nil, fmt.Errorf("got %d values, want %d, those of the prediction %v", len(values), len(pred.Data), pred.Shape)
	}
	valid, some := targets.Valid[o.Name]
	if some && len(valid) != pred.Rows() {
		return nil, fmt.Errorf("got %d valid pixels, want %d", len(valid), pred.Rows())
	}
	// The prediction has its channels last.
	pixels, c := pred.Shape[1]*pred.Shape[2], pred.Cols()
	target := t.Values(len(values))
	for r := range pred.Rows() {
		for k := range c {
			target[r*c+k] = values[(r/pixels*c+k)*pixels+r%pixels]
		}
	}
	weights := means(t, pred.Rows(), of, func(r int) bool { return !some || valid[r] })
	if o.Loss == LossBerHu {
		c, err := largest(tensor.BerHuBound(t, pred, target, weights))
		if err != nil {
			return nil, err
		}
		return tensor.BerHuLoss(t, pred, target, weights, c), nil
	}
	return tensor.RegressionLoss(t, pred, target, weights, tensor.L1), nil
}

// means returns the weights that make a weighted sum over rows the mean over those that count, or
// over so many of a larger batch, if of is not 0.
func means(t *tensor.Tape, rows, of int, counts func(r int) bool) []float32 {
	weights, n := t.Values(rows), of
	for r := 0; of == 0 && r < rows; r++ {
		if counts(r) {
			n++
		}
	}
	for r := range weights {
		weights[r] = 0
		if counts(r) {
			weights[r] = float32(1 / float64(n))
		}
	}
	return weights
}
