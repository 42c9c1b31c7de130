package train

import (
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
)

// average is a running average of a model's trained parameters, with which fine-tuned models are
// often better than with the last ones. A nil average does nothing.
type average struct {
	keep   float64
	params []*nn.Param
	values [][]float32
}

func newAverage(ps *nn.Params, keep float64) *average {
	a := &average{keep: keep}
	for _, p := range ps.All() {
		if !p.Fixed {
			a.params = append(a.params, p)
			a.values = append(a.values, make([]float32, len(p.Data)))
		}
	}
	return a
}

// start makes the average of no steps the parameters as they are. After a step it does nothing.
func (a *average) start(steps int) {
	if a == nil || steps > 0 {
		return
	}
	for i, p := range a.params {
		copy(a.values[i], p.Data)
	}
}

// add takes the parameters after step number step in. The average keeps at most (1+step)/(10+step)
// of itself, so that it soon forgets where the run began.
func (a *average) add(step int) {
	if a == nil {
		return
	}
	keep := min(a.keep, float64(1+step)/float64(10+step))
	for i, p := range a.params {
		v := a.values[i]
		for k, x := range p.Data {
			v[k] += float32(1-keep) * (x - v[k])
		}
	}
}

// during calls f while the model has the average for its parameters.
func (a *average) during(f func() error) error {
	a.swap()
	defer a.swap()
	return f()
}

func (a *average) swap() {
	if a == nil {
		return
	}
	for i, p := range a.params {
		v := a.values[i]
		for k, x := range p.Data {
			p.Data[k], v[k] = v[k], x
		}
	}
}

// tensors lists the average under the keys of a checkpoint.
func (a *average) tensors() (list []weights.Tensor) {
	if a == nil {
		return nil
	}
	for i, p := range a.params {
		list = append(list, weights.Tensor{Name: "average." + p.Name, Shape: p.Shape, Data: a.values[i]})
	}
	return list
}
