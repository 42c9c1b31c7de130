package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/scenes"
)

// want is what the program prints, to the last digits of float32 arithmetic.
const want = `rgb 3 64 64 0.5395
depth 1 64 64 0.9316
semseg 16 32 32 2.5753
`

// same says whether two outputs of the program agree.
func same(a, b string) bool {
	la, lb := strings.Split(a, "\n"), strings.Split(b, "\n")
	return slices.EqualFunc(la, lb, func(a, b string) bool {
		var na, nb string
		var ca, ha, wa, cb, hb, wb int
		var va, vb float64
		ka, _ := fmt.Sscan(a, &na, &ca, &ha, &wa, &va)
		kb, _ := fmt.Sscan(b, &nb, &cb, &hb, &wb, &vb)
		return ka == kb && na == nb && ca == cb && ha == hb && wa == wb && math.Abs(va-vb) < 1.5e-4 // printed digits may round either way
	})
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	file := filepath.Join(t.TempDir(), "depth.png")
	if err := run(&out, file); err != nil {
		t.Fatal(err)
	}
	if !same(out.String(), want) {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if img, err := png.Decode(bytes.NewReader(b)); err != nil || img.Bounds() != image.Rect(0, 0, 64, 64) {
		t.Errorf("the picture: %v, %v", img, err)
	}
	if err := run(&out, filepath.Join(file, "none")); err == nil {
		t.Error("a picture that cannot be written: no error")
	}
}

// TestSensible compares what the model predicts from colour with the room's
// true depth and classes.
func TestSensible(t *testing.T) {
	s, err := scenes.New(0, 1, 96, 77).Sample(0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := multimae.LoadDir("model")
	if err != nil {
		t.Fatal(err)
	}
	imgs := map[string]image.Image{}
	for name, v := range s.Maps {
		if imgs[name], err = v.Image(); err != nil {
			t.Fatal(err)
		}
	}
	truth, err := images.Batch(&m.Config.BackboneConfig, imgs, 0)
	if err != nil {
		t.Fatal(err)
	}
	if imgs["rgb"], err = png.Decode(bytes.NewReader(room)); err != nil {
		t.Fatal(err)
	}
	b, err := images.Batch(&m.Config.BackboneConfig, map[string]image.Image{"rgb": imgs["rgb"]}, 0)
	if err != nil {
		t.Fatal(err)
	}
	// A processor that fuses multiplication and addition renders some pixels a little brighter or darker.
	apart := 0.0
	for i, v := range truth.Images["rgb"] {
		apart += math.Abs(float64(b.Images["rgb"][i]-v)) / float64(len(truth.Images["rgb"]))
	}
	if !(apart < 1e-3) {
		t.Errorf("room.png differs from the room by %g on average, want below 0.001", apart)
	}
	p, err := m.Predict(context.Background(), b, multimae.PredictOptions{})
	if err != nil {
		t.Fatal(err)
	}
	off, size, right := 0., 0., 0
	depth, ids := p.Output("depth").Pix, p.Output("semseg").IDs(0)
	for i, v := range truth.Images["depth"] {
		off += math.Abs(float64(depth[i] - v))
		size += math.Abs(float64(v))
	}
	for i, v := range truth.Classes["semseg"] {
		if ids[i] == v {
			right++
		}
	}
	if off > 0.4*size || right < len(ids)*6/10 {
		t.Errorf("depth is off by %.2f of its deviation, and %d of %d classes are right", off/size, right, len(ids))
	}
}

// TestEmbedded builds the program outside of this repository, as somebody's
// who imports the library: without cgo or network, with the checksums of the
// library's two dependencies and no others; and again for WebAssembly.
func TestEmbedded(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go on the PATH: ", err)
	}
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o777)
		if err == nil {
			err = os.WriteFile(path, b, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) []byte {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, name := range []string{"main.go", "room.png"} {
		write(name, read(name))
	}
	if err := fs.WalkDir(files, "model", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			write(path, read(path))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	needed := func(line string) bool {
		return strings.Contains(line, "github.com/klauspost/cpuid/v2 ") || strings.Contains(line, "golang.org/x/sys ")
	}
	var requires, sums []string
	for line := range strings.Lines(string(read(filepath.Join(checkout, "go.mod")))) {
		if needed(line) {
			requires = append(requires, strings.TrimSpace(line)+"\n")
		}
	}
	for line := range strings.Lines(string(read(filepath.Join(checkout, "go.sum")))) {
		if needed(line) {
			sums = append(sums, line)
		}
	}
	write("go.mod", fmt.Appendf(nil, "module example.com/app\n\ngo 1.24.0\n\nrequire (\n\tgithub.com/gomae/gomae v0.0.0\n\t%s)\n\nreplace github.com/gomae/gomae => %q\n",
		strings.Join(requires, "\t"), filepath.ToSlash(checkout)))
	write("go.sum", []byte(strings.Join(sums, "")))

	command := func(env []string, name string, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &errs, &out)
		}
		return out.String()
	}
	// Read-only: whatever else the build asked for would be an error.
	target := func(goos, goarch string) []string {
		return append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOPROXY=off", "GOWORK=off")
	}
	for _, system := range []string{"linux/amd64", "darwin/arm64", "js/wasm"} {
		goos, goarch, _ := strings.Cut(system, "/")
		modules := strings.Fields(command(target(goos, goarch), goTool, "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "."))
		slices.Sort(modules)
		for _, m := range slices.Compact(modules) {
			if m != "example.com/app" && m != "github.com/gomae/gomae" && !needed(m+" ") {
				t.Errorf("for %s the program needs the module %s", system, m)
			}
		}
	}
	app := filepath.Join(dir, "app.exe")
	command(target(runtime.GOOS, runtime.GOARCH), goTool, "build", "-o", app, ".")
	if got := command(os.Environ(), app); !same(got, want) {
		t.Errorf("the program prints\n%swant\n%s", got, want)
	}

	// Nor does tidying find more to add, although it reads the library's tests.
	// It wants the sources of both dependencies, of which a build here needs one.
	tidy := append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
	if strings.TrimSpace(command(tidy, goTool, "list", "-m", "-e", "-f", "{{.Dir}}", "golang.org/x/sys")) == "" {
		t.Log("go mod tidy was not run, for golang.org/x/sys is not in the module cache: run go mod download")
	} else {
		command(tidy, goTool, "mod", "tidy")
	}
	if got := read(filepath.Join(dir, "go.sum")); string(got) != strings.Join(sums, "") {
		t.Errorf("go.sum has become\n%s", got)
	}

	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("the program for WebAssembly was not run, for there is no node on the PATH: install Node.js")
	}
	root := strings.TrimSpace(command(os.Environ(), goTool, "env", "GOROOT"))
	script := filepath.Join(root, "lib", "wasm", "wasm_exec_node.js")
	wasm := filepath.Join(dir, "app.wasm")
	command(target("js", "wasm"), goTool, "build", "-o", wasm, ".")
	// The script has little room for the environment.
	if got := command([]string{"PATH=" + os.Getenv("PATH")}, node, script, wasm); !same(got, want) {
		t.Errorf("under node the program prints\n%swant\n%s", got, want)
	}
}
