package tensor

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/gomae/gomae/asm"
)

// Tape is the memory and the history of one step. One goroutine uses it at a
// time; several tapes may share a pool and, in inference, the parameters.
type Tape struct {
	pool    *Pool
	stop    *atomic.Bool // set when the context of Until ends; nil where there is none
	nodes   []node
	noGrad  bool           // nothing is recorded, as for inference
	values  arena[float32] // activations that the backward pass needs
	buffers freeList       // gradients, and activations where nothing is recorded
	ints    arena[int32]
	shapes  arena[int]
	tensors arena[Tensor]
	live    []*Tensor // results whose memory is from buffers, in order; nil where Done has taken one
	scratch [][]float32
	wide    [][]float64
	zeroed  []*Tensor // leaves that ZeroGrad was called for since Backward
}

// node is one recorded operation.
type node struct {
	op   string
	of   *Tensor // the parameter it is known by, or nil
	out  *Tensor
	back func()
}

// NewTape returns a tape that records operations for a backward pass. A nil
// pool means the calling goroutine alone.
func NewTape(p *Pool) *Tape {
	t := &Tape{
		values:  arena[float32]{min: 1 << 16, unit: cacheLine},
		ints:    arena[int32]{min: 1 << 12, unit: 1},
		shapes:  arena[int]{min: 1 << 8, unit: 1},
		tensors: arena[Tensor]{min: 1 << 6, unit: 1},
	}
	t.WorkOn(p)
	return t
}

// NewInference returns a tape that records nothing and reuses memory as soon
// as Done says so.
func NewInference(p *Pool) *Tape {
	t := NewTape(p)
	t.noGrad = true
	return t
}

// WorkOn gives the tape another pool, or with nil the calling goroutine alone,
// and keeps its memory: a tape can serve callers with pools of their own one
// after another.
func (t *Tape) WorkOn(p *Pool) {
	n := p.Workers()
	t.pool = p
	t.scratch = slices.Grow(t.scratch[:0], n)[:n]
	t.wide = slices.Grow(t.wide[:0], n)[:n]
}

