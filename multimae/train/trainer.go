package train

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Trainer optimises a model as its configuration says: new masks for each step, the weighted sum of
// all losses, AdamW with warm-up and cosine decay.
//
// Every random number depends only on the seed of the configuration and the number of the step, so
// that a trainer that was restored goes on as if it had never stopped.
type Trainer struct {
	Model *multimae.Model

	step      int // steps done
	opt       *nn.AdamW
	balancer  *multimae.Balancer // nil for the plain sum
	schedule  nn.Schedule
	tape      *tensor.Tape
	masks     multimae.Masks
	lanes     []*lane           // none for models whose operations are shared out
	laneTapes chan *tensor.Tape // idle
}

// Metrics are the figures of one step.
type Metrics struct {
	Step        int       // counted from 1
	Loss        float64   // the total that was minimised
	Losses      []float64 // of each output, in the order of Config.Outputs; NaN if the batch has no target
	LR          float64
	WeightDecay float64
	GradNorm    float64 // of the model's parameters, before clipping
	Skipped     bool    // the norm was above train.skip_grad, so nothing was changed
}

// NewTrainer returns a trainer for a model whose configuration has optim and train. pool may be
// nil. The model must not be used elsewhere during a step.
func NewTrainer(m *multimae.Model, pool *tensor.Pool) (*Trainer, error) {
	c := m.Config
	if c.Train.Steps < 1 || !(c.Optim.LR > 0) {
		return nil, errors.New("train, optim: the configuration does not say how to train; start from a preset")
	}
	if err := c.CheckMemory(pool.Workers()); err != nil {
		return nil, err
	}
	tr := &Trainer{Model: m, tape: tensor.NewTape(pool)}
	sets := []*nn.Params{m.Params}
	if c.Train.Weighting == "uncertainty" {
		tr.balancer = multimae.NewBalancer(len(c.Outputs))
		sets = append(sets, tr.balancer.Params)
	}
	for _, ps := range sets {
		ps.EnableGrad()
	}
	tr.opt = nn.NewAdamW(c.Optim.Betas[0], c.Optim.Betas[1], c.Optim.Eps, sets...)
	tr.schedule = nn.Schedule{Base: c.Optim.LR, Warmup: c.Train.WarmupSteps, Steps: c.Train.Steps}
	return tr, nil
}

// Steps returns the number of steps done.
func (tr *Trainer) Steps() int { return tr.step }

// The random streams of a run.
var (
	streamMasks = nn.Hash("masks")
	streamDrop  = nn.Hash("drop path")
	streamVal   = nn.Hash("validation masks")
)

// Step trains on one batch. If the loss or the gradient is not finite, it returns a *DivergedError
// that names the first tensor that went bad, and the parameters are as they were before the step.
func (tr *Trainer) Step(b *multimae.Batch) (*Metrics, error) {
	m, t, c := tr.Model, tr.tape, &tr.Model.Config.Train
	t.Reset()
	nh, nw := m.Config.Grid(b.H, b.W)
	draw := nn.NewRNG(c.Seed, streamMasks, uint64(tr.step))
	present := m.Present(b)
	if err := tr.masks.Draw(&draw, b.Size, present, nh*nw, m.Config.MaskOptions(present)); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(m.Config.Outputs, func(o multimae.Output) bool { return slices.Contains(present, o.Task) }) {
		return nil, fmt.Errorf("batch: none of its modalities %v is one that the model predicts", present)
	}
	var pass gradients
	var err error
	if tr.makeLanes(); len(tr.lanes) > 0 && b.Size >= len(tr.lanes) {
		pass, err = tr.sharedByLanes(b)
	} else {
		pass, err = tr.sharedByOperations(b)
	}
	if err != nil {
		return nil, err
	}
	x := &Metrics{
		Step: tr.step + 1, Loss: pass.loss, Losses: pass.losses, LR: tr.schedule.At(tr.step),
		WeightDecay: m.Config.Optim.WeightDecay, GradNorm: pass.norm,
	}
	if x.Skipped = c.SkipGrad > 0 && x.GradNorm > c.SkipGrad; !x.Skipped {
		tr.opt.Step(t, x.LR, x.WeightDecay, nn.ClipScale(x.GradNorm, c.ClipGrad))
	}
	tr.step++
	return x, nil
}

// gradients is what a pass through the model gives beside the gradients themselves.
type gradients struct {
	loss   float64   // the total
	losses []float64 // as in Metrics
	norm   float64
}

// sharedByOperations goes forward and back with the whole batch, each operation on all workers.
func (tr *Trainer) sharedByOperations(b *multimae.Batch) (g gradients, err error) {
	m, t := tr.Model, tr.tape
	m.Params.ZeroGrad(t)
	drop := nn.NewRNG(m.Config.Train.Seed, streamDrop, uint64(tr.step))
	preds, err := m.Forward(t, b, &tr.masks, &drop)
	if err != nil {
		return g, err
	}
	losses, err := m.Losses(t, preds, b, &tr.masks)
	if err != nil {
		return g, err
	}
	var total *tensor.Tensor
	if tr.balancer != nil {
		tr.balancer.Params.ZeroGrad(t)
		total = tr.balancer.Total(t, losses)
	} else {
		total = multimae.Total(t, losses)
	}
	g.loss = float64(total.Data[0])
	for _, l := range losses {
		v := math.NaN()
		if l != nil {
			v = float64(l.Data[0])
		}
		g.losses = append(g.losses, v)
	}
	if !finite(g.loss) {
		return g, tr.diverged(b, fmt.Sprintf("the loss is %g", g.loss))
	}
	if g.norm = m.Params.Backward(t, total); !finite(g.norm) {
		return g, tr.diverged(b, fmt.Sprintf("the norm of the gradient is %g", g.norm))
	}
	return g, nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// diverged looks for the first bad tensor in the order in which a step computes: parameters, batch,
// results, gradients.
func (tr *Trainer) diverged(b *multimae.Batch, what string) error {
	sets := []*nn.Params{tr.Model.Params}
	if tr.balancer != nil {
		sets = append(sets, tr.balancer.Params)
	}
	first := ""
	look := func(find func() string) {
		if first == "" {
			first = find()
		}
	}
	for _, ps := range sets {
		look(ps.FirstBad)
	}
	for _, in := range tr.Model.Config.Inputs {
		look(func() string {
			if tensor.FirstNotFinite(b.Images[in.Name]) < 0 {
				return ""
			}
			return badInput + in.Name + " of the batch"
		})
	}
	look(tr.tape.FirstBad)
	for _, l := range tr.lanes {
		look(func() string { return l.bad })
	}
	for _, ps := range sets {
		look(ps.FirstBadGrad)
	}
	look(func() string { return "no tensor: a sum over several overflows" })
	return &DivergedError{tr.step + 1, what, first}
}
