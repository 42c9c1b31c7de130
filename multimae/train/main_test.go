package train

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// tinyConfig returns a configuration with all modalities and losses in 12 tokens.
func tinyConfig() *multimae.Config {
	c := tiny.Config()
	c.Encoder.Depth = 2
	c.Outputs = append(c.Outputs, tiny.Output("norm_rgb", "rgb", multimae.LossNormMSE, 3, 1))
	c.Optim.LR = 3e-3
	c.Train = multimae.Train{
		Recipe: multimae.Recipe{
			Steps: 12, WarmupSteps: 2, Batch: 4, Seed: 1, CropScale: []float64{0.5, 1}, Flip: true,
			ValEvery: 4, SaveEvery: 5, LogEvery: 2,
		},
		NumEncodedTokens: 4, Alphas: multimae.Alphas{1},
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
	tr, err := NewTrainer(NewPretraining(m), pool)
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

// runOptions are Options with the configuration of the model to pre-train; with Resume that of Dir is
// used instead.
type runOptions struct {
	Options
	Config *multimae.Config
}

// pretrain makes the objective and calls Run.
func pretrain(ctx context.Context, o runOptions) (*Result, error) {
	c := o.Config
	var err error
	if o.Resume {
		if c, err = LoadRun(o.Dir); err != nil {
			return nil, err
		}
	}
	m, err := multimae.NewModel(c)
	if err != nil {
		return nil, err
	}
	o.Objective = NewPretraining(m)
	return Run(ctx, o.Options)
}

// model returns what a trainer pre-trains.
func model(tr *Trainer) *multimae.Model { return tr.Objective.(*Pretraining).Model }

// masks returns the masks of the last step.
func masks(tr *Trainer) *multimae.Masks { return &tr.Objective.(*Pretraining).current.masks }
