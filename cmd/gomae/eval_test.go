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

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
)

// finetuned writes a model folder with random weights that predicts from colour.
func finetuned(t *testing.T, outputs ...heads.Output) string {
	t.Helper()
	c := &heads.Config{BackboneConfig: tiny.Config().BackboneConfig, Outputs: outputs}
	c.Model, c.Inputs = "multivit", c.Inputs[:1]
	m, err := heads.NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(1)
	dir := filepath.Join(t.TempDir(), "model")
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

var (
	semsegHead = heads.Output{
		Name: "semseg", Head: heads.ConvNeXt, NumClasses: len(scenes.Classes), Loss: heads.LossCrossEntropy,
		MainTasks: []string{"rgb"}, EmbedDim: 16, PredsPerPatch: 4, Classes: scenes.Classes,
	}
	depthHead = heads.Output{
		Name: "depth", Head: heads.ConvNeXt, NumClasses: 1, Loss: heads.LossL1, MainTasks: []string{"rgb"}, EmbedDim: 16, PredsPerPatch: 4, Unit: scenes.DepthUnit,
	}
	classHead = heads.Output{
		Name: "class", Head: heads.Linear, NumClasses: 2, Loss: heads.LossCrossEntropy, MeanPooling: true, Classes: []string{"blue", "red"},
	}
)

// evalMetrics returns what eval -json prints as metrics.
func evalMetrics(t *testing.T, args ...string) (metrics map[string]float64, samples int) {
	t.Helper()
	code, out, stderr := gomae(append([]string{"eval", "-json"}, args...)...)
	var got struct {
		Metrics map[string]float64
		Samples int
	}
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatalf("%v: exit %d, %v, stderr %q", args, code, err, stderr)
	}
	return got.Metrics, got.Samples
}

func TestEval(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, args := range [][]string{{"-out", "whole", "-n", "3"}, {"-out", "parts", "-n", "6", "-split", "0.5"}} {
		if code, _, stderr := gomae(append([]string{"render", "-size", "24"}, args...)...); code != 0 {
			t.Fatal(stderr)
		}
	}
	if err := os.Rename(filepath.Join("parts", "val"), filepath.Join("parts", "validation")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join("parts", "test"), os.DirFS("whole")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join("trained", "train"), os.DirFS("whole")); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"val", "test"} {
		if err := os.CopyFS(filepath.Join("held", part), os.DirFS("whole")); err != nil {
			t.Fatal(err)
		}
	}
	semseg, depth := finetuned(t, semsegHead), finetuned(t, depthHead)
	refuses(t, 1, "held: has val, but no train", "eval", "-model", semseg, "-data", "held", "-split", "train")
	both := finetuned(t, semsegHead, depthHead)

	code, out, stderr := gomae("eval", "-model", semseg, "-data", "whole", "-out", "grid.png", "-confusion", "confusion.png")
	if code != 0 || stderr != "wrote grid.png\nwrote confusion.png\n" || !strings.HasPrefix(out, "3 samples\n\nsemseg\n") ||
		!strings.Contains(out, "miou") || !strings.Contains(out, "floor") || !strings.Contains(out, "of the truth") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, stderr)
	}
	if s := readPNG(t, "grid.png").Bounds().Size(); s.X < 2*4*160 {
		t.Errorf("a grid of %v", s)
	}
	readPNG(t, "confusion.png")
	first, n := evalMetrics(t, "-model", semseg, "-data", "whole")
	if _, ok := first["miou"]; !ok || len(first) != 3 || n != 3 {
		t.Errorf("%v of %d samples", first, n)
	}
	if again, _ := evalMetrics(t, "-model", semseg, "-data", "whole", "-workers", "1"); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("with one worker %v, with all %v", again, first)
	}
	if m, _ := evalMetrics(t, "-model", depth, "-data", "whole"); len(m) != 12 || m["delta1"] > m["delta3"] || m["rmse_aligned"] > m["rmse"] || m["rmse"] <= 0 {
		t.Errorf("%v", m)
	}
	m, _ := evalMetrics(t, "-model", both, "-data", "whole")
	if _, ok := m["semseg.miou"]; !ok || len(m) != 15 {
		t.Errorf("two outputs: %v", m)
	}
	for _, x := range []struct {
		args string
		n    int
	}{
		{"-data parts", 3}, {"-data parts -split val", 3}, {"-data parts -split train", 3}, {"-data parts -split test", 3},
		{"-data trained", 1}, {"-data trained -split val", 1}, {"-data trained -split train", 2},
		{"-data held", 3}, {"-data held -split val", 3}, {"-data held -split test", 3},
		{"-data whole -samples 2", 2}, {"-data scenes -samples 5", 5}, {"-data whole -size 24", 3}, {"-data whole -size 32 -slide", 3},
	} {
		if _, n := evalMetrics(t, append([]string{"-model", semseg}, strings.Fields(x.args)...)...); n != x.n {
			t.Errorf("%s: %d samples, want %d", x.args, n, x.n)
		}
	}
	// Ids to ignore are those of no class.
	ignoring := semsegHead
	ignoring.Invalid = []float64{0}
	code, out, stderr = gomae("eval", "-json", "-model", finetuned(t, ignoring), "-data", "whole")
	var counts struct {
		Outputs []struct {
			Pixels  int
			Classes []struct{ Truth int }
		}
	}
	if err := json.Unmarshal([]byte(out), &counts); code != 0 || err != nil {
		t.Fatalf("exit %d, %v, stderr %q", code, err, stderr)
	}
	if o := counts.Outputs[0]; o.Classes[0].Truth != 0 || o.Classes[1].Truth == 0 || o.Pixels >= 3*24*24 {
		t.Errorf("id 0 is ignored, but %d of %d pixels are of class 0", o.Classes[0].Truth, o.Pixels)
	}
	test, _ := evalMetrics(t, "-model", semseg, "-data", "parts", "-split", "test")
	if fmt.Sprint(test) != fmt.Sprint(first) {
		t.Errorf("parts/test, a copy of whole: %v, want %v", test, first)
	}

	// A file that is no image stops, or is left out.
	write(t, []byte("text"), "whole", "rgb", "scene", "000001.png")
	refuses(t, 1, "000001.png: neither a PNG", "eval", "-model", semseg, "-data", "whole")
	code, _, stderr = gomae("eval", "-model", semseg, "-data", "whole", "-skip-bad", "-out", "grid.png")
	if code != 0 || !strings.Contains(stderr, "left out 1 sample that") {
		t.Errorf("-skip-bad: exit %d, stderr %q", code, stderr)
	}
}

