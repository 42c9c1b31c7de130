package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gomae/gomae/asm"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// BenchmarkShare measures which share of a training step is spent outside of matrix products: in layer
// norms, softmax, GELU and losses, forward and backward, each as often as a step computes them. The
// step and its parts are timed alternately; %step is the sum of the shares.
func BenchmarkShare(b *testing.B) {
	for _, batch := range []int{1, 8} {
		b.Run(fmt.Sprintf("model=base/batch=%d", batch), func(b *testing.B) {
			withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
				x := training(b, "base", batch)
				step := x.step(b, pool)
				parts := x.parts(b, pool)
				spent := make([]time.Duration, len(parts))
				step()
				for _, p := range parts {
					p.run()
				}
				b.ResetTimer()
				var steps time.Duration
				for range b.N {
					start := time.Now()
					step()
					steps += time.Since(start)
					for i, p := range parts {
						start := time.Now()
						p.run()
						spent[i] += time.Since(start)
					}
				}
				sum := 0.0
				for i, p := range parts {
					share := 100 * spent[i].Seconds() / steps.Seconds()
					sum += share
					b.ReportMetric(share, "%"+p.name)
				}
				b.ReportMetric(sum, "%step")
				b.ReportMetric(float64(steps.Nanoseconds())/float64(b.N), "ns/op")
			})
		})
	}
}

// part is a part of a step.
type part struct {
	name string
	run  func()
}

// parts returns the parts of a training step that BenchmarkShare measures. Their sizes and numbers
// follow from vit.Block and from the decoders of package multimae.
func (x *modelCase) parts(b *testing.B, pool *tensor.Pool) []part {
	c := x.model.Config
	nh, nw := c.Grid(x.batch.H, x.batch.W)
	batch, patches := x.batch.Size, nh*nw
	tokens := c.Train.NumEncodedTokens + c.NumGlobalTokens

	// Sizes of norms, of hidden layers, and of attention's scores by query and key. times is their
	// number in a step.
	type rows struct{ rows, cols, times int }
	norms := []rows{{batch * tokens, c.Encoder.Dim, 2 * c.Encoder.Depth}}
	hidden := []rows{{batch * tokens, c.Encoder.Dim * c.Encoder.MLPRatio, c.Encoder.Depth}}
	scores := []rows{{batch * c.Encoder.Heads * tokens, tokens, c.Encoder.Depth}}
	for _, o := range c.Outputs {
		masked := int(float64(batch) * maskedPatches(c, o)) // all that the last block's MLP computes
		norms = append(norms, rows{batch * tokens, o.Dim, 1}, rows{batch * patches, o.Dim, 1 + 2*o.Depth}, rows{masked, o.Dim, 1})
		hidden = append(hidden, rows{batch * patches, o.Dim * c.Encoder.MLPRatio, o.Depth}, rows{masked, o.Dim * c.Encoder.MLPRatio, 1})
		scores = append(scores, rows{batch * o.Heads * patches, tokens, 1}, rows{batch * o.Heads * patches, patches, o.Depth})
	}
	r := nn.NewRNG(4)

	var passes []func()
	for _, s := range norms {
		t := tensor.NewTape(pool)
		in := []*tensor.Tensor{randomTensor(&r, s.rows, s.cols).WithGrad(), randomTensor(&r, s.cols).WithGrad(), randomTensor(&r, s.cols).WithGrad()}
		dy := randomTensor(&r, s.rows, s.cols).Data
		passes = append(passes, func() {
			for range s.times {
				t.Reset()
				for _, v := range in {
					t.ZeroGrad(v)
				}
				t.Backward(upstream(t, tensor.LayerNorm(t, in[0], in[1], in[2], 1e-6), dy))
			}
		})
	}
	norm := part{"layer-norm", func() {
		for _, pass := range passes {
			pass()
		}
	}}

	// inPieces runs a kernel on a few rows at a time, which stay in the cache, as attention and the
	// matrix products do.
	inPieces := func(name string, all []rows, pieceRows int, kernel func(x, y []float32, rows, cols int)) part {
		t := tensor.NewTape(pool)
		most := 0
		for _, s := range all {
			most = max(most, pieceRows*s.cols)
		}
		values := randomTensor(&r, most).Data
		return part{name, func() {
			for _, s := range all {
				t.Parallel((s.rows+pieceRows-1)/pieceRows*s.times, func(worker, _ int) {
					v := t.Scratch(worker, 2*pieceRows*s.cols)
					x, y := v[:pieceRows*s.cols], v[pieceRows*s.cols:]
					copy(x, values)
					copy(y, values)
					kernel(x, y, pieceRows, s.cols)
				})
			}
		}}
	}
	softmax := inPieces("softmax", scores, 32, func(x, y []float32, queries, keys int) {
		var shift, sum [32]float32
		asm.Softmax(x, queries, keys, queries, 0.125, shift[:], sum[:])
		asm.SoftmaxBackward(x, y, queries, keys, queries, 0.125, shift[:])
	})
	gelu := inPieces("gelu", hidden, 11, func(x, y []float32, _, _ int) {
		asm.GELUSlope(x, y, x)
		asm.Mul(y, x, y)
	})

	t := tensor.NewTape(pool)
	forward := tensor.NewTape(nil)
	preds, err := x.model.Forward(forward, x.batch, x.masks, nil)
	if err != nil {
		b.Fatal(err)
	}
	var leaves []*tensor.Tensor
	for _, p := range preds {
		leaves = append(leaves, tensor.From(slices.Clone(p.Data), p.Shape...).WithGrad())
	}
	losses := part{"losses", func() {
		t.Reset()
		for _, p := range leaves {
			t.ZeroGrad(p)
		}
		each, err := x.model.Losses(t, leaves, x.batch, x.masks)
		if err != nil {
			b.Fatal(err)
		}
		t.Backward(multimae.Total(t, each))
	}}
	return []part{norm, softmax, gelu, losses}
}
