package heads

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
)

// LoadConfig reads and checks a config.json. Its errors name the file and the
// key.
func LoadConfig(fsys fs.FS, name string) (*Config, error) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// Load reads a model folder, as multimae.Load does.
func Load(fsys fs.FS) (*Model, error) {
	c, err := LoadConfig(fsys, multimae.ConfigFile)
	if err != nil {
		return nil, err
	}
	f, err := multimae.OpenWeights(fsys)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n := c.Encoder.Depth
	for i := range c.Outputs {
		n += c.Outputs[i].Depth
		if c.Outputs[i].Head == DPT {
			n += dptUnitTensors
		}
	}
	if err := multimae.CheckTensors(f, n); err != nil {
		return nil, err
	}
	m := build(c, nn.DeferredParams())
	if err := m.Params.Load(f); err != nil {
		return nil, err
	}
	m.PositionsChanged()
	return m, nil
}

// LoadDir is Load for a folder on disk, with its path in the errors.
func LoadDir(dir string) (*Model, error) {
	m, err := Load(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("model folder %s: %w", dir, err)
	}
	return m, nil
}

// Save writes a model folder, as multimae.Model.Save does.
func (m *Model) Save(dir string) error { return multimae.SaveFolder(dir, m.Params, m.Config.JSON()) }
