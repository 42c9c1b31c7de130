package tensor

import (
	"fmt"
	"slices"
	"sync"

	"github.com/gomae/gomae/asm"
)

// Tensor is a dense row-major array. A leaf, made by New or From, takes part in backward passes if
// it has a Grad, to which they add; without one it is a constant. The gradients of what operations
// return belong to the tape and come and go during Backward.
type Tensor struct {
	Name  string // of a parameter: its key in a checkpoint; may be empty
	Shape []int
	Data  []float32 // as many values as the product of Shape
	Grad  []float32 // nil, or as long as Data

	gradState
	frozen bool    // Data no longer changes: see Freeze
	packed *packed // of a weight of Linear; nil until Freeze, Pack, PackForStep or Replica
	base   *Tensor // of a View: the tensor whose Data it shows
}

// packed is a weight w [n,k] in the order in which matrix products read it.
type packed struct {
	once     sync.Once
	forward  []float32 // wᵀ, for x·wᵀ
	backward []float32 // w, for dy·w; only during a step
	step     bool      // both are of the Data of now, until EndStep
}

// New returns a zeroed tensor outside of any tape, without a gradient.
func New(shape ...int) *Tensor {
	return &Tensor{Shape: slices.Clone(shape), Data: alloc(size(shape))}
}

// From returns a tensor over data, which is not copied.
func From(data []float32, shape ...int) *Tensor {
	mustBe("From len(data)", len(data), size(shape))
	return &Tensor{Shape: slices.Clone(shape), Data: data}
}

// WithGrad gives x a zeroed gradient if it has none, and returns x.
func (x *Tensor) WithGrad() *Tensor {
	if x.frozen {
		panic("tensor: WithGrad of " + x.Name + ", got a frozen tensor, want one that may change")
	}
	if x.Grad == nil {
		x.Grad = alloc(len(x.Data))
	}
	return x
}

// Freeze drops the gradient; Data must not change any more. Linear then keeps a copy of the weight
// that is packed for the machine, so that inference need not pack it at each call. Freeze must return
// before other goroutines use x; any number may afterwards.
func (x *Tensor) Freeze() {
	if !x.frozen {
		x.packed = new(packed)
	}
	x.Grad, x.gradState, x.frozen = nil, gradState{}, true
}

// Pack is Freeze for a weight that only Linear will read, on inference tapes: the packed copy alone
// is kept, and Data is nil. It must return before other goroutines use x.
func (x *Tensor) Pack(t *Tape) {
	x.Freeze()
	x.pack(t)
	x.Data = nil
}

// pack returns the packed copy of a frozen weight of Linear, which it makes once.
func (x *Tensor) pack(t *Tape) []float32 {
	x.packed.once.Do(func() {
		w := x.weight()
		x.packed.forward = alloc(asm.PackedLen(w.cols, w.rows))
		packPanels(t, x.packed.forward, w.transposed())
	})
	return x.packed.forward
}

// weight is x as Linear reads it: [n,k], the axes after the first taken as one.
func (x *Tensor) weight() matrix {
	return rowMajor(x.Data, x.Shape[0], size(x.Shape[1:]))
}

// Replica returns a tensor that shares Data with x but not the gradient, so that several tapes can
// go forward and back through one weight at the same time.
func (x *Tensor) Replica() *Tensor {
	if x.packed == nil {
		x.packed = new(packed)
	}
	return &Tensor{Name: x.Name, Shape: x.Shape, Data: x.Data, frozen: x.frozen, packed: x.packed}
}

// PackForStep packs a weight that nothing but Linear reads, for x and its replicas. Otherwise every
// product packs it anew, which costs much where few rows are multiplied by it. Data must not change
// before EndStep.
func (x *Tensor) PackForStep(t *Tape) {
	w := x.weight()
	if x.packed == nil {
		x.packed = new(packed)
	}
	p := x.packed
	if p.backward == nil {
		p.forward = alloc(asm.PackedLen(w.cols, w.rows))
		p.backward = alloc(asm.PackedLen(w.rows, w.cols))
	}
	packPanels(t, p.forward, w.transposed())
	packPanels(t, p.backward, w)
	p.step = true
}

// EndStep ends what PackForStep began: Data may change.
func (x *Tensor) EndStep() {
	if x.packed != nil {
		x.packed.step = false
	}
}

// forward and backward are the right factors of x·wᵀ and dy·w.
func (x *Tensor) forward(t *Tape) rhs {
	r := rhs{matrix: x.weight().transposed()}
	switch {
	case x.frozen:
		r.panels = x.pack(t)
	case x.packed != nil && x.packed.step:
		r.panels = x.packed.forward
	}
	return r
}

func (x *Tensor) backward() rhs {
	r := rhs{matrix: x.weight()}
	if x.packed != nil && x.packed.step {
		r.panels = x.packed.backward
	}
	return r
}

// Frozen reports whether Freeze was called.
func (x *Tensor) Frozen() bool { return x.frozen }

// Rows is the product of all axes but the last: x as a matrix is Rows() by Cols().
func (x *Tensor) Rows() int {
	if c := x.Cols(); c > 0 {
		return len(x.Data) / c
	}
	return size(x.Shape[:len(x.Shape)-1])
}

// Cols is the length of the last axis.
func (x *Tensor) Cols() int { return x.Shape[len(x.Shape)-1] }

func size(shape []int) int {
	n := 1
	for _, d := range shape {
		if d < 0 {
			panic(fmt.Sprintf("tensor: shape, got %v, want no negative axis", shape))
		}
		n *= d
	}
	return n
}

func mustBe(what string, got, want int) {
	if got != want {
		panic(fmt.Sprintf("tensor: %s, got %d, want %d", what, got, want))
	}
}

func mustShape(what string, x *Tensor, want ...int) {
	if !slices.Equal(x.Shape, want) {
		panic(fmt.Sprintf("tensor: shape of %s, got %v, want %v", what, x.Shape, want))
	}
}
