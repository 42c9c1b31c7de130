package multimae

import (
	"fmt"

	"github.com/gomae/gomae/internal/sysmem"
	"github.com/gomae/gomae/vit"
)

// Footprint estimates the memory that a configuration asks for, in bytes, by what it is for. The
// parts are float64 so that the product of any sizes is a number, however hostile the
// configuration.
type Footprint struct {
	Parameters  float64 // the model itself
	Optimizer   float64 // gradients and the two moments of AdamW
	Activations float64 // of a training step: what the backward pass needs, and its own buffers
	Batches     float64 // the batch in work and those prepared ahead
}

// Total is the sum of the parts.
func (f Footprint) Total() float64 { return f.Parameters + f.Optimizer + f.Activations + f.Batches }

// Footprint estimates the memory of training as configured, with batches prepared ahead by that
// many workers. The Go runtime's own memory and the samples that a dataset keeps are not counted.
// Parts that the configuration leaves out, as a model without a recipe does, count as 0.
func (c *Config) Footprint(workers int) Footprint {
	const float = 4 // bytes
	params := c.parameterCount()
	f := Footprint{Parameters: float * params}
	t := &c.Train
	if t.Batch < 1 {
		return f
	}
	f.Optimizer = 3 * float * params
	if lanes, samples := c.Lanes(); lanes > 0 {
		atOnce := float64(min(lanes, max(workers, 1)))
		f.Optimizer += float * params * (2 + atOnce - 1) // packed weights, and gradients that may wait for those of other lanes
		f.Activations = float * c.activationCount(samples) * atOnce
	} else {
		f.Activations = float * c.activationCount(t.Batch)
	}
	f.Batches = BatchMemory(c.Inputs, c.ImageSize, t.Batch, workers)
	return f
}

// BatchMemory estimates the bytes of the batches that training has at once: a loader has two a
// worker under way, and one is in work.
func BatchMemory(inputs []Input, size, batch, workers int) float64 {
	perSample := 0.0
	for i := range inputs {
		in := &inputs[i]
		side := float64(size / in.Stride)
		perSample += side * side * float64(max(in.Channels, 1))
	}
	return 4 * float64(batch) * perSample * float64(2*max(workers, 1)+1)
}

// Lanes returns among how many lanes a training step of this configuration is shared out by
// samples, and how many samples a lane takes at a time; 0 where each operation is shared out
// instead. See package train. It depends on the configuration alone, as the bits of a step do.
func (c *Config) Lanes() (lanes, samples int) {
	if c.Train.Weighting != "" {
		return 0, 0
	}
	return Lanes(c.Train.Batch, c.parameterCount())
}

// Lanes is Config.Lanes for any model of so many parameters.
func Lanes(batch int, parameters float64) (lanes, samples int) {
	const (
		few   = 1 << 23 // parameters, of which copies of the gradients cost little
		most  = 8       // lanes
		least = 4       // samples of a lane; fewer leave products too few rows
	)
	lanes = min(batch/least, most)
	if lanes < 2 || parameters > few {
		return 0, 0
	}
	return lanes, least
}

// blockParameters is the number of parameters of a Transformer block.
func blockParameters(c vit.Config) float64 {
	d, r := float64(c.Dim), float64(c.MLPRatio)
	n := 4*d*d + d + 2*r*d*d + r*d + d + 4*d
	if c.QKVBias {
		n += 3 * d
	}
	return n
}

// parameterCount is the number of values of all parameters, position tables included.
func (c *Config) parameterCount() float64 {
	d := float64(c.Encoder.Dim)
	h, w := c.positionGrid()
	grid := float64(h) * float64(w)
	n := float64(c.NumGlobalTokens)*d + float64(c.Encoder.Depth)*blockParameters(c.Encoder)
	for i := range c.Inputs {
		in := &c.Inputs[i]
		p := float64(c.PatchSize / in.Stride)
		channels := float64(in.Channels)
		if in.Kind == KindClasses {
			channels = float64(in.ClassEmbDim)
			n += float64(in.NumClasses) * channels
		}
		n += d*grid + d*channels*p*p + d
	}
	for i := range c.Outputs {
		o := &c.Outputs[i]
		b := c.decoderBlocks(o)
		w, p := float64(o.Dim), float64(c.PatchSize/o.Stride)
		cross := 4*w*w + w + 2*float64(b.MLPRatio)*w*w + float64(b.MLPRatio)*w + w + 6*w
		if b.QKVBias {
			cross += 3 * w
		}
		features := float64(o.Channels) * p * p
		n += w + w*grid + float64(len(c.Inputs))*w + cross + float64(b.Depth)*blockParameters(b) + features*w + features + w*d + w
	}
	return n
}

