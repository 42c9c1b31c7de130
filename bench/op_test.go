package bench

import (
	"fmt"
	"math"
	"testing"

	"github.com/gomae/gomae/asm"
	"github.com/gomae/gomae/bench/peers"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// op is an operation of package tensor.
type op struct {
	name     string
	flops    float64 // floating-point operations of the products in the forward pass
	backward float64 // those of the backward pass, as a multiple of flops
	inputs   [][]int // shapes of the inputs, which get gradients
	weight   int     // index of the input that is frozen in the forward pass; 0 if there is none
	run      func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor
}

// ops returns the operations at the sizes of ViT-B with 98 visible patches, of its decoders and of
// the convolutional heads.
func ops() []op {
	var all []op
	add := func(o op) { all = append(all, o) }
	for _, s := range [][4]int{{1, 99, 12, 64}, {8, 99, 12, 64}, {8, 196, 8, 32}} {
		b, n, h, d := s[0], s[1], s[2], s[3]
		add(op{
			fmt.Sprintf("attention/shape=%dx%dx%d/heads=%d", b, n, h*d, h), 4 * float64(b*h*n*n*d), 2.5, [][]int{{b, n, 3 * h * d}}, 0,
			func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor { return tensor.Attention(t, in[0], h) },
		})
	}
	add(op{
		"cross-attention/shape=8x196x256/keys=99/heads=8", 4 * 8 * 8 * 196 * 99 * 32, 2.5, [][]int{{8, 196, 256}, {8, 99, 512}}, 0,
		func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor {
			return tensor.CrossAttention(t, in[0], in[1], 8)
		},
	})
	for _, s := range peers.GELUShapes() {
		add(op{
			fmt.Sprintf("linear-gelu/shape=%dx%dx%d", s[0], s[1], s[2]), productFlops(s), 2, [][]int{{s[0], s[2]}, {s[1], s[2]}, {s[1]}}, 1,
			func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor {
				return tensor.LinearGELU(t, in[0], in[1], in[2])
			},
		})
	}
	add(op{
		"linear-add/shape=792x768x3072", 2 * 792 * 768 * 3072, 2, [][]int{{792, 3072}, {768, 3072}, {768}, {792, 768}}, 1,
		func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor {
			return tensor.LinearAdd(t, in[0], in[1], in[2], in[3])
		},
	})
	add(op{
		"layer-norm/shape=792x768", 0, 0, [][]int{{792, 768}, {768}, {768}}, 0,
		func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor {
			return tensor.LayerNorm(t, in[0], in[1], in[2], 1e-6)
		},
	})

	// The tokens of 8 images: some of 1568 patches, plus their positions out of 196.
	rows, positions := make([]int32, 8*98), make([]int32, 8*98)
	r := nn.NewRNG(3)
	for i := range rows {
		rows[i], positions[i] = int32(r.Intn(1568)), int32(r.Intn(196))
	}
	add(op{
		"gather/shape=784x768", 0, 0, [][]int{{1568, 768}, {196, 768}}, 0,
		func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor {
			return tensor.GatherSum(t, []int{784, 768}, tensor.Source{Table: in[0], Rows: rows}, tensor.Source{Table: in[1], Rows: positions})
		},
	})

	// The losses of 8 images, a sixth of whose patches is visible.
	const patches, pixels, classes = 8 * 196, 16, 133
	weights, target := make([]float32, patches), make([]float32, patches*768)
	classWeights, ids := make([]float32, patches*pixels), make([]int32, patches*pixels)
	for i := range weights {
		if i%6 != 0 {
			weights[i] = 1. / patches
		}
		for j := range pixels {
			classWeights[i*pixels+j], ids[i*pixels+j] = weights[i]/pixels, int32(r.Intn(classes))
		}
	}
	for i := range target {
		target[i] = r.Float32(-1, 1)
	}
	regression := func(d tensor.Distance) func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor {
		return func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor {
			return tensor.RegressionLoss(t, in[0], target, weights, d)
		}
	}
	add(op{"loss-l2/shape=1568x768", 0, 0, [][]int{{patches, 768}}, 0, regression(tensor.L2)})
	add(op{"loss-l1/shape=1568x768", 0, 0, [][]int{{patches, 768}}, 0, regression(tensor.L1)})
	add(op{
		"loss-berhu/shape=1568x768", 0, 0, [][]int{{patches, 768}}, 0,
		func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor {
			return tensor.BerHuLoss(t, in[0], target, weights, tensor.BerHuBound(t, in[0], target, weights))
		},
	})
	add(op{
		"loss-cross-entropy/shape=1568x2128/classes=133", 0, 0, [][]int{{patches, classes * pixels}}, 0,
		func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor {
			return tensor.CrossEntropy(t, in[0], classes, ids, classWeights, 0)
		},
	})

	// An image [1, h, w, c]. Each result takes taps multiply-adds.
	image := func(name string, h, w, c int, results, taps float64, weight []int, o int, run func(t *tensor.Tape, x, w, b *tensor.Tensor) *tensor.Tensor) {
		add(op{name, 2 * results * taps, 2, [][]int{{1, h, w, c}, weight, {o}}, 0, func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor {
			return run(t, in[0], in[1], in[2])
		}})
	}
	conv3x3 := func(t *tensor.Tape, x, w, b *tensor.Tensor) *tensor.Tensor { return tensor.Conv2D(t, x, w, b, 1, 1) }
	image("convolution/shape=1x56x56x256/kernel=3x3x256", 56, 56, 256, 56*56*256, 9*256, []int{256, 256, 3, 3}, 256, conv3x3)
	image("convolution/shape=1x112x112x256/kernel=3x3x32", 112, 112, 256, 112*112*32, 9*256, []int{32, 256, 3, 3}, 32, conv3x3)
	image("transposed-convolution/shape=1x14x14x256/kernel=4x4x256", 14, 14, 256, 56*56*256, 256, []int{256, 256, 4, 4}, 256, tensor.ConvTranspose2D)
	image("depthwise/shape=1x56x56x384/kernel=7x7", 56, 56, 384, 56*56*384, 49, []int{384, 1, 7, 7}, 384,
		func(t *tensor.Tape, x, w, b *tensor.Tensor) *tensor.Tensor {
			return tensor.DepthwiseConv2D(t, x, w, b, 3)
		})
	add(op{
		"resize/shape=1x56x56x256/to=112x112", 0, 0, [][]int{{1, 56, 56, 256}}, 0,
		func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor {
			return tensor.ResizeBilinear(t, in[0], 112, 112, true)
		},
	})
	add(op{
		"relu/shape=1x112x112x256", 0, 0, [][]int{{1, 112, 112, 256}}, 0,
		func(t *tensor.Tape, in []*tensor.Tensor) *tensor.Tensor { return tensor.ReLU(t, in[0]) },
	})
	return all
}

// start returns new inputs, the same numbers at each call.
func (o *op) start(pass string) []*tensor.Tensor {
	r := nn.NewRNG(1)
	var in []*tensor.Tensor
	for i, shape := range o.inputs {
		x := randomTensor(&r, shape...)
		if pass == "backward" {
			x.WithGrad()
		} else if i > 0 && i == o.weight {
			x.Freeze()
		}
		in = append(in, x)
	}
	return in
}

// end returns a single number from which gradients flow back to y.
func end(t *tensor.Tape, y *tensor.Tensor, dy []float32) *tensor.Tensor {
	if len(y.Data) == 1 {
		return y
	}
	return upstream(t, y, dy)
}

// results returns the output of a pass, and the gradients.
func (o *op) results(pass string, pool *tensor.Pool) [][]float32 {
	in := o.start(pass)
	if pass == "forward" {
		return [][]float32{o.run(tensor.NewInference(pool), in).Data}
	}
	t := tensor.NewTape(pool)
	for _, x := range in {
		t.ZeroGrad(x)
	}
	y := o.run(t, in)
	t.Backward(end(t, y, upstreamFor(y)))
	all := [][]float32{y.Data}
	for _, x := range in {
		all = append(all, x.Grad)
	}
	return all
}

// upstreamFor returns a gradient for y, the same numbers at each call.
func upstreamFor(y *tensor.Tensor) []float32 {
	r := nn.NewRNG(2)
	return randomTensor(&r, len(y.Data)).Data
}

// verify compares output and gradients with those of the generic kernels, which are the
// specification.
func (o *op) verify(b *testing.B, pass string) {
	once(b, "op", o.name+pass, func() (bool, error) {
		pool := tensor.NewPool(0)
		defer pool.Close()
		got := o.results(pass, pool)
		restore := asm.Use(asm.Generic)
		want := o.results(pass, pool)
		restore()
		for i := range want {
			if e := relativeError(got[i], want[i]); !(e <= 1e-5) {
				return false, fmt.Errorf("result %d is off by %.1e from that of the generic kernels, want at most 1e-5", i, e)
			}
		}
		return true, nil
	})
}

// relativeError returns the norm of got − want over that of want.
func relativeError(got, want []float32) float64 {
	var difference, norm float64
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		difference += d * d
		norm += float64(w) * float64(w)
	}
	return math.Sqrt(difference / max(norm, 1e-30))
}