func TestEvalClasses(t *testing.T) {
	model, dir := finetuned(t, classHead), t.TempDir()
	t.Chdir(dir)
	classFolders(t, "photos", []string{"train", "val"}, map[string]color.RGBA{"red": {200, 0, 0, 255}, "blue": {0, 0, 200, 255}})
	m, n := evalMetrics(t, "-model", model, "-data", "photos", "-out", "grid.png")
	if n != 8 || len(m) != 3 || m["top5"] != 100 || m["top1"] < 0 || m["top1"] != m["mean_accuracy"] {
		t.Errorf("%v of %d samples", m, n)
	}
	readPNG(t, "grid.png")
	refuses(t, 1, "rendered scenes have no class", "eval", "-model", model, "-data", "scenes")
	classFolders(t, "more", []string{"val", "train"}, map[string]color.RGBA{"green": {0, 200, 0, 255}})
	refuses(t, 1, "green…blue, red", "eval", "-model", model, "-data", "more")
}

func TestEvalErrors(t *testing.T) {
	pretrained, semseg, depth := trained(t), finetuned(t, semsegHead), finetuned(t, depthHead)
	invalid := depthHead
	invalid.Invalid = []float64{0}
	holes := finetuned(t, invalid)
	t.Chdir(t.TempDir())
	if code, _, stderr := gomae("render", "-out", "whole", "-n", "1", "-size", "24"); code != 0 {
		t.Fatal(stderr)
	}
	for _, name := range []string{"unlabelled", "ids", "holes", filepath.Join("divided", "train"), filepath.Join("divided", "val")} {
		if err := os.CopyFS(name, os.DirFS("whole")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join("unlabelled", "semseg")); err != nil {
		t.Fatal(err)
	}
	ids := image.NewGray(image.Rect(0, 0, 24, 24))
	ids.SetGray(3, 1, color.Gray{Y: 16})
	write(t, encode(t, ids), "ids", "semseg", "scene", "000000.png")
	write(t, encode(t, image.NewGray16(image.Rect(0, 0, 24, 24))), "holes", "depth", "scene", "000000.png")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "flag missing: -model DIR"},
		{"-model SEMSEG", 2, "flag missing: -data DIR"},
		{"-model none -data whole", 1, "none…config.json…gomae finetune"},
		{"-model PRETRAINED -data whole", 1, "no head…gomae finetune -task TASK -from"},
		{"-model SEMSEG -data none", 1, "none"},
		{"-model SEMSEG -data unlabelled", 1, "unlabelled has no labels: output semseg…" + filepath.Join("unlabelled", "semseg")},
		{"-model SEMSEG -data ids", 1, filepath.Join("ids", "semseg", "scene", "000000.png") + ": pixel (3,1) has class id 16, outside 0..15"},
		{"-model HOLES -data holes", 1, "output depth: none of 1 samples has a valid pixel"},
		{"-model SEMSEG -data whole -split middle", 2, "-split middle: want train, val or test"},
		{"-model SEMSEG -data whole -split test", 1, "whole: has no folder test"},
		{"-model SEMSEG -data divided -split test", 1, "divided: has no folder test"},
		{"-model SEMSEG -data scenes -split test", 2, "-split test: rendered scenes"},
		{"-model SEMSEG -data whole -size 20", 1, "size: got 20 pixels, want a multiple of 8"},
		{"-model SEMSEG -data whole -size -8", 2, "-size -8"},
		{"-model SEMSEG -data whole -slide -size 8", 1, "size: got 8 pixels, want at least 16"},
		{"-model DEPTH -data whole -confusion c.png", 2, "-confusion: the model predicts no classes"},
		{"-model SEMSEG -data whole -out none/grid.png", 1, "none/grid.png"},
		{"-model none -data none -out grid.gif", 2, "-out grid.gif: pictures are written as PNG or JPEG"},
		{"-model none -data none -confusion c.gif", 2, "-confusion c.gif: pictures are written as PNG or JPEG"},
		{"-model SEMSEG -data whole x", 2, `unexpected argument "x"`},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Fields(strings.NewReplacer("SEMSEG", semseg, "DEPTH", depth, "HOLES", holes, "PRETRAINED", pretrained).Replace(c.args))
			code, _, stderr := gomae(append([]string{"eval"}, args...)...)
			if code != c.code || !testkit.Mentions(stderr, c.want) {
				t.Errorf("exit %d, stderr %q; want %d and %q", code, stderr, c.code, c.want)
			}
		})
	}
}
