package multimae

import (
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

const u = testkit.U

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
	if ps[2].Workers() != 3 {
		t.Fatalf("a pool of %d workers", ps[2].Workers())
	}
	return ps
}

// smallConfig is a model with everything a model can have, of a size that a float64 reference
// computes in a millisecond: four grid cells at 16 pixels. Depth and semantic maps have task
// queries, the others not.
func smallConfig() *Config {
	return &Config{
		BackboneConfig: BackboneConfig{
			Model: "multimae", ImageSize: 16, PatchSize: 8, NumGlobalTokens: 2,
			Encoder: vit.Config{Dim: 16, Depth: 2, Heads: 2, MLPRatio: 2, QKVBias: true, LayerNormEps: 1e-6},
			Inputs: Inputs{
				{Name: "rgb", Kind: KindImage, Channels: 3, Stride: 1},
				{Name: "depth", Kind: KindImage, Channels: 1, Stride: 2},
				{Name: "semseg", Kind: KindClasses, NumClasses: 5, Stride: 4, ClassEmbDim: 6},
			},
		},
		Outputs: Outputs{
			{Name: "rgb", Channels: 3, Stride: 1, Task: "rgb", Loss: LossMSE, Dim: 8, Depth: 1, Heads: 2},
			{Name: "depth", Channels: 1, Stride: 2, Task: "depth", Loss: LossL1, Dim: 12, Depth: 0, Heads: 3, UseTaskQueries: true},
			{Name: "semseg", Channels: 5, Stride: 4, Task: "semseg", Loss: LossCrossEntropy, Dim: 8, Depth: 2, Heads: 4, UseTaskQueries: true, LabelSmoothing: 0.1},
			{Name: "norm_rgb", Channels: 3, Stride: 1, Task: "rgb", Loss: LossNormMSE, Dim: 8, Depth: 1, Heads: 1, LossOnUnmasked: true},
		},
	}
}

// newModel makes a model whose parameters all differ from their neutral values, which would hide a
// term: biases, norms and mask tokens too.
func newModel(t testing.TB, c *Config) *Model {
	t.Helper()
	m, err := NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(1)
	for _, p := range m.Params.All() {
		if p.Fixed {
			continue
		}
		r := nn.NewRNG(nn.Hash(p.Name), 2)
		for i := range p.Data {
			p.Data[i] += 0.2 * float32(r.Normal()) / float32(math.Sqrt(float64(len(p.Data)/p.Shape[0])))
		}
	}
	return m
}

// newBatch draws a batch with the given modalities. Maps of classes have ignored pixels, one
// sample's nothing else.
func newBatch(c *Config, size, h, w int, seed uint64, modalities ...string) *Batch {
	b := &Batch{Size: size, H: h, W: w, Images: map[string][]float32{}, Classes: map[string][]int32{}}
	for _, name := range modalities {
		in := c.Input(name)
		r := nn.NewRNG(seed, nn.Hash(name))
		n := size * (h / in.Stride) * (w / in.Stride)
		if in.Kind == KindImage {
			x := make([]float32, n*in.Channels)
			for i := range x {
				x[i] = float32(r.Normal())
			}
			b.Images[name] = x
			continue
		}
		ids := make([]int32, n)
		for i := range ids {
			switch ids[i] = int32(r.Intn(in.NumClasses + 2)); int(ids[i]) - in.NumClasses {
			case 0:
				ids[i] = IDPadding
			case 1:
				ids[i] = IDIgnored
			}
		}
		if size > 2 {
			for i := range n / size {
				ids[n-1-i] = IDIgnored
			}
		}
		b.Classes[name] = ids
	}
	return b
}

// newMasks draws masks for a batch of these inputs.
func newMasks(t testing.TB, c *Config, b *Batch, visible int, seed uint64, inputs ...string) *Masks {
	t.Helper()
	nh, nw := c.Grid(b.H, b.W)
	r := nn.NewRNG(seed)
	m, err := DrawMasks(&r, b.Size, inputs, nh*nw, MaskOptions{Visible: visible, Alphas: []float64{1}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// masksOf returns masks in which these tokens of each sample are visible.
func masksOf(t testing.TB, inputs []string, patches int, tokens ...[]int32) *Masks {
	t.Helper()
	m, err := NewMasks(len(tokens), inputs, patches, slices.Concat(tokens...))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// step runs a whole training step but the update. Gradients are left in the parameters.
func step(t testing.TB, m *Model, tape *tensor.Tape, b *Batch, masks *Masks) (losses []*tensor.Tensor, total *tensor.Tensor) {
	t.Helper()
	return stepBy(t, m, tape, func() ([]*tensor.Tensor, error) { return m.ForwardLosses(tape, b, masks, nil, nil) })
}

// stepOnAll is step by way of predictions of all patches, which it returns too.
func stepOnAll(t testing.TB, m *Model, tape *tensor.Tape, b *Batch, masks *Masks) (preds, losses []*tensor.Tensor, total *tensor.Tensor) {
	t.Helper()
	losses, total = stepBy(t, m, tape, func() (losses []*tensor.Tensor, err error) {
		if preds, err = m.Forward(tape, b, masks, nil); err != nil {
			return nil, err
		}
		return m.Losses(tape, preds, b, masks)
	})
	return preds, losses, total
}

func stepBy(t testing.TB, m *Model, tape *tensor.Tape, f func() ([]*tensor.Tensor, error)) (losses []*tensor.Tensor, total *tensor.Tensor) {
	t.Helper()
	tape.Reset()
	m.Params.EnableGrad()
	m.Params.ZeroGrad(tape)
	losses, err := f()
	if err != nil {
		t.Fatal(err)
	}
	total = Total(tape, losses)
	m.Params.Backward(tape, total)
	return losses, total
}

// subsets returns all non-empty subsets of names in their order.
func subsets(names []string) [][]string {
	var all [][]string
	for bits := 1; bits < 1<<len(names); bits++ {
		var s []string
		for i, n := range names {
			if bits>>i&1 == 1 {
				s = append(s, n)
			}
		}
		all = append(all, s)
	}
	return all
}
