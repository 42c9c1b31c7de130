package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomae/gomae/multimae/data"
)

// rendered writes a dataset folder.
func rendered(t *testing.T, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "scenes")
	if code, _, stderr := gomae(append([]string{"render", "-out", dir, "-n", "8", "-size", "32"}, args...)...); code != 0 {
		t.Fatal(stderr)
	}
	return dir
}

func write(t *testing.T, b []byte, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), b, 0o666); err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDataCheck(t *testing.T) {
	dir := rendered(t)
	code, stdout, stderr := gomae("data", "check", dir, "-classes", "scenes")
	if code != 0 || stderr != "" {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	for _, want := range []string{dir + ": 8 complete samples\n", "rgb       8      0.", "32×32\n", "class ids", "semseg id", "floor\n", "no problems\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	if code, again, _ := gomae("data", "check", dir); code != 0 || again != stdout {
		t.Errorf("classes that the folder names: exit %d\n%s", code, again)
	}
	if err := os.Remove(filepath.Join(dir, data.ClassesFile)); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := gomae("data", "check", dir); code != 0 || strings.Contains(stdout, "floor") {
		t.Errorf("classes of any dataset: exit %d\n%s", code, stdout)
	}
	if code, stdout, _ := gomae("data", "check", rendered(t, "-split", "0.25")); code != 0 || !strings.Contains(stdout, "8 complete samples") {
		t.Errorf("split: exit %d\n%s", code, stdout)
	}
}

func TestDataCheckProblems(t *testing.T) {
	dir := rendered(t)
	whole, err := os.ReadFile(filepath.Join(dir, "rgb", "scene", "000000.png"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, whole[:len(whole)/2], dir, "rgb", "scene", "000000.png")
	write(t, encode(t, image.NewGray(image.Rect(0, 0, 32, 32))), dir, "depth", "scene", "000001.png")
	ids := image.NewGray(image.Rect(0, 0, 32, 32))
	ids.Pix[33] = 200
	write(t, encode(t, ids), dir, "semseg", "scene", "000002.png")
	write(t, encode(t, image.NewGray16(image.Rect(0, 0, 30, 32))), dir, "depth", "scene", "000003.png")
	write(t, nil, dir, "depth", "scene", "000004.png")
	if err := os.Remove(filepath.Join(dir, "semseg", "scene", "000005.png")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "rgb", "empty.png"), 0o777); err != nil { // it is a folder in spite of its name
		t.Fatal(err)
	}
	write(t, []byte("text"), dir, "rgb", "scene", "000006.png")
	code, stdout, stderr := gomae("data", "check", dir)
	if code != 1 || stderr != "" {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	for _, want := range []string{
		"7 complete samples", "7 problems:",
		"rgb/scene/000000.png: truncated image",
		"depth/scene/000001.png: 8-bit png",
		"semseg/scene/000002.png: pixel (1,1) has class id 200, outside 0..15",
		"depth/scene/000003.png: 30×32 pixels",
		"depth/scene/000004.png: empty file",
		"rgb/scene/000005.png: has no partner in semseg",
		"rgb/scene/000006.png: neither a PNG nor a JPEG",
	} {
		if !strings.Contains(stdout, filepath.FromSlash(want)) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}

	code, stdout, stderr = gomae("data", "check", "-json", dir)
	var r struct {
		data.Report
		ClassNames []string `json:"class_names"`
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 1 || stderr != "" {
		t.Fatalf("%v; exit %d, stderr %q", err, code, stderr)
	}
	if len(r.Problems) != 7 || r.Samples != 7 || len(r.Modalities) != 3 || len(r.ClassNames) != 16 {
		t.Errorf("%+v", r)
	}
	for _, p := range r.Problems {
		if p.File == "" || p.Message == "" || p.Remedy == "" {
			t.Errorf("incomplete: %+v", p)
		}
	}
	if _, stdout, _ = gomae("data", "check", "-json", "-classes=scenes", dir); !strings.Contains(stdout, `"class_names"`) {
		t.Error("no class names in JSON")
	}
}

// TestDataCheckInputs checks fewer modalities, or those of a model.
func TestDataCheckInputs(t *testing.T) {
	dir := rendered(t)
	if err := os.RemoveAll(filepath.Join(dir, "depth")); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := gomae("data", "check", dir)
	if code != 1 || !strings.Contains(stdout, "depth: no such folder") || !strings.Contains(stderr, "-inputs rgb,semseg\n") {
		t.Errorf("exit %d, stderr %q\n%s", code, stderr, stdout)
	}
	if _, stdout, _ := gomae("data", "check", "-json", dir); !strings.Contains(stdout, `"sizes": []`) || strings.Contains(stdout, "null") {
		t.Errorf("no files, and so an empty list of sizes: %s", stdout)
	}
	if code, stdout, stderr := gomae("data", "check", dir, "-inputs", "rgb,semseg"); code != 0 || stderr != "" {
		t.Errorf("exit %d, stderr %q\n%s", code, stderr, stdout)
	}
	config := filepath.Join(t.TempDir(), "config.json")
	write(t, []byte(`{"model": "multimae",
		"encoder": {"dim": 16, "depth": 1, "heads": 2, "mlp_ratio": 4, "qkv_bias": true, "layer_norm_eps": 1e-6},
		"image_size": 32, "patch_size": 16, "num_global_tokens": 1,
		"inputs": {"semseg": {"kind": "classes", "num_classes": 2, "stride": 4, "class_emb_dim": 8}},
		"outputs": {"semseg": {"channels": 2, "stride": 4, "task": "semseg", "loss": "cross_entropy", "dim": 16, "depth": 1, "heads": 2, "use_task_queries": true}}}`), config)
	code, stdout, stderr = gomae("data", "check", dir, "-config", config)
	if code != 1 || strings.Contains(stdout, "rgb") || !strings.Contains(stdout, "outside 0..1") {
		t.Errorf("exit %d, stderr %q\n%s", code, stderr, stdout)
	}
	write(t, []byte(`{"modell": "multimae"}`), config)
	refuses(t, 1, config+": modell: ", "data", "check", dir, "-config", config)
}

// absence is how the system says that there is nothing at path.
func absence(t *testing.T, path string) string {
	t.Helper()
	_, err := os.Stat(path)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return errors.Unwrap(err).Error()
}

// TestDataCheckFailures asks for reports that cannot be made.
func TestDataCheckFailures(t *testing.T) {
	dir := rendered(t)
	file := filepath.Join(dir, "rgb", "scene", "000000.png")
	absent := absence(t, dir+"x")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{dir + "x"}, dir + "x: " + absent},
		{[]string{file}, file + "…not a folder…rgb"},
		{[]string{dir, "-config", dir + "x"}, dir + "x: " + absent},
	} {
		refuses(t, 1, c.want, append([]string{"data", "check"}, c.args...)...)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if code, stdout, stderr := gomaeContext(ctx, "data", "check", dir); code != 1 || stdout != "" || !strings.Contains(stderr, "interrupted") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestSizes(t *testing.T) {
	list := []data.SizeCount{{W: 4, H: 3, Files: 9}, {W: 2, H: 2, Files: 5}, {W: 1, H: 2, Files: 2}, {W: 8, H: 8, Files: 1}, {W: 9, H: 9, Files: 1}}
	for n, want := range map[int]string{
		0: "-", 1: "4×3", 2: "4×3 (9), 2×2 (5)",
		4: "4×3 (9), 2×2 (5), 1×2 (2), 8×8 (1)", 5: "4×3 (9), 2×2 (5), 1×2 (2), 2 others",
	} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if got := sizes(list[:n]); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
