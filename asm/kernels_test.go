package asm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// everyLevel runs body at each level this machine has. A level that
// GOMAE_REQUIRE names and the machine lacks is an error.
func everyLevel(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	have := map[string]bool{}
	for _, l := range Supported() {
		have[l.String()] = true
		t.Run(l.String(), func(t *testing.T) {
			defer Use(l)()
			body(t)
		})
	}
	for _, name := range strings.Split(os.Getenv("GOMAE_REQUIRE"), ",") {
		if name = strings.TrimSpace(name); name != "" && !have[name] {
			t.Errorf("GOMAE_REQUIRE names %q, which this machine does not support", name)
		}
	}
}

const (
	u     = 1.0 / (1 << 24) // half an ulp of 1: the largest relative rounding error
	tiny  = 3e-45           // two steps of the smallest float32
	magic = float32(-12345.678)
)

// value is an expected result and how far from it a kernel may be.
type value struct{ v, tol float64 }

func (w value) ok(got float64) bool {
	switch v := float64(float32(w.v)); {
	case math.IsNaN(w.tol): // a product with infinity of what may be rounded to 0
		return math.IsNaN(got) || math.IsInf(got, 0)
	case math.IsNaN(v):
		return math.IsNaN(got)
	case math.IsInf(v, 0):
		// A float64 just above the largest float32 may be rounded either way.
		return got == v || !math.IsInf(w.v, 0) && math.Abs(got) >= math.MaxFloat32*(1-4*u)
	default:
		return math.Abs(got-w.v) <= w.tol
	}
}

// kernel describes a kernel on slices of equal length for the tests.
type kernel struct {
	name  string
	args  string                     // one letter a slice: i input, o output, b both
	alias [][2]int                   // slices that may be the same
	draw  []func(*rand.Rand) float64 // per slice; nil: normal distribution
	min   int                        // smallest length
	// plain says results may not overflow inside, so only NaN is tried as a
	// special value.
	plain bool
	run   func(s [][]float32) []float64
	// want returns the expected contents of the slices, nil for inputs, and
	// the expected scalars.
	want func(s [][]float64) ([][]value, []value)
}

func normal(r *rand.Rand) float64 { return r.NormFloat64() }

// scaled returns a normal distribution with standard deviation f.
func scaled(f float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return f * r.NormFloat64() }
}

func positive(r *rand.Rand) float64 { return math.Abs(r.NormFloat64()) }

func each(n int, f func(i int) value) []value {
	v := make([]value, n)
	for i := range v {
		v[i] = f(i)
	}
	return v
}

func sum(n int, f func(i int) float64) (s, abs float64) {
	for i := 0; i < n; i++ {
		s += f(i)
		abs += math.Abs(f(i))
	}
	return s, abs
}

// chain is how many rounding errors a float32 sum of n terms may pile up: the
// kernels add in at least 16 chains, and Go in float64.
func chain(n int) float64 { return float64(n/16+4) * u }

