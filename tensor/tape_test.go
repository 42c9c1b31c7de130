package tensor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gomae/gomae/internal/poison"
	"github.com/gomae/gomae/internal/testkit"
)

// param returns a named leaf with random values and a zero gradient.
func param(name string, shape ...int) *Tensor {
	x := From(normal(seeded(name), size(shape)), shape...).WithGrad()
	x.Name = name
	return x
}

// TestUnreached: what the loss was not computed from keeps its gradient, and costs nothing.
func TestUnreached(t *testing.T) {
	tape := NewTape(nil)
	x, w1, w2, idle := param("x", 3, 4), param("w1", 4, 4), param("w2", 5, 4), param("idle", 4, 4)
	w2.Grad[7], idle.Grad[3] = 5, 6
	h := Linear(tape, x, w1, nil)
	other := LinearGELU(tape, h, w2, nil)
	y := Attention(tape, View(tape, Linear(tape, h, param("qkv", 12, 4), nil), 1, 3, 12), 2)
	Linear(tape, y, idle, nil) // after the loss's operations
	tape.Backward(project(tape, y, ones(12)))
	if !slices.ContainsFunc(x.Grad, func(v float32) bool { return v != 0 }) {
		t.Error("the input has no gradient")
	}
	for _, c := range []struct {
		x    *Tensor
		i    int
		want float32
	}{{w2, 7, 5}, {idle, 3, 6}} {
		for i, v := range c.x.Grad {
			if want := []float32{0, c.want}[btoi(i == c.i)]; v != want {
				t.Errorf("gradient of %s: element %d is %v, want %v", c.x.Name, i, v, want)
			}
		}
	}
	if other.Grad != nil || h.Grad != nil || y.Grad != nil {
		t.Error("a result keeps a gradient after Backward")
	}
	tape.Reset()

	// A loss of constants has nothing to go back to.
	c := From(ones(4), 4)
	tape.Backward(project(tape, AddScaled(tape, From(ones(4), 1, 4), From(ones(4), 1, 4), []float32{1}), c.Data))
	if c.Grad != nil {
		t.Error("a constant got a gradient")
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func ones(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	return x
}

// TestTwoSteps: gradients of leaves add up over steps.
func TestTwoSteps(t *testing.T) {
	eachCase(t, func(t *testing.T, c *opCase) {
		if c.big || c.loose {
			return
		}
		tape := NewTape(nil)
		x, fresh := c.leaves(none), c.leaves(none)
		for i := range x {
			x[i].WithGrad()
			fresh[i].WithGrad()
		}
		c.step(tape, fresh, true)
		c.step(tape, x, false)
		c.step(tape, x, true)
		for i := range x {
			want := make([]num, len(x[i].Grad))
			for k, v := range c.grads[i] {
				want[k] = num{2 * v.v, 2*v.e + 64*u*v.abs()}
			}
			compare(t, fmt.Sprintf("gradient %d of two steps", i), x[i].Grad, want, nil)
		}
	})
}

// TestBackwardMidway goes back from a loss that later operations read too.
func TestBackwardMidway(t *testing.T) {
	tape := NewTape(nil)
	x := param("x", 3)
	loss := project(tape, identity(tape, x), []float32{1, 2, 3})
	Linear(tape, loss, param("w", 2, 1), nil)
	tape.Backward(loss)
	if !slices.Equal(x.Grad, []float32{1, 2, 3}) {
		t.Errorf("gradient %v", x.Grad)
	}
	tape.Reset()
}

// TestFusedGELU: the only operation that reads the result of LinearGELU multiplies its gradient by
// the slope of GELU; if two read it, LinearGELU does. A view in between keeps the operations apart;
// the bits are the same.
func TestFusedGELU(t *testing.T) {
	const m, n, k = 230, 200, 70 // several blocks of rows and tasks
	for name, read := range map[string]func(tape *Tape, y, w, v *Tensor) *Tensor{
		"one":   func(tape *Tape, y, w, _ *Tensor) *Tensor { return Linear(tape, y, w, nil) },
		"two":   func(tape *Tape, y, w, v *Tensor) *Tensor { return LinearAdd(tape, y, w, nil, Linear(tape, y, v, nil)) },
		"twice": func(tape *Tape, y, w, _ *Tensor) *Tensor { return LinearAdd(tape, y, w, nil, y) },
	} {
		t.Run(name, func(t *testing.T) {
			testkit.EachLevel(t, func(t *testing.T) {
				run := func(apart bool) [][]float32 {
					tape := NewTape(nil)
					in := []*Tensor{param("x", m, k), param("w1", n, k), param("b1", n), param("w2", n, n), param("w3", n, n)}
					y := LinearGELU(tape, in[0], in[1], in[2])
					if apart {
						y = View(tape, y, m, n)
					}
					tape.Backward(project(tape, read(tape, y, in[3], in[4]), ones(m*n)))
					var grads [][]float32
					for _, x := range in {
						grads = append(grads, x.Grad)
					}
					return grads
				}
				got, want := run(false), run(true)
				for i := range want {
					testkit.SameBits(t, fmt.Sprintf("gradient %d", i), got[i], want[i])
				}
			})
		})
	}
}

// TestAbandoned: a step that is not gone back over, or is given up on the way, leaves nothing
// behind.
func TestAbandoned(t *testing.T) {
	tape := NewTape(nil)
	c := graphCases()[2]
	x := c.leaves(all)
	y := c.lib(tape, x)
	tape.Grad(y)
	tape.Reset()
	if y.Grad != nil {
		t.Error("Reset leaves a gradient")
	}
	buffers := len(tape.buffers.free)
	want := c.leaves(all)
	c.step(NewTape(nil), want, false)
	c.step(tape, x, false)
	for i := range x {
		testkit.SameBits(t, fmt.Sprintf("gradient %d", i), x[i].Grad, want[i].Grad)
	}
	if buffers == 0 {
		t.Error("the gradient's memory was not taken back")
	}
}

// TestReset: results are gone after Reset, and what the next step gets as undefined is not a
// number.
func TestReset(t *testing.T) {
	for _, tape := range []*Tape{NewTape(nil), NewInference(nil)} {
		t.Run(fmt.Sprintf("recording=%v", tape.recording), func(t *testing.T) {
			y := Linear(tape, param("x", 5, 6), param("w", 7, 6), nil)
			data := y.Data
			if !finite(data) {
				t.Fatal("result is not finite")
			}
			tape.Reset()
			if !allNaN(data) {
				t.Errorf("Reset leaves %v", data)
			}
			if z := tape.New(5, 7); !allNaN(z.Data) {
				t.Errorf("New returns %v", z.Data)
			}
			tape.Reset()
			if got := tape.FirstBad(); got != "" {
				t.Error(got)
			}
		})
	}
	restore := poison.Off()
	tape := NewTape(nil)
	y := tape.New(1)
	y.Data[0] = 3
	tape.Reset()
	if y.Data[0] != 3 {
		t.Error("memory filled though that was switched off")
	}
	restore()
	if !poison.On {
		t.Error("restore does not restore")
	}
}

func TestDone(t *testing.T) {
	tape := NewInference(nil)
	x, w := param("x", 40, 30), param("w", 30, 30)
	a := Linear(tape, x, w, nil)
	data := a.Data
	want := slices.Clone(data)
	tape.Done(a)
	if a.Data != nil || !allNaN(data) {
		t.Error("Done leaves the values")
	}
	tape.Done(a) // twice is fine
	b := Linear(tape, x, w, nil)
	if &b.Data[0] != &data[0] {
		t.Error("memory is not used again")
	}
	testkit.SameBits(t, "from memory used again", b.Data, want)

	// Leaves, views and other tapes' results are not the tape's to take.
	v := View(tape, b, 30, 40)
	other := NewInference(nil)
	for _, y := range []*Tensor{x, v} {
		tape.Done(y)
	}
	other.Done(b)
	if x.Data == nil || v.Data == nil || b.Data == nil || !finite(x.Data) || !finite(b.Data) {
		t.Error("Done takes what it did not give")
	}

	if b.needsGrad() {
		t.Error("a result that is not recorded wants a gradient")
	}

	// However deep a network is, its activations need the memory of two.
	for range 50 {
		h := LinearGELU(tape, b, w, nil)
		tape.Done(b)
		b = h
	}
	tape.Reset()
	if got := len(tape.buffers.free); got > 3 { // two and a packed weight
		t.Errorf("%d buffers for 50 layers, want at most 3", got)
	}

	// What is done with first and what is left to Reset both come back.
	ys := []*Tensor{tape.New(1), tape.New(2), tape.New(3)}
	tape.Done(ys[0])
	rest := [][]float32{ys[1].Data, ys[2].Data}
	tape.Reset()
	if !allNaN(rest[0]) || !allNaN(rest[1]) || ys[1].Data != nil || ys[2].Data != nil {
		t.Error("Reset leaves what was not Done")
	}

	// The backward pass needs everything.
	tape = NewTape(nil)
	a = Linear(tape, x, w, nil)
	tape.Done(a)
	testkit.SameBits(t, "while recording", a.Data, want)
}

// TestFrozenShared: many goroutines, each with its own tape, use one frozen weight for the first
// time at once, and others that are not frozen.
func TestFrozenShared(t *testing.T) {
	testkit.EachLevel(t, func(t *testing.T) {
		p := pools(t, 3)[0]
		x, w, b, w2 := param("x", 9, 70), param("w", 90, 70), param("b", 90), param("w2", 5, 90)
		run := func(t *Tape) []float32 { return Linear(t, LinearGELU(t, x, w, b), w2, nil).Data }
		want := run(NewTape(nil))
		w.Freeze()
		b.Freeze()
		if w.Grad != nil || w.needsGrad() {
			t.Error("a frozen weight wants a gradient")
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				tape := NewInference(p)
				for range 5 {
					testkit.SameBits(t, fmt.Sprintf("goroutine %d", i), run(tape), want)
					tape.Reset()
				}
			}()
		}
		wg.Wait()
		packed := w.packed.panels
		Linear(NewInference(nil), x, w, b)
		if len(packed) == 0 || &w.packed.panels[0] != &packed[0] {
			t.Error("a frozen weight is packed more than once")
		}
	})
}

// TestPack: a packed weight gives the same bits without its values, and a tape that records refuses
// it.
func TestPack(t *testing.T) {
	testkit.EachLevel(t, func(t *testing.T) {
		x, w, b := param("x", 9, 70), param("w", 90, 7, 10), param("b", 90)
		want := Linear(NewTape(nil), x, w, b).Data
		w.Pack(NewInference(nil))
		if w.Data != nil || w.Grad != nil {
			t.Error("a packed weight keeps its values")
		}
		testkit.SameBits(t, "packed", Linear(NewInference(nil), x, w, b).Data, want)
		defer func() {
			if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "packed weight") {
				t.Errorf("recording: panic %v", r)
			}
		}()
		Linear(NewTape(nil), x, w, b)
	})
}

