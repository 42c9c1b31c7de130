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

	"github.com/gomae/gomae/multimae"
)

// Name is what commands and pages call the model.
const Name = "photos"

//go:embed README.md config.json model.safetensors examples
var files embed.FS

// Files returns the model folder: config.json, model.safetensors, whose values are stored as
// bfloat16, README.md, and the dataset folder examples, which data.Examples reads: a few photographs
// that the model was not trained on, with depth and semantic maps by the networks that labelled
// those of training.
func Files() fs.FS { return files }

// Load returns the model, frozen and ready to predict. Each call returns a model of its own.
func Load() (*multimae.Model, error) {
	m, err := multimae.Load(files)
	if err != nil {
		return nil, fmt.Errorf("embedded model %s: %w", Name, err)
	}
	return m, nil
}
