package vit

import (
	"fmt"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Block is a pre-norm transformer block:
//
//	x ← x + Attn(norm1(x))
//	x ← x + MLP(norm2(x))
type Block struct {
	norm1    *nn.LayerNorm
	qkv      *nn.Linear // [3D, D] in the order query, key, value
	proj     *nn.Linear
	norm2    *nn.LayerNorm
	mlp      *MLP
	heads    int
	dropPath float64
}

// NewBlock registers the parameters of a block under prefix, such as "encoder.0". dropPath is the
// probability that a sample skips a branch in training.
func NewBlock(ps *nn.Params, prefix string, c Config, dropPath float64) *Block {
	return &Block{
		norm1:    nn.NewLayerNorm(ps, prefix+".norm1", c.Dim, c.LayerNormEps),
		qkv:      nn.NewFusedLinear(ps, prefix+".attn.qkv", c.Dim, 3*c.Dim, 3, c.QKVBias),
		proj:     c.endOfBranch(ps, prefix+".attn.proj", c.Dim, c.Dim),
		norm2:    nn.NewLayerNorm(ps, prefix+".norm2", c.Dim, c.LayerNormEps),
		mlp:      NewMLP(ps, prefix+".mlp", c),
		heads:    c.Heads,
		dropPath: dropPath,
	}
}

// Forward returns the output of the block for x [B, N, D]. rng draws the samples whose branches are
// dropped in training; nil drops none.
func (b *Block) Forward(t *tensor.Tape, x *tensor.Tensor, rng *nn.RNG) *tensor.Tensor {
	return b.forward(t, x, nil, rng)
}

// forward returns the output of the block, or where rows is not nil those rows of it alone, [R, D]:
// all tokens are keys and values of the attention, but behind it the other rows cost nothing. With
// rows, rng must be nil.
func (b *Block) forward(t *tensor.Tape, x *tensor.Tensor, rows []int32, rng *nn.RNG) *tensor.Tensor {
	s := t.Scope()
	a := tensor.Attention(t, b.qkv.Forward(t, b.norm1.Forward(t, x)), b.heads)
	if rows != nil {
		x, a = tensor.PickRows(t, x, rows), tensor.PickRows(t, a, rows)
	}
	x = s.Keep(b.residual(t, x, a, b.proj, rng))
	h := b.mlp.hidden(t, b.norm2.Forward(t, x))
	return s.Keep(b.residual(t, x, h, b.mlp.fc2, rng))
}

// AttentionWeights returns how much each token takes of each token when Forward is given x
// [B, N, D]: [B, heads, N, N], whose rows sum to 1.
func (b *Block) AttentionWeights(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
	s := t.Scope()
	return s.Keep(tensor.AttentionWeights(t, b.qkv.Forward(t, b.norm1.Forward(t, x)), b.heads))
}

// residual returns x + last(h), without last(h) for the samples that drop the branch.
func (b *Block) residual(t *tensor.Tape, x, h *tensor.Tensor, last *nn.Linear, rng *nn.RNG) *tensor.Tensor {
	if rng == nil || b.dropPath == 0 {
		return last.ForwardAdd(t, h, x)
	}
	scale := t.Values(x.Shape[0])
	rng.ForSamples(1, func() {
		for i := range scale {
			scale[i] = 0
			if !rng.Chance(b.dropPath) {
				scale[i] = float32(1 / (1 - b.dropPath)) // keeps the expectation
			}
		}
	})
	return tensor.AddScaled(t, x, last.Forward(t, h), scale)
}

// MLP is a linear layer, exact GELU, and a linear layer.
type MLP struct{ fc1, fc2 *nn.Linear }

// NewMLP registers prefix.fc1 and prefix.fc2, of the widths that c says.
func NewMLP(ps *nn.Params, prefix string, c Config) *MLP {
	hidden := c.MLPRatio * c.Dim
	return &MLP{nn.NewLinear(ps, prefix+".fc1", c.Dim, hidden, true), c.endOfBranch(ps, prefix+".fc2", hidden, c.Dim)}
}

func (m *MLP) hidden(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
	return m.fc1.ForwardGELU(t, x)
}

// ForwardAdd returns res + MLP(x), of the shape of x.
func (m *MLP) ForwardAdd(t *tensor.Tape, x, res *tensor.Tensor) *tensor.Tensor {
	s := t.Scope()
	return s.Keep(m.fc2.ForwardAdd(t, m.hidden(t, x), res))
}

// Encoder is a stack of blocks, without a norm after the last one.
type Encoder struct{ Blocks []*Block }

// NewEncoder registers c.Depth blocks as prefix.0, prefix.1, … with a drop-path rate that grows
// linearly from 0 to c.DropPath.
func NewEncoder(ps *nn.Params, prefix string, c Config) *Encoder {
	e := &Encoder{}
	for i := range c.Depth {
		rate := 0.0
		if c.Depth > 1 {
			rate = c.DropPath * float64(i) / float64(c.Depth-1)
		}
		e.Blocks = append(e.Blocks, NewBlock(ps, fmt.Sprintf("%s.%d", prefix, i), c, rate))
	}
	return e
}

// Forward returns the output of the last block for x [B, N, D]. rng is that of Block.Forward.
func (e *Encoder) Forward(t *tensor.Tape, x *tensor.Tensor, rng *nn.RNG) *tensor.Tensor {
	s := t.Scope()
	for _, b := range e.Blocks {
		x = s.Keep(b.Forward(t, x, rng))
	}
	return x
}

// ForwardRows returns those rows of what Forward returns for x [B, N, D] without rng, [R, D]; nil
// rows are all, [B, N, D]. The last block computes the others only as far as attention needs them.
func (e *Encoder) ForwardRows(t *tensor.Tape, x *tensor.Tensor, rows []int32) *tensor.Tensor {
	s := t.Scope()
	for i, b := range e.Blocks {
		if i < len(e.Blocks)-1 {
			x = s.Keep(b.forward(t, x, nil, nil))
		} else {
			return s.Keep(b.forward(t, x, rows, nil))
		}
	}
	if rows != nil { // there is no block
		x = tensor.PickRows(t, x, rows)
	}
	return x
}