func kernels() []kernel {
	const a, scaleBy, shift, eps = 0.7, 0.125, 0.9, 1e-6
	const mean, rstd = 0.2, 1.7
	a32, shift32, eps32 := float64(float32(a)), float64(float32(shift)), float64(float32(eps))
	mean32, rstd32 := float64(float32(mean)), float64(float32(rstd))
	step := AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.05, Correction1: 0.271, Correction2Sqrt: 0.3776, GradScale: 0.5}

	layerNormBackward := func(accumulate bool) kernel {
		k := kernel{
			args:  "obbiii", // dx dw db dy x w
			min:   1,
			plain: true,
			run: func(s [][]float32) []float64 {
				LayerNormBackward(s[0], s[1], s[2], s[3], s[4], s[5], mean, rstd, accumulate)
				return nil
			},
			want: func(s [][]float64) ([][]value, []value) {
				dx, dw, db, dy, x, w := s[0], s[1], s[2], s[3], s[4], s[5]
				n := len(x)
				xhat := func(i int) float64 { return (x[i] - mean32) * rstd32 }
				mg, ag := sum(n, func(i int) float64 { return w[i] * dy[i] })
				mgx, agx := sum(n, func(i int) float64 { return w[i] * dy[i] * xhat(i) })
				mg, ag, mgx, agx = mg/float64(n), ag/float64(n), mgx/float64(n), agx/float64(n)
				out := make([][]value, 6)
				out[0] = each(n, func(i int) value {
					g, h := w[i]*dy[i], xhat(i)
					v := rstd32 * (g - mg - h*mgx)
					tol := rstd32*(4*u*(math.Abs(g)+math.Abs(mg)+math.Abs(h*mgx))+chain(n)*(ag+math.Abs(h)*agx)) + 4*u*math.Abs(h*mgx)
					if accumulate {
						v += dx[i]
						tol += 2 * u * math.Abs(v)
					}
					return value{v, tol + u*math.Abs(v)}
				})
				out[1] = each(n, func(i int) value {
					v := dw[i] + dy[i]*xhat(i)
					return value{v, u*math.Abs(v) + 4*u*math.Abs(dy[i]*xhat(i))}
				})
				out[2] = each(n, func(i int) value { v := db[i] + dy[i]; return value{v, u * math.Abs(v)} })
				return out, nil
			},
		}
		if accumulate {
			k.name, k.args = "LayerNormBackward/accumulate", "bbbiii"
		} else {
			k.name, k.alias = "LayerNormBackward", [][2]int{{0, 3}}
		}
		return k
	}

	// Rows at a stride of 0 are one and the same, which leaves slices of equal
	// length.
	slideRows := func(name string, m, rows int) kernel {
		return kernel{
			name: name, args: "bii", plain: true,
			run: func(s [][]float32) []float64 {
				SlideRows(s[0], 0, s[1], 0, s[2], 0, m, rows, max(len(s[0]), len(s[1])))
				return nil
			},
			want: func(s [][]float64) ([][]value, []value) {
				return [][]value{each(len(s[0]), func(i int) value {
					p := float64(m*rows) * s[1][i] * s[2][i]
					return value{s[0][i] + p, float64(m+rows) * u * (math.Abs(s[0][i]) + math.Abs(p))}
				}), nil, nil}, nil
			},
		}
	}

	return []kernel{slideRows("SlideRows/one", 1, 1), slideRows("SlideRows/many", 9, 3), {
		name: "Add", args: "oii", alias: [][2]int{{0, 1}, {0, 2}},
		run: func(s [][]float32) []float64 { Add(s[0], s[1], s[2]); return nil },
		want: func(s [][]float64) ([][]value, []value) {
			return [][]value{each(len(s[0]), func(i int) value {
				v := s[1][i] + s[2][i]
				return value{v, u * math.Abs(v)}
			}), nil, nil}, nil
		},
	}, {
		name: "Axpy", args: "bi", alias: [][2]int{{0, 1}},
		run: func(s [][]float32) []float64 { Axpy(s[0], s[1], a); return nil },
		want: func(s [][]float64) ([][]value, []value) {
			return [][]value{each(len(s[0]), func(i int) value {
				v := s[0][i] + a32*s[1][i]
				return value{v, u*math.Abs(v) + u*math.Abs(a32*s[1][i]) + tiny}
			}), nil}, nil
		},
	}, {
		name: "Scale", args: "oi", alias: [][2]int{{0, 1}},
		run: func(s [][]float32) []float64 { Scale(s[0], s[1], a); return nil },
		want: func(s [][]float64) ([][]value, []value) {
			return [][]value{each(len(s[0]), func(i int) value {
				v := a32 * s[1][i]
				return value{v, u*math.Abs(v) + tiny}
			}), nil}, nil
		},
	}, {
		name: "ReLU", args: "oi", alias: [][2]int{{0, 1}},
		run: func(s [][]float32) []float64 { ReLU(s[0], s[1]); return nil },
		want: func(s [][]float64) ([][]value, []value) {
			return [][]value{each(len(s[0]), func(i int) value { return value{math.Max(s[1][i], 0), 0} }), nil}, nil
		},
	}, {
		name: "ReLUBackward", args: "oii", alias: [][2]int{{0, 1}, {0, 2}},
		run: func(s [][]float32) []float64 { ReLUBackward(s[0], s[1], s[2]); return nil },
		want: func(s [][]float64) ([][]value, []value) {
			return [][]value{each(len(s[0]), func(i int) value {
				if s[1][i] <= 0 {
					return value{0, 0}
				}
				return value{s[2][i], 0}
			}), nil, nil}, nil
		},
	}, {
		name: "Dot", args: "ii", plain: true,
		run: func(s [][]float32) []float64 { return []float64{float64(Dot(s[0], s[1]))} },
		want: func(s [][]float64) ([][]value, []value) {
			v, abs := sum(len(s[0]), func(i int) float64 { return s[0][i] * s[1][i] })
			return nil, []value{{v, chain(len(s[0])) * abs}}
		},
	}, {
		name: "Max", args: "i", min: 1,
		run: func(s [][]float32) []float64 { return []float64{float64(Max(s[0]))} },
		want: func(s [][]float64) ([][]value, []value) {
			m := math.Inf(-1)
			for _, v := range s[0] {
				m = math.Max(m, v)
				if math.IsNaN(v) {
					return nil, []value{{v, 0}}
				}
			}
			return nil, []value{{m, 0}}
		},
	}, {
		name: "SumSq", args: "i", plain: true,
		run: func(s [][]float32) []float64 { return []float64{SumSq(s[0])} },
		want: func(s [][]float64) ([][]value, []value) {
			v, _ := sum(len(s[0]), func(i int) float64 { return s[0][i] * s[0][i] })
			return nil, []value{{v, float64(len(s[0])+1) * 0x1p-52 * v}}
		},
	}, {
		name: "ReadSum", args: "i", plain: true,
		run: func(s [][]float32) []float64 { return []float64{float64(ReadSum(s[0]))} },
		want: func(s [][]float64) ([][]value, []value) {
			v, abs := sum(len(s[0]), func(i int) float64 { return s[0][i] })
			return nil, []value{{v, chain(len(s[0])) * abs}}
		},
	}, {
		name: "ExpSum", args: "oi", alias: [][2]int{{0, 1}}, draw: []func(*rand.Rand) float64{nil, scaled(10)},
		run: func(s [][]float32) []float64 { return []float64{float64(ExpSum(s[0], s[1], a, shift))} },
		want: func(s [][]float64) ([][]value, []value) {
			total, slack := 0.0, 0.0
			out := each(len(s[0]), func(i int) value {
				t := a32*s[1][i] - shift32
				e := math.Exp(t)
				// The argument itself is rounded once.
				tol := e*(math.Min(math.Abs(t), 200)+2.6)*u + tiny
				total += e
				slack += tol
				return value{e, tol}
			})
			if !(slack < math.MaxFloat32) {
				slack = math.Inf(1) // an infinity among the terms
			}
			return [][]value{out, nil}, []value{{total, slack + chain(len(s[0]))*total}}
		},
	}, {
		name: "GELU", args: "oi", alias: [][2]int{{0, 1}}, draw: []func(*rand.Rand) float64{nil, scaled(2.5)},
		run: func(s [][]float32) []float64 { GELU(s[0], s[1]); return nil },
		want: func(s [][]float64) ([][]value, []value) {
			return [][]value{each(len(s[0]), func(i int) value {
				v := geluRef(s[1][i])
				return value{v, 1.5e-7 + 2*u*math.Abs(v)}
			}), nil}, nil
		},
	}, {
		name: "GELUBackward", args: "oii", alias: [][2]int{{0, 2}, {0, 1}}, draw: []func(*rand.Rand) float64{nil, scaled(2.5), nil},
		run: func(s [][]float32) []float64 { GELUBackward(s[0], s[1], s[2]); return nil },
		want: func(s [][]float64) ([][]value, []value) {
			return [][]value{each(len(s[0]), func(i int) value {
				d := geluGradRef(s[1][i])
				if math.Abs(d) < 1e-12 && math.IsInf(s[2][i], 0) {
					return value{d, math.NaN()}
				}
				v := d * s[2][i]
				return value{v, 2.4e-7*math.Abs(s[2][i]) + tiny}
			}), nil, nil}, nil
		},
	}, {
		name: "LayerNorm", args: "oiii", alias: [][2]int{{0, 1}}, min: 1, plain: true,
		run: func(s [][]float32) []float64 {
			mean, rstd := LayerNorm(s[0], s[1], s[2], s[3], eps)
			return []float64{float64(mean), float64(rstd)}
		},
		want: func(s [][]float64) ([][]value, []value) {
			x, w, b := s[1], s[2], s[3]
			n := len(x)
			mean, abs := sum(n, func(i int) float64 { return x[i] })
			mean, abs = mean/float64(n), abs/float64(n)
			sq, _ := sum(n, func(i int) float64 { return (x[i] - mean) * (x[i] - mean) })
			rstd := 1 / math.Sqrt(sq/float64(n)+eps32)
			dMean := u*math.Abs(mean) + chain(n)*abs
			// d(variance) from the mean's error, the differences and the sum,
			// through the derivative of 1/sqrt.
			dVar := dMean*dMean + (chain(n)+4*u)*sq/float64(n) + 2*dMean*u
			dRstd := 0.5*rstd*rstd*rstd*dVar + u*rstd
			return [][]value{each(n, func(i int) value {
				d := x[i] - mean
				v := d*rstd*w[i] + b[i]
				tol := math.Abs(w[i])*(rstd*(dMean+2*u*math.Abs(d))+math.Abs(d)*dRstd) + 2*u*(math.Abs(v)+math.Abs(b[i]))
				return value{v, tol}
			}), nil, nil, nil}, []value{{mean, dMean}, {rstd, dRstd}}
		},
	}, layerNormBackward(false), layerNormBackward(true), {
		name: "AdamW", args: "bibb", plain: true, draw: []func(*rand.Rand) float64{nil, nil, nil, positive},
		run: func(s [][]float32) []float64 { AdamW(s[0], s[1], s[2], s[3], &step); return nil },
		want: func(s [][]float64) ([][]value, []value) {
			n := len(s[0])
			out := make([][]value, 4)
			b1, b2 := step.Beta1, step.Beta2
			for i := 0; i < n; i++ {
				g := step.GradScale * s[1][i]
				m := b1*s[2][i] + (1-b1)*g
				v := b2*s[3][i] + (1-b2)*g*g
				d := step.LR / step.Correction1 * m / (math.Sqrt(v)/step.Correction2Sqrt + step.Eps)
				p := s[0][i]*(1-step.LR*step.WeightDecay) - d
				dm := 4 * u * (math.Abs(s[2][i]) + math.Abs(g))
				out[0] = append(out[0], value{p, 3*u*math.Abs(s[0][i]) + math.Abs(d)*12*u + math.Abs(d/m)*dm})
				out[2] = append(out[2], value{m, dm})
				out[3] = append(out[3], value{v, 5 * u * v})
			}
			return out, nil
		},
	}}
}

