package train

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// TestLearns trains on one batch, of which each step draws new masks.
func TestLearns(t *testing.T) {
	c := tinyConfig()
	c.Train.Steps, c.Optim.LR = 80, 1e-2
	tr := newTrainer(t, c, nil)
	b := someBatch(t, c, 8)
	var losses []float64
	for k := range c.Train.Steps {
		x := step(t, tr, b)
		sum := 0.0
		for _, l := range x.Losses {
			sum += l
		}
		if x.Step != k+1 || tr.Steps() != k+1 || len(x.Losses) != 4 || math.Abs(sum-x.Loss) > 1e-5*sum || x.WeightDecay != 0.05 || !(x.GradNorm > 0) || x.Skipped {
			t.Fatalf("%+v", x)
		}
		if want := (nn.Schedule{Base: 1e-2, Warmup: 2, Steps: 80}).At(k); x.LR != want {
			t.Fatalf("step %d: learning rate %g, want %g", k+1, x.LR, want)
		}
		losses = append(losses, x.Loss)
	}
	first, last := mean(losses[:8]), mean(losses[72:])
	if !(last < 0.8*first) {
		t.Errorf("loss %.3f at first and %.3f at last", first, last)
	}
}

func mean(x []float64) (m float64) {
	for _, v := range x {
		m += v / float64(len(x))
	}
	return m
}

// TestDiverged spoils a number somewhere. The error must name the place, and nothing else may
// change.
func TestDiverged(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		name       string
		spoil      func(tr *Trainer, b *multimae.Batch)
		what, bad  string
		inData     bool
		balancerOn bool
	}{
		{name: "input", what: "the loss is NaN", bad: "input depth of the batch", inData: true,
			spoil: func(_ *Trainer, b *multimae.Batch) { fill(b.Images["depth"], float32(math.NaN())) }},
		{name: "parameter", what: "the loss is NaN", bad: "parameter encoder.1.attn.qkv.bias, shape [48], element 3 is +Inf",
			spoil: func(tr *Trainer, _ *multimae.Batch) {
				parameter(t, model(tr).Params, "encoder.1.attn.qkv.bias")[3] = inf
			}},
		{name: "loss weight", what: "the loss is NaN", bad: "parameter log_vars, shape [4], element 2 is NaN", balancerOn: true,
			spoil: func(tr *Trainer, _ *multimae.Batch) {
				parameter(t, tr.Objective.Extra(), "log_vars")[2] = float32(math.NaN())
			}},
		{name: "activation", what: "the loss is NaN", bad: "with encoder.0.mlp.fc1.weight, shape [4 5 32], element",
			spoil: func(tr *Trainer, _ *multimae.Batch) {
				fill(parameter(t, model(tr).Params, "encoder.0.mlp.fc1.bias"), 3e38)
				fill(parameter(t, model(tr).Params, "encoder.0.norm2.bias"), 1e38)
				fill(parameter(t, model(tr).Params, "encoder.0.mlp.fc1.weight"), 1e38)
			}},
		{name: "gradient", what: "the norm of the gradient is ", bad: "gradient of output_adapters.depth.decoder_transformer.0.mlp.fc2.weight, shape [8 16], element 0 is",
			spoil: func(tr *Trainer, _ *multimae.Batch) {
				ps, at := model(tr).Params, "output_adapters.depth."
				fill(parameter(t, ps, at+"out_proj.weight"), 1e33) // a loss of 1e33, and gradients as large
				fill(parameter(t, ps, at+"out_proj.bias"), 1e34)
				fill(parameter(t, ps, at+"decoder_transformer.0.mlp.fc1.bias"), 1e7)
				fill(parameter(t, ps, at+"decoder_transformer.0.mlp.fc2.weight"), 0) // hides the large activations from the loss
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := tinyConfig()
			if c.balancerOn {
				config.Train.Weighting = "uncertainty"
			}
			tr := newTrainer(t, config, nil)
			b := someBatch(t, config, 4)
			step(t, tr, b)
			c.spoil(tr, b)
			before := state(tr)
			x, err := tr.Step(b)
			var d *DivergedError
			if x != nil || !errors.As(err, &d) {
				t.Fatalf("got %v, %v", x, err)
			}
			if d.Step != 2 || !strings.HasPrefix(d.What, strings.TrimSuffix(c.what, "NaN")) || !strings.Contains(d.First, c.bad) || d.inData() != c.inData {
				t.Errorf("%+v", d)
			}
			remedy := "optim.lr"
			if c.inData {
				remedy = "sample"
			}
			if want := "step 2…" + d.What + "…" + d.First + "…" + remedy; !testkit.Mentions(err.Error(), want) {
				t.Errorf("error %q, want %q", err, want)
			}
			if names := changed(before, state(tr)); names != nil || tr.Steps() != 1 || tr.opt.Steps != 1 {
				t.Errorf("step %d, changed: %v", tr.Steps(), names)
			}
		})
	}
}

