package multimae

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/vit"
)

// LoadOptions are the differences between a file of weights and a model that
// LoadWeights allows. Zero is strict.
type LoadOptions struct {
	// EncoderOnly reads encoder.* and global_tokens, ignores all other keys of
	// the file and keeps all other parameters.
	EncoderOnly bool
	// DropOutputs ignores output_adapters.* of the file and keeps those of the
	// model, for new heads on a pre-trained encoder.
	DropOutputs bool
	// DropInputs ignores the adapters of modalities that the model lacks, and
	// keeps those of modalities that the file lacks.
	DropInputs bool
	// ResizePositions resizes position tables to the model's grid: of input
	// adapters bicubically, of decoders bilinearly.
	ResizePositions bool
	// PadClasses lets a class embedding have more classes than the file's;
	// those keep their values.
	PadClasses bool
}

// LoadWeights reads parameters from a file: those of a Model, or of any other
// that has the keys of the published checkpoints. The report says what the
// options made different. An error lists every key that does not fit, and then
// nothing has been changed. Call PositionsChanged after it where a Model has
// run before.
func LoadWeights(ps *nn.Params, f weights.File, o LoadOptions) (*nn.LoadReport, error) {
	hasInput := map[string]bool{} // by adapter's prefix, in the file and in the model
	for _, name := range f.Names() {
		if p := inputPrefix(name); p != "" {
			hasInput["file "+p] = true
		}
	}
	for _, p := range ps.All() {
		if p := inputPrefix(p.Name); p != "" {
			hasInput["model "+p] = true
		}
	}
	dropped := func(name, other string) bool {
		switch p := inputPrefix(name); {
		case o.EncoderOnly && name != "global_tokens" && !strings.HasPrefix(name, "encoder."):
			return true
		case o.DropOutputs && strings.HasPrefix(name, "output_adapters."):
			return true
		case o.DropInputs && p != "" && !hasInput[other+p]:
			return true
		}
		return false
	}
	return ps.LoadWith(f, nn.LoadOptions{
		Keep:   func(param string) bool { return dropped(param, "file ") },
		Ignore: func(key string) bool { return dropped(key, "model ") },
		Adapt: func(name string, from []int, data []float32, want []int) []float32 {
			switch {
			case o.ResizePositions && strings.HasSuffix(name, ".pos_emb"):
				how := vit.Bicubic
				if strings.HasPrefix(name, "output_adapters.") {
					how = vit.Bilinear
				}
				return resizePositions(from, data, want, how)
			case o.PadClasses && strings.HasSuffix(name, ".class_emb.weight") &&
				len(from) == 2 && len(want) == 2 && from[1] == want[1] && from[0] < want[0]:
				return append(data, ps.Get(name).Data[len(data):]...)
			}
			return nil
		},
	})
}

// inputPrefix is "input_adapters.NAME." of a key of an input adapter, else "".
func inputPrefix(key string) string {
	const prefix = "input_adapters."
	if rest, ok := strings.CutPrefix(key, prefix); ok {
		if i := strings.IndexByte(rest, '.'); i >= 0 {
			return key[:len(prefix)+i+1]
		}
	}
	return ""
}

// resizePositions returns a table [1, D, nh, nw] as [1, D, th, tw], or nil
// where the shapes are others.
func resizePositions(from []int, data []float32, want []int, how vit.Resampling) []float32 {
	if len(from) != 4 || len(want) != 4 || from[0] != 1 || want[0] != 1 || from[1] != want[1] || slices.Contains(from, 0) {
		return nil
	}
	dim, n := want[1], want[2]*want[3]
	rows := vit.PositionRows(data, dim, from[2], from[3], want[2], want[3], how)
	table := make([]float32, dim*n)
	for c := range dim {
		for i := range n {
			table[c*n+i] = rows[i*dim+c]
		}
	}
	return table
}

// otherWeights are names that a model folder's weights may have instead.
var otherWeights = []string{"pytorch_model.bin", "model.pth"}

// OpenWeights opens the weights of a model folder: model.safetensors, or where
// that is not there pytorch_model.bin or model.pth.
func OpenWeights(fsys fs.FS) (weights.File, error) {
	f, err := weights.OpenFS(fsys, WeightsFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	for _, name := range otherWeights {
		f, other := weights.OpenFS(fsys, name)
		if !errors.Is(other, fs.ErrNotExist) {
			return f, other
		}
	}
	return nil, fmt.Errorf("%w, nor is there %s", err, strings.Join(otherWeights, " or "))
}

// CheckTensors refuses a file of fewer than least tensors, which its model has
// in any case. A few lines of configuration may describe a model of any size:
// nn.DeferredParams get memory when the file is seen to have them all, and what
// is left to bound is their number.
func CheckTensors(f weights.File, least int) error {
	if have := len(f.Names()); least > have {
		return fmt.Errorf("%s: describes a model of %d tensors or more, but %s has only %d; use the files that belong together", ConfigFile, least, f.Label(), have)
	}
	return nil
}

// LoadFrom returns the model of a configuration with the weights of the size
// bytes behind r, a file of any format that weights.Open knows. It is as
// strict as Load.
func LoadFrom(c *Config, r io.ReaderAt, size int64) (*Model, error) {
	f, err := weights.NewReader(r, size)
	if err != nil {
		return nil, err
	}
	return LoadTensors(c, f)
}

// LoadTensors is LoadFrom for an opened file, which stays open.
func LoadTensors(c *Config, f weights.File) (*Model, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if err := CheckTensors(f, c.leastTensors()); err != nil {
		return nil, err
	}
	m, err := build(c, nn.DeferredParams())
	if err != nil {
		return nil, err
	}
	if err := m.Params.Load(f); err != nil {
		return nil, err
	}
	m.PositionsChanged()
	return m, nil
}
