package train

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// tinyConfig returns a configuration with all modalities and losses in 12 tokens.
func tinyConfig() *multimae.Config {
	classes := len(scenes.Classes)
	c := &multimae.Config{
		BackboneConfig: multimae.BackboneConfig{
			Model:     "multimae",
			Encoder:   vit.Config{Dim: 16, Depth: 2, Heads: 2, MLPRatio: 2, QKVBias: true, LayerNormEps: 1e-6},
			ImageSize: 16, PatchSize: 8, NumGlobalTokens: 1,
			Inputs: multimae.Inputs{
				{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1},
				{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1},
				{Name: "semseg", Kind: multimae.KindClasses, NumClasses: classes, Stride: 2, ClassEmbDim: 4},
			},
		},
		Outputs: multimae.Outputs{
			{Name: "rgb", Channels: 3, Stride: 1, Task: "rgb", Loss: multimae.LossMSE},
			{Name: "depth", Channels: 1, Stride: 1, Task: "depth", Loss: multimae.LossL1},
			{Name: "semseg", Channels: classes, Stride: 2, Task: "semseg", Loss: multimae.LossCrossEntropy},
			{Name: "norm_rgb", Channels: 3, Stride: 1, Task: "rgb", Loss: multimae.LossNormMSE},
		},
		Optim: multimae.Optim{LR: 3e-3, Betas: [2]float64{0.9, 0.95}, Eps: 1e-8, WeightDecay: 0.05},
		Train: multimae.Train{
			Steps: 12, WarmupSteps: 2, Batch: 4, Seed: 1, NumEncodedTokens: 4, Alphas: multimae.Alphas{1},
			CropScale: []float64{0.5, 1}, Flip: true, ValEvery: 4, SaveEvery: 5, LogEvery: 2,
		},
	}
	for i := range c.Outputs {
		o := &c.Outputs[i]
		o.Dim, o.Depth, o.Heads, o.UseTaskQueries = 8, 1, 2, true
	}
	return c
}

// newTrainer returns a trainer of an initialised model.
func newTrainer(t *testing.T, c *multimae.Config, pool *tensor.Pool) *Trainer {
	t.Helper()
	m, err := multimae.NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := NewTrainer(m, pool)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(c.Train.Seed)
	return tr
}

// someBatch returns samples of scenes that nothing else uses.
func someBatch(t *testing.T, c *multimae.Config, n int) *multimae.Batch {
	t.Helper()
	b, err := data.Collate(samples(t, scenes.New(500, n, c.ImageSize, 9)), c.Inputs, c.ImageSize)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// samples returns all samples of a dataset.
func samples(t *testing.T, ds data.Dataset) (all []*data.Sample) {
	t.Helper()
	for i := range ds.Len() {
		s, err := ds.Sample(i)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func step(t *testing.T, tr *Trainer, b *multimae.Batch) *Metrics {
	t.Helper()
	x, err := tr.Step(b)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// state returns a copy of everything that a checkpoint holds.
func state(tr *Trainer) map[string][]float32 {
	all := map[string][]float32{}
	for _, x := range tr.tensors() {
		all[x.Name] = append([]float32(nil), x.Data.([]float32)...)
	}
	return all
}

// changed returns the names of tensors whose bits differ.
func changed(a, b map[string][]float32) (names []string) {
	for name, x := range a {
		y := b[name]
		same := len(x) == len(y)
		for i := range x {
			same = same && math.Float32bits(x[i]) == math.Float32bits(y[i])
		}
		if !same {
			names = append(names, name)
		}
	}
	if len(a) != len(b) {
		names = append(names, "the number of tensors")
	}
	return names
}

// readFile returns a file of a folder.
func readFile(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func fill(x []float32, v float32) {
	for i := range x {
		x[i] = v
	}
}

func norm(xs ...[]float32) float64 {
	sum := 0.0
	for _, x := range xs {
		for _, v := range x {
			sum += float64(v) * float64(v)
		}
	}
	return math.Sqrt(sum)
}

// parameter returns the values of a parameter.
func parameter(t *testing.T, ps *nn.Params, name string) []float32 {
	t.Helper()
	p := ps.Get(name)
	if p == nil {
		t.Fatalf("no parameter %s", name)
	}
	return p.Data
}
