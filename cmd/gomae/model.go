package main

import (
	"flag"
	"path/filepath"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/models/rooms"
)

// modelFlag adds -model, whose value openModel takes.
func modelFlag(fs *flag.FlagSet) *string {
	return fs.String("model", "", "use the model in the folder `DIR`, such as the -out of pretrain, instead of the built-in one of rendered rooms")
}

// openModel reads a model folder, or for "" the built-in model, and returns it with a name for
// people.
func openModel(dir string) (*multimae.Model, string, error) {
	if dir == "" {
		m, err := rooms.Load()
		return m, rooms.Name, err
	}
	m, err := loadModel(dir)
	return m, filepath.Base(filepath.Clean(dir)), err
}
