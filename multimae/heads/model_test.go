package heads

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// TestShapes runs sizes other than the model's own, with and without a modality that no head wants.
func TestShapes(t *testing.T) {
	m := newModel(t, smallConfig())
	for _, size := range [][2]int{{32, 32}, {64, 32}, {32, 96}} {
		h, w := size[0], size[1]
		var first [][]float32
		for _, inputs := range [][]string{{"rgb", "semseg"}, {"rgb", "thermal", "semseg"}} {
			tape := tensor.NewTape(nil)
			preds := forward(t, m, tape, newBatch(m.Config, 2, h, w, inputs...), nil)
			for i, o := range m.Config.Outputs {
				want := []int{2, h, w, o.NumClasses}
				if o.Head == Linear {
					want = []int{2, o.NumClasses}
				}
				if !slices.Equal(preds[i].Shape, want) {
					t.Errorf("%d×%d: %s has shape %v, want %v", h, w, o.Name, preds[i].Shape, want)
				}
				if first != nil && distance(preds[i].Data, first[i]) == 0 { // it is attended to
					t.Errorf("%d×%d: %s does not depend on thermal", h, w, o.Name)
				}
			}
			if bad := tape.FirstBad(); bad != "" {
				t.Errorf("%d×%d: %s", h, w, bad)
			}
			if first == nil {
				for _, p := range preds {
					first = append(first, slices.Clone(p.Data))
				}
			}
		}
	}
}

// TestMainTokens takes rows of main tasks out of tokens: in their own order, whatever modalities
// are present.
func TestMainTokens(t *testing.T) {
	const batch, nh, nw, d, global = 2, 2, 3, 2, 2
	f := &features{inputs: []string{"thermal", "rgb", "semseg"}, nh: nh, nw: nw}
	const length = 3*nh*nw + global
	x := tensor.New(batch, length, d)
	for i := range x.Data {
		x.Data[i] = float32(i)
	}
	f.tokens = []*tensor.Tensor{nil, x}
	for _, tasks := range [][]string{{"rgb"}, {"semseg", "thermal"}, {"thermal", "rgb", "semseg"}} {
		got := f.main(tensor.NewTape(nil), 1, tasks)
		if want := []int{batch, nh, nw, d * len(tasks)}; !slices.Equal(got.Shape, want) {
			t.Fatalf("%v: shape %v, want %v", tasks, got.Shape, want)
		}
		var want []float32
		for b := range batch {
			for p := range nh * nw {
				for _, task := range tasks {
					row := b*length + slices.Index(f.inputs, task)*nh*nw + p
					want = append(want, x.Data[row*d:(row+1)*d]...)
				}
			}
		}
		testkit.SameBits(t, fmt.Sprint(tasks), got.Data, want)
	}
}

// TestMainTaskOrder checks that main tasks in another order are the same model with the columns of
// the first projection in another order.
func TestMainTaskOrder(t *testing.T) {
	for _, name := range []string{"convdepth", "parts", "depth"} {
		c := oneOutput(name)
		m := newModel(t, c)
		swapped := oneOutput(name)
		slices.Reverse(swapped.Outputs[0].MainTasks)
		s := newModel(t, swapped)
		b := newBatch(c, 2, 32, 64, "rgb", "semseg")
		want := forward(t, m, tensor.NewTape(nil), b, nil)[0].Data
		if d := distance(forward(t, s, tensor.NewTape(nil), b, nil)[0].Data, want); d < 1e-3 {
			t.Errorf("%s: the order of main tasks does not matter: %g", name, d)
		}
		const dim = 16
		for _, p := range s.Params.All() {
			if strings.HasSuffix(p.Name, ".proj_dec.weight") || strings.Contains(p.Name, "_postprocess.0.weight") {
				for r := range p.Rows() * p.Cols() / (2 * dim) {
					row := p.Data[r*2*dim : (r+1)*2*dim]
					for k := range dim {
						row[k], row[dim+k] = row[dim+k], row[k]
					}
				}
			}
		}
		if d := distance(forward(t, s, tensor.NewTape(nil), b, nil)[0].Data, want); d > 1e-5 {
			t.Errorf("%s: columns swapped along, the prediction is another: %g", name, d)
		}
	}
}

