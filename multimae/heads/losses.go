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
	if len(preds) != len(m.heads) {
		return nil, fmt.Errorf("losses: got %d predictions, want %d", len(preds), len(m.heads))
	}
	losses := make([]*tensor.Tensor, len(preds))
	for i := range m.Config.Outputs {
		o := &m.Config.Outputs[i]
		var err error
		if o.Loss == LossCrossEntropy {
			losses[i], err = classLoss(t, o, preds[i], targets)
		} else {
			losses[i], err = valueLoss(t, o, preds[i], targets)
		}
		if err != nil {
			return nil, fmt.Errorf("target of %s: %w", o.Name, err)
		}
	}
	return losses, nil
}

func classLoss(t *tensor.Tape, o *Output, pred *tensor.Tensor, targets *Targets) (*tensor.Tensor, error) {
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
	return tensor.CrossEntropy(t, pred, o.NumClasses, ids, means(t, pred.Rows(), counts), 0), nil
}

func valueLoss(t *tensor.Tape, o *Output, pred *tensor.Tensor, targets *Targets) (*tensor.Tensor, error) {
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
	weights := means(t, pred.Rows(), func(r int) bool { return !some || valid[r] })
	if o.Loss == LossBerHu {
		return tensor.BerHuLoss(t, pred, target, weights), nil
	}
	return tensor.RegressionLoss(t, pred, target, weights, tensor.L1), nil
}

// means returns the weights that make a weighted sum over rows the mean over those that count.
func means(t *tensor.Tape, rows int, counts func(r int) bool) []float32 {
	weights, n := t.Values(rows), 0
	for r := range weights {
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
