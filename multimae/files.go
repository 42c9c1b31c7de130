package multimae

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
)

// The files of a model folder.
const (
	ConfigFile  = modelfolder.ConfigFile  // config.json
	WeightsFile = modelfolder.WeightsFile // model.safetensors
)

// Load reads a model folder, such as os.DirFS(dir) or an embed.FS: config.json and
// model.safetensors, or where that is missing a PyTorch checkpoint pytorch_model.bin or model.pth.
// Weights in several files have an index, model.safetensors.index.json or
// pytorch_model.bin.index.json.
// The model is frozen, ready to predict from any number of goroutines; see LoadFrom for one to
// train. Errors name the file and list every key that is missing, unexpected or of another shape.
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
	m := build(c, NewBackbone(nn.DeferredParams(), &c.BackboneConfig))
	if err := m.Params.Load(f); err != nil {
		return nil, err
	}
	return m, nil
}

// leastTensors returns a lower bound for the tensors of the model: one in each block, and an
// embedding for each pair of input and output.
func (c *Config) leastTensors() int {
	n := c.Encoder.Depth + len(c.Inputs)*len(c.Outputs)
	for i := range c.Outputs {
		n += c.Outputs[i].Depth
	}
	return n
}

// Save writes a model folder, creating it if need be. Each file appears under its name only when it
// is complete, and an error leaves an earlier file as it was. The weights come first: an error after
// them leaves an earlier config.json beside them.
func (m *Model) Save(dir string) error {
	return modelfolder.Save(dir, m.Config.JSON(), m.Params.Tensors())
}