// geluRef and geluGradRef have the limits at the infinities.
func geluRef(x float64) float64 {
	if math.IsInf(x, -1) {
		return 0
	}
	return x * 0.5 * math.Erfc(-x/math.Sqrt2)
}

func geluGradRef(x float64) float64 {
	if math.IsInf(x, 0) {
		return math.Max(0, math.Copysign(1, x))
	}
	return 0.5*math.Erfc(-x/math.Sqrt2) + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
}

// trial runs k once. place returns the memory for slice number i; the slices
// in alias are one. Then it checks results and that inputs are unchanged.
func (k *kernel) trial(t *testing.T, r *rand.Rand, n int, place func(i int) []float32, alias [2]int, special bool) {
	t.Helper()
	s, before := make([][]float32, len(k.args)), make([][]float64, len(k.args))
	for i := range s {
		s[i] = place(i)
		draw := normal
		if i < len(k.draw) && k.draw[i] != nil {
			draw = k.draw[i]
		}
		for j := range s[i] {
			s[i][j] = float32(draw(r))
			if special && r.IntN(4) == 0 && (k.args[i] != 'b' || !k.plain) {
				s[i][j] = specials[r.IntN(len(specials))]
				if k.plain {
					s[i][j] = float32(math.NaN())
				}
			}
		}
	}
	if alias != [2]int{} {
		copy(s[alias[0]], s[alias[1]])
		s[alias[1]] = s[alias[0]]
	}
	for i := range s {
		before[i] = make([]float64, n)
		for j, v := range s[i] {
			before[i][j] = float64(v)
		}
	}
	want, wantScalars := k.want(before)
	scalars := k.run(s)
	for i, w := range wantScalars {
		if !w.ok(scalars[i]) {
			t.Fatalf("n=%d alias=%v: result %d: got %v, want %v within %v", n, alias, i, scalars[i], w.v, w.tol)
		}
	}
	for i := range s {
		for j, got := range s[i] {
			switch {
			case k.args[i] != 'i':
				if w := want[i][j]; !w.ok(float64(got)) {
					t.Fatalf("n=%d alias=%v: argument %d, element %d: got %v, want %v within %v (inputs %v)", n, alias, i, j, got, w.v, w.tol, column(before, j))
				}
			case alias != [2]int{} && alias[1] == i:
			case float64(got) != before[i][j] && !math.IsNaN(before[i][j]):
				t.Fatalf("n=%d: input %d changed at element %d", n, i, j)
			}
		}
	}
}