func TestFirstBad(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	x := func() *Tensor { return From(ones(6), 2, 3) }
	w := func(name string, bad float32, shape ...int) *Tensor {
		p := param(name, shape...)
		p.Data[len(p.Data)-1] = bad
		return p
	}
	for _, c := range []struct {
		want string
		f    func(t *Tape)
	}{
		{"", func(t *Tape) { LinearGELU(t, x(), w("fc1.weight", 1, 3, 3), nil) }},
		{"result of linear with fc1.weight, shape [2 2], element 1 is +Inf", func(t *Tape) {
			h := Linear(t, x(), w("fc1.weight", inf, 2, 3), nil)
			Linear(t, h, w("fc2.weight", nan, 2, 2), nil) // not the first
		}},
		{"result of linear with fc1.weight, shape [2 2], element 1 is -Inf", func(t *Tape) {
			LinearAdd(t, x(), w("fc1.weight", -inf, 2, 3), nil, From(ones(4), 2, 2))
		}},
		{"result of linear and GELU with of.the.bias, shape [2 2], element 1 is NaN", func(t *Tape) {
			LinearGELU(t, x(), w("", 1, 2, 3), w("of.the.bias", nan, 2))
		}},
		{"result of layer norm with norm1.weight, shape [2 3], element 2 is NaN", func(t *Tape) {
			LayerNorm(t, x(), w("norm1.weight", 1, 3), w("norm1.bias", nan, 3), 1e-6)
		}},
		{"result of attention, shape [1 2 2], element 1 is NaN", func(t *Tape) {
			Attention(t, From(append(make([]float32, 11), nan), 1, 2, 6), 1)
		}},
		{"result of cross-attention, shape [1 2 1], element 0 is NaN", func(t *Tape) {
			CrossAttention(t, From([]float32{nan, nan}, 1, 2, 1), From(ones(4), 1, 2, 2), 1)
		}},
		{"result of gather with mask_token, shape [1 3], element 2 is +Inf", func(t *Tape) {
			GatherSum(t, []int{1, 3}, Source{w("mask_token", inf, 3), []int32{0}})
		}},
		{"result of residual, shape [2 3], element 5 is NaN", func(t *Tape) {
			AddScaled(t, x(), w("", nan, 2, 3), []float32{0, 1})
		}},
		// A dropped branch has no say, whatever is in it.
		{"", func(t *Tape) { AddScaled(t, x(), w("", nan, 2, 3), []float32{1, 0}) }},
		{"result of regression loss, shape [1], element 0 is NaN", func(t *Tape) {
			RegressionLoss(t, w("", nan, 2, 3), make([]float32, 6), ones(2), L2)
		}},
		{"", func(t *Tape) { RegressionLoss(t, w("", nan, 2, 3), make([]float32, 6), []float32{1, 0}, L1) }},
		{"result of cross-entropy, shape [1], element 0 is NaN", func(t *Tape) {
			CrossEntropy(t, w("", nan, 2, 3), 3, make([]int32, 2), ones(2), 0)
		}},
		{"result of sum, shape [1], element 0 is NaN", func(t *Tape) { Sum(t, w("", nan, 1), w("", 1, 1)) }},
	} {
		for _, tape := range []*Tape{NewTape(nil), NewInference(nil)} {
			t.Run(fmt.Sprintf("%s/recording=%v", c.want, tape.recording), func(t *testing.T) {
				c.f(tape)
				if got := tape.FirstBad(); got != c.want {
					t.Errorf("%q, want %q", got, c.want)
				}
				tape.Reset()
				if got := tape.FirstBad(); got != "" {
					t.Errorf("after Reset: %q", got)
				}
			})
		}
	}
	// Released memory is no result, under no name.
	tape := NewInference(nil)
	h := Linear(tape, x(), w("w", 1, 3, 3), nil)
	View(tape, h, 6)
	tape.Done(h)
	if got := tape.FirstBad(); got != "" {
		t.Error(got)
	}
}

