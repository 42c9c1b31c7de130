package nn

import "github.com/gomae/gomae/tensor"

// Linear is a fully connected layer: Weight [out, in], Bias [out] or nil.
type Linear struct{ Weight, Bias *tensor.Tensor }

// NewLinear registers prefix.weight, Xavier-initialised, and with bias prefix.bias, zero.
func NewLinear(ps *Params, prefix string, in, out int, bias bool) *Linear {
	return newLinear(ps, prefix, in, out, bias, Xavier(out, in))
}

// NewZeroLinear is NewLinear with a weight of zeros, so that the layer begins with outputs of 0.
func NewZeroLinear(ps *Params, prefix string, in, out int, bias bool) *Linear {
	return newLinear(ps, prefix, in, out, bias, Zeros)
}

// NewFusedLinear is NewLinear for a weight that consists of several matrices on top of each other,
// such as those of query, key and value of attention. Each of these parts is initialised as if it
// were alone.
func NewFusedLinear(ps *Params, prefix string, in, out, parts int, bias bool) *Linear {
	return newLinear(ps, prefix, in, out, bias, Xavier(out/parts, in))
}

func newLinear(ps *Params, prefix string, in, out int, bias bool, init Init) *Linear {
	l := &Linear{Weight: ps.AddWeight(prefix+".weight", init, out, in)}
	if bias {
		l.Bias = ps.Add(prefix+".bias", Zeros, out)
	}
	return l
}

// Forward returns [..., out] for x [..., in].
func (l *Linear) Forward(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
	return tensor.Linear(t, x, l.Weight, l.Bias)
}

// ForwardGELU is Forward followed by GELU.
func (l *Linear) ForwardGELU(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
	return tensor.LinearGELU(t, x, l.Weight, l.Bias)
}

// ForwardAdd returns res + Forward(x).
func (l *Linear) ForwardAdd(t *tensor.Tape, x, res *tensor.Tensor) *tensor.Tensor {
	return tensor.LinearAdd(t, x, l.Weight, l.Bias, res)
}

// LayerNorm normalises over the last axis: Weight and Bias [dim].
type LayerNorm struct {
	Weight, Bias *tensor.Tensor
	Eps          float32
}

// NewLayerNorm registers prefix.weight, ones, and prefix.bias, zeros.
func NewLayerNorm(ps *Params, prefix string, dim int, eps float32) *LayerNorm {
	return &LayerNorm{ps.Add(prefix+".weight", Ones, dim), ps.Add(prefix+".bias", Zeros, dim), eps}
}

// Forward returns the rows of x [..., dim] normalised.
func (l *LayerNorm) Forward(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
	return tensor.LayerNorm(t, x, l.Weight, l.Bias, l.Eps)
}
