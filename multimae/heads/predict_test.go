package heads

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/tensor"
)

// TestPredict compares every output with that of Forward.
func TestPredict(t *testing.T) {
	c := smallConfig()
	c.Outputs[3].Unit = 0.001
	m := newModel(t, c)
	ctx := context.Background()
	b := newBatch(c, 2, 64, 32, "rgb", "semseg")
	want := forward(t, m, tensor.NewTape(nil), b, nil)
	for k, pool := range append(pools(t), nil) {
		o := &multimae.PredictOptions{Pool: pool}
		if k == 3 {
			o = nil
		}
		p, err := m.Predict(ctx, b, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Outputs) != len(c.Outputs) || p.Masks.Visible != 16 || !slices.Equal(p.Masks.Inputs, []string{"rgb", "semseg"}) {
			t.Fatalf("%d outputs from %+v", len(p.Outputs), p.Masks)
		}
		for i, o := range c.Outputs {
			got := p.Output(o.Name)
			h, w := 64, 32
			if o.Head == Linear {
				h, w = 1, 1
			}
			kind := map[string]string{"normals": "image none", "convdepth": "image none", "depth": "image standardize"}[o.Name]
			kind = cmp.Or(kind, "classes ")
			if got.Name != o.Name || got.Channels != o.NumClasses || got.H != h || got.W != w || got.Kind+" "+got.Normalization != kind || got.Task != "" {
				t.Errorf("%s: %d × %d × %d of kind %s, normalised by %q", got.Name, got.Channels, got.H, got.W, got.Kind, got.Normalization)
			}
			testkit.SameBits(t, o.Name, got.Pix, ChannelsFirst(want[i]))
			if got.Kind == multimae.KindClasses && len(got.IDs(1)) != h*w {
				t.Errorf("%s: %d ids", o.Name, len(got.IDs(1)))
			}
		}
	}
	f, err := m.Features(ctx, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := m.Encode(tensor.NewTape(nil), b, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	testkit.SameBits(t, "features", f.Tokens[0], tokens.Data)
}

func TestPredictErrors(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	b := newBatch(c, 1, 32, 32, "rgb", "semseg")
	masks, err := multimae.AllVisible(1, m.Present(b), 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		b    *multimae.Batch
		o    *multimae.PredictOptions
		want string
	}{
		{b, &multimae.PredictOptions{Masks: masks}, "predict: "},
		{b, &multimae.PredictOptions{Visible: 3}, "predict: "},
		{newBatch(c, 1, 32, 32, "semseg"), nil, `batch: modality "rgb"`},
		{newBatch(c, 1, 32, 32), nil, "batch: "},
		{newBatch(c, 1, 20, 32, "rgb", "semseg"), nil, "image_size: "},
	} {
		t.Run(fmt.Sprint(x.want), func(t *testing.T) {
			p, err := m.Predict(context.Background(), x.b, x.o)
			if testkit.ErrorNames(t, err, x.want); p != nil {
				t.Error("a prediction and an error")
			}
		})
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if p, err := m.Predict(ended, b, nil); p != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v, %v", p, err)
	}
}