// TestNotANumberLeftOut: what has the weight 0 reaches no gradient either.
func TestNotANumberLeftOut(t *testing.T) {
	tape := NewTape(nil)
	bad := param("bad", 2, 3)
	bad.Data[4] = float32(math.NaN())
	for _, row := range []int{0, 1} {
		rows := []float32{0, 0}
		rows[row] = 1
		clear(bad.Grad)
		tape.Reset()
		tape.Backward(RegressionLoss(tape, bad, make([]float32, 6), rows, L1))
		if finite(bad.Grad) != (row == 0) {
			t.Errorf("row %d counts: gradient %v", row, bad.Grad)
		}
	}
}

func TestFirstNotFinite(t *testing.T) {
	testkit.EachLevel(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 17, 4096, 4097, 10000} {
			x := make([]float32, n)
			for i := range x {
				x[i] = math.MaxFloat32 // squares overflow float32
			}
			if got := FirstNotFinite(x); got != -1 {
				t.Errorf("%d large numbers: %d", n, got)
			}
			if n == 0 {
				continue
			}
			for _, i := range []int{n - 1, n / 2, 0} { // what follows stays bad
				for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
					x[i] = float32(bad)
					if got := FirstNotFinite(x); got != i {
						t.Errorf("%v at %d of %d: %d", bad, i, n, got)
					}
				}
			}
		}
	})
}

