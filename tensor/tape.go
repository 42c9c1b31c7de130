package tensor

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/gomae/gomae/asm"
)

// Tape is the memory and the history of one step. One goroutine uses it at a time; several tapes
// may share a pool and, in inference, the parameters.
type Tape struct {
	pool      *Pool
	stop      *atomic.Bool // set when the context of Until ends; nil where there is none
	recording bool         // a backward pass can follow
	nodes     []node
	zeroed    []*Tensor // leaves that ZeroGrad was called for since Backward
	complete  func(*Tensor)
	turn      func(*Tensor) bool
	firstRead []leafRead // of each leaf, in order, where complete is set

	values     arena[float32] // activations that the backward pass needs
	buffers    freeList       // gradients, and activations where nothing is recorded
	live       []*Tensor      // results whose memory is from buffers, in order
	ints       arena[int32]
	shapes     arena[int]
	tensors    arena[Tensor]
	scratch    [][]float32 // of each worker
	scratch64s [][]float64
	product    *product // the matrix product in work: a training step has hundreds
}

// node is one operation.
type node struct {
	op   string
	of   *Tensor // the first input that has a name, or nil
	out  *Tensor
	back func()
}

// NewTape returns a tape that records operations for a backward pass. A nil pool means the calling
// goroutine alone.
func NewTape(p *Pool) *Tape {
	t := NewInference(p)
	t.recording = true
	return t
}

// NewInference returns a tape that records nothing. It reuses the memory of results as soon as a
// Scope releases them.
func NewInference(p *Pool) *Tape {
	t := &Tape{
		values:  arena[float32]{min: 1 << 16, unit: cacheLine},
		ints:    arena[int32]{min: 1 << 12, unit: 1},
		shapes:  arena[int]{min: 1 << 8, unit: 1},
		tensors: arena[Tensor]{min: 1 << 6, unit: 1},
	}
	t.product = newProduct(t)
	t.WorkOn(p)
	return t
}

// WorkOn gives the tape another pool, or with nil the calling goroutine alone, and keeps its
// memory: a tape can serve callers with pools of their own one after another.
func (t *Tape) WorkOn(p *Pool) {
	n := p.Workers()
	t.pool = p
	t.scratch = slices.Grow(t.scratch[:0], n)[:n]
	t.scratch64s = slices.Grow(t.scratch64s[:0], n)[:n]
}

// Workers returns the number of workers of the tape's pool.
func (t *Tape) Workers() int { return len(t.scratch) }

// New returns a tensor for an operation's result, valid until Reset or until a Scope releases it.
// Its values are undefined: the operation writes all of them.
func (t *Tape) New(shape ...int) *Tensor { return t.newOf(shape, -1) }

// newLike is New of x's shape with another last axis.
func (t *Tape) newLike(x *Tensor, cols int) *Tensor { return t.newOf(x.Shape, cols) }

func (t *Tape) newOf(shape []int, cols int) *Tensor {
	if t.stopping() {
		panic(stopped{}) // large memory takes long to get
	}
	x := t.header(shape)
	if cols >= 0 {
		x.Shape[len(shape)-1] = cols
	}
	n := size(x.Shape)
	if t.recording {
		x.Data = t.values.take(n)
	} else {
		x.Data = t.buffers.take(n)
		t.live = append(t.live, x)
	}
	return x
}

// header returns a tensor without values.
func (t *Tape) header(shape []int) *Tensor {
	x := &t.tensors.take(1)[0]
	*x = Tensor{Shape: t.shapes.take(len(shape))}
	copy(x.Shape, shape)
	return x
}

// View returns x under another shape, sharing data and gradient. x must be an operation's result or
// a constant.
func View(t *Tape, x *Tensor, shape ...int) *Tensor {
	mustBe("View size", size(shape), len(x.Data))
	y := t.header(shape)
	y.Data, y.base = x.Data, x
	if x.base != nil {
		y.base = x.base
	}
	// Where nothing is recorded x may be released, and y with it, which FirstBad must not look at.
	if t.recording && t.Record("view", y, x) {
		t.Back(func() { t.passGrad(x, y) })
	}
	return y
}

// Values returns memory for n numbers that the backward pass of an operation needs, valid until
// Reset and undefined at first.
func (t *Tape) Values(n int) []float32 { return t.values.take(n) }

// Ints returns memory for n indices, valid until Reset and undefined at first.
func (t *Tape) Ints(n int) []int32 { return t.ints.take(n) }