// Until calls f and returns its error, or that of ctx soon after ctx ends,
// within a few milliseconds: an operation in progress is cut short, however
// large, and f does not go on after it. Results, and gradients too, must then be
// thrown away. A context that cannot end costs nothing, any other an atomic
// load for each piece of an operation.
func (t *Tape) Until(ctx context.Context, f func() error) (err error) {
	if ctx.Done() == nil {
		return f()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// A flag for each call: one that is set late must not stop the next.
	stop := new(atomic.Bool)
	t.stop = stop
	off := context.AfterFunc(ctx, func() { stop.Store(true) })
	defer func() {
		off()
		t.stop = nil
		if r := recover(); r != nil {
			if _, ok := r.(stopped); !ok {
				panic(r)
			}
			err = ctx.Err()
		}
	}()
	if err := f(); err != nil {
		return err
	}
	return ctx.Err()
}

// stopped is the panic by which operations leave the function that Until
// called. Without it everything that follows would have to look for results
// that are none, or take memory for them.
type stopped struct{}

// stopping says that nobody wants the results any more.
func (t *Tape) stopping() bool { return t.stop != nil && t.stop.Load() }

// Recording says whether a backward pass can follow.
func (t *Tape) Recording() bool { return !t.noGrad }

// Workers is the number of workers of the tape's pool.
func (t *Tape) Workers() int { return len(t.scratch) }

// New returns a tensor for an operation's result. Its values are undefined:
// the operation writes all of them. It is valid until Reset, or Done.
func (t *Tape) New(shape ...int) *Tensor {
	return t.newOf(shape, -1)
}

// newLike is New of x's shape with another last axis.
func (t *Tape) newLike(x *Tensor, cols int) *Tensor { return t.newOf(x.Shape, cols) }

func (t *Tape) newOf(shape []int, cols int) *Tensor {
	if t.stopping() {
		panic(stopped{}) // large memory takes long to get
	}
	x := &t.tensors.take(1)[0]
	s := t.shapes.take(len(shape))
	copy(s, shape)
	if cols >= 0 {
		s[len(s)-1] = cols
	}
	*x = Tensor{Shape: s}
	if t.noGrad {
		x.Data = t.buffers.take(size(s))
		t.live = append(t.live, x)
	} else {
		x.Data = t.values.take(size(s))
	}
	return x
}

// Done says that x, an operation's result, is not used any more. While
// recording that changes nothing, for the backward pass may need x.
func (t *Tape) Done(x *Tensor) {
	if !t.noGrad || x.Data == nil || x.keep {
		return
	}
	for i := len(t.live) - 1; i >= 0; i-- {
		if t.live[i] == x {
			t.live[i] = nil
			t.buffers.give(x.Data)
			x.Data = nil
			return
		}
	}
}

// Keep says that x, an operation's result, is wanted until Reset, whatever Done
// is told: an output that later operations are done with sooner.
func (t *Tape) Keep(x *Tensor) { x.keep = true }

// View returns x under another shape, sharing data and gradient. x must be an
// operation's result or a constant.
func View(t *Tape, x *Tensor, shape ...int) *Tensor {
	mustBe("View size", size(shape), len(x.Data))
	y := &t.tensors.take(1)[0]
	s := t.shapes.take(len(shape))
	copy(s, shape)
	*y = Tensor{Shape: s, Data: x.Data, base: x}
	if x.base != nil {
		y.base = x.base
	}
	// Where nothing is recorded x may be Done, and y with it: not a result for
	// FirstBad to look at.
	if t.Recording() && t.Record("view", nil, y, x) {
		t.Back(func() { t.PassGrad(x, y) })
	}
	return y
}

// Values returns memory for n numbers that the backward pass of an operation
// needs, valid until Reset and undefined at first.
func (t *Tape) Values(n int) []float32 { return t.values.take(n) }

// Ints returns memory for n indices, valid until Reset and undefined at first.
func (t *Tape) Ints(n int) []int32 { return t.ints.take(n) }

// Record says that an operation, named for error messages together with the
// parameter that it is known by (or nil), computed out from inputs (nil ones
// are left out). It reports whether a backward pass will want its gradients;
// the operation must then call Back.
func (t *Tape) Record(op string, of, out *Tensor, inputs ...*Tensor) bool {
	for _, x := range inputs {
		if x.needsGrad() {
			out.tracked = true
		}
		if x != nil && x.tracked {
			x.uses++
		}
	}
	t.nodes = append(t.nodes, node{op: op, of: of, out: out})
	out.tracked = out.tracked && !t.noGrad
	return out.tracked
}

// Back sets the backward pass of the operation last recorded. It is called
// with the gradient of the output in out.Grad, which it may overwrite, and
// adds to those of the inputs by Grad.
func (t *Tape) Back(f func()) { t.nodes[len(t.nodes)-1].back = f }

// Grad returns where the gradient of an operation's input is to be added, or
// nil if none is wanted. fresh says that nothing has been added yet and that
// the values are undefined: the caller then overwrites all of them.
func (t *Tape) Grad(x *Tensor) (g []float32, fresh bool) {
	if !x.needsGrad() {
		return nil, false
	}
	if x.Grad == nil {
		x.Grad = t.buffers.take(len(x.Data))
		return x.Grad, true
	}
	fresh = x.stale
	x.stale = false
	x.rowSq = x.rowSq[:0]
	return x.Grad, fresh
}

// GradSumSq is the sum of the squares of the gradient of x, a leaf, as Backward
// left it, accumulated in float64; 0 if it has none. What Linear wrote was
// summed then, in the cache: a norm of all gradients need not read them again.
func (t *Tape) GradSumSq(x *Tensor) float64 {
	sums := x.rowSq
	if len(sums) == 0 {
		const span = 1 << 13
		sums = t.scratch64(0, blocks(len(x.Grad), span))
		t.each(len(x.Grad), span, func(_, i, j int) { sums[i/span] = asm.SumSq(x.Grad[i:j]) })
	}
	total := 0.0
	for _, s := range sums {
		total += s
	}
	return total
}

// ZeroGrad makes the gradient of x, a leaf, start from zero in the next
// Backward. Until then its values are undefined: to write zeros that Backward
// only reads to add to them would cost a model its size in memory traffic,
// twice.
func (t *Tape) ZeroGrad(x *Tensor) {
	if x.Grad != nil {
		x.stale = true
		t.zeroed = append(t.zeroed, x)
	}
}

// settle clears the gradients that a backward pass has not reached.
func (t *Tape) settle() {
	for _, x := range t.zeroed {
		if x.stale {
			g, _ := t.Grad(x)
			t.each(len(g), 1<<15, func(_, i, j int) { clear(g[i:j]) })
		}
	}
	clear(t.zeroed)
	t.zeroed = t.zeroed[:0]
}

// PassGrad adds the gradient of out to that of x, of the same size. Where x
// has none yet it is handed over without a copy. So it must be the last that
// a backward pass does with out.Grad.
func (t *Tape) PassGrad(x, out *Tensor) {
	if !x.needsGrad() {
		return
	}
	if x.Grad == nil {
		x.Grad, out.Grad = out.Grad, nil
		return
	}
	g, fresh := t.Grad(x)
	t.each(len(g), 1<<14, func(_, i, j int) {
		if fresh {
			copy(g[i:j], out.Grad[i:j])
		} else {
			asm.Add(g[i:j], g[i:j], out.Grad[i:j])
		}
	})
}

// Backward adds the gradient of loss, a single number, to every tensor it was
// computed from that wants one. It can be called once for a step.
func (t *Tape) Backward(loss *Tensor) {
	mustBe("Backward size of the loss", len(loss.Data), 1)
	if t.noGrad {
		panic("tensor: Backward, got a tape that records nothing, want one of NewTape")
	}
	defer t.settle()
	if !loss.tracked {
		return
	}
	g, _ := t.Grad(loss)
	g[0] = 1
	for i := len(t.nodes) - 1; i >= 0; i-- {
		n := &t.nodes[i]
		if n.back != nil && n.out.Grad != nil {
			n.back()
			// Everything that used the output has been gone back over.
			t.buffers.give(n.out.Grad)
			n.out.Grad = nil
		}
	}
}

// Reset takes back all memory: results of earlier operations must not be used
// any more.
func (t *Tape) Reset() {
	for i := range t.nodes {
		// Left over after a Backward that did not reach it, or never ran.
		if out := t.nodes[i].out; out != nil && out.Grad != nil {
			t.buffers.give(out.Grad)
			out.Grad = nil
		}
	}
	clear(t.nodes)
	t.nodes = t.nodes[:0]
	for _, x := range t.live {
		if x != nil {
			t.buffers.give(x.Data)
			x.Data = nil
		}
	}
	clear(t.live)
	t.live = t.live[:0]
	t.values.reset()
	t.ints.reset()
	t.shapes.reset()
	t.tensors.reset()
}

// Parallel calls f(worker, i) once for each 0 ≤ i < n, on the workers of the
// pool, and returns when all calls have. worker is below Workers(); what calls
// write must not overlap. For results that do not depend on the number of
// workers, what is computed for i must depend on i alone.
func (t *Tape) Parallel(n int, f func(worker, i int)) {
	stop := t.stop
	if stop == nil {
		t.pool.run(n, f)
		return
	}
	t.pool.run(n, func(worker, i int) {
		if runtime.GOARCH == "wasm" {
			runtime.Gosched() // goroutines are not interrupted there, and stop would not be set
		}
		if !stop.Load() {
			f(worker, i)
		}
	})
	if stop.Load() {
		panic(stopped{})
	}
}

// each splits 0..n into spans of the given length and calls f for them in
// parallel.
func (t *Tape) each(n, span int, f func(worker, from, to int)) {
	t.Parallel((n+span-1)/span, func(w, i int) { f(w, i*span, min(n, (i+1)*span)) })
}

// Scratch returns memory for n numbers that belongs to one worker until it
// asks again. Its values are undefined.
func (t *Tape) Scratch(worker, n int) []float32 {
	if cap(t.scratch[worker]) < n {
		t.scratch[worker] = make([]float32, n+n/8)
	}
	return t.scratch[worker][:n]
}

// scratch64 is Scratch for sums that need more digits.
func (t *Tape) scratch64(worker, n int) []float64 {
	if cap(t.wide[worker]) < n {
		t.wide[worker] = make([]float64, n+n/8)
	}
	return t.wide[worker][:n]
}

// FirstBad looks through the results of all operations so far, in order, and
// describes the first that has a NaN or an infinity; "" if there is none.
func (t *Tape) FirstBad() string {
	last := "" // the parameter used last, for operations that have none
	for i := range t.nodes {
		n := &t.nodes[i]
		what := n.op
		if n.of != nil && n.of.Name != "" {
			what += " with " + n.of.Name
			last = " after " + n.of.Name
		} else {
			what += last
		}
		for k, v := range n.out.Data {
			if v-v != 0 { // NaN and infinities only
				return fmt.Sprintf("result of %s, shape %v, element %d is %g", what, n.out.Shape, k, v)
			}
		}
	}
	return ""
}

// Finite says whether x has neither NaN nor infinities.
func Finite(x []float32) bool {
	for len(x) > 0 {
		n := min(len(x), 1<<12)
		if s := asm.SumSq(x[:n]); math.IsNaN(s) || math.IsInf(s, 0) {
			return false
		}
		x = x[n:]
	}
	return true
}
