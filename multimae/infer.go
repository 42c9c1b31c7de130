package multimae

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gomae/gomae/nn/weights"
)

// ConfigOf derives the configuration of a MultiMAE from the keys and shapes of
// its weights. What they do not show is as in the paper: losses, by the kind
// and channels of an output, and task queries. heads is the number of attention
// heads in the encoder, or 0 for one for 64 channels; decoderHeads that in the
// decoders. The largest patch is taken for that of stride 1.
func ConfigOf(f weights.File, heads, decoderHeads int) (*Config, error) {
	c, err := configOf(f, heads, decoderHeads)
	if err != nil {
		return nil, fmt.Errorf("%s: no configuration follows from it: %w; write a %s", f.Label(), err, ConfigFile)
	}
	return c, nil
}

func configOf(f weights.File, heads, decoderHeads int) (*Config, error) {
	c, err := Preset("base", 133)
	if err != nil {
		return nil, err
	}
	c.Inputs, c.Outputs, c.Optim, c.Train = nil, nil, Optim{}, Train{}
	// shape requires a tensor of rank axes that are not empty.
	shape := func(name string, rank int) ([]int, error) {
		s, ok := f.Shape(name)
		if !ok {
			return nil, fmt.Errorf("it lacks %s", name)
		}
		if len(s) != rank || slices.Contains(s, 0) {
			return nil, fmt.Errorf("%s has shape %v, want %d axes", name, s, rank)
		}
		return s, nil
	}
	has := func(name string) bool { _, ok := f.Shape(name); return ok }
	depth := func(prefix string) int {
		n := 0
		for has(prefix + "." + strconv.Itoa(n) + ".norm1.weight") {
			n++
		}
		return n
	}
	var inputs, outputs []string
	for _, name := range f.Names() {
		for prefix, list := range map[string]*[]string{"input_adapters.": &inputs, "output_adapters.": &outputs} {
			if rest, ok := strings.CutPrefix(name, prefix); ok {
				m, _, _ := strings.Cut(rest, ".")
				if !slices.Contains(*list, m) && len(*list) <= 256 {
					*list = append(*list, m) // Check refuses one too many
				}
			}
		}
	}
	if len(inputs) == 0 || len(outputs) == 0 {
		return nil, fmt.Errorf("it has %d input_adapters and %d output_adapters, and a MultiMAE has both", len(inputs), len(outputs))
	}

	fc1, err := shape("encoder.0.mlp.fc1.weight", 2)
	if err != nil {
		return nil, err
	}
	e := &c.Encoder
	e.Dim, e.Depth, e.MLPRatio = fc1[1], depth("encoder"), fc1[0]/fc1[1]
	e.QKVBias = has("encoder.0.attn.qkv.bias")
	if e.Heads = heads; heads == 0 {
		e.Heads = max(1, e.Dim/64)
	}
	c.NumGlobalTokens = 0
	if has("global_tokens") {
		g, err := shape("global_tokens", 3)
		if err != nil {
			return nil, err
		}
		c.NumGlobalTokens = g[1]
	}

	c.PatchSize = 0
	patches := make([]int, len(inputs))
	for i, name := range inputs {
		w, err := shape("input_adapters."+name+".proj.weight", 4)
		if err != nil {
			return nil, err
		}
		in := Input{Name: name, Kind: KindImage, Channels: w[1]}
		if key := "input_adapters." + name + ".class_emb.weight"; has(key) {
			s, err := shape(key, 2)
			if err != nil {
				return nil, err
			}
			in.Kind, in.Channels, in.NumClasses, in.ClassEmbDim = KindClasses, 0, s[0], s[1]
		}
		patches[i] = w[3]
		c.PatchSize = max(c.PatchSize, w[3])
		c.Inputs = append(c.Inputs, in)
	}
	for i := range c.Inputs {
		c.Inputs[i].Stride = c.PatchSize / patches[i]
	}
	pos, err := shape("input_adapters."+inputs[0]+".pos_emb", 4)
	if err != nil {
		return nil, err
	}
	c.ImageSize = pos[3] * c.PatchSize

	for _, name := range outputs {
		prefix := "output_adapters." + name
		mask, err := shape(prefix+".mask_token", 3)
		if err != nil {
			return nil, err
		}
		out, err := shape(prefix+".out_proj.weight", 2)
		if err != nil {
			return nil, err
		}
		o := Output{Name: name, Task: name, Loss: LossMSE, Dim: mask[2], Depth: depth(prefix + ".decoder_transformer"), Heads: decoderHeads, UseTaskQueries: true}
		task := c.Input(name)
		if task == nil {
			if o.Task = strings.TrimPrefix(name, "norm_"); c.Input(o.Task) == nil {
				return nil, fmt.Errorf("output %s is of no input, of which it has %s", name, strings.Join(inputs, ", "))
			}
			task, o.Loss = c.Input(o.Task), LossNormMSE
		} else if task.Kind == KindClasses {
			o.Loss = LossCrossEntropy
		} else if task.Channels == 1 {
			o.Loss = LossL1
		}
		o.Stride = task.Stride
		p := c.PatchSize / max(1, o.Stride)
		o.Channels = out[0] / max(1, p*p)
		c.Outputs = append(c.Outputs, o)
	}
	return c, c.Check()
}