func TestChannelsFirst(t *testing.T) {
	x := tensor.New(2, 2, 3, 4)
	for i := range x.Data {
		x.Data[i] = float32(i)
	}
	got := ChannelsFirst(x)
	for b := range 2 {
		for k := range 4 {
			for p := range 6 {
				if v := got[(b*4+k)*6+p]; v != float32((b*6+p)*4+k) {
					t.Fatalf("sample %d, channel %d, pixel %d is %v", b, k, p, v)
				}
			}
		}
	}
	logits := tensor.New(2, 3)
	logits.Data[4] = 7
	got = ChannelsFirst(logits)
	testkit.SameBits(t, "logits", got, logits.Data)
	if got[0] = 1; logits.Data[0] != 0 {
		t.Error("logits are not a copy")
	}
}

func TestForwardErrors(t *testing.T) {
	m := newModel(t, smallConfig())
	c := m.Config
	b := func(set func(b *multimae.Batch)) *multimae.Batch {
		x := newBatch(c, 2, 32, 32, "rgb", "semseg")
		set(x)
		return x
	}
	for _, test := range []struct {
		b    *multimae.Batch
		want string
	}{
		{newBatch(c, 2, 32, 32, "semseg", "thermal"), `batch: modality "rgb"`},
		{newBatch(c, 2, 32, 32, "rgb"), `batch: modality "semseg"`},
		{newBatch(c, 2, 32, 32), "batch: "},
		{newBatch(c, 2, 48, 32, "rgb", "semseg"), `batch: 48×32`},
		{newBatch(c, 2, 32, 16, "rgb", "semseg"), `batch: 32×16`},
		{newBatch(c, 2, 36, 32, "rgb", "semseg"), "image_size: 36×32"},
		{b(func(b *multimae.Batch) { b.H = 0 }), "image_size: 0×32"},
		{b(func(b *multimae.Batch) { b.Size = 0 }), "batch: got 0"},
		{b(func(b *multimae.Batch) { b.Images["rgb"] = b.Images["rgb"][1:] }), `batch: modality "rgb" has 6143`},
		{b(func(b *multimae.Batch) { b.Classes["semseg"][3] = 5 }), `batch: modality "semseg": id 5 at index 3`},
		{b(func(b *multimae.Batch) { b.Images["nir"] = nil }), `batch: modality "nir"`},
	} {
		t.Run(test.want, func(t *testing.T) {
			preds, err := m.Forward(tensor.NewTape(nil), test.b, nil)
			if testkit.ErrorNames(t, err, test.want); preds != nil {
				t.Error("predictions and an error")
			}
		})
	}
	// A linear head is content with any one modality and any grid.
	m = newModel(t, oneOutput("mean"))
	if _, err := m.Forward(tensor.NewTape(nil), newBatch(m.Config, 1, 48, 16, "thermal"), nil); err != nil {
		t.Error(err)
	}
}

// TestNoGlobalTokens checks that without global tokens the linear head takes the last patch.
func TestNoGlobalTokens(t *testing.T) {
	c := smallConfig()
	c.NumGlobalTokens = 0
	m := newModel(t, c)
	tape := tensor.NewTape(nil)
	b := newBatch(c, 2, 32, 32, "rgb", "semseg")
	logits := forward(t, m, tape, b, nil)[1] // of "token"
	blocks, err := m.EncodeBlocks(tape, b, nil, nil, []int{c.Encoder.Depth - 1})
	if err != nil {
		t.Fatal(err)
	}
	tokens := blocks[0]
	if !slices.Equal(tokens.Shape, []int{2, 8, 16}) || !slices.Equal(logits.Shape, []int{2, 3}) {
		t.Fatalf("tokens %v, logits %v", tokens.Shape, logits.Shape)
	}
	head := m.heads[1].(*linearHead)
	last := tensor.New(2, 16)
	for s := range 2 {
		copy(last.Data[s*16:][:16], tokens.Data[(s*8+7)*16:])
	}
	testkit.SameBits(t, "logits of the last patch", logits.Data, head.logit.Forward(tape, head.norm.Forward(tape, last)).Data)
}

