package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
)

// files counts the files of each modality of a dataset folder.
func files(t *testing.T, dir string) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, m := range []string{"rgb", "depth", "semseg"} {
		found, err := filepath.Glob(filepath.Join(dir, m, "scene", "*"))
		if err != nil {
			t.Fatal(err)
		}
		n[m] = len(found)
	}
	return n
}

func TestRender(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a b"), filepath.Join(dir, "b")
	code, stdout, stderr := gomae("render", "-out", a, "-n", "5", "-size", "16", "-seed", "3")
	if code != 0 || stdout != "" || strings.Count(stderr, "\n") != 2 || !strings.Contains(stderr, "wrote 5 scenes of 16×16 pixels") || !strings.Contains(stderr, quote(a)) {
		t.Fatalf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if n := files(t, a); fmt.Sprint(n) != "map[depth:5 rgb:5 semseg:5]" {
		t.Errorf("files: %v", n)
	}

	want := filepath.Join(dir, "want")
	if err := data.WriteFolder(context.Background(), want, scenes.New(0, 5, 16, 3), nil); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(tree(t, filepath.Join(a, "rgb")), tree(t, filepath.Join(want, "rgb"))) {
		t.Error("the scenes are not those of seed 3")
	}

	refuses(t, 1, a+"…not empty", "render", "-out", a)
	refuses(t, 1, a+"…not empty", "render", "-out", a, "-split", "0.5")
	if _, err := os.Stat(filepath.Join(a, "val")); err == nil {
		t.Error("a folder was added to a full one")
	}
	file := filepath.Join(a, "rgb", "scene", "000000.png")
	refuses(t, 1, file, "render", "-out", file)

	// The split is of the same scenes, the last ones for validation.
	if code, _, stderr := gomae("render", "-out", b, "-n", "5", "-size", "16", "-seed", "3", "-split", "0.3"); code != 0 {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	train, val := files(t, filepath.Join(b, "train")), files(t, filepath.Join(b, "val"))
	if train["rgb"] != 3 || val["rgb"] != 2 {
		t.Errorf("train %v, val %v", train, val)
	}
	for part, name := range map[string]string{"train": "000002.png", "val": "000003.png"} {
		x, err1 := os.ReadFile(filepath.Join(a, "rgb", "scene", name))
		y, err2 := os.ReadFile(filepath.Join(b, part, "rgb", "scene", name))
		if err1 != nil || err2 != nil || !bytes.Equal(x, y) {
			t.Errorf("%s/%s differs: %v, %v", part, name, err1, err2)
		}
	}
}

// anyScene reports whether the last file of any scene has been written.
func anyScene(dir string) bool {
	found, _ := filepath.Glob(filepath.Join(dir, "semseg", "scene", "0*.png"))
	return len(found) > 0
}

// TestRenderInterrupted wants as many whole samples as the command says it has written.
func TestRenderInterrupted(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for !anyScene(out) {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	code, stdout, stderr := gomaeContext(ctx, "render", "-out", out, "-n", "1000000", "-size", "16")
	m := regexp.MustCompile(`interrupted after (\d+) of 1000000 scenes.* remove `).FindStringSubmatch(stderr)
	if code != 1 || stdout != "" || m == nil {
		t.Fatalf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	done, _ := strconv.Atoi(m[1])
	if n := files(t, out); n["rgb"] != done || n["depth"] != done || n["semseg"] != done {
		t.Errorf("told %d, found %v", done, n)
	}
	if n, names, err := data.SemanticClasses(out); n != len(scenes.Classes) || len(names) != n || err != nil {
		t.Errorf("%d classes, names %v, %v", n, names, err)
	}
	if code, _, stderr := gomae("data", "check", out); code != 0 {
		t.Errorf("the rest is not valid: %s", stderr)
	}

	// Without training samples a split folder cannot be used.
	out = filepath.Join(t.TempDir(), "out")
	code, _, stderr = gomaeContext(ctx, "render", "-out", out, "-split", "0.5")
	if code != 1 || !testkit.Mentions(stderr, "interrupted after 0 of 1000 scenes…remove") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
}
