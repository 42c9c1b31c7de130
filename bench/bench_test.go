package bench

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

func TestMain(m *testing.M) {
	level, _, err := tensor.SIMD()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	// A configuration line of benchfmt: benchstat keeps levels apart.
	fmt.Printf("simd: %s\n", level)
	os.Exit(m.Run())
}

// threadCounts are 1 and all that there are.
func threadCounts() []int {
	if n := runtime.GOMAXPROCS(0); n > 1 {
		return []int{1, n}
	}
	return []int{1}
}

// peakTime is how long the peak is measured, before and after.
const peakTime = 60 * time.Millisecond

// measure times f, which does flops floating-point operations, and reports
// them; images > 0 adds the time of one.
func measure(b *testing.B, flops float64, threads, images int, f func()) {
	f() // memory is allocated, weights are packed
	before := tensor.PeakGFLOPSAll(threads, peakTime)
	f() // and what the peak has thrown out of the caches is back
	b.ResetTimer()
	for range b.N {
		f()
	}
	b.StopTimer()
	after := tensor.PeakGFLOPSAll(threads, peakTime)
	seconds := b.Elapsed().Seconds() / float64(b.N)
	rate := flops / seconds / 1e9
	b.ReportMetric(rate, "GFLOP/s")
	b.ReportMetric(100*rate/((before+after)/2), "%peak")
	if images > 0 {
		b.ReportMetric(1e3*seconds/float64(images), "ms/image")
	}
}

// withPool runs a benchmark for each number of threads.
func withPool(b *testing.B, f func(b *testing.B, threads int, pool *tensor.Pool)) {
	for _, threads := range threadCounts() {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			pool := tensor.NewPool(threads)
			defer pool.Close()
			f(b, threads, pool)
		})
	}
}

func randomTensor(r *nn.RNG, shape ...int) *tensor.Tensor {
	x := tensor.New(shape...)
	for i := range x.Data {
		x.Data[i] = r.Float32(-1, 1)
	}
	return x
}

// gemmShapes are rows M, columns N and depth K of the products of ViT-B: one
// image, a batch, its decoders, and a square for comparison with others.
var gemmShapes = [][3]int{
	{99, 2304, 768}, {99, 768, 768}, {99, 3072, 768}, {99, 768, 3072},
	{98, 3072, 768}, {100, 3072, 768}, {295, 3072, 768}, {588, 3072, 768},
	{792, 768, 768}, {792, 3072, 768}, {792, 768, 3072}, {3168, 3072, 768},
	{196, 256, 256}, {1568, 256, 256}, {1568, 1024, 256}, {1568, 256, 1024}, {1568, 2128, 256}, {1568, 768, 256},
	{1024, 1024, 1024},
}

// BenchmarkGemm is a linear layer without bias: Y [M,N] = X [M,K]·Wᵀ. Packed
// weights were packed once, as for inference; raw ones are packed each time, as
// in training.
func BenchmarkGemm(b *testing.B) {
	for _, s := range gemmShapes {
		m, n, k := s[0], s[1], s[2]
		for _, weights := range []string{"packed", "raw"} {
			b.Run(fmt.Sprintf("shape=%dx%dx%d/weights=%s", m, n, k, weights), func(b *testing.B) {
				withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
					r := nn.NewRNG(1)
					x, w := randomTensor(&r, m, k), randomTensor(&r, n, k)
					if weights == "packed" {
						w.Freeze()
					}
					t := tensor.NewInference(pool)
					y := tensor.Linear(t, x, w, nil)
					verifyProduct(b, &r, y, x, w)
					t.Done(y)
					measure(b, 2*float64(m)*float64(n)*float64(k), threads, 0, func() {
						t.Done(tensor.Linear(t, x, w, nil))
						t.Reset()
					})
				})
			})
		}
	}
}

