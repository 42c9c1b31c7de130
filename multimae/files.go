package multimae

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gomae/gomae/nn"
)

// The files of a model folder.
const (
	ConfigFile  = "config.json"
	WeightsFile = "model.safetensors"
)

// Load reads a model folder: config.json and model.safetensors. Use
// os.DirFS(dir) for a folder on disk, or an embed.FS. Errors name the file and
// list every key that is missing, unexpected or of another shape.
func Load(fsys fs.FS) (*Model, error) {
	c, err := LoadConfig(fsys, ConfigFile)
	if err != nil {
		return nil, err
	}
	f, err := nn.OpenSafetensorsFS(fsys, WeightsFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// A few lines of configuration may describe a model of any size: what the
	// file has bounds the memory.
	have := 0.0
	for _, name := range f.Names() {
		n := 1.0
		shape, _ := f.Shape(name)
		for _, d := range shape {
			n *= float64(d)
		}
		have += n
	}
	if want := c.values(); want > 2*have+1<<20 {
		return nil, fmt.Errorf("%s: describes a model of %.4g values, but %s has %.4g; use the files that belong together", ConfigFile, want, WeightsFile, have)
	}
	m, err := NewModel(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ConfigFile, err)
	}
	if err := m.Params.Load(f); err != nil {
		return nil, err
	}
	m.PositionsChanged()
	return m, nil
}

// values is how many values the parameters of NewModel have.
func (c *Config) values() float64 {
	linear := func(in, out float64, bias bool) float64 {
		if bias {
			in++
		}
		return in * out
	}
	mlp := func(d float64) float64 {
		h := d * float64(c.Encoder.MLPRatio)
		return linear(d, h, true) + linear(h, d, true)
	}
	block := func(d float64) float64 {
		return 4*d + linear(d, 3*d, c.Encoder.QKVBias) + linear(d, d, true) + mlp(d)
	}
	d, grid := float64(c.Encoder.Dim), float64(c.ImageSize/c.PatchSize)
	n := d*float64(c.NumGlobalTokens) + float64(c.Encoder.Depth)*block(d)
	for i := range c.Inputs {
		in := &c.Inputs[i]
		p := float64(c.PatchSize / in.Stride)
		channels := float64(in.Channels)
		if in.Kind == KindClasses {
			channels = float64(in.ClassEmbDim)
			n += float64(in.NumClasses) * channels
		}
		n += d*grid*grid + linear(channels*p*p, d, true)
	}
	for i := range c.Outputs {
		o := &c.Outputs[i]
		d, p := float64(o.Dim), float64(c.PatchSize/o.Stride)
		n += d*(1+grid*grid+float64(len(c.Inputs))) + linear(float64(c.Encoder.Dim), d, true) +
			linear(d, d, c.Encoder.QKVBias) + linear(d, 2*d, c.Encoder.QKVBias) + linear(d, d, true) + 6*d + mlp(d) +
			float64(o.Depth)*block(d) + linear(d, float64(o.Channels)*p*p, true)
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
func (m *Model) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if err := nn.WriteFileAtomic(filepath.Join(dir, WeightsFile), func(w io.Writer) error {
		return nn.WriteSafetensors(w, m.Params.Tensors(), map[string]string{"format": "pt"})
	}); err != nil {
		return err
	}
	return nn.WriteFileAtomic(filepath.Join(dir, ConfigFile), func(w io.Writer) error {
		_, err := w.Write(m.Config.JSON())
		return err
	})
}
