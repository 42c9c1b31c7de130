package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/vit"
)

// tinyConfig writes a config.json of a model of 12 tokens that learns for 6 steps, changed by edit.
func tinyConfig(t *testing.T, edit func(c *multimae.Config)) (path string) {
	t.Helper()
	classes := len(scenes.Classes)
	c := &multimae.Config{
		BackboneConfig: multimae.BackboneConfig{
			Model:     "multimae",
			Encoder:   vit.Config{Dim: 16, Depth: 1, Heads: 2, MLPRatio: 2, QKVBias: true, LayerNormEps: 1e-6},
			ImageSize: 16, PatchSize: 8, NumGlobalTokens: 1,
			Inputs: multimae.Inputs{
				{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1},
				{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1},
				{Name: "semseg", Kind: multimae.KindClasses, NumClasses: classes, Stride: 2, ClassEmbDim: 4},
			},
		},
		Outputs: multimae.Outputs{
			{Name: "rgb", Channels: 3, Stride: 1, Task: "rgb", Loss: multimae.LossMSE},
			{Name: "depth", Channels: 1, Stride: 1, Task: "depth", Loss: multimae.LossL1},
			{Name: "semseg", Channels: classes, Stride: 2, Task: "semseg", Loss: multimae.LossCrossEntropy},
		},
		Optim: multimae.Optim{LR: 1e-3, Betas: [2]float64{0.9, 0.95}, Eps: 1e-8, WeightDecay: 0.05},
		Train: multimae.Train{Steps: 6, WarmupSteps: 2, Batch: 4, NumEncodedTokens: 4, Alphas: multimae.Alphas{1}, Flip: true, SaveEvery: 2, LogEvery: 1},
	}
	for i := range c.Outputs {
		o := &c.Outputs[i]
		o.Dim, o.Depth, o.Heads, o.UseTaskQueries = 8, 1, 2, true
	}
	if edit != nil {
		edit(c)
	}
	path = filepath.Join(t.TempDir(), "tiny.json")
	write(t, c.JSON(), path)
	return path
}

// trained is a model folder that a test may read but not change.
func trained(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "model")
	if code, _, stderr := gomae("pretrain", "-config", tinyConfig(t, nil), "-out", dir, "-steps", "1"); code != 0 {
		t.Fatal(stderr)
	}
	return dir
}

// lines are those of metrics.jsonl, without what is measured.
func lines(t *testing.T, dir string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, train.MetricsFile))
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`, "(images_per_s|data_wait_s)": [-+.e0-9]+`).ReplaceAllString(string(b), "")
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// sameRun compares two run folders.
func sameRun(t *testing.T, a, b string) {
	t.Helper()
	for _, name := range []string{filepath.Base(lastCheckpoint(a)), multimae.WeightsFile, train.PicturesFile, filepath.Join(train.BestDir, multimae.WeightsFile)} {
		x, err1 := os.ReadFile(filepath.Join(a, name))
		y, err2 := os.ReadFile(filepath.Join(b, name))
		if err1 != nil || err2 != nil || !bytes.Equal(x, y) {
			t.Errorf("%s differs: %v, %v", name, err1, err2)
		}
	}
	if x, y := lines(t, a), lines(t, b); !slices.Equal(x, y) {
		t.Errorf("metrics\n%s\nand\n%s", strings.Join(x, "\n"), strings.Join(y, "\n"))
	}
}

