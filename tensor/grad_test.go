package tensor

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

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

// TestHasGrad: a leaf has a gradient once an operation has added to it, be it only zeros.
func TestHasGrad(t *testing.T) {
	tape := NewTape(nil)
	reached, zeros, unreached := param("reached", 4, 3), param("zeros", 4, 3), param("unreached", 4, 3)
	leaves := []*Tensor{reached, zeros, unreached}
	for range 2 {
		for _, x := range leaves {
			tape.ZeroGrad(x)
			if x.HasGrad() {
				t.Errorf("%s has a gradient after ZeroGrad", x.Name)
			}
		}
		y := Linear(tape, param("x", 2, 3), reached, nil)
		none := Linear(tape, New(0, 3), zeros, nil) // a modality of which no patch is visible
		Linear(tape, New(2, 3), unreached, nil)
		tape.Backward(project(tape, GatherSum(tape, []int{2, 4}, Source{y, []int32{0, 1}}, Source{none, []int32{-1, -1}}), ones(8)))
		tape.Reset()
		if !reached.HasGrad() || !zeros.HasGrad() || unreached.HasGrad() {
			t.Errorf("reached %v, with zeros %v, not reached %v", reached.HasGrad(), zeros.HasGrad(), unreached.HasGrad())
		}
		for _, x := range leaves {
			if allZero := !slices.ContainsFunc(x.Grad, func(v float32) bool { return v != 0 }); allZero == (x == reached) {
				t.Errorf("gradient of %s is %v", x.Name, x.Grad)
			}
		}
	}
	if x := New(2); x.HasGrad() || !x.WithGrad().HasGrad() {
		t.Error("want none without memory for it, and one of zeros with")
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
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
