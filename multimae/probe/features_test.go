package probe

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
)

var rgb = multimae.Inputs{{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1}}

// folder writes 16 pictures of different brightness of each class and opens them.
func folder(t *testing.T, classes ...string) (*counting, string) {
	t.Helper()
	dir := t.TempDir()
	for k, class := range classes {
		if err := os.MkdirAll(filepath.Join(dir, "rgb", class), 0o777); err != nil {
			t.Fatal(err)
		}
		for i := range 16 {
			img := image.NewRGBA(image.Rect(0, 0, 8, 8))
			for p := range 64 {
				img.SetRGBA(p%8, p/8, color.RGBA{uint8(250 * k / len(classes)), uint8(3*i + p), uint8(p * k), 255})
			}
			f, err := os.Create(filepath.Join(dir, "rgb", class, fmt.Sprint(i, ".png")))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(png.Encode(f, img), f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return open(t, dir), dir
}

func open(t *testing.T, dir string) *counting {
	t.Helper()
	ds, err := data.OpenFolder(dir, rgb)
	if err != nil {
		t.Fatal(err)
	}
	return &counting{Listed: ds.(data.Listed)}
}

// counting counts the samples that are read.
type counting struct {
	data.Listed
	read atomic.Int64
}

func (c *counting) Sample(i int) (*data.Sample, error) {
	c.read.Add(1)
	return c.Listed.Sample(i)
}

// TestFeatures compares them with the model's own, one image at a time.
func TestFeatures(t *testing.T) {
	m := tiny.Model(t, tiny.Config(), 1)
	ds, _ := folder(t, "a", "b", "c")
	e := &Extractor{Model: m.Backbone, Inputs: rgb}
	last := ""
	e.Progress = func(done, all int) { last = fmt.Sprint(done, " of ", all) }
	f, err := e.Features(context.Background(), ds)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Names) != 48 || f.Dim != 16 || len(f.X) != 48*16 || last != "48 of 48" {
		t.Fatalf("%d images of %d features, %d values; progress %s", len(f.Names), f.Dim, len(f.X), last)
	}
	for i, name := range f.Names {
		s, err := ds.Sample(i)
		if err != nil {
			t.Fatal(err)
		}
		b, err := data.Collate([]*data.Sample{s}, rgb, m.Config.ImageSize)
		if err != nil {
			t.Fatal(err)
		}
		want, err := m.Features(context.Background(), b, nil)
		if err != nil {
			t.Fatal(err)
		}
		if name != s.Name || !slices.Equal(f.Row(i), want.Mean(0)) {
			t.Errorf("image %d, %s: other features than the model's, of %s", i, name, s.Name)
		}
	}
}

// TestCache wants images to be read only if what the features depend on has changed.
func TestCache(t *testing.T) {
	m, cache := tiny.Model(t, tiny.Config(), 1), filepath.Join(t.TempDir(), "new", "folder")
	ds, dir := folder(t, "a", "b")
	get := func(m *multimae.Model, ds *counting, inputs multimae.Inputs) (*Features, bool) {
		t.Helper()
		before := ds.read.Load()
		e := &Extractor{Model: m.Backbone, Inputs: inputs, Cache: cache, Warn: func(err error) { t.Error(err) }}
		f, err := e.Features(context.Background(), ds)
		if err != nil {
			t.Fatal(err)
		}
		return f, ds.read.Load() > before
	}
	first, read := get(m, ds, rgb)
	if !read {
		t.Fatal("features without images")
	}
	if f, read := get(m, ds, rgb); read || !slices.Equal(f.X, first.X) || !slices.Equal(f.Names, first.Names) {
		t.Errorf("the second time: images read: %v, the same features: %v", read, slices.Equal(f.X, first.X))
	}
	if f, read := get(tiny.Model(t, tiny.Config(), 2), ds, rgb); !read || slices.Equal(f.X, first.X) {
		t.Error("the features of another model")
	}
	other := tiny.Model(t, tiny.Config(), 1)
	other.BackboneConfig().Encoder.Heads = 1 // the same weights
	if _, read := get(other, ds, rgb); !read {
		t.Error("the features of another configuration")
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "rgb", "b", "3.png"), old, old); err != nil {
		t.Fatal(err)
	}
	if _, read := get(m, open(t, dir), rgb); !read {
		t.Error("the features of a file that has changed")
	}
	if err := os.Remove(filepath.Join(dir, "rgb", "b", "4.png")); err != nil {
		t.Fatal(err)
	}
	if f, read := get(m, open(t, dir), rgb); !read || len(f.Names) != 31 {
		t.Error("the features of more images than there are")
	}

	// Damage of any kind is noticed.
	ds = open(t, dir)
	want, _ := get(m, ds, rgb)
	files, err := filepath.Glob(filepath.Join(cache, "*.safetensors"))
	if err != nil || len(files) != 5 {
		t.Fatalf("%d files, %v, want 5", len(files), err)
	}
	for _, damage := range []func(b []byte) []byte{
		func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		func(b []byte) []byte { return b[:len(b)-5] },
		func(b []byte) []byte { return nil },
	} {
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, damage(b), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if f, read := get(m, ds, rgb); !read || !slices.Equal(f.X, want.X) {
			t.Errorf("a damaged file: images read: %v", read)
		}
		if _, read := get(m, ds, rgb); read {
			t.Error("the damaged file was not replaced")
		}
	}
}

// TestCacheUnwritable wants features and a warning.
func TestCacheUnwritable(t *testing.T) {
	ds, dir := folder(t, "a")
	file := filepath.Join(dir, "rgb", "a", "0.png") // no folder
	var warned error
	e := &Extractor{Model: tiny.Model(t, tiny.Config(), 1).Backbone, Inputs: rgb, Cache: file, Warn: func(err error) { warned = err }}
	if f, err := e.Features(context.Background(), ds); err != nil || len(f.X) != 16*16 || warned == nil {
		t.Errorf("%v, warning %v", err, warned)
	}
}

func TestFeaturesRefused(t *testing.T) {
	m := tiny.Model(t, tiny.Config(), 1)
	ds, dir := folder(t, "a", "b")
	e := &Extractor{Model: m.Backbone, Inputs: rgb}
	t.Run("diverged", func(t *testing.T) {
		bad := tiny.Model(t, tiny.Config(), 1)
		bad.Params.All()[0].Data[0] = float32(math.NaN())
		_, err := (&Extractor{Model: bad.Backbone, Inputs: rgb}).Features(context.Background(), ds)
		if err == nil || !testkit.Mentions(err.Error(), "a/0…diverged") {
			t.Error(err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := e.Features(ctx, ds); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("a file that is no image", func(t *testing.T) {
		path := filepath.Join(dir, "rgb", "b", "7.png")
		if err := os.WriteFile(path, []byte("text"), 0o666); err != nil {
			t.Fatal(err)
		}
		var p *data.Problem
		if _, err := e.Features(context.Background(), ds); !errors.As(err, &p) || p.File != path {
			t.Error(err)
		}
	})
}

// TestRun wants classes that differ in colour to be told apart, and each mistake to be named before
// any image is read.
func TestRun(t *testing.T) {
	e := &Extractor{Model: tiny.Model(t, tiny.Config(), 1).Backbone, Inputs: rgb}
	train, _ := folder(t, "black", "blue", "red")
	val, _ := folder(t, "black", "blue", "red")
	r, err := e.Run(context.Background(), train, val)
	if err != nil {
		t.Fatal(err)
	}
	if r.LinearTop1 != 100 || r.KNNTop1 != 100 || r.LinearTop5 != 100 || fmt.Sprint(r.Classes, r.Train, r.Val) != "[black blue red] 48 48" {
		t.Errorf("%+v", r)
	}
	loose, _ := folder(t, "")
	one, _ := folder(t, "red")
	more, _ := folder(t, "red", "white")
	for _, c := range []struct {
		name       string
		train, val *counting
		want       string
	}{
		{"no folders", loose, val, "0 is in no folder"},
		{"one class", one, one, "class red…two classes or more"},
		{"a class without training images", train, more, `white…"white"…black, blue, red`},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := c.train.read.Load()
			if _, err := e.Run(context.Background(), c.train, c.val); err == nil || !testkit.Mentions(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if c.train.read.Load() > before {
				t.Error("images were read")
			}
		})
	}
}

// TestRunOtherImages swaps the folders of two colours in val, so that every image is judged wrong.
func TestRunOtherImages(t *testing.T) {
	e := &Extractor{Model: tiny.Model(t, tiny.Config(), 1).Backbone, Inputs: rgb}
	train, _ := folder(t, "black", "blue")
	val, _ := folder(t, "blue", "black")
	r, err := e.Run(context.Background(), train, val)
	if err != nil {
		t.Fatal(err)
	}
	if r.LinearTop1 != 0 || r.KNNTop1 != 0 || r.LinearTop5 != 100 || r.KNNTop5 != 100 {
		t.Errorf("%+v", r)
	}
}