func TestTensor(t *testing.T) {
	x := New(2, 3, 4)
	if x.Rows() != 6 || x.Cols() != 4 || len(x.Data) != 24 || x.Grad != nil {
		t.Errorf("New: %d rows, %d columns, %d values", x.Rows(), x.Cols(), len(x.Data))
	}
	if y := New(5, 0); y.Rows() != 5 || y.Cols() != 0 {
		t.Errorf("without columns: %d rows, %d columns", y.Rows(), y.Cols())
	}
	if y := New(0, 5); y.Rows() != 0 || y.Cols() != 5 {
		t.Errorf("without rows: %d rows, %d columns", y.Rows(), y.Cols())
	}
	shape, data := []int{2, 2}, ones(4)
	y := From(data, shape...)
	shape[0] = 7
	if &y.Data[0] != &data[0] || y.Shape[0] != 2 {
		t.Error("From copies its data or keeps its shape")
	}
	g := x.WithGrad().Grad
	g[0] = 1
	if x.WithGrad() != x || x.Grad[0] != 1 || len(g) != 24 {
		t.Error("WithGrad replaces a gradient")
	}
}

func TestPanics(t *testing.T) {
	tape := NewTape(nil)
	x, w, b := New(2, 3), New(4, 3), New(4)
	for _, c := range []struct {
		want string
		f    func()
	}{
		{"tensor: shape, got [2 -1], want no negative axis", func() { New(2, -1) }},
		{"tensor: From len(data), got 5, want 6", func() { From(make([]float32, 5), 2, 3) }},
		{"tensor: View size, got 8, want 6", func() { View(tape, x, 2, 4) }},
		{"tensor: Linear size of the weight, got 12, want 8", func() { Linear(tape, New(5, 2), w, nil) }},
		{"tensor: Linear len(bias), got 4, want 3", func() { Linear(tape, x, New(3, 3), b) }},
		{"tensor: Linear len(bias), got 4, want 3", func() { LinearGELU(tape, x, New(3, 3), b) }},
		{"tensor: shape of LinearAdd residual, got [4], want [2 4]", func() { LinearAdd(tape, x, w, b, b) }},
		{"tensor: shape of LayerNorm weight, got [4], want [3]", func() { LayerNorm(tape, x, b, New(3), 0) }},
		{"tensor: shape of LayerNorm bias, got [4], want [3]", func() { LayerNorm(tape, x, New(3), b, 0) }},
		{"tensor: Attention columns of qkv, got 8, want 6", func() { Attention(tape, New(1, 2, 8), 1) }},
		{"tensor: Attention axes, got 2, want 3", func() { Attention(tape, x, 1) }},
		{"tensor: Attention channels modulo heads, got 1, want 0", func() { Attention(tape, New(1, 2, 9), 2) }},
		{"tensor: Attention heads, got 0, want at least 1", func() { Attention(tape, New(1, 2, 9), 0) }},
		{"tensor: Attention heads, got -1, want at least 1", func() { Attention(tape, New(1, 2, 9), -1) }},
		{"tensor: CrossAttention columns of kv, got 4, want 6", func() { CrossAttention(tape, New(1, 2, 3), New(1, 2, 4), 1) }},
		{"tensor: CrossAttention sequences of kv, got 2, want 1", func() { CrossAttention(tape, New(1, 2, 3), New(2, 2, 6), 1) }},
		{"tensor: Attention axes, got 2, want 3", func() { CrossAttention(tape, New(1, 3), New(1, 2, 6), 1) }},
		{"tensor: GatherSum columns of a table, got 3, want 2", func() { GatherSum(tape, []int{1, 2}, Source{x, []int32{0}}) }},
		{"tensor: GatherSum rows picked, got 1, want 2", func() { GatherSum(tape, []int{2, 3}, Source{x, []int32{0}}) }},
		{"tensor: GatherSum row, got 2, want below 2", func() { GatherSum(tape, []int{2, 3}, Source{x, []int32{1, 2}}) }},
		{"tensor: shape of AddScaled branch, got [4 3], want [2 3]", func() { AddScaled(tape, x, w, ones(2)) }},
		{"tensor: AddScaled scales, got 3, want 2", func() { AddScaled(tape, x, x, ones(3)) }},
		{"tensor: Backward size of the loss, got 6, want 1", func() { tape.Backward(x) }},
		{"tensor: Backward, got a tape that records nothing, want one of NewTape", func() { NewInference(nil).Backward(New(1)) }},
		{"tensor: RegressionLoss len(target), got 5, want 6", func() { RegressionLoss(tape, x, make([]float32, 5), ones(2), L2) }},
		{"tensor: RegressionLoss len(weights), got 3, want 2", func() { RegressionLoss(tape, x, make([]float32, 6), ones(3), L2) }},
		{"tensor: CrossEntropy columns, got 3, want 2", func() { CrossEntropy(tape, x, 2, make([]int32, 2), ones(2), 0) }},
		{"tensor: CrossEntropy len(targets), got 3, want 2", func() { CrossEntropy(tape, x, 3, make([]int32, 3), ones(2), 0) }},
		{"tensor: CrossEntropy len(weights), got 3, want 2", func() { CrossEntropy(tape, x, 3, make([]int32, 2), ones(3), 0) }},
		{"tensor: CrossEntropy classes, got 0, want at least 1", func() { CrossEntropy(tape, x, 0, nil, nil, 0) }},
		{"tensor: Sum size of a term, got 6, want 1", func() { Sum(tape, New(1), x) }},
	} {
		t.Run(c.want, func(t *testing.T) { testkit.MustPanic(t, c.want, c.f) })
	}
}

