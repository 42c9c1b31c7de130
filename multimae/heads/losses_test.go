package heads

import (
	"fmt"
	"math"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// lossOf returns the loss of the only output of a model and leaves the gradient in pred.
func lossOf(t *testing.T, c *Config, pred *tensor.Tensor, targets *Targets) float64 {
	t.Helper()
	m, err := NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	tape := tensor.NewTape(nil)
	losses, err := m.Losses(tape, []*tensor.Tensor{pred}, targets)
	if err != nil {
		t.Fatal(err)
	}
	if len(losses) != 1 || len(losses[0].Data) != 1 {
		t.Fatalf("losses %v", losses)
	}
	clear(pred.Grad)
	tape.Backward(losses[0])
	return float64(losses[0].Data[0])
}

// near wants equality up to rounding.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-6*max(1, math.Abs(want))) {
		t.Errorf("%s: got %.9g, want %.9g", what, got, want)
	}
}

// newPred is a prediction of normal numbers, with a gradient.
func newPred(shape ...int) *tensor.Tensor {
	x := tensor.New(shape...).WithGrad()
	r := nn.NewRNG(9)
	copy(x.Data, normal(&r, len(x.Data)))
	return x
}

// TestClassLoss counts pixels over the whole batch: one sample has one that counts, the other five.
// Smoothing gives a share of the truth to all five classes.
func TestClassLoss(t *testing.T) {
	c := oneOutput("parts") // 5 classes
	ids := []int32{255, 255, 4, 255, 5, 1 << 30, 0, 1, 2, 3, 255, 0}
	for smoothing, truth := range map[float64]struct{ own, other float64 }{0: {1, 0}, 0.2: {0.84, 0.04}} {
		c.Outputs[0].LabelSmoothing = smoothing
		pred := newPred(2, 2, 3, 5)
		got := lossOf(t, c, pred, &Targets{Classes: map[string][]int32{"parts": ids}})
		want, n := 0.0, 6.0
		grad := make([]float64, len(pred.Data))
		for r, id := range ids {
			if id >= 5 {
				continue
			}
			sum := 0.0
			for k := range 5 {
				sum += math.Exp(float64(pred.Data[r*5+k]))
			}
			for k := range 5 {
				target := truth.other
				if k == int(id) {
					target = truth.own
				}
				want += target * (math.Log(sum) - float64(pred.Data[r*5+k])) / n
				grad[r*5+k] = (math.Exp(float64(pred.Data[r*5+k]))/sum - target) / n
			}
		}
		near(t, fmt.Sprintf("loss with smoothing %g", smoothing), got, want)
		for i, w := range grad {
			near(t, fmt.Sprintf("gradient with smoothing %g", smoothing), float64(pred.Grad[i]), w)
		}
	}

	// A linear head has an id for each sample.
	pred := newPred(3, 3)
	got, want := lossOf(t, oneOutput("token"), pred, &Targets{Classes: map[string][]int32{"token": {2, 255, 0}}}), 0.0
	for _, p := range [][2]int{{0, 2}, {2, 0}} {
		sum := 0.0
		for k := range 3 {
			sum += math.Exp(float64(pred.Data[p[0]*3+k]))
		}
		want += (math.Log(sum) - float64(pred.Data[p[0]*3+p[1]])) / 2
	}
	near(t, "linear head", got, want)
}

// TestValueLoss has three channels, which targets hold one after the other, and NaN where pixels do
// not count.
func TestValueLoss(t *testing.T) {
	c := oneOutput("normals")
	const size, h, w, channels = 2, 2, 3, 3
	r := nn.NewRNG(5)
	for _, loss := range []string{LossL1, LossBerHu} {
		for _, masked := range []bool{false, true} {
			c.Outputs[0].Loss = loss
			pred := newPred(size, h, w, channels)
			values := normal(&r, len(pred.Data))
			targets := &Targets{Values: map[string][]float32{"normals": values}}
			valid := make([]bool, size*h*w)
			for i := range valid {
				valid[i] = true
			}
			if masked {
				for _, i := range []int{0, 2, 3, 4, 5, 8} { // of the first sample all but one
					valid[i] = false
					for k := range channels {
						values[(i/(h*w)*channels+k)*h*w+i%(h*w)] = float32(math.NaN())
					}
				}
				targets.Valid = map[string][]bool{"normals": valid}
			}
			got := lossOf(t, c, pred, targets)
			diff := func(i, k int) float64 {
				return float64(pred.Data[i*channels+k] - values[(i/(h*w)*channels+k)*h*w+i%(h*w)])
			}
			bound, n := 1e-5, 0.0
			for i, counts := range valid {
				if counts {
					n += channels
					for k := range channels {
						bound = max(bound, 0.2*math.Abs(diff(i, k)))
					}
				}
			}
			want := 0.0
			for i, counts := range valid {
				for k := range channels {
					if !counts {
						near(t, loss+": gradient of a pixel that does not count", float64(pred.Grad[i*channels+k]), 0)
						continue
					}
					e, g := math.Abs(diff(i, k)), 1.0
					if loss == LossBerHu && e > bound {
						e, g = (e*e+bound*bound)/(2*bound), e/bound
					}
					want += e / n
					near(t, loss+": gradient", float64(pred.Grad[i*channels+k]), math.Copysign(g/n, diff(i, k)))
				}
			}
			near(t, loss, got, want)
		}
	}
}

