package main

import (
	"bytes"
	"encoding/json"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomae/gomae/multimae"
)

// configOf reads the config.json of a run.
func configOf(t *testing.T, dir string) *multimae.Config {
	t.Helper()
	c, err := multimae.LoadConfig(os.DirFS(dir), multimae.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestInputs trains without a modality whose folder is missing, and checks and draws without it.
func TestInputs(t *testing.T) {
	dir := rendered(t)
	out := filepath.Join(t.TempDir(), "run")
	if err := os.RemoveAll(filepath.Join(dir, "semseg")); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (int, string, string) {
		return gomae(append([]string{"pretrain", "-data", dir, "-out", out, "-batch", "2", "-steps", "1"}, args...)...)
	}
	if code, _, stderr := run(); code != 1 || !strings.Contains(stderr, "-inputs rgb,depth") {
		t.Errorf("without -inputs: exit %d, %s", code, stderr)
	}
	for _, list := range []string{"rgb,infrared", "rgb,rgb", "rgb,"} {
		if code, _, stderr := run("-inputs", list); code != 2 || !strings.Contains(stderr, "-inputs") {
			t.Errorf("-inputs %s: exit %d, %s", list, code, stderr)
		}
	}
	if code, _, stderr := run("-inputs", "depth,rgb", "-depth-invalid", "0,65535"); code != 0 {
		t.Fatal(stderr)
	}
	c := configOf(t, out)
	if got := strings.Join(c.Inputs.Names(), ","); got != "rgb,depth" {
		t.Errorf("inputs %s", got)
	}
	if got := c.Input("depth").Invalid; len(got) != 2 || got[0] != 0 || got[1] != 65535 {
		t.Errorf("invalid values %v", got)
	}
	if got := c.Train.NumEncodedTokens; got != 21 { // 32 of three modalities
		t.Errorf("%d encoded tokens", got)
	}
	for _, o := range c.Outputs {
		if o.Task == "semseg" {
			t.Error("an output of semseg is left")
		}
	}
	if code, _, stderr := run("-resume", "-inputs", "rgb,depth", "-preset", "tiny", "-depth-invalid", "0,65535"); code != 0 {
		t.Errorf("the same flags: %s", stderr)
	}
	for _, flags := range [][]string{{"-inputs", "rgb"}, {"-depth-invalid", "0"}} {
		if code, _, stderr := run(append(flags, "-resume")...); code != 2 || !strings.Contains(stderr, flags[0]) {
			t.Errorf("%v: exit %d, %s", flags, code, stderr)
		}
	}
	if code, _, stderr := gomae("pretrain", "-inputs", "rgb", "-depth-invalid", "0", "-out", out+"2"); code != 2 || !strings.Contains(stderr, "-depth-invalid") {
		t.Errorf("no depth: exit %d, %s", code, stderr)
	}
	grid := filepath.Join(t.TempDir(), "grid.jpg")
	if code, _, stderr := gomae("reconstruct", "-model", out, "-scene", "0", "-inputs", "rgb", "-out", grid); code != 0 {
		t.Fatal(stderr)
	}
	b, err := os.ReadFile(grid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jpeg.Decode(bytes.NewReader(b)); err != nil {
		t.Errorf("grid.jpg: %v", err)
	}
	refuses(t, 2, "-out", "reconstruct", "-model", out, "-scene", "0", "-out", "grid.gif")
	refuses(t, 2, "-inputs", "reconstruct", "-model", out, "-scene", "0", "-inputs", "rgb,infrared")
}

// TestSkipIncomplete trains without the samples that lack a file.
func TestSkipIncomplete(t *testing.T) {
	dir := rendered(t)
	if err := os.Remove(filepath.Join(dir, "depth", "scene", "000004.png")); err != nil {
		t.Fatal(err)
	}
	for _, skip := range []bool{false, true} {
		args := []string{"pretrain", "-data", dir, "-classes", "16", "-out", filepath.Join(t.TempDir(), "run"), "-batch", "2", "-steps", "1"}
		if skip {
			args = append(args, "-skip-bad")
		}
		code, _, stderr := gomae(args...)
		if (code == 0) != skip || !strings.Contains(stderr, "000004.png") {
			t.Errorf("-skip-bad %v: exit %d, %s", skip, code, stderr)
		}
		if skip && !strings.Contains(stderr, "left out 1 ") {
			t.Errorf("%s", stderr)
		}
	}
	// Fine-tuning looks for the classes first.
	for name, arg := range map[string]string{"000005.png": "-task semseg", "000004.png": "-task classify"} {
		if arg == "-task semseg" {
			if err := os.WriteFile(filepath.Join(dir, "semseg", "scene", name), []byte("no picture"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		args := append(strings.Fields("finetune -preset tiny -inputs rgb,depth -batch 2 -steps 1 "+arg), "-data", dir, "-out", filepath.Join(t.TempDir(), "run"))
		if code, _, stderr := gomae(args...); code == 0 || !strings.Contains(stderr, name) {
			t.Errorf("%s: exit %d, %s", arg, code, stderr)
		}
		want := "left out 1 "
		if arg == "-task classify" {
			want = "needs two or more" // there is one folder of scenes
		}
		if code, _, stderr := gomae(append(args, "-skip-bad")...); code == 0 != (arg == "-task semseg") || !strings.Contains(stderr, want) {
			t.Errorf("%s -skip-bad: exit %d, %s", arg, code, stderr)
		}
	}
}

// TestDataChanged resumes a run whose data lost a sample.
func TestDataChanged(t *testing.T) {
	dir, out := rendered(t), filepath.Join(t.TempDir(), "run")
	run := func(args ...string) string {
		code, _, stderr := gomae(append([]string{"pretrain", "-data", dir, "-out", out}, args...)...)
		if code != 0 {
			t.Fatal(stderr)
		}
		return stderr
	}
	run("-classes", "16", "-batch", "2", "-steps", "1")
	if stderr := run("-resume"); strings.Contains(stderr, "changed") {
		t.Errorf("nothing changed: %s", stderr)
	}
	for _, m := range []string{"rgb", "depth", "semseg"} {
		if err := os.Rename(filepath.Join(dir, m, "scene", "000003.png"), filepath.Join(dir, m, "scene", "000009.png")); err != nil {
			t.Fatal(err)
		}
	}
	if stderr := run("-resume"); !strings.Contains(stderr, "changed") {
		t.Errorf("a sample has another name: %s", stderr)
	}
}

// TestDepthInvalid checks depth with holes.
func TestDepthInvalid(t *testing.T) {
	dir := t.TempDir()
	depth := image.NewGray16(image.Rect(0, 0, 4, 4))
	for i := range 12 {
		depth.Pix[2*i] = uint8(i + 1)
	}
	if err := os.MkdirAll(filepath.Join(dir, "depth"), 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, encode(t, depth), dir, "depth", "a.png")
	for _, c := range []struct {
		flags []string
		part  float64
		notes int
	}{
		{nil, 0, 1},
		{[]string{"-depth-invalid", "0,65535"}, 0.25, 0},
	} {
		t.Run(strings.Join(c.flags, " "), func(t *testing.T) {
			code, stdout, stderr := gomae(append([]string{"data", "check", "-json", "-inputs", "depth", dir}, c.flags...)...)
			var r struct {
				Modalities []struct {
					InvalidPart float64 `json:"invalid_part"`
				} `json:"modalities"`
				Notes []string `json:"notes"`
			}
			if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 {
				t.Fatal(err, stderr)
			}
			if got := r.Modalities[0].InvalidPart; got != c.part || len(r.Notes) != c.notes {
				t.Errorf("%v of the pixels, notes %q", got, r.Notes)
			}
		})
	}
	refuses(t, 2, "-depth-invalid", "data", "check", "-depth-invalid", "0,x", dir)
	refuses(t, 2, "-depth-invalid", "data", "check", "-inputs", "rgb", "-depth-invalid", "0", dir)
}
