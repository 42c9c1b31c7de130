// These tests hold actual numbers: TestScales, TestAugment, TestAverage, TestFinetuneAverage,
// TestFinetuneBest, TestBlend and TestBlendDraws, and TestUpdates beside the trainer. TestFinetuneSameBits,
// TestFinetuneLanes and TestFinetuneResume compare runs with each other, and pass where all are wrong alike.

package train

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/stattest"
	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/evaluate"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// fineConfig returns a model with two heads on RGB, and a recipe that uses all random numbers there
// are for maps.
func fineConfig() *heads.Config {
	b := tiny.Config().BackboneConfig
	b.Model, b.Encoder.Depth, b.Encoder.DropPath, b.Inputs = "multivit", 2, 0.3, b.Inputs[:1]
	return &heads.Config{
		BackboneConfig: b,
		Outputs: heads.Outputs{
			{Name: "semseg", Head: heads.ConvNeXt, NumClasses: len(scenes.Classes), MainTasks: []string{"rgb"}, Loss: heads.LossCrossEntropy, EmbedDim: 16, Depth: 1, PredsPerPatch: 4, LabelSmoothing: 0.1},
			{Name: "depth", Head: heads.ConvNeXt, NumClasses: 1, MainTasks: []string{"rgb"}, Loss: heads.LossL1, EmbedDim: 16, Depth: 1, PredsPerPatch: 4, Unit: scenes.DepthUnit},
		},
		Optim: multimae.Optim{LR: 3e-3, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 0.05},
		Train: heads.Train{
			Recipe: multimae.Recipe{Steps: 12, WarmupSteps: 2, Batch: 4, Seed: 1, Data: ScenesData, Flip: true, ClipGrad: 1, ValEvery: 4, SaveEvery: 5, LogEvery: 2},
			EMA:    0.9, LayerDecay: 0.7, Scale: []float64{0.5, 2}, ColorJitter: 0.4,
		},
	}
}

func newFinetuning(t *testing.T, c *heads.Config) *Finetuning {
	t.Helper()
	m, err := heads.NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(c.Train.Seed)
	return NewFinetuning(m)
}

