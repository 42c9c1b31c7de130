package heads

import (
	"fmt"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// mapNormEps is the eps of norms on maps. It does not depend on that of the encoder.
const mapNormEps = 1e-6

// convNeXtHead unfolds each token to a square of pixels and computes on them:
//
//	tokens [B, nh, nw, m·D] ─ projDec ─▶ [B, nh·s, nw·s, E/s²] ─ blocks, final ─▶ logits ─▶ resized to H×W
type convNeXtHead struct {
	tasks   []string
	last    int // number of the encoder block it sees
	side    int // s, pixels along a side of a token's square
	projDec *nn.Linear
	block   []*convNeXtBlock
	final   *nn.Linear // a 1×1 convolution
}

// convNeXtBlock is x + pwconv2(GELU(pwconv1(norm(dwconv(x))))).
type convNeXtBlock struct {
	dwWeight, dwBias *tensor.Tensor // [c, 1, 7, 7], [c]
	norm             *nn.LayerNorm
	pw1, pw2         *nn.Linear
}

func newConvNeXt(ps *nn.Params, prefix string, c *Config, o *Output) *convNeXtHead {
	width := o.EmbedDim / o.PredsPerPatch
	h := &convNeXtHead{tasks: o.MainTasks, last: c.Encoder.Depth - 1, side: o.side()}
	for i := range o.Depth {
		p := fmt.Sprintf("%s.blocks.%d", prefix, i)
		b := &convNeXtBlock{}
		b.dwWeight, b.dwBias = newConv(ps, p+".dwconv", width, 1, 7, true)
		b.norm = nn.NewLayerNorm(ps, p+".norm", width, mapNormEps)
		b.pw1 = nn.NewLinear(ps, p+".pwconv1", width, 4*width, true)
		b.pw2 = nn.NewLinear(ps, p+".pwconv2", 4*width, width, true)
		h.block = append(h.block, b)
	}
	h.final = pointwise(newConv(ps, prefix+".final_layer", o.NumClasses, width, 1, true))
	h.projDec = nn.NewLinear(ps, prefix+".proj_dec", c.Encoder.Dim*len(o.MainTasks), o.EmbedDim, true)
	return h
}

func (h *convNeXtHead) blocks() []int { return []int{h.last} }

func (h *convNeXtHead) forward(t *tensor.Tape, f *features, _ *nn.RNG) *tensor.Tensor {
	s := t.Scope()
	x := h.projDec.Forward(t, f.main(t, 0, h.tasks))
	x = tensor.View(t, x, x.Shape[0], f.nh*f.nw, x.Cols())
	x = s.Keep(tensor.DepthToSpace(t, x, f.nh, f.nw, h.side))
	for _, b := range h.block {
		x = s.Keep(b.forward(t, x))
	}
	return s.Keep(tensor.ResizeBilinear(t, h.final.Forward(t, x), f.h, f.w, false))
}

func (b *convNeXtBlock) forward(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
	s := t.Scope()
	y := b.norm.Forward(t, tensor.DepthwiseConv2D(t, x, b.dwWeight, b.dwBias, 3))
	return s.Keep(b.pw2.ForwardAdd(t, b.pw1.ForwardGELU(t, y), x))
}

// newConv registers a convolution of k×k, weight [out, in, k, k] and bias [out], with the initial
// values that PyTorch gives it.
func newConv(ps *nn.Params, prefix string, out, in, k int, bias bool) (w, b *tensor.Tensor) {
	bound := fanIn(in * k * k)
	if k == 1 { // a linear layer
		w = ps.AddWeight(prefix+".weight", nn.Uniform(bound), out, in, k, k)
	} else {
		w = ps.Add(prefix+".weight", nn.Uniform(bound), out, in, k, k)
	}
	if bias {
		b = ps.Add(prefix+".bias", nn.Uniform(bound), out)
	}
	return w, b
}

// pointwise returns a 1×1 convolution: on channels-last maps, a linear layer.
func pointwise(w, b *tensor.Tensor) *nn.Linear { return &nn.Linear{Weight: w, Bias: b} }
