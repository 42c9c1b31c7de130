package train

import (
	"fmt"
	"os"
	"slices"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn/weights"
)

// Checkpoints returns the steps of which the run in dir has a checkpoint, in ascending order.
func Checkpoints(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var steps []int
	for _, e := range entries {
		if step, ok := checkpointStep(e.Name()); ok {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// LoadCheckpoint returns the model of a run's checkpoint, frozen, for looking at: c is the
// configuration of the run. The checksum is compared, as by Trainer.Restore.
func LoadCheckpoint(c *multimae.Config, path string) (*multimae.Model, error) {
	if err := verify(path); err != nil {
		return nil, err
	}
	f, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := multimae.NewModel(c)
	if err != nil {
		return nil, err
	}
	for _, p := range m.Params.All() {
		name := "model." + p.Name
		if shape, ok := f.Shape(name); !ok || !slices.Equal(shape, p.Shape) {
			return nil, fmt.Errorf("%s: %s has shape %v, want %v; %w", path, name, shape, p.Shape, ErrOtherConfig)
		}
		if err := f.ReadFloat32(name, p.Data); err != nil {
			return nil, err
		}
	}
	m.PositionsChanged()
	m.Params.Freeze()
	return m, nil
}