// BenchmarkOp measures operations: with pass=forward in inference, with pass=backward in training,
// the forward pass included.
func BenchmarkOp(b *testing.B) {
	for _, o := range ops() {
		for _, pass := range []string{"forward", "backward"} {
			b.Run(o.name+"/pass="+pass, func(b *testing.B) {
				withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
					o.verify(b, pass)
					in := o.start(pass)
					if pass == "forward" {
						t := tensor.NewInference(pool)
						measure(b, work{flops: o.flops, threads: threads}, func() {
							o.run(t, in)
							t.Reset()
						})
						return
					}
					t := tensor.NewTape(pool)
					var dy []float32
					measure(b, work{flops: o.flops * (1 + o.backward), threads: threads}, func() {
						t.Reset()
						for _, x := range in {
							t.ZeroGrad(x)
						}
						y := o.run(t, in)
						if dy == nil {
							dy = upstreamFor(y)
						}
						t.Backward(end(t, y, dy))
					})
				})
			})
		}
	}
}

// BenchmarkAdamW updates 98 million parameters.
func BenchmarkAdamW(b *testing.B) {
	const n = 98_000_000
	withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
		ps := nn.NewParams()
		w := ps.Add("w", nn.Ones, n)
		ps.Init(1)
		ps.EnableGrad()
		for i := range w.Grad {
			w.Grad[i] = 0.5
		}
		a := nn.NewAdamW(0.9, 0.95, 1e-8, ps)
		t := tensor.NewTape(pool)
		step := func() { a.Step(t, 1e-3, 0.05, 1) }
		step()
		// After the first step the corrected moments are g and g², whose ratio g/√g² is 1.
		for i := 0; i < n; i += n / 100 {
			if want := 1 - 1e-3*0.05 - 1e-3; math.Abs(float64(w.Data[i])-want) > 1e-6 {
				b.Fatalf("parameter %d is %g, want %g", i, w.Data[i], want)
			}
		}
		b.SetBytes(7 * 4 * n)
		measure(b, work{threads: threads}, step)
	})
}
