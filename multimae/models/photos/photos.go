// Package photos carries a small MultiMAE of photographs: colour, depth and semantic maps of 158
// classes, 96×96 pixels in patches of 12×12. A program that imports it carries 6 MB of weights.
// README.md, its model card, says how it was trained and how well it predicts. The preset photos is
// smaller than this model.
//
// The code and the model rooms are BSD-3-Clause. The weights of photos are for non-commercial
// research: see its card.
package photos

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
)

// Name is what commands and pages call the model.
const Name = "photos"

//go:embed README.md config.json model.safetensors examples
var files embed.FS

// Files returns the model folder: config.json, model.safetensors, whose values are stored as
// bfloat16, README.md, and the dataset folder examples.
func Files() fs.FS { return files }

// Load returns the model, frozen and ready to predict. Each call returns a model of its own.
func Load() (*multimae.Model, error) {
	m, err := multimae.Load(files)
	if err != nil {
		return nil, fmt.Errorf("embedded model %s: %w", Name, err)
	}
	return m, nil
}

// Examples returns a few photographs that the model was not trained on, with depth and semantic
// maps by the networks that labelled those of training.
func Examples() (data.Samples, error) {
	c, err := multimae.LoadConfig(files, multimae.ConfigFile)
	if err != nil {
		return nil, err
	}
	list, err := fs.ReadDir(files, "examples/rgb")
	if err != nil {
		return nil, err
	}
	var samples data.Samples
	for _, f := range list {
		s := &data.Sample{Name: strings.TrimSuffix(f.Name(), path.Ext(f.Name())), Maps: map[string]*data.Map{}}
		for _, in := range c.Inputs {
			found, err := fs.Glob(files, "examples/"+in.Name+"/"+s.Name+".*")
			if err != nil || len(found) != 1 {
				return nil, fmt.Errorf("example %s of model %s has %d files of %s, want 1", s.Name, Name, len(found), in.Name)
			}
			b, err := fs.ReadFile(files, found[0])
			if err == nil {
				s.Maps[in.Name], err = data.DecodeImage(b, in)
			}
			if err != nil {
				return nil, fmt.Errorf("%s of model %s: %w", found[0], Name, err)
			}
		}
		samples = append(samples, s)
	}
	return samples, nil
}

// Classes returns the names of classes by modality, in the order of the ids.
func Classes() (map[string][]string, error) {
	b, err := fs.ReadFile(files, "examples/"+data.ClassesFile)
	if err != nil {
		return nil, err
	}
	return data.ParseClassNames(data.ClassesFile+" of model "+Name, b)
}
