package bench

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gomae/gomae/asm"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// modelFlops counts the multiplications and additions of the products of one
// image's forward pass, of which the encoder sees so many patches.
func modelFlops(c *multimae.Config, visible int) float64 {
	nh, nw := c.Grid(c.ImageSize, c.ImageSize)
	patches, d := float64(nh*nw), float64(c.Encoder.Dim)
	tokens := float64(visible + c.NumGlobalTokens)
	block := func(d, n, ratio float64) float64 { return 2*n*d*d*(4+2*ratio) + 4*n*n*d }
	sum := float64(c.Encoder.Depth) * block(d, tokens, float64(c.Encoder.MLPRatio))
	for _, in := range c.Inputs {
		p, channels := float64(c.PatchSize/in.Stride), float64(in.Channels+in.ClassEmbDim)
		sum += 2 * float64(visible) / float64(len(c.Inputs)) * d * channels * p * p
	}
	for _, o := range c.Outputs {
		e, p, ratio := float64(o.Dim), float64(c.PatchSize/o.Stride), float64(c.Encoder.MLPRatio)
		sum += 2 * tokens * e * (d + 2*e)                     // context, keys and values
		sum += 2*patches*e*e*(2+2*ratio) + 4*patches*tokens*e // queries, cross-attention, MLP
		sum += float64(o.Depth) * block(e, patches, ratio)    // self-attention
		sum += 2 * patches * e * float64(o.Channels) * p * p  // pixels
	}
	return sum
}

// modelCase is a model with a batch and masks for it.
type modelCase struct {
	model *multimae.Model
	batch *multimae.Batch
	masks *multimae.Masks
}

func newModel(c *multimae.Config) (*multimae.Model, error) {
	m, err := multimae.NewModel(c)
	if err == nil {
		m.Init(1)
	}
	return m, err
}

func preset(name string) (*multimae.Config, error) {
	classes := 133
	if name == "tiny" {
		classes = len(scenes.Classes)
	}
	return multimae.Preset(name, classes)
}

// rendered returns a batch of rendered scenes.
func rendered(c *multimae.Config, batch int) (*multimae.Batch, error) {
	ds := scenes.New(0, batch, c.ImageSize, 1)
	var samples []*data.Sample
	for i := range batch {
		s, err := ds.Sample(i)
		if err != nil {
			return nil, err
		}
		samples = append(samples, s)
	}
	return data.Collate(samples, c.Inputs, c.ImageSize)
}

func newCase(m *multimae.Model, batch *multimae.Batch) (*modelCase, error) {
	x := &modelCase{model: m, batch: batch}
	nh, nw := m.Config.Grid(batch.H, batch.W)
	r := nn.NewRNG(2)
	present := m.Present(batch)
	var err error
	x.masks, err = multimae.DrawMasks(&r, batch.Size, present, nh*nw, m.Config.MaskOptions(present))
	return x, err
}

// verifyForward compares the predictions of a frozen model with those of plain,
// which has the same weights: packed weights, threads and reused memory must
// not change a bit.
func (x *modelCase) verifyForward(plain *multimae.Model) error {
	want, err := plain.Forward(tensor.NewTape(nil), x.batch, x.masks, nil)
	if err != nil {
		return err
	}
	pool := tensor.NewPool(0)
	defer pool.Close()
	got, err := x.model.Forward(tensor.NewInference(pool), x.batch, x.masks, nil)
	if err != nil {
		return err
	}
	for i, p := range got {
		if tensor.FirstNotFinite(p.Data) >= 0 || !slices.Equal(p.Data, want[i].Data) {
			return fmt.Errorf("output %d is not that of the model before its weights were packed", i)
		}
	}
	return nil
}

// frozen returns a verified case of a preset for inference.
func frozen(b *testing.B, name string, batch int) *modelCase {
	group := "inference " + name
	m := keep(b, group, "model", func() (*multimae.Model, error) {
		c, err := preset(name)
		if err != nil {
			return nil, err
		}
		m, err := newModel(c)
		if err == nil {
			m.Params.Freeze()
		}
		return m, err
	})
	return keep(b, group, fmt.Sprint("batch ", batch), func() (*modelCase, error) {
		images, err := rendered(m.Config, batch)
		if err != nil {
			return nil, err
		}
		x, err := newCase(m, images)
		if err != nil {
			return nil, err
		}
		plain, err := newModel(m.Config)
		if err != nil {
			return nil, err
		}
		return x, x.verifyForward(plain)
	})
}

