package nn

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomae/gomae/tensor"
)

// Param is a named parameter.
type Param struct {
	*tensor.Tensor
	Fixed bool // not trained, such as a position table

	init   Init
	weight bool // nothing but Linear reads it
}

// Params are the parameters of a model, in the order of its checkpoints.
type Params struct {
	list     []*Param
	index    map[string]*Param
	aliases  []alias
	isAlias  map[string]bool
	deferred bool
	of       *Params // of a Replica: whose values it shares
}

// alias is a second name of a parameter.
type alias struct{ name, of string }

// NewParams returns an empty set.
func NewParams() *Params { return &Params{index: map[string]*Param{}, isAlias: map[string]bool{}} }

// DeferredParams is NewParams for a model that will be loaded. Its parameters have shapes but no
// memory until Load has seen that the file fits them, or until Allocate: a few lines of a hostile
// configuration can describe a model of any size.
func DeferredParams() *Params {
	ps := NewParams()
	ps.deferred = true
	return ps
}

// Replica returns an empty set for a copy of the model: parameters that are added to it share their
// values with those of ps of the same name, but not the gradients. Copies can go forward and back
// at the same time, each on a tape of its own; see LendGrad.
func (ps *Params) Replica() *Params {
	r := NewParams()
	r.of = ps
	return r
}

// Add registers a parameter of zeros under name, which Init will fill. It panics if the name is
// registered already.
func (ps *Params) Add(name string, init Init, shape ...int) *tensor.Tensor {
	if ps.index[name] != nil {
		panic("nn: parameter " + name + " registered twice, want unique names")
	}
	p := &Param{init: init}
	switch {
	case ps.of != nil:
		p.Tensor, p.Fixed = ps.of.index[name].Replica(), ps.of.index[name].Fixed
	case ps.deferred:
		p.Tensor = &tensor.Tensor{Shape: slices.Clone(shape)}
	default:
		p.Tensor = tensor.New(shape...)
	}
	p.Name = name
	ps.list = append(ps.list, p)
	ps.index[name] = p
	return p.Tensor
}

// Allocate gives memory to the parameters of DeferredParams: zeros.
func (ps *Params) Allocate() {
	for _, p := range ps.list {
		if p.Data == nil {
			p.Data = tensor.New(p.Shape...).Data
		}
	}
}

// AddWeight registers a parameter that nothing but tensor.Linear reads.
func (ps *Params) AddWeight(name string, init Init, shape ...int) *tensor.Tensor {
	x := ps.Add(name, init, shape...)
	ps.index[name].weight = true
	return x
}

// AddFixed registers a parameter that is stored but not trained.
func (ps *Params) AddFixed(name string, init Init, shape ...int) *tensor.Tensor {
	x := ps.Add(name, init, shape...)
	ps.index[name].Fixed = true
	return x
}

// Fix marks parameters as not trained, by name.
func (ps *Params) Fix(which func(name string) bool) {
	for _, p := range ps.list {
		p.Fixed = p.Fixed || which(p.Name)
	}
}

// Alias gives the parameter of the name of a second name. Checkpoints hold it under both; Load
// reads it under the first.
func (ps *Params) Alias(name, of string) {
	ps.aliases = append(ps.aliases, alias{name, of})
	ps.isAlias[name] = true
}

// All returns the parameters in order. The slice must not be changed.
func (ps *Params) All() []*Param { return ps.list }

// Get returns the parameter of that name, or nil.
func (ps *Params) Get(name string) *Param { return ps.index[name] }

// Has reports whether a parameter has that name or that second name.
func (ps *Params) Has(name string) bool { return ps.index[name] != nil || ps.isAlias[name] }

// Count returns the number of trained values.
func (ps *Params) Count() int {
	n := 0
	for _, p := range ps.list {
		if !p.Fixed {
			n += product(p.Shape)
		}
	}
	return n
}

