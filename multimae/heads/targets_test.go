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
