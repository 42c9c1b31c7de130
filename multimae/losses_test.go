package multimae

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// TestLosses compares the losses, of any predictions, and their gradients with those between images
// under a mask of pixels.
func TestLosses(t *testing.T) {
	for _, c := range []struct {
		what    string
		set     func(c *Config)
		inputs  []string
		h, w    int
		visible int
	}{
		{"all inputs", func(*Config) {}, []string{"rgb", "depth", "semseg"}, 16, 24, 7},
		{"nearly all visible", func(*Config) {}, []string{"rgb", "depth", "semseg"}, 16, 16, 11},
		{"one input", func(*Config) {}, []string{"depth"}, 24, 16, 5},
		{"loss on all patches", func(c *Config) {
			for i := range c.Outputs {
				c.Outputs[i].LossOnUnmasked = true
			}
		}, []string{"rgb", "depth", "semseg"}, 16, 16, 3},
		{"smoothing", func(c *Config) { c.Outputs[2].LabelSmoothing = 0.7 }, []string{"rgb", "semseg"}, 16, 16, 4},
		{"patches of one pixel", func(c *Config) {
			c.PatchSize, c.ImageSize = 4, 16
			c.Inputs[1].Stride, c.Outputs[1].Stride = 4, 4
		}, []string{"rgb", "depth", "semseg"}, 8, 16, 10},
		{"every loss of pixels", func(c *Config) {
			for i, l := range []string{LossNormMSE, LossMSE} {
				c.Outputs[i].Loss = l
			}
			c.Outputs[3].Loss = LossL1
		}, []string{"rgb", "depth"}, 16, 16, 4},
	} {
		t.Run(c.what, func(t *testing.T) {
			cfg := smallConfig()
			c.set(cfg)
			m := newModel(t, cfg)
			const size = 4
			b := newBatch(cfg, size, c.h, c.w, 1, cfg.Inputs.Names()...)
			masks := newMasks(t, cfg, b, c.visible, 2, c.inputs...)
			nh, nw := cfg.Grid(c.h, c.w)
			var preds []*tensor.Tensor
			var preds64 [][]float64
			for i, o := range cfg.Outputs {
				p := cfg.PatchSize / o.Stride
				x := tensor.New(size, nh*nw, o.Channels*p*p).WithGrad()
				r := nn.NewRNG(3, uint64(i))
				wide := make([]float64, len(x.Data))
				for k := range x.Data {
					x.Data[k] = float32(2 * r.Normal())
					wide[k] = float64(x.Data[k])
				}
				preds, preds64 = append(preds, x), append(preds64, wide)
			}
			r := newRef(m)
			each64, total64 := r.losses(preds64, b, masks)
			testkit.EachLevel(t, func(t *testing.T) {
				tape := tensor.NewTape(nil)
				for _, p := range preds {
					clear(p.Grad)
				}
				losses, err := m.Losses(tape, preds, b, masks)
				if err != nil {
					t.Fatal(err)
				}
				total := Total(tape, losses)
				tape.Backward(total)
				near(t, "total", total.Data, []float64{total64})
				for i := range cfg.Outputs {
					o := &cfg.Outputs[i]
					near(t, "loss of "+o.Name, losses[i].Data, each64[i:i+1])
					// One direction tells all elements apart. Quadratic and linear losses have no
					// truncation error but where |p−t| has its kink.
					dir, moved := make([]float64, len(preds64[i])), make([]float64, len(preds64[i]))
					rng := nn.NewRNG(4, uint64(i))
					got, gg := 0.0, 0.0
					for k := range dir {
						dir[k] = rng.Normal()
						got += float64(preds[i].Grad[k]) * dir[k]
						gg += float64(preds[i].Grad[k]) * float64(preds[i].Grad[k])
					}
					at := func(h float64) float64 {
						for k := range dir {
							moved[k] = preds64[i][k] + h*dir[k]
						}
						return r.loss(o, moved, b, masks)
					}
					const h = 1e-6
					want := (at(h) - at(-h)) / (2 * h)
					if off := within*math.Sqrt(gg) + 1e-8; !(math.Abs(got-want) <= off) {
						t.Errorf("the gradient of %s is %v in a direction, want %v ± %.2g", o.Name, got, want, off)
					}
				}
			})
		})
	}
}

