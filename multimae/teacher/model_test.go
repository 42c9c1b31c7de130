package teacher

import (
	"context"
	"image"
	"math"
	"os"
	"path/filepath"
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
	for _, name := range []string{"vit_segmenter", "vit_convnext", "vit_dpt"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(finetuned, name)
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