// models runs a benchmark for the presets and batches, and for preset tiny with
// the batch that it is trained with. Preset large and batch
// 32 run only where -bench names them, as in -bench 'TrainStep/model=base/batch=32'.
func models(b *testing.B, f func(b *testing.B, preset string, batch int)) {
	for _, name := range []string{"tiny", "small", "base", "large"} {
		for _, batch := range []int{1, 8, 16, 32} {
			switch {
			case batch == 16 && name != "tiny", batch == 32 && !named("batch=32"), name == "large" && !named("large"):
				continue
			}
			b.Run(fmt.Sprintf("model=%s/batch=%d", name, batch), func(b *testing.B) { f(b, name, batch) })
		}
	}
}

// forward times the forward pass of a case.
func (x *modelCase) forward(b *testing.B, threads int, pool *tensor.Pool) {
	t := tensor.NewInference(pool)
	flops := float64(x.batch.Size) * modelFlops(x.model.Config, x.masks.Visible)
	measure(b, work{flops: flops, threads: threads, images: x.batch.Size}, func() {
		t.Reset()
		if _, err := x.model.Forward(t, x.batch, x.masks, nil); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkForward predicts all outputs from a sixth of the patches.
func BenchmarkForward(b *testing.B) {
	models(b, func(b *testing.B, preset string, batch int) {
		withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
			frozen(b, preset, batch).forward(b, threads, pool)
		})
	})
}

// step returns a whole training step and checks its loss and gradient.
func (x *modelCase) step(b *testing.B, pool *tensor.Pool) func() {
	tr, err := train.NewTrainer(x.model, pool)
	if err != nil {
		b.Fatal(err)
	}
	return func() {
		m, err := tr.Step(x.batch)
		if err != nil {
			b.Fatal(err)
		}
		if !(m.Loss > 0 && m.Loss < 20 && m.GradNorm > 0) { // four losses of an untrained model are about 10
			b.Fatalf("the loss is %g, the norm of the gradient %g", m.Loss, m.GradNorm)
		}
	}
}

func (x *modelCase) train(b *testing.B, threads int, pool *tensor.Pool) {
	debug.FreeOSMemory()
	resetPeakMemory()
	flops := 3 * float64(x.batch.Size) * modelFlops(x.model.Config, x.model.Config.Train.NumEncodedTokens)
	measure(b, work{flops: flops, threads: threads, images: x.batch.Size}, x.step(b, pool))
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	b.ReportMetric(float64(mem.Sys-mem.HeapReleased)/(1<<20), "MiB-sys")
	if peak, ok := peakMemory(); ok {
		b.ReportMetric(peak, "peak-RSS-bytes")
	}
}

// training returns a case of a preset that is trained.
func training(b *testing.B, name string, batch int) *modelCase {
	return keep(b, fmt.Sprint("training ", name, batch), "case", func() (*modelCase, error) {
		c, err := preset(name)
		if err != nil {
			return nil, err
		}
		m, err := newModel(c)
		if err != nil {
			return nil, err
		}
		images, err := rendered(c, batch)
		if err != nil {
			return nil, err
		}
		return newCase(m, images)
	})
}

// BenchmarkTrainStep is a whole step: masks, forward, losses, backward, norm of
// the gradient, AdamW. Operations are counted as three times the forward pass.
// peak-RSS-bytes is the most memory that the process held meanwhile, MiB-sys what
// Go has of the system at the end.
func BenchmarkTrainStep(b *testing.B) {
	models(b, func(b *testing.B, preset string, batch int) {
		withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
			training(b, preset, batch).train(b, threads, pool)
		})
	})
}

// resetPeakMemory makes peakMemory start anew.
func resetPeakMemory() {
	if runtime.GOOS == "linux" {
		os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // see proc(5); without it the peak is that of all so far
	}
}

// peakMemory is the most resident memory in bytes since resetPeakMemory, where
// the system tells.
func peakMemory() (float64, bool) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(status) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "VmHWM:" {
			kib, err := strconv.ParseFloat(string(f[1]), 64)
			return kib * 1024, err == nil
		}
	}
	return 0, false
}

// BenchmarkShare compares what is no matrix product with a training step:
// layer norm, softmax, GELU and losses, forward and backward and as often as a
// step computes them. Both are timed in turns; %step is all four.
func BenchmarkShare(b *testing.B) {
	for _, batch := range []int{1, 8} {
		b.Run(fmt.Sprintf("model=base/batch=%d", batch), func(b *testing.B) {
			withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
				x := training(b, "base", batch)
				step := x.step(b, pool)
				parts := x.parts(b, pool)
				spent := make([]time.Duration, len(parts))
				step()
				for _, p := range parts {
					p.run()
				}
				b.ResetTimer()
				var steps time.Duration
				for range b.N {
					start := time.Now()
					step()
					steps += time.Since(start)
					for i, p := range parts {
						start := time.Now()
						p.run()
						spent[i] += time.Since(start)
					}
				}
				sum := 0.0
				for i, p := range parts {
					share := 100 * spent[i].Seconds() / steps.Seconds()
					sum += share
					b.ReportMetric(share, "%"+p.name)
				}
				b.ReportMetric(sum, "%step")
				b.ReportMetric(float64(steps.Nanoseconds())/float64(b.N), "ns/op")
			})
		})
	}
}

