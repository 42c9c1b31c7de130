package heads

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/nn/weights"
)

// Load reads a model folder as multimae.Load does. The model is frozen, ready to predict from any
// number of goroutines; see LoadFrom for one to train.
func Load(fsys fs.FS) (*Model, error) {
	m, err := modelfolder.Load(fsys, LoadConfig, LoadFrom)
	if err == nil {
		m.Params.Freeze()
	}
	return m, err
}

// LoadDir is Load for a folder on disk, with its path in the errors. The path of one of its files
// stands for the folder.
func LoadDir(dir string) (*Model, error) {
	dir = modelfolder.Dir(dir)
	m, err := Load(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("model folder %s: %w", dir, err)
	}
	return m, nil
}

// LoadFrom returns the model of a configuration with the weights of a file, which stays open. It is
// as strict as Load, but the model may be trained: freeze its Params to predict alone. The model keeps
// c: do not change it afterwards.
func LoadFrom(c *Config, f weights.File) (*Model, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if err := modelfolder.CheckTensors(f, c.leastTensors()); err != nil {
		return nil, err
	}
	m := deferred(c)
	if err := m.Params.Load(f); err != nil {
		return nil, err
	}
	return m, nil
}

// leastTensors returns a lower bound for the tensors of the model: one in each block, and those of
// DPT's residual units.
func (c *Config) leastTensors() int {
	n := c.Encoder.Depth
	for i := range c.Outputs {
		n += c.Outputs[i].Depth
		if c.Outputs[i].Head == DPT {
			n += unitTensors
		}
	}
	return n
}

// Save writes a model folder, creating it if need be. Each file appears under its name only when it
// is complete, and an error leaves an earlier file as it was. The weights come first: an error after
// them leaves an earlier config.json beside them.
func (m *Model) Save(dir string) error {
	return modelfolder.Save(dir, m.Config.JSON(), m.Params.Tensors())
}
