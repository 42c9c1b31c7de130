package data

import (
	"fmt"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
)

// Map is one modality of one sample.
type Map = images.Map

// Sample is one scene before normalisation: colour is 0..1, depth the 16-bit
// value / 2^16 (also 0..1), class maps hold ids.
//
// All maps show the same field of view. They usually have the same size; a map
// of a modality with a stride may also be that much smaller.
type Sample struct {
	Name string // relative name without the extension, such as "scene/000017"
	Maps map[string]*Map
}

// Dataset is a fixed sequence of samples: Sample(i) is the same at every call.
// It is safe for concurrent use. Callers must not write to what Sample
// returns, for a dataset may keep its samples in memory.
type Dataset interface {
	Len() int
	Sample(i int) (*Sample, error) // 0 ≤ i < Len()
}

// Subset is the samples of ds at the given indices.
func Subset(ds Dataset, indices []int) Dataset { return &subset{ds, indices} }

type subset struct {
	ds      Dataset
	indices []int
}

func (s *subset) Len() int                      { return len(s.indices) }
func (s *subset) Sample(i int) (*Sample, error) { return s.ds.Sample(s.indices[i]) }

// checkInputs refuses what no loader could fill.
func checkInputs(inputs []multimae.Input, size int) error {
	if len(inputs) == 0 {
		return fmt.Errorf("data: no input modality given")
	}
	if size < 1 || size > 1<<14 {
		return fmt.Errorf("data: size %d is not within 1..%d", size, 1<<14)
	}
	for i := range inputs {
		m := &inputs[i]
		if m.Stride < 1 || size%m.Stride != 0 {
			return fmt.Errorf("data: size %d is not a multiple of the stride %d of %s", size, m.Stride, m.Name)
		}
		if m.Kind != multimae.KindImage && m.Kind != multimae.KindClasses {
			return fmt.Errorf("data: %s is of kind %q, want %q or %q", m.Name, m.Kind, multimae.KindImage, multimae.KindClasses)
		}
	}
	return nil
}
