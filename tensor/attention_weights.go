package tensor

import "math"

// AttentionWeights returns what Attention weighs the values by, [B, heads, N, N]: row i of a head
// says how much query i takes of each key, and sums to 1. It is for looking at a model, takes N²
// memory for each head, and has no gradient.
func AttentionWeights(t *Tape, qkv *Tensor, heads int) *Tensor {
	d := qkv.Cols() / 3
	mustBe("AttentionWeights columns of qkv", qkv.Cols(), 3*d)
	mustBe("AttentionWeights channels modulo heads", d%heads, 0)
	mustBe("AttentionWeights axes", len(qkv.Shape), 3)
	batch, n, dh := qkv.Shape[0], qkv.Shape[1], d/heads
	out := t.New(batch, heads, n, n)
	scale := 1 / math.Sqrt(float64(dh))
	t.Parallel(batch*heads, func(_, i int) {
		rows, first := qkv.Data[i/heads*n*3*d:], i%heads*dh
		for q := range n {
			if t.stopping() {
				return
			}
			query := rows[q*3*d+first:][:dh]
			weights := out.Data[(i*n+q)*n:][:n]
			largest := math.Inf(-1)
			for k := range n {
				key := rows[k*3*d+d+first:][:dh]
				sum := 0.0
				for c, v := range query {
					sum += float64(v) * float64(key[c])
				}
				weights[k] = float32(sum * scale)
				largest = max(largest, float64(weights[k]))
			}
			sum := 0.0
			for _, w := range weights {
				sum += math.Exp(float64(w) - largest)
			}
			for k, w := range weights {
				weights[k] = float32(math.Exp(float64(w)-largest) / sum)
			}
		}
	})
	return out
}