// verifyProduct compares a few hundred elements with float64.
func verifyProduct(b *testing.B, r *nn.RNG, y, x, w *tensor.Tensor) {
	b.Helper()
	k := x.Cols()
	for range 300 {
		i, j := r.Intn(y.Rows()), r.Intn(y.Cols())
		want := 0.0
		for p := range k {
			want += float64(x.Data[i*k+p]) * float64(w.Data[j*k+p])
		}
		// The sum of k products of numbers below 1, in float32.
		if got := float64(y.Data[i*y.Cols()+j]); !(math.Abs(got-want) <= 1e-6*math.Sqrt(float64(k))*4) {
			b.Fatalf("element (%d,%d) is %g, want %g", i, j, got, want)
		}
	}
}

// BenchmarkGemmBackward is dX and dW of the same layer, with the forward pass
// that a tape needs; the three products are counted.
func BenchmarkGemmBackward(b *testing.B) {
	for _, s := range [][3]int{{792, 768, 768}, {792, 3072, 768}, {792, 768, 3072}, {3168, 3072, 768}, {1568, 1024, 256}} {
		m, n, k := s[0], s[1], s[2]
		b.Run(fmt.Sprintf("shape=%dx%dx%d", m, n, k), func(b *testing.B) {
			withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
				r := nn.NewRNG(1)
				x, w := randomTensor(&r, m, k).WithGrad(), randomTensor(&r, n, k).WithGrad()
				target, weights := make([]float32, m*n), make([]float32, m)
				weights[0] = 1
				t := tensor.NewTape(pool)
				measure(b, 6*float64(m)*float64(n)*float64(k), threads, 0, func() {
					t.Reset()
					t.ZeroGrad(x)
					t.ZeroGrad(w)
					t.Backward(tensor.RegressionLoss(t, tensor.Linear(t, x, w, nil), target, weights, tensor.L2))
				})
			})
		})
	}
}

