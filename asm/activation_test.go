package asm

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

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

// TestGELUAccuracy measures absolute errors over the range where they differ from those of the
// identity and of zero.
func TestGELUAccuracy(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		const n = 1 << 16
		x, y, d, y2 := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
		for i := range x {
			x[i] = float32(-8 + 16*float64(i)/n)
		}
		GELU(y, x)
		GELUSlope(d, y2, x)
		if !slices.Equal(y, y2) {
			t.Error("GELUSlope and GELU differ")
		}
		var abs, grad, tail float64
		for i := range x {
			want := geluRef(float64(x[i]))
			abs = math.Max(abs, math.Abs(float64(y[i])-want))
			if x[i] < 0 && x[i] > -5 {
				tail = math.Max(tail, math.Abs(float64(y[i])/want-1))
			}
			grad = math.Max(grad, math.Abs(float64(d[i])-geluSlopeRef(float64(x[i]))))
		}
		t.Logf("GELU: %.3g absolute, %.3g relative in [-5,0); gradient: %.3g absolute", abs, tail, grad)
		if abs > 2.5e-7 || grad > 1.3e-7 || tail > 7.5e-7 {
			t.Error("too far off")
		}
	})
}

// checkSoftmax runs Softmax and SoftmaxBackward on columns whose last row ends at a guard page,
// with pad floats between the rows that must stay as they are, against float64. With a NaN in one
// column, that column alone must become NaN.
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
		// exp of an argument t is off by its own rounding and that of t; sums run in four chains.
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
		t.Run("every number of columns", func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 6))
			for n := 1; n <= maxLen; n++ {
				for _, rows := range []int{1, 2, 5} {
					checkSoftmax(t, r, rows, n, r.IntN(17), false)
				}
				checkSoftmax(t, r, 3, n, n%2, true)
			}
		})
		t.Run("rows", func(t *testing.T) { // of which the kernels take four at a time
			r := rand.New(rand.NewPCG(7, 8))
			for rows := 4; rows < 12; rows++ {
				checkSoftmax(t, r, rows, 33, 1, rows%2 == 0)
			}
		})
		t.Run("a long column", func(t *testing.T) {
			checkSoftmax(t, rand.New(rand.NewPCG(9, 10)), 588, 35, 13, false)
		})
	})
}

// FuzzSoftmax runs both on random shapes.
func FuzzSoftmax(f *testing.F) {
	f.Add(uint64(1), uint16(99), uint8(32), uint8(13), false, uint8(2))
	f.Fuzz(func(t *testing.T, seed uint64, rows uint16, n uint8, pad uint8, withNaN bool, level uint8) {
		defer useOneOf(level)()
		checkSoftmax(t, rand.New(rand.NewPCG(seed, 0)), 1+int(rows)%700, 1+int(n)%70, int(pad)%40, withNaN)
	})
}