// TestGoesOnAfterBadBatch wants a trainer that trains on after an error as if there had been no
// such batch.
func TestGoesOnAfterBadBatch(t *testing.T) {
	c := tinyConfig()
	good := someBatch(t, c, 4)
	one, two := newTrainer(t, c, nil), newTrainer(t, c, nil)
	for range 3 {
		bad := someBatch(t, c, 4)
		bad.Images["rgb"][100] = float32(math.Inf(1))
		if _, err := one.Step(bad); err == nil {
			t.Fatal("an infinite input was not noticed")
		}
		x, y := step(t, one, good), step(t, two, good)
		if x.Loss != y.Loss || x.GradNorm != y.GradNorm {
			t.Errorf("%+v, want %+v", x, y)
		}
	}
	if names := changed(state(one), state(two)); names != nil {
		t.Errorf("differ: %v", names)
	}
}

// TestBatches trains on batches that lack modalities, and on some that cannot be used.
func TestBatches(t *testing.T) {
	c := tinyConfig()
	c.Outputs = c.Outputs[:2] // rgb and depth
	tr := newTrainer(t, c, nil)
	b := someBatch(t, c, 4)
	delete(b.Images, "depth")
	if x := step(t, tr, b); !finite(x.Losses[0]) || !math.IsNaN(x.Losses[1]) || x.Loss != x.Losses[0] {
		t.Errorf("without depth: %+v", x)
	}
	for _, e := range []struct {
		spoil func(b *multimae.Batch)
		want  string
	}{
		{func(b *multimae.Batch) { delete(b.Images, "rgb"); delete(b.Images, "depth") }, "batch: …[semseg]"},
		{func(b *multimae.Batch) { clear(b.Images); clear(b.Classes) }, "inputs"},
		{func(b *multimae.Batch) { b.Classes["semseg"][5] = 99 }, `"semseg": id 99…5…0..15`},
		{func(b *multimae.Batch) { b.H = 12 }, "12×16…patch_size 8"},
		{func(b *multimae.Batch) { b.Images["rgb"] = b.Images["rgb"][1:] }, `"rgb"…3071`},
		{func(b *multimae.Batch) { b.Size = 0 }, "batch: …0"},
	} {
		t.Run(e.want, func(t *testing.T) {
			b := someBatch(t, c, 4)
			e.spoil(b)
			if _, err := tr.Step(b); err == nil || !testkit.Mentions(err.Error(), e.want) || errors.As(err, new(*DivergedError)) {
				t.Errorf("got %v", err)
			}
		})
	}
	c.Train.NumEncodedTokens = 9
	b = someBatch(t, c, 4)
	delete(b.Images, "depth")
	if _, err := tr.Step(b); err == nil || !testkit.Mentions(err.Error(), "num_encoded_tokens: got 9…8") {
		t.Errorf("too many tokens: %v", err)
	}
	if tr.Steps() != 1 {
		t.Errorf("%d steps done, want 1", tr.Steps())
	}
	m, err := multimae.NewModel(&multimae.Config{BackboneConfig: multimae.BackboneConfig{Model: c.Model, Encoder: c.Encoder, ImageSize: 16, PatchSize: 8, Inputs: c.Inputs}, Outputs: c.Outputs})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewTrainer(NewPretraining(m), nil); err == nil || !testkit.Mentions(err.Error(), "train…optim") {
		t.Errorf("a model without train: %v", err)
	}
}

