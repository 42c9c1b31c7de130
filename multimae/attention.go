package multimae

import (
	"context"
	"fmt"

	"github.com/gomae/gomae/tensor"
)

// AttentionMap says how much the tokens of one sample take of each other in one block.
type AttentionMap struct {
	Masks  *Masks // of the sample: the k-th token is number Masks.Keep[k]
	Tokens int    // N = T + G: the visible tokens in the order of Masks.Keep, then the global ones
	// Weights is [N, N], the mean over the heads: row i says how much token i takes of each token,
	// and sums to 1.
	Weights []float32
}

// Attention runs the encoder on a batch of one sample as Features does, and returns the attention
// of one block, counted from 0. For masks, pool, goroutines, ctx and errors it is like Features; it
// takes memory for heads·N² numbers.
func (m *Backbone) Attention(ctx context.Context, b *Batch, masks *Masks, block int, pool *tensor.Pool) (*AttentionMap, error) {
	if n := len(m.encoder.Blocks); block < 0 || block >= n {
		return nil, fmt.Errorf("block: got %d, want 0..%d", block, n-1)
	}
	if b.Size != 1 {
		return nil, fmt.Errorf("batch: got %d samples, want 1", b.Size)
	}
	masks, err := m.shown(b, masks)
	if err != nil {
		return nil, err
	}
	a := &AttentionMap{Masks: masks}
	err = m.Infer(ctx, pool, func(t *tensor.Tape) error {
		l, err := m.layout(t, b, masks)
		if err != nil {
			return err
		}
		s := t.Scope()
		x := m.embed(t, b, l)
		for _, earlier := range m.encoder.Blocks[:block] {
			x = s.Keep(earlier.Forward(t, x, nil))
		}
		w := m.encoder.Blocks[block].AttentionWeights(t, x)
		heads, n := w.Shape[1], w.Shape[2]
		a.Tokens, a.Weights = n, make([]float32, n*n)
		t.Parallel(n, func(_, q int) {
			row := a.Weights[q*n:][:n]
			for h := range heads {
				for k, v := range w.Data[(h*n+q)*n:][:n] {
					row[k] += v / float32(heads)
				}
			}
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}