// TestInference compares a tape that records, one that does not and releases what it is done with,
// and packed weights. All give the same bits.
func TestInference(t *testing.T) {
	m := newModel(t, smallConfig())
	b := newBatch(m.Config, 2, 64, 32, "rgb", "semseg")
	var want [][]float32
	for i, p := range forward(t, m, tensor.NewTape(nil), b, nil) {
		if slices.ContainsFunc(p.Data, func(v float32) bool { return v != v }) {
			t.Errorf("%s has NaN", m.Config.Outputs[i].Name)
		}
		want = append(want, slices.Clone(p.Data))
	}
	compare := func(what string, tape *tensor.Tape) {
		t.Helper()
		for i, p := range forward(t, m, tape, b, nil) {
			testkit.SameBits(t, what+": "+m.Config.Outputs[i].Name, p.Data, want[i])
		}
	}
	tape := tensor.NewInference(nil)
	compare("inference", tape)
	tape.Reset()
	compare("inference again", tape)
	m.Params.Freeze()
	compare("frozen", tensor.NewInference(nil))
	for _, pool := range pools(t)[1:] {
		compare(fmt.Sprintf("frozen, %d workers", pool.Workers()), tensor.NewInference(pool))
	}
	// Several goroutines share the model, with positions of a size that none has asked for yet.
	large := newBatch(m.Config, 1, 64, 64, "rgb", "semseg")
	results := make([][]*tensor.Tensor, 4)
	var wg sync.WaitGroup
	for i := range results {
		wg.Add(1)
		go func() {
			defer wg.Done()
			results[i], _ = m.Forward(tensor.NewInference(nil), large, nil)
		}()
	}
	wg.Wait()
	for _, r := range results {
		for i, p := range r {
			testkit.SameBits(t, "at once: "+m.Config.Outputs[i].Name, p.Data, results[0][i].Data)
		}
		if r == nil {
			t.Error("no result")
		}
	}
}

// TestWorkers wants the same bits of predictions, losses and gradients with any number of workers,
// with dropout and drop-path.
func TestWorkers(t *testing.T) {
	c := smallConfig()
	c.Encoder.DropPath = 0.2
	m := newModel(t, c)
	b, targets := newBatch(c, 3, 64, 32, "rgb", "thermal", "semseg"), newTargets(c, 3, 64, 32)
	var preds, losses, grads [][]float32
	for k, pool := range pools(t) {
		drop := nn.NewRNG(7)
		tape := tensor.NewTape(pool)
		ps, ls := step(t, m, tape, b, targets, &drop)
		if bad := m.Params.FirstBadGrad(); bad != "" {
			t.Error(bad)
		}
		if k == 0 {
			for i := range ps {
				preds, losses = append(preds, slices.Clone(ps[i].Data)), append(losses, slices.Clone(ls[i].Data))
			}
			for _, p := range m.Params.All() {
				grads = append(grads, slices.Clone(p.Grad))
			}
			continue
		}
		for i, o := range c.Outputs {
			testkit.SameBits(t, fmt.Sprintf("%d workers: prediction of %s", k+1, o.Name), ps[i].Data, preds[i])
			testkit.SameBits(t, fmt.Sprintf("%d workers: loss of %s", k+1, o.Name), ls[i].Data, losses[i])
		}
		for i, p := range m.Params.All() {
			testkit.SameBits(t, fmt.Sprintf("%d workers: gradient of %s", k+1, p.Name), p.Grad, grads[i])
		}
	}
}

// TestGradients checks that all parameters that an output is computed from have a gradient, and
// that the unit which DPT stores but does not use is not trained.
func TestGradients(t *testing.T) {
	m := newModel(t, smallConfig())
	step(t, m, tensor.NewTape(nil), newBatch(m.Config, 2, 32, 32, "rgb", "semseg"), newTargets(m.Config, 2, 32, 32), nil)
	unused := 0
	for _, p := range m.Params.All() {
		fixed := strings.HasSuffix(p.Name, ".pos_emb") || strings.Contains(p.Name, ".refinenet4.resConfUnit1.")
		if p.Fixed != fixed || (p.Grad == nil) != fixed {
			t.Errorf("%s: fixed %v, %d gradients", p.Name, p.Fixed, len(p.Grad))
			continue
		}
		if fixed {
			unused++
			continue
		}
		zero := !slices.ContainsFunc(p.Grad, func(v float32) bool { return v != 0 })
		if absent := strings.HasPrefix(p.Name, "input_adapters.thermal."); zero != absent {
			t.Errorf("%s: no gradient %v", p.Name, zero)
		}
	}
	if unused != 3+2*4 {
		t.Errorf("%d parameters are fixed", unused)
	}
}