func TestSkipGrad(t *testing.T) {
	c := tinyConfig()
	b := someBatch(t, c, 4)
	size := step(t, newTrainer(t, c, nil), b).GradNorm
	for share, skipped := range map[float64]bool{0.999: true, 1.001: false} {
		t.Run(fmt.Sprintf("limit of %g", share), func(t *testing.T) {
			c.Train.SkipGrad = share * size
			tr := newTrainer(t, c, nil)
			before := state(tr)
			x := step(t, tr, b)
			if x.Skipped != skipped || x.GradNorm != size || tr.Steps() != 1 || (changed(before, state(tr)) == nil) != skipped || (tr.opt.Steps == 0) != skipped {
				t.Errorf("norm of %g: %+v, %d updates", size, x, tr.opt.Steps)
			}
		})
	}
}

// TestClipGrad checks the gradient that was used: ten times the first moment after a step.
func TestClipGrad(t *testing.T) {
	c := tinyConfig()
	b := someBatch(t, c, 4)
	for _, clip := range []float64{0, 0.25, 1e6} {
		t.Run(fmt.Sprint(clip), func(t *testing.T) {
			c.Train.ClipGrad = clip
			tr := newTrainer(t, c, nil)
			x := step(t, tr, b)
			want := x.GradNorm
			if clip > 0 {
				want = min(want, clip)
			}
			if got := 10 * norm(tr.opt.M...); math.Abs(got-want) > 1e-4*want {
				t.Errorf("a gradient of norm %g was used, want %g of %g", got, want, x.GradNorm)
			}
		})
	}
}

