package peers

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/gomae/gomae/tensor"
)

// Shapes returns the rows M, columns N and depth K of the matrix products of ViT-B. They are those
// of the encoder for one image (99 tokens, and 98 and 100, which divide differently into tiles), for
// larger shares of the patches and for batches of 8, 16 and 32; those of the decoders for 1 and 8
// images; and a square for comparison with other benchmarks.
func Shapes() [][3]int {
	var shapes [][3]int
	for _, m := range []int{98, 99, 100, 295, 588, 792, 1584, 3168} {
		shapes = append(shapes, [3]int{m, 2304, 768}, [3]int{m, 768, 768}, [3]int{m, 3072, 768}, [3]int{m, 768, 3072})
	}
	for _, m := range []int{196, 8 * 196} {
		for _, k := range []int{256, 1024} {
			for _, n := range []int{256, 512, 768, 1024, 2128} {
				shapes = append(shapes, [3]int{m, n, k})
			}
		}
	}
	return append(shapes, [3]int{1024, 1024, 1024})
}

// GELUShapes returns the shapes of Op/linear-gelu: the first layer of a block's MLP, for 1 and 8
// images.
func GELUShapes() [][3]int { return [][3]int{{99, 3072, 768}, {792, 3072, 768}} }

// GemmName returns the name of the benchmark of a product, without "Benchmark" and without the
// number of threads, which follows the shape.
func GemmName(s [3]int, weights string) string {
	return fmt.Sprintf("Gemm/shape=%dx%dx%d/weights=%s", s[0], s[1], s[2], weights)
}

// GELUName returns the name of the benchmark of GELU(x·wᵀ + bias), as GemmName does.
func GELUName(s [3]int) string {
	return fmt.Sprintf("Op/linear-gelu/shape=%dx%dx%d/pass=forward", s[0], s[1], s[2])
}

// Layer is the product y [M,N] = x [M,K]·wᵀ for w [N,K]. With GELU it is the exact GELU of that plus
// Bias [N].
type Layer struct {
	Name    string
	M, N, K int
	Packed  bool // whether w may be packed before the time is taken
	GELU    bool
	X, W    []float32
	Bias    []float32 // nil without GELU
}

// layers returns the benchmarks of a peer, without their numbers.
func layers(gelu bool) []*Layer {
	var all []*Layer
	for _, s := range Shapes() {
		for _, weights := range []string{"packed", "raw"} {
			all = append(all, &Layer{Name: GemmName(s, weights), M: s[0], N: s[1], K: s[2], Packed: weights == "packed"})
		}
	}
	if gelu {
		for _, s := range GELUShapes() {
			all = append(all, &Layer{Name: GELUName(s), M: s[0], N: s[1], K: s[2], Packed: true, GELU: true})
		}
	}
	return all
}

// fill draws the inputs, numbers in [−1, 1).
func (l *Layer) fill() {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(n int) []float32 {
		x := tensor.New(n).Data // on large pages where there are any, as ours are
		for i := range x {
			x[i] = 2*r.Float32() - 1
		}
		return x
	}
	l.X, l.W = draw(l.M*l.K), draw(l.N*l.K)
	if l.GELU {
		l.Bias = draw(l.N)
	}
}

// Transposed returns wᵀ [K,N].
func (l *Layer) Transposed() []float32 {
	t := make([]float32, len(l.W))
	for j := range l.N {
		for p := range l.K {
			t[p*l.N+j] = l.W[j*l.K+p]
		}
	}
	return t
}

// Tolerance is the largest difference that float32 may make in the sum of n products of numbers in
// [−1, 1).
func Tolerance(n int) float64 { return 4e-6 * math.Sqrt(float64(n)) }

// Verify compares 300 random elements of a result with float64.
func (l *Layer) Verify(y []float32) error {
	if len(y) != l.M*l.N {
		return fmt.Errorf("got %d elements, want %d", len(y), l.M*l.N)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		i, j := r.IntN(l.M), r.IntN(l.N)
		want := 0.0
		for p := range l.K {
			want += float64(l.X[i*l.K+p]) * float64(l.W[j*l.K+p])
		}
		if l.GELU {
			want += float64(l.Bias[j])
			want *= 0.5 * math.Erfc(-want/math.Sqrt2)
		}
		if got := float64(y[i*l.N+j]); !(math.Abs(got-want) <= Tolerance(l.K)) {
			return fmt.Errorf("element (%d,%d) is %g, want %g", i, j, got, want)
		}
	}
	return nil
}
