package train

import (
	"context"
	"fmt"
	"math"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/evaluate"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// Score compares the predictions of one output with those of a trivial predictor, which has learnt
// averages of the training data and nothing else: the mean of each channel, the frequency of each
// class, the mean of the patch for norm_mse.
type Score struct {
	Output      string  `json:"output"`
	Loss        float64 `json:"loss"` // as multimae.Model.Losses has it
	TrivialLoss float64 `json:"trivial_loss"`
	Figure      string  `json:"figure"` // what Value is: one of the Figure constants
	Value       float64 `json:"value"`
	Trivial     float64 `json:"trivial"`
}

// The figures of a Score, all on the patches that the loss is taken of: masked ones, or all where
// loss_on_unmasked is set or the task is not an input.
const (
	FigurePSNR     = "PSNR dB"    // of colour in 0..1
	FigureL1       = "L1"         // mean absolute error in the units of the input, which is standardised for depth
	FigureAccuracy = "accuracy %" // of pixels
	FigureMSE      = "MSE"
)

// Evaluation is the result of a validation.
type Evaluation struct {
	Samples int               `json:"samples"`
	Loss    float64           `json:"loss"`              // sum of the outputs' losses
	Scores  []Score           `json:"scores,omitempty"`  // of pre-training
	Metrics []evaluate.Metric `json:"metrics,omitempty"` // of fine-tuning, for each output the main one first
	// Criterion is what the best model has the lowest of: the loss in pre-training, and in
	// fine-tuning the main metrics, negated where more is better. NaN if nothing was measured.
	Criterion float64 `json:"-"`
}

// Trivial is what the trivial predictors have learnt.
type Trivial struct {
	means map[string][]float64 // modality → mean of each channel
	logs  map[string][]float64 // modality → log frequency of each class
}

// EvaluateOptions are the samples and masks of NewTrivial and Evaluate.
type EvaluateOptions struct {
	Samples int    // to use at most, spread over the dataset
	Seed    uint64 // of the masks
	SkipBad bool   // leave out samples that cannot be read

	group *group // whose ranks share the samples of Evaluate out
}

// NewTrivial learns from samples of ds, in the format of a model's inputs. workers goroutines read
// them.
func NewTrivial(ctx context.Context, c *multimae.Config, ds data.Dataset, o EvaluateOptions, workers int) (*Trivial, error) {
	tv := &Trivial{map[string][]float64{}, map[string][]float64{}}
	values := map[string]float64{} // number of values of all channels
	_, err := batches(ctx, shrink(ds, c), o.Samples, workers, o.SkipBad, func(_ int, samples []*data.Sample) error {
		b, err := data.Collate(samples, c.Inputs, c.ImageSize)
		if err != nil {
			return err
		}
		for _, in := range c.Inputs {
			if ids, ok := b.Classes[in.Name]; ok {
				if tv.logs[in.Name] == nil {
					tv.logs[in.Name] = make([]float64, in.NumClasses)
				}
				for _, id := range ids {
					if int(id) < in.NumClasses {
						tv.logs[in.Name][id]++
					}
				}
			}
			if pix, ok := b.Images[in.Name]; ok {
				if tv.means[in.Name] == nil {
					tv.means[in.Name] = make([]float64, in.Channels)
				}
				plane, valid := len(pix)/(b.Size*in.Channels), b.Valid[in.Name]
				for k, v := range pix {
					if valid == nil || valid[k/(plane*in.Channels)*plane+k%plane] {
						tv.means[in.Name][k/plane%in.Channels] += float64(v)
						values[in.Name]++
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for name, means := range tv.means {
		for k := range means {
			means[k] /= max(1, values[name]/float64(len(means)))
		}
	}
	for _, counts := range tv.logs {
		total := float64(len(counts)) // one more of each class, so that none is impossible
		for _, c := range counts {
			total += c
		}
		for k, c := range counts {
			counts[k] = math.Log((c + 1) / total)
		}
	}
	return tv, nil
}

// predict fills patches [rows, C·p·p] with the trivial prediction for an output.
func (tv *Trivial) predict(o *multimae.Output, patches []float32, pp int) {
	values := tv.means[o.Task]
	if o.Loss == multimae.LossCrossEntropy {
		values = tv.logs[o.Task]
	}
	for i := range patches {
		patches[i] = 0 // for norm_mse: the mean of the patch
		if o.Loss != multimae.LossNormMSE && values != nil {
			patches[i] = float32(values[i/pp%o.Channels])
		}
	}
}

// evalBatch is the number of samples evaluated at a time. It is not an option, because the masks of
// a sample depend on it.
const evalBatch = 16

// Evaluate scores a model on samples of ds. The masks depend only on the seed, and leave as many
// tokens visible as in training. An output has no score if the samples have no target for it, or
// none in the patches that its loss is taken of. If a loss is not finite, the error wraps
// evaluate.ErrDiverged. When ctx ends, Evaluate returns its error.
func Evaluate(ctx context.Context, m *multimae.Model, ds data.Dataset, trivial *Trivial, o EvaluateOptions, pool *tensor.Pool) (*Evaluation, error) {
	c := m.Config
	t := tensor.NewInference(pool)
	own, base := make([]tally, len(c.Outputs)), make([]tally, len(c.Outputs))
	n, err := o.group.batches(ctx, shrink(ds, c), o.Samples, pool.Workers(), o.SkipBad, func(from int, samples []*data.Sample) error {
		b, err := data.Collate(samples, c.Inputs, c.ImageSize)
		if err != nil {
			return err
		}
		t.Reset()
		r := nn.NewRNG(o.Seed, streamVal, uint64(from))
		masks := new(multimae.Masks)
		if err := m.DrawMasks(masks, &r, b, multimae.MaskOptions{}); err != nil {
			return err
		}
		preds, err := m.Forward(t, b, masks, nil)
		if err != nil {
			return err
		}
		if err := score(t, m, preds, b, masks, own); err != nil {
			return err
		}
		for i := range preds {
			o := &c.Outputs[i]
			p := c.PatchSize / o.Stride
			trivial.predict(o, preds[i].Data, p*p)
		}
		return score(t, m, preds, b, masks, base)
	})
	if err != nil {
		return nil, err
	}
	if err := sumTallies(o.group, own, base); err != nil {
		return nil, err
	}
	e := &Evaluation{Samples: n}
	for i := range c.Outputs {
		if own[i].samples == 0 {
			continue
		}
		s := Score{
			Output: c.Outputs[i].Name, Figure: figure(c, &c.Outputs[i]),
			Loss: own[i].loss / own[i].samples, TrivialLoss: base[i].loss / base[i].samples,
		}
		if !finite(s.Loss) {
			return nil, fmt.Errorf("evaluate: the loss of %s is %g: %w", s.Output, s.Loss, evaluate.ErrDiverged)
		}
		s.Value, s.Trivial = own[i].value(s.Figure), base[i].value(s.Figure)
		e.Loss += s.Loss
		e.Scores = append(e.Scores, s)
	}
	if e.Criterion = e.Loss; len(e.Scores) == 0 {
		e.Criterion = math.NaN()
	}
	return e, nil
}

// figure returns the figure of an output that says most to people.
func figure(c *multimae.Config, o *multimae.Output) string {
	switch in := c.Input(o.Task); {
	case o.Loss == multimae.LossCrossEntropy:
		return FigureAccuracy
	case o.Loss == multimae.LossNormMSE:
		return FigureMSE
	case in.Normalization() == "imagenet":
		return FigurePSNR
	}
	return FigureL1
}

// tally collects sums over batches.
type tally struct {
	loss, samples float64 // over samples with patches that count
	sum, count    float64 // of the figure, over values of such patches
}

// sumTallies adds up those of all ranks.
func sumTallies(g *group, lists ...[]tally) error {
	var x []float64
	for _, list := range lists {
		for _, y := range list {
			x = append(x, y.loss, y.samples, y.sum, y.count)
		}
	}
	if err := g.sumFloats(x); err != nil {
		return err
	}
	for _, list := range lists {
		for i := range list {
			list[i] = tally{x[0], x[1], x[2], x[3]}
			x = x[4:]
		}
	}
	return nil
}

func (y *tally) value(figure string) float64 {
	mean := y.sum / y.count
	switch figure {
	case FigurePSNR:
		return -10 * math.Log10(max(mean, 1e-10)) // at most 100 dB, because JSON has no infinity
	case FigureAccuracy:
		return 100 * mean
	}
	return mean
}

// score adds the losses and figures of a batch to the tallies of the outputs.
func score(t *tensor.Tape, m *multimae.Model, preds []*tensor.Tensor, b *multimae.Batch, masks *multimae.Masks, to []tally) error {
	losses, err := m.Losses(t, preds, b, masks)
	if err != nil {
		return err
	}
	c := m.Config
	for i, l := range losses {
		if l == nil {
			continue
		}
		y, o := &to[i], &c.Outputs[i]
		p := c.PatchSize / o.Stride
		h, w, n, f := b.H/o.Stride, b.W/o.Stride, masks.Patches, o.Channels*p*p
		what := figure(c, o)
		ids, pix, valid := make([]int32, p*p), make([]float32, f), make([]bool, p*p)
		all := b.Valid[o.Task]
		samples := 0.0
		for s := range b.Size {
			mask, before := masks.Task(s, o.Task), y.count
			for patch := range n {
				if mask != nil && !o.LossOnUnmasked && !mask[patch] {
					continue
				}
				pred := preds[i].Data[(s*n+patch)*f:][:f]
				if o.Loss == multimae.LossCrossEntropy {
					vit.Patch(ids, b.Classes[o.Task][s*h*w:][:h*w], 1, h, w, p, patch)
					y.accuracy(pred, ids, o.Channels)
				} else {
					vit.Patch(pix, b.Images[o.Task][s*o.Channels*h*w:][:o.Channels*h*w], o.Channels, h, w, p, patch)
					if all != nil {
						vit.Patch(valid, all[s*h*w:][:h*w], 1, h, w, p, patch)
					}
					y.distance(pred, pix, valid, all == nil, what)
				}
			}
			if y.count > before {
				samples++
			}
		}
		// The loss is the mean over these samples.
		y.loss += float64(l.Data[0]) * samples
		y.samples += samples
		if what == FigureMSE { // the loss itself
			y.sum, y.count = y.loss, y.samples
		}
	}
	return nil
}

func (y *tally) accuracy(logits []float32, ids []int32, classes int) {
	pp := len(ids)
	for j, id := range ids {
		if int(id) >= classes {
			continue
		}
		best := 0
		for k := range classes {
			if logits[k*pp+j] > logits[best*pp+j] {
				best = k
			}
		}
		if best == int(id) {
			y.sum++
		}
		y.count++
	}
}

// distance adds the errors of the valid pixels of a patch, or of all.
func (y *tally) distance(pred, pix []float32, valid []bool, all bool, figure string) {
	pp := len(valid)
	for k, v := range pred {
		if !all && !valid[k%pp] {
			continue
		}
		e := float64(v - pix[k])
		if figure == FigurePSNR {
			e *= float64(images.ImageNetStd[k/pp])
			y.sum += e * e
		} else {
			y.sum += math.Abs(e)
		}
		y.count++
	}
}
