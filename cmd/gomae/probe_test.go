package main

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// classFolders writes pictures of some colours as DIR/PART/rgb/COLOUR/NUMBER.png.
func classFolders(t *testing.T, dir string, parts []string, colours map[string]color.RGBA) {
	t.Helper()
	for _, part := range parts {
		for name, c := range colours {
			if err := os.MkdirAll(filepath.Join(dir, part, "rgb", name), 0o777); err != nil {
				t.Fatal(err)
			}
			for i := range 4 {
				img := image.NewRGBA(image.Rect(0, 0, 8, 8))
				for p := range 64 {
					img.SetRGBA(p%8, p/8, color.RGBA{c.R + uint8(i), c.G + uint8(p), c.B, 255})
				}
				write(t, encode(t, img), dir, part, "rgb", name, fmt.Sprint(i, ".png"))
			}
		}
	}
}

func TestProbe(t *testing.T) {
	model, dir, cache := trained(t), t.TempDir(), t.TempDir()
	classFolders(t, dir, []string{"train", "validation"}, map[string]color.RGBA{"red": {200, 0, 0, 255}, "blue": {0, 0, 200, 255}})
	args := []string{"probe", "-from", model, "-data", dir, "-cache", cache}
	code, text, stderr := gomae(args...)
	if code != 0 || stderr != "" || !strings.Contains(text, "2 classes, 8 images to learn from, 8 to judge, seen as rgb\n") ||
		!strings.Contains(text, "linear classifier  100.0 %") || !strings.Contains(text, "20 neighbours") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, text, stderr)
	}
	if files, err := os.ReadDir(cache); err != nil || len(files) != 2 {
		t.Errorf("%d files of features, %v, want 2", len(files), err)
	}
	code, out, stderr := gomae(append(args, "-json", "-inputs", "rgb", "-workers", "1")...)
	var got struct {
		Metrics map[string]float64
		Inputs  []string
		Train   int `json:"train_images"`
	}
	if err := json.Unmarshal([]byte(out), &got); code != 0 || stderr != "" || err != nil {
		t.Fatalf("exit %d, stderr %q, %v", code, stderr, err)
	}
	if fmt.Sprint(got.Metrics) != "map[knn_top1:100 knn_top5:100 linear_top1:100 linear_top5:100]" || fmt.Sprint(got.Inputs, got.Train) != "[rgb] 8" {
		t.Errorf("%+v", got)
	}
	if files, err := os.ReadDir(cache); err != nil || len(files) != 2 {
		t.Errorf("the second time %d files of features, %v", len(files), err)
	}
}

func TestProbeErrors(t *testing.T) {
	model, dir := trained(t), t.TempDir()
	t.Chdir(dir)
	red := map[string]color.RGBA{"red": {200, 0, 0, 255}}
	both := map[string]color.RGBA{"red": {200, 0, 0, 255}, "blue": {0, 0, 200, 255}}
	classFolders(t, "flat", []string{""}, both)
	classFolders(t, "one", []string{"train", "val"}, red)
	classFolders(t, "more", []string{"train"}, both)
	classFolders(t, "more", []string{"val"}, map[string]color.RGBA{"green": {0, 200, 0, 255}})
	classFolders(t, "bad", []string{"train", "val"}, both)
	write(t, []byte("text"), "bad", "val", "rgb", "red", "0.png")
	if err := os.MkdirAll(filepath.Join("empty", "train"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join("empty", "val"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "flag missing: -from DIR"},
		{"-from MODEL", 2, "flag missing: -data DIR"},
		{"-from none -data one", 1, "none…config.json"},
		{"-from MODEL -data none", 1, "none"},
		{"-from MODEL -data flat", 1, "flat has no train and val…" + filepath.Join("flat", "train", "rgb", "CLASS")},
		{"-from MODEL -data empty", 1, filepath.Join("empty", "train") + " has no folder of a modality…rgb, depth, semseg"},
		{"-from MODEL -data one -inputs rgb,dept", 2, `-inputs rgb,dept…"dept"…rgb, depth, semseg`},
		{"-from MODEL -data one -inputs rgb,rgb", 2, "rgb is listed twice"},
		{"-from MODEL -data one -inputs depth", 1, filepath.Join("one", "train", "depth") + ": no such folder"},
		{"-from MODEL -data one", 1, "class red…two classes"},
		{"-from MODEL -data more", 1, "green…no training images…blue, red"},
		{"-from MODEL -data bad", 1, filepath.Join("bad", "val", "rgb", "red", "0.png") + ": neither a PNG"},
		{"-from MODEL -data one -workers -1", 2, "-workers -1"},
		{"-from MODEL -data one x", 2, `unexpected argument "x"`},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Fields(strings.Replace(c.args, "MODEL", model, 1))
			refuses(t, c.code, c.want, append([]string{"probe", "-cache", t.TempDir()}, args...)...)
		})
	}
}
