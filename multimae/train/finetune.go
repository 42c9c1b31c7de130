package train

import (
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/evaluate"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Finetuning is the objective of downstream tasks: the weighted sum of the losses of all heads.
type Finetuning struct {
	Model *heads.Model

	lanes, laneSamples int
	current            *labelledBatch // shared by replicas
	group              *group         // nil if this process trains alone
}

// labelledBatch is the batch of a step.
type labelledBatch struct {
	step    int
	inputs  *multimae.Batch
	targets *heads.Targets
	whole   heads.Whole    // of all ranks
	blended *blending      // nil where images are not blended
	others  *heads.Targets // of the images that they are blended with
}

// NewFinetuning returns the objective of a model whose configuration has optim and train.
func NewFinetuning(m *heads.Model) *Finetuning {
	f := &Finetuning{Model: m, current: new(labelledBatch)}
	f.lanes, f.laneSamples = m.Config.Lanes()
	if m.Config.Train.Freeze {
		m.Params.Fix(func(name string) bool { return !strings.HasPrefix(name, headPrefix) })
	}
	return f
}

// headPrefix begins the names of the parameters of heads.
const headPrefix = "output_adapters."

// LoadFinetuneRun is LoadRun for a fine-tuning run.
func LoadFinetuneRun(dir string) (*heads.Config, error) {
	return loadRun(dir, heads.LoadConfig, func(c *heads.Config) *multimae.Recipe { return &c.Train.Recipe })
}

// Backbone returns the model's.
func (f *Finetuning) Backbone() *multimae.Backbone { return f.Model.Backbone }

// JSON returns the content of the model's config.json.
func (f *Finetuning) JSON() []byte { return f.Model.Config.JSON() }

// CheckMemory is heads.Config.CheckMemory.
func (f *Finetuning) CheckMemory(workers int) error { return f.Model.Config.CheckMemory(workers) }

// Extra returns nil.
func (f *Finetuning) Extra() *nn.Params { return nil }

// Plan returns what the configuration says. Weight decay leaves out one-dimensional parameters,
// embeddings of classes and tokens, and the learning rate falls from layer to layer.
func (f *Finetuning) Plan() Plan {
	c := f.Model.Config
	plan := Plan{
		Recipe: &c.Train.Recipe, Optim: &c.Optim, Size: c.ImageSize, Augment: crops(&c.Train.Recipe),
		Inputs: slices.Concat(c.Inputs, c.TargetInputs()), Lanes: f.lanes, LaneSamples: f.laneSamples, EMA: c.Train.EMA,
		Scales: f.scales,
	}
	plan.Augment.Color = c.Train.ColorJitter
	if s := c.Train.Scale; len(s) == 2 {
		plan.Augment.Scale = [2]float64(s)
	}
	for _, o := range c.Outputs {
		plan.Outputs = append(plan.Outputs, o.Name)
	}
	return plan
}

// scales returns what a parameter has of the learning rate and of the weight decay. The layers of
// Bao et al., "BEiT" (2021), are the input adapters, each block, and the heads.
func (f *Finetuning) scales(p *nn.Param) (lr, decay float64) {
	lr, decay = 1, 1
	if len(p.Shape) == 1 || p.Name == "global_tokens" || strings.HasSuffix(p.Name, ".cls_emb") || strings.HasSuffix(p.Name, ".class_emb.weight") {
		decay = 0
	}
	c := f.Model.Config
	if k := c.Train.LayerDecay; k > 0 && !strings.HasPrefix(p.Name, headPrefix) {
		layer := 0
		if rest, ok := strings.CutPrefix(p.Name, "encoder."); ok {
			number, _, _ := strings.Cut(rest, ".")
			block, _ := strconv.Atoi(number)
			layer = block + 1
		}
		lr = math.Pow(k, float64(c.Encoder.Depth+1-layer))
	}
	return lr, decay
}

func (f *Finetuning) join(g *group) error {
	if c := &f.Model.Config.Train; g != nil && (c.Mixup > 0 || c.CutMix > 0) {
		return errors.New("train.mixup, train.cutmix: several ranks cannot blend images, because each has only a part of a batch; leave both out")
	}
	f.group = g
	return nil
}

// Begin takes a batch that has inputs and targets.
func (f *Finetuning) Begin(b *multimae.Batch, step int) error {
	c, now := f.Model.Config, f.current
	*now = labelledBatch{step: step}
	now.inputs, now.targets = c.Split(b)
	for _, o := range c.Outputs {
		if now.targets.Classes[o.Name] == nil && now.targets.Values[o.Name] == nil {
			return fmt.Errorf("batch: output %s has no target %q", o.Name, o.TargetName())
		}
	}
	now.whole = heads.Whole{Pixels: c.LossPixels(now.targets), Largest: f.group.largest}
	if err := f.group.sumInts(now.whole.Pixels); err != nil {
		return err
	}
	rng := nn.NewRNG(c.Train.Seed, streamBlend, uint64(step))
	if now.blended = blend(now.inputs, &c.Train, &rng); now.blended != nil {
		now.others = now.blended.partners(now.targets, b.Size)
	}
	return nil
}

// Losses returns those of heads.Model.Losses, and their weighted sum.
func (f *Finetuning) Losses(t *tensor.Tape, from, to int) (total *tensor.Tensor, losses []*tensor.Tensor, err error) {
	m, now := f.Model, f.current
	b, targets, size := now.inputs, now.targets, now.inputs.Size
	part := from > 0 || to < size
	drop := nn.NewRNG(m.Config.Train.Seed, streamDrop, uint64(now.step), uint64(f.group.place(from)))
	if g := f.group; g != nil && f.lanes == 0 {
		drop = nn.NewRNG(m.Config.Train.Seed, streamDrop, uint64(now.step), 0).Part(g.first, g.of-g.first-size)
	}
	if part {
		b, targets = b.Slice(from, to), targets.Slice(from, to, size)
	}
	preds, err := m.Forward(t, b, &drop)
	if err != nil {
		return nil, nil, err
	}
	losses, err = m.PartLosses(t, preds, targets, &now.whole)
	if err != nil {
		return nil, nil, err
	}
	if x := now.blended; x != nil {
		second, err := m.PartLosses(t, preds, now.others.Slice(from, to, size), &now.whole)
		if err != nil {
			return nil, nil, err
		}
		for i := range losses {
			own, other := []float32{float32(x.share)}, []float32{float32(1 - x.share)}
			losses[i] = tensor.Sum(t, tensor.Mul(t, losses[i], own), tensor.Mul(t, second[i], other))
		}
	}
	return multimae.Total(t, losses, m.Config.Outputs.LossWeights()...), losses, nil
}

// Replica shares the model's values and the batch.
func (f *Finetuning) Replica() Objective {
	return &Finetuning{Model: f.Model.Replica(), current: f.current, lanes: f.lanes, laneSamples: f.laneSamples, group: f.group}
}

// few returns so many samples that are spread over ds, or all for 0.
func few(ds data.Dataset, n int) data.Dataset {
	if n == 0 || n >= ds.Len() {
		return ds
	}
	return data.Subset(ds, data.Spread(n, ds.Len()))
}

// Evaluate measures the model on all samples held out, a part on each of the ranks: see
// evaluate.Evaluate.
func (f *Finetuning) Evaluate(ctx context.Context, _, val data.Dataset, skipBad bool, pool *tensor.Pool) (*Evaluation, error) {
	part, parts := f.group.part()
	s, err := evaluate.Measure(ctx, f.Model, val, evaluate.Options{SkipBad: skipBad}, part, parts, pool)
	if err = f.group.agree(err); err != nil {
		return nil, err
	}
	if err := f.group.agree(s.Reduce(f.group.sumFloats)); err != nil {
		return nil, err
	}
	r, err := s.Result()
	if err != nil {
		return nil, err
	}
	e := &Evaluation{Samples: r.Samples, Loss: r.Loss}
	for _, o := range r.Outputs {
		e.Metrics = append(e.Metrics, o.Metrics...)
		if main := o.Metrics[0]; main.More {
			e.Criterion -= main.Value
		} else {
			e.Criterion += main.Value
		}
	}
	return e, nil
}

// Picture draws inputs, predictions, truth and errors: see evaluate.Picture.
func (f *Finetuning) Picture(samples []*data.Sample, pool *tensor.Pool) (image.Image, error) {
	return evaluate.Picture(context.Background(), f.Model, samples, evaluate.Options{}, pool)
}
