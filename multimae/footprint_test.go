package multimae

import (
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

// TestParameterCount checks the formula of Footprint against the models.
func TestParameterCount(t *testing.T) {
	configs := map[string]*Config{"everything": smallConfig()}
	for _, name := range PresetNames {
		c, err := Preset(name, 133)
		if err != nil {
			t.Fatal(err)
		}
		configs[name] = c
	}
	for name, c := range configs {
		t.Run(name, func(t *testing.T) {
			if name == "large" && testing.Short() {
				t.Skip("takes gigabytes; run without -short")
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

// TestCheckMemory: what no machine can hold is refused under the key that makes it so, before
// memory is asked for.
func TestCheckMemory(t *testing.T) {
	for key, change := range map[string]func(c *Config){
		"encoder.dim":   func(c *Config) { c.Encoder.Dim, c.Encoder.Depth = 65536, 16 },
		"encoder.depth": func(c *Config) { c.Encoder.Dim, c.Encoder.Depth, c.Encoder.MLPRatio = 4096, 1024, 64 },
		"inputs.rgb.channels": func(c *Config) {
			c.Inputs[0].Channels, c.Outputs[0].Channels, c.Outputs[3].Channels, c.PatchSize, c.ImageSize, c.Encoder.Dim, c.Train.NumEncodedTokens = 16384, 16384, 16384, 1024, 1024, 1024, 1
		},
		"train.batch":     func(c *Config) { c.Train.Batch = 1 << 30 },
		"image_size":      func(c *Config) { c.ImageSize, c.Train.Batch = 16384, 1024 },
		"patch_size":      func(c *Config) { c.PatchSize, c.ImageSize, c.Train.Batch = 1, 1024, 256 },
		"position_grid":   func(c *Config) { c.PositionGrid = []int{1 << 14, 1 << 14} },
		"outputs.rgb.dim": func(c *Config) { c.Outputs[0].Dim, c.Outputs[0].Depth = 1<<15, 64 },
	} {
		t.Run(key, func(t *testing.T) {
			c, err := Preset("tiny", 16)
			if err != nil {
				t.Fatal(err)
			}
			change(c)
			testkit.ErrorNames(t, c.CheckMemory(2), key)
		})
	}
	t.Run("presets fit", func(t *testing.T) {
		for _, name := range []string{"tiny", "small"} {
			c, err := Preset(name, 133)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.CheckMemory(2); err != nil {
				t.Error(err)
			}
		}
	})
}
