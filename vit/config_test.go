package vit

import (
	"math"
	"strings"
	"testing"
)

func TestConfigCheck(t *testing.T) {
	for _, c := range []Config{Tiny, Small, Base, Large, {Dim: 1, Heads: 1, MLPRatio: 1, LayerNormEps: 1}} {
		if err := c.Check(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		set func(*Config)
		key string
	}{
		{func(c *Config) { c.Dim = 0 }, "dim: got 0, want 1..65536"},
		{func(c *Config) { c.Dim = 1<<16 + 12 }, "dim: got 65548"},
		{func(c *Config) { c.Depth = -1 }, "depth: got -1"},
		{func(c *Config) { c.Depth = 1025 }, "depth: got 1025"},
		{func(c *Config) { c.Heads = 0 }, "heads: got 0, want a divisor of dim 192"},
		{func(c *Config) { c.Heads = -3 }, "heads: got -3"},
		{func(c *Config) { c.Heads = 5 }, "heads: got 5"},
		{func(c *Config) { c.MLPRatio = 0 }, "mlp_ratio: got 0"},
		{func(c *Config) { c.MLPRatio = 65 }, "mlp_ratio: got 65"},
		{func(c *Config) { c.LayerNormEps = 0 }, "layer_norm_eps: got 0"},
		{func(c *Config) { c.LayerNormEps = float32(nan) }, "layer_norm_eps: got NaN"},
		{func(c *Config) { c.LayerNormEps = float32(inf) }, "layer_norm_eps: got +Inf"},
		{func(c *Config) { c.DropPath = -0.1 }, "drop_path: got -0.1"},
		{func(c *Config) { c.DropPath = 1 }, "drop_path: got 1"},
		{func(c *Config) { c.DropPath = nan }, "drop_path: got NaN"},
	} {
		bad := Tiny
		c.set(&bad)
		if err := bad.Check(); err == nil || !strings.HasPrefix(err.Error(), c.key) {
			t.Errorf("%+v: error %v, want %q", bad, err, c.key)
		}
	}
}
