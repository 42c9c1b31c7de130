package bench

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/gomae/gomae/bench/internal/models"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/evaluate"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/tensor"
)

// headsFlops counts the multiplications and additions of the matrix products and convolutions in the
// forward pass of one image: encoder and heads.
func headsFlops(c *heads.Config) float64 {
	nh, nw := c.Grid(c.ImageSize, c.ImageSize)
	n := float64(nh * nw)
	encoder := multimae.Config{BackboneConfig: c.BackboneConfig}
	sum := modelFlops(&encoder, len(c.Inputs)*nh*nw, nil)
	for i := range c.Outputs {
		o := &c.Outputs[i]
		seen, e, classes := float64(c.Encoder.Dim*len(o.MainTasks)), float64(o.EmbedDim), float64(o.NumClasses)
		switch o.Head {
		case heads.Linear:
			sum += 2 * float64(c.Encoder.Dim) * classes
		case heads.ConvNeXt:
			pixels, width := n*float64(o.PredsPerPatch), e/float64(o.PredsPerPatch)
			sum += 2*n*seen*e + 2*pixels*width*classes
			sum += float64(o.Depth) * 2 * pixels * (49*width + 8*width*width)
		case heads.Segmenter:
			tokens := n + classes
			block := 2*tokens*e*e*(4+2*float64(c.Encoder.MLPRatio)) + 4*tokens*tokens*e
			sum += 2*n*seen*e + float64(o.Depth)*block + 2*tokens*e*e + 2*n*classes*e
		case heads.DPT:
			sum += dptFlops(o, n, seen)
		}
	}
	return sum
}

func dptFlops(o *heads.Output, n, seen float64) (sum float64) {
	f := float64(o.FeatureDim)
	square := func(pixels, in, out float64) float64 { return 2 * 9 * pixels * in * out } // 3×3
	for i, dim := range o.LayerDims {
		l, pixels := float64(dim), []float64{16 * n, 4 * n, n, n / 4}[i]
		sum += 2*n*seen*l + square(pixels, l, f)
		switch i {
		case 0, 1:
			sum += 2 * pixels * l * l // transposed: each pixel comes from one token
		case 3:
			sum += square(pixels, l, l)
		}
		units := 2.0
		if i == 3 {
			units = 1
		}
		sum += units*2*square(pixels, f, f) + 2*pixels*f*f
	}
	if o.HeadType == heads.HeadSemseg {
		return sum + square(64*n, f, f) + 2*64*n*f*float64(o.NumClasses)
	}
	return sum + square(64*n, f, f/2) + square(256*n, f/2, 32) + 2*256*n*32*float64(o.NumClasses)
}

// fineTuned returns the configuration of a model that sees colour and depth, but for the task depth,
// which is to be predicted.
func fineTuned(preset, task, head string) (*heads.Config, error) {
	inputs := []string{"rgb", "depth"}
	if task == heads.TaskDepth {
		inputs = inputs[:1]
	}
	return fineTunedFrom(preset, task, head, inputs)
}

func fineTunedFrom(preset, task, head string, inputs []string) (*heads.Config, error) {
	base, err := models.Preset(preset)
	if err != nil {
		return nil, err
	}
	if err := heads.SetInputs(&base.BackboneConfig, inputs, 0); err != nil {
		return nil, err
	}
	c, err := heads.NewConfig(task, head, base.BackboneConfig, len(scenes.Classes))
	if err == nil && task == heads.TaskDepth {
		c.Outputs[0].Unit = scenes.DepthUnit
	}
	return c, err
}

// evalCase is a model with samples to evaluate it on.
type evalCase struct {
	model   *heads.Model
	samples data.Samples
}

// newEvalCase returns a verified case: packed weights and threads must not change a metric.
func newEvalCase(preset, task, head string, n int) (*evalCase, error) {
	c, err := fineTuned(preset, task, head)
	if err != nil {
		return nil, err
	}
	build := func() (*heads.Model, error) {
		m, err := heads.NewModel(c)
		if err == nil {
			m.Init(1)
		}
		return m, err
	}
	x := &evalCase{}
	ds := scenes.New(0, n, c.ImageSize, 1)
	for i := range n {
		s, err := ds.Sample(i)
		if err != nil {
			return nil, err
		}
		x.samples = append(x.samples, s)
	}
	plain, err := build()
	if err != nil {
		return nil, err
	}
	want, err := evaluate.Evaluate(context.Background(), plain, x.samples[:1], evaluate.Options{}, nil)
	if err != nil {
		return nil, err
	}
	if x.model, err = build(); err != nil {
		return nil, err
	}
	x.model.Params.Freeze()
	pool := tensor.NewPool(0)
	defer pool.Close()
	got, err := evaluate.Evaluate(context.Background(), x.model, x.samples[:1], evaluate.Options{}, pool)
	if err != nil {
		return nil, err
	}
	if fmt.Sprint(got.Metrics()) != fmt.Sprint(want.Metrics()) {
		return nil, fmt.Errorf("metrics %v, but %v of the model whose weights are not packed", got.Metrics(), want.Metrics())
	}
	return x, nil
}

