package heads

import (
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// distance is ‖got − want‖ / ‖want‖.
func distance(got, want []float32) float64 {
	diff, norm := 0.0, 0.0
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		diff += d * d
		norm += float64(w) * float64(w)
	}
	return math.Sqrt(diff / norm)
}

// pools returns pools of 1, 2 and 3 workers, closed with the test.
func pools(t *testing.T) []*tensor.Pool {
	procs := runtime.GOMAXPROCS(3) // no pool is larger
	ps := []*tensor.Pool{nil, tensor.NewPool(2), tensor.NewPool(3)}
	t.Cleanup(func() {
		for _, p := range ps[1:] {
			p.Close()
		}
		runtime.GOMAXPROCS(procs)
	})
	return ps
}

// allOutputs has every head, with every loss, one and several main tasks.
func allOutputs() Outputs {
	return Outputs{
		{Name: "mean", Head: Linear, NumClasses: 6, Loss: LossCrossEntropy, MeanPooling: true},
		{Name: "token", Head: Linear, NumClasses: 3, Loss: LossCrossEntropy},
		{Name: "normals", Head: ConvNeXt, NumClasses: 3, Loss: LossL1, MainTasks: []string{"rgb"}, EmbedDim: 32, Depth: 1, PredsPerPatch: 16},
		{Name: "convdepth", Head: ConvNeXt, NumClasses: 1, Loss: LossBerHu, MainTasks: []string{"semseg", "rgb"}, EmbedDim: 8, Depth: 2, PredsPerPatch: 4},
		{Name: "parts", Head: Segmenter, NumClasses: 5, Loss: LossCrossEntropy, MainTasks: []string{"semseg", "rgb"}, EmbedDim: 12, Depth: 1, Heads: 3},
		{Name: "depth", Head: DPT, NumClasses: 1, Loss: LossL1, MainTasks: []string{"semseg", "rgb"}, Hooks: []int{0, 1, 2, 3}, LayerDims: []int{4, 5, 6, 7}, FeatureDim: 6, HeadType: HeadRegression},
		{Name: "classes", Head: DPT, NumClasses: 4, Loss: LossCrossEntropy, MainTasks: []string{"rgb"}, Hooks: []int{0, 1, 3, 4}, LayerDims: []int{4, 5, 6, 7}, FeatureDim: 8, HeadType: HeadSemseg},
	}
}

// smallConfig is a model with every head on 2×2 patches at 32 pixels.
func smallConfig() *Config {
	return &Config{
		BackboneConfig: multimae.BackboneConfig{
			Model: "multivit", ImageSize: 32, PatchSize: 16, NumGlobalTokens: 2,
			Encoder: vit.Config{Dim: 16, Depth: 5, Heads: 2, MLPRatio: 2, QKVBias: true, LayerNormEps: 1e-6},
			Inputs: multimae.Inputs{
				{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1},
				{Name: "thermal", Kind: multimae.KindImage, Channels: 1, Stride: 2},
				{Name: "semseg", Kind: multimae.KindClasses, NumClasses: 5, Stride: 4, ClassEmbDim: 6},
			},
		},
		Outputs: allOutputs(),
		Optim:   multimae.Optim{LR: 1e-4, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 0.05},
	}
}

// oneOutput is smallConfig with one of its outputs.
func oneOutput(name string) *Config {
	c := smallConfig()
	c.Outputs = slices.DeleteFunc(c.Outputs, func(o Output) bool { return o.Name != name })
	return c
}

// newModel makes a model whose parameters all differ from their neutral values, which would hide a
// term.
func newModel(t testing.TB, c *Config) *Model {
	t.Helper()
	m, err := NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(1)
	for _, p := range m.Params.All() {
		if strings.HasSuffix(p.Name, ".pos_emb") {
			continue
		}
		r := nn.NewRNG(nn.Hash(p.Name), 2)
		for i := range p.Data {
			p.Data[i] += 0.2 * float32(r.Normal()) / float32(math.Sqrt(float64(len(p.Data)/p.Shape[0])))
		}
	}
	return m
}

// newBatch draws a batch of the given modalities, with ignored pixels.
func newBatch(c *Config, size, h, w int, modalities ...string) *multimae.Batch {
	b := &multimae.Batch{Size: size, H: h, W: w, Images: map[string][]float32{}, Classes: map[string][]int32{}}
	for _, name := range modalities {
		in := c.Input(name)
		r := nn.NewRNG(3, nn.Hash(name))
		n := size * (h / in.Stride) * (w / in.Stride)
		if in.Kind == multimae.KindImage {
			b.Images[name] = normal(&r, n*in.Channels)
			continue
		}
		b.Classes[name] = drawIDs(&r, n, in.NumClasses)
	}
	return b
}

// newTargets draws targets of all outputs, with pixels that do not count.
func newTargets(c *Config, size, h, w int) *Targets {
	targets := &Targets{Classes: map[string][]int32{}, Values: map[string][]float32{}, Valid: map[string][]bool{}}
	for _, o := range c.Outputs {
		r := nn.NewRNG(4, nn.Hash(o.Name))
		switch {
		case o.Head == Linear:
			targets.Classes[o.Name] = drawIDs(&r, size, o.NumClasses)
			targets.Classes[o.Name][0] = 0
		case o.Loss == LossCrossEntropy:
			targets.Classes[o.Name] = drawIDs(&r, size*h*w, o.NumClasses)
		default:
			targets.Values[o.Name] = normal(&r, size*o.NumClasses*h*w)
			valid := make([]bool, size*h*w)
			for i := range valid {
				valid[i] = r.Chance(0.8)
			}
			targets.Valid[o.Name] = valid
		}
	}
	return targets
}

func normal(r *nn.RNG, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.Normal())
	}
	return x
}

// drawIDs draws class ids, one in n+1 of them ignored.
func drawIDs(r *nn.RNG, count, n int) []int32 {
	ids := make([]int32, count)
	for i := range ids {
		if ids[i] = int32(r.Intn(n + 1)); int(ids[i]) == n {
			ids[i] = multimae.IDIgnored
		}
	}
	return ids
}

// forward runs a model and wants no error.
func forward(t testing.TB, m *Model, tape *tensor.Tape, b *multimae.Batch, rng *nn.RNG) []*tensor.Tensor {
	t.Helper()
	preds, err := m.Forward(tape, b, rng)
	if err != nil {
		t.Fatal(err)
	}
	return preds
}

// step runs a training step but the update, and returns predictions and losses. Gradients are left
// in the parameters.
func step(t testing.TB, m *Model, tape *tensor.Tape, b *multimae.Batch, targets *Targets, rng *nn.RNG) (preds, losses []*tensor.Tensor) {
	t.Helper()
	tape.Reset()
	m.Params.EnableGrad()
	m.Params.ZeroGrad(tape)
	preds = forward(t, m, tape, b, rng)
	losses, err := m.Losses(tape, preds, targets)
	if err != nil {
		t.Fatal(err)
	}
	m.Params.Backward(tape, multimae.Total(tape, losses))
	return preds, losses
}