// TestUpdates redoes the updates of three steps in float64 from the gradients that they leave, with the
// schedule, the scales of a parameter and clipping.
func TestUpdates(t *testing.T) {
	type scaled struct {
		name      string
		lr, decay float64
	}
	type updates struct {
		name   string
		tr     *Trainer
		b      *multimae.Batch
		params []scaled
	}
	plain := tinyConfig()
	plain.Optim.Betas = [2]float64{0.8, 0.95}
	f := newFinetuning(t, fineConfig())
	fine, err := NewTrainer(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []updates{
		{"pre-training", newTrainer(t, plain, nil), someBatch(t, plain, 4), []scaled{
			{"encoder.0.attn.qkv.weight", 1, 1}, {"encoder.1.mlp.fc1.bias", 1, 1}, {"output_adapters.depth.out_proj.weight", 1, 1},
		}},
		{"fine-tuning", fine, fineBatch(t, f, 4), []scaled{
			{"encoder.0.attn.qkv.weight", 0.7 * 0.7, 1}, {"encoder.1.mlp.fc1.bias", 0.7, 0}, {"output_adapters.semseg.final_layer.weight", 1, 1},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, ps := c.tr.Objective.Plan(), c.tr.Objective.Backbone().Params
			schedule := nn.Schedule{Base: 3e-3, Warmup: 2, Steps: 12}
			m, v := map[string][]float64{}, map[string][]float64{}
			for k := range 3 {
				want := map[string][]float64{} // and before the step the parameters
				for _, p := range c.params {
					for _, x := range parameter(t, ps, p.name) {
						want[p.name] = append(want[p.name], float64(x))
					}
				}
				x := step(t, c.tr, c.b)
				clip := 1.0
				if limit := plan.Recipe.ClipGrad; limit > 0 {
					clip = min(1, limit/x.GradNorm)
				}
				b1, b2 := plan.Optim.Betas[0], plan.Optim.Betas[1]
				for _, p := range c.params {
					param, w := ps.Get(p.name), want[p.name]
					if k == 0 {
						m[p.name], v[p.name] = make([]float64, len(w)), make([]float64, len(w))
					}
					lr := schedule.At(k) * p.lr
					for i := range w {
						g := float64(param.Grad[i]) * clip
						m, v := &m[p.name][i], &v[p.name][i]
						*m, *v = b1**m+(1-b1)*g, b2**v+(1-b2)*g*g
						mean, square := *m/(1-math.Pow(b1, float64(k+1))), *v/(1-math.Pow(b2, float64(k+1)))
						before := w[i]
						w[i] = before - lr*0.05*p.decay*before - lr*mean/(math.Sqrt(square)+plan.Optim.Eps)
						if got := float64(param.Data[i]); math.Abs(got-w[i]) > 2e-6*lr+2e-7*math.Abs(before) {
							t.Fatalf("step %d: element %d of %s goes from %.9g to %.9g, want %.9g", k+1, i, p.name, before, got, w[i])
						}
					}
				}
			}
		})
	}
}

// TestUncertainty checks that the loss weights are trained by their own gradient.
func TestUncertainty(t *testing.T) {
	c := tinyConfig()
	c.Train.Weighting, c.Optim.WeightDecay = "uncertainty", 0
	tr := newTrainer(t, c, nil)
	b := someBatch(t, c, 4)
	sigma := parameter(t, tr.Objective.Extra(), "log_vars")
	for range 5 {
		before := slices.Clone(sigma)
		x := step(t, tr, b)
		want := 0.0
		for i, l := range x.Losses {
			want += math.Exp(-float64(before[i]))*l + float64(before[i])
			// d/dσ (exp(−σ)·L + σ), whose sign Adam's first steps follow.
			if d := 1 - math.Exp(-float64(before[i]))*l; x.Step == 1 && (sigma[i]-before[i])*float32(d) >= 0 {
				t.Errorf("weight %d went from %g to %g against a gradient of %g", i, before[i], sigma[i], d)
			}
		}
		if math.Abs(x.Loss-want) > 1e-5*math.Abs(want) {
			t.Errorf("step %d: total %g, want %g", x.Step, x.Loss, want)
		}
	}
	if _, ok := state(tr)["balancer.log_vars"]; !ok {
		t.Error("not in the checkpoint")
	}
}

// TestLossWeights compares what is trained with the sum of weighted losses, for both objectives.
func TestLossWeights(t *testing.T) {
	pre, fine := tinyConfig(), fineConfig()
	pre.Outputs[1].LossWeight, fine.Outputs[1].LossWeight = 3, 3
	f := newFinetuning(t, fine)
	for _, x := range []struct {
		objective Objective
		batch     *multimae.Batch
	}{{newTrainer(t, pre, nil).Objective, someBatch(t, pre, 4)}, {f, fineBatch(t, f, 4)}} {
		if err := x.objective.Begin(x.batch, 0); err != nil {
			t.Fatal(err)
		}
		total, losses, err := x.objective.Losses(tensor.NewTape(nil), 0, 4)
		if err != nil {
			t.Fatal(err)
		}
		want := 2 * losses[1].Data[0]
		for _, l := range losses {
			want += l.Data[0]
		}
		if got := total.Data[0]; math.Abs(float64(got-want)) > 1e-5*float64(want) {
			t.Errorf("%T: total %g, want %g", x.objective, got, want)
		}
	}
}

func TestUniformTasks(t *testing.T) {
	c := tinyConfig()
	c.Train.Steps, c.Train.UniformTasks = 20, true
	c.Train.Alphas = multimae.Alphas{5, 5, 5} // so that the shares leave no modality out
	tr := newTrainer(t, c, nil)
	b := someBatch(t, c, 8)
	alone := map[string]int{}
	for range 20 {
		step(t, tr, b)
		for s := range b.Size {
			for _, m := range masks(tr).Inputs {
				if !slices.Contains(masks(tr).Task(s, m), true) { // all four patches seen
					alone[m]++
				}
			}
		}
	}
	for _, m := range masks(tr).Inputs {
		if alone[m] < 10 || alone[m] > 40 { // a seventh of 160
			t.Errorf("%s alone in %d of 160 samples, want about 23", m, alone[m])
		}
	}
}

// TestSameBits trains with different numbers of workers, with drop-path: shared out by operations,
// with uncertainties, and shared out by samples.
func TestSameBits(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8)) // no pool is larger
	for _, s := range []struct {
		name, weighting string
		batch           int
	}{{"operations", "uncertainty", 4}, {"lanes", "", 14}, {"lanes, several passes", "", 40}} {
		t.Run(s.name, func(t *testing.T) {
			c := tinyConfig()
			c.Encoder.DropPath, c.Train.Weighting, c.Train.ClipGrad, c.Train.Batch = 0.5, s.weighting, 1, s.batch
			if lanes, _ := c.Lanes(); (lanes > 0) == (s.name == "operations") {
				t.Fatalf("%d lanes", lanes)
			}
			b := someBatch(t, c, s.batch)
			train := func(workers int) (map[string][]float32, []Metrics) {
				pool := tensor.NewPool(workers)
				defer pool.Close()
				tr := newTrainer(t, c, pool)
				var all []Metrics
				for range 6 {
					all = append(all, *step(t, tr, b))
				}
				return state(tr), all
			}
			want, metrics := train(1)
			for _, workers := range []int{1, 2, 3, 8} { // 8 are more than there are lanes
				t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
					got, again := train(workers)
					if names := changed(want, got); names != nil || fmt.Sprint(again) != fmt.Sprint(metrics) {
						t.Errorf("other bits in %v", names)
					}
				})
			}
			c.Train.Seed++
			if got, _ := train(1); changed(want, got) == nil {
				t.Error("the seed does not matter")
			}
			c.Train.Seed--
			c.Encoder.DropPath = 0
			if got, _ := train(1); changed(want, got) == nil {
				t.Error("drop-path does not matter")
			}
		})
	}
}