// TestForwardLosses compares training's way to losses and gradients with that by way of predictions
// of all patches.
func TestForwardLosses(t *testing.T) {
	all := []string{"rgb", "depth", "semseg"}
	for _, c := range []struct {
		what    string
		set     func(c *Config, b *Batch)
		inputs  []string
		visible int
	}{
		{"every loss", func(*Config, *Batch) {}, all, 9},
		{"blocks in every decoder", func(c *Config, _ *Batch) {
			for i := range c.Outputs {
				c.Outputs[i].Depth, c.Outputs[i].LossOnUnmasked = 2, false
			}
		}, all, 13},
		{"one block in every decoder", func(c *Config, _ *Batch) {
			for i := range c.Outputs {
				c.Outputs[i].Depth, c.Outputs[i].LossOnUnmasked = 1, false
			}
		}, all, 3},
		{"losses on all patches", func(c *Config, _ *Batch) {
			for i := range c.Outputs {
				c.Outputs[i].LossOnUnmasked = true
			}
		}, all, 9},
		{"holes", func(c *Config, b *Batch) {
			b.Valid = map[string][]bool{"depth": holes(c, b, 0.4, 1)}
			clear(b.Valid["depth"][:len(b.Valid["depth"])/b.Size])
		}, all, 9},
		{"holes under every loss of pixels", func(c *Config, b *Batch) {
			b.Valid = map[string][]bool{"depth": holes(c, b, 0.4, 1)}
			for i, l := range []string{LossMSE, LossNormMSE} {
				o := c.Outputs[1]
				o.Name, o.Loss = l, l
				c.Outputs[3*i] = o
			}
		}, all, 9},
		{"a task that is no input", func(*Config, *Batch) {}, []string{"rgb", "semseg"}, 5},
		{"a task without targets", func(_ *Config, b *Batch) { delete(b.Images, "depth") }, []string{"rgb", "semseg"}, 5},
		{"one input", func(*Config, *Batch) {}, []string{"depth"}, 2},
		{"nothing masked", func(*Config, *Batch) {}, all, 18},
	} {
		t.Run(c.what, func(t *testing.T) {
			cfg := smallConfig()
			b := newBatch(cfg, 4, 16, 24, 1, cfg.Inputs.Names()...)
			c.set(cfg, b)
			m := newModel(t, cfg)
			masks := newMasks(t, cfg, b, c.visible, 2, c.inputs...)
			testkit.EachLevel(t, func(t *testing.T) {
				_, losses, _ := stepOnAll(t, m, tensor.NewTape(nil), b, masks)
				grads, largest := map[string][]float32{}, 0.0
				for _, p := range m.Params.All() {
					if p.HasGrad() {
						grads[p.Name] = slices.Clone(p.Grad)
						largest = max(largest, math.Sqrt(sumSq(p.Grad, nil)))
					}
				}
				got, _ := step(t, m, tensor.NewTape(nil), b, masks)
				for i, l := range losses {
					if (l == nil) != (got[i] == nil) {
						t.Fatalf("loss %d is %v, want %v", i, got[i], l)
					}
					if l != nil && !(math.Abs(float64(got[i].Data[0]-l.Data[0])) <= 4*u*float64(l.Data[0])) {
						t.Errorf("loss %d is %v, want %v", i, got[i].Data[0], l.Data[0])
					}
				}
				for _, p := range m.Params.All() {
					want, ok := grads[p.Name]
					if p.HasGrad() != ok {
						t.Errorf("%s has a gradient: %v, want %v", p.Name, p.HasGrad(), ok)
						continue
					}
					// Key biases have a gradient that is nothing but rounding.
					off, limit := math.Sqrt(sumSq(p.Grad, want)), 1e-5*math.Sqrt(sumSq(want, nil))+4*u*largest
					if !(off <= limit) {
						t.Errorf("the gradient of %s is off by %.2g, want at most %.2g", p.Name, off, limit)
					}
				}
			})
		})
	}
	t.Run("masks of fewer samples", func(t *testing.T) {
		cfg := smallConfig()
		b := newBatch(cfg, 4, 16, 24, 1, all...)
		masks := newMasks(t, cfg, b.Slice(0, 3), 9, 2, all...)
		_, err := newModel(t, cfg).ForwardLosses(tensor.NewTape(nil), b, masks, nil, nil)
		testkit.ErrorNames(t, err, "masks")
	})
}

// sumSq is the sum of the squares of x − y; nil y counts as 0.
func sumSq(x, y []float32) (sum float64) {
	for i, v := range x {
		d := float64(v)
		if y != nil {
			d -= float64(y[i])
		}
		sum += d * d
	}
	return sum
}

