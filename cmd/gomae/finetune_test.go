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
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
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
		Metrics map[string]float64
		Samples int
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || r.Metrics["miou"] <= 0 || r.Samples == 0 {
		t.Errorf("%v: %s", err, stdout)
	}
	m, err := heads.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c := m.Config; strings.Join(c.Inputs.Names(), ",") != "rgb,depth" || c.Train.Samples != 4 || c.Outputs[0].NumClasses != 16 || c.Train.From == "" {
		t.Errorf("configuration %s", c.JSON())
	}
	if code, _, stderr := gomae(append(args, "-resume", "-from=", "-config=")...); code != 0 || !strings.Contains(stderr, "all 2 steps had been done") {
		t.Errorf("-resume: exit %d, %s", code, stderr)
	}
	for _, c := range []struct {
		name, flag, value, want string
	}{
		{"steps", "-steps", "3", "-steps 3…2"}, {"task", "-task", "depth", "-task depth…semseg"}, {"head", "-head", "segmenter", "-head segmenter…convnext"},
		{"inputs", "-inputs", "rgb", "-inputs rgb…rgb,depth"}, {"samples", "-samples", "5", "-samples 5…4"}, {"from", "-from", dir, "-from"},
		{"values left out", "-depth-invalid", "7", "-depth-invalid 7…none"}, {"ids left out", "-ignore", "7", "-ignore 7…none"},
		{"encoder", "-preset", "base", "-preset base…no preset"}, {"unit", "-unit", "2", "-unit 2…0"},
	} {
		t.Run("contradiction of "+c.name, func(t *testing.T) {
			code, _, stderr := gomae("finetune", "-out", dir, "-resume", c.flag, c.value)
			if code != 2 || !testkit.Mentions(stderr, c.want) {
				t.Errorf("exit %d, %s", code, stderr)
			}
		})
	}
}

