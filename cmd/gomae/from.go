package main

import (
	"fmt"
	"strings"

	"github.com/gomae/gomae/multimae"
)

// startFrom returns train.Options.Init for a model that starts from the weights at a path: new
// parameters by the seed, and in their place what the weights have. Without a path it is nil, which
// stands for new parameters. configFile is that of the run if it is resumed, otherwise "".
func (e *env) startFrom(m *multimae.Backbone, from string, seed uint64, configFile string) func() error {
	if from == "" {
		return nil
	}
	return func() error {
		f, err := openWeights(from, "")
		if err != nil {
			remedy := "give another model with -from"
			if configFile != "" {
				remedy = "put the right path into " + quote(configFile)
			}
			return fmt.Errorf("train.from: %w; %s", err, remedy)
		}
		defer f.Close()
		m.Init(seed)
		r, err := m.Transfer(f)
		if err != nil {
			return fmt.Errorf("train.from: %w", err)
		}
		for _, note := range f.Notes() {
			e.logf("%s: %s", quote(from), note)
		}
		for line := range strings.Lines(r.String()) {
			e.logf("%s", strings.TrimSuffix(line, "\n"))
		}
		return nil
	}
}

// modelOf returns the configuration of a model to train from the weights at a path, and what it
// takes for granted.
func modelOf(from string, classes int) (c *multimae.Config, assumed string, err error) {
	f, err := openWeights(from, "")
	if err != nil {
		return nil, "", fmt.Errorf("-from %s: %w", quote(from), err)
	}
	defer f.Close()
	if c, assumed, err = multimae.ConfigFrom(f, classes); err != nil {
		return nil, "", fmt.Errorf("-from: %w; give a configuration with -preset or -config", err)
	}
	return c, assumed, nil
}
