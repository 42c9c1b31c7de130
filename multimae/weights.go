package multimae

import (
	"slices"
	"strings"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// LoadOptions are the differences between a file of weights and a model that LoadWeights allows.
// The zero value allows none.
type LoadOptions struct {
	// EncoderOnly reads encoder.* and global_tokens, ignores all other keys of the file, and leaves
	// all other parameters as they are.
	EncoderOnly bool
	// DropOutputs ignores output_adapters.* of the file and leaves those of the model as they are,
	// for new heads on a pre-trained encoder.
	DropOutputs bool
	// DropInputs ignores the adapters of modalities that the model lacks, and leaves those of
	// modalities that the file lacks as they are.
	DropInputs bool
	// ResizePositions resizes position tables to the model's grid: those of input adapters
	// bicubically, those of decoders bilinearly.
	ResizePositions bool
	// PadClasses allows a class embedding to have more classes than that of the file. The further
	// ones are left as they are.
	PadClasses bool
}

// LoadWeights reads the parameters of a model from a file with the keys of the published
// checkpoints. A nil o wants exactly those of the model. The report lists the differences that o
// allowed. An error lists every key that does not fit, and then nothing has been changed.
func (m *Backbone) LoadWeights(f weights.File, o *LoadOptions) (*nn.LoadReport, error) {
	if o == nil {
		o = new(LoadOptions)
	}
	ps := m.Params
	inFile, inModel := map[string]bool{}, map[string]bool{} // input adapters
	for _, key := range f.Names() {
		inFile[inputAdapterOf(key)] = true
	}
	for _, p := range ps.All() {
		inModel[inputAdapterOf(p.Name)] = true
	}
	// left reports whether a key may be missing on the other side.
	left := func(key string, other map[string]bool) bool {
		switch adapter := inputAdapterOf(key); {
		case o.EncoderOnly && key != "global_tokens" && !strings.HasPrefix(key, "encoder."):
			return true
		case o.DropOutputs && strings.HasPrefix(key, "output_adapters."):
			return true
		case o.DropInputs && adapter != "" && !other[adapter]:
			return true
		}
		return false
	}
	report, err := ps.LoadWith(f, nn.LoadOptions{
		Keep:   func(param string) bool { return left(param, inFile) },
		Ignore: func(key string) bool { return left(key, inModel) },
		Adapt:  m.adapt(o),
	})
	if err == nil {
		m.PositionsChanged()
	}
	return report, err
}

// adapt returns a function for nn.LoadOptions.Adapt.
func (m *Backbone) adapt(o *LoadOptions) func(name string, from []int, data []float32, want []int) []float32 {
	return func(name string, from []int, data []float32, want []int) []float32 {
		switch {
		case o.ResizePositions && strings.HasSuffix(name, ".pos_emb"):
			how := vit.Bicubic
			if strings.HasPrefix(name, "output_adapters.") {
				how = vit.Bilinear
			}
			return resizePositions(from, data, want, how)
		case o.PadClasses && strings.HasSuffix(name, ".class_emb.weight") &&
			len(from) == 2 && len(want) == 2 && from[1] == want[1] && from[0] < want[0]:
			return append(data, m.Params.Get(name).Data[len(data):]...)
		}
		return nil
	}
}

// inputAdapterOf returns the modality of a key of an input adapter, else "".
func inputAdapterOf(key string) string {
	if rest, ok := strings.CutPrefix(key, "input_adapters."); ok {
		if name, _, ok := strings.Cut(rest, "."); ok {
			return name
		}
	}
	return ""
}

// resizable reports whether resizePositions can make a table of shape want from one of shape from.
func resizable(from, want []int) bool {
	return len(from) == 4 && len(want) == 4 && from[0] == 1 && want[0] == 1 && from[1] == want[1] && !slices.Contains(from, 0)
}

// resizePositions returns a table [1, D, nh, nw] as [1, D, th, tw], or nil for other shapes.
func resizePositions(from []int, data []float32, want []int, how vit.Resampling) []float32 {
	if !resizable(from, want) {
		return nil
	}
	dim, n := want[1], want[2]*want[3]
	rows := vit.PositionRows(tensor.NewInference(nil), data, dim, from[2], from[3], want[2], want[3], how)
	table := make([]float32, dim*n)
	for c := range dim {
		for i := range n {
			table[c*n+i] = rows[i*dim+c]
		}
	}
	return table
}
