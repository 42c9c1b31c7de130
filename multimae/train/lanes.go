package train

import (
	"fmt"
	"math"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Small models spend more on sharing out each operation, and on activations that move between cores
// and out of the cache, than on arithmetic. There a step is shared out by samples instead: each
// lane takes its samples, a few at a time, forward and back through a copy of the model on one
// worker, and only the gradients meet. How many lanes there are (see multimae.Config.Lanes), and
// which samples each has, follows from the configuration alone, and their gradients are added up in
// order: so the bits are the same for any number of workers.

// lane is a copy of the objective, which shares its parameters, with gradients of its own.
type lane struct {
	objective Objective
	loss      float64
	losses    []float64 // of each output: NaN without a target
	bad       string    // the first tensor that went bad, where loss is not finite
	err       error
}

// makeLanes makes the lanes, unless they are there.
func (tr *Trainer) makeLanes(plan *Plan) {
	n := plan.Lanes
	if n == len(tr.lanes) {
		return
	}
	tr.lanes = nil
	for i := range n {
		o := tr.Objective // the first lane works on the gradients to which the others are added
		if i > 0 {
			o = o.Replica()
			o.Backbone().Params.EnableGrad()
		}
		tr.lanes = append(tr.lanes, &lane{objective: o, losses: make([]float64, len(plan.Outputs))})
	}
	tapes := min(n, tr.tape.Workers()) // as many lanes as can be in work at once
	tr.laneTapes = make(chan *tensor.Tape, tapes)
	for range tapes {
		tr.laneTapes <- tensor.NewTape(nil)
	}
}

// ownLanes returns the lanes that this process computes, and between which samples of its part of the
// batch, of so many, each is. A rank of a group has some of the lanes of the whole batch.
func (tr *Trainer) ownLanes(size int) (lanes []*lane, bounds []int) {
	n, batch, first, last := len(tr.lanes), size, 0, len(tr.lanes)
	if g := tr.group; g != nil {
		rank, ranks := g.ranks.Rank(), g.ranks.Size()
		batch, first, last = g.of, n*rank/ranks, n*(rank+1)/ranks
	}
	for i := first; i <= last; i++ {
		bounds = append(bounds, batch*i/n-batch*first/n)
	}
	return tr.lanes[:last-first], bounds
}

// sharedByLanes goes forward and back with the whole batch, some samples on each worker.
func (tr *Trainer) sharedByLanes(b *multimae.Batch) (g gradients, err error) {
	params, t, plan := tr.Objective.Backbone().Params, tr.tape, tr.Objective.Plan()
	lanes, bounds := tr.ownLanes(b.Size)
	params.PackForStep(t)
	t.Parallel(len(lanes), func(_, i int) {
		tape := <-tr.laneTapes // a lane leaves nothing on it
		lanes[i].pass(tape, bounds[i], bounds[i+1], plan.LaneSamples)
		tr.laneTapes <- tape
	})
	params.EndStep()
	g.losses = make([]float64, len(plan.Outputs))
	var others []*nn.Params
	for i, l := range lanes {
		if l.err != nil {
			return g, l.err
		}
		g.loss += l.loss
		for k, v := range l.losses {
			g.losses[k] += v
		}
		if i > 0 {
			others = append(others, l.objective.Backbone().Params)
		}
	}
	if tr.group != nil {
		tr.exchange.begin()
		params.SumGrads(t, others)
		return g, tr.sumOverRanks(b, &g)
	}
	if !finite(g.loss) {
		return g, tr.diverged(b, fmt.Sprintf("the loss is %g", g.loss))
	}
	if g.norm = params.SumGrads(t, others); !finite(g.norm) {
		return g, tr.diverged(b, fmt.Sprintf("the norm of the gradient is %g", g.norm))
	}
	return g, nil
}

// pass takes samples from..to of the batch forward and back, so many at a time. It stops at a loss
// that is not finite.
func (l *lane) pass(t *tensor.Tape, from, to, atATime int) {
	l.loss, l.bad, l.err = 0, "", nil
	clear(l.losses)
	l.objective.Backbone().Params.ZeroGrad(t)
	for first := from; first < to; first += atATime {
		t.Reset()
		total, losses, err := l.objective.Losses(t, first, min(to, first+atATime))
		if err != nil {
			l.err = err
			return
		}
		for i, x := range losses {
			if x == nil {
				l.losses[i] = math.NaN()
			} else {
				l.losses[i] += float64(x.Data[0])
			}
		}
		if l.loss += float64(total.Data[0]); !finite(l.loss) {
			l.bad = t.FirstBad()
			return
		}
		t.Backward(total)
	}
}