// TestDropout checks the dropout of the DPT head for classes, of which no other head has any.
func TestDropout(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	clear(m.Params.Get("output_adapters.classes.head.4.bias").Data)
	b := newBatch(c, 2, 32, 32, "rgb", "semseg")
	run := func(seed uint64) [][]float32 {
		drop := nn.NewRNG(seed)
		var out [][]float32
		for _, p := range forward(t, m, tensor.NewTape(nil), b, &drop) {
			out = append(out, slices.Clone(p.Data))
		}
		return out
	}
	plain := forward(t, m, tensor.NewTape(nil), b, nil)
	one, again, other := run(1), run(1), run(2)
	for i, o := range c.Outputs {
		testkit.SameBits(t, "the same seed: "+o.Name, again[i], one[i])
		if o.Name != "classes" {
			testkit.SameBits(t, "no dropout: "+o.Name, one[i], plain[i].Data)
			continue
		}
		if d := distance(one[i], plain[i].Data); d < 0.01 {
			t.Errorf("dropout changes the prediction by %g", d)
		}
		if d := distance(other[i], one[i]); d < 0.01 {
			t.Errorf("another seed changes the prediction by %g", d)
		}
		// What is kept is scaled up, so the prediction is right on average: seen along the
		// prediction itself, and it would be 0.9 without the scale.
		along, norm := 0.0, 0.0
		const runs = 20
		for seed := range uint64(runs) {
			for k, v := range run(seed + 10)[i] {
				along += float64(v) * float64(plain[i].Data[k]) / runs
			}
		}
		for _, v := range plain[i].Data {
			norm += float64(v) * float64(v)
		}
		if r := along / norm; r < 0.98 || r > 1.02 {
			t.Errorf("with dropout the prediction is %g of that without", r)
		}
	}
}

// TestDropPath checks that the encoder's stochastic depth needs both a rate and a source of chance.
func TestDropPath(t *testing.T) {
	c := oneOutput("mean")
	c.Encoder.DropPath = 0.9
	m, plain := newModel(t, c), newModel(t, oneOutput("mean"))
	b := newBatch(c, 4, 32, 32, "rgb")
	run := func(m *Model, seed uint64) []float32 {
		drop := nn.NewRNG(seed)
		return forward(t, m, tensor.NewTape(nil), b, &drop)[0].Data
	}
	want := forward(t, plain, tensor.NewTape(nil), b, nil)[0].Data
	testkit.SameBits(t, "no source", forward(t, m, tensor.NewTape(nil), b, nil)[0].Data, want)
	testkit.SameBits(t, "no rate", run(plain, 1), want)
	testkit.SameBits(t, "the same seed", run(m, 1), run(m, 1))
	if d := distance(run(m, 1), want); d < 0.01 {
		t.Errorf("drop-path changes the prediction by %g", d)
	}
	if d := distance(run(m, 2), run(m, 1)); d < 0.01 {
		t.Errorf("another seed changes the prediction by %g", d)
	}
}

// TestTraining lowers the loss of every head together.
func TestTraining(t *testing.T) {
	c := smallConfig()
	m, err := NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(1)
	// Something to learn that is not noise: where a pixel is.
	const size, side = 2, 32
	b, targets := newBatch(c, size, side, side, "rgb", "semseg"), newTargets(c, size, side, side)
	for _, o := range c.Outputs {
		if o.Head == Linear {
			continue
		}
		ids, values := targets.Classes[o.Name], targets.Values[o.Name]
		for i := range ids {
			ids[i] = int32(i % side / (side / 2))
		}
		for i := range values {
			values[i] = float32(i%side) / side
		}
	}
	tape := tensor.NewTape(nil)
	opt := nn.NewAdamW(0.9, 0.999, 1e-8, m.Params)
	unit := m.Params.Get("output_adapters.depth.scratch.refinenet4.resConfUnit1.conv1.weight")
	before := slices.Clone(unit.Data)
	var first, last []float32
	for range 31 {
		_, losses := step(t, m, tape, b, targets, nil)
		last = last[:0]
		for _, l := range losses {
			last = append(last, l.Data[0])
		}
		if first == nil {
			first = slices.Clone(last)
		}
		opt.Step(tape, 3e-3, 0.05, 1)
	}
	for i, o := range c.Outputs {
		t.Logf("%s: %.4f to %.4f", o.Name, first[i], last[i])
		if !(last[i] < 0.8*first[i]) {
			t.Errorf("the loss of %s goes from %g to %g only", o.Name, first[i], last[i])
		}
	}
	testkit.SameBits(t, "an unused unit", unit.Data, before)
}