// TestZeroGrad: a gradient starts anew in the next backward pass, whether it reaches the tensor,
// hands its own buffer over to it, or does neither.
func TestZeroGrad(t *testing.T) {
	tape := NewTape(nil)
	reached, passed, other := New(1, 2).WithGrad(), New(1, 2).WithGrad(), New(3).WithGrad()
	w := From([]float32{2, 3}, 1, 2)
	for range 2 {
		for _, x := range []*Tensor{reached, passed, other} {
			for i := range x.Grad {
				x.Grad[i] = 7
			}
			tape.ZeroGrad(x)
		}
		y := AddScaled(tape, passed, reached, []float32{5})
		tape.Backward(Linear(tape, y, w, nil))
		tape.Reset()
		for x, want := range map[*Tensor][]float32{reached: {10, 15}, passed: {2, 3}, other: {0, 0, 0}} {
			if !slices.Equal(x.Grad, want) {
				t.Errorf("gradient %v, want %v", x.Grad, want)
			}
		}
	}
}

// TestGradSumSq: what Linear summed counts until something else writes the gradient.
func TestGradSumSq(t *testing.T) {
	tape := NewTape(pools(t, 2)[0])
	w := param("w", 40, 30)
	check := func(what string) {
		t.Helper()
		if got, want := tape.GradSumSq(w), sumSquares(w.Grad); !(math.Abs(got-want) <= 1e-13*want) {
			t.Errorf("%s: sum of squares %v, want %v", what, got, want)
		}
		tape.Reset()
	}
	back := func(y *Tensor) { tape.Backward(project(tape, y, ones(len(y.Data)))) }
	check("no gradient yet")
	back(Linear(tape, param("x", 50, 30), w, nil))
	check("Linear")
	y := Linear(tape, param("x", 50, 30), w, nil)
	back(Linear(tape, y, param("v", 2, 40), nil))
	check("added to")
	back(AddScaled(tape, w, w, ones(40)))
	check("another operation")
	for _, rows := range []int{3, 0} {
		tape.ZeroGrad(w)
		back(Linear(tape, param("x", rows, 30), w, nil))
		check(fmt.Sprint(rows, " rows"))
	}
	back(Linear(tape, param("x", 5, 30), w, nil))
	tape.Reset()
	tape.ZeroGrad(w)
	back(Linear(tape, param("x", 5, 3), param("other", 4, 3), nil))
	check("not reached")
	back(Linear(tape, param("x", 5, 30), w, nil))
	w.Freeze()
	check("frozen")
}

