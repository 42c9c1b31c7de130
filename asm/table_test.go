package asm

import (
	"math"
	"math/rand/v2"
)

// kernel describes a kernel on slices of equal length, for TestKernels and others.
type kernel struct {
	name     string
	operands []operand
	dstMayBe []int // numbers of the operands that the first may be the same slice as
	min      int   // smallest length
	// Results may overflow inside, so as a special value only NaN is tried, and not in operands
	// that are updated.
	onlyNaN bool
	// run calls the kernel and returns its scalar results, at most two.
	run func(s [][]float32) [2]float64
	// want returns what the operands that are written should hold, in their place, and the scalar
	// results.
	want func(s [][]float64) ([][]value, []value)
}

// operand is a slice that a kernel is given.
type operand struct {
	name string
	role role
	draw func(*rand.Rand) float64 // the distribution of its numbers
}

type role int

const (
	input   role = iota // must stay as it is
	output              // is overwritten
	updated             // is read and overwritten
)

func in(name string) operand     { return operand{name, input, normal} }
func out(name string) operand    { return operand{name, output, normal} }
func update(name string) operand { return operand{name, updated, normal} }

func (o operand) drawn(draw func(*rand.Rand) float64) operand {
	o.draw = draw
	return o
}

func normal(r *rand.Rand) float64 { return r.NormFloat64() }

// scaled returns a normal distribution with standard deviation f.
func scaled(f float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return f * r.NormFloat64() }
}

func positive(r *rand.Rand) float64 { return math.Abs(r.NormFloat64()) }

const (
	u    = 1.0 / (1 << 24) // half an ulp of 1: the largest relative rounding error
	tiny = 3e-45           // two steps of the smallest float32
)

// value is an expected result and how far from it a kernel may be.
type value struct{ v, tol float64 }

// rounded is the tolerance of a result that is rounded once.
func rounded(v float64) value { return value{v, u * math.Abs(v)} }

func (w value) ok(got float64) bool {
	switch v := float64(float32(w.v)); {
	case math.IsNaN(v):
		return math.IsNaN(got)
	case math.IsInf(v, 0):
		// A float64 just above the largest float32 may be rounded either way.
		return got == v || !math.IsInf(w.v, 0) && math.Abs(got) >= math.MaxFloat32*(1-4*u)
	default:
		return math.Abs(got-w.v) <= w.tol
	}
}

func each(n int, f func(i int) value) []value {
	v := make([]value, n)
	for i := range v {
		v[i] = f(i)
	}
	return v
}

// sum returns the sum of f(i) for i < n, and that of their absolute values.
func sum(n int, f func(i int) float64) (s, abs float64) {
	for i := range n {
		s += f(i)
		abs += math.Abs(f(i))
	}
	return s, abs
}

// chain bounds the rounding error of a sum of n terms, relative to the sum of their absolute
// values: the kernels add in at least 16 chains, and Go in float64.
func chain(n int) float64 { return float64(n/16+4) * u }

// elementwise is the want of a kernel that writes its first operand only, where element i depends
// on element i of all operands, which f is given.
func elementwise(f func(v []float64) value) func(s [][]float64) ([][]value, []value) {
	return func(s [][]float64) ([][]value, []value) {
		return [][]value{each(len(s[0]), func(i int) value { return f(column(s, i)) })}, nil
	}
}

// scalar is the want of a kernel that writes nothing and returns a number.
func scalar(f func(s [][]float64) value) func(s [][]float64) ([][]value, []value) {
	return func(s [][]float64) ([][]value, []value) { return nil, []value{f(s)} }
}

// column returns element j of each slice.
func column(s [][]float64, j int) (c []float64) {
	for i := range s {
		c = append(c, s[i][j])
	}
	return c
}

// Parameters of the kernels in the table, and what they are as a float32.
const (
	testFactor, testShift, testEps = 0.7, 0.9, 1e-6
	testMean, testRstd             = 0.2, 1.7
)

var (
	factor32, shift32, eps32 = float64(float32(testFactor)), float64(float32(testShift)), float64(float32(testEps))
	mean32, rstd32           = float64(float32(testMean)), float64(float32(testRstd))
)

