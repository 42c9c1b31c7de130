package main

import (
	"flag"
	"path/filepath"

	"github.com/gomae/gomae/multimae"
)

// modelFlag adds -model, whose value openModel takes.
func modelFlag(fs *flag.FlagSet) *string {
	return fs.String("model", "", "use the model in the folder `DIR`, such as the -out of pretrain (required)")
}

// openModel reads a model folder and returns the model with a name for people.
func openModel(dir string) (*multimae.Model, string, error) {
	if dir == "" {
		return nil, "", usagef("flag missing: -model DIR: use the model in the folder DIR")
	}
	m, err := loadModel(dir)
	return m, filepath.Base(filepath.Clean(dir)), err
}
