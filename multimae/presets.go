package multimae

import (
	"fmt"

	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/vit"
)

// PresetNames are the names that Preset knows.
var PresetNames = []string{"tiny", "photos", "small", "base", "large"}

// Preset returns a complete configuration for RGB, depth and semantic maps of the given number of
// classes; the paper has the 133 of COCO. "base" is the paper's model and recipe, with batch, steps
// and learning rate for one machine. "small" and "large" differ in the encoder. "tiny" learns
// rendered rooms in minutes, from images of 64×64 pixels in patches of 8×8, a sixth of which it
// sees; it alone has other initial values than the paper. "photos" is as small and learns a
// thousand or so of labelled photographs, from crops of 96×96 pixels in patches of 12×12; the
// built-in model of that name, of package models/photos, is larger.
//
// Optim.LR is for the Train.Batch that comes with it and does not follow it: who takes k times the
// batch should take √k times the rate, as fits Adam. So the paper's 1e-4 for each 256 samples, 8e-4
// for its batch of 2048, is 1e-4 for the 32 of "small", "base" and "large".
func Preset(name string, classes int) (*Config, error) {
	c := &Config{
		BackboneConfig: BackboneConfig{
			Model: "multimae", ImageSize: 224, PatchSize: 16, NumGlobalTokens: 1,
			Inputs: Inputs{
				{Name: "rgb", Kind: KindImage, Channels: 3, Stride: 1},
				{Name: "depth", Kind: KindImage, Channels: 1, Stride: 1},
				{Name: "semseg", Kind: KindClasses, NumClasses: classes, Stride: 4, ClassEmbDim: 64},
			},
		},
		Outputs: Outputs{
			{Name: "rgb", Channels: 3, Stride: 1, Task: "rgb", Loss: LossMSE},
			{Name: "depth", Channels: 1, Stride: 1, Task: "depth", Loss: LossL1},
			{Name: "semseg", Channels: classes, Stride: 4, Task: "semseg", Loss: LossCrossEntropy},
			{Name: "norm_rgb", Channels: 3, Stride: 1, Task: "rgb", Loss: LossNormMSE},
		},
		Optim: Optim{LR: 1e-4, Betas: [2]float64{0.9, 0.95}, Eps: 1e-8, WeightDecay: 0.05},
		Train: Train{
			Recipe: Recipe{
				Steps: 100_000, WarmupSteps: 2_500, Batch: 32,
				CropScale: []float64{0.2, 1}, CropRatio: []float64{3. / 4, 4. / 3}, Flip: true,
				ValEvery: 1_000, SaveEvery: 500, LogEvery: 10,
			},
			NumEncodedTokens: 98, Alphas: Alphas{1},
		},
	}
	dim, depth, heads := 256, 2, 8 // the paper's decoders
	switch name {
	case "tiny", "photos":
		// In the same time, this encoder reaches lower losses than ViT-Ti, which sees half as many
		// samples, and patches of 8×8 pixels reach lower losses than patches of 16×16.
		c.Encoder = vit.Config{Dim: 128, Depth: 4, Heads: 4, MLPRatio: 4, QKVBias: true, LayerNormEps: 1e-6}
		c.ImageSize, c.PatchSize = 64, 8
		c.Inputs[2].Stride, c.Outputs[2].Stride = 2, 2
		c.Inputs[2].ClassEmbDim = 32
		dim, depth, heads = 64, 1, 2
		c.Optim.LR = 2e-3
		c.Train = Train{
			Recipe: Recipe{
				Steps: 3600, WarmupSteps: 150, Batch: 16, ClipGrad: 1, Flip: true, SaveEvery: 500, LogEvery: 20,
			},
			NumEncodedTokens: 32, Alphas: Alphas{1},
		}
		if name == "tiny" {
			// With the paper's initial values the losses are as low only after 5000 steps.
			c.Encoder.ZeroInitResidual, c.Inputs[2].ClassEmbStd = true, 0.5
		} else {
			c.ImageSize, c.PatchSize = 96, 12
			c.Inputs[2].Stride, c.Outputs[2].Stride = 3, 3
			c.Train.CropScale, c.Train.CropRatio = []float64{0.3, 1}, []float64{3. / 4, 4. / 3}
			c.Train.Steps, c.Train.WarmupSteps = 20_000, 600
		}
	case "small":
		c.Encoder = vit.Small
	case "base":
		c.Encoder = vit.Base
	case "large":
		c.Encoder = vit.Large
	default:
		return nil, fmt.Errorf("unknown preset %q%s", name, strictjson.Hint(name, PresetNames))
	}
	for i := range c.Outputs {
		o := &c.Outputs[i]
		o.Dim, o.Depth, o.Heads, o.UseTaskQueries = dim, depth, heads, true
	}
	return c, c.Check()
}
