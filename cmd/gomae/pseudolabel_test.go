package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	depthModel  = "../../testdata/parity/vit_dpt"
	semsegModel = "../../testdata/parity/vit_segmenter"
)

// photographs renders a folder of n pictures.
func photographs(t *testing.T, n string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "scenes")
	if code, _, stderr := gomae("render", "-out", dir, "-n", n, "-size", "64"); code != 0 {
		t.Fatal(stderr)
	}
	return filepath.Join(dir, "rgb")
}

// tree returns the content of the files below a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil {
			all[path[len(dir):]] = string(b)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // temporary files vanish
		t.Fatal(err)
	}
	return all
}

// rgbFiles returns the photographs of a dataset that pseudolabel has made of rendered scenes.
func rgbFiles(t *testing.T, set string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(set, "rgb", "scene", "*.png"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestPseudolabel(t *testing.T) {
	in, out := photographs(t, "4"), filepath.Join(t.TempDir(), "set")
	args := []string{"pseudolabel", "-data", in, "-out", out, "-teacher", "depth=" + depthModel, "-teacher", "semseg=" + semsegModel, "-json"}
	code, stdout, stderr := gomae(args...)
	var r struct{ Photos, Made, Before, Skipped int }
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 || r.Photos != 4 || r.Made != 4 || !strings.Contains(stderr, "4 photographs") {
		t.Errorf("exit %d, %+v, %v, stderr %q", code, r, err, stderr)
	}
	if code, _, stderr := gomae("data", "check", "-classes", "7", out); code != 0 {
		t.Errorf("the dataset: %s", stderr)
	}
	code, stdout, stderr = gomae(args...)
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 || r.Made != 0 || r.Before != 4 || !strings.Contains(stderr, "nothing to do") {
		t.Errorf("again: exit %d, %+v, %v, stderr %q", code, r, err, stderr)
	}
	// It trains on what it has made.
	run := filepath.Join(t.TempDir(), "run")
	if code, _, stderr := gomae("pretrain", "-data", out, "-out", run, "-steps", "1", "-batch", "2"); code != 0 {
		t.Errorf("pretrain: %s", stderr)
	}
	// Two parts of shrunk photographs.
	parts, made := filepath.Join(t.TempDir(), "set"), 0
	for _, shard := range []string{"0/2", "1/2"} {
		code, stdout, stderr := gomae("pseudolabel", "-data", in, "-out", parts, "-size", "32", "-shard", shard, "-teacher", "depth="+depthModel, "-json")
		if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 || r.Made == 0 || r.Made == 4 {
			t.Errorf("-shard %s: exit %d, %+v, %v, stderr %q", shard, code, r, err, stderr)
		}
		made += r.Made
	}
	photos := rgbFiles(t, parts)
	if made != 4 || len(photos) != 4 {
		t.Errorf("two parts labelled %d photographs and wrote %q", made, photos)
	}
	for _, file := range photos {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := png.DecodeConfig(bytes.NewReader(b)); err != nil || min(c.Width, c.Height) != 32 {
			t.Errorf("%s: %d×%d pixels, %v", file, c.Width, c.Height, err)
		}
	}
	code, stdout, _ = gomae("pseudolabel", "-show", "midas")
	if code != 0 || !json.Valid([]byte(stdout)) {
		t.Errorf("-show: exit %d, %q", code, stdout)
	}
}

func TestPseudolabelRefuses(t *testing.T) {
	in := photographs(t, "1")
	out := filepath.Join(t.TempDir(), "set")
	for name, c := range map[string]struct {
		code int
		want string
		args []string
	}{
		"nothing":        {2, "-data", nil},
		"no teacher":     {2, "-teacher MODALITY=TEACHER", []string{"-data", in, "-out", out}},
		"no modality":    {2, "MODALITY=TEACHER", []string{"-data", in, "-teacher", depthModel}},
		"shard":          {2, "-shard", []string{"-data", in, "-teacher", "depth=" + depthModel, "-shard", "4/4"}},
		"shard words":    {2, "-shard", []string{"-data", in, "-teacher", "depth=" + depthModel, "-shard", "all"}},
		"workers":        {2, "-workers", []string{"-data", in, "-teacher", "depth=" + depthModel, "-workers", "-1"}},
		"show":           {2, "tcmonodepth", []string{"-show", "tcmono"}},
		"argument":       {2, "extra", []string{"-data", in, "extra"}},
		"absent teacher": {1, "absent.json", []string{"-data", in, "-out", out, "-teacher", "depth=absent.json"}},
		"no ONNX":        {1, "pseudolabel_test.onnx", []string{"-data", in, "-out", out, "-teacher", "depth=pseudolabel_test.onnx@midas"}},
		"library":        {1, "absent.so", []string{"-data", in, "-out", out, "-ort", "absent.so", "-teacher", "depth=main.onnx@midas"}},
		"no photographs": {1, "no photographs", []string{"-data", t.TempDir(), "-out", out, "-teacher", "depth=" + depthModel}},
		"no out":         {1, in, []string{"-data", in, "-teacher", "depth=" + depthModel}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "library" {
				file := filepath.Join(t.TempDir(), "main.onnx")
				if err := os.WriteFile(file, []byte("x"), 0o666); err != nil {
					t.Fatal(err)
				}
				c.args[len(c.args)-1] = "depth=" + file + "@midas"
			}
			refuses(t, c.code, c.want, append([]string{"pseudolabel"}, c.args...)...)
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Error("something was written")
			}
		})
	}
}