// Record notes that an operation of that name computed out from inputs; nil inputs are left out. It
// reports whether a gradient will flow back through out: the operation must then call Back.
func (t *Tape) Record(op string, out *Tensor, inputs ...*Tensor) bool {
	n := node{op: op, out: out}
	for _, x := range inputs {
		if x == nil {
			continue
		}
		if n.of == nil && x.Name != "" {
			n.of = x
		}
		if t.recording && x.needsGrad() {
			out.tracked = true
			if t.complete != nil && !x.tracked && x.fused.reads == 0 {
				t.firstRead = append(t.firstRead, leafRead{x, len(t.nodes)})
			}
			if t.complete != nil || x.tracked {
				x.fused.reads++
			}
		}
	}
	t.nodes = append(t.nodes, n)
	return out.tracked
}

// Back sets the backward pass of the operation last recorded. It is called when the gradient of the
// operation's result is complete, may overwrite it, and adds to those of the inputs by Grad.
func (t *Tape) Back(f func()) { t.nodes[len(t.nodes)-1].back = f }

// Backward adds the gradient of loss, a single number, to that of every leaf it was computed from.
// It can be called once for a step.
func (t *Tape) Backward(loss *Tensor) {
	mustBe("Backward size of the loss", len(loss.Data), 1)
	if !t.recording {
		panic("tensor: Backward, got a tape that records nothing, want one of NewTape")
	}
	if loss.tracked {
		t.Grad(loss)[0] = 1
	}
	for i := len(t.nodes) - 1; i >= 0; i-- {
		n := &t.nodes[i]
		if n.back != nil && n.out.Grad != nil {
			n.back()
			t.buffers.give(n.out.Grad)
			n.out.Grad = nil
		}
		// Nothing that is still to come has read these leaves.
		for k := len(t.firstRead) - 1; k >= 0 && t.firstRead[k].node == i; k-- {
			x := t.firstRead[k].leaf
			x.fused.reads = 0
			t.firstRead = t.firstRead[:k]
			t.complete(x)
		}
	}
	t.clearUnreached()
}

// OnComplete lets Backward call f with each leaf that the operations recorded from now on read, as
// soon as its gradient is complete: while Backward goes on with earlier operations, the gradient may
// be read. Leaves that nothing reads are left out. nil ends that.
func (t *Tape) OnComplete(f func(leaf *Tensor)) { t.complete = f }

// OnTurn lets Backward, when it is about to compute the gradient of a leaf of LendGrad, ask turn
// whether it may add it to that of the original itself: whether no other tape will do so before f of
// OnComplete has been called with the leaf. nil ends that. It is asked only where that changes no bit.
func (t *Tape) OnTurn(turn func(leaf *Tensor) bool) { t.turn = turn }

// leafRead says which operation was the first to read a leaf.
type leafRead struct {
	leaf *Tensor
	node int
}

// Reset takes back all memory: results of earlier operations must not be used any more.
func (t *Tape) Reset() {
	for i := range t.nodes {
		// Left over after a Backward that was cut short.
		if out := t.nodes[i].out; out.Grad != nil {
			t.buffers.give(out.Grad)
			out.Grad = nil
		}
	}
	for _, r := range t.firstRead {
		r.leaf.fused.reads = 0
	}
	t.firstRead = t.firstRead[:0]
	clear(t.nodes)
	t.nodes = t.nodes[:0]
	Scope{t: t}.Keep(nil)
	t.values.reset()
	t.ints.reset()
	t.shapes.reset()
	t.tensors.reset()
}

// FirstBad looks through the results of all operations so far, in order, and describes the first
// that has a NaN or an infinity; "" if there is none.
func (t *Tape) FirstBad() string {
	last := "" // the parameter used last, for operations that have none
	for i := range t.nodes {
		n := &t.nodes[i]
		what := n.op
		if n.of != nil {
			what += " with " + n.of.Name
			last = " after " + n.of.Name
		} else {
			what += last
		}
		if k := FirstNotFinite(n.out.Data); k >= 0 {
			return fmt.Sprintf("result of %s, shape %v, element %d is %g", what, n.out.Shape, k, n.out.Data[k])
		}
	}
	return ""
}

// FirstNotFinite returns the index of the first NaN or infinity in x, or −1 if there is none.
func FirstNotFinite(x []float32) int {
	const span = 1 << 12
	for from := 0; from < len(x); from += span {
		part := x[from:min(from+span, len(x))]
		// A sum of float32 squares does not overflow in float64.
		if s := asm.SumSq(part); !math.IsNaN(s) && !math.IsInf(s, 0) {
			continue
		}
		for i, v := range part {
			if v-v != 0 { // so with NaN and infinities only
				return from + i
			}
		}
	}
	return -1
}
