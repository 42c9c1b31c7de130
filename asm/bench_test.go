package asm

import (
	"fmt"
	"testing"
)

// benchLevels runs a benchmark at each level.
func benchLevels(b *testing.B, body func(b *testing.B)) {
	for _, l := range Supported() {
		b.Run(l.String(), func(b *testing.B) {
			defer Use(l)()
			body(b)
		})
	}
}

// rate reports work done per nanosecond of the benchmark, so units of 1e9.
func rate(b *testing.B, perOp float64, unit string) {
	b.ReportMetric(perOp*float64(b.N)/float64(b.Elapsed().Nanoseconds()), unit)
	b.ReportMetric(0, "ns/op")
}

func BenchmarkPeakFMA(b *testing.B) {
	benchLevels(b, func(b *testing.B) {
		var flops float64
		for b.Loop() {
			flops = PeakFMA(1000)
		}
		rate(b, flops, "GFLOP/s")
	})
}

// BenchmarkGemmPanel multiplies some rows by 8 panels, as a matrix product does, with A row-major
// in place. The rows of C and A are padded so that they do not all fall into the same cache sets.
func BenchmarkGemmPanel(b *testing.B) {
	benchLevels(b, func(b *testing.B) {
		nr := PanelCols()
		for _, k := range []int{32, 64, 256, 768} {
			for _, m := range []int{1, 4, 7, 14, 99, 196} {
				b.Run(fmt.Sprintf("%dx%dx%d", m, nr, k), func(b *testing.B) {
					const panels = 8
					lda, ldc := k+16, nr*panels+16
					a, p := make([]float32, m*lda), make([]float32, panels*k*nr)
					c := make([]float32, m*ldc)
					for b.Loop() {
						for q := range panels {
							GemmPanel(&GemmArgs{M: m, N: nr, K: k, C: c[q*nr:], LDC: ldc, A: a, ARS: lda, ACS: 1, B: p[q*k*nr:]})
						}
					}
					rate(b, 2*float64(m)*float64(panels*nr)*float64(k), "GFLOP/s")
				})
			}
		}
	})
}

func BenchmarkPackB(b *testing.B) {
	benchLevels(b, func(b *testing.B) {
		const k, n = 256, 256
		src, dst := make([]float32, k*n), make([]float32, PackedLen(k, n))
		for _, c := range []struct {
			name   string
			rs, cs int
		}{{"rows", n, 1}, {"columns", 1, k}} {
			b.Run(c.name, func(b *testing.B) {
				for b.Loop() {
					PackB(dst, src, k, n, c.rs, c.cs)
				}
				rate(b, 8*k*n, "GB/s")
			})
		}
	})
}

func BenchmarkPackA(b *testing.B) {
	benchLevels(b, func(b *testing.B) {
		const k, ld = 128, 784
		m := 8 * TileRows()
		src, dst := make([]float32, k*ld), make([]float32, m*k)
		for b.Loop() {
			PackA(dst, m, k, src, 0, k, ld)
		}
		rate(b, float64(8*m*k), "GB/s")
	})
}

// BenchmarkKernels runs on 3072 floats, which stay in the first-level cache. The metric is
// elements, in billions a second.
func BenchmarkKernels(b *testing.B) {
	const n = 3072
	benchLevels(b, func(b *testing.B) {
		for _, k := range kernels {
			b.Run(k.name, func(b *testing.B) {
				s := make([][]float32, len(k.operands))
				for i := range s {
					s[i] = make([]float32, n)
					for j := range s[i] {
						s[i][j] = float32(j%17)/4 - 2
					}
				}
				if k.name == "AdamW" {
					clear(s[3])
				}
				for b.Loop() {
					k.run(s)
				}
				rate(b, n, "Gelem/s")
			})
		}
		b.Run("AddRows", func(b *testing.B) {
			const rows, cols = 99, 768
			x, dst := make([]float32, rows*cols), make([]float32, cols)
			for b.Loop() {
				AddRows(dst, x, rows, cols, cols)
			}
			rate(b, rows*cols, "Gelem/s")
		})
		b.Run("SlideRows", func(b *testing.B) {
			const pixels, taps, cols = 21, 7, 96
			x, w, dst := make([]float32, (pixels+taps-1)*cols), make([]float32, taps*cols), make([]float32, pixels*cols)
			for b.Loop() {
				SlideRows(dst, cols, x, cols, w, cols, pixels, taps, cols)
			}
			rate(b, 2*pixels*taps*cols, "GFLOP/s")
		})
	})
}

// BenchmarkMemory runs on slices far larger than the caches.
func BenchmarkMemory(b *testing.B) {
	const n = 16 << 20
	s := make([][]float32, 4)
	for i := range s {
		s[i] = make([]float32, n)
		for j := range s[i] {
			s[i][j] = 1
		}
	}
	step := AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Correction1: 0.1, Correction2Sqrt: 0.2, GradScale: 1}
	benchLevels(b, func(b *testing.B) {
		for _, c := range []struct {
			name  string
			bytes float64 // an element, read and written
			run   func()
		}{
			{"ReadSum", 4, func() { ReadSum(s[0]) }},
			{"SumSq", 4, func() { SumSq(s[0]) }},
			{"Add", 12, func() { Add(s[0], s[1], s[2]) }},
			{"AdamW", 28, func() { AdamW(s[0], s[1], s[2], s[3], &step) }},
		} {
			b.Run(c.name, func(b *testing.B) {
				for b.Loop() {
					c.run()
				}
				rate(b, c.bytes*n, "GB/s")
			})
		}
	})
}
