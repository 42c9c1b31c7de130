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

// want is what the program prints, up to the last digits of float32 arithmetic.
const want = `rgb 3 64 64 0.5395
depth 1 64 64 0.9316
semseg 16 32 32 2.5753
`

// same reports whether two outputs of the program agree.
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

// TestSensible compares what the model predicts from colour with the true depth and classes of the
// room.
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
	truth, err := images.Batch(m, imgs)
	if err != nil {
		t.Fatal(err)
	}
	if imgs["rgb"], err = png.Decode(bytes.NewReader(room)); err != nil {
		t.Fatal(err)
	}
	b, err := images.Batch(m, map[string]image.Image{"rgb": imgs["rgb"]})
	if err != nil {
		t.Fatal(err)
	}
	// A processor that fuses multiplication and addition renders some pixels a little brighter or
	// darker.
	apart := 0.0
	for i, v := range truth.Images["rgb"] {
		apart += math.Abs(float64(b.Images["rgb"][i]-v)) / float64(len(truth.Images["rgb"]))
	}
	if !(apart < 1e-3) {
		t.Errorf("room.png differs from the room by %g on average, want below 0.001", apart)
	}
	p, err := m.Predict(context.Background(), b, nil)
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

// module is a Go module outside of this repository, such as a user of the library has. Its go.sum
// has the checksums of the two dependencies of the library and no others.
type module struct {
	dir, sums string
	goTool    string
}

func newModule(t *testing.T) *module {
	t.Helper()
	if testing.Short() {
		t.Skip("builds programs")
	}
	m := &module{dir: t.TempDir()}
	var err error
	if m.goTool, err = exec.LookPath("go"); err != nil {
		t.Skip("no go on the PATH: ", err)
	}
	checkout, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	var requires []string
	for line := range strings.Lines(string(read(t, filepath.Join(checkout, "go.mod")))) {
		if needed(line) {
			requires = append(requires, strings.TrimSpace(line)+"\n")
		}
	}
	for line := range strings.Lines(string(read(t, filepath.Join(checkout, "go.sum")))) {
		if needed(line) {
			m.sums += line
		}
	}
	m.write(t, "go.mod", fmt.Appendf(nil, "module example.com/app\n\ngo 1.25.0\n\nrequire (\n\tgithub.com/gomae/gomae v0.0.0\n\t%s)\n\nreplace github.com/gomae/gomae => %q\n",
		strings.Join(requires, "\t"), filepath.ToSlash(checkout)))
	m.write(t, "go.sum", []byte(m.sums))
	return m
}

// needed reports whether a line of go.mod or go.sum is of a dependency of the library.
func needed(line string) bool {
	return strings.Contains(line, "github.com/klauspost/cpuid/v2 ") || strings.Contains(line, "golang.org/x/sys ")
}

func (m *module) path(name string) string { return filepath.Join(m.dir, name) }

func (m *module) write(t *testing.T, name string, b []byte) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(m.path(name)), 0o777)
	if err == nil {
		err = os.WriteFile(m.path(name), b, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs a command in the module and returns what it prints.
func (m *module) run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = m.dir, env, &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &errs, &out)
	}
	return out.String()
}

// build builds the program for a system, without cgo or network. The module is read-only: whatever
// else the build needs is an error.
func (m *module) build(t *testing.T, system string) (program string) {
	t.Helper()
	goos, goarch, _ := strings.Cut(system, "/")
	env := append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOPROXY=off", "GOWORK=off")
	modules := strings.Fields(m.run(t, env, m.goTool, "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "."))
	slices.Sort(modules)
	for _, path := range slices.Compact(modules) {
		if path != "example.com/app" && path != "github.com/gomae/gomae" && !needed(path+" ") {
			t.Errorf("for %s the program needs the module %s", system, path)
		}
	}
	program = m.path("app." + goos + ".exe")
	m.run(t, env, m.goTool, "build", "-o", program, ".")
	return program
}

// TestEmbedded builds the program in a module of its own, and runs it here and under WebAssembly.
func TestEmbedded(t *testing.T) {
	m := newModule(t)
	for _, name := range []string{"main.go", "room.png"} {
		m.write(t, name, read(t, name))
	}
	if err := fs.WalkDir(files, "model", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			m.write(t, path, read(t, path))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	m.build(t, "darwin/arm64")
	if got := m.run(t, os.Environ(), m.build(t, runtime.GOOS+"/"+runtime.GOARCH)); !same(got, want) {
		t.Errorf("the program prints\n%swant\n%s", got, want)
	}

	// Nor does tidying find more to add, although it reads the library's tests. It needs the
	// sources of both dependencies, of which a build here needs one.
	tidy := append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
	if strings.TrimSpace(m.run(t, tidy, m.goTool, "list", "-m", "-e", "-f", "{{.Dir}}", "golang.org/x/sys")) == "" {
		t.Log("go mod tidy was not run, because golang.org/x/sys is not in the module cache: run go mod download")
	} else {
		m.run(t, tidy, m.goTool, "mod", "tidy")
	}
	if got := read(t, m.path("go.sum")); string(got) != m.sums {
		t.Errorf("go.sum has become\n%s", got)
	}

	wasm := m.build(t, "js/wasm")
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("the program for WebAssembly was not run, because there is no node on the PATH: install Node.js")
	}
	root := strings.TrimSpace(m.run(t, os.Environ(), m.goTool, "env", "GOROOT"))
	script := filepath.Join(root, "lib", "wasm", "wasm_exec_node.js")
	// The script has little room for the environment.
	if got := m.run(t, []string{"PATH=" + os.Getenv("PATH")}, node, script, wasm); !same(got, want) {
		t.Errorf("under node the program prints\n%swant\n%s", got, want)
	}
}
