package tensor

import (
	"fmt"
	"math"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

// TestAttentionWeights holds the weights to what Attention returns: each row sums to 1, and the
// values weighed by it are the result.
func TestAttentionWeights(t *testing.T) {
	for _, c := range [][4]int{{1, 1, 1, 1}, {2, 5, 2, 3}, {1, 33, 3, 8}, {3, 17, 1, 16}} { // B N heads d/heads
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			b, n, heads, dh := c[0], c[1], c[2], c[3]
			d := heads * dh
			qkv := From(testkit.Normal(fmt.Sprint(c), b*n*3*d), b, n, 3*d)
			tape := NewInference(nil)
			weights, out := AttentionWeights(tape, qkv, heads), Attention(tape, qkv, heads)
			for i := range b * heads {
				for q := range n {
					sum, want := 0.0, make([]float64, dh)
					for k := range n {
						w := float64(weights.Data[(i*n+q)*n+k])
						sum += w
						for j := range dh {
							want[j] += w * float64(qkv.Data[(i/heads*n+k)*3*d+2*d+i%heads*dh+j])
						}
					}
					if math.Abs(sum-1) > float64(n+8)*testkit.U {
						t.Fatalf("head %d, query %d: weights sum to %v", i, q, sum)
					}
					for j := range dh {
						got := float64(out.Data[(i/heads*n+q)*d+i%heads*dh+j])
						if math.Abs(got-want[j]) > float64(4*(n+dh+16))*8*testkit.U {
							t.Fatalf("head %d, query %d, channel %d: attention is %v, weighed values %v", i, q, j, got, want[j])
						}
					}
				}
			}
		})
	}
}