// Init gives every parameter its initial values. They depend only on the seed and on the
// parameter's name, not on what else the model has.
func (ps *Params) Init(seed uint64) {
	ps.mustChange("Init")
	for _, p := range ps.list {
		r := NewRNG(seed, Hash(p.Name))
		p.init(&r, p.Data)
	}
}

// EnableGrad gives all trained parameters a gradient, for training.
func (ps *Params) EnableGrad() {
	for _, p := range ps.list {
		if !p.Fixed {
			p.WithGrad()
		}
	}
}

// LendGrad lets all trained parameters, those of a Replica, get gradients in memory of the tape, to
// be added to those of the original: see tensor.Tensor.LendGrad.
func (ps *Params) LendGrad() {
	for _, p := range ps.list {
		if !p.Fixed {
			p.Tensor.LendGrad(ps.of.index[p.Name].Tensor)
		}
	}
}

// ZeroGrad makes all gradients start from zero in the tape's next Backward: see
// tensor.Tape.ZeroGrad.
func (ps *Params) ZeroGrad(t *tensor.Tape) {
	for _, p := range ps.list {
		t.ZeroGrad(p.Tensor)
	}
}

// PackForStep packs all weights of linear layers for passes through ps and its replicas until
// EndStep: see tensor.Tensor.PackForStep.
func (ps *Params) PackForStep(t *tensor.Tape) {
	for _, p := range ps.list {
		if p.weight {
			p.PackForStep(t)
		}
	}
}

// EndStep must be called after PackForStep before the values change.
func (ps *Params) EndStep() {
	for _, p := range ps.list {
		p.EndStep()
	}
}

// Freeze ends training: gradients are dropped, and inference keeps packed copies of the weights. It
// must return before other goroutines use the model; any number may afterwards. See
// tensor.Tensor.Freeze.
func (ps *Params) Freeze() {
	for _, p := range ps.list {
		p.Freeze()
	}
}

// Pack is Freeze for a model that will do nothing but inference. It keeps only the packed form of
// the weights of linear layers, which halves the memory. Then the parameters can no longer be
// saved. Pack must return before other goroutines use the model.
func (ps *Params) Pack(t *tensor.Tape) {
	for _, p := range ps.list {
		if p.weight {
			p.Tensor.Pack(t)
		} else {
			p.Freeze()
		}
	}
}

// mustChange panics after Freeze, for inference would go on with packed copies of the old weights.
func (ps *Params) mustChange(what string) {
	for _, p := range ps.list {
		if p.Frozen() {
			panic("nn: " + what + ", got frozen parameters, want a model of its own")
		}
	}
}

// Backward calls the tape's Backward and returns the Euclidean norm of all gradients together.
func (ps *Params) Backward(t *tensor.Tape, loss *tensor.Tensor) float64 {
	t.Backward(loss)
	return ps.GradNorm(t)
}

// GradNorm returns the Euclidean norm of all gradients together.
func (ps *Params) GradNorm(t *tensor.Tape) float64 {
	total := 0.0
	for _, p := range ps.list {
		total += t.GradSumSq(p.Tensor)
	}
	return math.Sqrt(total)
}

// FirstBadGrad describes the first parameter, in order, whose gradient has a NaN or an infinity; ""
// if none has.
func (ps *Params) FirstBadGrad() string {
	return ps.firstBad("gradient of", func(p *Param) []float32 { return p.Grad })
}

// FirstBad is FirstBadGrad for the values.
func (ps *Params) FirstBad() string {
	return ps.firstBad("parameter", func(p *Param) []float32 { return p.Data })
}

func (ps *Params) firstBad(what string, of func(*Param) []float32) string {
	for _, p := range ps.list {
		if i := tensor.FirstNotFinite(of(p)); i >= 0 {
			return fmt.Sprintf("%s %s, shape %v, element %d is %g", what, p.Name, p.Shape, i, of(p)[i])
		}
	}
	return ""
}

// product is the number of values of a shape.
func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
