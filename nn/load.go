package nn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gomae/gomae/nn/weights"
)

// Tensors returns the parameters and, after them, their aliases, to be written by package weights.
// They share the parameters' data. It panics if there is none, as after Pack.
func (ps *Params) Tensors() []weights.Tensor {
	list := make([]weights.Tensor, len(ps.list))
	for i, p := range ps.list {
		if p.Data == nil {
			panic("nn: Tensors, got " + p.Name + ", which has no values after Pack or before Load, want a model with values")
		}
		list[i] = weights.Tensor{Name: p.Name, Shape: p.Shape, Data: p.Data}
	}
	for _, a := range ps.aliases {
		p := ps.index[a.of]
		list = append(list, weights.Tensor{Name: a.name, Shape: p.Shape, Data: p.Data})
	}
	return list
}

// Load reads every parameter from f by its name. Keys and shapes must be exactly those of the
// parameters. Otherwise nothing is read, and the error lists up to 20 keys that are missing,
// unexpected, of another shape or not of floating-point numbers. LoadWith allows differences.
func (ps *Params) Load(f weights.File) error {
	ps.mustChange("Load")
	if _, _, err := ps.match(f, LoadOptions{}); err != nil {
		return err
	}
	ps.Allocate()
	for _, p := range ps.list {
		if err := f.ReadFloat32(p.Name, p.Data); err != nil {
			return err
		}
	}
	return nil
}

// LoadOptions are the differences between a file and the parameters that LoadWith allows. A nil
// function allows none.
type LoadOptions struct {
	// Keep names parameters that keep their values where the file lacks them.
	Keep func(param string) bool
	// Ignore names keys of the file that are not read. If there is a parameter of that name, it is
	// as if the file lacked it.
	Ignore func(key string) bool
	// Adapt returns values of shape want for a parameter that the file has with the shape from, or
	// nil if it cannot.
	Adapt func(name string, from []int, data []float32, want []int) []float32
}

// LoadReport lists the differences that LoadWith allowed.
type LoadReport struct {
	Missing    []string // parameters that kept their values
	Unexpected []string // keys of the file that were ignored
	Adapted    []Adapted
}

// Adapted is a parameter that the file has with another shape.
type Adapted struct {
	Name     string
	From, To []int
}

// LoadWith is Load with differences allowed and reported. Others are an error, as for Load. After
// any error, one of reading included, nothing has changed; that takes memory for a second set of
// the parameters.
func (ps *Params) LoadWith(f weights.File, o LoadOptions) (*LoadReport, error) {
	ps.mustChange("LoadWith")
	report, values, err := ps.match(f, o)
	if err != nil {
		return nil, err
	}
	for _, p := range ps.list {
		if values[p.Name] != nil || slices.Contains(report.Missing, p.Name) {
			continue
		}
		v := make([]float32, product(p.Shape))
		if err := f.ReadFloat32(p.Name, v); err != nil {
			return nil, err
		}
		values[p.Name] = v
	}
	ps.Allocate()
	for _, p := range ps.list {
		copy(p.Data, values[p.Name])
	}
	return report, nil
}

// match compares the file with the parameters and returns the values of those that were adapted.
func (ps *Params) match(f weights.File, o LoadOptions) (*LoadReport, map[string][]float32, error) {
	keep := func(name string) bool { return o.Keep != nil && o.Keep(name) }
	ignore := func(name string) bool { return o.Ignore != nil && o.Ignore(name) }
	report, adapted := new(LoadReport), map[string][]float32{}
	var problems []string
	for _, p := range ps.list {
		shape, ok := f.Shape(p.Name)
		switch dtype := f.DType(p.Name); {
		case (!ok || ignore(p.Name)) && keep(p.Name):
			report.Missing = append(report.Missing, p.Name)
		case !ok || ignore(p.Name):
			problems = append(problems, fmt.Sprintf("missing %s %v", p.Name, p.Shape))
		case !weights.IsFloat(dtype):
			problems = append(problems, fmt.Sprintf("%s has dtype %s, the model wants floating-point numbers", p.Name, dtype))
		case !slices.Equal(shape, p.Shape):
			if o.Adapt != nil {
				data, err := f.Float32(p.Name)
				if err != nil {
					return nil, nil, err
				}
				if v := o.Adapt(p.Name, shape, data, p.Shape); v != nil {
					if len(v) != product(p.Shape) {
						panic(fmt.Sprintf("nn: Adapt of %s, got %d values, want %v", p.Name, len(v), p.Shape))
					}
					adapted[p.Name] = v
					report.Adapted = append(report.Adapted, Adapted{p.Name, shape, slices.Clone(p.Shape)})
					continue
				}
			}
			problems = append(problems, fmt.Sprintf("%s has shape %v, the model wants %v", p.Name, shape, p.Shape))
		}
	}
	for _, name := range f.Names() {
		switch shape, _ := f.Shape(name); {
		case ignore(name):
			report.Unexpected = append(report.Unexpected, name)
		case ps.index[name] == nil && !ps.isAlias[name]:
			problems = append(problems, fmt.Sprintf("unexpected %s %v", weights.Quote(name), shape))
		}
	}
	if n := len(problems); n > 0 {
		const listed = 20
		rest := ""
		if n > listed {
			rest = fmt.Sprintf("\n  … and %d more", n-listed)
			problems = problems[:listed]
		}
		return nil, nil, fmt.Errorf("%s: %d of its tensors and the model's do not match; use the config.json that belongs to the file:\n  %s%s",
			f.Label(), n, strings.Join(problems, "\n  "), rest)
	}
	return report, adapted, nil
}
