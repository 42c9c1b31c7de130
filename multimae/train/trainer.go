package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Trainer optimises a model by AdamW with warm-up and cosine decay.
//
// Every random number depends only on the seed of the configuration and the number of the step, so
// that a trainer that was restored goes on as if it had never stopped.
type Trainer struct {
	Objective Objective
	// Data tells the data apart from others, as data.Fingerprint does; checkpoints keep it.
	Data string
	// Idle, unless it is nil, is called once in each step: as soon as a worker has nothing left to do,
	// if lanes share out the step, and otherwise at its beginning. It is the time to prepare the next
	// batch, and must return at once.
	Idle func()

	restored  string // Data in the checkpoint that Restore read
	step      int    // steps done
	opt       *nn.AdamW
	schedule  nn.Schedule
	tape      *tensor.Tape
	average   *average          // nil without Plan.EMA
	group     *group            // nil if this process trains alone
	exchange  *exchange         // of the group
	lanes     []*lane           // none for models whose operations are shared out
	relay     relay             // of their gradients
	laneTapes chan *tensor.Tape // idle
}

// Metrics are the figures of one step.
type Metrics struct {
	Step        int       // counted from 1
	Loss        float64   // the total that was minimised
	Losses      []float64 // of each output, in the order of Plan.Outputs; NaN if the batch has no target
	LR          float64
	WeightDecay float64
	GradNorm    float64 // of the model's parameters, before clipping
	Skipped     bool    // the norm was above train.skip_grad, so nothing was changed
	// With several ranks, how many seconds the gradients were being summed, and how many of them this
	// rank only waited for that.
	Sum, SumWait float64
}

// NewTrainer returns a trainer. pool may be nil. The model must not be used elsewhere during a
// step.
func NewTrainer(o Objective, pool *tensor.Pool) (*Trainer, error) {
	plan := o.Plan()
	if plan.Recipe.Steps < 1 || !(plan.Optim.LR > 0) {
		return nil, errors.New("train, optim: the configuration does not say how to train; start from a preset")
	}
	if err := o.CheckMemory(pool.Workers()); err != nil {
		return nil, err
	}
	tr := &Trainer{Objective: o, tape: tensor.NewTape(pool)}
	for _, ps := range tr.params() {
		ps.EnableGrad()
	}
	betas := plan.Optim.Betas
	tr.opt = nn.NewAdamW(betas[0], betas[1], plan.Optim.Eps, tr.params()...)
	if plan.Scales != nil {
		for _, p := range tr.opt.Params() {
			lr, decay := plan.Scales(p)
			tr.opt.LRScale, tr.opt.DecayScale = append(tr.opt.LRScale, lr), append(tr.opt.DecayScale, decay)
		}
	}
	if plan.EMA > 0 {
		tr.average = newAverage(o.Backbone().Params, plan.EMA)
	}
	tr.schedule = nn.Schedule{Base: plan.Optim.LR, Warmup: plan.Recipe.WarmupSteps, Steps: plan.Recipe.Steps}
	return tr, nil
}

// Join makes the trainer one of several that take every step together, with equal parameters and the
// same configuration. Step then takes a part of the batch: it returns the place of the first sample
// that is this rank's, and how many are. Call it once, before the first step.
func (tr *Trainer) Join(ctx context.Context, ranks Ranks) (first, count int, err error) {
	return tr.join(newGroup(ctx, ranks))
}

func (tr *Trainer) join(g *group) (first, count int, err error) {
	plan := tr.Objective.Plan()
	if first, count, err = g.divide(&plan); err != nil || g == nil {
		return first, count, err
	}
	tr.group, tr.exchange = g, newExchange(g, tr.params())
	return first, count, tr.Objective.join(g)
}

