package train

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"

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
	number    int
	params    []*nn.Param            // what is trained
	at        map[*tensor.Tensor]int // of params
	complete  []int                  // of params: those whose gradient waits for that of the lane before

	loss   float64
	losses []float64 // of each output: NaN without a target
	bad    string    // the first tensor that went bad, where loss is not finite
	err    error
}

// makeLanes makes the lanes, unless they are there.
func (tr *Trainer) makeLanes(plan *Plan) {
	n := plan.Lanes
	if n == len(tr.lanes) {
		return
	}
	tr.lanes = nil
	for i := range n {
		l := &lane{objective: tr.Objective, number: i, at: map[*tensor.Tensor]int{}, losses: make([]float64, len(plan.Outputs))}
		if i > 0 { // the first lane works on the gradients to which the others are added
			l.objective = tr.Objective.Replica()
			l.objective.Backbone().Params.LendGrad()
		}
		for _, p := range l.objective.Backbone().Params.All() {
			if !p.Fixed {
				l.at[p.Tensor] = len(l.params)
				l.params = append(l.params, p)
			}
		}
		tr.lanes = append(tr.lanes, l)
	}
	tapes := min(n, tr.tape.Workers()) // as many lanes as can be in work at once
	tr.laneTapes = make(chan *tensor.Tape, tapes)
	for range tapes {
		tr.laneTapes <- tensor.NewTape(nil)
	}
}

// relay adds up the gradients of lanes, those of a parameter in the order of lanes: each as soon as
// it is complete, while it is in the cache, unless a lane before is not there yet. So a lane has
// memory for a few gradients only, which it uses again and again, or none at all where the product
// that computes a gradient adds it: see tensor.Tape.OnTurn.
type relay struct {
	turn  []atomic.Int32  // of each parameter: the lane whose gradient is next
	ended []chan struct{} // of each lane: closed when it has added all it has
}

func (r *relay) begin(lanes []*lane) {
	if n := len(lanes[0].params); n != len(r.turn) {
		r.turn = make([]atomic.Int32, n)
	}
	for i := range r.turn {
		r.turn[i].Store(0)
	}
	r.ended = r.ended[:0]
	for range lanes {
		r.ended = append(r.ended, make(chan struct{}))
	}
}

// isTurn reports whether this lane's gradient of parameter k is the next to be added.
func (r *relay) isTurn(l *lane, k int) bool { return r.turn[k].Load() == int32(l.number) }

// add adds the gradient of parameter k, if it is this lane's turn.
func (r *relay) add(t *tensor.Tape, l *lane, k int) bool {
	if !r.isTurn(l, k) {
		return false
	}
	if l.number > 0 {
		t.MoveGrad(l.params[k].Tensor, l.number == len(r.ended)-1)
	}
	r.turn[k].Add(1)
	return true
}

// completed says that the gradient of a parameter will not change any more.
func (r *relay) completed(t *tensor.Tape, l *lane, leaf *tensor.Tensor) {
	k, ok := l.at[leaf]
	if !ok || l.number == 0 && !leaf.HasGrad() { // Backward will write zeros there
		return
	}
	l.complete = append(l.complete, k)
	l.complete = slices.DeleteFunc(l.complete, func(k int) bool { return r.add(t, l, k) })
}

// end adds what is left when the lane before has done so. A lane begins after those before it.
func (r *relay) end(t *tensor.Tape, l *lane) {
	l.complete = l.complete[:0]
	if l.number > 0 {
		<-r.ended[l.number-1]
	}
	for k := range r.turn {
		r.add(t, l, k)
	}
	close(r.ended[l.number])
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
	tr.relay.begin(lanes)
	var begun atomic.Int32 // a lane waits for those before it, so they begin in order
	t.Parallel(len(lanes)+1, func(int, int) {
		i := int(begun.Add(1) - 1)
		if i == len(lanes) {
			tr.idle()
			return
		}
		tape := <-tr.laneTapes // a lane leaves nothing on it
		lanes[i].pass(tape, &tr.relay, bounds[i], bounds[i+1], plan.LaneSamples)
		tr.laneTapes <- tape
	})
	params.EndStep()
	g.losses = make([]float64, len(plan.Outputs))
	for _, l := range lanes {
		if l.err != nil {
			return g, l.err
		}
		g.loss += l.loss
		for k, v := range l.losses {
			g.losses[k] += v
		}
	}
	if tr.group != nil {
		tr.exchange.begin()
		return g, tr.sumOverRanks(b, &g)
	}
	if !finite(g.loss) {
		return g, tr.diverged(b, fmt.Sprintf("the loss is %g", g.loss))
	}
	if g.norm = params.GradNorm(t); !finite(g.norm) {
		return g, tr.diverged(b, fmt.Sprintf("the norm of the gradient is %g", g.norm))
	}
	return g, nil
}

// pass takes samples from..to of the batch forward and back, so many at a time. It stops at a loss
// that is not finite.
func (l *lane) pass(t *tensor.Tape, r *relay, from, to, atATime int) {
	defer func() {
		t.OnComplete(nil)
		t.OnTurn(nil)
		t.Reset() // so that no other lane's work touches what this one has read
		r.end(t, l)
	}()
	l.loss, l.bad, l.err = 0, "", nil
	clear(l.losses)
	if l.number == 0 {
		l.objective.Backbone().Params.ZeroGrad(t)
	}
	for first := from; first < to; first += atATime {
		t.Reset()
		if first+atATime >= to {
			t.OnComplete(func(leaf *tensor.Tensor) { r.completed(t, l, leaf) })
			t.OnTurn(func(leaf *tensor.Tensor) bool { return r.isTurn(l, l.at[leaf]) })
		}
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