// TestNothingMasked checks samples, tasks and whole batches without a masked patch: they have no
// loss and no gradient, be the prediction what it may.
func TestNothingMasked(t *testing.T) {
	c := smallConfig()
	c.Outputs[3].LossOnUnmasked = false
	m := newModel(t, c)
	b := newBatch(c, 3, 16, 16, 5, c.Inputs.Names()...)
	for i := range b.Classes["semseg"] {
		b.Classes["semseg"][i] = int32(i % 5) // the last sample too
	}
	nan := float32(math.NaN())
	predictions := func() []*tensor.Tensor {
		preds, err := m.Forward(tensor.NewTape(nil), b, newMasks(t, c, b, 6, 6, c.Inputs.Names()...), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range preds {
			preds[i] = tensor.From(p.Data, p.Shape...).WithGrad()
		}
		return preds
	}
	run := func(preds []*tensor.Tensor, masks *Masks) (losses []*tensor.Tensor, total float32) {
		tape := tensor.NewTape(nil)
		losses, err := m.Losses(tape, preds, b, masks)
		if err != nil {
			t.Fatal(err)
		}
		sum := Total(tape, losses)
		tape.Backward(sum)
		return losses, sum.Data[0]
	}

	all, err := AllVisible(3, c.Inputs.Names(), 4)
	if err != nil {
		t.Fatal(err)
	}
	preds := predictions()
	for _, p := range preds {
		for i := range p.Data {
			p.Data[i] = nan // nobody looks
		}
	}
	losses, total := run(preds, all)
	for i, l := range losses {
		if l.Data[0] != 0 || total != 0 {
			t.Errorf("nothing masked: loss %v of %s, total %v", l.Data[0], c.Outputs[i].Name, total)
		}
		for k, g := range preds[i].Grad {
			if g != 0 {
				t.Fatalf("nothing masked: gradient %d of %s is %v", k, c.Outputs[i].Name, g)
			}
		}
	}

	// Of the second sample all of rgb is visible, of the third all of semseg.
	masks := masksOf(t, c.Inputs.Names(), 4, []int32{0, 5, 6, 7, 8, 9}, []int32{0, 1, 2, 3, 4, 9}, []int32{8, 9, 10, 11, 1, 4})
	preds = predictions()
	for s, i := range map[int][]int{1: {0, 3}, 2: {2}} {
		for _, i := range i {
			n := len(preds[i].Data) / 3
			for k := range n {
				preds[i].Data[s*n+k] = nan
			}
		}
	}
	losses, total = run(preds, masks)
	if total-total != 0 {
		t.Errorf("total %v", total)
	}
	for i, o := range c.Outputs {
		if v := losses[i].Data[0]; v-v != 0 || v <= 0 {
			t.Errorf("loss %v of %s", v, o.Name)
		}
		n := len(preds[i].Grad) / 3
		for s := range 3 {
			counts := slices.Contains(masks.Task(s, o.Task), true)
			used := false
			for k, g := range preds[i].Grad[s*n : (s+1)*n] {
				if g-g != 0 || g != 0 && !counts {
					t.Fatalf("gradient %d of %s, sample %d, is %v", k, o.Name, s, g)
				}
				used = used || g != 0
			}
			if used != counts {
				t.Errorf("%s, sample %d: has a gradient %v, want %v", o.Name, s, used, counts)
			}
		}
	}

	// The whole model: no gradient is NaN, and none but zero where all is seen.
	step(t, m, tensor.NewTape(nil), b, masks)
	if s := m.Params.FirstBadGrad(); s != "" {
		t.Error(s)
	}
	tape := tensor.NewTape(nil)
	step(t, m, tape, b, all)
	for _, p := range m.Params.All() {
		if s := tape.GradSumSq(p.Tensor); s != 0 {
			t.Errorf("nothing masked: the squares of the gradient of %s sum to %v", p.Name, s)
		}
	}
}

// TestStandardizePatch has patches that have no variance to divide by.
func TestStandardizePatch(t *testing.T) {
	for _, c := range []struct{ x, want []float32 }{
		{[]float32{3, 3, 3}, []float32{0, 0, 0}},
		{[]float32{5}, []float32{0}},
		{[]float32{-1, 1}, []float32{float32(-1 / math.Sqrt(2+1e-6)), float32(1 / math.Sqrt(2+1e-6))}}, // unbiased: 2
	} {
		x := slices.Clone(c.x)
		standardizePatch(x, validPatch{})
		testkit.SameBits(t, fmt.Sprint(c.x), x, c.want)
	}
}

// TestBalancer compares value and gradients with Σ exp(−σ)·L + σ.
func TestBalancer(t *testing.T) {
	scalar := func(v float64) *tensor.Tensor { return tensor.From([]float32{float32(v)}, 1).WithGrad() }
	// A loss may be 0 because there is nothing to predict, and because the prediction is perfect.
	nothing, perfect := scalar(0), scalar(0)
	losses := []*tensor.Tensor{scalar(2.5), nil, scalar(0.3), nothing, perfect}
	samples := []int{2, 2, 1, 0, 2}
	bal := NewBalancer(5)
	sigma := bal.Params.Get("log_vars")
	if sigma == nil || !slices.Equal(sigma.Shape, []int{5}) {
		t.Fatalf("log_vars %v", sigma)
	}
	total := func() (*tensor.Tape, *tensor.Tensor) {
		tape := tensor.NewTape(nil)
		return tape, bal.Total(tape, losses, samples, true)
	}
	if _, y := total(); math.Abs(float64(y.Data[0])-2.8) > 1e-6 { // the plain sum at first
		t.Errorf("σ = 0: %v", y.Data[0])
	}
	copy(sigma.Data, []float32{0.5, 9, -1, 9, 2})
	bal.Params.EnableGrad()
	tape, y := total()
	tape.Backward(y)
	want := 0.0
	for i, l := range losses {
		s := float64(sigma.Data[i])
		g, gl := 0.0, 0.0
		if l != nil && l != nothing {
			want += math.Exp(-s)*float64(l.Data[0]) + s
			g, gl = 1-math.Exp(-s)*float64(l.Data[0]), math.Exp(-s)
		}
		if got := float64(sigma.Grad[i]); math.Abs(got-g) > 4*u*(1+math.Abs(g)) {
			t.Errorf("gradient of σ %d is %v, want %v", i, got, g)
		}
		if l != nil && math.Abs(float64(l.Grad[0])-gl) > 4*u*gl {
			t.Errorf("gradient of loss %d is %v, want %v", i, l.Grad[0], gl)
		}
	}
	if got := float64(y.Data[0]); math.Abs(got-want) > 4*u*want {
		t.Errorf("total %v, want %v", got, want)
	}
	tape, y = total() // gradients add up
	tape.Backward(y)
	if got, want := float64(losses[0].Grad[0]), 2*math.Exp(-0.5); math.Abs(got-want) > 8*u {
		t.Errorf("gradient of loss 0 after two passes is %v, want %v", got, want)
	}
	if got, want := float64(sigma.Grad[0]), 2-5*math.Exp(-0.5); math.Abs(got-want) > 8*u {
		t.Errorf("gradient of σ 0 after two passes is %v, want %v", got, want)
	}
	losses[2].Data[0] = float32(math.NaN())
	if _, y = total(); y.Data[0] == y.Data[0] {
		t.Errorf("a NaN loss gives the total %v", y.Data[0])
	}
	losses = []*tensor.Tensor{nil, nil, nil, nothing, nil}
	sigma.Grad = make([]float32, 5)
	tape, y = total()
	tape.Backward(y)
	if y.Data[0] != 0 || slices.Max(sigma.Grad) != 0 || slices.Min(sigma.Grad) != 0 {
		t.Errorf("no task: total %v, gradients %v", y.Data[0], sigma.Grad)
	}

	// With a model: the loss of a task that is not there is nil.
	c := smallConfig()
	m := newModel(t, c)
	b := newBatch(c, 2, 16, 16, 7, "rgb", "semseg")
	masks := newMasks(t, c, b, 4, 8, "rgb", "semseg")
	bal = NewBalancer(len(c.Outputs))
	bal.Params.EnableGrad()
	tape = tensor.NewTape(nil)
	preds, err := m.Forward(tape, b, masks, nil)
	if err != nil {
		t.Fatal(err)
	}
	losses, err = m.Losses(tape, preds, b, masks)
	if err != nil {
		t.Fatal(err)
	}
	tape.Backward(bal.Total(tape, losses, m.LossSamples(b, masks), true))
	for i, g := range bal.Params.Get("log_vars").Grad {
		if (g == 0) != (c.Outputs[i].Task == "depth") {
			t.Errorf("gradient of σ of %s is %v", c.Outputs[i].Name, g)
		}
	}
}

func TestTotal(t *testing.T) {
	tape := tensor.NewTape(nil)
	a, b := tensor.From([]float32{2}, 1).WithGrad(), tensor.From([]float32{0.5}, 1).WithGrad()
	y := Total(tape, []*tensor.Tensor{nil, a, b, nil, a})
	tape.Backward(y)
	if y.Data[0] != 4.5 || a.Grad[0] != 2 || b.Grad[0] != 1 {
		t.Errorf("total %v, gradients %v %v", y.Data[0], a.Grad, b.Grad)
	}
	clear(a.Grad)
	clear(b.Grad)
	y = Total(tape, []*tensor.Tensor{nil, a, b, nil, a}, 5, 3, 0, 7, 1)
	tape.Backward(y)
	if y.Data[0] != 3*2+0.5+2 || a.Grad[0] != 4 || b.Grad[0] != 1 {
		t.Errorf("weighted total %v, gradients %v %v", y.Data[0], a.Grad, b.Grad)
	}
	y = Total(tape, []*tensor.Tensor{nil, nil})
	if y.Data[0] != 0 {
		t.Errorf("total of nothing: %v", y.Data[0])
	}
	tape.Backward(y)
}
