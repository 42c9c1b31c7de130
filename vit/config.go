package vit

import (
	"fmt"
	"math"

	"github.com/gomae/gomae/nn"
)

// Config describes a stack of pre-norm transformer blocks.
type Config struct {
	Dim          int     `json:"dim"`       // width D of a token
	Depth        int     `json:"depth"`     // number of blocks
	Heads        int     `json:"heads"`     // attention heads, a divisor of Dim
	MLPRatio     int     `json:"mlp_ratio"` // width of the MLP over D
	QKVBias      bool    `json:"qkv_bias"`  // whether the query, key and value projections have a bias
	LayerNormEps float32 `json:"layer_norm_eps"`
	// DropPath is the stochastic-depth rate of the last block; block i of n gets DropPath·i/(n−1).
	// Huang et al., "Deep Networks with Stochastic Depth" (2016).
	DropPath float64 `json:"drop_path,omitempty"`
	// ZeroInitResidual lets the last layer of each residual branch begin with weights of zero, so
	// that a block begins as the identity: then training is faster at first. The published models
	// begin with Xavier's weights there. Goyal et al., "Accurate, Large Minibatch SGD" (2017), has it
	// for residual networks, and Bachlechner et al., "ReZero is All You Need" (2020), for transformers.
	ZeroInitResidual bool `json:"zero_init_residual,omitempty"`
}

// endOfBranch registers the last layer of a residual branch.
func (c *Config) endOfBranch(ps *nn.Params, prefix string, in, out int) *nn.Linear {
	if c.ZeroInitResidual {
		return nn.NewZeroLinear(ps, prefix, in, out, true)
	}
	return nn.NewLinear(ps, prefix, in, out, true)
}

// The sizes of ViT-Ti, ViT-S, ViT-B and ViT-L: Dosovitskiy et al. (2021) and Touvron et al. (2021).
var (
	Ti    = Config{Dim: 192, Depth: 12, Heads: 3, MLPRatio: 4, QKVBias: true, LayerNormEps: 1e-6}
	Small = Config{Dim: 384, Depth: 12, Heads: 6, MLPRatio: 4, QKVBias: true, LayerNormEps: 1e-6}
	Base  = Config{Dim: 768, Depth: 12, Heads: 12, MLPRatio: 4, QKVBias: true, LayerNormEps: 1e-6}
	Large = Config{Dim: 1024, Depth: 24, Heads: 16, MLPRatio: 4, QKVBias: true, LayerNormEps: 1e-6}
)

// The largest sizes, so that a damaged or hostile configuration is an error before it asks for
// memory.
const (
	maxDim      = 1 << 16
	maxDepth    = 1024
	maxMLPRatio = 64
)

// Check returns an error that names the first key whose value cannot be used.
func (c *Config) Check() error {
	switch {
	case c.Dim < 1 || c.Dim > maxDim:
		return fmt.Errorf("dim: got %d, want 1..%d", c.Dim, maxDim)
	case c.Depth < 0 || c.Depth > maxDepth:
		return fmt.Errorf("depth: got %d, want 0..%d", c.Depth, maxDepth)
	case c.Heads < 1 || c.Dim%c.Heads != 0:
		return fmt.Errorf("heads: got %d, want a divisor of dim %d", c.Heads, c.Dim)
	case c.MLPRatio < 1 || c.MLPRatio > maxMLPRatio:
		return fmt.Errorf("mlp_ratio: got %d, want 1..%d", c.MLPRatio, maxMLPRatio)
	case !(c.LayerNormEps > 0 && c.LayerNormEps <= math.MaxFloat32):
		return fmt.Errorf("layer_norm_eps: got %g, want a positive number such as 1e-6", c.LayerNormEps)
	case !(c.DropPath >= 0 && c.DropPath < 1):
		return fmt.Errorf("drop_path: got %g, want 0 or more and below 1", c.DropPath)
	}
	return nil
}
