package multimae

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/internal/sizes"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/vit"
)

// Weights from which no configuration of a MultiMAE can be derived, for errors.Is.
var (
	// ErrEncoderOnly: a model starts from them with Transfer.
	ErrEncoderOnly = errors.New("an encoder without decoders, and so not a whole model")
	// ErrFineTuned: package heads reads them with their configuration.
	ErrFineTuned = errors.New("a fine-tuned model, whose heads only its configuration describes")
)

// ConfigFrom returns the configuration of a model that Transfer can start from a file, with a
// recipe to train it: the configuration that the metadata of the file have, or else what keys and
// shapes show. A file without decoders gets inputs and outputs of the preset "base", whose semantic
// maps have so many classes. assumed says what was taken for granted, "" if nothing was.
func ConfigFrom(f weights.File, classes int) (c *Config, assumed string, err error) {
	own, err := ParseConfig([]byte(f.Metadata()[modelfolder.MetaConfig]))
	if err == nil && own.Train.Steps > 0 {
		own.Case = nil
		return own, "", nil
	}
	if err != nil {
		if own, assumed, err = configFrom(f, classes); err != nil {
			return nil, "", fmt.Errorf("%s: %w", f.Label(), err)
		}
		var other struct{ Encoder vit.Config } // a fine-tuned model's
		if json.Unmarshal([]byte(f.Metadata()[modelfolder.MetaConfig]), &other) == nil && other.Encoder.Dim == own.Encoder.Dim {
			own.Encoder, assumed = other.Encoder, ""
			own.Encoder.DropPath = 0 // is of its recipe
		}
	}
	recipe, err := Preset("base", classes)
	if err != nil {
		return nil, "", err
	}
	found := false
	for _, name := range PresetNames {
		p, err := Preset(name, classes)
		if err == nil && p.Encoder.Dim == own.Encoder.Dim && p.Encoder.Depth == own.Encoder.Depth && (!found || p.PatchSize == own.PatchSize) {
			recipe, found = p, true
		}
	}
	own.Optim, own.Train, own.Case = recipe.Optim, recipe.Train, nil
	own.Train.NumEncodedTokens = 0 // that of the recipe is for other inputs
	own.Train.NumEncodedTokens = own.VisibleTokens()
	return own, assumed, own.Check()
}

// configFrom is ConfigFrom for a file that carries no configuration.
func configFrom(f weights.File, classes int) (c *Config, assumed string, err error) {
	f, _, err = asMultiMAE(f, nil)
	if err != nil {
		return nil, "", err
	}
	if slices.ContainsFunc(f.Names(), func(name string) bool { return strings.HasSuffix(name, ".mask_token") }) {
		c, err = configOf(f, 0, DefaultDecoderHeads)
		if err != nil {
			return nil, "", err
		}
		return c, fmt.Sprintf("%d attention heads in the encoder and %d in each decoder", c.Encoder.Heads, DefaultDecoderHeads), nil
	}
	if c, err = Preset("base", classes); err != nil {
		return nil, "", err
	}
	if err := encoderOf(f, &c.BackboneConfig, 0); err != nil {
		return nil, "", err
	}
	patch, ok := f.Shape(rgbAdapter + "proj.weight")
	table, ok2 := f.Shape(rgbAdapter + "pos_emb")
	if !ok || !ok2 || len(patch) != 4 || len(table) != 4 {
		return nil, "", fmt.Errorf("it has no %s*, and so does not show the size of patches", rgbAdapter)
	}
	c.PatchSize = patch[3]
	if c.ImageSize, ok = sizes.Product(min(table[2], table[3]), c.PatchSize); !ok {
		return nil, "", fmt.Errorf("%spos_emb has shape %v, too many patches of %d pixels", rgbAdapter, table, c.PatchSize)
	}
	c.Input("semseg").Stride = SemanticStride(c.PatchSize)
	for i := range c.Outputs {
		c.Outputs[i].Stride = c.Input(c.Outputs[i].Task).Stride
	}
	return c, fmt.Sprintf("%d attention heads in the encoder", c.Encoder.Heads), nil
}

// SemanticStride is the stride of semantic maps for square patches with a side of so many pixels: that
// of the paper, which makes them 4×4, or 1 where 4 does not divide the side.
func SemanticStride(patchSize int) int {
	if patchSize%4 != 0 {
		return 1
	}
	return patchSize / 4
}

// DefaultDecoderHeads is the number of attention heads of the paper's decoders.
const DefaultDecoderHeads = 8

// ConfigOf derives the configuration of a MultiMAE from the keys and shapes of its weights. What
// these do not show is taken from the paper: task queries, and the loss of an output by its kind
// and channels. heads is the number of attention heads of the encoder, 0 for one for every 64
// channels; decoderHeads is that of the decoders. The modalities with the largest patch have the
// stride 1.
func ConfigOf(f weights.File, heads, decoderHeads int) (*Config, error) {
	c, err := configOf(f, heads, decoderHeads)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot derive a configuration: %w; write a %s", f.Label(), err, ConfigFile)
	}
	return c, nil
}

