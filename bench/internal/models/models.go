// Package models has the models and batches that the benchmarks and the tools below bench measure.
package models

import (
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
)

// Preset returns the configuration of a preset: tiny with the classes of rendered scenes, the
// others with the 133 classes of the published model.
func Preset(name string) (*multimae.Config, error) {
	classes := 133
	if name == "tiny" {
		classes = len(scenes.Classes)
	}
	return multimae.Preset(name, classes)
}

// New returns a model with random weights, the same at each call.
func New(c *multimae.Config) (*multimae.Model, error) {
	m, err := multimae.NewModel(c)
	if err == nil {
		m.Init(1)
	}
	return m, err
}

// Batch returns n samples of a dataset from the sample first on, beginning again after the last.
func Batch(ds data.Dataset, first, n int, c *multimae.Config) (*multimae.Batch, error) {
	var samples []*data.Sample
	for i := range n {
		s, err := ds.Sample((first + i) % ds.Len())
		if err != nil {
			return nil, err
		}
		samples = append(samples, s)
	}
	return data.Collate(samples, c.Inputs, c.ImageSize)
}
