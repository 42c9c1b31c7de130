package tensor

import (
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

// TestSumGrads adds up gradients of replicas, of which some have none.
func TestSumGrads(t *testing.T) {
	const n = 3*sumSpan + 5
	values := func(name string) []float32 { return testkit.Normal(name, n) }
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
			tape := NewTape(nil)
			x := From(values("x"), n)
			leaves := []*Tensor{x, x.Replica(), x.Replica()}
			want, sum := make([]float32, n), 0.0
			first := true
			for k, l := range leaves {
				l.Grad = values(string(rune('a' + k)))
				l.fresh = !c.has[k]
				if !c.has[k] {
					continue
				}
				for i, v := range l.Grad {
					if first {
						want[i] = v
					} else {
						want[i] += v
					}
				}
				first = false
			}
			for _, v := range want {
				sum += float64(v) * float64(v)
			}
			tape.SumGrads(x, leaves[1:])
			testkit.SameBits(t, "sum", x.Grad, want)
			if x.HasGrad() == first {
				t.Errorf("HasGrad is %v", x.HasGrad())
			}
			if got := tape.GradSumSq(x); math.Abs(got-sum) > 1e-6*sum {
				t.Errorf("sum of squares %g, want %g", got, sum)
			}
		})
	}
	if x := From(values("x"), n); x.Grad == nil { // a constant
		NewTape(nil).SumGrads(x, []*Tensor{x.Replica()})
		if x.Grad != nil {
			t.Error("a constant has got a gradient")
		}
	}
}
