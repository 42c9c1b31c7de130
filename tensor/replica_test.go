package tensor

import (
	"fmt"
	"math"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

// TestPackForStep: a weight that is packed for a step gives the bits of one that is not, forward
// and back, to its replicas too, and after EndStep its new values count.
func TestPackForStep(t *testing.T) {
	testkit.EachLevel(t, func(t *testing.T) {
		x, w, b := param("x", 37, 70), param("w", 90, 7, 10), param("b", 90)
		pass := func(w *Tensor) (y, dx, dw []float32) {
			tape := NewTape(nil)
			w.Grad, x.Grad = make([]float32, len(w.Data)), make([]float32, len(x.Data))
			out := LinearGELU(tape, x, w, b)
			tape.Backward(RegressionLoss(tape, out, make([]float32, len(out.Data)), testkit.Normal("weights", 37), L2))
			return out.Data, x.Grad, w.Grad
		}
		same := func(what string, w, want *Tensor) {
			t.Helper()
			y, dx, dw := pass(w)
			wantY, wantDX, wantDW := pass(want)
			testkit.SameBits(t, what+", forward", y, wantY)
			testkit.SameBits(t, what+", gradient of the input", dx, wantDX)
			testkit.SameBits(t, what+", gradient of the weight", dw, wantDW)
		}
		plain := From(w.Data, w.Shape...)
		w.PackForStep(NewTape(nil))
		same("packed", w, plain)
		same("replica", w.Replica(), plain)
		w.EndStep()
		for i := range w.Data {
			w.Data[i] *= 2
		}
		same("after the step", w, plain)
		w.PackForStep(NewTape(nil))
		same("the next step", w, plain)
	})
}

// TestMoveGrad adds up gradients of replicas, of which some have none, in memory that is used again.
func TestMoveGrad(t *testing.T) {
	const m, n, k = 5, 7, 3 * span / 7
	x := testkit.Normal("x", m*k)
	// gradient goes forward and back through a weight.
	gradient := func(tape *Tape, w *Tensor, name string) {
		tape.Reset()
		y := Linear(tape, From(x, m, k), w, nil)
		tape.Backward(RegressionLoss(tape, y, testkit.Normal(name, m*n), testkit.Normal("weights", m), L2))
	}
	for _, c := range []struct {
		name string
		has  [3]bool // whether the leaf and its replicas have a gradient
	}{
		{"all", [3]bool{true, true, true}},
		{"replicas alone", [3]bool{false, true, true}},
		{"one", [3]bool{false, false, true}},
		{"the leaf alone", [3]bool{true, false, false}},
		{"none", [3]bool{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tape, own := NewTape(nil), NewTape(nil)
			w := From(testkit.Normal("w", n*k), n, k).WithGrad()
			want, sum, first := make([]float32, n*k), 0.0, true
			for i, has := range c.has {
				if !has {
					continue
				}
				alone := From(w.Data, n, k).WithGrad()
				gradient(NewTape(nil), alone, fmt.Sprint(i))
				for j, v := range alone.Grad {
					if first {
						want[j] = v
					} else {
						want[j] += v
					}
				}
				first = false
			}
			for _, v := range want {
				sum += float64(v) * float64(v)
			}
			tape.ZeroGrad(w)
			if c.has[0] {
				gradient(tape, w, "0")
			} else { // a pass that does not reach it
				tape.Backward(RegressionLoss(tape, From(x, m, k), x, testkit.Normal("weights", m), L2))
			}
			var memory *float32
			for i := 1; i < 3; i++ {
				r := w.Replica()
				r.LendGrad(w)
				if c.has[i] {
					gradient(own, r, fmt.Sprint(i))
					if !r.HasGrad() {
						t.Fatal("the replica has no gradient")
					}
					if memory != nil && memory != &r.Grad[0] {
						t.Error("the second gradient has memory of its own")
					}
					memory = &r.Grad[0]
				}
				own.MoveGrad(r, i == 2)
				if r.HasGrad() {
					t.Error("the gradient was not taken away")
				}
			}
			testkit.SameBits(t, "sum", w.Grad, want)
			if w.HasGrad() == first {
				t.Errorf("HasGrad is %v", w.HasGrad())
			}
			if got := tape.GradSumSq(w); math.Abs(got-sum) > 1e-6*sum {
				t.Errorf("sum of squares %g, want %g", got, sum)
			}
		})
	}
}

// TestOnTurn: a product adds the gradient of a replica where MoveGrad would add it, with the same
// bits, if it is the replica's turn and the product is all of its gradient, in one accumulator.
func TestOnTurn(t *testing.T) {
	const n, k = 40, 3 * span / 40
	for _, c := range []struct {
		name   string
		rows   int
		twice  bool // the weight is read twice
		turn   bool
		before bool // an earlier pass has left a gradient
		direct bool
	}{
		{"its turn", 5, false, true, false, true},
		{"the longest sum", 159, false, true, false, true},
		{"a sum in two parts", 160, false, true, false, false},
		{"two products", 5, true, true, false, false},
		{"another's turn", 5, false, false, false, false},
		{"a second pass", 5, false, true, true, false},
	} {
		testkit.EachLevel(t, func(t *testing.T) {
			gradient := func(tape *Tape, w *Tensor, name string) {
				tape.Reset()
				x := From(testkit.Normal("x"+name, c.rows*k), c.rows, k)
				y := Linear(tape, x, w, nil)
				if c.twice {
					y = Add(tape, y, Linear(tape, x, w, nil))
				}
				tape.Backward(RegressionLoss(tape, y, testkit.Normal(name, c.rows*n), testkit.Normal("weights", c.rows), L2))
			}
			var grads [2][]float32
			var sums [2]float64
			for i := range grads { // without turns and with them
				w := From(testkit.Normal("w", n*k), n, k).WithGrad()
				own := NewTape(nil)
				own.ZeroGrad(w)
				gradient(own, w, "0")
				for number := 1; number < 3; number++ {
					r, asked := w.Replica(), 0
					r.LendGrad(w)
					if c.before {
						gradient(own, r, "before")
					}
					own.OnComplete(func(*Tensor) {})
					if i == 1 {
						own.OnTurn(func(leaf *Tensor) bool {
							if asked++; leaf != r {
								t.Error("OnTurn asks for another tensor than the replica")
							}
							return c.turn
						})
					}
					gradient(own, r, fmt.Sprint(number))
					own.OnComplete(nil)
					own.OnTurn(nil)
					if direct := !r.HasGrad(); direct != (c.direct && i == 1) {
						t.Errorf("%s: added at once: %v", c.name, direct)
					}
					if want := i == 1 && (c.direct || !c.turn); (asked == 1) != want {
						t.Errorf("%s: asked %d times", c.name, asked)
					}
					own.MoveGrad(r, number == 2)
				}
				if len(w.fused.rowsSq) == 0 {
					t.Errorf("%s: no sums of squares", c.name)
				}
				grads[i], sums[i] = w.Grad, own.GradSumSq(w)
			}
			testkit.SameBits(t, c.name, grads[1], grads[0])
			if sums[0] != sums[1] {
				t.Errorf("%s: sums of squares %g and %g", c.name, sums[0], sums[1])
			}
		})
	}
}
