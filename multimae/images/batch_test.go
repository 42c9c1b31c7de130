package images_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"log"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/scenes"
)

func config() *multimae.BackboneConfig {
	c, err := multimae.Preset("tiny", len(scenes.Classes))
	if err != nil {
		panic(err)
	}
	return &c.BackboneConfig
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
		if cut.Maps[name], err = images.From(img, config().Input(name)); err != nil {
			t.Fatal(err)
		}
		imgs[name] = img
	}
	return cut, imgs
}

// TestBatch: what data.Collate makes of the same maps, and errors that name
// modality and remedy.
func TestBatch(t *testing.T) {
	c := config()
	s, imgs := scene(t, 100, 80)
	for _, size := range []int{0, 32} {
		got, err := images.Batch(c, imgs, size)
		if err != nil {
			t.Fatal(err)
		}
		if size == 0 {
			size = c.ImageSize
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
	_, half := scene(t, 50, 40)
	if b, err := images.Batch(c, map[string]image.Image{"rgb": imgs["rgb"], "semseg": half["semseg"]}, 0); err != nil || b.Images["depth"] != nil {
		t.Errorf("a smaller map of the same view: %v", err)
	}
	for _, e := range []struct {
		imgs map[string]image.Image
		size int
		want string
	}{
		{nil, 0, "images: no image; give at least one of rgb, depth, semseg"},
		{map[string]image.Image{"rgb": nil}, 0, "images: no image"},
		{map[string]image.Image{"rbg": imgs["rgb"]}, 0, `images: "rbg" is not an input of this model; did you mean "rgb"?`},
		{imgs, 60, "image_size: 60×60 is not divisible by patch_size 8; use"},
		{map[string]image.Image{"depth": imgs["rgb"]}, 0, "images: depth: *image.NRGBA, expected one channel"},
		{map[string]image.Image{"semseg": imgs["depth"]}, 0, "images: semseg: a class map as *image.Gray16"},
		{map[string]image.Image{"rgb": imgs["rgb"], "depth": image.NewGray16(image.Rect(0, 0, 40, 80))}, 0, "images: depth has 40×80 pixels, but rgb has 100×80; give"},
	} {
		_, err := images.Batch(c, e.imgs, e.size)
		if err == nil || !strings.HasPrefix(err.Error(), e.want) {
			t.Errorf("got %v, want %q", err, e.want)
		}
	}
}

func ExampleBatch() {
	c, err := multimae.Preset("tiny", 16)
	if err != nil {
		log.Fatal(err)
	}
	photo := image.NewNRGBA(image.Rect(0, 0, 640, 480))
	b, err := images.Batch(&c.BackboneConfig, map[string]image.Image{"rgb": photo}, 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Size, b.H, b.W, len(b.Images["rgb"]))
	// Output: 1 64 64 12288
}

func ExamplePicture() {
	m, err := multimae.LoadDir("../../testdata/parity/pretrain_tiny")
	if err != nil {
		log.Fatal(err)
	}
	b, err := images.Batch(&m.Config.BackboneConfig, map[string]image.Image{"rgb": image.NewGray(image.Rect(0, 0, 32, 32))}, 32)
	if err != nil {
		log.Fatal(err)
	}
	p, err := m.Predict(context.Background(), b, multimae.PredictOptions{})
	if err != nil {
		log.Fatal(err)
	}
	var file bytes.Buffer
	if err := png.Encode(&file, images.Picture(&m.Config.BackboneConfig, p.Output("depth"), 0)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(file.String()[1:4])
	// Output: PNG
}