func configOf(f weights.File, heads, decoderHeads int) (*Config, error) {
	c, err := Preset("base", 133)
	if err != nil {
		return nil, err
	}
	c.Inputs, c.Outputs, c.Optim, c.Train = nil, nil, Optim{}, Train{}
	shape := func(name string, axes int) ([]int, error) { return shapeOf(f, name, axes) }
	// of returns the names after a prefix, in order.
	of := func(prefix string) (list []string) {
		seen := map[string]bool{}
		for _, name := range f.Names() {
			rest, ok := strings.CutPrefix(name, prefix)
			m, _, _ := strings.Cut(rest, ".")
			if ok && !seen[m] && len(list) <= modelfolder.MaxNames { // one more is an error of Check
				list, seen[m] = append(list, m), true
			}
		}
		return list
	}
	for _, name := range f.Names() {
		const most = 1 << 10 // errors below have whole names
		if len(name) > most {
			return nil, fmt.Errorf("%s has a name of %d bytes, want at most %d", weights.Quote(name), len(name), most)
		}
	}
	inputs, outputs := of("input_adapters."), of("output_adapters.")
	switch adapters := fmt.Sprintf("it has %d input_adapters and %d output_adapters", len(inputs), len(outputs)); {
	case len(outputs) == 0 && depthOf(f, "encoder") > 0:
		return nil, fmt.Errorf("%s: it is %w", adapters, ErrEncoderOnly)
	case len(inputs) == 0 || len(outputs) == 0:
		return nil, fmt.Errorf("%s, and a MultiMAE has both; its names begin with %s", adapters, strings.Join(weights.Groups(f.Names(), 8), ", "))
	}
	if err := encoderOf(f, &c.BackboneConfig, heads); err != nil {
		return nil, err
	}
	for _, name := range outputs {
		if out := "output_adapters." + name; !has(f, out+".mask_token") && !has(f, out+".decoder.q.weight") {
			return nil, fmt.Errorf("%s has no mask_token and no decoder: it belongs to %w", out, ErrFineTuned)
		}
	}
	c.PatchSize = 0
	patches := make([]int, len(inputs))
	for i, name := range inputs {
		w, err := shape("input_adapters."+name+".proj.weight", 4)
		if err != nil {
			return nil, err
		}
		in := Input{Name: name, Kind: KindImage, Channels: w[1]}
		if key := "input_adapters." + name + ".class_emb.weight"; has(f, key) {
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
	table, ok := "input_adapters."+inputs[0]+".pos_emb", true
	pos, err := shape(table, 4)
	if err != nil {
		return nil, err
	}
	if pos[2] != pos[3] {
		c.PositionGrid = pos[2:]
	}
	if c.ImageSize, ok = sizes.Product(max(pos[2], pos[3]), c.PatchSize); !ok || c.ImageSize > maxSide {
		return nil, fmt.Errorf("%s has shape %v, too many patches of %d pixels", table, pos, c.PatchSize)
	}
	c.ImageSize = min(pos[2], pos[3]) * c.PatchSize

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
		o := Output{Name: name, Task: name, Loss: LossMSE, Dim: mask[2], Depth: depthOf(f, prefix+".decoder_transformer"), Heads: decoderHeads, UseTaskQueries: true}
		task := c.Input(name)
		if task == nil {
			if o.Task = strings.TrimPrefix(name, "norm_"); c.Input(o.Task) == nil {
				return nil, fmt.Errorf("output %s belongs to none of the inputs, %s", name, strings.Join(inputs, ", "))
			}
			task, o.Loss = c.Input(o.Task), LossNormMSE
		} else if task.Kind == KindClasses {
			o.Loss = LossCrossEntropy
		} else if task.Channels == 1 {
			o.Loss = LossL1
		}
		o.Stride = task.Stride
		p := c.PatchSize / max(1, o.Stride)
		o.Channels = out[0] / p / p
		c.Outputs = append(c.Outputs, o)
	}
	return c, c.Check()
}

// encoderOf derives the configuration of an encoder and its global tokens. heads is 0 for one for
// every 64 channels.
func encoderOf(f weights.File, c *BackboneConfig, heads int) error {
	fc1, err := shapeOf(f, "encoder.0.mlp.fc1.weight", 2)
	if err != nil {
		return err
	}
	e := &c.Encoder
	e.Dim, e.Depth, e.MLPRatio = fc1[1], depthOf(f, "encoder"), fc1[0]/fc1[1]
	e.QKVBias = has(f, "encoder.0.attn.qkv.bias")
	if e.Heads = heads; heads == 0 {
		e.Heads = max(1, e.Dim/64)
	}
	c.NumGlobalTokens = 0
	if has(f, "global_tokens") {
		g, err := shapeOf(f, "global_tokens", 3)
		if err != nil {
			return err
		}
		c.NumGlobalTokens = g[1]
	}
	return nil
}

// shapeOf returns the shape of a tensor, which must have so many axes, none of them empty.
func shapeOf(f weights.File, name string, axes int) ([]int, error) {
	s, ok := f.Shape(name)
	if !ok {
		return nil, fmt.Errorf("it lacks %s", name)
	}
	if n, ok := sizes.Product(s...); len(s) != axes || n == 0 || !ok {
		return nil, fmt.Errorf("%s has shape %v, want %d axes", name, s, axes)
	}
	return s, nil
}

// depthOf returns the number of blocks under a prefix.
func depthOf(f weights.File, prefix string) int {
	n := 0
	for has(f, prefix+"."+strconv.Itoa(n)+".norm1.weight") {
		n++
	}
	return n
}

func has(f weights.File, name string) bool { _, ok := f.Shape(name); return ok }