// BenchmarkOp measures operations forward, and forward with backward.
func BenchmarkOp(b *testing.B) {
	attention := func(batch, n, heads, dh int) (float64, func(t *tensor.Tape, r *nn.RNG) func() *tensor.Tensor) {
		return 4 * float64(batch*heads) * float64(n*n*dh), func(t *tensor.Tape, r *nn.RNG) func() *tensor.Tensor {
			qkv := randomTensor(r, batch, n, 3*heads*dh).WithGrad()
			return func() *tensor.Tensor { t.ZeroGrad(qkv); return tensor.Attention(t, qkv, heads) }
		}
	}
	cross := func(batch, n, m, heads, dh int) (float64, func(t *tensor.Tape, r *nn.RNG) func() *tensor.Tensor) {
		return 4 * float64(batch*heads) * float64(n*m*dh), func(t *tensor.Tape, r *nn.RNG) func() *tensor.Tensor {
			q, kv := randomTensor(r, batch, n, heads*dh).WithGrad(), randomTensor(r, batch, m, 2*heads*dh).WithGrad()
			return func() *tensor.Tensor {
				t.ZeroGrad(q)
				t.ZeroGrad(kv)
				return tensor.CrossAttention(t, q, kv, heads)
			}
		}
	}
	// image is an operation on images [1, h, w, c] with a weight of the given
	// shape, taps multiply-adds for each value of its result [1, h, w, o].
	image := func(h, w, c, o, taps int, weight []int, op func(t *tensor.Tape, x, w, b *tensor.Tensor) *tensor.Tensor) func() (float64, func(t *tensor.Tape, r *nn.RNG) func() *tensor.Tensor) {
		return func() (float64, func(t *tensor.Tape, r *nn.RNG) func() *tensor.Tensor) {
			return 2 * float64(h*w*o) * float64(taps), func(t *tensor.Tape, r *nn.RNG) func() *tensor.Tensor {
				x, w, bias := randomTensor(r, 1, h, w, c).WithGrad(), randomTensor(r, weight...).WithGrad(), randomTensor(r, o).WithGrad()
				return func() *tensor.Tensor {
					t.ZeroGrad(x)
					t.ZeroGrad(w)
					t.ZeroGrad(bias)
					return op(t, x, w, bias)
				}
			}
		}
	}
	conv3x3 := func(t *tensor.Tape, x, w, b *tensor.Tensor) *tensor.Tensor { return tensor.Conv2D(t, x, w, b, 1, 1) }
	depthwise7x7 := func(t *tensor.Tape, x, w, b *tensor.Tensor) *tensor.Tensor {
		return tensor.DepthwiseConv2D(t, x, w, b, 3)
	}
	twice := func(t *tensor.Tape, x, _, _ *tensor.Tensor) *tensor.Tensor {
		return tensor.ResizeBilinear(t, x, 2*x.Shape[1], 2*x.Shape[2], true)
	}
	relu := func(t *tensor.Tape, x, _, _ *tensor.Tensor) *tensor.Tensor { return tensor.ReLU(t, x) }
	for _, op := range []struct {
		name     string
		of       func() (float64, func(t *tensor.Tape, r *nn.RNG) func() *tensor.Tensor)
		backward float64 // operations of the backward pass in terms of the forward pass's
	}{
		{"attention/shape=8x99x768/heads=12", func() (float64, func(*tensor.Tape, *nn.RNG) func() *tensor.Tensor) {
			return attention(8, 99, 12, 64)
		}, 2.5},
		{"attention/shape=1x99x768/heads=12", func() (float64, func(*tensor.Tape, *nn.RNG) func() *tensor.Tensor) {
			return attention(1, 99, 12, 64)
		}, 2.5},
		{"attention/shape=8x196x256/heads=8", func() (float64, func(*tensor.Tape, *nn.RNG) func() *tensor.Tensor) {
			return attention(8, 196, 8, 32)
		}, 2.5},
		{"cross-attention/shape=8x196x256/keys=99/heads=8", func() (float64, func(*tensor.Tape, *nn.RNG) func() *tensor.Tensor) {
			return cross(8, 196, 99, 8, 32)
		}, 2.5},
		{"linear-gelu/shape=99x3072x768", func() (float64, func(*tensor.Tape, *nn.RNG) func() *tensor.Tensor) {
			return 2 * 99 * 3072 * 768, func(t *tensor.Tape, r *nn.RNG) func() *tensor.Tensor {
				x, w, bias := randomTensor(r, 99, 768), randomTensor(r, 3072, 768), randomTensor(r, 3072)
				w.Freeze()
				return func() *tensor.Tensor { return tensor.LinearGELU(t, x, w, bias) }
			}
		}, 0},
		{"linear-gelu/shape=792x3072x768", func() (float64, func(*tensor.Tape, *nn.RNG) func() *tensor.Tensor) {
			return 2 * 792 * 3072 * 768, func(t *tensor.Tape, r *nn.RNG) func() *tensor.Tensor {
				x, w, bias := randomTensor(r, 792, 768), randomTensor(r, 3072, 768), randomTensor(r, 3072)
				w.Freeze()
				return func() *tensor.Tensor { return tensor.LinearGELU(t, x, w, bias) }
			}
		}, 0},
		{"layer-norm/shape=792x768", func() (float64, func(*tensor.Tape, *nn.RNG) func() *tensor.Tensor) {
			return 0, func(t *tensor.Tape, r *nn.RNG) func() *tensor.Tensor {
				x, w, bias := randomTensor(r, 792, 768).WithGrad(), randomTensor(r, 768).WithGrad(), randomTensor(r, 768).WithGrad()
				return func() *tensor.Tensor { return tensor.LayerNorm(t, x, w, bias, 1e-6) }
			}
		}, 0},
		{"convolution/shape=1x56x56x256/kernel=3x3x256", image(56, 56, 256, 256, 9*256, []int{256, 256, 3, 3}, conv3x3), 2},
		{"convolution/shape=1x112x112x256/kernel=3x3x32", image(112, 112, 256, 32, 9*256, []int{32, 256, 3, 3}, conv3x3), 2},
		{"depthwise/shape=1x56x56x384/kernel=7x7", image(56, 56, 384, 384, 49, []int{384, 1, 7, 7}, depthwise7x7), 2},
		{"resize/shape=1x56x56x256/to=112x112", image(56, 56, 256, 1024, 0, []int{1}, twice), 1},
		{"relu/shape=1x112x112x256", image(112, 112, 256, 256, 0, []int{1}, relu), 1},
	} {
		flops, make := op.of()
		for _, mode := range []string{"forward", "backward"} {
			if mode == "backward" && op.backward == 0 {
				continue
			}
			b.Run(op.name+"/pass="+mode, func(b *testing.B) {
				withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
					r := nn.NewRNG(1)
					t := tensor.NewInference(pool)
					total := flops
					if mode == "backward" {
						t = tensor.NewTape(pool)
						total *= 1 + op.backward
					}
					f := make(t, &r)
					y := f()
					if !tensor.Finite(y.Data) {
						b.Fatal("result is not finite")
					}
					weights, target := sliceOf(y.Rows(), 1), sliceOf(len(y.Data), 0)
					t.Done(y)
					measure(b, total, threads, 0, func() {
						t.Reset()
						y := f()
						if mode == "backward" {
							t.Backward(tensor.RegressionLoss(t, y, target, weights, tensor.L2))
						}
						t.Done(y)
					})
				})
			})
		}
	}
}

