package bench

import (
	"fmt"
	"testing"

	"github.com/gomae/gomae/bench/internal/models"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// curvePoint is the work of a model with the encoder and decoders of preset base.
type curvePoint struct{ visible, batch, size, modalities int }

// curves vary one number and leave the others as in the paper: 98 visible patches, 224 pixels, three
// modalities. With the image size, a sixth of the patches stays visible.
var curves = []struct {
	of string
	ns []int
	at func(n int) curvePoint
}{
	{"tokens", []int{49, 98, 196, 294, 392, 588}, func(n int) curvePoint { return curvePoint{n, 1, 224, 3} }},
	{"batch", []int{1, 2, 4, 8, 16, 32, 64}, func(n int) curvePoint { return curvePoint{98, n, 224, 3} }},
	{"image-size", []int{112, 160, 224, 320, 448}, func(n int) curvePoint {
		return curvePoint{3 * (n / 16) * (n / 16) / 6, 1, n, 3}
	}},
	{"modalities", []int{1, 2, 3, 4}, func(n int) curvePoint { return curvePoint{98, 1, 224, n} }},
}

// stepBatch is the largest batch that is trained: a larger one needs too much memory.
const stepBatch = 16

// BenchmarkCurve measures the points of cost curves, which go run ./bench/curves fits and draws.
// ns/image is the time of one image with all threads, in a forward pass or a whole training step.
func BenchmarkCurve(b *testing.B) {
	threads := threadCounts()[len(threadCounts())-1]
	pool := tensor.NewPool(threads)
	defer pool.Close()
	for _, curve := range curves {
		for _, pass := range []string{"forward", "step"} {
			for _, n := range curve.ns {
				p := curve.at(n)
				if pass == "step" && p.batch > stepBatch {
					continue
				}
				b.Run(fmt.Sprintf("of=%s/n=%d/pass=%s/threads=%d", curve.of, n, pass, threads), func(b *testing.B) {
					x := p.make(b, pass)
					if pass == "step" {
						x.train(b, threads, pool)
					} else {
						x.forward(b, threads, pool)
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*p.batch), "ns/image")
				})
			}
		}
	}
}

// config returns preset base with other modalities and sizes. The losses count all patches, because
// there may be no masked ones.
func (p curvePoint) config() (*multimae.Config, error) {
	c, err := models.Preset("base")
	if err != nil {
		return nil, err
	}
	c.ImageSize, c.Train.NumEncodedTokens = p.size, p.visible
	normals, output := c.Inputs[0], c.Outputs[0]
	normals.Name, normals.Normalize, output.Name, output.Task = "normals", "none", "normals", "normals"
	c.Inputs = append(c.Inputs, normals)[:p.modalities]
	var outputs multimae.Outputs
	for _, o := range append(c.Outputs[:3:3], output)[:p.modalities] {
		o.LossOnUnmasked = true
		outputs = append(outputs, o)
	}
	c.Outputs = outputs
	return c, c.Check()
}

// TestCurveFlops wants the training steps of curves to count all patches, as their losses do.
func TestCurveFlops(t *testing.T) {
	c, err := curvePoint{98, 1, 224, 3}.config()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := modelFlops(c, 98, maskedPatches), modelFlops(c, 98, allPatches); got != want {
		t.Errorf("got %g operations, want %g", got, want)
	}
}

// make returns a model with random images. Points that differ only in the batch or in the number of
// visible patches share a model.
func (p curvePoint) make(b *testing.B, pass string) *modelCase {
	model := once(b, fmt.Sprint("curve ", pass, p.size, p.modalities), "model", func() (*multimae.Model, error) {
		c, err := p.config()
		if err != nil {
			return nil, err
		}
		m, err := models.New(c)
		if err == nil && pass == "forward" {
			m.Params.Freeze()
		}
		return m, err
	})
	model.Config.Train.NumEncodedTokens = p.visible
	x, err := newCase(model, p.images(model.Config))
	if err == nil && pass == "forward" {
		err = x.finite()
	}
	if err != nil {
		b.Fatal(err)
	}
	return x
}

// finite checks that all predictions are finite. BenchmarkForward checks that they are right.
func (x *modelCase) finite() error {
	pool := tensor.NewPool(0)
	defer pool.Close()
	preds, err := x.model.Forward(tensor.NewInference(pool), x.batch, x.masks, nil)
	if err != nil {
		return err
	}
	for i, p := range preds {
		if tensor.FirstNotFinite(p.Data) >= 0 {
			return fmt.Errorf("output %d has values that are not finite", i)
		}
	}
	return nil
}

// images returns a batch of random pixels and classes.
func (p curvePoint) images(c *multimae.Config) *multimae.Batch {
	x := &multimae.Batch{Size: p.batch, H: p.size, W: p.size, Images: map[string][]float32{}, Classes: map[string][]int32{}}
	r := nn.NewRNG(5)
	for _, in := range c.Inputs {
		side := p.size / in.Stride
		if in.Kind == multimae.KindClasses {
			ids := make([]int32, p.batch*side*side)
			for i := range ids {
				ids[i] = int32(r.Intn(in.NumClasses))
			}
			x.Classes[in.Name] = ids
		} else {
			x.Images[in.Name] = randomTensor(&r, p.batch*in.Channels*side*side).Data
		}
	}
	return x
}
