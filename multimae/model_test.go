package multimae

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// within is the relative error that a small model may make on the way from pixels to predictions or
// gradients: each of some twenty operations in a row rounds sums of up to 192 terms, whose errors
// add up like random numbers.
var within = math.Sqrt(20*192) * u

// near compares a tensor with the reference by the length of the difference, and names the element
// that is farthest off.
func near(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	diff, norm, worst, at := 0.0, 0.0, 0.0, 0
	for i, w := range want {
		d := math.Abs(float64(got[i]) - w)
		if !(d <= worst) {
			worst, at = d, i
		}
		diff += d * d
		norm += w * w
	}
	if !(math.Sqrt(diff) <= within*math.Sqrt(norm)) {
		t.Errorf("%s: off by %.2g of its length, want %.2g; element %d is %v, want %v", what, math.Sqrt(diff/norm), within, at, got[at], want[at])
	}
}

// TestForward compares tokens, predictions and losses with the reference: any subset of the inputs
// predicts every output, at any size of image.
func TestForward(t *testing.T) {
	all := smallConfig().Inputs.Names()
	type test struct {
		what    string
		set     func(c *Config)
		inputs  []string
		h, w    int
		visible int
	}
	plain := func(*Config) {}
	tests := []test{
		{"taller than wide", plain, all, 24, 8, 4},
		{"wide", plain, []string{"rgb", "semseg"}, 8, 40, 7},
		{"larger", plain, all, 24, 32, 17},
		{"one patch", plain, all, 8, 8, 2},
		{"one token", plain, all, 16, 16, 1},
		{"no global token", func(c *Config) { c.NumGlobalTokens = 0 }, all, 16, 16, 5},
		{"five global tokens", func(c *Config) { c.NumGlobalTokens = 5 }, all, 16, 16, 5},
		{"no bias of qkv", func(c *Config) { c.Encoder.QKVBias = false }, all, 16, 16, 5},
		{"an encoder of one block", func(c *Config) { c.Encoder.Depth = 1 }, all, 16, 16, 5},
		{"task queries on", func(c *Config) { queries(c, true) }, all, 16, 16, 5},
		{"task queries off", func(c *Config) { queries(c, false) }, all, 16, 16, 5},
		{"task queries off, one input", func(c *Config) { queries(c, false) }, []string{"depth"}, 16, 16, 3},
		{"a larger default size", func(c *Config) { c.ImageSize = 32 }, all, 16, 16, 5},
		{"one input, one output", func(c *Config) { c.Inputs, c.Outputs = c.Inputs[:1], c.Outputs[3:] }, []string{"rgb"}, 16, 24, 3},
		{"other order of inputs", func(c *Config) { slices.Reverse(c.Inputs) }, []string{"semseg", "rgb"}, 16, 16, 6},
	}
	for _, s := range subsets(all) {
		tests = append(tests, test{fmt.Sprint("inputs ", s), plain, s, 16, 16, min(5, 4*len(s))})
	}
	for _, c := range tests {
		t.Run(c.what, func(t *testing.T) {
			cfg := smallConfig()
			c.set(cfg)
			m := newModel(t, cfg)
			b := newBatch(cfg, 3, c.h, c.w, 3, cfg.Inputs.Names()...) // what is no input is a target
			masks := newMasks(t, cfg, b, c.visible, 4, c.inputs...)
			r := newRef(m)
			tokens64, preds64 := r.forward(b, masks)
			each64, total64 := r.losses(preds64, b, masks)
			testkit.EachLevel(t, func(t *testing.T) {
				tape := tensor.NewTape(nil)
				tokens, err := m.Encode(tape, b, masks, nil)
				if err != nil {
					t.Fatal(err)
				}
				near(t, "encoder", tokens.Data, tokens64)
				preds, err := m.Forward(tape, b, masks, nil)
				if err != nil {
					t.Fatal(err)
				}
				losses, err := m.Losses(tape, preds, b, masks)
				if err != nil {
					t.Fatal(err)
				}
				// A frozen model keeps packed weights, which fit one level only.
				frozen := newModel(t, cfg)
				infer := tensor.NewInference(nil)
				if c.visible%2 == 0 {
					frozen.Params.Freeze()
				} else {
					frozen.Params.Pack(infer)
				}
				inferred, err := frozen.Forward(infer, b, masks, nil)
				if err != nil {
					t.Fatal(err)
				}
				inferredLosses, err := frozen.Losses(infer, inferred, b, masks)
				if err != nil {
					t.Fatal(err)
				}
				for i := range cfg.Outputs {
					o := &cfg.Outputs[i]
					nh, nw := cfg.Grid(c.h, c.w)
					p := cfg.PatchSize / o.Stride
					if want := []int{3, nh * nw, o.Channels * p * p}; !slices.Equal(preds[i].Shape, want) {
						t.Errorf("%s has shape %v, want %v", o.Name, preds[i].Shape, want)
					}
					near(t, o.Name, preds[i].Data, preds64[i])
					near(t, "loss of "+o.Name, losses[i].Data, each64[i:i+1])
					testkit.SameBits(t, "inference of "+o.Name, inferred[i].Data, preds[i].Data)
					testkit.SameBits(t, "loss in inference of "+o.Name, inferredLosses[i].Data, losses[i].Data)
				}
				near(t, "total", Total(tape, losses).Data, []float64{total64})
			})
		})
	}
}