func sliceOf(n int, v float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = v
	}
	return x
}

// modelFlops counts the multiplications and additions of the products of one
// image's forward pass, with a share of visible patches of each modality.
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

// modelCase is a batch of rendered scenes with masks, and a model for it.
type modelCase struct {
	model *multimae.Model
	batch *multimae.Batch
	masks *multimae.Masks
}

// kept is what benchmarks make once for a process: go test calls them many
// times.
var kept = map[string]any{}

func keep[T any](b *testing.B, key string, make func() (T, error)) T {
	b.Helper()
	if kept[key] == nil {
		v, err := make()
		if err != nil {
			b.Fatal(err)
		}
		kept[key] = v
	}
	return kept[key].(T)
}

func newModel(preset string) (*multimae.Model, error) {
	classes := 133
	if preset == "tiny" {
		classes = len(data.SceneClasses)
	}
	c, err := multimae.Preset(preset, classes)
	if err != nil {
		return nil, err
	}
	m, err := multimae.NewModel(c)
	if err == nil {
		m.Init(1)
	}
	return m, err
}

func (x *modelCase) fill(batch int) error {
	c := x.model.Config
	ds := data.Scenes(0, batch, c.ImageSize, 1)
	var samples []*data.Sample
	for i := range batch {
		s, err := ds.Sample(i)
		if err != nil {
			return err
		}
		samples = append(samples, s)
	}
	var err error
	if x.batch, err = data.Collate(samples, c.Inputs, c.ImageSize); err != nil {
		return err
	}
	nh, nw := c.Grid(x.batch.H, x.batch.W)
	r := nn.NewRNG(2)
	present := x.model.Present(x.batch)
	x.masks, err = multimae.DrawMasks(&r, batch, present, nh*nw, c.MaskOptions(present))
	return err
}