// TestNothingCounts has a batch in which no pixel counts: its loss is 0 without a gradient, and not
// NaN.
func TestNothingCounts(t *testing.T) {
	for _, name := range []string{"mean", "parts", "normals", "convdepth"} {
		c := oneOutput(name)
		o := &c.Outputs[0]
		pred := newPred(2, 2, 2, o.NumClasses)
		if o.Head == Linear {
			pred = newPred(8, o.NumClasses)
		}
		ids := make([]int32, 8)
		for i := range ids {
			ids[i] = 255
		}
		targets := &Targets{Classes: map[string][]int32{name: ids}, Values: map[string][]float32{name: make([]float32, len(pred.Data))},
			Valid: map[string][]bool{name: make([]bool, 8)}}
		if got := lossOf(t, c, pred, targets); got != 0 {
			t.Errorf("%s: loss %g", name, got)
		}
		for _, g := range pred.Grad {
			if g != 0 {
				t.Errorf("%s: gradient %v", name, pred.Grad)
				break
			}
		}
	}
}

// TestNoTarget checks that an output without a target has no loss, and that the others have theirs.
func TestNoTarget(t *testing.T) {
	m := newModel(t, smallConfig())
	b, targets := newBatch(m.Config, 2, 32, 32, "rgb", "semseg"), newTargets(m.Config, 2, 32, 32)
	tape := tensor.NewTape(nil)
	preds := forward(t, m, tape, b, nil)
	all, err := m.Losses(tape, preds, targets)
	if err != nil {
		t.Fatal(err)
	}
	delete(targets.Classes, "token")
	delete(targets.Values, "depth")
	some, err := m.Losses(tape, preds, targets)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range m.Config.Outputs {
		if absent := o.Name == "token" || o.Name == "depth"; absent != (some[i] == nil) || all[i] == nil {
			t.Errorf("%s: loss %v of all, %v of some", o.Name, all[i], some[i])
		} else if !absent {
			testkit.SameBits(t, o.Name, some[i].Data, all[i].Data)
		}
	}
	none, err := m.Losses(tape, preds, &Targets{})
	if err != nil || len(none) != len(preds) || none[0] != nil {
		t.Errorf("without targets: %v, %v", none, err)
	}
}

func TestLossErrors(t *testing.T) {
	m := newModel(t, smallConfig())
	b := newBatch(m.Config, 2, 32, 32, "rgb", "semseg")
	tape := tensor.NewTape(nil)
	preds := forward(t, m, tape, b, nil)
	for _, c := range []struct {
		set  func(x *Targets)
		want string
	}{
		{func(x *Targets) { x.Classes["token"] = []int32{0} }, "target of token: got 1 ids"},
		{func(x *Targets) { x.Classes["parts"] = x.Classes["parts"][1:] }, "target of parts: got 2047 ids"},
		{func(x *Targets) { x.Classes["parts"][7] = -1 }, "target of parts: id -1 at index 7"},
		{func(x *Targets) { x.Values["normals"] = nil }, "target of normals: got 0 values"},
		{func(x *Targets) { x.Valid["depth"] = x.Valid["depth"][1:] }, "target of depth: got 2047 valid pixels"},
	} {
		t.Run(c.want, func(t *testing.T) {
			targets := newTargets(m.Config, 2, 32, 32)
			c.set(targets)
			losses, err := m.Losses(tape, preds, targets)
			if testkit.ErrorNames(t, err, c.want); losses != nil {
				t.Error("losses and an error")
			}
		})
	}
	_, err := m.Losses(tape, preds[1:], &Targets{})
	testkit.ErrorNames(t, err, "losses: got 6 predictions")
}