// activationCount is the number of values that so many samples of a training step take memory for.
func (c *Config) activationCount(samples int) float64 {
	batch := float64(samples)
	grid := float64(c.ImageSize / c.PatchSize)
	visible := float64(c.Train.NumEncodedTokens)
	d := float64(c.Encoder.Dim)
	n := batch * (visible + float64(c.NumGlobalTokens)) // rows of the encoder
	q := batch * grid * grid                            // rows of a decoder

	// Input adapters: patches and their projections. Any modality may get all the tokens, so the
	// widest patch counts, and each modality's part is kept for the backward pass.
	widest := 0.0
	for i := range c.Inputs {
		in := &c.Inputs[i]
		p := float64(c.PatchSize / in.Stride)
		widest = max(widest, p*p*float64(max(in.Channels, in.ClassEmbDim)))
	}
	kept := batch*visible*(widest+d) + n*d
	kept += float64(c.Encoder.Depth) * blockActivations(c.Encoder, n)
	// Buffers of the backward pass: gradients of the widest layer's input and output, the input
	// packed, and those of the residual stream.
	buffers := blockBuffers(c.Encoder, n)
	for i := range c.Outputs {
		o := &c.Outputs[i]
		b := c.decoderBlocks(o)
		w, p := float64(o.Dim), float64(c.PatchSize/o.Stride)
		features := float64(o.Channels) * p * p
		heads, r := float64(b.Heads), float64(b.MLPRatio)
		kept += n*w*5 + // projected context, its sum with positions, its norm, keys and values
			q*w*(7+2*r) + q*heads + // queries to the result of the MLP
			float64(b.Depth)*blockActivations(b, q) +
			q*features
		if o.Loss == LossCrossEntropy {
			kept += 2 * q * p * p // targets and weights
		} else {
			kept += q * (features + 1)
		}
		buffers = max(buffers, blockBuffers(b, q), q*(features+3*w)+n*w)
	}
	return arena(kept) + buffers
}

// EncoderMemory estimates the bytes that a training step takes for so many samples from their
// patches to the encoder's tokens, of which each sample has the given number.
func (c *BackboneConfig) EncoderMemory(samples, tokens int) float64 {
	d, widest := float64(c.Encoder.Dim), 0.0
	for i := range c.Inputs {
		p := float64(c.PatchSize / c.Inputs[i].Stride)
		widest = max(widest, p*p*float64(max(c.Inputs[i].Channels, c.Inputs[i].ClassEmbDim)))
	}
	n := float64(samples) * float64(tokens)
	kept := n*(widest+2*d) + float64(c.Encoder.Depth)*blockActivations(c.Encoder, n)
	return 4 * (arena(kept) + blockBuffers(c.Encoder, n))
}

// arena is the memory that a tape takes for n values: in chunks of a quarter of what is there, each
// of which has a rest.
func arena(n float64) float64 { return 1.25 * n }

// blockActivations is what a block keeps of rows tokens for its backward pass.
func blockActivations(c vit.Config, rows float64) float64 {
	d, r := float64(c.Dim), float64(c.MLPRatio)
	n := rows * (d*(8+2*r) + float64(c.Heads) + 4)
	if c.DropPath > 0 {
		n += 2 * rows * d
	}
	return n
}

// blockBuffers is what the backward pass of a block has in use at once.
func blockBuffers(c vit.Config, rows float64) float64 {
	d, r := float64(c.Dim), float64(c.MLPRatio)
	return rows * d * (2*r + 4)
}

// CheckMemory returns an error if training as configured, with so many workers, needs more memory
// than this process may use. It names the key that is the furthest above that of the paper's model.
func (c *Config) CheckMemory(workers int) error {
	if err := c.Check(); err != nil {
		return err
	}
	return c.checkMemory(c.Footprint(workers).Total())
}

func (c *Config) checkMemory(need float64) error {
	if err := sysmem.Check(need); err != nil {
		key, value := c.largestKey()
		other := "smaller"
		if key == "patch_size" {
			value, other = c.PatchSize, "larger"
		}
		return fmt.Errorf("%s: %d makes a model that %w; use a %s one", key, value, err, other)
	}
	return nil
}

// largestKey returns the key of the configuration whose value is the largest multiple of that of
// the paper's model. patch_size counts inversely, and its value is that of the paper.
func (c *Config) largestKey() (key string, value int) {
	largest := 0.0
	compare := func(k string, v, paper int) {
		if r := float64(v) / float64(paper); r > largest {
			largest, key, value = r, k, v
		}
	}
	compare("encoder.dim", c.Encoder.Dim, 768)
	compare("encoder.depth", c.Encoder.Depth, 12)
	compare("encoder.mlp_ratio", c.Encoder.MLPRatio, 4)
	compare("image_size", c.ImageSize, 224)
	compare("patch_size", 16, c.PatchSize) // the smaller, the more patches
	for _, n := range c.PositionGrid {
		compare("position_grid", n, 14)
	}
	compare("num_global_tokens", c.NumGlobalTokens, 1)
	compare("train.batch", c.Train.Batch, 2048)
	compare("train.num_encoded_tokens", c.Train.NumEncodedTokens, 98)
	for i := range c.Inputs {
		compare("inputs."+c.Inputs[i].Name+".channels", c.Inputs[i].Channels, 3)
		compare("inputs."+c.Inputs[i].Name+".class_emb_dim", c.Inputs[i].ClassEmbDim, 64)
	}
	for i := range c.Outputs {
		compare("outputs."+c.Outputs[i].Name+".dim", c.Outputs[i].Dim, 256)
		compare("outputs."+c.Outputs[i].Name+".depth", c.Outputs[i].Depth, 2)
		compare("outputs."+c.Outputs[i].Name+".channels", c.Outputs[i].Channels, 133)
	}
	return key, value
}
