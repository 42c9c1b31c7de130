package bench

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gomae/gomae/asm"
	"github.com/gomae/gomae/internal/machine"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// atLevels runs a benchmark at each SIMD level of this machine.
func atLevels(b *testing.B, f func(b *testing.B)) {
	for _, l := range asm.Supported() {
		b.Run("simd="+l.String(), func(b *testing.B) {
			defer asm.Use(l)()
			f(b)
		})
	}
}

// BenchmarkMachine measures the current limits of this machine: fused multiply-adds on registers, and
// reading from memory.
func BenchmarkMachine(b *testing.B) {
	best := func(b *testing.B, unit string, scale float64, f func() float64) {
		v := 0.0
		for range b.N {
			v = max(v, f())
		}
		b.ReportMetric(v*scale, unit)
	}
	b.Run("of=fma", func(b *testing.B) {
		atLevels(b, func(b *testing.B) {
			for _, threads := range threadCounts() {
				b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
					best(b, "GFLOP/s", 1, func() float64 { return machine.PeakGFLOPS(threads, peakTime) })
				})
			}
		})
	})
	b.Run("of=read", func(b *testing.B) {
		for _, threads := range threadCounts() {
			b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
				best(b, "GB/s", 1e-9, func() float64 { return machine.ReadBandwidth(threads, peakTime) })
			})
		}
	})
}

// kernel is a kernel of package asm on vectors, of which it overwrites the first ones.
type kernel struct {
	name   string
	values int // length of each vector
	args   int // number of vectors
	run    func(v [][]float32)
}

// kernels returns the kernels, mostly on vectors that fit into the first-level cache. Each can run
// again on what its last call left.
func kernels() []kernel {
	const n = 3072
	const keys, queries = 99, 32 // of attention: the scores of a panel of queries
	shift, sum := make([]float32, queries), make([]float32, queries)
	step := asm.AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.05, Correction1: 0.1, Correction2Sqrt: 0.2, GradScale: 1}
	// adamw, softmax and softmax-backward also restore what they overwrite, in the same time.
	return []kernel{
		{"add", n, 3, func(v [][]float32) { asm.Add(v[0], v[1], v[2]) }},
		{"axpy", n, 2, func(v [][]float32) { asm.Axpy(v[0], v[1], 0.5) }},
		{"scale", n, 2, func(v [][]float32) { asm.Scale(v[0], v[1], 0.5) }},
		{"dot", n, 2, func(v [][]float32) { v[0][0] = asm.Dot(v[0][1:], v[1][1:]) }},
		{"max", n, 1, func(v [][]float32) { v[0][0] = asm.Max(v[0][1:]) }},
		{"sum-squares", n, 1, func(v [][]float32) { v[0][0] = float32(asm.SumSq(v[0][1:])) }},
		{"exp-sum", n, 2, func(v [][]float32) { v[0][0] = asm.ExpSum(v[0][1:], v[1][1:], 1, 1) }},
		{"softmax", keys * queries, 2, func(v [][]float32) {
			copy(v[0], v[1])
			asm.Softmax(v[0], queries, keys, queries, 0.125, shift, sum)
		}},
		{"softmax-backward", keys * queries, 4, func(v [][]float32) {
			copy(v[0], v[2])
			copy(v[1], v[3])
			for r := range shift {
				shift[r] = 0.5
			}
			asm.SoftmaxBackward(v[0], v[1], queries, keys, queries, 0.125, shift)
		}},
		{"gelu", n, 2, func(v [][]float32) { asm.GELU(v[0], v[1]) }},
		{"gelu-slope", n, 3, func(v [][]float32) { asm.GELUSlope(v[0], v[1], v[2]) }},
		{"relu", n, 2, func(v [][]float32) { asm.ReLU(v[0], v[1]) }},
		{"relu-backward", n, 3, func(v [][]float32) { asm.ReLUBackward(v[0], v[1], v[2]) }},
		{"layer-norm", 768, 4, func(v [][]float32) { asm.LayerNorm(v[0], v[1], v[2], v[3], 1e-6) }},
		{"layer-norm-backward", 768, 6, func(v [][]float32) {
			asm.LayerNormBackward(v[0], v[1], v[2], v[3], v[4], v[5], 0.1, 1.7, false)
		}},
		{"adamw", n, 4, func(v [][]float32) {
			asm.Scale(v[3], v[3], 0) // the second moment must not be negative
			asm.AdamW(v[0], v[1], v[2], v[3], &step)
		}},
		{"add-rows", 9 * 768, 2, func(v [][]float32) { asm.AddRows(v[0][:768], v[1], 9, 768, 768) }},
		{"slide-rows", 27 * 96, 3, func(v [][]float32) { asm.SlideRows(v[0], 96, v[1], 96, v[2], 96, 21, 7, 96) }},
		{"pack-a", 112 * 96, 2, func(v [][]float32) { asm.PackA(v[0], 112, 96, v[1], 0, 96, 112) }},
		{"pack-b", 64 * 768, 2, func(v [][]float32) { asm.PackB(v[0], v[1], 768, 64, 1, 768) }},
	}
}

