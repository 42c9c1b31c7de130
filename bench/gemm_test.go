package bench

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/gomae/gomae/bench/peers"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// BenchmarkGemm is a linear layer without bias: Y [M,N] = X [M,K]·Wᵀ. Packed
// weights were packed once, as for inference; raw ones are packed each time, as
// in training; cold ones are packed and come from memory, as in a whole model.
func BenchmarkGemm(b *testing.B) {
	for _, s := range peers.Shapes() {
		for _, weights := range []string{"packed", "raw", "cold"} {
			if weights == "cold" && s[0] != 99 {
				continue
			}
			b.Run(subName(peers.GemmName(s, weights)), func(b *testing.B) {
				withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
					r := nn.NewRNG(1)
					x, w := randomTensor(&r, s[0], s[2]), randomTensor(&r, s[1], s[2])
					ws := weightsFor(w, weights)
					t := tensor.NewInference(pool)
					for _, w := range ws {
						y := tensor.Linear(t, x, w, nil)
						verifyProduct(b, &r, y, x, w)
						t.Done(y)
					}
					next := 0
					measure(b, work{flops: productFlops(s), threads: threads}, func() {
						t.Done(tensor.Linear(t, x, ws[next], nil))
						t.Reset()
						next = (next + 1) % len(ws)
					})
				})
			})
		}
	}
}

// coldBytes of packed weights are more than caches hold.
const coldBytes = 256 << 20

// weightsFor returns the weights that calls take in turn.
func weightsFor(w *tensor.Tensor, kind string) []*tensor.Tensor {
	n := 1
	switch kind {
	case "raw":
		return []*tensor.Tensor{w}
	case "cold":
		n = coldBytes / (4 * len(w.Data))
	}
	ws := make([]*tensor.Tensor, n)
	for i := range ws {
		ws[i] = tensor.From(w.Data, w.Shape...)
		ws[i].Freeze() // each has a packed copy of its own
	}
	return ws
}

// subName is a name of package peers as that of a sub-benchmark.
func subName(name string) string {
	_, sub, _ := strings.Cut(name, "/")
	return sub
}

func productFlops(s [3]int) float64 { return 2 * float64(s[0]) * float64(s[1]) * float64(s[2]) }

// verifyProduct compares a few hundred elements with float64.
func verifyProduct(b *testing.B, r *nn.RNG, y, x, w *tensor.Tensor) {
	b.Helper()
	k := x.Cols()
	for range 300 {
		i, j := r.Intn(y.Rows()), r.Intn(y.Cols())
		want := 0.0
		for p := range k {
			want += float64(x.Data[i*k+p]) * float64(w.Data[j*k+p])
		}
		verifyElement(b, i, j, y.Data[i*y.Cols()+j], want, k)
	}
}

// verifyElement compares with the sum of n products of numbers below 1, in
// float32.
func verifyElement(b *testing.B, i, j int, got float32, want float64, n int) {
	b.Helper()
	if !(math.Abs(float64(got)-want) <= 4e-6*math.Sqrt(float64(n))) {
		b.Fatalf("element (%d,%d) is %g, want %g", i, j, got, want)
	}
}

// BenchmarkGemmBackward is the backward pass of the same layer: the gradient of
// X, dX [M,K] = dY·W, or of W, dW [N,K] = dYᵀ·X.
func BenchmarkGemmBackward(b *testing.B) {
	var shapes [][3]int
	for _, m := range []int{99, 792, 1584, 3168} {
		shapes = append(shapes, [3]int{m, 2304, 768}, [3]int{m, 768, 768}, [3]int{m, 3072, 768}, [3]int{m, 768, 3072})
	}
	shapes = append(shapes, [3]int{1568, 256, 256}, [3]int{1568, 1024, 256}, [3]int{1568, 256, 1024}, [3]int{1568, 2128, 256})
	for _, s := range shapes {
		for _, of := range []string{"dx", "dw"} {
			b.Run(fmt.Sprintf("shape=%dx%dx%d/of=%s", s[0], s[1], s[2], of), func(b *testing.B) {
				withPool(b, func(b *testing.B, threads int, pool *tensor.Pool) {
					r := nn.NewRNG(1)
					x, w := randomTensor(&r, s[0], s[2]), randomTensor(&r, s[1], s[2])
					dy := randomTensor(&r, s[0], s[1])
					leaf := x
					if of == "dw" {
						leaf = w
					}
					leaf.WithGrad()
					t := tensor.NewTape(pool)
					var end *tensor.Tensor
					forward := func() {
						t.Reset()
						t.ZeroGrad(leaf)
						end = upstream(t, tensor.Linear(t, x, w, nil), dy.Data)
					}
					forward()
					t.Backward(end)
					verifyGradient(b, &r, of, x, w, dy)
					measure(b, work{flops: productFlops(s), threads: threads, before: forward}, func() { t.Backward(end) })
				})
			})
		}
	}
}

// upstream ends a graph at y: its backward pass hands y the gradient dy.
func upstream(t *tensor.Tape, y *tensor.Tensor, dy []float32) *tensor.Tensor {
	end := t.New(1)
	end.Data[0] = 0
	if t.Record("upstream", end, y) {
		t.Back(func() {
			if g := t.Grad(y); g != nil { // y has no other use, so nothing was added yet
				copy(g, dy)
			}
		})
	}
	return end
}

// verifyGradient compares a few hundred elements with float64.
func verifyGradient(b *testing.B, r *nn.RNG, of string, x, w, dy *tensor.Tensor) {
	b.Helper()
	m, n, k := x.Rows(), w.Rows(), x.Cols()
	for range 300 {
		i, j, p := r.Intn(m), r.Intn(n), r.Intn(k)
		want := 0.0
		if of == "dx" {
			for j := range n {
				want += float64(dy.Data[i*n+j]) * float64(w.Data[j*k+p])
			}
			verifyElement(b, i, p, x.Grad[i*k+p], want, n)
		} else {
			for i := range m {
				want += float64(dy.Data[i*n+j]) * float64(x.Data[i*k+p])
			}
			verifyElement(b, j, p, w.Grad[j*k+p], want, m)
		}
	}
}
