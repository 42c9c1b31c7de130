package heads

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

// TestInvalid wants the stored values without truth to reach the modality of the target, and outputs
// that cannot have them to be refused.
func TestInvalid(t *testing.T) {
	for _, o := range allOutputs() {
		t.Run(o.Name, func(t *testing.T) {
			c := oneOutput(o.Name)
			c.Outputs[0].Invalid = []float64{0, 7}
			err := c.Check()
			if refused := o.Head == Linear || o.Loss != LossCrossEntropy && o.NumClasses > 1; refused {
				if err == nil || !strings.Contains(err.Error(), "invalid: got [0 7]") {
					t.Errorf("head %s, loss %s, %d channels: %v", o.Head, o.Loss, o.NumClasses, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if in := c.TargetInputs(); len(in) != 1 || fmt.Sprint(in[0].Invalid) != "[0 7]" {
				t.Errorf("%+v", in)
			}
		})
	}
}

// TestUnit wants a unit for regressions of one channel only, which needs more than 8 bits.
func TestUnit(t *testing.T) {
	for _, o := range allOutputs() {
		t.Run(o.Name, func(t *testing.T) {
			c := oneOutput(o.Name)
			if c.TargetInputs()[0].HasUnit {
				t.Error("a unit that is not given")
			}
			c.Outputs[0].Unit = 0.001
			err := c.Check()
			if o.Loss == LossCrossEntropy || o.NumClasses > 1 {
				testkit.ErrorNames(t, err, "outputs."+o.Name+".unit: got 0.001")
			} else if in := c.TargetInputs(); err != nil || !in[0].HasUnit || !in[0].Needs16Bits() {
				t.Errorf("%v, %+v", err, in)
			}
		})
	}
}

// TestSharedTarget wants outputs with the same truth to read it alike.
func TestSharedTarget(t *testing.T) {
	for _, x := range []struct {
		name, output string
		change       func(o *Output)
		want         string // "" for no error
	}{
		{"alike", "convdepth", func(o *Output) { o.Loss = LossL1 }, ""},
		{"other units", "convdepth", func(o *Output) { o.Unit = 0.5 }, ""},
		{"no unit", "convdepth", func(o *Output) { o.Unit = 0 }, "unit"},
		{"values without truth", "convdepth", func(o *Output) { o.Invalid = nil }, "invalid"},
		{"channels", "convdepth", func(o *Output) { o.NumClasses, o.Unit, o.Invalid = 3, 0, nil }, "num_classes"},
		{"classes", "convdepth", func(o *Output) { o.Loss, o.Unit = LossCrossEntropy, 0 }, "loss"},
		{"classes of maps", "parts", func(o *Output) { o.NumClasses = 4 }, "num_classes"},
		{"ids to ignore", "parts", func(o *Output) { o.Invalid = []float64{1} }, "invalid"},
		{"classes of images", "token", func(o *Output) { o.NumClasses = 5 }, ""},
		{"map and image", "mean", func(o *Output) { *o = oneOutput("parts").Outputs[0] }, "head"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := oneOutput(x.output)
			if o := &c.Outputs[0]; o.Loss != LossCrossEntropy {
				o.Unit, o.Invalid = 0.001, []float64{0}
			}
			other := c.Outputs[0]
			x.change(&other)
			c.Outputs[0].Target, other.Name, other.Target = "truth", "other", "truth"
			c.Outputs = append(c.Outputs, other)
			if err := c.Check(); x.want != "" {
				testkit.ErrorNames(t, err, "outputs."+x.output+".target", `"truth"`, "output other", x.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
