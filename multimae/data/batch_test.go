package data_test

import (
	"image"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/scenes"
)

// tiny returns a model without values.
func tiny(t testing.TB) *multimae.Model {
	t.Helper()
	c, err := multimae.Preset("tiny", len(scenes.Classes))
	if err != nil {
		t.Fatal(err)
	}
	m, err := multimae.NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// scene is a rendered room as maps and as images. Maps are cut to w×h pixels.
func scene(t *testing.T, w, h int) (*data.Sample, map[string]image.Image) {
	t.Helper()
	s, err := scenes.New(3, 1, max(w, h), 1).Sample(0)
	if err != nil {
		t.Fatal(err)
	}
	cut, imgs := &data.Sample{Maps: map[string]*data.Map{}}, map[string]image.Image{}
	for name, m := range s.Maps {
		img, err := m.Image()
		if err != nil {
			t.Fatal(err)
		}
		img = img.(interface {
			SubImage(image.Rectangle) image.Image
		}).SubImage(image.Rect(0, 0, w, h))
		if cut.Maps[name], err = images.From(img, tiny(t).Config.Input(name)); err != nil {
			t.Fatal(err)
		}
		imgs[name] = img
	}
	return cut, imgs
}

// TestBatch compares images.Batch with what Collate makes of the same maps, at the model's size and
// another, and wants errors that name modality and remedy.
func TestBatch(t *testing.T) {
	m := tiny(t)
	c := m.Config
	s, imgs := scene(t, 100, 80)
	compare := func(got *multimae.Batch, err error, size int) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		want, err := data.Collate([]*data.Sample{s}, c.Inputs, size)
		if err != nil {
			t.Fatal(err)
		}
		if got.Size != 1 || got.H != size || got.W != size || len(got.Images) != 2 || len(got.Classes) != 1 {
			t.Fatalf("%d samples of %d×%d", got.Size, got.H, got.W)
		}
		for name := range want.Images {
			if !slices.Equal(got.Images[name], want.Images[name]) {
				t.Errorf("%s is not what Collate makes", name)
			}
		}
		if !slices.Equal(got.Classes["semseg"], want.Classes["semseg"]) {
			t.Error("semseg is not what Collate makes")
		}
	}
	b, err := images.Batch(m, imgs)
	compare(b, err, c.ImageSize)
	b, err = images.BatchAt(m, imgs, 32)
	compare(b, err, 32)

	_, half := scene(t, 50, 40)
	if b, err := images.Batch(m, map[string]image.Image{"rgb": imgs["rgb"], "semseg": half["semseg"]}); err != nil || b.Images["depth"] != nil {
		t.Errorf("a smaller map of the same view: %v", err)
	}
	for what, e := range map[string]struct {
		imgs map[string]image.Image
		size int
		want []string
	}{
		"nothing":     {nil, 64, []string{"rgb, depth, semseg"}},
		"nil":         {map[string]image.Image{"rgb": nil}, 64, []string{"rgb, depth, semseg"}},
		"misspelled":  {map[string]image.Image{"rbg": imgs["rgb"]}, 64, []string{`"rbg"`, `"rgb"`}},
		"size":        {imgs, 60, []string{"image_size: 60×60"}},
		"no size":     {imgs, 0, []string{"image_size: 0×0"}},
		"depth":       {map[string]image.Image{"depth": imgs["rgb"]}, 64, []string{"depth: *image.NRGBA"}},
		"semseg":      {map[string]image.Image{"semseg": imgs["depth"]}, 64, []string{"semseg: ", "*image.Gray16"}},
		"other ratio": {map[string]image.Image{"rgb": imgs["rgb"], "depth": image.NewGray16(image.Rect(0, 0, 40, 80))}, 64, []string{"depth has 40×80", "rgb has 100×80"}},
	} {
		t.Run(what, func(t *testing.T) {
			b, err := images.BatchAt(m, e.imgs, e.size)
			if testkit.ErrorNames(t, err, e.want...); b != nil {
				t.Error("a batch and an error")
			}
		})
	}
}
