package multimae

import (
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// TestSteadyStep checks that a training step, once its memory is there, allocates nothing that
// grows with the batch or the image. Masks vary, and with them the tokens of each modality.
func TestSteadyStep(t *testing.T) {
	c := smallConfig()
	perStep := func(pool *tensor.Pool, size, pixels, visible int) uint64 {
		m := newModel(t, c)
		b := newBatch(c, size, pixels, pixels, 1, c.Inputs.Names()...)
		n := pixels / c.PatchSize
		tape := tensor.NewTape(pool)
		opt := nn.NewAdamW(0.9, 0.95, 1e-8, m.Params)
		var masks Masks
		one := func(seed uint64) {
			rng := nn.NewRNG(seed)
			if err := masks.draw(&rng, size, c.Inputs.Names(), n*n, MaskOptions{Visible: visible, Alphas: []float64{1}}, nil); err != nil {
				t.Fatal(err)
			}
			step(t, m, tape, b, &masks)
			opt.Step(tape, 1e-3, 0.05, 1)
		}
		for seed := range uint64(40) {
			one(seed)
		}
		// Of the runtime's own allocations, a few KB between some steps, the least of three steps
		// with the same masks has none.
		most := uint64(0)
		for seed := range uint64(10) {
			least := testkit.Allocated(func() { one(seed) })
			for range 2 {
				least = min(least, testkit.Allocated(func() { one(seed) }))
			}
			most = max(most, least)
		}
		return most
	}
	ps := pools(t)
	if testing.Short() {
		ps = ps[:1]
	}
	for _, pool := range ps {
		small, large := perStep(pool, 2, 16, 5), perStep(pool, 8, 32, 20)
		t.Logf("%d workers: %d and %d bytes a step", pool.Workers(), small, large)
		// A sample alone has activations of some 100 KB. Drawing masks takes memory for the tokens
		// of one sample; more work is shared out among workers more often, at 64 bytes each time.
		limit := small + 1<<10
		if pool.Workers() > 1 {
			limit += 1 << 13
		}
		if large > limit {
			t.Errorf("%d workers: a step allocates %d bytes, of more data %d", pool.Workers(), small, large)
		}
	}
}
