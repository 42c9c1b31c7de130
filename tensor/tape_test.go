package tensor

import (
	"fmt"
	"math"
	"strings"
	"sync"
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

func ones(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	return x
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
		packed := w.packed.forward
		Linear(NewInference(nil), x, w, b)
		if len(packed) == 0 || &w.packed.forward[0] != &packed[0] {
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
	s := tape.Scope()
	View(tape, Linear(tape, x(), w("w", 1, 3, 3), nil), 6)
	s.Keep(nil)
	if got := tape.FirstBad(); got != "" {
		t.Error(got)
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