var testStep = AdamWStep{
	LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.05, Correction1: 0.271, Correction2Sqrt: 0.3776, GradScale: 0.5,
}

var kernels = []kernel{{
	name: "Add", operands: []operand{out("dst"), in("x"), in("y")}, dstMayBe: []int{1, 2},
	run:  func(s [][]float32) (r [2]float64) { Add(s[0], s[1], s[2]); return },
	want: elementwise(func(v []float64) value { return rounded(v[1] + v[2]) }),
}, {
	name: "Mul", operands: []operand{out("dst"), in("x"), in("y")}, dstMayBe: []int{1, 2},
	run:  func(s [][]float32) (r [2]float64) { Mul(s[0], s[1], s[2]); return },
	want: elementwise(func(v []float64) value { return value{v[1] * v[2], u*math.Abs(v[1]*v[2]) + tiny} }),
}, {
	name: "Axpy", operands: []operand{update("dst"), in("x")}, dstMayBe: []int{1},
	run: func(s [][]float32) (r [2]float64) { Axpy(s[0], s[1], testFactor); return },
	want: elementwise(func(v []float64) value {
		product := factor32 * v[1]
		return value{v[0] + product, u*math.Abs(v[0]+product) + u*math.Abs(product) + tiny}
	}),
}, {
	name: "Scale", operands: []operand{out("dst"), in("x")}, dstMayBe: []int{1},
	run:  func(s [][]float32) (r [2]float64) { Scale(s[0], s[1], testFactor); return },
	want: elementwise(func(v []float64) value { return value{factor32 * v[1], u*math.Abs(factor32*v[1]) + tiny} }),
}, {
	name: "ReLU", operands: []operand{out("dst"), in("x")}, dstMayBe: []int{1},
	run:  func(s [][]float32) (r [2]float64) { ReLU(s[0], s[1]); return },
	want: elementwise(func(v []float64) value { return value{math.Max(v[1], 0), 0} }),
}, {
	name: "ReLUBackward", operands: []operand{out("dst"), in("y"), in("dy")}, dstMayBe: []int{1, 2},
	run: func(s [][]float32) (r [2]float64) { ReLUBackward(s[0], s[1], s[2]); return },
	want: elementwise(func(v []float64) value {
		if v[1] <= 0 {
			return value{0, 0}
		}
		return value{v[2], 0}
	}),
}, {
	name: "Dot", operands: []operand{in("x"), in("y")}, onlyNaN: true,
	run: func(s [][]float32) [2]float64 { return [2]float64{float64(Dot(s[0], s[1]))} },
	want: scalar(func(s [][]float64) value {
		v, abs := sum(len(s[0]), func(i int) float64 { return s[0][i] * s[1][i] })
		return value{v, chain(len(s[0])) * abs}
	}),
}, {
	name: "Max", operands: []operand{in("x")}, min: 1,
	run: func(s [][]float32) [2]float64 { return [2]float64{float64(Max(s[0]))} },
	want: scalar(func(s [][]float64) value {
		m := math.Inf(-1)
		for _, v := range s[0] {
			m = max(m, v) // which, unlike math.Max, is NaN if one of them is
		}
		return value{m, 0}
	}),
}, {
	name: "SumSq", operands: []operand{in("x")}, onlyNaN: true,
	run: func(s [][]float32) [2]float64 { return [2]float64{SumSq(s[0])} },
	want: scalar(func(s [][]float64) value {
		v, _ := sum(len(s[0]), func(i int) float64 { return s[0][i] * s[0][i] })
		return value{v, float64(len(s[0])+1) * 0x1p-52 * v}
	}),
}, {
	name: "ReadSum", operands: []operand{in("x")}, onlyNaN: true,
	run: func(s [][]float32) [2]float64 { return [2]float64{float64(ReadSum(s[0]))} },
	want: scalar(func(s [][]float64) value {
		v, abs := sum(len(s[0]), func(i int) float64 { return s[0][i] })
		return value{v, chain(len(s[0])) * abs}
	}),
}, {
	name: "ExpSum", operands: []operand{out("dst"), in("x").drawn(scaled(10))}, dstMayBe: []int{1},
	run: func(s [][]float32) [2]float64 { return [2]float64{float64(ExpSum(s[0], s[1], testFactor, testShift))} },
	want: func(s [][]float64) ([][]value, []value) {
		total, slack := 0.0, 0.0
		dst := each(len(s[0]), func(i int) value {
			t := factor32*s[1][i] - shift32
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
		return [][]value{dst}, []value{{total, slack + chain(len(s[0]))*total}}
	},
}, {
	name: "GELU", operands: []operand{out("dst"), in("x").drawn(scaled(2.5))}, dstMayBe: []int{1},
	run: func(s [][]float32) (r [2]float64) { GELU(s[0], s[1]); return },
	want: elementwise(func(v []float64) value {
		y := geluRef(v[1])
		return value{y, 1.5e-7 + 2*u*math.Abs(y)}
	}),
}, {
	name: "GELUSlope", operands: []operand{out("slope"), out("dst"), in("x").drawn(scaled(2.5))}, dstMayBe: []int{2},
	run: func(s [][]float32) (r [2]float64) { GELUSlope(s[0], s[1], s[2]); return },
	want: func(s [][]float64) ([][]value, []value) {
		x := s[2]
		slope := each(len(x), func(i int) value { return value{geluSlopeRef(x[i]), 2.4e-7} })
		dst := each(len(x), func(i int) value {
			y := geluRef(x[i])
			return value{y, 1.5e-7 + 2*u*math.Abs(y)}
		})
		return [][]value{slope, dst}, nil
	},
}, {
	name: "LayerNorm", operands: []operand{out("y"), in("x"), in("w"), in("b")}, min: 1, onlyNaN: true,
	run:  runLayerNorm,
	want: wantLayerNorm,
}, {
	name: "LayerNorm/squares overflow", operands: []operand{out("y"), in("x").drawn(scaled(1e20)), in("w"), in("b")}, min: 1, onlyNaN: true,
	run:  runLayerNorm,
	want: wantLayerNorm,
}, {
	name: "LayerNorm/sums overflow", min: 1, onlyNaN: true,
	operands: []operand{out("y"), in("x").drawn(func(r *rand.Rand) float64 { return 2e38 + 1e37*r.NormFloat64() }), in("w"), in("b")},
	run:      runLayerNorm,
	want:     wantLayerNorm,
}, {
	name:     "LayerNormBackward",
	operands: []operand{out("dx"), update("dw"), update("db"), in("dy"), in("x"), in("w")}, dstMayBe: []int{3}, min: 1, onlyNaN: true,
	run: func(s [][]float32) (r [2]float64) {
		LayerNormBackward(s[0], s[1], s[2], s[3], s[4], s[5], testMean, testRstd, false)
		return
	},
	want: func(s [][]float64) ([][]value, []value) { return wantLayerNormBackward(s, false), nil },
}, {
	name:     "LayerNormBackward/accumulate",
	operands: []operand{update("dx"), update("dw"), update("db"), in("dy"), in("x"), in("w")}, min: 1, onlyNaN: true,
	run: func(s [][]float32) (r [2]float64) {
		LayerNormBackward(s[0], s[1], s[2], s[3], s[4], s[5], testMean, testRstd, true)
		return
	},
	want: func(s [][]float64) ([][]value, []value) { return wantLayerNormBackward(s, true), nil },
}, {
	name: "AdamW", operands: []operand{update("p"), in("g"), update("m"), update("v").drawn(positive)}, onlyNaN: true,
	run:  func(s [][]float32) (r [2]float64) { AdamW(s[0], s[1], s[2], s[3], &testStep); return },
	want: wantAdamW,
}}

func runLayerNorm(s [][]float32) [2]float64 {
	mean, rstd := LayerNorm(s[0], s[1], s[2], s[3], testEps)
	return [2]float64{float64(mean), float64(rstd)}
}

func wantLayerNorm(s [][]float64) ([][]value, []value) {
	x, w, b := s[1], s[2], s[3]
	n := len(x)
	mean, abs := sum(n, func(i int) float64 { return x[i] })
	mean, abs = mean/float64(n), abs/float64(n)
	sq, _ := sum(n, func(i int) float64 { return (x[i] - mean) * (x[i] - mean) })
	rstd := 1 / math.Sqrt(sq/float64(n)+eps32)
	dMean := u*math.Abs(mean) + chain(n)*abs
	// The error of the variance is that of the mean, of the differences and of the sum; it reaches
	// rstd through the derivative of 1/sqrt.
	dVar := dMean*dMean + (chain(n)+4*u)*sq/float64(n) + 2*dMean*u
	dRstd := 0.5*rstd*rstd*rstd*dVar + u*rstd
	y := each(n, func(i int) value {
		d := x[i] - mean
		v := d*rstd*w[i] + b[i]
		tol := math.Abs(w[i])*(rstd*(dMean+2*u*math.Abs(d))+math.Abs(d)*dRstd) + 2*u*(math.Abs(v)+math.Abs(b[i]))
		return value{v, tol}
	})
	return [][]value{y}, []value{{mean, dMean}, {rstd, dRstd}}
}

// wantLayerNormBackward returns what dx, dw and db should hold.
func wantLayerNormBackward(s [][]float64, accumulate bool) [][]value {
	dx, dw, db, dy, x, w := s[0], s[1], s[2], s[3], s[4], s[5]
	n := len(x)
	xhat := func(i int) float64 { return (x[i] - mean32) * rstd32 }
	mg, ag := sum(n, func(i int) float64 { return w[i] * dy[i] })
	mgx, agx := sum(n, func(i int) float64 { return w[i] * dy[i] * xhat(i) })
	mg, ag, mgx, agx = mg/float64(n), ag/float64(n), mgx/float64(n), agx/float64(n)
	return [][]value{
		each(n, func(i int) value {
			g, h := w[i]*dy[i], xhat(i)
			v := rstd32 * (g - mg - h*mgx)
			tol := rstd32*(4*u*(math.Abs(g)+math.Abs(mg)+math.Abs(h*mgx))+chain(n)*(ag+math.Abs(h)*agx)) + 4*u*math.Abs(h*mgx)
			if accumulate {
				v += dx[i]
				tol += 2 * u * math.Abs(v)
			}
			return value{v, tol + u*math.Abs(v)}
		}),
		each(n, func(i int) value {
			v := dw[i] + dy[i]*xhat(i)
			return value{v, u*math.Abs(v) + 4*u*math.Abs(dy[i]*xhat(i))}
		}),
		each(n, func(i int) value { return rounded(db[i] + dy[i]) }),
	}
}

func wantAdamW(s [][]float64) ([][]value, []value) {
	step, want := testStep, make([][]value, 4)
	for i := range s[0] {
		g := step.GradScale * s[1][i]
		m := step.Beta1*s[2][i] + (1-step.Beta1)*g
		v := step.Beta2*s[3][i] + (1-step.Beta2)*g*g
		d := step.LR / step.Correction1 * m / (math.Sqrt(v)/step.Correction2Sqrt + step.Eps)
		p := s[0][i]*(1-step.LR*step.WeightDecay) - d
		dm := 4 * u * (math.Abs(s[2][i]) + math.Abs(g))
		want[0] = append(want[0], value{p, 3*u*math.Abs(s[0][i]) + math.Abs(d)*12*u + math.Abs(d/m)*dm})
		want[2] = append(want[2], value{m, dm})
		want[3] = append(want[3], value{v, 5 * u * v})
	}
	return want, nil
}

// geluRef and geluSlopeRef have the limits at the infinities.
func geluRef(x float64) float64 {
	if math.IsInf(x, -1) {
		return 0
	}
	return x * 0.5 * math.Erfc(-x/math.Sqrt2)
}

func geluSlopeRef(x float64) float64 {
	if math.IsInf(x, 0) {
		return math.Max(0, math.Copysign(1, x))
	}
	return 0.5*math.Erfc(-x/math.Sqrt2) + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
}
