package main

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae/heads"
)

// TestFinetune goes from a pre-trained model to one that is evaluated, and takes up a run again.
func TestFinetune(t *testing.T) {
	model := trained(t)
	dir := filepath.Join(t.TempDir(), "fine")
	args := []string{"finetune", "-task", "semseg", "-from", model, "-inputs", "rgb,depth", "-out", dir, "-steps", "2", "-batch", "2", "-samples", "4", "-json"}
	code, stdout, stderr := gomae(args...)
	if code != 0 || !strings.Contains(stderr, "taken from a MultiMAE: ") {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	var r struct {
		Metrics []struct {
			Output, Name string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || len(r.Metrics) == 0 || r.Metrics[0].Name != "miou" {
		t.Errorf("%v: %s", err, stdout)
	}
	m, err := heads.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c := m.Config; strings.Join(c.Inputs.Names(), ",") != "rgb,depth" || c.Train.Samples != 4 || c.Outputs[0].NumClasses != 16 || c.Train.From == "" {
		t.Errorf("configuration %s", c.JSON())
	}
	if code, _, stderr := gomae(append(args, "-resume")...); code != 0 || !strings.Contains(stderr, "all 2 steps had been done") {
		t.Errorf("-resume: exit %d, %s", code, stderr)
	}
	for _, c := range []struct {
		name, flag, value, want string
	}{
		{"steps", "-steps", "3", "-steps 3…2"}, {"task", "-task", "depth", "-task depth…semseg"}, {"head", "-head", "segmenter", "-head segmenter…convnext"},
		{"inputs", "-inputs", "rgb", "-inputs rgb…rgb,depth"}, {"samples", "-samples", "5", "-samples 5…4"}, {"from", "-from", dir, "-from"},
	} {
		t.Run("contradiction of "+c.name, func(t *testing.T) {
			code, _, stderr := gomae("finetune", "-out", dir, "-resume", c.flag, c.value)
			if code != 2 || !testkit.Mentions(stderr, c.want) {
				t.Errorf("exit %d, %s", code, stderr)
			}
		})
	}
}

// TestFinetuneWrong wants a sentence with the remedy, and nothing written.
func TestFinetuneWrong(t *testing.T) {
	labels := t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.MkdirAll(filepath.Join(labels, "rgb", name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	set, square := t.TempDir(), image.Rect(0, 0, 64, 64)
	of := map[string]color.Color{"rgb": color.White, "depth": color.Gray16{Y: 7}, "void": color.Gray{Y: 255}, "ids": color.Gray{Y: 4}}
	for i := range 20 {
		for name, img := range map[string]draw.Image{
			"rgb": image.NewRGBA(square), "depth": image.NewGray16(square), "void": image.NewGray(square), "ids": image.NewGray(square),
		} {
			draw.Draw(img, square, image.NewUniform(of[name]), image.Point{}, draw.Src)
			if err := os.MkdirAll(filepath.Join(set, name, "x"), 0o777); err != nil {
				t.Fatal(err)
			}
			write(t, encode(t, img), set, name, "x", fmt.Sprint(i, ".png"))
		}
	}
	for _, c := range []struct {
		name, args string
		code       int
		want       string
	}{
		{"no task", "", 2, "-task"},
		{"unknown task", "-task sing", 2, "-task sing…semseg"},
		{"unknown head", "-task semseg -head ear", 2, "-head ear…convnext"},
		{"head of another task", "-task semseg -head linear", 1, "head…linear…semseg"},
		{"classes of scenes", "-task classify", 1, "scenes…CLASS"},
		{"unknown input", "-task semseg -inputs rgb,thermal", 2, "-inputs…thermal"},
		{"target is an input", "-task depth -inputs depth", 1, "target…depth…input"},
		{"patches that dpt cannot use", "-task depth -head dpt", 1, "dpt…patch_size"},
		{"no such folder", "-task semseg -data absent", 1, "absent…-data"},
		{"no such model", "-task semseg -from absent", 1, "absent"},
		{"unit of classes", "-task semseg -unit 2", 2, "-unit 2…depth"},
		{"negative size", "-task semseg -size -1", 2, "-size -1"},
		{"size", "-task semseg -size 63", 1, "image_size"},
		{"odd number of patches for dpt", "-task depth -preset small -size 208", 1, "dpt…208…13…224"},
		{"no truth", "-task semseg -data " + set, 1, "semseg…-target"},
		{"nothing measured", "-task depth -depth-invalid 7 -batch 2 -data " + set, 1, "depth…valid pixel"},
		{"nothing labelled", "-task semseg -target void -batch 2 -data " + set, 1, "void…0 class"},
		{"class ids outside the head", "-task semseg -target ids -classes 3 -data " + set, 1, "-classes 3…ids up to 4…5…-ignore"},
		{"another encoder", "-task semseg -preset small -target ids -batch 2 -data " + set + " -from " + trained(t), 1, "encoder…dim 16…depth 1"},
		{"no pictures", "-task classify -data " + labels, 1, "rgb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			code, _, stderr := gomae(append([]string{"finetune"}, strings.Fields(c.args)...)...)
			if code != c.code || !testkit.Mentions(stderr, c.want) {
				t.Errorf("exit %d, %s; want %d and a message that mentions %s", code, stderr, c.code, c.want)
			}
			if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
				t.Errorf("left %v, %v", entries, err)
			}
		})
	}
}
