package vit

import (
	"math"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

func TestConfigCheck(t *testing.T) {
	for _, c := range []Config{Ti, Small, Base, Large, {Dim: 1, Heads: 1, MLPRatio: 1, LayerNormEps: 1}} {
		if err := c.Check(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		set func(*Config)
		key string
	}{
		{func(c *Config) { c.Dim = 0 }, "dim"},
		{func(c *Config) { c.Dim = 1<<16 + 12 }, "dim"},
		{func(c *Config) { c.Depth = -1 }, "depth"},
		{func(c *Config) { c.Depth = 1025 }, "depth"},
		{func(c *Config) { c.Heads = 0 }, "heads"},
		{func(c *Config) { c.Heads = -3 }, "heads"},
		{func(c *Config) { c.Heads = 5 }, "heads"},
		{func(c *Config) { c.MLPRatio = 0 }, "mlp_ratio"},
		{func(c *Config) { c.MLPRatio = 65 }, "mlp_ratio"},
		{func(c *Config) { c.LayerNormEps = 0 }, "layer_norm_eps"},
		{func(c *Config) { c.LayerNormEps = float32(nan) }, "layer_norm_eps"},
		{func(c *Config) { c.LayerNormEps = float32(inf) }, "layer_norm_eps"},
		{func(c *Config) { c.DropPath = -0.1 }, "drop_path"},
		{func(c *Config) { c.DropPath = 1 }, "drop_path"},
		{func(c *Config) { c.DropPath = nan }, "drop_path"},
	} {
		t.Run(c.key, func(t *testing.T) {
			bad := Ti
			c.set(&bad)
			testkit.ErrorNames(t, bad.Check(), c.key+": ")
		})
	}
}
