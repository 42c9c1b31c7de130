package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
)

// tinyConfig writes a config.json, changed by edit, of a model of 12 tokens that trains for 6
// steps.
func tinyConfig(t *testing.T, edit func(c *multimae.Config)) (path string) {
	t.Helper()
	c := tiny.Config()
	if edit != nil {
		edit(c)
	}
	path = filepath.Join(t.TempDir(), "tiny.json")
	write(t, c.JSON(), path)
	return path
}

// trained returns a model folder that a test may read but not change.
func trained(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "model")
	if code, _, stderr := gomae("pretrain", "-config", tinyConfig(t, nil), "-out", dir, "-steps", "1"); code != 0 {
		t.Fatal(stderr)
	}
	return dir
}

// lines returns the lines of metrics.jsonl without what depends on the time.
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

// lastCheckpoint returns the path of the last checkpoint of a run, "" if there is none.
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
	for _, want := range []string{"256 samples", "task    loss  average's  ratio      figure  model  average", "   rgb ", " depth ", "semseg ", "PSNR dB", "L1", "accuracy %"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	for _, want := range []string{
		"training from step 1 to 6: 4 samples a step of 65536, 256 held out", "trained to step 6 in ", " s of it waiting for data", quote(out) + "\n",
		quote(filepath.Join(out, train.PicturesFile)) + "\n",
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

	// The run is not overwritten.
	before, err := os.ReadFile(lastCheckpoint(out))
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, 1, out+"…config.json…-resume…-out", "pretrain", "-config", config, "-out", out)
	if after, err := os.ReadFile(lastCheckpoint(out)); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the other run was changed: %v", err)
	}

	// A finished run says so.
	code, again, stderr := gomae("pretrain", "-out", out, "-resume", "-workers", "1")
	if code != 0 || !strings.Contains(again, "accuracy %") || !strings.Contains(stderr, "all 6 steps had been done; validated again") {
		t.Errorf("finished: exit %d, stdout %q, stderr %q", code, again, stderr)
	}

	// The JSON has the figures of the table.
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

	// One that has done more steps than its configuration now says trains no more.
	c, err := train.LoadRun(out)
	if err != nil {
		t.Fatal(err)
	}
	c.Train.Steps = 3
	if err := os.WriteFile(filepath.Join(out, multimae.ConfigFile), c.JSON(), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := gomae("pretrain", "-out", out, "-resume"); code != 0 || strings.Contains(stderr, "training from") || !strings.Contains(stderr, "all 6 steps had been done") {
		t.Errorf("steps lowered: exit %d, stderr %q", code, stderr)
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
	c, err := (&pretrainFlags{runFlags: runFlags{data: "scenes", steps: 20, batch: 5, seed: 9, given: given("steps")}, preset: "tiny"}).newConfiguration()
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
	if c, err = (&pretrainFlags{runFlags: runFlags{data: "photos", given: given("data", "preset")}, preset: "base"}).newConfiguration(); err != nil {
		t.Fatal(err)
	}
	if c.Train.Data != filepath.Join(here, "photos") || c.Input("semseg").NumClasses != 133 {
		t.Errorf("%+v", c.Train)
	}
	if c, err = (&pretrainFlags{runFlags: runFlags{data: "photos", given: given("data")}, preset: "base", classes: 40}).newConfiguration(); err != nil || c.Input("semseg").NumClasses != 40 {
		t.Errorf("%v", err)
	}
	// The values of a file stay unless a flag is given.
	photos := filepath.Join(t.TempDir(), "photos")
	path := tinyConfig(t, func(c *multimae.Config) { c.Train.Seed, c.Train.Data = 77, photos })
	if c, err = (&pretrainFlags{runFlags: runFlags{data: "scenes", given: given("config")}, config: path}).newConfiguration(); err != nil || c.Train.Seed != 77 || c.Train.Data != photos || c.Train.Steps != 6 || c.Train.WarmupSteps != 2 {
		t.Errorf("%v, %+v", err, c.Train)
	}
	if c, err = (&pretrainFlags{runFlags: runFlags{data: "scenes", steps: 3, given: given("config", "data", "seed", "steps")}, config: path}).newConfiguration(); err != nil || c.Train.Seed != 0 || c.Train.Data != "scenes" || c.Train.WarmupSteps != 1 {
		t.Errorf("%v, %+v", err, c.Train)
	}
	for _, x := range []struct{ file, flag, want string }{
		{"", "", ""}, {"", "a", filepath.Join(here, "a")}, {"rooms", "", "rooms"}, {"weights", "", filepath.Join(here, "weights")}, {"weights", "rooms", "rooms"},
	} {
		path := tinyConfig(t, func(c *multimae.Config) { c.Train.From = x.file })
		c, err := (&pretrainFlags{runFlags: runFlags{from: x.flag, given: given("config")}, config: path}).newConfiguration()
		if err != nil || c.Train.From != x.want {
			t.Errorf("train.from %q and -from %q: %v, %q; want %q", x.file, x.flag, err, c.Train.From, x.want)
		}
	}
}

// TestPretrainUsage wants exit code 2 and no folder.
func TestPretrainUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct{ args, want string }{
		{"-preset tny", `-preset tny…"tiny"`},
		{"-stepss 3", "-stepss…-steps"},
		{"-steps -1", "-steps -1: want 0 or more"},
		{"-batch -1", "-batch -1: want 0 or more"},
		{"-workers -1", "-workers -1: want 0 or more"},
		{"-keep 0", "-keep 0: want 1 or more"},
		{"-seed x", "-seed: want a whole number, 0 or more"},
		{"-classes 255", "num_classes: got 255"},
		{"scenes", `"scenes"`},
		{"-config x -preset base", "-config…-preset and -classes"},
		{"-from rooms -classes 40", "-classes 40…rooms have 16…-preset"},
		{"-inputs rgb,depth -classes 40", "-classes 40…semseg"},
	} {
		t.Run(c.args, func(t *testing.T) {
			refuses(t, 2, c.want+"…-h", append([]string{"pretrain"}, strings.Fields(c.args)...)...)
		})
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// TestPretrainBadConfig wants exit code 1, the key and the value, and no folder.
func TestPretrainBadConfig(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		edit func(c *multimae.Config)
		want string
	}{
		{func(c *multimae.Config) { c.ImageSize = 20 }, "image_size: 20×20…patch_size 8…16"},
		{func(c *multimae.Config) { c.Train.NumEncodedTokens = 13 }, "train.num_encoded_tokens: got 13…12"},
		{func(c *multimae.Config) { c.Outputs[1].Task = "deph" }, `outputs.depth.task: "deph"…"depth"`},
		{func(c *multimae.Config) { c.Inputs[1].Name, c.Outputs[1].Task = "thermal", "thermal" }, "inputs.thermal: …dataset folder"},
		{func(c *multimae.Config) { c.Inputs[2].NumClasses, c.Outputs[2].Channels = 9, 9 }, "inputs.semseg.num_classes: got 9…16"},
		{func(c *multimae.Config) { c.Train = multimae.Train{} }, `tiny.json: …"train"`},
		{func(c *multimae.Config) { c.Train.Batch = 1 << 20 }, "train.batch: got 1048576…65536"},
		{func(c *multimae.Config) { c.Optim.LR = 0 }, "optim.lr: "},
		{func(c *multimae.Config) { c.Train.Data = "photos" }, "train.data: …" + filepath.Join(must(os.Getwd()), "photos") + "…-data"},
	} {
		t.Run(c.want, func(t *testing.T) { refuses(t, 1, c.want, "pretrain", "-config", tinyConfig(t, c.edit)) })
	}
	for _, c := range []struct{ config, want string }{
		{`{"modle": "multimae"}`, `modle: …"model"`},
		{`{"model": "multimae"`, "bad.json: "},
		{"", "bad.json: "},
	} {
		path := filepath.Join(t.TempDir(), "bad.json")
		write(t, []byte(c.config), path)
		refuses(t, 1, path, "pretrain", "-config", path)
		refuses(t, 1, c.want, "pretrain", "-config", path)
	}
	refuses(t, 1, "none.json", "pretrain", "-config", "none.json")
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

// TestPretrainFolder trains on a dataset folder, and on folders with bad files.
func TestPretrainFolder(t *testing.T) {
	config := tinyConfig(t, nil)
	dir := filepath.Join(t.TempDir(), "scenes")
	if code, _, stderr := gomae("render", "-out", dir, "-n", "24", "-size", "20", "-split", "0.25"); code != 0 {
		t.Fatal(stderr)
	}
	out := filepath.Join(t.TempDir(), "out")
	code, stdout, stderr := gomae("pretrain", "-config", config, "-data", dir, "-out", out)
	if code != 0 || !strings.Contains(stdout, "6 samples") || !strings.Contains(stderr, "4 samples a step of 18, 6 held out") {
		t.Fatalf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if m, err := multimae.LoadDir(out); err != nil || m.Config.Train.Data != dir {
		t.Errorf("%v, data %s", err, m.Config.Train.Data)
	}

	// A run goes on wherever it is called from, and the command says where its data have been.
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Fatal(err)
	}
	refuses(t, 1, "train.data: …"+dir+"…"+filepath.Join(out, multimae.ConfigFile), "pretrain", "-out", out, "-resume")
	if err := os.Rename(dir+"2", dir); err != nil {
		t.Fatal(err)
	}

	// Files that spoil a sample, each with an error of its own.
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
		{"depth of 8 bits", depth, encode(t, image.NewGray(image.Rect(0, 0, 20, 20))), ".png", "8-bit png"},
		{"class out of range", semseg, encode(t, ids), ".png", "pixel (5,2) has class id 99, outside 0..15"},
		{"another size", depth, encode(t, image.NewGray16(image.Rect(0, 0, 16, 20))), ".png", "16×20 pixels, but " + rgb + " has 20×20"},
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
				if !testkit.Mentions(stderr, "checkpoint of step …"+lastCheckpoint(out)+"…-resume") {
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
			if code != 0 || !strings.Contains(stdout, "masked patches") || !testkit.Mentions(stderr, "left out 1 sample…"+bad+": "+c.want+"…gomae data check") {
				t.Errorf("%v: exit %d, stdout %q, stderr %q", args, code, stdout, stderr)
			}
		})
	}

	// Files without partners are found before anything is done.
	if err := os.Remove(depth); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(t.TempDir(), "none")
	refuses(t, 1, rgb+": …"+depth, "pretrain", "-config", config, "-data", dir, "-out", none)
	if err := os.RemoveAll(filepath.Join(dir, "val", "rgb")); err != nil {
		t.Fatal(err)
	}
	write(t, whole, depth[:len(depth)-len("000003.png")]+"000003.png")
	refuses(t, 1, filepath.Join(dir, "val", "rgb")+": ", "pretrain", "-config", config, "-data", filepath.Join(dir, "val"), "-out", none)
	empty := t.TempDir()
	refuses(t, 1, filepath.Join(empty, "rgb")+": ", "pretrain", "-config", config, "-data", empty, "-out", none)
	if _, err := os.Stat(none); err == nil {
		t.Error("a folder without a run is left")
	}
}

