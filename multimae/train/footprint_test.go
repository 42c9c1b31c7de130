package train

import (
	"runtime"
	"testing"

	"github.com/gomae/gomae/internal/poison"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
)

// TestFootprint trains presets for a few steps and compares the memory in use with the estimate, of
// which it may be off by 15 %.
func TestFootprint(t *testing.T) {
	if testing.Short() {
		t.Skip("takes gigabytes, and minutes without assembly; run without -short")
	}
	defer poison.Off()()
	for _, c := range []struct {
		name     string
		preset   string
		batch    int // 0 is that of the preset
		dropPath float64
	}{
		{"tiny", "tiny", 0, 0},
		{"tiny with drop-path", "tiny", 64, 0.1},
		{"small", "small", 4, 0},
		{"base", "base", 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := multimae.Preset(c.preset, 133)
			if err != nil {
				t.Fatal(err)
			}
			if config.Encoder.DropPath = c.dropPath; c.batch > 0 {
				config.Train.Batch = c.batch
			}
			used := func() float64 {
				var s runtime.MemStats
				runtime.GC()
				runtime.GC() // what sync.Pool keeps goes with the second
				runtime.ReadMemStats(&s)
				return float64(s.HeapAlloc)
			}
			before := used()
			m, err := multimae.NewModel(config)
			if err != nil {
				t.Fatal(err)
			}
			m.Init(1)
			trainer, err := NewTrainer(NewPretraining(m), nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := data.Collate(samples(t, scenes.New(0, config.Train.Batch, config.ImageSize, 1)), config.Inputs, config.ImageSize)
			if err != nil {
				t.Fatal(err)
			}
			for range 4 {
				if _, err := trainer.Step(b); err != nil {
					t.Fatal(err)
				}
			}
			got := used() - before
			estimate := config.Footprint(0)
			want := estimate.Total() - estimate.Batches*2/3 // there is one batch instead of three
			t.Logf("%.0f MiB in use, estimate %.0f", got/(1<<20), want/(1<<20))
			if r := want / got; !(r > 0.85 && r < 1.15) {
				t.Errorf("the estimate %+v is %.2f of the memory in use", estimate, r)
			}
			runtime.KeepAlive(trainer)
			runtime.KeepAlive(b)
		})
	}
}