// frozen returns a model for inference and a batch, verified: packed weights,
// threads and reused memory must not change a bit of the predictions.
func frozen(b *testing.B, preset string, batch int) *modelCase {
	m := keep(b, "inference "+preset, func() (*multimae.Model, error) { return newModel(preset) })
	return keep(b, fmt.Sprint("inference ", preset, batch), func() (*modelCase, error) {
		x := &modelCase{model: m}
		if err := x.fill(batch); err != nil {
			return nil, err
		}
		plain, err := newModel(preset)
		if err != nil {
			return nil, err
		}
		want, err := plain.Forward(tensor.NewTape(nil), x.batch, x.masks, nil)
		if err != nil {
			return nil, err
		}
		m.Params.Freeze()
		pool := tensor.NewPool(0)
		defer pool.Close()
		got, err := m.Forward(tensor.NewInference(pool), x.batch, x.masks, nil)
		if err != nil {
			return nil, err
		}
		for i, p := range got {
			for k, v := range p.Data {
				if v != want[i].Data[k] {
					return nil, fmt.Errorf("output %d element %d is %g, want %g", i, k, v, want[i].Data[k])
				}
			}
		}
		return x, nil
	})
}

var modelSizes = []struct {
	preset string
	batch  int
}{{"tiny", 16}, {"small", 8}, {"base", 1}, {"base", 8}, {"base", 32}}

// BenchmarkForward predicts all outputs from a sixth of the patches.
func BenchmarkForward(b *testing.B) {
	for _, s := range modelSizes {
		b.Run(fmt.Sprintf("model=%s/batch=%d", s.preset, s.batch), func(b *testing.B) {
			withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
				x := frozen(b, s.preset, s.batch)
				t := tensor.NewInference(pool)
				measure(b, float64(s.batch)*modelFlops(x.model.Config, x.masks.Visible), threads, s.batch, func() {
					t.Reset()
					if _, err := x.model.Forward(t, x.batch, x.masks, nil); err != nil {
						b.Fatal(err)
					}
				})
			})
		})
	}
}

// BenchmarkTrainStep is a whole step: masks, forward, losses, backward, norm of
// the gradient, AdamW. Operations are counted as three times the forward pass.
func BenchmarkTrainStep(b *testing.B) {
	for _, s := range modelSizes {
		b.Run(fmt.Sprintf("model=%s/batch=%d", s.preset, s.batch), func(b *testing.B) {
			withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
				x := keep(b, fmt.Sprint("training ", s.preset, s.batch), func() (*modelCase, error) {
					m, err := newModel(s.preset)
					if err != nil {
						return nil, err
					}
					x := &modelCase{model: m}
					return x, x.fill(s.batch)
				})
				tr, err := train.NewTrainer(x.model, pool)
				if err != nil {
					b.Fatal(err)
				}
				last := math.Inf(1)
				step := func() {
					m, err := tr.Step(x.batch)
					if err != nil {
						b.Fatal(err)
					}
					if last = m.Loss; !(last < 20) { // four losses of an untrained model are about 10
						b.Fatalf("the loss is %g", last)
					}
				}
				measure(b, 3*float64(s.batch)*modelFlops(x.model.Config, x.masks.Visible), threads, s.batch, step)
				var mem runtime.MemStats
				runtime.ReadMemStats(&mem)
				b.ReportMetric(float64(mem.Sys-mem.HeapReleased)/(1<<20), "MiB-sys")
			})
		})
	}
}

// BenchmarkAdamW updates 98 million parameters.
func BenchmarkAdamW(b *testing.B) {
	withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
		ps := nn.NewParams()
		const n = 98_000_000
		ps.Add("w", nn.Zeros, n)
		ps.EnableGrad()
		a := nn.NewAdamW(0.9, 0.95, 1e-8, ps)
		t := tensor.NewTape(pool)
		a.Step(t, 1e-3, 0.05, 1)
		b.SetBytes(7 * 4 * n)
		b.ResetTimer()
		for range b.N {
			a.Step(t, 1e-3, 0.05, 1)
		}
	})
}

// BenchmarkScene renders rooms and makes them inputs.
func BenchmarkScene(b *testing.B) {
	for _, size := range []int{64, 224} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			ds := data.Scenes(0, 1<<20, size, 1)
			for i := range b.N {
				if _, err := ds.Sample(i % ds.Len()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
