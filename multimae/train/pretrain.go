package train

import (
	"context"
	"fmt"
	"image"
	"slices"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/view"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Pretraining is the objective of the paper: new masks for each step, and the weighted sum of
// multimae.Model.Losses.
type Pretraining struct {
	Model *multimae.Model

	balancer *multimae.Balancer // nil for the plain sum
	current  *maskedBatch       // shared by replicas
	trivial  *Trivial           // of the training data; nil until the first validation
	group    *group             // nil if this process trains alone
}

// maskedBatch is the batch of a step.
type maskedBatch struct {
	step    int
	batch   *multimae.Batch
	masks   multimae.Masks
	samples []int // as multimae.Model.LossSamples returns it; nil if nothing asks for it
}

// NewPretraining returns the objective of a model whose configuration has optim and train.
func NewPretraining(m *multimae.Model) *Pretraining {
	p := &Pretraining{Model: m, current: new(maskedBatch)}
	if m.Config.Train.Weighting == "uncertainty" {
		p.balancer = multimae.NewBalancer(len(m.Config.Outputs))
	}
	return p
}

// Backbone returns the model's.
func (p *Pretraining) Backbone() *multimae.Backbone { return p.Model.Backbone }

// JSON returns the content of the model's config.json.
func (p *Pretraining) JSON() []byte { return p.Model.Config.JSON() }

// CheckMemory is multimae.Config.CheckMemory.
func (p *Pretraining) CheckMemory(workers int) error { return p.Model.Config.CheckMemory(workers) }

// Extra returns the learned weights of the losses, or nil.
func (p *Pretraining) Extra() *nn.Params {
	if p.balancer == nil {
		return nil
	}
	return p.balancer.Params
}

// Plan returns what the configuration says.
func (p *Pretraining) Plan() Plan {
	c := p.Model.Config
	plan := Plan{
		Recipe: &c.Train.Recipe, Optim: &c.Optim, Inputs: c.Inputs, Size: c.ImageSize, Augment: crops(&c.Train.Recipe),
	}
	for _, o := range c.Outputs {
		plan.Outputs = append(plan.Outputs, o.Name)
	}
	plan.Lanes, plan.LaneSamples = c.Lanes()
	return plan
}

func (p *Pretraining) join(g *group) error {
	p.group = g
	return nil
}

// Begin draws the masks of a step.
func (p *Pretraining) Begin(b *multimae.Batch, step int) error {
	m, now := p.Model, p.current
	c := m.Config
	draw := nn.NewRNG(c.Train.Seed, streamMasks, uint64(step))
	if err := p.drawMasks(&draw, b); err != nil {
		return err
	}
	present := m.Present(b)
	if !slices.ContainsFunc(c.Outputs, func(o multimae.Output) bool { return slices.Contains(present, o.Task) }) {
		return fmt.Errorf("batch: none of its modalities %v is one that the model predicts", present)
	}
	now.step, now.batch, now.samples = step, b, nil
	if lanes, _ := c.Lanes(); lanes > 0 || p.group != nil || p.balancer != nil {
		now.samples = m.LossSamples(b, &now.masks)
	}
	return p.group.sumInts(now.samples)
}

// drawMasks draws those of the whole batch that the samples of b have.
func (p *Pretraining) drawMasks(draw *nn.RNG, b *multimae.Batch) error {
	if p.group == nil {
		return p.Model.DrawMasks(&p.current.masks, draw, b, multimae.MaskOptions{})
	}
	if err := p.Model.Check(b); err != nil {
		return err
	}
	visible, err := p.group.least(p.Model.VisibleTokens(b))
	if err != nil {
		return err
	}
	return p.Model.DrawMasks(&p.current.masks, draw, b, multimae.MaskOptions{Visible: visible, Before: p.group.first})
}

// Losses returns those of multimae.Model.ForwardLosses, and their weighted sum.
func (p *Pretraining) Losses(t *tensor.Tape, from, to int) (total *tensor.Tensor, losses []*tensor.Tensor, err error) {
	m, now := p.Model, p.current
	b, masks, samples := now.batch, &now.masks, []int(nil)
	drop := nn.NewRNG(m.Config.Train.Seed, streamDrop, uint64(now.step))
	lanes, _ := m.Config.Lanes()
	if from > 0 || to < b.Size || p.group != nil && lanes > 0 {
		drop = nn.NewRNG(m.Config.Train.Seed, streamDrop, uint64(now.step), uint64(p.group.place(from)))
		b, masks, samples = b.Slice(from, to), masks.Slice(from, to), now.samples
	} else if g := p.group; g != nil {
		drop, samples = drop.Part(g.first, g.of-g.first-b.Size), now.samples
	}
	if losses, err = m.ForwardLosses(t, b, masks, &drop, samples); err != nil {
		return nil, nil, err
	}
	if p.balancer != nil {
		return p.balancer.Total(t, losses, now.samples, p.group.lead()), losses, nil
	}
	return multimae.Total(t, losses, m.Config.Outputs.LossWeights()...), losses, nil
}

// Replica shares the model's values and the batch. Learned weights of losses are not supported.
func (p *Pretraining) Replica() Objective {
	return &Pretraining{Model: p.Model.Replica(), current: p.current, group: p.group}
}

// The numbers of samples that validations use, and that the trivial predictors learn from.
const (
	valSamples     = 256
	trivialSamples = 512
)

// Evaluate compares the model with trivial predictors: see [Evaluate].
func (p *Pretraining) Evaluate(ctx context.Context, train, val data.Dataset, skipBad bool, pool *tensor.Pool) (*Evaluation, error) {
	o := EvaluateOptions{Samples: trivialSamples, Seed: p.Model.Config.Train.Seed, SkipBad: skipBad}
	if p.trivial == nil {
		trivial, err := NewTrivial(ctx, p.Model.Config, train, o, pool.Workers())
		if err = p.group.agree(err); err != nil {
			return nil, err
		}
		p.trivial = trivial
	}
	o.Samples, o.group = valSamples, p.group
	return Evaluate(ctx, p.Model, val, p.trivial, o, pool)
}

// Picture draws reconstructions.
func (p *Pretraining) Picture(samples []*data.Sample, pool *tensor.Pool) (image.Image, error) {
	c := &p.Model.Config.Train
	return view.Reconstructions(p.Model, samples, view.ReconstructOptions{
		Visible: c.NumEncodedTokens, Seed: c.Seed, Single: true,
	}, pool)
}