func column(s [][]float64, j int) (c []float64) {
	for i := range s {
		c = append(c, s[i][j])
	}
	return c
}

var specials = []float32{
	float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 0, float32(math.Copysign(0, -1)),
	1e-40, -1e-40, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 88.5, -87.3, -103.5, 13, -13,
}

const maxLen = 130

// TestKernels tries every length from 0 to 130 at every alignment, in place
// where that is allowed, and at the end of readable memory.
func TestKernels(t *testing.T) {
	ks := kernels()
	everyLevel(t, func(t *testing.T) {
		for i := range ks {
			k := &ks[i]
			t.Run(k.name, func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 2))
				pads := make([][]float32, len(k.args))
				ends := make([][]float32, len(k.args))
				for i := range k.args {
					pads[i] = make([]float32, maxLen+64)
					ends[i] = guarded(t, maxLen)
				}
				for n := k.min; n <= maxLen; n++ {
					atEnd := func(i int) []float32 { return ends[i][maxLen-n:] }
					k.trial(t, r, n, atEnd, [2]int{}, false)
					k.trial(t, r, n, atEnd, [2]int{}, true)
					for _, alias := range k.alias {
						k.trial(t, r, n, atEnd, alias, false)
						k.trial(t, r, n, atEnd, alias, true)
					}
					for off := 0; off < 16; off++ {
						for i := range pads {
							for j := range pads[i] {
								pads[i][j] = magic
							}
						}
						start := func(i int) int { return 24 + (off+5*i)%16 }
						k.trial(t, r, n, func(i int) []float32 { return pads[i][start(i) : start(i)+n] }, [2]int{}, false)
						for i, pad := range pads {
							for j, v := range pad {
								if (j < start(i) || j >= start(i)+n) && v != magic {
									t.Fatalf("n=%d: argument %d written at %d", n, i, j-start(i))
								}
							}
						}
					}
				}
			})
		}
	})
}

