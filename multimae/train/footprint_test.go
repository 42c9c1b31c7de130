package train

import (
	"runtime"
	"testing"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/internal/poison"
)

// TestFootprint trains a few steps of presets and compares the memory that is then in use with the estimate.
func TestFootprint(t *testing.T) {
	defer poison.Off()()
	for _, c := range []struct{name string; batch int; drop float64} {{"tiny",0,0},{"tiny",64,0.1},{"small",4,0},{"base",2,0},{"base",8,0}} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := multimae.Preset(c.name, 133)
			if err != nil {
				t.Fatal(err)
			}
			if c.batch>0 {cfg.Train.Batch = c.batch}
			cfg.Encoder.DropPath=c.drop
			used := func() uint64 {
				var s runtime.MemStats
				runtime.GC()
				runtime.GC()
				runtime.ReadMemStats(&s)
				return s.HeapAlloc
			}
			before := used()
			m, err := multimae.NewModel(cfg)
			if err != nil {
				t.Fatal(err)
			}
			m.Init(1)
			tr, err := NewTrainer(m, nil)
			if err != nil {
				t.Fatal(err)
			}
			var list []*data.Sample
			ds := scenes.New(0, cfg.Train.Batch, cfg.ImageSize, 1)
			for i := range ds.Len() {
				s, _ := ds.Sample(i)
				list = append(list, s)
			}
			b, err := data.Collate(list, cfg.Inputs, cfg.ImageSize)
			if err != nil {
				t.Fatal(err)
			}
			list = nil
			mid := used()
			for range 6 {
				if _, err := tr.Step(b); err != nil {
					t.Fatal(err)
				}
			}
			f := cfg.Footprint(0)
			after:=used()
			t.Logf("batch %d: used %d MiB of model+optim+batch, steps %d KiB; estimate %.0f + %.0f + batches %.0f MiB, activations %.0f KiB: ratio %.3f; total ratio %.3f", cfg.Train.Batch, (mid-before)>>20, (after-mid)>>10,
				f.Parameters/(1<<20), f.Optimizer/(1<<20), f.Batches/(1<<20), f.Activations/1024, f.Activations/float64(after-mid), (f.Total()-f.Batches*2/3)/float64(after-before))
			runtime.KeepAlive(tr)
			runtime.KeepAlive(b)
		})
	}
}
