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

	"github.com/gomae/gomae/bench/internal/models"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// modelFlops counts the multiplications and additions of the matrix products in the forward pass of
// one image with that many visible patches, where so many patches of an output are predicted. The
// last layers of a decoder compute no others.
func modelFlops(c *multimae.Config, visible int, predictedOf func(*multimae.Config, multimae.Output) float64) float64 {
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
		predicted := predictedOf(c, o)
		sum += 2 * tokens * e * (d + 2*e)                     // context, keys and values
		sum += 2*patches*e*e*(2+2*ratio) + 4*patches*tokens*e // queries, cross-attention, MLP
		sum += float64(o.Depth) * block(e, patches, ratio)    // self-attention
		if o.Depth > 0 {
			sum -= 2 * (patches - predicted) * e * e * (1 + 2*ratio) // of the last block, behind attention
		}
		sum += 2 * predicted * e * float64(o.Channels) * p * p // pixels
	}
	return sum
}

// allPatches is how many patches an output has.
func allPatches(c *multimae.Config, _ multimae.Output) float64 {
	nh, nw := c.Grid(c.ImageSize, c.ImageSize)
	return float64(nh * nw)
}

// maskedPatches is how many patches of an output a training step predicts, in the mean.
func maskedPatches(c *multimae.Config, o multimae.Output) float64 {
	n := allPatches(c, o)
	if !o.LossOnUnmasked {
		n -= float64(c.Train.NumEncodedTokens) / float64(len(c.Inputs))
	}
	return n
}

// modelCase is a model with a batch and its masks.
type modelCase struct {
	model *multimae.Model
	batch *multimae.Batch
	masks *multimae.Masks
}

// rendered returns a batch of rendered scenes.
func rendered(c *multimae.Config, batch int) (*multimae.Batch, error) {
	return models.Batch(scenes.New(0, batch, c.ImageSize, 1), 0, batch, c)
}

// newCase draws masks for a batch.
func newCase(m *multimae.Model, batch *multimae.Batch) (*modelCase, error) {
	x := &modelCase{model: m, batch: batch}
	nh, nw := m.Config.Grid(batch.H, batch.W)
	r := nn.NewRNG(2)
	present := m.Present(batch)
	var err error
	x.masks, err = multimae.DrawMasks(&r, batch.Size, present, nh*nw, m.Config.MaskOptions(present))
	return x, err
}

// verifyForward compares the predictions of a frozen model with those of plain, an unfrozen model
// with the same weights. Packed weights, threads and reused memory must not change a bit.
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
			return fmt.Errorf("output %d differs from that of the model whose weights are not packed", i)
		}
	}
	return nil
}

// frozen returns a verified case of a preset with packed weights, for inference.
func frozen(b *testing.B, name string, batch int) *modelCase {
	group := "inference " + name
	m := once(b, group, "model", func() (*multimae.Model, error) {
		c, err := models.Preset(name)
		if err != nil {
			return nil, err
		}
		m, err := models.New(c)
		if err == nil {
			m.Params.Freeze()
		}
		return m, err
	})
	return once(b, group, fmt.Sprint("batch ", batch), func() (*modelCase, error) {
		images, err := rendered(m.Config, batch)
		if err != nil {
			return nil, err
		}
		x, err := newCase(m, images)
		if err != nil {
			return nil, err
		}
		plain, err := models.New(m.Config)
		if err != nil {
			return nil, err
		}
		return x, x.verifyForward(plain)
	})
}

// eachModel runs a benchmark for each preset and batch. Preset tiny also runs with a batch of 16, with
// which it is trained. Preset large and a batch of 32 run only if -bench names them, as in
// -bench 'TrainStep/model=base/batch=32'.
func eachModel(b *testing.B, f func(b *testing.B, preset string, batch int)) {
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
	flops := float64(x.batch.Size) * modelFlops(x.model.Config, x.masks.Visible, allPatches)
	measure(b, work{flops: flops, threads: threads, images: x.batch.Size}, func() {
		t.Reset()
		if _, err := x.model.Forward(t, x.batch, x.masks, nil); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkForward predicts all outputs from a sixth of the patches.
func BenchmarkForward(b *testing.B) {
	eachModel(b, func(b *testing.B, preset string, batch int) {
		withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
			frozen(b, preset, batch).forward(b, threads, pool)
		})
	})
}

// step returns a function that takes a whole training step and checks its loss and gradient.
func (x *modelCase) step(b *testing.B, pool *tensor.Pool) func() {
	tr, err := train.NewTrainer(train.NewPretraining(x.model), pool)
	if err != nil {
		b.Fatal(err)
	}
	return func() {
		m, err := tr.Step(x.batch)
		if err != nil {
			b.Fatal(err)
		}
		if !(m.Loss > 0 && m.Loss < 20 && m.GradNorm > 0) { // the four losses of an untrained model sum to about 10
			b.Fatalf("the loss is %g and the norm of the gradient %g", m.Loss, m.GradNorm)
		}
	}
}

// train times the training step of a case and reports its memory.
func (x *modelCase) train(b *testing.B, threads int, pool *tensor.Pool) {
	debug.FreeOSMemory()
	resetPeakMemory()
	c := x.model.Config
	flops := 3 * float64(x.batch.Size) * modelFlops(c, c.Train.NumEncodedTokens, maskedPatches)
	measure(b, work{flops: flops, threads: threads, images: x.batch.Size}, x.step(b, pool))
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	b.ReportMetric(float64(mem.Sys-mem.HeapReleased)/(1<<20), "MiB-sys")
	if peak, ok := peakMemory(); ok {
		b.ReportMetric(peak, "peak-RSS-bytes")
	}
}

// training returns a case of a preset for training.
func training(b *testing.B, name string, batch int) *modelCase {
	return once(b, fmt.Sprint("training ", name, batch), "case", func() (*modelCase, error) {
		c, err := models.Preset(name)
		if err != nil {
			return nil, err
		}
		m, err := models.New(c)
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

// BenchmarkTrainStep is a whole training step: masks, forward pass, losses, backward pass, norm of the
// gradient, AdamW. It counts three times the operations of its forward pass, which predicts only
// patches that the losses look at. peak-RSS-bytes is the peak of the process's memory, MiB-sys the
// memory that Go holds at the end.
func BenchmarkTrainStep(b *testing.B) {
	eachModel(b, func(b *testing.B, preset string, batch int) {
		withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
			training(b, preset, batch).train(b, threads, pool)
		})
	})
}

// resetPeakMemory restarts the measurement of peakMemory, if the system can.
func resetPeakMemory() {
	if runtime.GOOS == "linux" {
		os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // see proc(5)
	}
}

// peakMemory returns the peak of the resident memory in bytes since resetPeakMemory. ok is false if the
// system does not tell.
func peakMemory() (bytesUsed float64, ok bool) {
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