// BenchmarkEval evaluates a fine-tuned model on rendered scenes: it resizes them, predicts, and
// compares predictions with the truth. It counts the operations of the prediction.
func BenchmarkEval(b *testing.B) {
	for _, c := range []struct {
		model, task, head string
		n                 int
	}{
		{"tiny", heads.TaskSemseg, heads.ConvNeXt, 16},
		{"tiny", heads.TaskSemseg, heads.Segmenter, 16},
		{"tiny", heads.TaskDepth, heads.ConvNeXt, 16},
		{"base", heads.TaskSemseg, heads.ConvNeXt, 2},
		{"base", heads.TaskSemseg, heads.Segmenter, 2},
		{"base", heads.TaskDepth, heads.DPT, 2},
	} {
		name := fmt.Sprintf("model=%s/task=%s/head=%s", c.model, c.task, c.head)
		b.Run(name, func(b *testing.B) {
			withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
				x := once(b, "eval "+name, "case", func() (*evalCase, error) { return newEvalCase(c.model, c.task, c.head, c.n) })
				flops := float64(c.n) * headsFlops(x.model.Config)
				measure(b, work{flops: flops, threads: threads, images: c.n}, func() {
					if _, err := evaluate.Evaluate(context.Background(), x.model, x.samples, evaluate.Options{}, pool); err != nil {
						b.Fatal(err)
					}
				})
			})
		})
	}
}

// BenchmarkFinetune takes whole training steps of fine-tuned models: forward, loss, backward, AdamW.
// It checks the loss and the gradient of each.
func BenchmarkFinetune(b *testing.B) {
	for _, c := range []struct {
		model, task, head, inputs string
		size, batch               int
	}{
		{"tiny", heads.TaskSemseg, heads.ConvNeXt, "rgb", 64, 16},
		{"tiny", heads.TaskSemseg, heads.ConvNeXt, "rgb,depth", 64, 16},
		{"tiny", heads.TaskSemseg, heads.Segmenter, "rgb", 64, 16},
		{"base", heads.TaskSemseg, heads.ConvNeXt, "rgb,depth", 224, 2},
		{"base", heads.TaskDepth, heads.DPT, "rgb", 224, 2},
		{"base", heads.TaskSemseg, heads.ConvNeXt, "rgb", 512, 1},
	} {
		name := fmt.Sprintf("model=%s/head=%s/inputs=%s/size=%d/batch=%d", c.model, c.head, c.inputs, c.size, c.batch)
		b.Run(name, func(b *testing.B) {
			withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
				x := once(b, "finetune "+name, "case", func() (*finetuneCase, error) {
					config, err := fineTunedFrom(c.model, c.task, c.head, strings.Split(c.inputs, ","))
					if err != nil {
						return nil, err
					}
					config.ImageSize, config.Train.Batch = c.size, c.batch
					return newFinetuneCase(config)
				})
				tr, err := train.NewTrainer(x.objective, pool)
				if err != nil {
					b.Fatal(err)
				}
				debug.FreeOSMemory()
				resetPeakMemory()
				flops := 3 * float64(c.batch) * headsFlops(x.objective.Model.Config)
				measure(b, work{flops: flops, threads: threads, images: c.batch}, func() {
					m, err := tr.Step(x.batch)
					if err != nil {
						b.Fatal(err)
					}
					if !(m.Loss > 0 && m.Loss < 20 && m.GradNorm > 0) {
						b.Fatalf("the loss is %g and the norm of the gradient %g", m.Loss, m.GradNorm)
					}
				})
				if peak, ok := peakMemory(); ok {
					b.ReportMetric(peak, "peak-RSS-bytes")
				}
			})
		})
	}
}

// finetuneCase is a model to fine-tune with a batch of inputs and targets.
type finetuneCase struct {
	objective *train.Finetuning
	batch     *multimae.Batch
}

func newFinetuneCase(c *heads.Config) (*finetuneCase, error) {
	m, err := heads.NewModel(c)
	if err != nil {
		return nil, err
	}
	m.Init(1)
	x := &finetuneCase{objective: train.NewFinetuning(m)}
	ds := scenes.New(0, c.Train.Batch, c.ImageSize, 1)
	var samples []*data.Sample
	for i := range ds.Len() {
		s, err := ds.Sample(i)
		if err != nil {
			return nil, err
		}
		samples = append(samples, s)
	}
	x.batch, err = data.Collate(samples, x.objective.Plan().Inputs, c.ImageSize)
	return x, err
}
