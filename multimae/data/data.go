package data

import (
	"errors"
	"fmt"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
)

// Map is one modality of one sample.
type Map = images.Map

// Sample is one scene before normalisation, with values as images.Map describes them.
//
// All maps show the same field of view. They usually have the same size; the map of a modality with
// a stride may be smaller by that factor.
type Sample struct {
	Name string // relative name without the extension, such as "scene/000017"
	Maps map[string]*Map
}

// Dataset is a fixed sequence of samples: Sample(i) returns the same sample at every call. It is
// safe for concurrent use. Callers must not write to a sample, because a dataset may keep it in
// memory.
type Dataset interface {
	Len() int
	Sample(i int) (*Sample, error) // 0 ≤ i < Len()
}

// Samples is a Dataset in memory.
type Samples []*Sample

func (s Samples) Len() int                      { return len(s) }
func (s Samples) Sample(i int) (*Sample, error) { return s[i], nil }
func (s Samples) Name(i int) string             { return s[i].Name }

// Subset returns the samples of ds at the given indices as a dataset.
func Subset(ds Dataset, indices []int) Dataset { return &subset{ds, indices} }

type subset struct {
	ds      Dataset
	indices []int
}

func (s *subset) Len() int                      { return len(s.indices) }
func (s *subset) Sample(i int) (*Sample, error) { return s.ds.Sample(s.indices[i]) }

// checkInputs returns an error for modalities or sizes of which no batch can be made.
func checkInputs(inputs []multimae.Input, size int) error {
	if len(inputs) == 0 {
		return errors.New("data: no input modality is given")
	}
	if size < 1 || size > 1<<14 {
		return fmt.Errorf("data: size: got %d pixels, want 1..%d", size, 1<<14)
	}
	for i := range inputs {
		m := &inputs[i]
		if m.Stride < 1 || size%m.Stride != 0 {
			return fmt.Errorf("data: size: got %d pixels, want a multiple of %d, the stride of %s", size, m.Stride, m.Name)
		}
		if m.Kind != multimae.KindImage && m.Kind != multimae.KindClasses {
			return fmt.Errorf("data: %s: got kind %q, want %q or %q", m.Name, m.Kind, multimae.KindImage, multimae.KindClasses)
		}
	}
	return nil
}
