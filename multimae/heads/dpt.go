package heads

import (
	"fmt"
	"math"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// dptHead makes a pyramid of maps from the outputs of four blocks and fuses it from coarse to fine:
//
//	block hooks[0] ─ postprocess ─▶ 4nh × 4nw ─ layer1_rn ─▶ refinenet1 ─ head ─▶ 16nh × 16nw
//	block hooks[1] ─ postprocess ─▶ 2nh × 2nw ─ layer2_rn ─▶ refinenet2 ↑
//	block hooks[2] ─ postprocess ─▶  nh ×  nw ─ layer3_rn ─▶ refinenet3 ↑
//	block hooks[3] ─ postprocess ─▶ nh/2×nw/2 ─ layer4_rn ─▶ refinenet4 ↑
type dptHead struct {
	tasks  []string
	hooks  []int
	levels [4]dptLevel
	// The last layers are a convolution, for a regression a second one, and a 1×1 convolution.
	regression bool
	first      conv
	second     conv
	last       *nn.Linear
}

// dptLevel is one scale, from the finest to the coarsest.
type dptLevel struct {
	project  *nn.Linear // 1×1: m·D → layer_dims
	resample conv       // transposed, none, or of stride 2
	reduce   conv       // 3×3 to feature_dim
	unit1    residualUnit
	unit2    residualUnit
	out      *nn.Linear // 1×1
}

// conv is a convolution: 3×3, or one that resamples.
type conv struct{ weight, bias *tensor.Tensor }

func (c conv) forward(t *tensor.Tape, x *tensor.Tensor, stride int) *tensor.Tensor {
	return tensor.Conv2D(t, x, c.weight, c.bias, stride, 1)
}

// residualUnit is x + conv2(ReLU(conv1(ReLU(x)))).
type residualUnit struct{ conv1, conv2 conv }

// unitTensors is the number of parameters of the residual units of a DPT head.
const unitTensors = 4 * 2 * 4

func (u *residualUnit) forward(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
	s := t.Scope()
	y := u.conv1.forward(t, tensor.ReLU(t, x), 1)
	y = u.conv2.forward(t, tensor.ReLU(t, y), 1)
	return s.Keep(tensor.Add(t, x, y))
}

// dropoutRate is the rate of dropout in a head of HeadSemseg.
const dropoutRate = 0.1

func newDPT(ps *nn.Params, prefix string, c *Config, o *Output) *dptHead {
	h := &dptHead{tasks: o.MainTasks, hooks: o.Hooks, regression: o.HeadType == HeadRegression}
	f := o.FeatureDim
	plain := func(name string, out, in int, bias bool) conv {
		w, b := newConv(ps, prefix+name, out, in, 3, bias)
		return conv{w, b}
	}
	for i := range h.levels {
		l, n := &h.levels[i], o.LayerDims[i]
		name := fmt.Sprintf(".scratch.layer%d_rn", i+1)
		l.reduce = plain(name, f, n, false)
		ps.Alias(fmt.Sprintf("%s.scratch.layer_rn.%d.weight", prefix, i), prefix+name+".weight")
	}
	for i := range h.levels {
		l, name := &h.levels[i], fmt.Sprintf(".scratch.refinenet%d", i+1)
		l.out = pointwise(newConv(ps, prefix+name+".out_conv", f, f, 1, true))
		for k, u := range []*residualUnit{&l.unit1, &l.unit2} {
			unit := fmt.Sprintf("%s.resConfUnit%d", name, k+1)
			u.conv1 = plain(unit+".conv1", f, f, true)
			u.conv2 = plain(unit+".conv2", f, f, true)
			if i == 3 && k == 0 { // the coarsest has nothing to add its output to: stored, but not used
				for _, p := range []string{".conv1.weight", ".conv1.bias", ".conv2.weight", ".conv2.bias"} {
					ps.Get(prefix + unit + p).Fixed = true
				}
			}
		}
	}
	if h.regression {
		h.first = plain(".head.0", f/2, f, true)
		h.second = plain(".head.2", 32, f/2, true)
		h.last = pointwise(newConv(ps, prefix+".head.4", o.NumClasses, 32, 1, true))
	} else {
		h.first = plain(".head.0", f, f, false)
		h.last = pointwise(newConv(ps, prefix+".head.4", o.NumClasses, f, 1, true))
	}
	for i := range h.levels {
		l, n, d := &h.levels[i], o.LayerDims[i], c.Encoder.Dim*len(o.MainTasks)
		name := fmt.Sprintf("%s.act_%d_postprocess", prefix, i+1)
		second := func(key string) {
			ps.Alias(fmt.Sprintf("%s.act_postprocess.%d.%s", prefix, i, key), name+"."+key)
		}
		l.project = pointwise(newConv(ps, name+".0", n, d, 1, true))
		second("0.weight")
		second("0.bias")
		k := []int{4, 2, 0, 3}[i] // also the stride of the transposed ones
		if k == 0 {
			continue
		}
		// The weight of a transposed convolution is [in, out, k, k], and both are n here.
		l.resample.weight, l.resample.bias = newConv(ps, name+".1", n, n, k, true)
		second("1.weight")
		second("1.bias")
	}
	return h
}

// fanIn returns the bound of PyTorch's initial values for a layer that sums n products.
func fanIn(n int) float64 { return 1 / math.Sqrt(float64(n)) }

func (h *dptHead) blocks() []int { return h.hooks }

func (h *dptHead) forward(t *tensor.Tape, f *features, rng *nn.RNG) *tensor.Tensor {
	s := t.Scope()
	var path *tensor.Tensor // fused so far
	for i := 3; i >= 0; i-- {
		path = s.Keep(h.levels[i].fuse(t, f.main(t, i, h.tasks), i, path))
	}
	x := s.Keep(h.first.forward(t, path, 1))
	if h.regression {
		x = h.second.forward(t, double(t, x), 1)
		return s.Keep(h.last.Forward(t, tensor.ReLU(t, x)))
	}
	x = h.last.Forward(t, dropout(t, tensor.ReLU(t, x), rng))
	return s.Keep(double(t, x))
}

// fuse returns the map of a level from its tokens [B, nh, nw, m·D] and the coarser path, which is
// nil for the coarsest, at twice the size.
func (l *dptLevel) fuse(t *tensor.Tape, tokens *tensor.Tensor, level int, path *tensor.Tensor) *tensor.Tensor {
	s := t.Scope()
	x := l.reduce.forward(t, l.scale(t, tokens, level), 1)
	if path != nil {
		x = tensor.Add(t, path, l.unit1.forward(t, x))
	}
	// The 1×1 convolution and the interpolation, whose weights sum to 1, can change places. In this
	// order the convolution takes a quarter of the time.
	return s.Keep(double(t, l.out.Forward(t, l.unit2.forward(t, x))))
}

// scale brings tokens [B, nh, nw, m·D] to the size of a level.
func (l *dptLevel) scale(t *tensor.Tape, tokens *tensor.Tensor, level int) *tensor.Tensor {
	x := l.project.Forward(t, tokens)
	switch level {
	case 2:
		return x
	case 3:
		return l.resample.forward(t, x, 2)
	}
	return tensor.ConvTranspose2D(t, x, l.resample.weight, l.resample.bias)
}

// dropout returns x with some values set to zero. rng draws which; nil sets none.
func dropout(t *tensor.Tape, x *tensor.Tensor, rng *nn.RNG) *tensor.Tensor {
	if rng == nil {
		return x
	}
	scale := t.Values(len(x.Data))
	rng.ForSamples(len(scale)/x.Shape[0], func() {
		for i := range scale {
			scale[i] = 0
			if !rng.Chance(dropoutRate) {
				scale[i] = 1 / (1 - dropoutRate) // keeps the expectation
			}
		}
	})
	return tensor.Mul(t, x, scale)
}

// double returns x at twice its size.
func double(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
	return tensor.ResizeBilinear(t, x, 2*x.Shape[1], 2*x.Shape[2], true)
}
