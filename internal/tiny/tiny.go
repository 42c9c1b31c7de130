// Package tiny has a model that trains in milliseconds, and its configuration, for tests of several
// packages.
package tiny

import (
	"testing"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/vit"
)

// Config returns a MultiMAE with one block of width 16, which sees colour, depth and classes of
// rendered scenes in 12 patches, predicts all of them, and trains for 6 steps.
func Config() *multimae.Config {
	classes := len(scenes.Classes)
	return &multimae.Config{
		BackboneConfig: multimae.BackboneConfig{
			Model:     "multimae",
			Encoder:   vit.Config{Dim: 16, Depth: 1, Heads: 2, MLPRatio: 2, QKVBias: true, LayerNormEps: 1e-6},
			ImageSize: 16, PatchSize: 8, NumGlobalTokens: 1,
			Inputs: multimae.Inputs{
				{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1},
				{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1},
				{Name: "semseg", Kind: multimae.KindClasses, NumClasses: classes, Stride: 2, ClassEmbDim: 4},
			},
		},
		Outputs: multimae.Outputs{
			Output("rgb", "rgb", multimae.LossMSE, 3, 1),
			Output("depth", "depth", multimae.LossL1, 1, 1),
			Output("semseg", "semseg", multimae.LossCrossEntropy, classes, 2),
		},
		Optim: multimae.Optim{LR: 1e-3, Betas: [2]float64{0.9, 0.95}, Eps: 1e-8, WeightDecay: 0.05},
		Train: multimae.Train{
			Recipe:           multimae.Recipe{Steps: 6, WarmupSteps: 2, Batch: 4, Flip: true, SaveEvery: 2, LogEvery: 1},
			NumEncodedTokens: 4, Alphas: multimae.Alphas{1},
		},
	}
}

// Model returns an untrained model.
func Model(t testing.TB, c *multimae.Config, seed uint64) *multimae.Model {
	t.Helper()
	m, err := multimae.NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(seed)
	return m
}

// Output returns an output with a decoder of one block of width 8.
func Output(name, task, loss string, channels, stride int) multimae.Output {
	return multimae.Output{
		Name: name, Channels: channels, Stride: stride, Task: task, Loss: loss,
		Dim: 8, Depth: 1, Heads: 2, UseTaskQueries: true,
	}
}