func queries(c *Config, on bool) {
	for i := range c.Outputs {
		c.Outputs[i].UseTaskQueries = on
	}
}

// TestUnpatch compares with the place of every feature: (channel, row, column) within a patch,
// patches row by row.
func TestUnpatch(t *testing.T) {
	m := newModel(t, smallConfig())
	for i, o := range m.Config.Outputs {
		p := m.Config.PatchSize / o.Stride
		pred := tensor.New(2, 2*3, o.Channels*p*p)
		for k := range pred.Data {
			pred.Data[k] = float32(k)
		}
		image := m.Unpatch(i, pred, 16, 24)
		h, w := 16/o.Stride, 24/o.Stride
		for k, v := range image {
			s, c, y, x := k/(o.Channels*h*w), k/(h*w)%o.Channels, k/w%h, k%w
			if want := float32((((s*6+y/p*3+x/p)*o.Channels+c)*p+y%p)*p + x%p); v != want {
				t.Fatalf("%s: pixel %d is feature %v, want %v", o.Name, k, v, want)
			}
		}
	}
}

// TestAbsent checks that a modality which is no input is predicted from mask tokens alone, and one
// that is fully visible without any.
func TestAbsent(t *testing.T) {
	c := smallConfig()
	queries(c, true)
	m := newModel(t, c)
	b := newBatch(c, 1, 16, 16, 5, "rgb", "depth", "semseg")
	masks, err := AllVisible(1, []string{"rgb"}, 4)
	if err != nil {
		t.Fatal(err)
	}
	tape := tensor.NewTape(nil)
	step(t, m, tape, b, masks)
	for _, o := range c.Outputs {
		g := m.Params.Get("output_adapters." + o.Name + ".mask_token").Grad
		if used := slices.ContainsFunc(g, func(v float32) bool { return v != 0 }); used != (o.Task != "rgb") {
			t.Errorf("%s: the mask token has the gradient %v", o.Name, g)
		}
	}
	// The pixels of what is no input do not matter to any prediction.
	before, err := m.Forward(tape, b, masks, nil)
	if err != nil {
		t.Fatal(err)
	}
	b2 := newBatch(c, 1, 16, 16, 6, "depth", "semseg")
	b2.Images["rgb"] = b.Images["rgb"]
	after, err := m.Forward(tape, b2, masks, nil)
	if err != nil {
		t.Fatal(err)
	}
	delete(b2.Images, "depth")
	delete(b2.Classes, "semseg")
	alone, err := m.Forward(tape, b2, masks, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range before {
		testkit.SameBits(t, "other targets", after[i].Data, before[i].Data)
		testkit.SameBits(t, "no targets", alone[i].Data, before[i].Data)
	}
	losses, err := m.Losses(tape, alone, b2, masks)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range losses {
		if (l == nil) != (c.Outputs[i].Task != "rgb") {
			t.Errorf("%s: loss %v without a target", c.Outputs[i].Name, l)
		}
	}
	if got := m.Present(b); !slices.Equal(got, c.Inputs.Names()) {
		t.Errorf("present %v", got)
	}
	if got := m.Present(b2); !slices.Equal(got, []string{"rgb"}) {
		t.Errorf("present %v", got)
	}
}

// TestMasked checks that hidden pixels are not seen.
func TestMasked(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	b := newBatch(c, 2, 16, 16, 7, c.Inputs.Names()...)
	masks := masksOf(t, c.Inputs.Names(), 4, []int32{0, 11, 5}, []int32{9, 2, 3})
	tape := tensor.NewTape(nil)
	before, err := m.Encode(tape, b, masks, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := newBatch(c, 2, 16, 16, 8, c.Inputs.Names()...)
	for i := range c.Inputs {
		in := &c.Inputs[i]
		h, w, p := 16/in.Stride, 16/in.Stride, 8/in.Stride
		channels := max(in.Channels, 1)
		for k := range 2 * channels * h * w {
			s, y, x := k/(channels*h*w), k/w%h, k%w
			if masks.Task(s, in.Name)[y/p*2+x/p] {
				continue
			}
			if in.Kind == KindImage {
				other.Images[in.Name][k] = b.Images[in.Name][k]
			} else {
				other.Classes[in.Name][k] = b.Classes[in.Name][k]
			}
		}
	}
	after, err := m.Encode(tape, other, masks, nil)
	if err != nil {
		t.Fatal(err)
	}
	testkit.SameBits(t, "other hidden pixels", after.Data, before.Data)
	// The order of Keep is the order of tokens, and makes no other difference.
	swapped := masksOf(t, c.Inputs.Names(), 4, []int32{11, 0, 5}, []int32{9, 2, 3})
	got, err := m.Encode(tape, b, swapped, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := c.Encoder.Dim
	var want []float64
	for _, row := range []int{1, 0, 2, 3, 4, 5, 6, 7, 8, 9} {
		for _, v := range before.Data[row*d : (row+1)*d] {
			want = append(want, float64(v))
		}
	}
	near(t, "swapped tokens", got.Data, want)
}

// TestGradients compares the gradients of the whole model with central differences of the float64
// reference, in random directions of each parameter. A direction v of n normal numbers has length
// √n, so that in it a rounding error of relative size e of a gradient g shows as about e·|g|; the
// step 1e-5/√n keeps the truncation, of the third derivative, near 1e-9 and the rounding of the
// reference below that.
func TestGradients(t *testing.T) {
	directions := 2
	if testing.Short() {
		directions = 1
	}
	for _, c := range []struct {
		what   string
		set    func(c *Config)
		inputs []string
		h, w   int
		keep   [][]int32 // of three samples
	}{
		// All losses. Of the second sample all of rgb is visible, of the third all of depth and no
		// class: neither has a loss there.
		{"everything", func(*Config) {}, []string{"rgb", "depth", "semseg"}, 16, 16,
			[][]int32{{10, 1, 4, 7, 9, 0}, {0, 1, 3, 2, 11, 5}, {6, 4, 7, 5, 8, 1}}},
		{"depth is only a target", func(c *Config) {
			c.NumGlobalTokens, c.Encoder.QKVBias = 0, false
			c.Outputs[2].LabelSmoothing = 0
			c.Outputs[0].UseTaskQueries = true
			c.Outputs[3].LossOnUnmasked = false
		}, []string{"rgb", "semseg"}, 8, 24, [][]int32{{5, 1}, {0, 2}, {4, 3}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			cfg := smallConfig()
			c.set(cfg)
			m := newModel(t, cfg)
			b := newBatch(cfg, 3, c.h, c.w, 12, cfg.Inputs.Names()...)
			nh, nw := cfg.Grid(c.h, c.w)
			masks := masksOf(t, c.inputs, nh*nw, c.keep...)
			r := newRef(m)
			loss := func() float64 {
				_, preds := r.forward(b, masks)
				_, total := r.losses(preds, b, masks)
				return total
			}
			type check struct {
				p   *nn.Param
				dir []float64
				d   float64 // the derivative
			}
			var checks []check
			for _, p := range m.Params.All() {
				for k := range directions {
					if p.Fixed {
						continue
					}
					x, rng := r.p[p.Name], nn.NewRNG(nn.Hash(p.Name), uint64(k))
					dir, old := make([]float64, len(x)), slices.Clone(x)
					h := 1e-5 / math.Sqrt(float64(len(x)))
					at := func(h float64) float64 {
						for i := range x {
							x[i] = old[i] + h*dir[i]
						}
						return loss()
					}
					for i := range dir {
						dir[i] = rng.Normal()
					}
					checks = append(checks, check{p, dir, (at(h) - at(-h)) / (2 * h)})
					copy(x, old)
				}
			}
			training := func(t *testing.T, tape *tensor.Tape) { step(t, m, tape, b, masks) }
			onAll := func(t *testing.T, tape *tensor.Tape) { stepOnAll(t, m, tape, b, masks) }
			against := func(t *testing.T, step func(*testing.T, *tensor.Tape)) {
				tape := tensor.NewTape(nil)
				step(t, tape)
				if s := m.Params.FirstBadGrad(); s != "" {
					t.Fatal(s)
				}
				largest := 0.0
				for _, c := range checks {
					largest = max(largest, math.Sqrt(tape.GradSumSq(c.p.Tensor)))
				}
				for _, k := range checks {
					got := 0.0
					for i, g := range k.p.Grad {
						got += float64(g) * k.dir[i]
					}
					// Key biases have a gradient that is nothing but rounding.
					off := within*math.Sqrt(tape.GradSumSq(k.p.Tensor)) + 4*u*largest + 1e-8*math.Sqrt(float64(len(k.dir)))
					if !(math.Abs(got-k.d) <= off) {
						t.Errorf("the gradient of %s is %v in a direction, want %v ± %.2g", k.p.Name, got, k.d, off)
					}
				}
			}
			testkit.EachLevel(t, func(t *testing.T) {
				against(t, training)
				against(t, onAll)
			})
		})
	}
}

// TestAccumulate adds the gradients of two batches up, as a step on more samples than the memory
// holds does.
func TestAccumulate(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	tape := tensor.NewTape(nil)
	want := map[string][]float64{}
	var batches []*Batch
	var masks []*Masks
	for i := range uint64(2) {
		b := newBatch(c, 2, 16, 16, 30+i, c.Inputs.Names()...)
		batches, masks = append(batches, b), append(masks, newMasks(t, c, b, 6, 32+i, c.Inputs.Names()...))
		step(t, m, tape, b, masks[i])
		for _, p := range m.Params.All() {
			if want[p.Name] == nil {
				want[p.Name] = make([]float64, len(p.Grad))
			}
			for k, g := range p.Grad {
				want[p.Name][k] += float64(g)
			}
		}
	}
	m.Params.ZeroGrad(tape)
	var largest float64 // the norm of all gradients, above any of them
	for i, b := range batches {
		tape.Reset()
		losses, err := m.ForwardLosses(tape, b, masks[i], nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		largest = m.Params.Backward(tape, Total(tape, losses))
	}
	for _, p := range m.Params.All() {
		for k, g := range p.Grad {
			if d := math.Abs(float64(g) - want[p.Name][k]); !(d <= within*math.Abs(want[p.Name][k])+4*u*largest) {
				t.Fatalf("gradient %d of %s is %v after two batches, want %v", k, p.Name, g, want[p.Name][k])
			}
		}
	}
}

// TestWorkers wants the same bits of predictions, losses and all gradients for any number of
// workers.
func TestWorkers(t *testing.T) {
	ps := pools(t)
	c := smallConfig()
	c.ImageSize = 32
	m := newModel(t, c)
	b := newBatch(c, 6, 48, 32, 10, c.Inputs.Names()...)
	masks := newMasks(t, c, b, 20, 11, c.Inputs.Names()...)
	testkit.EachLevel(t, func(t *testing.T) {
		want := map[string][]float32{}
		for _, pool := range ps {
			tape := tensor.NewTape(pool)
			for range 2 { // into used memory too
				losses, total := step(t, m, tape, b, masks)
				preds, err := m.Forward(tape, b, masks, nil)
				if err != nil {
					t.Fatal(err)
				}
				got := map[string][]float32{"total": total.Data}
				for i, o := range c.Outputs {
					got["prediction "+o.Name], got["loss "+o.Name] = preds[i].Data, losses[i].Data
				}
				for _, p := range m.Params.All() {
					got["gradient "+p.Name] = p.Grad
				}
				for name, v := range got {
					if want[name] == nil {
						want[name] = slices.Clone(v)
					}
					testkit.SameBits(t, fmt.Sprintf("%s with %d workers", name, pool.Workers()), v, want[name])
				}
			}
		}
	})
}

// TestConcurrent runs one frozen model on many goroutines at once, with different sizes of image.
func TestConcurrent(t *testing.T) {
	ps := pools(t)
	c := smallConfig()
	m := newModel(t, c)
	m.Params.Freeze()
	type work struct {
		b     *Batch
		masks *Masks
		want  [][]float32
	}
	sequential := newModel(t, c) // packs nothing that m could find ready
	var jobs []work
	for i, size := range [][2]int{{16, 16}, {8, 24}, {24, 16}, {16, 16}, {32, 8}} {
		inputs := subsets(c.Inputs.Names())[i+1]
		b := newBatch(c, 1+i%2, size[0], size[1], uint64(i), inputs...)
		j := work{b: b, masks: newMasks(t, c, b, 3, uint64(i), inputs...)}
		preds, err := sequential.Forward(tensor.NewTape(nil), b, j.masks, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range preds {
			j.want = append(j.want, slices.Clone(p.Data))
		}
		jobs = append(jobs, j)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			tape := tensor.NewInference(ps[g%3]) // shared
			for i := range 6 {
				j := jobs[(g+i)%len(jobs)]
				tape.Reset()
				preds, err := m.Forward(tape, j.b, j.masks, nil)
				if err != nil {
					t.Error(err)
					return
				}
				for k, p := range preds {
					testkit.SameBits(t, c.Outputs[k].Name, p.Data, j.want[k])
				}
			}
		}()
	}
	wg.Wait()
}

// TestDropPath checks that drop-path acts in the encoder only, as the key says, and not where none
// is given.
func TestDropPath(t *testing.T) {
	c := smallConfig()
	plain := newModel(t, c)
	dropped := smallConfig()
	dropped.Encoder.DropPath = 0.9
	m := newModel(t, dropped)
	b := newBatch(c, 4, 16, 16, 12, c.Inputs.Names()...)
	masks := newMasks(t, c, b, 6, 13, c.Inputs.Names()...)
	tape := tensor.NewTape(nil)
	forward := func(m *Model, rng *nn.RNG) []*tensor.Tensor {
		tape = tensor.NewTape(nil)
		preds, err := m.Forward(tape, b, masks, rng)
		if err != nil {
			t.Fatal(err)
		}
		return preds
	}
	a, d, e := nn.NewRNG(1), nn.NewRNG(1), nn.NewRNG(2)
	want, none, first, again, other := forward(plain, nil), forward(m, nil), forward(m, &a), forward(m, &d), forward(m, &e)
	for i := range want {
		testkit.SameBits(t, "no key", none[i].Data, want[i].Data)
		testkit.SameBits(t, "the same key", again[i].Data, first[i].Data)
		if slices.Equal(first[i].Data, none[i].Data) || slices.Equal(first[i].Data, other[i].Data) {
			t.Errorf("%s: nothing dropped", c.Outputs[i].Name)
		}
	}
}

// TestPositions checks that tables written from outside are used once the model is told, at the
// default and at another size, by the model and its replicas.
func TestPositions(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	replica := m.Replica()
	for _, size := range []int{16, 32} {
		b := newBatch(c, 1, size, size, 14, "rgb")
		masks := newMasks(t, c, b, 3, 15, "rgb")
		tape := tensor.NewTape(nil)
		for _, m := range []*Model{m, replica} {
			if _, err := m.Forward(tape, b, masks, nil); err != nil { // the tables are kept now
				t.Fatal(err)
			}
		}
		for _, p := range m.Params.All() {
			if p.Fixed {
				r := nn.NewRNG(nn.Hash(p.Name), uint64(size))
				for i := range p.Data {
					p.Data[i] = float32(r.Normal())
				}
			}
		}
		m.PositionsChanged()
		preds, err := m.Forward(tape, b, masks, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, want := newRef(m).forward(b, masks)
		for i := range preds {
			near(t, c.Outputs[i].Name, preds[i].Data, want[i])
		}
		again, err := replica.Forward(tape, b, masks, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range preds {
			testkit.SameBits(t, c.Outputs[i].Name+" of a replica", again[i].Data, preds[i].Data)
		}
	}
	m.Init(1) // writes the tables anew
	b := newBatch(c, 1, 32, 32, 14, "rgb")
	masks := newMasks(t, c, b, 3, 15, "rgb")
	preds, err := m.Forward(tensor.NewTape(nil), b, masks, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, want := newRef(m).forward(b, masks)
	for i := range preds {
		near(t, c.Outputs[i].Name+" after Init", preds[i].Data, want[i])
	}
	// More sizes than are kept.
	frozen := newModel(t, c)
	for i := range 40 {
		b := newBatch(c, 1, 8, 8*(i+1), 16, "depth")
		if _, err := frozen.Forward(tensor.NewInference(nil), b, newMasks(t, c, b, 1, 17, "depth"), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range frozen.positions {
		if n := len(p.copies); n > 16 {
			t.Errorf("%s has %d copies", p.table.Name, n)
		}
	}
}

// TestTrain adds an image-like modality and a class map by configuration alone, and wants the loss
// of a few steps to fall.
func TestTrain(t *testing.T) {
	c := smallConfig()
	c.Inputs = append(c.Inputs,
		Input{Name: "thermal", Kind: KindImage, Channels: 2, Stride: 4, Normalize: "none"},
		Input{Name: "parts", Kind: KindClasses, NumClasses: 3, Stride: 2, ClassEmbDim: 4})
	c.Outputs = append(c.Outputs,
		Output{Name: "thermal", Channels: 2, Stride: 4, Task: "thermal", Loss: LossL1, Dim: 8, Depth: 1, Heads: 2, UseTaskQueries: true},
		Output{Name: "parts", Channels: 3, Stride: 2, Task: "parts", Loss: LossCrossEntropy, Dim: 8, Depth: 1, Heads: 2, UseTaskQueries: true})
	m, err := NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(1)
	for _, key := range []string{"input_adapters.thermal.proj.weight", "input_adapters.parts.class_emb.weight", "output_adapters.parts.out_proj.bias", "output_adapters.rgb.task_embeddings.thermal"} {
		if m.Params.Get(key) == nil {
			t.Errorf("no parameter %s", key)
		}
	}
	b := newBatch(c, 4, 16, 16, 18, c.Inputs.Names()...)
	for i, x := range b.Images { // something to learn: smooth images, maps in blocks
		for k := range x {
			x[k] = float32(math.Sin(float64(k)/17)) + 0.1*b.Images[i][k]
		}
	}
	for _, ids := range b.Classes {
		for k := range ids {
			ids[k] = int32(k / 7 % 3)
		}
	}
	m.Params.EnableGrad()
	opt := nn.NewAdamW(0.9, 0.95, 1e-8, m.Params)
	rng := nn.NewRNG(19)
	tape := tensor.NewTape(nil)
	const steps, tail = 120, 20
	first, last := make([]float64, len(c.Outputs)), make([]float64, len(c.Outputs))
	for range steps {
		masks, err := DrawMasks(&rng, b.Size, c.Inputs.Names(), 4, MaskOptions{Visible: 10, Alphas: []float64{1}})
		if err != nil {
			t.Fatal(err)
		}
		losses, _ := step(t, m, tape, b, masks)
		for i, l := range losses {
			if opt.Steps < tail {
				first[i] += float64(l.Data[0])
			} else if opt.Steps >= steps-tail {
				last[i] += float64(l.Data[0])
			}
		}
		opt.Step(tape, 5e-3, 0.05, 1)
	}
	for i, o := range c.Outputs {
		if !(last[i] < 0.85*first[i]) {
			t.Errorf("the loss of %s went from %.3f to %.3f", o.Name, first[i]/tail, last[i]/tail)
		}
	}
	if s := m.Params.FirstBad(); s != "" {
		t.Error(s)
	}
}

func TestCheck(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	good := func() *Batch { return newBatch(c, 2, 16, 24, 20, c.Inputs.Names()...) }
	if err := m.Check(good()); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		set  func(b *Batch)
		want string
	}{
		{func(b *Batch) { b.Size = 0 }, "batch: "},
		{func(b *Batch) { b.H = 12 }, "image_size: 12×24"},
		{func(b *Batch) { b.W = 0 }, "image_size: 16×0"},
		{func(b *Batch) { b.H = -8 }, "image_size: -8×24"},
		{func(b *Batch) { b.H = 1<<14 + 8 }, "image_size: got 16392×24"},
		{func(b *Batch) { b.H, b.W = math.MaxInt-7, 8 }, "image_size: got "},
		{func(b *Batch) { b.H, b.W = 1<<24, 1<<24 }, "image_size: got 16777216×16777216"},
		{func(b *Batch) { b.Size = math.MaxInt }, "batch: got "},
		{func(b *Batch) { b.Size = 1 << 29 }, "batch: got 536870912 samples"},
		{func(b *Batch) { b.H, b.W, b.Size = 1<<14, 1<<14, 64 }, "batch: "},
		{func(b *Batch) { b.Size = 3 }, `batch: modality "rgb"`},
		{func(b *Batch) { b.H, b.W = 24, 8 }, `batch: modality "rgb"`},
		{func(b *Batch) { b.Images["depth"] = b.Images["depth"][1:] }, `batch: modality "depth" has 191`},
		{func(b *Batch) { b.Images["depth"] = nil }, `batch: modality "depth" has 0`},
		{func(b *Batch) { b.Classes["semseg"] = make([]int32, 47) }, `batch: modality "semseg" has 47`},
		{func(b *Batch) { b.Classes["semseg"][9] = 5 }, `batch: modality "semseg": id 5 at index 9`},
		{func(b *Batch) { b.Classes["semseg"][47] = -1 }, `batch: modality "semseg": id -1 at index 47`},
		{func(b *Batch) { b.Classes["semseg"][0] = 253 }, `batch: modality "semseg": id 253 at index 0`},
		{func(b *Batch) { b.Classes["semseg"][0] = 256 }, `batch: modality "semseg": id 256 at index 0`},
		{func(b *Batch) { b.Images["semseg"] = make([]float32, 48) }, `batch: modality "semseg"`},
		{func(b *Batch) { b.Classes["rgb"] = make([]int32, 768) }, `batch: modality "rgb"`},
		{func(b *Batch) { b.Images["deptj"] = b.Images["depth"] }, `batch: modality "deptj"`},
		{func(b *Batch) { b.Classes["norm_rgb"] = nil }, `batch: modality "norm_rgb"`},
	} {
		t.Run(test.want, func(t *testing.T) {
			b := good()
			test.set(b)
			testkit.ErrorNames(t, m.Check(b), test.want)
			tape, masks := tensor.NewTape(nil), newMasks(t, c, good(), 5, 21, c.Inputs.Names()...)
			_, err := m.Forward(tape, b, masks, nil)
			testkit.ErrorNames(t, err, test.want)
			_, err = m.Encode(tape, b, masks, nil)
			testkit.ErrorNames(t, err, test.want)
			_, err = m.Losses(tape, nil, b, masks)
			testkit.ErrorNames(t, err, test.want)
		})
	}
}

// TestCheckMasks has masks that are not for the batch.
func TestCheckMasks(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	b := newBatch(c, 2, 16, 16, 22, "rgb", "semseg")
	tape := tensor.NewTape(nil)
	for what, test := range map[string]struct {
		size, patches int
		inputs        []string
		want          string
	}{
		"samples":  {3, 4, []string{"rgb"}, "masks: for 3 samples"},
		"patches":  {2, 6, []string{"rgb"}, "masks: for 6 patches"},
		"absent":   {2, 4, []string{"rgb", "depth"}, `masks: modality "depth"`},
		"no input": {2, 4, []string{"rgb", "lidar"}, `masks: modality "lidar"`},
		"order":    {2, 4, []string{"semseg", "rgb"}, `masks: modality "rgb"`},
	} {
		t.Run(what, func(t *testing.T) {
			masks, err := AllVisible(test.size, test.inputs, test.patches)
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.Forward(tape, b, masks, nil)
			testkit.ErrorNames(t, err, test.want)
			_, err = m.Encode(tape, b, masks, nil)
			testkit.ErrorNames(t, err, test.want)
		})
	}
	masks, err := AllVisible(2, []string{"rgb"}, 4)
	if err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		set  func(m *Masks)
		want string
	}{
		"short":            {func(m *Masks) { m.Keep = m.Keep[:5] }, ""},
		"no tokens":        {func(m *Masks) { m.Keep, m.Visible = nil, 0 }, ""},
		"negative":         {func(m *Masks) { m.Visible = -m.Visible }, ""},
		"wraps around":     {func(m *Masks) { m.Keep, m.Visible = nil, math.MaxInt/2+1 }, ""},
		"nothing masked":   {func(m *Masks) { m.Masked = nil }, ""},
		"a token too many": {func(m *Masks) { m.Keep[1] = 4 }, ""},
		"no token":         {func(m *Masks) { m.Keep[1] = -1 }, ""},
		"twice":            {func(m *Masks) { m.Keep[4], m.Masked[5] = 2, true }, "sample 1 has token 2 twice"},
		"kept and masked":  {func(m *Masks) { m.Masked[5] = true }, "sample 1 and token 1 is true"},
		"not masked":       {func(m *Masks) { m.Masked[3] = false }, "sample 0 and token 3 is false"},
	} {
		t.Run(what, func(t *testing.T) {
			masks, err := NewMasks(2, []string{"rgb"}, 4, []int32{0, 1, 2, 3, 1, 2})
			if err != nil {
				t.Fatal(err)
			}
			test.set(masks)
			_, err = m.Forward(tape, b, masks, nil)
			testkit.ErrorNames(t, err, "masks: ", test.want)
		})
	}
	preds, err := m.Forward(tape, b, masks, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range [][2]int{{1, 4}, {2, 6}, {3, 4}} {
		other, err := AllVisible(size[0], []string{"rgb"}, size[1])
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Losses(tape, preds, b, other)
		testkit.ErrorNames(t, err, "masks: for ")
	}
	_, err = m.Losses(tape, preds[:3], b, masks)
	testkit.ErrorNames(t, err, "losses: got 3 predictions")
	preds[0], preds[1] = preds[1], preds[0]
	_, err = m.Losses(tape, preds, b, masks)
	testkit.ErrorNames(t, err, "losses: ", "rgb", "[2 4 16]", "[2 4 192]")
}

// TestNilMasks compares nil masks with those that hide nothing.
func TestNilMasks(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	for _, inputs := range subsets(c.Inputs.Names()) {
		b := newBatch(c, 2, 16, 24, 23, inputs...)
		masks, err := AllVisible(2, inputs, 6)
		if err != nil {
			t.Fatal(err)
		}
		tape := tensor.NewTape(nil)
		want, err := m.Forward(tape, b, masks, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Forward(tape, b, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range c.Outputs {
			testkit.SameBits(t, fmt.Sprint(o.Name, " from ", inputs), got[i].Data, want[i].Data)
		}
	}
	_, err := m.Encode(tensor.NewTape(nil), &Batch{Size: 1, H: 16, W: 16}, nil, nil)
	testkit.ErrorNames(t, err, "batch: ")
}