// TestLanes compares a step that is shared out by samples with one that is not: losses and
// gradients are the same but for the order of sums, also where samples have nothing to predict and
// classes are missing.
func TestLanes(t *testing.T) {
	c := tinyConfig()
	c.Train.Batch = 11
	b := someBatch(t, c, c.Train.Batch)
	for i := range b.Classes["semseg"] {
		if i%5 == 0 || i < 3*len(b.Classes["semseg"])/c.Train.Batch {
			b.Classes["semseg"][i] = multimae.IDIgnored
		}
	}
	shared, plain := newTrainer(t, c, nil), newTrainer(t, c, nil)
	for _, tr := range []*Trainer{shared, plain} {
		if err := tr.Objective.Begin(b, 3); err != nil {
			t.Fatal(err)
		}
	}
	plan := shared.Objective.Plan()
	shared.makeLanes(&plan)
	if len(shared.lanes) != 2 {
		t.Fatalf("%d lanes for a batch of %d", len(shared.lanes), b.Size)
	}
	got, err := shared.sharedByLanes(b)
	if err != nil {
		t.Fatal(err)
	}
	want, err := plain.sharedByOperations(b)
	if err != nil {
		t.Fatal(err)
	}
	near := func(what string, got, want, size float64) {
		t.Helper()
		if !(math.Abs(got-want) <= 2e-6*size) {
			t.Errorf("%s: %.9g, want %.9g", what, got, want)
		}
	}
	near("loss", got.loss, want.loss, want.loss)
	near("norm of the gradient", got.norm, want.norm, want.norm)
	for i, l := range want.losses {
		near("loss of "+c.Outputs[i].Name, got.losses[i], l, l)
	}
	for _, p := range model(plain).Params.All() {
		g := model(shared).Params.Get(p.Name).Grad
		sum := 0.0
		for i, v := range p.Grad {
			sum += (float64(g[i]) - float64(v)) * (float64(g[i]) - float64(v))
		}
		near("gradient of "+p.Name, math.Sqrt(sum), 0, want.norm)
	}
}

// TestIdle counts the calls of Trainer.Idle, and wants them behind all lanes where one worker takes one
// after the other.
func TestIdle(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3)) // no pool is larger
	// With lanes and without.
	for _, weighting := range []string{"", "uncertainty"} {
		for workers := 1; workers <= 3; workers++ {
			pool := tensor.NewPool(workers)
			c := tinyConfig()
			c.Train.Batch, c.Train.Weighting = 11, weighting
			b := someBatch(t, c, c.Train.Batch)
			tr := newTrainer(t, c, pool)
			calls := 0
			tr.Idle = func() {
				calls++
				for _, l := range tr.lanes {
					if workers == 1 && l.loss == 0 {
						t.Errorf("lane %d was not computed before", l.number)
					}
				}
			}
			for range 4 {
				step(t, tr, b)
			}
			if calls != 4 || (len(tr.lanes) > 0) != (weighting == "") {
				t.Errorf("%d workers: %d calls in 4 steps with %d lanes", workers, calls, len(tr.lanes))
			}
			pool.Close()
		}
	}
}

// TestCheckpoint goes on from a file at every step.
func TestCheckpoint(t *testing.T) {
	c := tinyConfig()
	c.Encoder.DropPath, c.Train.Weighting = 0.3, "uncertainty"
	b := someBatch(t, c, 4)
	path := filepath.Join(t.TempDir(), CheckpointName(1))
	straight := newTrainer(t, c, nil)
	for k := range c.Train.Steps {
		c.Train.SkipGrad = float64(k%3) * 1e-9 // skips two of three: the optimiser has its own count
		if err := straight.Save(path); err != nil {
			t.Fatal(err)
		}
		restored := newTrainer(t, c, nil)
		if err := restored.Restore(path); err != nil {
			t.Fatal(err)
		}
		x, y := step(t, straight, b), step(t, restored, b)
		if names := changed(state(straight), state(restored)); names != nil || fmt.Sprint(*x) != fmt.Sprint(*y) || restored.opt.Steps != straight.opt.Steps {
			t.Fatalf("step %d: %v differ; %+v, want %+v", x.Step, names, y, x)
		}
		if x.Skipped != (k%3 > 0) {
			t.Errorf("%+v", x)
		}
	}
}