// FuzzKernels runs a random kernel on random lengths and data.
func FuzzKernels(f *testing.F) {
	for i := range kernels() {
		f.Add(uint64(i), uint8(i), uint16(100*i), uint8(i))
	}
	ks := kernels()
	f.Fuzz(func(t *testing.T, seed uint64, which uint8, n uint16, how uint8) {
		k := &ks[int(which)%len(ks)]
		length := max(k.min, int(n)%5000)
		levels := Supported()
		defer Use(levels[int(how)%len(levels)])()
		alias := [2]int{}
		if i := int(how/4) % (len(k.alias) + 1); i > 0 {
			alias = k.alias[i-1]
		}
		k.trial(t, rand.New(rand.NewPCG(seed, 0)), length, func(int) []float32 { return guarded(t, length) }, alias, how&128 != 0)
	})
}

func TestLengthChecks(t *testing.T) {
	ks := kernels()
	for i := range ks {
		k := &ks[i]
		if len(k.args) < 2 {
			continue
		}
		for short := range k.args {
			s := make([][]float32, len(k.args))
			for j := range s {
				s[j] = make([]float32, 9)
			}
			s[short] = s[short][:8]
			mustPanic(t, fmt.Sprintf("%s with argument %d short", k.name, short), "want", func() { k.run(s) })
		}
	}
	mustPanic(t, "Max of nothing", "asm: Max len(x), got 0, want at least 1", func() { Max(nil) })
	mustPanic(t, "Add", "asm: Add len(x), got 2, want 3", func() { Add(make([]float32, 3), make([]float32, 2), make([]float32, 3)) })
}

func mustPanic(t *testing.T, what, message string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		r := recover()
		if s, ok := r.(string); !ok || !strings.HasPrefix(s, "asm: ") || !strings.Contains(s, message) {
			t.Errorf("%s: panic %v, want one with %q", what, r, message)
		}
	}()
	f()
}

func TestAddRows(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for n := 1; n <= maxLen; n++ {
			for _, rows := range []int{1, 2, 3, 8, 131} {
				ld := n + r.IntN(3)
				checkAddRows(t, r, rows, n, ld, n%2*16)
			}
		}
		checkAddRows(t, r, 1000, 33, 33, 1)
		checkAddRows(t, r, 9, 40, 0, 0)
	})
}

// FuzzAddRows runs AddRows on random shapes.
func FuzzAddRows(f *testing.F) {
	f.Add(uint64(1), uint16(99), uint8(70), uint8(3), uint8(2))
	f.Fuzz(func(t *testing.T, seed uint64, rows uint16, n, pad, l uint8) {
		levels := Supported()
		defer Use(levels[int(l)%len(levels)])()
		cols := 1 + int(n)
		checkAddRows(t, rand.New(rand.NewPCG(seed, 0)), 1+int(rows)%500, cols, cols+int(pad%20), int(pad%3))
	})
}

