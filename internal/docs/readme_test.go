package docs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"gonum.org/v1/gonum/stat"
)

// program is a command whose function run has the lines of the README.
const program = `package main

import (
	"context"
	"image"
	"image/png"
	"io"
	"log"
	"os"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/images"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, w io.Writer) error {
	var photo image.Image = image.NewRGBA(image.Rect(0, 0, 80, 80))
%s
	_, _ = maps, feats
	return err
}
`

// TestReadmeProgram compiles the Go lines of the README in a module of their own, whose only further
// dependencies are cpuid and x/sys, and runs them on a pre-trained and a fine-tuned model.
func TestReadmeProgram(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(checkout, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	_, lines, ok := strings.Cut(read("README.md"), "\n```go\n")
	lines, _, ok2 := strings.Cut(lines, "\n```\n")
	if !ok || !ok2 {
		t.Fatal("README.md has no Go code")
	}
	if n := strings.Count(lines, "\n") + 1; n > 10 {
		t.Errorf("the README has %d lines of Go code, want at most ten", n)
	}

	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o777)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	needed := regexp.MustCompile(`(?m)^\s*((github\.com/klauspost/cpuid/v2|golang\.org/x/sys) .*\n)`)
	write("main.go", fmt.Sprintf(program, lines))
	write("go.mod", "module example.com/app\n\ngo 1.25.0\n\nrequire github.com/gomae/gomae v0.0.0\n\nreplace github.com/gomae/gomae => "+
		fmt.Sprintf("%q", filepath.ToSlash(checkout))+"\n\nrequire (\n"+strings.Join(needed.FindAllString(read("go.mod"), -1), "")+")\n")
	write("go.sum", strings.Join(needed.FindAllString(read("go.sum"), -1), ""))
	for folder, dump := range map[string]string{"out": "pretrain_small", "finetuned": "vit_segmenter"} {
		for _, name := range []string{"config.json", "model.safetensors"} {
			write(folder+"/"+name, read("testdata/parity/"+dump+"/"+name))
		}
	}

	run := func(goos, goarch, name string, args ...string) []byte {
		t.Helper()
		var out, errs bytes.Buffer
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
		// Read-only: the build may need nothing that is not listed.
		cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOPROXY=off", "GOWORK=off")
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &errs, &out)
		}
		return out.Bytes()
	}
	app := filepath.Join(dir, "app.exe")
	run("js", "wasm", goTool, "build", "-o", filepath.Join(dir, "app.wasm"), ".")
	run(runtime.GOOS, runtime.GOARCH, goTool, "build", "-o", app, ".")
	out := run(runtime.GOOS, runtime.GOARCH, app)
	picture, err := png.Decode(bytes.NewReader(out))
	if err != nil {
		t.Fatalf("the program prints no PNG image: %v\n%q", err, out)
	}
	if size := picture.Bounds().Size(); size.X != 64 || size.Y != 64 {
		t.Errorf("the depth map has %d×%d pixels, want the model's 64×64", size.X, size.Y)
	}
}

// resultsPage returns the page that shows the stored results of experiments.
func resultsPage(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "bench", "results", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestReadmeProbe holds the page of results to those of probes.
func TestReadmeProbe(t *testing.T) {
	stored, err := os.ReadFile(filepath.Join(root, "bench", "results", "probe.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	top1 := map[string][]float64{}
	for line := range bytes.Lines(stored) {
		var r struct {
			Pretraining string
			Inputs      []string
			Metrics     map[string]float64
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		key := r.Pretraining + " " + strings.Join(r.Inputs, ",")
		top1[key] = append(top1[key], r.Metrics["linear_top1"])
	}
	text := func(key string) string {
		if len(top1[key]) != 3 {
			t.Errorf("%d seeds of %s, want 3", len(top1[key]), key)
		}
		mean, sd := stat.MeanStdDev(top1[key], nil)
		return fmt.Sprintf("%.1f ± %.1f", mean, sd)
	}
	want := fmt.Sprintf("MAE %s; MultiMAE %s from colour, %s from depth, %s from both",
		text("MAE rgb"), text("MultiMAE rgb"), text("MultiMAE depth"), text("MultiMAE rgb,depth"))
	if !strings.Contains(strings.Join(strings.Fields(resultsPage(t)), " "), want) {
		t.Errorf("bench/results/README.md does not say %q", want)
	}
}

// TestReadmeTable holds the tables of the README and of the page of results to the stored results
// of the experiments.
func TestReadmeTable(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []struct {
		name, text string
		tables     []string
	}{
		{"README.md", string(readme), []string{"transfer", "camvid-8000"}},
		{"bench/results/README.md", resultsPage(t), []string{"tasks", "labels", "alpha", "camvid-labels", "sevenscenes", "sevenscenes-lr3"}},
	} {
		for _, name := range page.tables {
			table, err := os.ReadFile(filepath.Join(root, "bench", "results", name, "table.md"))
			if err != nil {
				t.Fatal(err)
			}
			rows, _, _ := strings.Cut(string(table), "\n\n")
			if strings.Count(rows, "\n") < 4 || !strings.Contains(page.text, rows) {
				t.Errorf("%s does not show the table of %s that is stored:\n%s", page.name, name, rows)
			}
		}
	}
}
