// Package rooms carries a small MultiMAE of rendered rooms: colour, depth and semantic maps of 16
// classes, 64×64 pixels in patches of 8×8. A program that imports it carries 6 MB of weights.
// README.md, its model card, says how it was trained and how well it predicts.
package rooms

import (
	"embed"
	"fmt"
	"io/fs"

	"github.com/gomae/gomae/multimae"
)

// Name is what commands and pages call the model.
const Name = "rooms"

//go:embed README.md config.json model.safetensors
var files embed.FS

// Files returns the model folder: config.json, model.safetensors, whose values are stored as
// bfloat16, and README.md.
func Files() fs.FS { return files }

// Load returns the model, frozen and ready to predict. Each call returns a model of its own.
func Load() (*multimae.Model, error) {
	m, err := multimae.Load(files)
	if err != nil {
		return nil, fmt.Errorf("embedded model %s: %w", Name, err)
	}
	return m, nil
}