// checkAddRows has pad floats behind the n of dst, which must stay as they
// are. One column has a NaN, which must stay in it.
func checkAddRows(t *testing.T, r *rand.Rand, rows, n, ld, pad int) {
	t.Helper()
	x, dst := guarded(t, (rows-1)*ld+n), guarded(t, n+pad)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	for i := range dst {
		dst[i] = magic
	}
	for j := 0; j < n; j++ {
		dst[j] = float32(j)
	}
	x[r.IntN(len(x))] = float32(math.NaN())
	AddRows(dst, x, rows, n, ld)
	for j, got := range dst {
		if j >= n {
			if got != magic {
				t.Fatalf("rows=%d n=%d: dst written at %d", rows, n, j)
			}
			continue
		}
		v, abs := sum(rows, func(i int) float64 { return float64(x[i*ld+j]) })
		w := value{v + float64(j), float64(min(rows, addRowsBlock)+rows/addRowsBlock+2)*u*abs + u*math.Abs(v+float64(j))*float64(1+rows/addRowsBlock)}
		if !w.ok(float64(got)) {
			t.Fatalf("rows=%d n=%d ld=%d column %d: got %v, want %v within %v", rows, n, ld, j, got, w.v, w.tol)
		}
	}
}

func TestDivRows(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		for n := 1; n <= maxLen; n++ {
			for _, rows := range []int{1, 2, 9} {
				ld := n + n%3
				x, by := guarded(t, (rows-1)*ld+n), guarded(t, rows)
				for i := range x {
					x[i] = float32(r.NormFloat64())
				}
				for i := range by {
					by[i] = float32(math.Exp(3 * r.NormFloat64()))
				}
				by[0] = float32([]float64{2, 0, math.Inf(1), math.NaN()}[n%4])
				old := slices.Clone(x)
				DivRows(x, ld, rows, n, by)
				for i, got := range x {
					want := value{float64(old[i]), 0}
					if i%ld < n {
						v := float64(old[i]) / float64(by[i/ld])
						want = value{v, 3 * u * math.Abs(v)}
					}
					if !want.ok(float64(got)) {
						t.Fatalf("n=%d rows=%d ld=%d: element %d is %v, want %v", n, rows, ld, i, got, want.v)
					}
				}
			}
		}
		DivRows(nil, 0, 0, 5, nil)
	})
}

func TestSlideRows(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		for n := 1; n <= maxLen; n++ {
			for _, m := range []int{1, 3, 7, 16} {
				checkSlideRows(t, r, m, 1+r.IntN(9), n, r.IntN(17))
			}
		}
		checkSlideRows(t, r, 7, 1000, 33, 1)
		checkSlideRows(t, r, 300, 7, 20, 0)
		checkSlideRows(t, r, 0, 7, 20, 0)
		checkSlideRows(t, r, 7, 0, 20, 0)
		checkSlideRows(t, r, 7, 7, 0, 3)
	})
}

// FuzzSlideRows runs SlideRows on random shapes.
func FuzzSlideRows(f *testing.F) {
	f.Add(uint64(1), uint8(9), uint8(7), uint8(70), uint8(3), uint8(2))
	f.Fuzz(func(t *testing.T, seed uint64, m, rows, n, pad, l uint8) {
		levels := Supported()
		defer Use(levels[int(l)%len(levels)])()
		checkSlideRows(t, rand.New(rand.NewPCG(seed, 0)), int(m), int(rows), int(n), int(pad%20))
	})
}

// checkSlideRows has up to pad floats between rows, which must stay as they
// are. A NaN in a must reach the sums that see it and no others, and the sums
// must have the bits that they have one by one.
func checkSlideRows(t *testing.T, r *rand.Rand, m, rows, n, pad int) {
	t.Helper()
	ldd, lda, ldb := n+r.IntN(pad+1), n+r.IntN(pad+1), n+r.IntN(pad+1)
	draw := func(rows, ld int) []float32 {
		x := guarded(t, max(0, (rows-1)*ld+n))
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	dst, a, b := draw(m, ldd), draw(m+rows-1, lda), draw(rows, ldb)
	if len(a) > 0 {
		a[r.IntN(len(a))] = float32(math.NaN())
	}
	before, keptA, keptB := slices.Clone(dst), slices.Clone(a), slices.Clone(b)
	SlideRows(dst, ldd, a, lda, b, ldb, m, rows, n)
	for k, got := range dst {
		i, j, was := k/max(ldd, 1), k%max(ldd, 1), before[k]
		if j >= n || rows == 0 {
			if got != was {
				t.Fatalf("m=%d rows=%d n=%d: dst written at (%d,%d)", m, rows, n, i, j)
			}
			continue
		}
		v, abs := sum(rows, func(r int) float64 { return float64(a[(i+r)*lda+j]) * float64(b[r*ldb+j]) })
		w := value{v + float64(was), float64(rows+1)*u*abs + u*math.Abs(v+float64(was)) + tiny}
		if !w.ok(float64(got)) {
			t.Fatalf("m=%d rows=%d n=%d strides %d %d %d (%d,%d): got %v, want %v within %v", m, rows, n, ldd, lda, ldb, i, j, got, w.v, w.tol)
		}
		alone := []float32{was}
		SlideRows(alone, 0, a[i*lda+j:], lda, b[j:], ldb, 1, rows, 1)
		if math.Float32bits(alone[0]) != math.Float32bits(got) {
			t.Fatalf("m=%d rows=%d n=%d (%d,%d): got %v, alone %v", m, rows, n, i, j, got, alone[0])
		}
	}
	same := func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) }
	if !slices.EqualFunc(a, keptA, same) || !slices.EqualFunc(b, keptB, same) {
		t.Fatalf("m=%d rows=%d n=%d: an input changed", m, rows, n)
	}
}

