package multimae

import (
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// TestReached: a step without a modality leaves all that belongs to it as it is, weight decay
// included. A modality of which no patch is visible has a gradient, of zeros, and its parameters
// decay.
func TestReached(t *testing.T) {
	c := smallConfig()
	belongs := func(name string) bool {
		return strings.HasPrefix(name, "input_adapters.depth.") || strings.HasPrefix(name, "output_adapters.depth.") ||
			strings.HasSuffix(name, ".task_embeddings.depth")
	}
	for _, tc := range []struct {
		name    string
		batch   []string
		visible []int32 // of the first of the batch's modalities
		changes func(name string) bool
	}{
		{"absent", []string{"rgb", "semseg"}, []int32{0, 2, 5}, func(name string) bool { return !belongs(name) }},
		{"hidden", []string{"rgb", "depth", "semseg"}, []int32{0, 2, 9}, func(string) bool { return true }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newModel(t, c)
			b := newBatch(c, 2, 16, 16, 1, tc.batch...)
			masks := masksOf(t, tc.batch, 4, tc.visible, tc.visible)
			tape := tensor.NewTape(nil)
			m.Params.EnableGrad()
			opt := nn.NewAdamW(0.9, 0.95, 1e-8, m.Params)
			for range 2 { // the second time gradients have been there before
				step(t, m, tape, b, masks)
				before := map[string][]float32{}
				for _, p := range m.Params.All() {
					before[p.Name] = slices.Clone(p.Data)
				}
				opt.Step(tape, 1e-2, 0.5, 1)
				for _, p := range m.Params.All() {
					switch zeros := len(p.Grad) > 0 && !slices.ContainsFunc(p.Grad, func(g float32) bool { return g != 0 }); {
					case p.Fixed:
					case !tc.changes(p.Name):
						testkit.SameBits(t, p.Name, p.Data, before[p.Name])
						if !zeros || p.HasGrad() {
							t.Errorf("%s has a gradient", p.Name)
						}
					case slices.Equal(p.Data, before[p.Name]):
						t.Errorf("%s has not changed", p.Name)
					case strings.HasPrefix(p.Name, "input_adapters.depth.") && !zeros:
						t.Errorf("%s has a gradient that is not zero, of no visible patch", p.Name)
					}
				}
			}
		})
	}
}
