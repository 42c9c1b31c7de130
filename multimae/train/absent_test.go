package train

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAbsentModality trains on batches of which some lack a modality. Its parameters are updated less
// often than others, and a checkpoint knows how often.
func TestAbsentModality(t *testing.T) {
	c := tinyConfig()
	whole := someBatch(t, c, 4)
	absent := *whole
	absent.Images = map[string][]float32{"rgb": whole.Images["rgb"]}
	straight := newTrainer(t, c, nil)
	path := filepath.Join(t.TempDir(), CheckpointName(1))
	for k := range 6 {
		b := whole
		if k%3 != 1 {
			b = &absent
		}
		if err := straight.Save(path); err != nil {
			t.Fatal(err)
		}
		restored := newTrainer(t, c, nil)
		if err := restored.Restore(path); err != nil {
			t.Fatal(err)
		}
		step(t, straight, b)
		step(t, restored, b)
		if names := changed(state(straight), state(restored)); names != nil || !slices.Equal(restored.opt.Updates, straight.opt.Updates) {
			t.Fatalf("step %d: %v differ after a checkpoint", k, names)
		}
	}
	updates := map[string]int{}
	for i, p := range straight.opt.Params() {
		updates[p.Name] = straight.opt.Updates[i]
	}
	for name, want := range map[string]int{
		"input_adapters.rgb.proj.weight": 6, "encoder.0.norm1.weight": 6,
		"input_adapters.depth.proj.weight": 2, "output_adapters.rgb.task_embeddings.depth": 2,
	} {
		if got := updates[name]; got != want {
			t.Errorf("%s: %d updates, want %d", name, got, want)
		}
	}
}

// TestRestoreUpdates: the numbers of updates are checked as all that comes from a file.
func TestRestoreUpdates(t *testing.T) {
	c := tinyConfig()
	tr := newTrainer(t, c, nil)
	step(t, tr, someBatch(t, c, 4))
	path := filepath.Join(t.TempDir(), CheckpointName(1))
	if err := tr.Save(path); err != nil {
		t.Fatal(err)
	}
	whole := readFile(t, path)
	for _, tc := range []struct{ name, old, new string }{
		{"of an older version", `"gomae_optimizer_updates":`, `"gomae_optimizer_updatez":`},
		{"no number", `"gomae_optimizer_updates":"1`, `"gomae_optimizer_updates":"x`},
		{"more than steps", `"gomae_optimizer_updates":"1`, `"gomae_optimizer_updates":"2`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spoilt := strings.Replace(whole, tc.old, tc.new, 1)
			if spoilt == whole {
				t.Fatal("nothing replaced")
			}
			if err := os.WriteFile(path, []byte(summed(spoilt)), 0o666); err != nil {
				t.Fatal(err)
			}
			err := newTrainer(t, c, nil).Restore(path)
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), metaUpdates) {
				t.Errorf("error %v, want the path and the key", err)
			}
		})
	}
}