// TestExpAccuracy measures exp itself, with arguments that need no rounding.
func TestExpAccuracy(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		const n = 1 << 16
		x, y := make([]float32, n), make([]float32, n)
		for i := range x {
			x[i] = float32(-87.3 + (87.3+88.7)*float64(i)/n)
		}
		ExpSum(y, x, 1, 0)
		worst := 0.0
		for i := range x {
			want := math.Exp(float64(x[i]))
			_, e := math.Frexp(want)
			worst = math.Max(worst, math.Abs(float64(y[i])-want)/math.Ldexp(1, e-24))
		}
		t.Logf("worst error %.3f ulp", worst)
		if worst > 1.3 {
			t.Errorf("exp is off by %v ulp", worst)
		}
	})
}

// TestGELUAccuracy measures absolute errors over the range where they differ
// from those of the identity and of zero.
func TestGELUAccuracy(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		const n = 1 << 16
		x, y, d, one := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
		for i := range x {
			x[i] = float32(-8 + 16*float64(i)/n)
			one[i] = 1
		}
		GELU(y, x)
		GELUBackward(d, x, one)
		var abs, grad, tail float64
		for i := range x {
			want := geluRef(float64(x[i]))
			abs = math.Max(abs, math.Abs(float64(y[i])-want))
			if x[i] < 0 && x[i] > -5 {
				tail = math.Max(tail, math.Abs(float64(y[i])/want-1))
			}
			grad = math.Max(grad, math.Abs(float64(d[i])-geluGradRef(float64(x[i]))))
		}
		t.Logf("GELU: %.3g absolute, %.3g relative in [-5,0); gradient: %.3g absolute", abs, tail, grad)
		if abs > 2.5e-7 || grad > 1.3e-7 || tail > 7.5e-7 {
			t.Error("too far off")
		}
	})
}

func TestNoAllocation(t *testing.T) {
	ks := kernels()
	everyLevel(t, func(t *testing.T) {
		for i := range ks {
			k := &ks[i]
			s := make([][]float32, len(k.args))
			for j := range s {
				s[j] = make([]float32, 64)
			}
			// run itself may allocate the slice of scalars it returns.
			_, scalars := k.want(widenAll(s))
			limit := float64(min(1, len(scalars)))
			if got := testing.AllocsPerRun(10, func() { k.run(s) }); got > limit {
				t.Errorf("%s allocates %v times", k.name, got)
			}
		}
	})
}

func widenAll(s [][]float32) [][]float64 {
	out := make([][]float64, len(s))
	for i := range s {
		out[i] = make([]float64, len(s[i]))
	}
	return out
}

func TestPeakFMA(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		if f := PeakFMA(10); f < 160 {
			t.Errorf("PeakFMA(10) = %v", f)
		}
	})
}