// part is some of a step's work.
type part struct {
	name string
	run  func()
}

// parts are the pieces of a training step of x that BenchmarkShare looks at.
// Their sizes and numbers are those of the model's parts: see vit.Block and
// the decoders of package multimae.
func (x *modelCase) parts(b *testing.B, pool *tensor.Pool) []part {
	c := x.model.Config
	nh, nw := c.Grid(x.batch.H, x.batch.W)
	batch, patches := x.batch.Size, nh*nw
	tokens := c.Train.NumEncodedTokens + c.NumGlobalTokens

	// Rows of norms and hidden layers, and keys of attention; times is how
	// often a step has them.
	type rows struct{ rows, cols, times int }
	norms := []rows{{batch * tokens, c.Encoder.Dim, 2 * c.Encoder.Depth}}
	hidden := []rows{{batch * tokens, c.Encoder.Dim * c.Encoder.MLPRatio, c.Encoder.Depth}}
	scores := []rows{{batch * c.Encoder.Heads * tokens, tokens, c.Encoder.Depth}}
	for _, o := range c.Outputs {
		norms = append(norms, rows{batch * tokens, o.Dim, 1}, rows{batch * patches, o.Dim, 2 + 2*o.Depth})
		hidden = append(hidden, rows{batch * patches, o.Dim * c.Encoder.MLPRatio, 1 + o.Depth})
		scores = append(scores, rows{batch * o.Heads * patches, tokens, 1}, rows{batch * o.Heads * patches, patches, o.Depth})
	}
	r := nn.NewRNG(4)

	var passes []func()
	for _, s := range norms {
		t := tensor.NewTape(pool)
		in := []*tensor.Tensor{randomTensor(&r, s.rows, s.cols).WithGrad(), randomTensor(&r, s.cols).WithGrad(), randomTensor(&r, s.cols).WithGrad()}
		dy := randomTensor(&r, s.rows, s.cols).Data
		passes = append(passes, func() {
			for range s.times {
				t.Reset()
				for _, v := range in {
					t.ZeroGrad(v)
				}
				t.Backward(upstream(t, tensor.LayerNorm(t, in[0], in[1], in[2], 1e-6), dy))
			}
		})
	}
	norm := part{"layer-norm", func() {
		for _, pass := range passes {
			pass()
		}
	}}

	// inPieces runs a kernel over rows, a few at a time, as attention and the
	// products run theirs: on numbers that the cache holds.
	inPieces := func(name string, all []rows, pieceRows int, kernel func(x, y []float32, rows, cols int)) part {
		t := tensor.NewTape(pool)
		most := 0
		for _, s := range all {
			most = max(most, pieceRows*s.cols)
		}
		values := randomTensor(&r, most).Data
		return part{name, func() {
			for _, s := range all {
				t.Parallel((s.rows+pieceRows-1)/pieceRows*s.times, func(worker, _ int) {
					v := t.Scratch(worker, 2*pieceRows*s.cols)
					x, y := v[:pieceRows*s.cols], v[pieceRows*s.cols:]
					copy(x, values)
					copy(y, values)
					kernel(x, y, pieceRows, s.cols)
				})
			}
		}}
	}
	softmax := inPieces("softmax", scores, 32, func(x, y []float32, queries, keys int) {
		var shift, sum [32]float32
		asm.Softmax(x, queries, keys, queries, 0.125, shift[:], sum[:])
		asm.SoftmaxBackward(x, y, queries, keys, queries, 0.125, shift[:])
	})
	gelu := inPieces("gelu", hidden, 11, func(x, y []float32, _, _ int) {
		asm.GELUBackward(y, x, y)
		asm.GELU(x, x)
	})

	t := tensor.NewTape(pool)
	forward := tensor.NewTape(nil)
	preds, err := x.model.Forward(forward, x.batch, x.masks, nil)
	if err != nil {
		b.Fatal(err)
	}
	var leaves []*tensor.Tensor
	for _, p := range preds {
		leaves = append(leaves, tensor.From(slices.Clone(p.Data), p.Shape...).WithGrad())
	}
	losses := part{"losses", func() {
		t.Reset()
		for _, p := range leaves {
			t.ZeroGrad(p)
		}
		each, err := x.model.Losses(t, leaves, x.batch, x.masks)
		if err != nil {
			b.Fatal(err)
		}
		t.Backward(multimae.Total(t, each))
	}}
	return []part{norm, softmax, gelu, losses}
}
