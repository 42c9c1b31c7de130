package heads

import (
	"fmt"
	"slices"

	"github.com/gomae/gomae/internal/sysmem"
	"github.com/gomae/gomae/multimae"
)

// Footprint estimates the memory of training as configured: see multimae.Config.Footprint. The
// configuration has been checked.
func (c *Config) Footprint(workers int) multimae.Footprint {
	const float = 4 // bytes
	params, _ := c.parameterCount()
	f := multimae.Footprint{Parameters: float * params}
	batch := c.Train.Batch
	if batch < 1 {
		return f
	}
	f.Optimizer = 3 * float * params
	if c.Train.EMA > 0 {
		f.Optimizer += float * params
	}
	at := 1.0 // copies that are in work at once
	if lanes, samples := c.Lanes(); lanes > 0 {
		batch, at = samples, float64(min(lanes, max(workers, 1)))
		f.Optimizer += float * params * (at + 1) // as multimae.Config.Footprint has it
	}
	side := c.ImageSize / c.PatchSize
	f.Activations = c.EncoderMemory(batch, len(c.Inputs)*side*side+c.NumGlobalTokens)
	for i := range c.Outputs {
		f.Activations += float * float64(batch) * c.headActivations(&c.Outputs[i])
	}
	f.Activations *= at
	f.Batches = multimae.BatchMemory(append(c.TargetInputs(), c.Inputs...), c.ImageSize, c.Train.Batch, workers)
	return f
}

// headActivations is the number of values that a head takes for a sample of a training step: what
// it keeps, and the gradients of its largest maps.
func (c *Config) headActivations(o *Output) float64 {
	side := float64(c.ImageSize / c.PatchSize)
	tokens, pixels := side*side, float64(c.ImageSize)*float64(c.ImageSize)
	classes, wide := float64(o.NumClasses), float64(o.EmbedDim)
	read := tokens * float64(c.Encoder.Dim*max(1, len(o.MainTasks)))
	full := pixels * (3*classes + 2) // the prediction, its gradient, the target, weights
	switch o.Head {
	case ConvNeXt:
		// A block keeps the results of its convolution, its norm and, twice as the GELU needs
		// both sides, the hidden layer of four times the width.
		return read + tokens*wide*(3+12*float64(o.Depth)) + 8*tokens*wide + full
	case Segmenter:
		r := 2 * float64(c.Encoder.MLPRatio)
		rows := tokens + classes // of its blocks: a token for each class stands beside the patches
		return read + rows*wide*(8+r)*float64(o.Depth+1) + 2*tokens*classes + full
	case DPT:
		// Maps of a quarter, an eighth, a 16th and a 32nd of the side, in two residual units of two
		// convolutions and what is around them; then half and all of the side.
		feature, maps := float64(o.FeatureDim), 0.0
		for i, d := range o.LayerDims {
			at := pixels / float64(int(16)<<(2*i))
			maps += at * (2*float64(d) + 14*feature)
		}
		return read*4 + 1.5*maps + pixels/4*feature*2 + pixels*(feature/2+64) + full
	}
	return 2 * read
}

// parameterCount returns the number of values of all parameters, and describes the largest one.
func (c *Config) parameterCount() (n float64, largest string) {
	most := 0.0
	for _, p := range deferred(c).Params.All() {
		size := 1.0
		for _, d := range p.Shape {
			size *= float64(d)
		}
		if n += size; size > most {
			most, largest = size, fmt.Sprintf("%s, shape %v", p.Name, p.Shape)
		}
	}
	return n, largest
}

// Lanes is multimae.Config.Lanes. LossBerHu has no lanes: its bound depends on all predictions of the
// batch, and a lane is done with its samples before others have begun.
func (c *Config) Lanes() (lanes, samples int) {
	if slices.ContainsFunc(c.Outputs, func(o Output) bool { return o.Loss == LossBerHu }) {
		return 0, 0
	}
	params, _ := c.parameterCount()
	return multimae.Lanes(c.Train.Batch, params)
}

// CheckMemory returns an error if training as configured, with so many workers, needs more memory
// than this process may use.
func (c *Config) CheckMemory(workers int) error {
	if err := c.Check(); err != nil {
		return err
	}
	if err := sysmem.Check(c.Footprint(workers).Total()); err != nil {
		return fmt.Errorf("train.batch %d, image_size %d: training %w; use smaller ones", c.Train.Batch, c.ImageSize, err)
	}
	return nil
}