// lastCheckpoint is the path of a run's last checkpoint, "" where there is none.
func lastCheckpoint(dir string) string {
	all, _ := filepath.Glob(filepath.Join(dir, "checkpoint-*.safetensors")) // sorted
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// TestPretrain trains on rendered scenes.
func TestPretrain(t *testing.T) {
	config, dir := tinyConfig(t, nil), t.TempDir()
	out := filepath.Join(dir, "a run")
	code, stdout, stderr := gomae("pretrain", "-config", config, "-out", out, "-seed", "3", "-cpuprofile", filepath.Join(dir, "cpu"), "-memprofile", filepath.Join(dir, "mem"))
	if code != 0 {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	for _, want := range []string{"masked patches of 256 samples", "task    loss  average's  ratio      figure  model  average", "   rgb ", " depth ", "semseg ", "PSNR dB", "L1", "accuracy %"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	for _, want := range []string{
		"training from step 1 to 6: 4 samples a step, out of 65536; 256 held out for validation\n", "trained to step 6 in ", " s of it waiting for data; the run is in '" + out + "'\n",
		"look at '" + filepath.Join(out, train.PicturesFile) + "'\n",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in\n%s", want, stderr)
		}
	}
	for _, name := range []string{"cpu", "mem"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() == 0 {
			t.Errorf("no %s profile: %v", name, err)
		}
	}
	m, err := multimae.LoadDir(out)
	if err != nil || m.Config.Train.Seed != 3 || m.Config.Train.Data != "scenes" || m.Config.Train.Steps != 6 {
		t.Fatalf("%v, %+v", err, m.Config.Train)
	}
	if got := lines(t, out); len(got) != 7 || !strings.HasPrefix(got[0], `{"step": 1, "epoch": 0, "loss": `) || !strings.Contains(got[6], `"val.loss": `) {
		t.Errorf("metrics %v", got)
	}

	// Another run is not overwritten.
	before, err := os.ReadFile(lastCheckpoint(out))
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = gomae("pretrain", "-config", config, "-out", out)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "holds a run already (config.json); use -resume to go on with it, or give another -out") {
		t.Errorf("again: exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if after, err := os.ReadFile(lastCheckpoint(out)); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the other run was changed: %v", err)
	}

	// A finished run says so.
	code, again, stderr := gomae("pretrain", "-out", out, "-resume", "-workers", "1")
	if code != 0 || !strings.Contains(again, "accuracy %") || !strings.Contains(stderr, "all 6 steps were done before; validated again") {
		t.Errorf("finished: exit %d, stdout %q, stderr %q", code, again, stderr)
	}

	// Figures as JSON are those of the table.
	code, stdout, stderr = gomae("pretrain", "-out", out, "-resume", "-json")
	var e train.Evaluation
	dec := json.NewDecoder(strings.NewReader(stdout))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil || code != 0 || e.Samples != 256 || len(e.Scores) != 3 {
		t.Fatalf("exit %d, %v, %+v, stderr %q", code, err, e, stderr)
	}
	for _, s := range e.Scores {
		if row := fmt.Sprintf("%.4f", s.Loss); !strings.Contains(again, row) || !strings.Contains(again, fmt.Sprintf("%.2f\n", s.Trivial)) {
			t.Errorf("%+v is not in\n%s", s, again)
		}
	}
}

// TestPretrainFlags checks what flags make of a preset or of a file.
func TestPretrainFlags(t *testing.T) {
	given := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	c, err := (&pretrainFlags{keep: 2, preset: "tiny", data: "scenes", steps: 20, batch: 5, seed: 9, given: given("steps")}).configuration()
	if err != nil {
		t.Fatal(err)
	}
	preset, err := multimae.Preset("tiny", len(scenes.Classes))
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Train; w.Steps != 20 || w.WarmupSteps != preset.Train.WarmupSteps*20/preset.Train.Steps || w.Batch != 5 || w.Seed != 9 || w.Data != "scenes" || c.Input("semseg").NumClasses != 16 {
		t.Errorf("%+v", w)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if c, err = (&pretrainFlags{keep: 2, preset: "base", data: "photos", given: given("data", "preset")}).configuration(); err != nil {
		t.Fatal(err)
	}
	if c.Train.Data != filepath.Join(here, "photos") || c.Input("semseg").NumClasses != 133 {
		t.Errorf("%+v", c.Train)
	}
	if c, err = (&pretrainFlags{keep: 2, preset: "base", data: "photos", classes: 40, given: given("data")}).configuration(); err != nil || c.Input("semseg").NumClasses != 40 {
		t.Errorf("%v", err)
	}
	// A file's own values stay where no flag is given.
	path := tinyConfig(t, func(c *multimae.Config) { c.Train.Seed, c.Train.Data = 77, "/photos" })
	if c, err = (&pretrainFlags{keep: 2, config: path, data: "scenes", given: given("config")}).configuration(); err != nil || c.Train.Seed != 77 || c.Train.Data != "/photos" || c.Train.Steps != 6 || c.Train.WarmupSteps != 2 {
		t.Errorf("%v, %+v", err, c.Train)
	}
	if c, err = (&pretrainFlags{keep: 2, config: path, data: "scenes", steps: 3, given: given("config", "data", "seed", "steps")}).configuration(); err != nil || c.Train.Seed != 0 || c.Train.Data != "scenes" || c.Train.WarmupSteps != 1 {
		t.Errorf("%v, %+v", err, c.Train)
	}
}

// TestPretrainUsage: exit code 2 and no folder.
func TestPretrainUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct{ args, want string }{
		{"-preset tny", `unknown preset "tny"; did you mean "tiny"?`},
		{"-stepss 3", "unknown flag -stepss; did you mean -steps?"},
		{"-steps -1", "-steps -1: want 0 or more"},
		{"-batch -1", "-batch -1: want 0 or more"},
		{"-workers -1", "-workers -1: want 0 or more"},
		{"-keep 0", "-keep 0: want 1 or more"},
		{"-seed x", "flag -seed: want a whole number, 0 or more"},
		{"-classes 255", "num_classes: got 255, want 1..254"},
		{"scenes", `unexpected argument "scenes"`},
		{"-config x -preset base", "-config gives the whole model; leave out -preset and -classes"},
		{"-resume -steps 5", "-steps: a run is resumed as it was configured in out/config.json; leave the flag out, or start another run"},
		{"-resume -out x -data y", "-data: a run is resumed as it was configured in x/config.json"},
		{"-resume -preset tiny", "-preset: a run is resumed"},
		{"-resume -config c", "-config: a run is resumed"},
		{"-resume -seed 1", "-seed: a run is resumed"},
		{"-resume -batch 1", "-batch: a run is resumed"},
		{"-resume -classes 1", "-classes: a run is resumed"},
	} {
		code, stdout, stderr := gomae(append([]string{"pretrain"}, strings.Fields(c.args)...)...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, c.want) || !strings.Contains(stderr, "-h") {
			t.Errorf("%q: exit %d, stdout %q, stderr %q; want 2 and %q", c.args, code, stdout, stderr, c.want)
		}
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// TestPretrainBadConfig: exit code 1, the key and the value, and no folder.
func TestPretrainBadConfig(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		edit func(c *multimae.Config)
		want string
	}{
		{func(c *multimae.Config) { c.ImageSize = 20 }, "image_size: 20×20 is not divisible by patch_size 8; use a multiple such as 16"},
		{func(c *multimae.Config) { c.Train.NumEncodedTokens = 13 }, "train.num_encoded_tokens: got 13, but the inputs have only 12 patches"},
		{func(c *multimae.Config) { c.Outputs[1].Task = "deph" }, `outputs.depth.task: "deph" is not an input; did you mean "depth"?`},
		{func(c *multimae.Config) { c.Inputs[1].Name, c.Outputs[1].Task = "thermal", "thermal" }, "inputs.thermal: rendered scenes have rgb, depth and semseg only; give a dataset folder with -data"},
		{func(c *multimae.Config) { c.Inputs[2].NumClasses, c.Outputs[2].Channels = 9, 9 }, "inputs.semseg.num_classes: got 9, but rendered scenes have 16 classes"},
		{func(c *multimae.Config) { c.Train = multimae.Train{} }, `has no "train" and so does not say how to train`},
		{func(c *multimae.Config) { c.Train.Batch = 1 << 20 }, "train.batch: got 1048576, but there are only 65536 samples to train on"},
		{func(c *multimae.Config) { c.Optim.LR = 0 }, "optim: got"},
		{func(c *multimae.Config) { c.Train.Data = "photos" }, "train.data: there is no folder " + filepath.Join(must(os.Getwd()), "photos") + "; give one with -data"},
	} {
		code, stdout, stderr := gomae("pretrain", "-config", tinyConfig(t, c.edit))
		if code != 1 || stdout != "" || !strings.Contains(stderr, c.want) || strings.Count(stderr, "tiny.json") > 1 {
			t.Errorf("exit %d, stdout %q, stderr %q; want 1 and %q", code, stdout, stderr, c.want)
		}
	}
	for _, c := range []struct{ config, want string }{
		{`{"modle": "multimae"}`, `modle: unknown key at the top level; did you mean "model"?`},
		{`{"model": "multimae"`, "bad.json: unexpected"},
		{"", "bad.json: is empty; want a JSON object"},
	} {
		path := filepath.Join(t.TempDir(), "bad.json")
		write(t, []byte(c.config), path)
		if code, _, stderr := gomae("pretrain", "-config", path); code != 1 || !strings.Contains(stderr, c.want) || !strings.Contains(stderr, path) {
			t.Errorf("%s: exit %d, stderr %q", c.config, code, stderr)
		}
	}
	if code, _, stderr := gomae("pretrain", "-config", "none.json"); code != 1 || !strings.Contains(stderr, "open none.json: no such file") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	if code, _, stderr := gomae("pretrain", "-resume"); code != 1 || !strings.Contains(stderr, "out holds no run to resume") || !strings.Contains(stderr, "leave out -resume to start one there") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestPretrainFolder trains on a dataset folder, and on one with bad files.
func TestPretrainFolder(t *testing.T) {
	config := tinyConfig(t, nil)
	dir := filepath.Join(t.TempDir(), "scenes")
	if code, _, stderr := gomae("render", "-out", dir, "-n", "24", "-size", "20", "-split", "0.25"); code != 0 {
		t.Fatal(stderr)
	}
	out := filepath.Join(t.TempDir(), "out")
	code, stdout, stderr := gomae("pretrain", "-config", config, "-data", dir, "-out", out)
	if code != 0 || !strings.Contains(stdout, "masked patches of 6 samples") || !strings.Contains(stderr, "4 samples a step, out of 18; 6 held out") {
		t.Fatalf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if m, err := multimae.LoadDir(out); err != nil || m.Config.Train.Data != dir {
		t.Errorf("%v, data %s", err, m.Config.Train.Data)
	}

	// A run goes on wherever it is called from, and says where its data were.
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = gomae("pretrain", "-out", out, "-resume")
	if code != 1 || !strings.Contains(stderr, "train.data: there is no folder "+dir+"; ") || !strings.Contains(stderr, "put the right path into its config.json") {
		t.Errorf("data gone: exit %d, stderr %q", code, stderr)
	}
	if err := os.Rename(dir+"2", dir); err != nil {
		t.Fatal(err)
	}

	// Files that spoil a sample, each with its own error.
	rgb := filepath.Join(dir, "train", "rgb", "scene", "000003.png")
	depth := filepath.Join(dir, "train", "depth", "scene", "000003.png")
	semseg := filepath.Join(dir, "val", "semseg", "scene", "000020.png")
	whole, err := os.ReadFile(rgb)
	if err != nil {
		t.Fatal(err)
	}
	var jpg bytes.Buffer
	if err := jpeg.Encode(&jpg, image.NewRGBA(image.Rect(0, 0, 20, 20)), nil); err != nil {
		t.Fatal(err)
	}
	ids := image.NewGray(image.Rect(0, 0, 20, 20))
	ids.SetGray(5, 2, color.Gray{Y: 99})
	for _, c := range []struct {
		name, file string
		content    []byte
		as         string // the extension it gets
		want       string
	}{
		{"truncated PNG", rgb, whole[:len(whole)*2/3], ".png", "truncated image"},
		{"truncated JPEG", rgb, jpg.Bytes()[:jpg.Len()*2/3], ".jpg", "truncated image"},
		{"depth of 8 bits", depth, encode(t, image.NewGray(image.Rect(0, 0, 20, 20))), ".png", "8-bit png, expected 16-bit PNG; store it as"},
		{"class out of range", semseg, encode(t, ids), ".png", "pixel (5,2) has class id 99, outside 0..15; map it"},
		{"another size", depth, encode(t, image.NewGray16(image.Rect(0, 0, 16, 20))), ".png", "16×20 pixels, but " + rgb + " has 20×20; resize it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := os.ReadFile(c.file)
			if err != nil {
				t.Fatal(err)
			}
			bad := strings.TrimSuffix(c.file, ".png") + c.as
			if err := os.Remove(c.file); err != nil {
				t.Fatal(err)
			}
			write(t, c.content, bad)
			defer func() {
				os.Remove(bad)
				write(t, before, c.file)
			}()
			out := filepath.Join(t.TempDir(), "out")
			code, stdout, stderr := gomae("pretrain", "-config", config, "-data", dir, "-out", out)
			if code != 1 || stdout != "" || !strings.Contains(stderr, bad+": "+c.want) {
				t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			args := []string{"pretrain", "-out", out, "-skip-bad"}
			if lastCheckpoint(out) != "" {
				if !strings.Contains(stderr, "The run is saved at step ") {
					t.Errorf("stderr %q", stderr)
				}
				args = append(args, "-resume") // it stopped later, and goes on
			} else {
				if _, err := os.Stat(out); err == nil {
					t.Error("a folder without a run is left")
				}
				args = append(args, "-config", config, "-data", dir)
			}
			code, stdout, stderr = gomae(args...)
			if code != 0 || !strings.Contains(stdout, "masked patches of ") || !strings.Contains(stderr, "left out 1 sample that could not be read ("+bad+": "+c.want) || !strings.Contains(stderr, `"gomae data check" lists them`) {
				t.Errorf("%v: exit %d, stdout %q, stderr %q", args, code, stdout, stderr)
			}
		})
	}

	// Files without partners are found before anything is done.
	if err := os.Remove(depth); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(t.TempDir(), "none")
	if code, _, stderr := gomae("pretrain", "-config", config, "-data", dir, "-out", none); code != 1 || !strings.Contains(stderr, rgb+": has no partner in depth; add "+depth) {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	if err := os.RemoveAll(filepath.Join(dir, "val", "rgb")); err != nil {
		t.Fatal(err)
	}
	write(t, whole, depth[:len(depth)-len("000003.png")]+"000003.png")
	if code, _, stderr := gomae("pretrain", "-config", config, "-data", filepath.Join(dir, "val"), "-out", none); code != 1 || !strings.Contains(stderr, filepath.Join(dir, "val", "rgb")+": no such folder; create it") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	empty := t.TempDir()
	if code, _, stderr := gomae("pretrain", "-config", config, "-data", empty, "-out", none); code != 1 || !strings.Contains(stderr, filepath.Join(empty, "rgb")+": no such folder") {
		t.Errorf("empty: exit %d, stderr %q", code, stderr)
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("a folder without a run is left")
	}
}

// cancelAfter is stderr that interrupts when it has got some text.
type cancelAfter struct {
	bytes.Buffer
	text   string
	cancel context.CancelFunc
}

func (c *cancelAfter) Write(b []byte) (int, error) {
	n, err := c.Buffer.Write(b)
	if strings.Contains(c.String(), c.text) {
		c.cancel()
	}
	return n, err
}

// TestPretrainInterrupted follows the advice that the command gives.
func TestPretrainInterrupted(t *testing.T) {
	config, dir := tinyConfig(t, func(c *multimae.Config) { c.Train.ValEvery = 3 }), t.TempDir()
	straight, out := filepath.Join(dir, "straight"), filepath.Join(dir, "out")
	if code, _, stderr := gomae("pretrain", "-config", config, "-out", straight); code != 0 {
		t.Fatal(stderr)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stderr := &cancelAfter{text: "step 3: validation loss ", cancel: cancel}
	code := run(ctx, []string{"pretrain", "-config", config, "-out", out, "-skip-bad"}, io.Discard, stderr)
	_, advice, ok := strings.Cut(stderr.String(), "interrupted after step 3 of 6; everything is saved. To go on: gomae ")
	if code != 1 || !ok {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	if want := "pretrain -out " + out + " -resume -skip-bad\n"; advice != want {
		t.Errorf("advice %q, want %q", advice, want)
	}
	if code, _, stderr := gomae(strings.Fields(advice)...); code != 0 || !strings.Contains(stderr, "training from step 4 to 6") {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	sameRun(t, straight, out)

	// Before the first step, too.
	out = filepath.Join(dir, "early")
	if code, stdout, stderr := gomaeContext(ctx, "pretrain", "-config", config, "-out", out); code != 1 || stdout != "" || !strings.Contains(stderr, "interrupted after step 0 of 6") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if code, _, stderr := gomae("pretrain", "-out", out, "-resume"); code != 0 {
		t.Fatal(stderr)
	}
	sameRun(t, straight, out)
}

// TestPretrainDamaged goes on from the checkpoint before a damaged one, and says so; and where the
// best model is not the last one, it says that, too.
func TestPretrainDamaged(t *testing.T) {
	config := tinyConfig(t, func(c *multimae.Config) {
		c.Optim.LR, c.Train.WarmupSteps, c.Train.ValEvery = 1, 6, 2 // worse with each step
	})
	dir := t.TempDir()
	straight, out := filepath.Join(dir, "straight"), filepath.Join(dir, "out")
	for _, out := range []string{straight, out} {
		code, _, stderr := gomae("pretrain", "-config", config, "-out", out)
		if code != 0 || !regexp.MustCompile(`the lowest validation loss, \d+\.\d{4}, was that of step [24]: the model is in `+filepath.Join(out, "best")+"\n").MatchString(stderr) {
			t.Fatal(code, stderr)
		}
	}
	if code, _, stderr := gomae("reconstruct", "-model", filepath.Join(out, "best"), "-scene", "1", "-out", filepath.Join(dir, "grid.png")); code != 0 {
		t.Error(stderr)
	}
	damage := func(path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-100] ^= 1
		write(t, b, path)
	}
	last, before := lastCheckpoint(out), filepath.Join(out, train.CheckpointName(4))
	damage(last)
	code, _, stderr := gomae("pretrain", "-out", out, "-resume", "-keep", "1")
	if code != 0 || !strings.Contains(stderr, last+" is damaged: its ") || !strings.Contains(stderr, "so it was cut off or changed; going on from step 4\ntraining from step 5 to 6") {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	sameRun(t, straight, out)
	if _, err := os.Stat(before); err == nil {
		t.Error("two checkpoints are kept, want 1")
	}
	damage(last)
	code, stdout, stderr := gomae("pretrain", "-out", out, "-resume")
	if code != 1 || stdout != "" || !strings.Contains(stderr, last+" is damaged: its ") || !strings.Contains(stderr, "restore one of these from a copy, or start another run") {
		t.Errorf("none left: exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// TestPretrainSignal interrupts and kills processes.
func TestPretrainSignal(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	config := tinyConfig(t, func(c *multimae.Config) { c.Train.Steps, c.Train.SaveEvery, c.Train.LogEvery = 1000, 1, 50 })
	out := filepath.Join(t.TempDir(), "out")
	args := []string{"pretrain", "-config", config, "-out", out}
	steps := 0
	for round, signal := range []os.Signal{os.Kill, os.Kill, os.Interrupt} {
		cmd := program(t, nil, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); ; time.Sleep(3 * time.Millisecond) { // until it has saved more than before
			if n := savedStep(out); n > steps+5 {
				steps = n
				break
			}
			if time.Since(began) > 30*time.Second {
				cmd.Process.Kill()
				cmd.Wait()
				t.Fatalf("round %d: no step saved after %d: %s", round, steps, &stderr)
			}
		}
		cmd.Process.Signal(signal)
		cmd.Wait()
		if signal == os.Interrupt && (cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "everything is saved. To go on: gomae pretrain -out "+out+" -resume\n")) {
			t.Errorf("round %d: %v, stderr %q", round, cmd.ProcessState, &stderr)
		}
		if n := savedStep(out); n < steps {
			t.Fatalf("round %d: step %d is saved, it was %d", round, n, steps)
		}
		args = []string{"pretrain", "-out", out, "-resume"}
	}
	if left, _ := filepath.Glob(filepath.Join(out, ".*")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

// savedStep is the step of a run's checkpoint, 0 where there is none.
func savedStep(dir string) int {
	n := 0
	fmt.Sscanf(filepath.Base(lastCheckpoint(dir)), "checkpoint-%d", &n)
	return n
}

// TestPretrainDiskFull goes on with a run where no file may become as large as its checkpoint.
func TestPretrainDiskFull(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs the ulimit of a Linux shell")
	}
	config := tinyConfig(t, func(c *multimae.Config) { c.Train.Steps = 4 })
	dir := t.TempDir()
	straight, out := filepath.Join(dir, "straight"), filepath.Join(dir, "out")
	for _, out := range []string{straight, out} {
		if code, _, stderr := gomae("pretrain", "-config", config, "-out", out); code != 0 {
			t.Fatal(stderr)
		}
	}
	// More steps make the run unfinished.
	path := filepath.Join(out, multimae.ConfigFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, bytes.Replace(b, []byte(`"steps": 4`), []byte(`"steps": 8`), 1), path)
	last := lastCheckpoint(out)
	checkpoint, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", fmt.Sprintf("ulimit -f %d; exec '%s' pretrain -resume -out '%s'", len(checkpoint)/1024, os.Args[0], out))
	cmd.Env = append(os.Environ(), asMain+"=1")
	text, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(text), "file too large; the checkpoint of step 4 is kept in "+last+". Make room there, or make it writable, and go on with -resume") {
		t.Errorf("%v: %s", cmd.ProcessState, text)
	}
	if after, err := os.ReadFile(last); err != nil || !bytes.Equal(after, checkpoint) {
		t.Errorf("the checkpoint was changed: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(out, ".*")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	write(t, b, path)
	if code, _, stderr := gomae("pretrain", "-resume", "-out", out); code != 0 {
		t.Fatal(stderr)
	}
	sameRun(t, straight, out)
}

// TestPretrainDiverges: a rate far too high.
func TestPretrainDiverges(t *testing.T) {
	config := tinyConfig(t, func(c *multimae.Config) {
		c.Optim.LR, c.Train.WarmupSteps, c.Train.Steps, c.Train.SaveEvery = 1e20, 0, 50, 1
	})
	out := filepath.Join(t.TempDir(), "out")
	code, stdout, stderr := gomae("pretrain", "-config", config, "-out", out)
	m := regexp.MustCompile(`gomae pretrain: step (\d+): the .* is (NaN|[-+]Inf); first bad: (result of|gradient of|model\.).*; (the checkpoint of step (\d+) is kept in .*checkpoint-0*(\d+)\.safetensors|no checkpoint was saved before)\. Start another run with a lower optim\.lr`).FindStringSubmatch(stderr)
	if code != 1 || stdout != "" || m == nil {
		t.Fatalf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if m[5] != m[6] || m[5] != "" && fmt.Sprint(savedStep(out)) != m[5] {
		t.Errorf("the checkpoint is of step %d, not %s", savedStep(out), m[5])
	}
}

// TestPretrainSIMD: the variable is refused before a folder is made.
func TestPretrainSIMD(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	cmd := program(t, []string{"GOMAE_SIMD=sse9"}, "pretrain", "-out", out)
	text, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(text), `GOMAE_SIMD="sse9" is unknown; allowed values: generic`) {
		t.Errorf("%v: %s", cmd.ProcessState, text)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a folder was made")
	}
}

// readPNG returns the picture in a file.
func readPNG(t *testing.T, path string) image.Image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return img
}
