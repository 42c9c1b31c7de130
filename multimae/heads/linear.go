package heads

import (
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// linearHead is a linear layer on the normalised mean of all tokens, global
// ones included, or on the last token, which is a global one where there are
// any.
type linearHead struct {
	mean  bool
	last  int // block
	norm  *nn.LayerNorm
	logit *nn.Linear
}

func newLinear(ps *nn.Params, prefix string, c *Config, o *Output) *linearHead {
	return &linearHead{
		mean:  o.MeanPooling,
		last:  c.Encoder.Depth - 1,
		norm:  nn.NewLayerNorm(ps, prefix+".norm", c.Encoder.Dim, c.Encoder.LayerNormEps),
		logit: nn.NewLinear(ps, prefix+".head", c.Encoder.Dim, o.NumClasses, true),
	}
}

func (l *linearHead) blocks() []int { return []int{l.last} }

func (l *linearHead) forward(t *tensor.Tape, f *features, _ *nn.RNG) *tensor.Tensor {
	x := f.tokens[0]
	var pooled *tensor.Tensor
	if l.mean {
		pooled = tensor.MeanRows(t, x)
	} else {
		pooled = takeTokens(t, x, x.Shape[1]-1, 1, []int{x.Shape[0], x.Cols()})
	}
	h := l.norm.Forward(t, pooled)
	t.Done(pooled)
	y := l.logit.Forward(t, h)
	t.Done(h)
	return y
}