// TestRestoreErrors wants an error to name the checkpoint and what is wrong with it.
func TestRestoreErrors(t *testing.T) {
	c := tinyConfig()
	path := filepath.Join(t.TempDir(), CheckpointName(1))
	tr := newTrainer(t, c, nil)
	step(t, tr, someBatch(t, c, 4))
	if err := tr.Save(path); err != nil {
		t.Fatal(err)
	}
	whole := readFile(t, path)
	refuse := func(what, want string, c *multimae.Config) {
		t.Helper()
		err := newTrainer(t, c, nil).Restore(path)
		if err == nil || !testkit.Mentions(err.Error(), path+"…"+want) {
			t.Errorf("%s: error %v, want %q and the path", what, err, want)
		}
	}
	put := func(b string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(b), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	put(summed(strings.Replace(whole, `"gomae_step":"1"`, `"gomae_step":"x"`, 1)))
	refuse("no step", `gomae_step…"x"`, c)
	put(summed("no safetensors file"))
	refuse("text", "", c)
	put(whole)
	other := tinyConfig()
	other.Encoder.Depth = 1
	refuse("fewer blocks", "another configuration", other)
	other = tinyConfig()
	other.Train.Weighting = "uncertainty"
	refuse("another weighting", "another configuration", other)
	other = tinyConfig()
	other.Encoder.MLPRatio = 3
	refuse("another ratio", "another configuration…encoder.mlp_ratio was 2 and is now 3", other)
	put(summed(strings.Replace(whole, `"gomae_config"`, `"other_config"`, 1)))
	refuse("other shapes", "mlp.fc1.weight…[16 8]…[24 8]", other)
	put(summed(strings.Replace(whole, `\"dim\": 8`, `\"dim\": x`, 1)))
	refuse("no configuration", "gomae_config", c)
	put(whole)
	tr.opt.V[7][1] = float32(math.NaN())
	if err := tr.Save(path); err != nil {
		t.Fatal(err)
	}
	refuse("NaN", "optimizer.v."+tr.opt.Params()[7].Name, c)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := newTrainer(t, c, nil).Restore(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// summed puts the right checksum in the place of a checkpoint's last bytes.
func summed(file string) string {
	file = file[:len(file)-checksumSize]
	return string(binary.LittleEndian.AppendUint32([]byte(file), crc32.Checksum([]byte(file), castagnoli)))
}

// TestDamaged wants every flipped byte and every lost one to be found.
func TestDamaged(t *testing.T) {
	c := tinyConfig()
	c.Encoder.Dim, c.Encoder.Depth, c.Outputs = 8, 1, c.Outputs[:1]
	path := filepath.Join(t.TempDir(), CheckpointName(0))
	tr := newTrainer(t, c, nil)
	if err := tr.Save(path); err != nil {
		t.Fatal(err)
	}
	if err := tr.Restore(path); err != nil {
		t.Fatal(err)
	}
	whole := []byte(readFile(t, path))
	if string(whole) != summed(string(whole)) {
		t.Error("the checksum is not that of the other bytes")
	}
	damaged := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := tr.Restore(path); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", what, err)
		}
	}
	headed := 8 + int(binary.LittleEndian.Uint64(whole))
	for i := range whole {
		if i > 16 && i < headed && i%97 != 0 || i > headed && i < len(whole)-8 && i%997 != 0 {
			continue // some of the header and the data
		}
		b := append([]byte(nil), whole...)
		b[i] ^= 1 << (i % 8)
		damaged(fmt.Sprintf("byte %d flipped", i), b)
	}
	for _, n := range []int{0, 1, 3, 4, 5, 8, 1000, headed, len(whole) / 2, len(whole) - 4, len(whole) - 1} {
		damaged(fmt.Sprintf("cut to %d bytes", n), whole[:n])
	}
	damaged("a byte more", append(whole, 0))
	damaged("zeros", make([]byte, len(whole)))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := tr.Restore(path); !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrDamaged) {
		t.Errorf("no file: %v", err)
	}
}