// TestPseudolabelSkips goes on after a broken photograph, and fails where there is no other.
func TestPseudolabelSkips(t *testing.T) {
	in := t.TempDir()
	if err := os.WriteFile(filepath.Join(in, "broken.jpg"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "set")
	args := []string{"pseudolabel", "-data", in, "-out", out, "-teacher", "depth=" + depthModel}
	if code, _, stderr := gomae(args...); code != 1 || !strings.Contains(stderr, "broken.jpg") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	b, err := os.ReadFile(filepath.Join(photographs(t, "1"), "scene", "000000.png"))
	if err == nil {
		err = os.WriteFile(filepath.Join(in, "good.png"), b, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := gomae(args...); code != 0 || !strings.Contains(stderr, "1 were skipped") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
}

// TestPseudolabelKilled kills the command in the middle: the next one goes on to the files of a run
// that nobody stopped.
func TestPseudolabelKilled(t *testing.T) {
	in := photographs(t, "24")
	args := func(out string) []string {
		return []string{"pseudolabel", "-data", in, "-out", out, "-copy", "-workers", "2", "-teacher", "depth=" + depthModel, "-teacher", "semseg=" + semsegModel}
	}
	whole, killed := filepath.Join(t.TempDir(), "set"), filepath.Join(t.TempDir(), "set")
	if code, _, stderr := gomae(args(whole)...); code != 0 {
		t.Fatal(stderr)
	}
	cmd := program(t, nil, args(killed)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for ended := false; !ended; {
		select {
		case <-done: // it was faster
			ended = true
		case <-time.After(time.Millisecond):
			if photos, _ := filepath.Glob(filepath.Join(killed, "rgb", "*", "*.png")); len(photos) >= 3 {
				cmd.Process.Kill()
				<-done
				ended = true
			}
		}
	}
	// What has a photograph is complete, even now.
	for _, file := range []string{"rgb", "depth", "semseg"} {
		if _, err := os.Stat(filepath.Join(killed, file)); err != nil {
			t.Error(err)
		}
	}
	left, want := tree(t, killed), tree(t, whole)
	for name := range left {
		if part, ok := strings.CutPrefix(name, filepath.FromSlash("/rgb/")); ok && !strings.Contains(name, ".tmp-") {
			for _, modality := range []string{"depth", "semseg"} {
				file := filepath.FromSlash("/" + modality + "/" + part)
				if left[file] != want[file] {
					t.Errorf("%s is not complete", file)
				}
			}
		}
	}
	if code, _, stderr := gomae(args(killed)...); code != 0 {
		t.Fatal(stderr)
	}
	photos := rgbFiles(t, killed)
	if len(photos) != 24 {
		t.Errorf("%d photographs", len(photos))
	}
	for _, file := range photos { // -copy
		if info, err := os.Lstat(file); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s is no copy: %v", file, err)
		}
	}
	got := tree(t, killed)
	for name := range got {
		if want[name] == "" {
			t.Errorf("%s is left", name)
		}
	}
	for name, content := range want {
		if name != filepath.FromSlash("/depth.jsonl") && got[name] != content {
			t.Errorf("%s differs", name)
		}
	}
	lines := map[string]bool{}
	for line := range strings.Lines(got[filepath.FromSlash("/depth.jsonl")]) {
		lines[line] = true
	}
	for line := range strings.Lines(want[filepath.FromSlash("/depth.jsonl")]) {
		if !lines[line] {
			t.Errorf("no line %q", line)
		}
	}
}