// checkSoftmax runs Softmax and SoftmaxBackward on columns whose last row ends
// at a guard page, with pad floats between the rows that must stay as they are,
// against float64. With a NaN in one column, that column alone must become NaN.
func checkSoftmax(t *testing.T, r *rand.Rand, rows, n, pad int, withNaN bool) {
	t.Helper()
	ld, scale := n+pad, float32(0.125)
	length := (rows-1)*ld + n
	scores, dp := make([]float32, length), make([]float32, length)
	for i := range scores {
		scores[i], dp[i] = float32(20*r.NormFloat64()), float32(r.NormFloat64())
		if i%ld >= n {
			scores[i], dp[i] = magic, magic
		}
	}
	bad := -1
	if withNaN {
		bad = r.IntN(n)
		scores[r.IntN(rows)*ld+bad] = float32(math.NaN())
	}
	x, d := guarded(t, length), guarded(t, length)
	shift, sum := guarded(t, n), guarded(t, n)
	copy(x, scores)
	Softmax(x, ld, rows, n, scale, shift, sum)
	back := guarded(t, length)
	copy(back, scores)
	copy(d, dp)
	SoftmaxBackward(back, d, ld, rows, n, scale, shift)
	for i := range scores {
		if i%ld >= n && (x[i] != magic || back[i] != magic || d[i] != magic) {
			t.Fatalf("rows=%d n=%d ld=%d: written at %d, between the rows", rows, n, ld, i)
		}
	}
	for col := range n {
		if col == bad {
			if sum[col] == sum[col] || back[col] == back[col] || d[col] == d[col] {
				t.Fatalf("rows=%d n=%d column %d: a NaN was lost", rows, n, col)
			}
			continue
		}
		top := math.Inf(-1)
		for i := range rows {
			top = math.Max(top, float64(scale)*float64(scores[i*ld+col]))
		}
		if float64(shift[col]) != top { // scale is a power of two
			t.Fatalf("rows=%d n=%d column %d: shift %v, want %v", rows, n, col, shift[col], top)
		}
		p, total := make([]float64, rows), 0.0
		for i := range p {
			p[i] = math.Exp(float64(scale)*float64(scores[i*ld+col]) - top)
			total += p[i]
		}
		delta, size := 0.0, 0.0
		for i := range p {
			delta += p[i] / total * float64(dp[i*ld+col])
			size += p[i] / total * math.Abs(float64(dp[i*ld+col]))
		}
		// exp of an argument t is off by its own rounding and that of t; sums
		// run in four chains.
		chain := float64(rows/4 + 6)
		relative := func(i int) float64 { return u * (4 + 2*math.Abs(math.Log(math.Max(p[i], 1e-38)))) }
		if e := math.Abs(float64(sum[col]) - total); !(e <= total*u*(chain+8)) {
			t.Fatalf("rows=%d n=%d column %d: sum %v, want %v", rows, n, col, sum[col], total)
		}
		for i := range p {
			k := i*ld + col
			w := value{p[i], p[i]*relative(i) + tiny}
			if !w.ok(float64(x[k])) {
				t.Fatalf("rows=%d n=%d (%d,%d): exp %v, want %v within %v", rows, n, i, col, x[k], w.v, w.tol)
			}
			w = value{p[i] / total, p[i]/total*(relative(i)+u*(chain+10)) + tiny}
			if !w.ok(float64(back[k])) {
				t.Fatalf("rows=%d n=%d (%d,%d): p %v, want %v within %v", rows, n, i, col, back[k], w.v, w.tol)
			}
			g := float64(dp[k]) - delta
			w = value{float64(scale) * g * p[i] / total, float64(scale)*p[i]/total*(math.Abs(g)*(relative(i)+u*(chain+14))+u*(2*chain+40)*size+2*u*math.Abs(float64(dp[k]))) + tiny}
			if !w.ok(float64(d[k])) {
				t.Fatalf("rows=%d n=%d (%d,%d): gradient %v, want %v within %v", rows, n, i, col, d[k], w.v, w.tol)
			}
		}
	}
}

func TestSoftmax(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for n := 1; n <= maxLen; n++ {
			for _, rows := range []int{1, 2, 5} {
				checkSoftmax(t, r, rows, n, r.IntN(17), false)
			}
			checkSoftmax(t, r, 3, n, n%2, true)
		}
		for rows := 4; rows < 12; rows++ {
			checkSoftmax(t, r, rows, 33, 1, rows%2 == 0)
		}
		checkSoftmax(t, r, 588, 35, 13, false)
	})
}

// FuzzSoftmax runs both on random shapes.
func FuzzSoftmax(f *testing.F) {
	f.Add(uint64(1), uint16(99), uint8(32), uint8(13), false, uint8(2))
	f.Fuzz(func(t *testing.T, seed uint64, rows uint16, n uint8, pad uint8, withNaN bool, l uint8) {
		levels := Supported()
		defer Use(levels[int(l)%len(levels)])()
		checkSoftmax(t, rand.New(rand.NewPCG(seed, 0)), 1+int(rows)%700, 1+int(n)%70, int(pad)%40, withNaN)
	})
}