// fineBatch returns n samples with inputs and targets.
func fineBatch(t *testing.T, f *Finetuning, n int) *multimae.Batch {
	t.Helper()
	b, err := data.Collate(samples(t, scenes.New(500, n, f.Model.Config.ImageSize, 9)), f.Plan().Inputs, f.Model.Config.ImageSize)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFinetuneSameBits trains heads with different numbers of workers, shared out by operations and
// by samples.
func TestFinetuneSameBits(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	for _, batch := range []int{4, 11} {
		c := fineConfig()
		c.Train.Batch = batch
		if lanes, _ := c.Lanes(); (lanes > 0) != (batch > 4) {
			t.Fatalf("%d lanes for a batch of %d", lanes, batch)
		}
		run := func(workers int) (map[string][]float32, string) {
			pool := tensor.NewPool(workers)
			defer pool.Close()
			f := newFinetuning(t, c)
			tr, err := NewTrainer(f, pool)
			if err != nil {
				t.Fatal(err)
			}
			b := fineBatch(t, f, batch)
			var all []Metrics
			for range 4 {
				all = append(all, *step(t, tr, b))
			}
			return state(tr), fmt.Sprint(all)
		}
		want, metrics := run(1)
		for _, workers := range []int{2, 8} {
			t.Run(fmt.Sprintf("batch %d, %d workers", batch, workers), func(t *testing.T) {
				got, again := run(workers)
				if names := changed(want, got); names != nil || again != metrics {
					t.Errorf("other bits in %v", names)
				}
			})
		}
	}
}

// TestFinetuneLanes compares a step that is shared out by samples with one that is not. That of a loss
// that needs all predictions at once is not shared out.
func TestFinetuneLanes(t *testing.T) {
	c := fineConfig()
	c.Train.Batch, c.Encoder.DropPath = 11, 0
	f := newFinetuning(t, c)
	b := fineBatch(t, f, 11)
	for i := range b.Classes["semseg"] {
		if i%5 == 0 || i < len(b.Classes["semseg"])/11 {
			b.Classes["semseg"][i] = multimae.IDIgnored
		}
	}
	b.Valid = map[string][]bool{"depth": make([]bool, len(b.Images["depth"]))}
	for i := range b.Valid["depth"] {
		b.Valid["depth"][i] = i%3 != 0
	}
	grads := map[bool][][]float32{}
	losses := map[bool]string{}
	for _, lanes := range []bool{false, true} {
		f := newFinetuning(t, c)
		tr, err := NewTrainer(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Begin(b, 0); err != nil {
			t.Fatal(err)
		}
		var g gradients
		if plan := f.Plan(); lanes {
			tr.makeLanes(&plan)
			g, err = tr.sharedByLanes(b)
		} else {
			g, err = tr.sharedByOperations(b)
		}
		if err != nil {
			t.Fatal(err)
		}
		losses[lanes] = fmt.Sprintf("%.5g %.4g", g.losses, g.norm)
		for _, p := range f.Model.Params.All() {
			grads[lanes] = append(grads[lanes], slices.Clone(p.Grad))
		}
	}
	if losses[false] != losses[true] {
		t.Errorf("losses and norm: %s by lanes, %s without", losses[true], losses[false])
	}
	for i, p := range f.Model.Params.All() {
		for k, v := range grads[false][i] {
			if d := math.Abs(float64(v - grads[true][i][k])); d > 1e-5 {
				t.Fatalf("gradient of %s: element %d differs by %g", p.Name, k, d)
			}
		}
	}
	c.Outputs[1].Loss = heads.LossBerHu
	if plan := newFinetuning(t, c).Plan(); plan.Lanes != 0 || plan.LaneSamples != 0 {
		t.Errorf("%d lanes for berHu, want none", plan.Lanes)
	}
}

// fineOptions returns the options of a fine-tuning of 12 steps.
func fineOptions(t *testing.T, dir string, c *heads.Config) Options {
	t.Helper()
	return Options{Objective: newFinetuning(t, c), Dir: dir, Workers: 1, Train: scenes.New(0, 40, 20, 1), Val: scenes.New(100, 6, 16, 1)}
}

// TestFinetuneResume interrupts a run, also before its first checkpoint, and wants the files of one
// that was left alone.
func TestFinetuneResume(t *testing.T) {
	straight := t.TempDir()
	c := fineConfig()
	r, err := Run(context.Background(), fineOptions(t, straight, c))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, m := range r.Evaluation.Metrics {
		names = append(names, m.Name)
	}
	if !slices.Contains(names, "miou") || !slices.Contains(names, "delta1") || r.Best.Step == 0 {
		t.Errorf("metrics %v, best %+v", names, r.Best)
	}
	want := results(t, straight)
	for _, dir := range []string{straight, filepath.Join(straight, BestDir)} {
		if _, err := heads.LoadDir(dir); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(want[MetricsFile], "val.miou.semseg") {
		t.Errorf("metrics: %s", want[MetricsFile])
	}
	for _, at := range []int{0, 3, 7, 12} {
		t.Run(fmt.Sprintf("after step %d", at), func(t *testing.T) {
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(context.Background())
			o := fineOptions(t, dir, c)
			if at == 0 {
				cancel()
			}
			o.OnStep = func(p *Progress) {
				if p.Step == at {
					cancel()
				}
			}
			if r, err := Run(ctx, o); err != nil || !r.Interrupted {
				t.Fatalf("%+v, %v", r, err)
			}
			if at == 0 { // the average of no steps is the beginning
				m, err := heads.LoadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range newFinetuning(t, c).Model.Params.All() {
					if !slices.Equal(m.Params.Get(p.Name).Data, p.Data) {
						t.Errorf("%s is not as it began", p.Name)
					}
				}
			}
			again, err := LoadFinetuneRun(dir)
			if err != nil {
				t.Fatal(err)
			}
			o = fineOptions(t, dir, again)
			o.Resume, o.Workers = true, 2
			if r, err := Run(context.Background(), o); err != nil || r.Resumed != at {
				t.Fatalf("%+v, %v", r, err)
			}
			same(t, "gone on", results(t, dir), want)
		})
	}
	if _, err := LoadRun(straight); err == nil {
		t.Error("a fine-tuned model was read as a pre-trained one")
	}
}

// TestFinetuneBest wants the best model to be that of the highest main metric, of runs whose model
// gets better and worse.
func TestFinetuneBest(t *testing.T) {
	for i, name := range []string{evaluate.MIoU, evaluate.Delta1} {
		t.Run(name, func(t *testing.T) {
			c := fineConfig()
			c.Outputs = c.Outputs[i : i+1]
			c.Optim.LR, c.Train.EMA, c.Train.Steps, c.Train.ValEvery = 0.1, 0, 11, 1
			o := fineOptions(t, t.TempDir(), c)
			var values []float64
			best, at := math.Inf(-1), 0
			o.OnEvaluate = func(step int, e *Evaluation) {
				m := e.Metrics[0]
				if m.Name != name {
					t.Fatalf("the main metric is %s, want %s", m.Name, name)
				}
				if values = append(values, m.Value); m.Value > best {
					best, at = m.Value, step
				}
			}
			r, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if best <= values[0] || best <= values[len(values)-1] {
				t.Fatalf("%s %v: the best is not in the middle", name, values)
			}
			if r.Best != (Best{at, -best}) {
				t.Errorf("best %+v, want %+v of %v", r.Best, Best{at, -best}, values)
			}
		})
	}
}

// TestFinetuneAverage follows the running average of a run by hand, and wants it to be what the run
// validates and writes for others.
func TestFinetuneAverage(t *testing.T) {
	c := fineConfig()
	c.Train.Steps, c.Train.ValEvery = 4, 0
	o := fineOptions(t, t.TempDir(), c)
	params := slices.DeleteFunc(slices.Clone(o.Objective.Backbone().Params.All()), func(p *nn.Param) bool { return p.Fixed })
	want := map[string][]float64{}
	o.OnStart = func(int) {
		for _, p := range params {
			for _, v := range p.Data {
				want[p.Name] = append(want[p.Name], float64(v))
			}
		}
	}
	o.OnStep = func(x *Progress) {
		keep := min(0.9, float64(x.Step)/float64(9+x.Step))
		for _, p := range params {
			for i, v := range p.Data {
				want[p.Name][i] += (1 - keep) * (float64(v) - want[p.Name][i])
			}
		}
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	open := func(name string) weights.File {
		f, err := weights.Open(filepath.Join(o.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	written, checkpoint := open(multimae.WeightsFile), open(CheckpointName(4))
	read := func(f weights.File, name string) []float32 {
		x, err := f.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for _, p := range params {
		got := read(written, p.Name)
		testkit.SameBits(t, p.Name, got, read(checkpoint, "average."+p.Name))
		if slices.Equal(got, read(checkpoint, "model."+p.Name)) {
			t.Errorf("%s: the average is as the last parameters", p.Name)
		}
		for i, v := range got {
			if w := want[p.Name][i]; math.Abs(float64(v)-w) > 1e-6*max(1, math.Abs(w)) {
				t.Errorf("%s: element %d of the average is %g, want %g", p.Name, i, v, w)
				break
			}
		}
	}
	m, err := heads.LoadDir(filepath.Join(o.Dir, BestDir))
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewFinetuning(m).Evaluate(t.Context(), o.Train, o.Val, false, nil)
	if err != nil || r.Best.Step != 4 || e.Criterion != r.Best.Criterion || e.Loss != r.Evaluation.Loss {
		t.Errorf("the best model: %+v, %v, want %+v with loss %v", e, err, r.Best, r.Evaluation.Loss)
	}
}

// TestAugment wants the augmentation to be what the configurations say.
func TestAugment(t *testing.T) {
	fine := fineConfig()
	if got, want := newFinetuning(t, fine).Plan().Augment, (data.Augment{Flip: true, Scale: [2]float64{0.5, 2}, Color: 0.4}); got != want {
		t.Errorf("scale: got %+v, want %+v", got, want)
	}
	crop := data.Augment{Crop: true, CropScale: [2]float64{0.3, 0.9}, CropRatio: [2]float64{0.5, 3}}
	r := &fine.Train.Recipe
	fine.Train.Scale, fine.Train.ColorJitter = nil, 0
	r.Flip, r.CropScale, r.CropRatio = false, []float64{0.3, 0.9}, []float64{0.5, 3}
	if got := newFinetuning(t, fine).Plan().Augment; got != crop {
		t.Errorf("crop: got %+v, want %+v", got, crop)
	}
	c := tinyConfig()
	c.Train.Flip, c.Train.CropScale, c.Train.CropRatio = r.Flip, r.CropScale, r.CropRatio
	if got := newTrainer(t, c, nil).Objective.Plan().Augment; got != crop {
		t.Errorf("pre-training: got %+v, want %+v", got, crop)
	}
}

// TestFreeze trains heads alone.
func TestFreeze(t *testing.T) {
	c := fineConfig()
	c.Train.Freeze = true
	f := newFinetuning(t, c)
	tr, err := NewTrainer(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := map[string][]float32{}
	for _, p := range f.Model.Params.All() {
		before[p.Name] = slices.Clone(p.Data)
	}
	b := fineBatch(t, f, 4)
	step(t, tr, b)
	step(t, tr, b)
	for _, p := range f.Model.Params.All() {
		if moved := !slices.Equal(before[p.Name], p.Data); moved != strings.HasPrefix(p.Name, headPrefix) {
			t.Errorf("%s: moved is %v", p.Name, moved)
		}
	}
}

// TestScales checks learning rates by layer, and what decays.
func TestScales(t *testing.T) {
	config := fineConfig()
	classes := *tiny.Config().Input("semseg")
	classes.Name = "parts"
	config.Inputs = append(config.Inputs, classes)
	config.Outputs = append(config.Outputs, heads.Output{
		Name: "things", Head: heads.Segmenter, NumClasses: 3, MainTasks: []string{"rgb"}, Loss: heads.LossCrossEntropy, EmbedDim: 16, Depth: 1, Heads: 2,
	})
	f := newFinetuning(t, config)
	for _, c := range []struct {
		name      string
		lr, decay float64
	}{
		{"input_adapters.parts.class_emb.weight", 0.7 * 0.7 * 0.7, 0}, {"input_adapters.parts.proj.weight", 0.7 * 0.7 * 0.7, 1},
		{"global_tokens", 0.7 * 0.7 * 0.7, 0},
		{"input_adapters.rgb.proj.weight", 0.7 * 0.7 * 0.7, 1}, {"input_adapters.rgb.proj.bias", 0.7 * 0.7 * 0.7, 0},
		{"encoder.0.attn.qkv.weight", 0.7 * 0.7, 1}, {"encoder.1.norm1.weight", 0.7, 0},
		{"output_adapters.things.cls_emb", 1, 0}, {"output_adapters.things.proj_dec.weight", 1, 1},
		{"output_adapters.depth.proj_dec.weight", 1, 1}, {"output_adapters.semseg.final_layer.bias", 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			lr, decay := f.scales(f.Model.Params.Get(c.name))
			if math.Abs(lr-c.lr) > 1e-12 || decay != c.decay {
				t.Errorf("got %g and %g, want %g and %g", lr, decay, c.lr, c.decay)
			}
		})
	}
}

// TestAverage follows a running average by hand.
func TestAverage(t *testing.T) {
	ps := nn.NewParams()
	x := ps.Add("x", nn.Zeros, 1)
	a := newAverage(ps, 0.5)
	x.Data[0] = 1
	a.start(0)
	want := 1.0
	for step, v := range []float32{2, 4, 8, 16, 32, 64} {
		x.Data[0] = v
		a.add(step)
		keep := min(0.5, float64(1+step)/float64(10+step))
		want = keep*want + (1-keep)*float64(v)
	}
	err := a.during(func() error {
		if math.Abs(float64(x.Data[0])-want) > 1e-5 {
			t.Errorf("got %g, want %g", x.Data[0], want)
		}
		return nil
	})
	if err != nil || x.Data[0] != 64 {
		t.Errorf("%v; afterwards %g, want 64", err, x.Data[0])
	}
}

// TestBlend blends images by both methods and checks pixels, shares and the loss.
func TestBlend(t *testing.T) {
	const n, side = 4, 16
	fresh := func() *multimae.Batch {
		b := &multimae.Batch{Size: n, H: side, W: side, Images: map[string][]float32{"rgb": make([]float32, n*3*side*side)}, Classes: map[string][]int32{}}
		for i := range b.Images["rgb"] {
			b.Images["rgb"][i] = float32(i / (3 * side * side))
		}
		return b
	}
	t.Run("none", func(t *testing.T) {
		rng := nn.NewRNG(1)
		if x := blend(fresh(), &heads.Train{}, &rng); x != nil {
			t.Error("blended without being asked")
		}
	})
	t.Run("mixup", func(t *testing.T) {
		rng := nn.NewRNG(2)
		b := fresh()
		x := blend(b, &heads.Train{Mixup: 0.8}, &rng)
		for i, v := range b.Images["rgb"] {
			own := float64(i / (3 * side * side))
			if want := x.share*own + (1-x.share)*(n-1-own); math.Abs(float64(v)-want) > 1e-5 {
				t.Fatalf("value %d is %g, want %g", i, v, want)
			}
		}
	})
	t.Run("cutmix", func(t *testing.T) {
		for seed := range uint64(20) {
			rng := nn.NewRNG(seed)
			b := fresh()
			b.Classes["semseg"] = make([]int32, n*(side/4)*(side/4))
			x := blend(b, &heads.Train{Mixup: 1, CutMix: 1}, &rng) // class maps exclude mixup
			kept := 0
			for i, v := range b.Images["rgb"] {
				own := float32(i / (3 * side * side))
				switch v {
				case own:
					kept++
				case n - 1 - own:
				default:
					t.Fatalf("seed %d: value %d is %g", seed, i, v)
				}
			}
			if share := float64(kept) / float64(len(b.Images["rgb"])); math.Abs(share-x.share) > 1e-9 {
				t.Errorf("seed %d: %g of the pixels are kept, share %g", seed, share, x.share)
			}
		}
	})
	t.Run("loss", func(t *testing.T) {
		c := fineConfig()
		c.Encoder.DropPath = 0
		c.Outputs = heads.Outputs{{Name: "class", Head: heads.Linear, NumClasses: 3, Loss: heads.LossCrossEntropy, MeanPooling: true}}
		c.Train.Mixup, c.Train.Scale = 1, nil
		f := newFinetuning(t, c)
		b := fresh()
		b.Classes["class"] = []int32{0, 1, 2, 1}
		if err := f.Begin(b, 0); err != nil {
			t.Fatal(err)
		}
		tape := tensor.NewTape(nil)
		total, _, err := f.Losses(tape, 0, n)
		if err != nil {
			t.Fatal(err)
		}
		preds, err := f.Model.Forward(tape, f.current.inputs, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := 0.0
		for _, part := range []struct {
			ids   []int32
			share float64
		}{{[]int32{0, 1, 2, 1}, f.current.blended.share}, {[]int32{1, 2, 1, 0}, 1 - f.current.blended.share}} {
			l, err := f.Model.Losses(tape, preds, &heads.Targets{Classes: map[string][]int32{"class": part.ids}})
			if err != nil {
				t.Fatal(err)
			}
			want += part.share * float64(l[0].Data[0])
		}
		if got := float64(total.Data[0]); math.Abs(got-want) > 1e-5*want {
			t.Errorf("loss %g, want %g", got, want)
		}
	})
}

// TestBlendDraws looks at many draws: how large the shares are, how often each method is taken, and
// that class maps follow the pixels.
func TestBlendDraws(t *testing.T) {
	const n, side, stride, draws = 4, 16, 4, 1000
	// draw blends images whose pixels are the number of their sample.
	draw := func(seed uint64, c heads.Train, classes map[string][]int32) (*multimae.Batch, float64) {
		b := &multimae.Batch{Size: n, H: side, W: side, Images: map[string][]float32{"rgb": make([]float32, n*3*side*side)}, Classes: classes}
		for i := range b.Images["rgb"] {
			b.Images["rgb"][i] = float32(i / (3 * side * side))
		}
		rng := nn.NewRNG(seed)
		return b, blend(b, &c, &rng).share
	}
	t.Run("mixup", func(t *testing.T) {
		var shares []float64
		for seed := range uint64(draws) {
			_, share := draw(seed, heads.Train{Mixup: 0.8}, nil)
			shares = append(shares, share)
		}
		if d := stattest.KS(shares, stattest.BetaCDF(0.8, 0.8)); d > stattest.KSLimit {
			t.Errorf("shares are not drawn from Beta(0.8, 0.8): √n·D = %.2f", d)
		}
	})
	t.Run("cutmix", func(t *testing.T) {
		between := 0
		for seed := range uint64(draws) {
			ids := make([]int32, n*(side/stride)*(side/stride))
			for i := range ids {
				ids[i] = int32(i)
			}
			b, share := draw(seed, heads.Train{CutMix: 1}, map[string][]int32{"semseg": ids})
			if share > 0.1 && share < 0.9 {
				between++
			}
			for i, id := range b.Classes["semseg"] {
				cells := len(ids) / n
				s, y, x := i/cells, i%cells/(side/stride), i%(side/stride)
				// A cell goes with its last pixel.
				from := int(b.Images["rgb"][(s*3*side+(y+1)*stride-1)*side+(x+1)*stride-1])
				if want := from*cells + i%cells; int(id) != want {
					t.Fatalf("seed %d: cell (%d, %d) of sample %d is %d, want %d", seed, x, y, s, id, want)
				}
			}
		}
		if between < draws/2 {
			t.Errorf("%d of %d shares are between 0.1 and 0.9", between, draws)
		}
	})
	t.Run("both", func(t *testing.T) {
		mixed := 0
		for seed := range uint64(draws) {
			b, _ := draw(seed, heads.Train{Mixup: 1, CutMix: 1}, nil)
			if slices.ContainsFunc(b.Images["rgb"], func(v float32) bool { return v != float32(int(v)) }) {
				mixed++
			}
		}
		if mixed < 4*draws/10 || mixed > 6*draws/10 {
			t.Errorf("mixup in %d of %d draws, want about half", mixed, draws)
		}
	})
}

// TestFinetuneBadInput wants one sentence that names the key before the first step.
func TestFinetuneBadInput(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(c *heads.Config)
		want string
	}{
		{"target is an input", func(c *heads.Config) { c.Outputs[0].Target = "rgb" }, "outputs.semseg.target…rgb"},
		{"classes", func(c *heads.Config) { c.Outputs[0].Classes = []string{"a"} }, "outputs.semseg.classes…1…16"},
		{"unit", func(c *heads.Config) { c.Outputs[1].Unit = -1 }, "outputs.depth.unit"},
		{"smoothing", func(c *heads.Config) { c.Outputs[1].LabelSmoothing = 0.1 }, "outputs.depth.label_smoothing"},
		{"weight of a loss", func(c *heads.Config) { c.Outputs[1].LossWeight = -0.1 }, "outputs.depth.loss_weight"},
		{"blended maps", func(c *heads.Config) { c.Train.Mixup = 1 }, "train.mixup…semseg"},
		{"added maps", func(c *heads.Config) {
			c.Inputs = append(c.Inputs, multimae.Input{Name: "parts", Kind: multimae.KindClasses, NumClasses: 4, Stride: 1, ClassEmbDim: 4})
			c.Train.Mixup = 1
		}, "train.mixup…parts…train.cutmix"},
		{"scale", func(c *heads.Config) { c.Train.Scale = []float64{2, 1} }, "train.scale"},
		{"scale and crop", func(c *heads.Config) { c.Train.CropScale = []float64{0.5, 1} }, "train.scale…train.crop_scale"},
		{"average", func(c *heads.Config) { c.Train.EMA = 1 }, "train.ema"},
		{"layers", func(c *heads.Config) { c.Train.LayerDecay = 2 }, "train.layer_decay"},
		{"batch", func(c *heads.Config) { c.Train.Batch = 0 }, "train.batch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := fineConfig()
			c.edit(config)
			if _, err := heads.NewModel(config); err == nil || !testkit.Mentions(err.Error(), c.want) {
				t.Errorf("got %v, want an error that mentions %s", err, c.want)
			}
		})
	}
	t.Run("no truth in the batch", func(t *testing.T) {
		f := newFinetuning(t, fineConfig())
		b := fineBatch(t, f, 2)
		delete(b.Classes, "semseg")
		if err := f.Begin(b, 0); err == nil || !testkit.Mentions(err.Error(), "semseg") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("labels of scenes", func(t *testing.T) {
		c := fineConfig()
		c.Outputs = heads.Outputs{{Name: "class", Head: heads.Linear, NumClasses: 2, Classes: []string{"a", "b"}, Loss: heads.LossCrossEntropy}}
		if _, _, err := FinetuneData(c); err == nil || !testkit.Mentions(err.Error(), "outputs") {
			t.Errorf("got %v", err)
		}
	})
}