// TestFinetuneConfiguration wants flags to reach the configuration, and what they leave open to come from
// the model of -from.
func TestFinetuneConfiguration(t *testing.T) {
	t.Chdir(t.TempDir())
	if code, _, stderr := gomae("render", "-out", "set", "-n", "10", "-size", "32"); code != 0 {
		t.Fatal(stderr)
	}
	if code, _, stderr := gomae("pretrain", "-config", tinyConfig(t, nil), "-data", "set", "-depth-invalid", "0,65535", "-steps", "1", "-batch", "2", "-out", "pre"); code != 0 {
		t.Fatal(stderr)
	}
	for _, c := range []struct {
		args              string
		input, output, in string // invalid values of the depth input and of the output; names of the inputs
		unit              float64
	}{
		{"-task semseg -inputs rgb,depth", "0,65535", "", "rgb,depth", 0},
		{"-task semseg -inputs rgb,depth -depth-invalid 3 -ignore 4", "3", "4", "rgb,depth", 0},
		{"-task depth -inputs rgb", "", "0,65535", "rgb", 0},
		{"-task depth -inputs rgb -data scenes -unit 0 -samples 0", "", "0,65535", "rgb", scenes.DepthUnit}, // zeros for what is not set
		{"-task depth -inputs rgb -depth-invalid 3 -unit 0.5", "", "3", "rgb", 0.5},
	} {
		args := append([]string{"finetune", "-from", "pre", "-data", "set", "-steps", "1", "-batch", "2", "-out", "fine"}, strings.Fields(c.args)...)
		if err := os.RemoveAll("fine"); err != nil {
			t.Fatal(err)
		}
		for _, resume := range []string{"-resume=false", "-resume"} {
			if code, _, stderr := gomae(append(args, resume)...); code != 0 {
				t.Fatalf("%s %s: %s", c.args, resume, stderr)
			}
		}
		m, err := heads.LoadConfig(os.DirFS("fine"), "config.json")
		if err != nil {
			t.Fatal(err)
		}
		input := ""
		if in := m.Input("depth"); in != nil {
			input = (*numberList)(&in.Invalid).String()
		}
		output := (*numberList)(&m.Outputs[0].Invalid).String()
		if in, unit := strings.Join(m.Inputs.Names(), ","), m.Outputs[0].Unit; input != c.input || output != c.output || in != c.in || unit != c.unit {
			t.Errorf("%s: depth without %q, truth without %q, inputs %s, unit %g", c.args, input, output, in, unit)
		}
	}
	if data, err := filepath.Abs("set"); err != nil {
		t.Fatal(err)
	} else if b, err := os.ReadFile(filepath.Join("fine", "config.json")); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile("relative.json", []byte(strings.Replace(string(b), data, "set", 1)), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := gomae("finetune", "-config", "relative.json", "-out", "again"); code != 0 || !strings.Contains(stderr, "depth from rgb") {
		t.Fatal(stderr)
	}
	if m, err := heads.LoadConfig(os.DirFS("again"), "config.json"); err != nil || !filepath.IsAbs(m.Train.Data) {
		t.Errorf("%v: data %s", err, m.Train.Data)
	} else if m.Train.Freeze || m.Encoder.DropPath != 0.1 {
		t.Errorf("not frozen: freeze %v, drop_path %g", m.Train.Freeze, m.Encoder.DropPath)
	}
	// "pre" of the last run was given with -from; the run "again" has it from the file.
	if m, err := heads.LoadConfig(os.DirFS("again"), "config.json"); err != nil || filepath.Base(m.Train.From) != "pre" {
		t.Errorf("%v: train.from %q", err, m.Train.From)
	}
	for _, resume := range []string{"-resume=false", "-resume"} {
		if code, _, stderr := gomae("finetune", "-config", "relative.json", "-freeze", "-out", "frozen", resume); code != 0 {
			t.Fatal(stderr)
		}
		if m, err := heads.LoadConfig(os.DirFS("frozen"), "config.json"); err != nil || !m.Train.Freeze || m.Encoder.DropPath != 0 {
			t.Errorf("%v: freeze %v, drop_path %g", err, m.Train.Freeze, m.Encoder.DropPath)
		}
	}
}

// TestFinetuneSemanticInput wants semantic maps that are an input to have the classes of the data, from a
// preset and as a further input.
func TestFinetuneSemanticInput(t *testing.T) {
	listed := t.TempDir()
	if err := data.WriteClassNames(listed, map[string][]string{"semseg": {"sky", "tree"}}); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]int{scenesData: 16, t.TempDir(): 133, listed: 2} {
		f := &finetuneFlags{preset: "tiny", inputs: "rgb,semseg"}
		f.data = source
		b, err := f.backbone(nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := b.Input("semseg").NumClasses; n != want {
			t.Errorf("%s: a preset has %d classes, want %d", source, n, want)
		}
		b.Inputs = multimae.Inputs{*b.Input("rgb")}
		if err := f.setInputs(b, "depth"); err != nil || b.Input("semseg").NumClasses != want {
			t.Errorf("%s: %v, a further input %+v, want %d classes", source, err, b.Inputs, want)
		}
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
		{"unit of scenes", "-task depth -unit 2", 2, "-unit 2…0.000244"},
		{"values of no depth", "-task semseg -inputs rgb -depth-invalid 7", 2, "-depth-invalid 7…depth"},
		{"unit beside a file", "-config c.json -unit 2", 2, "-config…-unit"},
		{"unit of classes", "-task semseg -unit 2", 2, "-unit 2…depth"},
		{"classes of depth", "-task depth -classes 3", 2, "-classes 3…semseg"},
		{"classes of folders", "-task classify -classes 3 -data " + labels, 2, "-classes 3…semseg"},
		{"other classes than the scenes have", "-task semseg -classes 3", 2, "-classes 3…16"},
		{"target of folders", "-task classify -target semseg -data " + labels, 2, "-target semseg…CLASS"},
		{"negative size", "-task semseg -size -1", 2, "-size -1"},
		{"size", "-task semseg -size 63", 1, "image_size"},
		{"odd number of patches for dpt", "-task depth -preset small -size 208", 1, "dpt…208…13…224"},
		{"no truth", "-task semseg -data " + set, 1, "semseg…-target"},
		{"nothing measured", "-task depth -depth-invalid 7 -batch 2 -data " + set, 1, "depth…valid pixel"},
		{"nothing labelled", "-task semseg -target void -batch 2 -data " + set, 1, "void…0 class"},
		{"nothing labelled of the classes given", "-task semseg -target void -classes 3 -batch 2 -data " + set, 1, "void…labels below 3"},
		{"one class", "-task semseg -target ids -classes 1 -data " + set, 2, "-classes 1…two"},
		{"class ids outside the head", "-task semseg -target ids -classes 3 -batch 2 -data " + set, 1, filepath.Join(set, "ids", "x") + "….png…class id 4…num_classes"},
		{"class ids outside the head that would be left out", "-task semseg -target ids -classes 3 -skip-bad -data " + set, 1, "-classes 3…ids up to 4…5…-ignore"},
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