// TestSteadyStep checks that a training step, once its memory is there, allocates nothing that
// grows with the batch or the image.
func TestSteadyStep(t *testing.T) {
	c := smallConfig()
	perStep := func(pool *tensor.Pool, size, pixels int) uint64 {
		m := newModel(t, c)
		b, targets := newBatch(c, size, pixels, pixels, "rgb", "semseg"), newTargets(c, size, pixels, pixels)
		tape := tensor.NewTape(pool)
		opt := nn.NewAdamW(0.9, 0.999, 1e-8, m.Params)
		drop := nn.NewRNG(1)
		one := func() {
			step(t, m, tape, b, targets, &drop)
			opt.Step(tape, 1e-3, 0.05, 1)
		}
		for range 3 {
			one()
		}
		// The least of some steps: the runtime allocates a few KB of its own between others, and
		// the scratch memory of a worker grows when it first gets the part of the work that needs
		// most.
		least := testkit.Allocated(one)
		for range 11 {
			least = min(least, testkit.Allocated(one))
		}
		return least
	}
	ps := pools(t)[:2]
	if testing.Short() {
		ps = ps[:1]
	}
	for _, pool := range ps {
		small, large := perStep(pool, 1, 32), perStep(pool, 3, 64)
		t.Logf("%d workers: %d and %d bytes a step", pool.Workers(), small, large)
		// One map of one channel at the larger size has 48 KB. What there is more is of work that
		// is done in more parts, at some bytes each.
		limit := small + 1<<12
		if pool.Workers() > 1 {
			limit += 1 << 14
		}
		if large > limit {
			t.Errorf("%d workers: a step allocates %d bytes, of more data %d", pool.Workers(), small, large)
		}
	}
}

// TestNewModelMemory: a configuration within all limits that no machine can hold is refused before memory
// is asked for, by the name of its largest parameter.
func TestNewModelMemory(t *testing.T) {
	c := smallConfig()
	c.Encoder.Dim, c.Encoder.Depth, c.Encoder.MLPRatio = 65536, 512, 64
	for i := range c.Outputs {
		c.Outputs[i].Hooks = nil
	}
	c.Outputs = slices.DeleteFunc(c.Outputs, func(o Output) bool { return o.Head == DPT })
	_, err := NewModel(c)
	testkit.ErrorNames(t, err, "encoder.0.mlp.fc1.weight", "memory")
}

// TestTransferHeads wants a head with other attention heads to stay fresh, which the shapes of its weights
// do not show.
func TestTransferHeads(t *testing.T) {
	dir := t.TempDir()
	if err := newModel(t, oneOutput("parts")).Save(dir); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(filepath.Join(dir, multimae.WeightsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for heads, want := range map[int]string{3: "", 2: "output_adapters.parts"} {
		c := oneOutput("parts")
		c.Outputs[0].Heads = heads
		r, err := newModel(t, c).Transfer(f)
		if err != nil {
			t.Fatal(err)
		}
		fresh := ""
		for _, x := range r.Fresh {
			fresh += x.Part
		}
		if fresh != want {
			t.Errorf("%d heads: fresh %q, want %q", heads, fresh, want)
		}
	}
}

// TestSegmenterFootprint wants each block of a Segmenter to cost more with more classes, whose tokens it sees.
func TestSegmenterFootprint(t *testing.T) {
	block := func(classes int) float64 {
		o := oneOutput("parts").Outputs[0]
		o.NumClasses = classes
		one := oneOutput("parts").headActivations(&o)
		o.Depth++
		return oneOutput("parts").headActivations(&o) - one
	}
	if few, many := block(5), block(150); many < 10*few { // beside 4 patches
		t.Errorf("%g values with 5 classes, %g with 150", few, many)
	}
}
