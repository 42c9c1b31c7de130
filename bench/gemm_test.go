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

// BenchmarkGemm is a linear layer without bias: Y [M,N] = X [M,K]·Wᵀ. Packed weights are packed once,
// as for inference. Raw weights are packed at each call, as in training. Cold weights are packed and
// come from memory rather than from the caches, as in a whole model.
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
						l := peers.Layer{M: s[0], N: s[1], K: s[2], X: x.Data, W: w.Data}
						if err := l.Verify(y.Data); err != nil {
							b.Fatal(err)
						}
						t.Reset()
					}
					next := 0
					measure(b, work{flops: productFlops(s), threads: threads}, func() {
						tensor.Linear(t, x, ws[next], nil)
						t.Reset()
						next = (next + 1) % len(ws)
					})
				})
			})
		}
	}
}

// coldBytes is more than the caches hold.
const coldBytes = 256 << 20

// weightsFor returns the weights that successive calls use.
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
		ws[i].Freeze() // makes a packed copy
	}
	return ws
}

// subName returns a name of package peers as that of a sub-benchmark.
func subName(name string) string {
	_, sub, _ := strings.Cut(name, "/")
	return sub
}

func productFlops(s [3]int) float64 { return 2 * float64(s[0]) * float64(s[1]) * float64(s[2]) }

// verifyElement compares the element (i,j) of a result with the sum of n products.
func verifyElement(b *testing.B, i, j int, got float32, want float64, n int) {
	b.Helper()
	if !(math.Abs(float64(got)-want) <= peers.Tolerance(n)) {
		b.Fatalf("element (%d,%d) is %g, want %g", i, j, got, want)
	}
}

// BenchmarkGemmBackward is the backward pass of the same layer: dX [M,K] = dY·W or dW [N,K] = dYᵀ·X.
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

// upstream ends a graph at y. Its backward pass gives y the gradient dy.
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

// verifyGradient compares 300 random elements with float64.
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
