package teacher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/images"
)

// finetuned is a folder of models that see only rgb.
const finetuned = "../../testdata/parity"

// TestModel compares fine-tuned models as teachers with the models themselves, at the size where
// nothing needs to be resized.
func TestModel(t *testing.T) {
	for _, c := range [][]string{{"vit_segmenter"}, {"vit_convnext"}, {"vit_dpt"}, {"vit_dpt", "standardize"}, {"vit_dpt", "none"}} {
		t.Run(strings.Join(c, " "), func(t *testing.T) {
			dir := filepath.Join(finetuned, c[0])
			if len(c) > 1 {
				dir = edited(t, c[0], `"channels":`, `"normalize": "`+c[1]+`"`)
			}
			m, err := heads.Load(os.DirFS(dir))
			if err != nil {
				t.Fatal(err)
			}
			size := m.Config.ImageSize
			pic := picture(size, size)
			b, err := images.Batch(m, map[string]image.Image{"rgb": pic})
			if err != nil {
				t.Fatal(err)
			}
			p, err := m.Predict(context.Background(), b, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := &p.Outputs[0]

			teach, err := Open([]string{dir}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer teach.Close()
			in, err := images.From(pic, rgb)
			if err != nil {
				t.Fatal(err)
			}
			got, err := label(t, teach, in, size, size)
			if err != nil {
				t.Fatal(err)
			}
			if got.IDs == nil {
				sameDepth(t, got.Pix, want.Image(0))
				return
			}
			ids := make([]uint8, size*size)
			for i, id := range want.IDs(0) {
				ids[i] = uint8(id)
			}
			sameIDs(t, got.IDs, ids)
			if n := len(teach.Classes()); n != want.Channels {
				t.Errorf("%d classes, want %d", n, want.Channels)
			}
		})
	}
}

// TestModelDescribed names the classes of a model and merges some. The photograph keeps its ratio.
func TestModelDescribed(t *testing.T) {
	folder := filepath.Join(finetuned, "vit_segmenter")
	file := filepath.Join(t.TempDir(), "t.json")
	d := `{"output": {"kind": "logits"}, "classes": ["a", "b", "c", "d", "e", "f", "g"], "labels": {"x": [0, 1, 2, 3]}, "rest": "keep"}`
	if err := os.WriteFile(file, []byte(d), 0o666); err != nil {
		t.Fatal(err)
	}
	var maps []*images.Map
	m, err := images.From(picture(150, 70), rgb)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range []string{folder + "@" + file, folder} {
		teach, err := Open([]string{spec}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer teach.Close()
		got, err := label(t, teach, m, 150, 70)
		if err != nil {
			t.Fatal(err)
		}
		maps = append(maps, got)
	}
	for i, id := range maps[1].IDs {
		if want := uint8(max(int(id)-3, 0)); maps[0].IDs[i] != want {
			t.Fatalf("pixel %d: label %d, want %d of class %d", i, maps[0].IDs[i], want, id)
		}
	}
}

// edited copies the folder of a fine-tuned model, with a key more in its configuration before another.
func edited(t *testing.T, name, before, key string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(finetuned, name))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(b, []byte(before), []byte(key+`, `+before), 1), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestModelNames wants a model to be a teacher of the classes and of the unit that it knows.
func TestModelNames(t *testing.T) {
	const names = `"classes": ["g", "f", "e", "@ade20k", "c", "b", "a"]`
	for _, c := range []struct {
		name, model, key string
		kind             string
		classes          string
	}{
		{"names", "vit_segmenter", names, KindIDs, "[g f e @ade20k c b a]"},
		{"no names", "vit_segmenter", `"classes": []`, KindIDs, "[0 1 2 3 4 5 6]"},
		{"one name twice", "vit_segmenter", `"classes": ["a", "b", "c", "a", "d", "e", "f"]`, KindIDs, "[0 1 2 3 4 5 6]"},
		{"an empty name", "vit_segmenter", `"classes": ["a", "b", "c", "", "d", "e", "f"]`, KindIDs, "[0 1 2 3 4 5 6]"},
		{"millimetres", "vit_dpt", `"unit": 0.001`, KindMetres, "[]"},
		{"no unit", "vit_dpt", `"unit": 0`, KindDepth, "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			teach, err := Open([]string{edited(t, c.model, `"head":`, c.key)}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer teach.Close()
			if got := fmt.Sprint(teach.Classes()); teach.Kind() != c.kind || got != c.classes {
				t.Errorf("%s of %s, want %s of %s", teach.Kind(), got, c.kind, c.classes)
			}
		})
	}
	t.Run("described", func(t *testing.T) { // as package experiment does it
		file := filepath.Join(t.TempDir(), "t.json")
		if err := os.WriteFile(file, []byte(`{"output": {"kind": "logits"}, "confidence": 0.5}`), 0o666); err != nil {
			t.Fatal(err)
		}
		teach, err := Open([]string{edited(t, "vit_segmenter", `"head":`, names) + "@" + file}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer teach.Close()
		if x := teach.layers[0].table; fmt.Sprint(x.ids) != "[0 1 2 3 4 5 6]" || teach.Classes()[3] != "@ade20k" || len(teach.Origins()[0].Description.Classes) != 0 {
			t.Errorf("ids %v, classes %v", x.ids, teach.Classes())
		}
	})
	t.Run("names over numbers", func(t *testing.T) {
		folder := filepath.Join(finetuned, "vit_segmenter")
		for _, specs := range [][]string{{edited(t, "vit_segmenter", `"head":`, names), folder}, {folder, edited(t, "vit_segmenter", `"head":`, names)}} {
			_, err := Open(specs, Options{})
			testkit.ErrorNames(t, err, folder, "classes", "description")
		}
	})
}

// TestPartsONNX lists the files in which a network says that it has weights.
func TestPartsONNX(t *testing.T) {
	location := func(name string) string { return "\x6a\x1a\n\x08location\x12" + string(byte(len(name))) + name }
	fill := strings.Repeat("w", 1<<16-8) // so that an entry lies across the end of a buffer
	for name, c := range map[string]struct{ network, want string }{
		"none":       {"network", ""},
		"one":        {location("x.onnx.data"), "x.onnx.data"},
		"two":        {fill + location("weights") + fill + location("x.onnx.data") + location("weights"), "weights x.onnx.data"},
		"below":      {"\n" + location("sub/w.bin"), "sub/w.bin"},
		"absent":     {location("y") + location("sub") + location("weights"), "weights"},
		"elsewhere":  {location("../x.onnx") + location("/etc/hostname"), ""},
		"itself":     {location("x.onnx"), ""},
		"cut off":    {"network" + location("weights")[:20], ""},
		"its length": {"network" + location("weights")[:13], ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "x.onnx")
			for name, content := range map[string]string{"x.onnx": c.network, "x.onnx.data": "a", "weights": "b", "sub/w.bin": "c"} {
				err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o777)
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			want := []string{file}
			for _, name := range strings.Fields(c.want) {
				want = append(want, filepath.Join(dir, filepath.FromSlash(name)))
			}
			if got, err := partsONNX(file); err != nil || !slices.Equal(got, want) {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
}

// TestModelSum wants the sum of a folder to cover its configuration and its weights, whatever files
// these are in.
func TestModelSum(t *testing.T) {
	const index = "model.safetensors.index.json"
	for name, files := range map[string][]string{
		"safetensors": {"model.safetensors"},
		"checkpoint":  {"model.pth"},
		"shards":      {index, "model-00001-of-00001.safetensors"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := edited(t, "vit_dpt", `"head":`, `"unit": 0`)
			weights := files[len(files)-1] // the content says what it is
			if err := os.Rename(filepath.Join(dir, "model.safetensors"), filepath.Join(dir, weights)); err != nil {
				t.Fatal(err)
			}
			if files[0] == index {
				m, err := heads.Load(os.DirFS(filepath.Join(finetuned, "vit_dpt")))
				if err != nil {
					t.Fatal(err)
				}
				of := map[string]string{}
				for _, x := range m.Params.Tensors() {
					of[x.Name] = weights
				}
				b, err := json.Marshal(map[string]any{"weight_map": of})
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, index), b, 0o666)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			teach, err := Open([]string{dir}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer teach.Close()
			h := sha256.New()
			for _, file := range append([]string{"config.json"}, files...) {
				b, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Fatal(err)
				}
				h.Write(b)
			}
			if got, want := teach.Origins()[0].SHA256, fmt.Sprintf("%x", h.Sum(nil)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestModelErrors(t *testing.T) {
	for spec, want := range map[string]string{
		filepath.Join(finetuned, "vit_linear"):         "cls",
		filepath.Join(finetuned, "vit_convnext_depth"): "depth",
		filepath.Join(finetuned, "pretrain_tiny"):      "multivit",
		t.TempDir():           "config.json",
		"absent.json":         "absent.json",
		"absent.onnx":         "depth-anything-v2",
		"absent.onnx@midas":   "absent.onnx",
		"absent.onnx@mide":    "midas-small",
		"absent.onnx@d.json":  "d.json",
		"picture.png":         ".onnx",
		"":                    "no teacher",
		"tcmonodepth.onnx":    "tcmonodepth.onnx",
		"description_test.go": "no teacher",
	} {
		t.Run(spec, func(t *testing.T) {
			_, err := Open([]string{spec}, Options{})
			testkit.ErrorNames(t, err, want)
		})
	}
	_, err := Open(nil, Options{})
	testkit.ErrorNames(t, err, "no teacher")
}

// TestModelNotFinite gives NaN to a model, as a damaged weight would make it.
func TestModelNotFinite(t *testing.T) {
	teach, err := Open([]string{filepath.Join(finetuned, "vit_dpt")}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer teach.Close()
	m, err := images.From(picture(64, 64), rgb)
	if err != nil {
		t.Fatal(err)
	}
	m.Pix[100] = float32(math.NaN())
	_, err = label(t, teach, m, 64, 64)
	testkit.ErrorNames(t, err, "vit_dpt", ErrNotFinite.Error())
}