// TestUntil: when a context ends operations leave the function, complete nothing, and leave nothing
// wrong behind in a frozen weight.
func TestUntil(t *testing.T) {
	x, w := From(normal(seeded("x"), 50*70), 1, 50, 70), From(normal(seeded("w"), 210*70), 210, 70)
	run := func(tape *Tape) []float32 {
		tape.Reset()
		return slices.Clone(Attention(tape, Linear(tape, x, w, nil), 2).Data)
	}
	for _, p := range append(pools(t, 2), nil) {
		t.Run(fmt.Sprintf("workers=%d", p.Workers()), func(t *testing.T) {
			want := run(NewInference(p))
			w := From(w.Data, w.Shape...)
			w.Freeze()
			tape := NewInference(nil)
			tape.WorkOn(p)
			ctx, cancel := context.WithCancel(context.Background())
			end := func() {
				cancel()
				for !tape.stopping() {
					runtime.Gosched() // another goroutine sets the flag
				}
			}
			// In the middle of a loop.
			calls := atomic.Int64{}
			err := tape.Until(ctx, func() error {
				testkit.SameBits(t, "before", run(tape), want)
				tape.Parallel(100, func(_, i int) {
					if calls.Add(1) >= 3 {
						end()
					}
				})
				t.Error("a loop that was cut short returns")
				return nil
			})
			if n := int(calls.Load()); err != context.Canceled || n < 3 || n >= 3+p.Workers() {
				t.Errorf("error %v after %d calls", err, n)
			}
			// An ended context calls nothing.
			if err := tape.Until(ctx, func() error { t.Error("called"); return nil }); err != context.Canceled {
				t.Errorf("error %v", err)
			}
			// Before an operation, and while a weight is packed.
			for _, op := range []func(){
				func() { tape.New(3) },
				func() { linear(tape, make([]float32, 50*210), x, w, nil, epilogue{}) },
			} {
				ctx, cancel = context.WithCancel(context.Background())
				if err := tape.Until(ctx, func() error {
					end()
					op()
					t.Error("an operation after the end returns")
					return nil
				}); err != context.Canceled {
					t.Errorf("error %v", err)
				}
			}
			tape.Reset()
			testkit.SameBits(t, "by the weight that was packed meanwhile", Linear(tape, x, w, nil).Data, Linear(NewInference(p), x, From(w.Data, w.Shape...), nil).Data)
			testkit.SameBits(t, "after", run(tape), want)

			// Errors and panics of the function are its own; what ends after it, or never, changes
			// nothing.
			own := errors.New("own")
			next, cancel := context.WithCancel(context.Background())
			for _, ctx := range []context.Context{next, context.Background()} {
				if err := tape.Until(ctx, func() error { return own }); err != own {
					t.Errorf("error %v, want the function's", err)
				}
				testkit.MustPanic(t, "mine", func() { tape.Until(ctx, func() error { panic("mine") }) })
				if err := tape.Until(ctx, func() error { testkit.SameBits(t, "under the next context", run(tape), want); return nil }); err != nil {
					t.Error(err)
				}
			}
			cancel()
			testkit.SameBits(t, "outside", run(tape), want)
		})
	}
}

// TestWorkOn: a tape keeps its memory from pool to pool.
func TestWorkOn(t *testing.T) {
	ps := pools(t, 3, 1)
	tape := NewTape(nil)
	for _, p := range []*Pool{ps[0], nil, ps[1], ps[0]} {
		tape.WorkOn(p)
		if tape.Workers() != p.Workers() {
			t.Errorf("%d workers, want %d", tape.Workers(), p.Workers())
		}
		for w := range p.Workers() {
			first := &tape.Scratch(w, 8)[0]
			if first != &tape.Scratch(w, 4)[0] {
				t.Errorf("worker %d has no scratch of its own", w)
			}
		}
	}
}
