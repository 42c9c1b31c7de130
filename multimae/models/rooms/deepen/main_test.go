package main

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
)

// TestDeepen wants a model with one block more to predict the same.
func TestDeepen(t *testing.T) {
	m := tiny.Model(t, tiny.Config(), 3)
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	if err := m.Save(from); err != nil {
		t.Fatal(err)
	}
	if err := run(from, to); err != nil {
		t.Fatal(err)
	}
	deeper, err := multimae.LoadDir(to)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := deeper.Config.Encoder.Depth, m.Config.Encoder.Depth+1; got != want {
		t.Errorf("%d blocks, want %d", got, want)
	}
	room, err := scenes.New(0, 1, m.Config.ImageSize, 1).Sample(0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := data.Collate([]*data.Sample{room}, m.Config.Inputs, m.Config.ImageSize)
	if err != nil {
		t.Fatal(err)
	}
	var out [2]*multimae.Prediction
	for i, m := range []*multimae.Model{m, deeper} {
		if out[i], err = m.Predict(context.Background(), b, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range out[0].Outputs {
		testkit.SameBits(t, p.Name, out[1].Outputs[i].Pix, p.Pix)
	}
}
