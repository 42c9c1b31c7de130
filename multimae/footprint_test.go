package multimae

import (
	"testing"
)

func TestParameterCount(t *testing.T) {
	for _, name := range PresetNames {
		t.Run(name, func(t *testing.T) {
			c, err := Preset(name, 133)
			if err != nil {
				t.Fatal(err)
			}
			m, err := NewModel(c)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, p := range m.Params.All() {
				n += len(p.Data)
			}
			if got := c.parameterCount(); got != float64(n) {
				t.Errorf("%.0f parameters, the model has %d", got, n)
			}
		})
	}
}
