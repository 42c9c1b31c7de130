package multimae

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
)

// The files of a model folder.
const (
	ConfigFile  = "config.json"
	WeightsFile = "model.safetensors"
)

// Load reads a model folder: config.json and model.safetensors, or where that
// is not there a PyTorch checkpoint pytorch_model.bin or model.pth. Use
// os.DirFS(dir) for a folder on disk, or an embed.FS. Errors name the file and
// list every key that is missing, unexpected or of another shape.
func Load(fsys fs.FS) (*Model, error) {
	c, err := LoadConfig(fsys, ConfigFile)
	if err != nil {
		return nil, err
	}
	f, err := OpenWeights(fsys)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return LoadTensors(c, f)
}

// leastTensors is a number of tensors that the model has in any case: a few in
// each block, and an embedding for each pair of input and output.
func (c *Config) leastTensors() int {
	n := c.Encoder.Depth + len(c.Inputs)*len(c.Outputs)
	for i := range c.Outputs {
		n += c.Outputs[i].Depth
	}
	return n
}

// LoadDir is Load for a folder on disk, with its path in the errors.
func LoadDir(dir string) (*Model, error) {
	m, err := Load(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("model folder %s: %w", dir, err)
	}
	return m, nil
}

// Save writes a model folder, creating it if need be. Each file appears under
// its name only when complete, so an earlier model survives any error.
func (m *Model) Save(dir string) error { return SaveFolder(dir, m.Params, m.Config.JSON()) }

// SaveFolder is Save for any model: its parameters and its config.json.
func SaveFolder(dir string, ps *nn.Params, config []byte) error {
	if err := atomicfile.MkdirAll(dir); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, WeightsFile), func(w io.Writer) error {
		return weights.WriteSafetensors(w, ps.Tensors(), map[string]string{"format": "pt"})
	}); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, ConfigFile), func(w io.Writer) error {
		_, err := w.Write(config)
		return err
	})
}
