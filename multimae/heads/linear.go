package heads

import (
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// linearHead is a linear layer on the normalised mean of all tokens, global ones included, or on
// the last token, which is a global one if there are any.
type linearHead struct {
	mean  bool
	last  int // number of the encoder block it sees
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
	s := t.Scope()
	x := f.tokens[0]
	if l.mean {
		x = tensor.MeanRows(t, x)
	} else {
		x = takeTokens(t, x, x.Shape[1]-1, 1, []int{x.Shape[0], x.Cols()})
	}
	return s.Keep(l.logit.Forward(t, l.norm.Forward(t, x)))
}