// cancelAfter is a stderr that interrupts the command when it has written some text.
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
	code := run(ctx, []string{"pretrain", "-config", config, "-out", out, "-skip-bad", "-keep", "9"}, io.Discard, stderr)
	_, advice, ok := strings.Cut(stderr.String(), "interrupted after step 3 of 6; everything is saved. To go on: gomae ")
	if code != 1 || !ok {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	if want := "pretrain -out " + out + " -resume -keep 9 -skip-bad\n"; advice != want {
		t.Errorf("advice %q, want %q", advice, want)
	}
	if code, _, stderr := gomae(strings.Fields(advice)...); code != 0 || !strings.Contains(stderr, "training from step 4 to 6") {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	sameRun(t, straight, out)
	if steps, err := train.Checkpoints(out); err != nil || len(steps) <= defaultKeep {
		t.Errorf("checkpoints of steps %v are left, %v", steps, err)
	}

	// The same before the first step.
	out = filepath.Join(dir, "early")
	if code, stdout, stderr := gomaeContext(ctx, "pretrain", "-config", config, "-out", out); code != 1 || stdout != "" || !strings.Contains(stderr, "interrupted after step 0 of 6") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if code, _, stderr := gomae("pretrain", "-config", config, "-out", out, "-resume"); code != 0 {
		t.Fatal(stderr)
	}
	sameRun(t, straight, out)
}

// someRanks are ranks that sum nothing.
type someRanks int

func (someRanks) Rank() int                            { return 0 }
func (n someRanks) Size() int                          { return int(n) }
func (someRanks) Sum(context.Context, []float32) error { return nil }

func TestGoOn(t *testing.T) {
	for _, c := range []struct {
		f    runFlags
		want string
	}{
		{runFlags{out: "a b", keep: defaultKeep}, "gomae finetune -out " + quote("a b") + " -resume"},
		{runFlags{out: "out", keep: 1, skipBad: true}, "gomae finetune -out out -resume -keep 1 -skip-bad"},
		{
			runFlags{out: "out", keep: defaultKeep, workers: 1, json: true, watch: watchFlags{serve: "127.0.0.1:8080", tensorboard: "logs"}},
			"gomae finetune -out out -resume -workers 1 -serve 127.0.0.1:8080 -tensorboard logs -json",
		},
		{runFlags{out: "out", keep: 9, mpi: true, ranks: someRanks(4)}, "mpirun -n 4 gomae finetune -mpi -out out -resume -keep 9"},
		{
			runFlags{out: "out", keep: defaultKeep, mpi: true, ranks: someRanks(2), mpiLib: "x.so", mpiBFloat16: true},
			"mpirun -n 2 gomae finetune -mpi -mpi-lib x.so -mpi-bfloat16 -out out -resume",
		},
	} {
		t.Run(c.want, func(t *testing.T) {
			if got := c.f.goOn("finetune"); got != c.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestPretrainResumeFlags repeats the flags of a run with -resume, and gives others. The context
// has ended, so that an accepted command line ends before a step.
func TestPretrainResumeFlags(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dump := must(filepath.Abs(tinyDump))
	t.Chdir(t.TempDir())
	config := tinyConfig(t, nil)
	const preset = "-preset tiny -steps 20 -batch 5 -seed 9 -data scenes"
	ofConfig := "-config " + config + " -steps 5"
	for _, run := range []struct {
		name, start       string
		accepted          []string
		contradict, wants []string // what a flag asks for and what the run has
	}{
		{
			"preset", preset,
			[]string{
				preset, "", "-steps 20", "-batch 5", "-seed 9", "-data scenes", "-preset tiny", "-classes 16",
				"-steps 0 -batch 0 -classes 0", "-from= -config=", "-workers 1 -keep 5 -skip-bad -json",
			},
			[]string{"-steps 21", "-batch 4", "-seed 0", "-data photos", "-preset base", "-classes 133", "-config " + config, "-preset tny", "-from rooms"},
			[]string{"-steps 21…20", "-batch 4…5", "-seed 0…9", "-data …photos…scenes", "-preset base…preset tiny", "-classes 133…16", "-config …encoder.dim 16…encoder.dim 128", `-preset tny…"tiny"`, "-from rooms…has none"},
		},
		{
			"config", ofConfig,
			[]string{ofConfig, "", "-steps 5"},
			[]string{"-config " + config, "-preset tiny", "-config " + config + " -preset tiny", "-classes 5"},
			[]string{"-config …train.steps 6…train.steps 5", "-preset tiny…encoder.dim 16…128", "-config…-preset", "-classes 5…16"},
		},
	} {
		pretrain := func(flags string) (code int, stdout, stderr string) {
			return gomaeContext(ctx, append([]string{"pretrain", "-out", run.name}, strings.Fields(flags)...)...)
		}
		if code, _, stderr := pretrain(run.start); code != 1 || !strings.Contains(stderr, "interrupted after step 0") {
			t.Fatalf("%s: exit %d, stderr %q", run.name, code, stderr)
		}
		for _, flags := range run.accepted {
			t.Run(run.name+" "+flags, func(t *testing.T) {
				if code, _, stderr := pretrain(flags + " -resume"); code != 1 || !strings.Contains(stderr, "interrupted after step 0") || strings.Contains(stderr, "no run") {
					t.Errorf("exit %d, stderr %q", code, stderr)
				}
			})
		}
		for i, flags := range run.contradict {
			t.Run(run.name+" "+flags, func(t *testing.T) {
				if code, stdout, stderr := pretrain(flags + " -resume"); code != 2 || stdout != "" || !testkit.Mentions(stderr, run.wants[i]) {
					t.Errorf("exit %d, stdout %q, stderr %q; want %q", code, stdout, stderr, run.wants[i])
				}
			})
		}
	}

	// Without a run it starts one, and says so.
	code, stdout, stderr := gomaeContext(ctx, "pretrain", "-resume", "-config", config, "-out", "new", "-steps", "3")
	if code != 1 || stdout != "" || !testkit.Mentions(stderr, "no run in new…starting one…interrupted after step 0 of 3") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	// It does not start one where the configuration of a run is missing.
	if err := os.Remove(filepath.Join("new", multimae.ConfigFile)); err != nil {
		t.Fatal(err)
	}
	refuses(t, 1, "new…"+multimae.WeightsFile+"…config.json", "pretrain", "-resume", "-config", config, "-out", "new")
	// A model folder holds no run.
	if code, _, stderr := gomae("convert", dump, "model"); code != 0 {
		t.Fatal(stderr)
	}
	refuses(t, 1, `model: config.json…"train"`, "pretrain", "-resume", "-out", "model")
}

// TestPretrainDamaged goes on from the checkpoint before a damaged one. The command must say so,
// and say where the best model is if it is not the last one.
func TestPretrainDamaged(t *testing.T) {
	config := tinyConfig(t, func(c *multimae.Config) {
		c.Optim.LR, c.Train.WarmupSteps, c.Train.ValEvery = 1, 6, 2 // worse with each step
	})
	dir := t.TempDir()
	straight, out := filepath.Join(dir, "straight"), filepath.Join(dir, "out")
	for _, out := range []string{straight, out} {
		code, _, stderr := gomae("pretrain", "-config", config, "-out", out)
		if code != 0 || !regexp.MustCompile(`the best validation was that of step [24]; that model is in `+regexp.QuoteMeta(filepath.Join(out, "best"))+"\n").MatchString(stderr) {
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
	if code != 0 || !testkit.Mentions(stderr, last+" is damaged…going on from step 4\ntraining from step 5 to 6") {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	sameRun(t, straight, out)
	if _, err := os.Stat(before); err == nil {
		t.Error("two checkpoints are kept, want 1")
	}
	damage(last)
	refuses(t, 1, last+" is damaged…restore", "pretrain", "-out", out, "-resume")
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
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for savedStep(out) <= steps+5 { // until it has saved more than before
			select {
			case err := <-ended:
				t.Fatalf("round %d: ended after step %d: %v, %s", round, savedStep(out), err, &stderr)
			case <-time.After(3 * time.Millisecond):
			}
		}
		steps = savedStep(out)
		cmd.Process.Signal(signal)
		<-ended
		if signal == os.Interrupt && (cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "everything is saved. To go on: gomae pretrain -out "+out+" -resume\n")) {
			t.Errorf("round %d: %v, stderr %q", round, cmd.ProcessState, &stderr)
		}
		if n := savedStep(out); n < steps {
			t.Fatalf("round %d: step %d is saved, it was %d", round, n, steps)
		}
		if round == 0 { // as a batch system does, with the flags of the run
			args = append(args, "-resume")
		}
	}
	if left, _ := filepath.Glob(filepath.Join(out, ".*")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

// savedStep returns the step of the last checkpoint of a run, 0 if there is none.
func savedStep(dir string) int {
	n := 0
	fmt.Sscanf(filepath.Base(lastCheckpoint(dir)), "checkpoint-%d", &n)
	return n
}

// TestPretrainDiskFull goes on with a run where no file may become as large as the checkpoint.
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
	if cmd.ProcessState.ExitCode() != 1 || !testkit.Mentions(string(text), "file too large…step 4…"+last+"…-resume") {
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

// TestPretrainDiverges trains with far too high a rate.
func TestPretrainDiverges(t *testing.T) {
	config := tinyConfig(t, func(c *multimae.Config) {
		c.Optim.LR, c.Train.WarmupSteps, c.Train.Steps, c.Train.SaveEvery = 1e20, 0, 50, 1
	})
	out := filepath.Join(t.TempDir(), "out")
	code, stdout, stderr := gomae("pretrain", "-config", config, "-out", out)
	m := regexp.MustCompile(`gomae pretrain: step (\d+): the .* is (NaN|[-+]Inf); first bad: (result of|gradient of|model\.).*; .*optim\.lr.*; (the checkpoint of step (\d+) is kept in .*checkpoint-0*(\d+)\.safetensors|no checkpoint has been saved)\n`).FindStringSubmatch(stderr)
	if code != 1 || stdout != "" || m == nil {
		t.Fatalf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if m[5] != m[6] || m[5] != "" && fmt.Sprint(savedStep(out)) != m[5] {
		t.Errorf("the checkpoint is of step %d, not %s", savedStep(out), m[5])
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

// TestPretrainFrom starts runs from weights of every kind, and resumes one.
func TestPretrainFrom(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	config := tinyConfig(t, nil)
	ok(t, "pretrain", "-config", config, "-steps", "1", "-out", at("model"))
	ok(t, "convert", at("model"), at("model.pth"))
	ok(t, "convert", "-to", "timm", at("model"), at("vit.pth"))
	ok(t, "convert", "-to", "multimae", at("vit.pth"), at("encoder.pth"))
	checkpoint := filepath.Join("model", filepath.Base(lastCheckpoint(at("model"))))
	for i, c := range []struct{ from, says string }{
		{"model", "output_adapters.rgb"}, {"model.pth", "output_adapters.rgb"}, {checkpoint, "checkpoint of training"},
		{"vit.pth", "ViT of timm"}, {"encoder.pth", "left fresh: output_adapters.rgb"},
	} {
		t.Run(c.from, func(t *testing.T) {
			out := at(fmt.Sprint("run", i))
			args := []string{"pretrain", "-from", at(c.from), "-steps", "1", "-out", out}
			if i >= 3 { // the file does not carry a configuration
				args = append(args, "-config", config)
			}
			_, stderr := ok(t, args...)
			if !strings.Contains(stderr, "taken from a ") || !strings.Contains(stderr, c.says) {
				t.Errorf("does not say what was taken: %s", stderr)
			}
			run, err := multimae.LoadConfig(os.DirFS(out), "config.json")
			if err != nil || run.Train.From != at(c.from) {
				t.Errorf("train.from is %q, %v", run.Train.From, err)
			}
			if i == 0 {
				ok(t, "pretrain", "-out", out, "-resume")
				ok(t, "pretrain", "-from", at(c.from), "-out", out, "-resume")
				refuses(t, 2, "-from", "pretrain", "-from", at("other"), "-out", out, "-resume")
			}
		})
	}
	// A run that was stopped before its first checkpoint begins again, from weights that must be there.
	if err := os.Remove(lastCheckpoint(at("run0"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{multimae.WeightsFile, train.BestDir} {
		if err := os.RemoveAll(filepath.Join(at("run0"), name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(at("model"), at("moved")); err != nil {
		t.Fatal(err)
	}
	refuses(t, 1, filepath.Join(at("run0"), multimae.ConfigFile), "pretrain", "-out", at("run0"), "-resume")
	if err := os.Rename(at("moved"), at("model")); err != nil {
		t.Fatal(err)
	}
	refuses(t, 1, "encoder.depth: ", "pretrain", "-preset", "tiny", "-from", at("model"), "-steps", "1", "-out", at("none"))
	refuses(t, 1, "missing", "pretrain", "-from", at("missing"), "-out", at("none"))
	if _, err := os.Stat(at("none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a run that did not start left a folder: %v", err)
	}
}