// vectors returns new vectors, the same numbers at each call.
func (k *kernel) vectors() [][]float32 {
	r := nn.NewRNG(1)
	v := make([][]float32, k.args)
	for i := range v {
		v[i] = randomTensor(&r, k.values).Data
	}
	return v
}

// layouts are the kernels that copy the second vector into the first, in a layout that depends on
// the level.
var layouts = []string{"pack-a", "pack-b"}

// verify compares a call with the generic kernel, which is the specification.
func (k *kernel) verify(b *testing.B) {
	got, want := k.vectors(), k.vectors()
	k.run(got)
	if slices.Contains(layouts, k.name) {
		packed, values := slices.Clone(got[0]), slices.Clone(got[1])
		slices.Sort(packed)
		slices.Sort(values)
		if !slices.Equal(packed, values) {
			b.Fatal("the packed values are not those of the matrix")
		}
		return
	}
	restore := asm.Use(asm.Generic)
	k.run(want)
	restore()
	for i := range want {
		if e := relativeError(got[i], want[i]); !(e <= 1e-5) {
			b.Fatalf("vector %d is off by %.1e from that of the generic kernel, want at most 1e-5", i, e)
		}
	}
}

// BenchmarkKernel measures the kernels of package asm at each level on one thread: in billions of
// values per second, and the matrix product as a share of the peak at that level.
func BenchmarkKernel(b *testing.B) {
	for _, k := range kernels() {
		b.Run("of="+k.name, func(b *testing.B) {
			atLevels(b, func(b *testing.B) {
				k.verify(b)
				v := k.vectors()
				b.ResetTimer()
				for range b.N {
					k.run(v)
				}
				b.ReportMetric(float64(k.values)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "Gvalues/s")
			})
		})
	}
	for _, depth := range []int{64, 256, 768} {
		b.Run(fmt.Sprintf("of=gemm-tile/k=%d", depth), func(b *testing.B) {
			atLevels(b, func(b *testing.B) {
				m, n := asm.TileRows(), asm.PanelCols()
				r := nn.NewRNG(1)
				x, w := randomTensor(&r, m, depth+16), randomTensor(&r, n, depth) // the rows of x are not a multiple of 4 KiB apart
				panel, y := make([]float32, asm.PackedLen(depth, n)), tensor.New(m, n)
				asm.PackB(panel, w.Data, depth, n, 1, depth)
				tile := func() {
					asm.GemmPanel(&asm.GemmArgs{M: m, N: n, K: depth, C: y.Data, LDC: n, A: x.Data, ARS: depth + 16, ACS: 1, B: panel})
				}
				tile()
				for i := range m {
					for j := range n {
						want := 0.0
						for p := range depth {
							want += float64(x.Data[i*(depth+16)+p]) * float64(w.Data[j*depth+p])
						}
						verifyElement(b, i, j, y.Data[i*n+j], want, depth)
					}
				}
				const tiles = 64 // so that reading the clock does not count
				measure(b, work{flops: tiles * 2 * float64(m*n*depth), threads: 1}, func() {
					for range tiles {
						tile()
					}
				})
			})
		})
	}
}
