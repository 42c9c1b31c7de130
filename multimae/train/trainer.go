package train

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Trainer optimises a model as its configuration says: masks drawn anew for
// each step, the weighted sum of all losses, AdamW with warm-up and cosine.
//
// Every random number depends on the seed of the configuration and the number
// of the step alone, so a trainer that was restored goes on as if it had never
// stopped.
type Trainer struct {
	Model *multimae.Model

	step     int // steps done
	opt      *nn.AdamW
	balancer *multimae.Balancer // nil: plain sum
	schedule nn.Schedule
	tape     *tensor.Tape
	masks    multimae.Masks
}

// Metrics are the figures of one step.
type Metrics struct {
	Step        int       // counted from 1
	Loss        float64   // the total that was minimised
	Losses      []float64 // by output, as in Config.Outputs; NaN where the batch has no target
	LR          float64
	WeightDecay float64
	GradNorm    float64 // of the model's parameters, before clipping
	Skipped     bool    // the norm was above skip_grad, so nothing was changed
}

// NewTrainer returns a trainer for a model whose configuration has optim and
// train. pool may be nil. The model must not be used elsewhere during a step.
func NewTrainer(m *multimae.Model, pool *tensor.Pool) (*Trainer, error) {
	c := m.Config
	if c.Train.Steps < 1 || !(c.Optim.LR > 0) {
		return nil, fmt.Errorf("train, optim: the configuration does not say how to train; start from multimae.Preset")
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

// Steps is the number of steps done.
func (tr *Trainer) Steps() int { return tr.step }

// The random streams of a run.
var (
	streamMasks = nn.Hash("masks")
	streamDrop  = nn.Hash("drop path")
	streamVal   = nn.Hash("validation masks")
)

// Step trains on one batch. A loss or gradient that is not finite is an error
// that names the first tensor that went bad; the parameters are then as they
// were before the step.
func (tr *Trainer) Step(b *multimae.Batch) (*Metrics, error) {
	m, t, c := tr.Model, tr.tape, &tr.Model.Config.Train
	t.Reset()
	m.Params.ZeroGrad(t)
	nh, nw := m.Config.Grid(b.H, b.W)
	draw := nn.NewRNG(c.Seed, streamMasks, uint64(tr.step))
	present := m.Present(b)
	if err := tr.masks.Draw(&draw, b.Size, present, nh*nw, m.Config.MaskOptions(present)); err != nil {
		return nil, err
	}
	drop := nn.NewRNG(c.Seed, streamDrop, uint64(tr.step))
	preds, err := m.Forward(t, b, &tr.masks, &drop)
	if err != nil {
		return nil, err
	}
	losses, err := m.Losses(t, preds, b, &tr.masks)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(losses, func(l *tensor.Tensor) bool { return l != nil }) {
		return nil, fmt.Errorf("batch: has no modality that the model predicts, got %v", present)
	}
	var total *tensor.Tensor
	if tr.balancer != nil {
		tr.balancer.Params.ZeroGrad(t)
		total = tr.balancer.Total(t, losses)
	} else {
		total = multimae.Total(t, losses)
	}
	x := &Metrics{
		Step: tr.step + 1, Loss: float64(total.Data[0]), LR: tr.schedule.At(tr.step),
		WeightDecay: m.Config.Optim.WeightDecay,
	}
	for _, l := range losses {
		v := math.NaN()
		if l != nil {
			v = float64(l.Data[0])
		}
		x.Losses = append(x.Losses, v)
	}
	if !finite(x.Loss) {
		return nil, tr.diverged(b, fmt.Sprintf("the loss is %g", x.Loss))
	}
	if x.GradNorm = m.Params.Backward(t, total); !finite(x.GradNorm) {
		return nil, tr.diverged(b, fmt.Sprintf("the norm of the gradient is %g", x.GradNorm))
	}
	if x.Skipped = c.SkipGrad > 0 && x.GradNorm > c.SkipGrad; !x.Skipped {
		tr.opt.Step(t, x.LR, x.WeightDecay, nn.ClipScale(x.GradNorm, c.ClipGrad))
	}
	tr.step++
	return x, nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// DivergedError tells where a training step lost its numbers.
type DivergedError struct {
	Step  int    // counted from 1
	What  string // "the loss is NaN"
	First string // the first tensor that went bad, in the order of computation
}

// badInput begins First where the data are to blame.
const badInput = "input "

// inData says whether the data are to blame.
func (e *DivergedError) inData() bool { return strings.HasPrefix(e.First, badInput) }

func (e *DivergedError) Error() string {
	return fmt.Sprintf("step %d: %s; first bad: %s", e.Step, e.What, e.First)
}

// diverged looks for the first bad tensor in the order in which a step
// computes: parameters, batch, results, gradients.
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
	for _, ps := range sets {
		look(ps.FirstBadGrad)
	}
	look(func() string { return "none alone: a sum overflows" })
	return &DivergedError{tr.step + 1, what, first}
}
