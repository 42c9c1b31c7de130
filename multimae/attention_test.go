package multimae

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

// TestAttention compares the attention of the second block with float64 arithmetic on the tokens
// that Features returns of the first.
func TestAttention(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	for _, pool := range pools(t) {
		for _, s := range subsets(c.Inputs.Names()) {
			t.Run(fmt.Sprint(s, pool.Workers()), func(t *testing.T) {
				b := newBatch(c, 1, 24, 16, 3, s...)
				masks := newMasks(t, c, b, 3, 4, s...)
				a, err := m.Attention(context.Background(), b, masks, 1, pool)
				if err != nil {
					t.Fatal(err)
				}
				f, err := m.Features(context.Background(), b, &FeatureOptions{Masks: masks, Blocks: []int{0}})
				if err != nil {
					t.Fatal(err)
				}
				if a.Tokens != masks.Visible+c.NumGlobalTokens || a.Masks == masks || !reflect.DeepEqual(a.Masks, masks) {
					t.Fatalf("%d tokens", a.Tokens)
				}
				want := attentionOf(m, 1, f.Tokens[0])
				for i, w := range want {
					if math.Abs(float64(a.Weights[i])-w) > 1e-5 {
						t.Fatalf("weight %d is %v, want %v", i, a.Weights[i], w)
					}
				}
			})
		}
	}

	b := newBatch(c, 1, 16, 16, 3, "rgb")
	t.Run("nil masks", func(t *testing.T) {
		a, err := m.Attention(context.Background(), b, nil, 0, nil)
		if err != nil || a.Tokens != 4+c.NumGlobalTokens || a.Masks.Visible != 4 {
			t.Errorf("%v, %v", a, err)
		}
	})
	for name, call := range map[string]func() error{
		"block": func() error { _, err := m.Attention(context.Background(), b, nil, 2, nil); return err },
		"batch": func() error {
			_, err := m.Attention(context.Background(), newBatch(c, 2, 16, 16, 3, "rgb"), nil, 0, nil)
			return err
		},
		"masks": func() error {
			_, err := m.Attention(context.Background(), b, newMasks(t, c, newBatch(c, 1, 24, 16, 3, "rgb"), 3, 4, "rgb"), 0, nil)
			return err
		},
	} {
		t.Run("error of "+name, func(t *testing.T) { testkit.ErrorNames(t, call(), name) })
	}
	t.Run("ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := m.Attention(ctx, b, nil, 0, nil); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// attentionOf returns the mean over heads of the attention weights of a block for tokens [N, D].
func attentionOf(m *Model, block int, tokens []float32) []float64 {
	param := func(name string) []float32 { return m.Params.Get(fmt.Sprintf("encoder.%d.%s", block, name)).Data }
	e := m.Config.Encoder
	d, n := e.Dim, len(tokens)/e.Dim
	gain, shift, w, bias := param("norm1.weight"), param("norm1.bias"), param("attn.qkv.weight"), param("attn.qkv.bias")
	qk := make([][]float64, n) // queries and keys
	for i := range qk {
		x := tokens[i*d:][:d]
		mean, variance := 0.0, 0.0
		for _, v := range x {
			mean += float64(v) / float64(d)
		}
		for _, v := range x {
			variance += (float64(v) - mean) * (float64(v) - mean) / float64(d)
		}
		qk[i] = make([]float64, 2*d)
		for r := range qk[i] {
			qk[i][r] = float64(bias[r])
			for k, v := range x {
				qk[i][r] += float64(w[r*d+k]) * ((float64(v)-mean)/math.Sqrt(variance+float64(e.LayerNormEps))*float64(gain[k]) + float64(shift[k]))
			}
		}
	}
	out := make([]float64, n*n)
	for h := range e.Heads {
		for i := range n {
			row, sum := make([]float64, n), 0.0
			for j := range row {
				dot := 0.0
				for k := h * d / e.Heads; k < (h+1)*d/e.Heads; k++ {
					dot += qk[i][k] * qk[j][d+k]
				}
				row[j] = math.Exp(dot / math.Sqrt(float64(d/e.Heads)))
				sum += row[j]
			}
			for j, v := range row {
				out[i*n+j] += v / sum / float64(e.Heads)
			}
		}
	}
	return out
}