// params returns all that is trained: the model's parameters first.
func (tr *Trainer) params() []*nn.Params {
	sets := []*nn.Params{tr.Objective.Backbone().Params}
	if extra := tr.Objective.Extra(); extra != nil {
		sets = append(sets, extra)
	}
	return sets
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
	plan := tr.Objective.Plan()
	tr.tape.Reset()
	tr.average.start(tr.step)
	if err := tr.Objective.Begin(b, tr.step); err != nil {
		return nil, err
	}
	var pass gradients
	var err error
	if tr.makeLanes(&plan); len(tr.lanes) > 0 && (tr.group != nil || b.Size >= len(tr.lanes)) {
		pass, err = tr.sharedByLanes(b)
	} else {
		pass, err = tr.sharedByOperations(b)
	}
	if err != nil {
		return nil, err
	}
	x := &Metrics{
		Step: tr.step + 1, Loss: pass.loss, Losses: pass.losses, LR: tr.schedule.At(tr.step),
		WeightDecay: plan.Optim.WeightDecay, GradNorm: pass.norm,
	}
	if tr.exchange != nil {
		x.Sum, x.SumWait = tr.exchange.busy.Seconds(), tr.exchange.waited.Seconds()
	}
	if limit := plan.Recipe.SkipGrad; limit > 0 && x.GradNorm > limit {
		x.Skipped = true
	} else {
		tr.opt.Step(tr.tape, x.LR, x.WeightDecay, nn.ClipScale(x.GradNorm, plan.Recipe.ClipGrad))
		tr.average.add(tr.step)
	}
	tr.step++
	return x, nil
}

func (tr *Trainer) idle() {
	if tr.Idle != nil {
		tr.Idle()
	}
}

// gradients is what a pass through the model gives beside the gradients themselves.
type gradients struct {
	loss   float64   // the total
	losses []float64 // as in Metrics
	norm   float64
}

// sharedByOperations goes forward and back with the whole batch, each operation on all workers.
func (tr *Trainer) sharedByOperations(b *multimae.Batch) (g gradients, err error) {
	tr.idle()
	for _, ps := range tr.params() {
		ps.ZeroGrad(tr.tape)
	}
	if tr.exchange != nil {
		tr.tape.OnComplete(tr.exchange.complete)
	}
	total, losses, err := tr.Objective.Losses(tr.tape, 0, b.Size)
	if err != nil {
		return g, err
	}
	g.loss = float64(total.Data[0])
	for _, l := range losses {
		v := math.NaN()
		if l != nil {
			v = float64(l.Data[0])
		}
		g.losses = append(g.losses, v)
	}
	if tr.group != nil {
		tr.exchange.begin()
		tr.tape.Backward(total)
		return g, tr.sumOverRanks(b, &g)
	}
	if !finite(g.loss) {
		return g, tr.diverged(b, fmt.Sprintf("the loss is %g", g.loss))
	}
	if g.norm = tr.Objective.Backbone().Params.Backward(tr.tape, total); !finite(g.norm) {
		return g, tr.diverged(b, fmt.Sprintf("the norm of the gradient is %g", g.norm))
	}
	return g, nil
}

// sumOverRanks makes the gradients and losses of this rank those of all.
func (tr *Trainer) sumOverRanks(b *multimae.Batch, g *gradients) error {
	if err := tr.exchange.end(tr.tape); err != nil {
		return err
	}
	sums := append([]float64{g.loss}, g.losses...)
	if err := tr.group.sumFloats(sums); err != nil {
		return err
	}
	own := g.loss
	g.loss, g.losses = sums[0], sums[1:]
	g.norm = tr.Objective.Backbone().Params.GradNorm(tr.tape)
	what := ""
	switch {
	case !finite(g.loss):
		what = fmt.Sprintf("the loss is %g", g.loss)
	case !finite(g.norm):
		what = fmt.Sprintf("the norm of the gradient is %g", g.norm)
	default:
		return nil
	}
	return tr.divergedTogether(b, what, finite(own))
}

// divergedTogether is diverged for a group: it takes the finding of the first rank whose own loss went
// bad, or else of rank 0.
func (tr *Trainer) divergedTogether(b *multimae.Batch, what string, innocent bool) error {
	err := tr.diverged(b, what)
	guilty := byte(1)
	if innocent {
		guilty = 0
	}
	all, e := tr.group.gather(append([]byte{guilty}, err.First...))
	if e != nil {
		return e
	}
	from := max(0, slices.IndexFunc(all, func(finding []byte) bool { return finding[0] > 0 }))
	err.First = string(all[from][1:])
	return err
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// diverged looks for the first bad tensor in the order in which a step computes: parameters, batch,
// results, gradients.
func (tr *Trainer) diverged(b *multimae.Batch, what string) *DivergedError {
	first := ""
	look := func(find func() string) {
		if first == "" {
			first = find()
		}
	}
	for _, ps := range tr.params() {
		look(ps.FirstBad)
	}
	for _, in := range tr.Objective.Plan().Inputs {
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
	for _, ps := range tr.params() {
		look(ps.FirstBadGrad)
	}
	look(func() string { return "no tensor: a sum over several overflows" })
	return &DivergedError{tr.step + 1, what, first}
}
