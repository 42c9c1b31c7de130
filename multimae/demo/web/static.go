package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/demo"
	"github.com/gomae/gomae/nn/weights"
)

const (
	module  = "github.com/gomae/gomae"
	program = module + "/multimae/demo/wasm"
)

// ErrNoGo is wrapped by WriteStatic's error where there is no Go toolchain.
var ErrNoGo = errors.New("there is no Go toolchain")

// file is one of a page.
type file struct {
	name string // below the folder, with slashes
	make func() ([]byte, error)
}

// mark is the file by which a folder is known to be a page: no other folder has it.
const mark = "model/page.json"

// WriteStatic writes the page of an App, its model and gomae as WebAssembly to a folder, which any
// web host can serve as it is. The weights are stored as bfloat16. It replaces the files of an
// earlier page, and no others: where one is in the way, the error wraps fs.ErrExist. Until it has
// made all files it writes none.
//
// It compiles gomae with the Go toolchain on the PATH: in a folder of a module that has gomae, such
// as a clone, that version; elsewhere the version of the running program, as the module proxy has
// it.
func WriteStatic(ctx context.Context, dir string, a *demo.App) error {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("%w on the PATH, which compiles gomae for the browser; install Go from https://go.dev/dl, or write the page on a machine that has it and copy the folder", ErrNoGo)
	}
	g := &toolchain{ctx: ctx, path: goTool}
	files := []file{
		{mark, a.MarshalOptions}, // first, so that a page that is not complete has it, too
		{"model/" + multimae.ConfigFile, func() ([]byte, error) { return a.Model().Config.JSON(), nil }},
		{"model/" + multimae.WeightsFile, func() ([]byte, error) { return rounded(a.Model()) }},
		{"wasm_exec.js", g.support},
		{"gomae.wasm.packed", g.packed},
	}
	for _, name := range []string{"index.html", "app.js", "worker.js", "style.css", "icon.svg"} {
		files = append(files, file{name, func() ([]byte, error) {
			b, err := fs.ReadFile(page, name)
			if name == "index.html" {
				b = bytes.Replace(b, []byte(`data-backend="server"`), []byte(`data-backend="worker"`), 1)
			}
			return b, err
		}})
	}
	if err := vacant(dir, files); err != nil {
		return err
	}
	made := make([][]byte, len(files))
	for i, f := range files {
		if made[i], err = f.make(); err != nil {
			return err
		}
	}
	if err := atomicfile.MkdirAll(filepath.Join(dir, "model")); err != nil {
		return err
	}
	for i, f := range files {
		if err := atomicfile.WriteBytes(f.in(dir), made[i]); err != nil {
			return err
		}
	}
	return nil
}

func (f *file) in(dir string) string { return filepath.Join(dir, filepath.FromSlash(f.name)) }

// vacant returns an error if the folder has one of the files, unless it is a page.
func vacant(dir string, files []file) error {
	for _, f := range files {
		switch _, err := os.Lstat(f.in(dir)); {
		case err == nil && f.name == mark:
			return nil
		case err == nil:
			return fmt.Errorf("%s would be replaced: %w, and %s is not a page that gomae wrote; give another folder, or remove the file", f.in(dir), fs.ErrExist, dir)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// rounded returns a file of the weights as bfloat16.
func rounded(m *multimae.Model) ([]byte, error) {
	list := m.Params.Tensors()
	for i := range list {
		list[i].Data = weights.BFloat16(list[i].Data.([]float32))
	}
	var b bytes.Buffer
	err := weights.WriteSafetensors(&b, list, map[string]string{"format": "pt"})
	return b.Bytes(), err
}

func readFirst(paths ...string) (b []byte, err error) {
	for _, p := range paths {
		if b, err = os.ReadFile(p); err == nil {
			return b, nil
		}
	}
	return nil, err
}

// toolchain is the Go command.
type toolchain struct {
	ctx  context.Context
	path string
}

// run returns what the command prints, without white space around it.
func (g *toolchain) run(dir string, env []string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(g.ctx, g.path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		if g.ctx.Err() != nil {
			return "", g.ctx.Err()
		}
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// support returns the script that runs WebAssembly of this toolchain.
func (g *toolchain) support() ([]byte, error) {
	root, err := g.run("", nil, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	b, err := readFirst(filepath.Join(root, "lib", "wasm", "wasm_exec.js"), filepath.Join(root, "misc", "wasm", "wasm_exec.js"))
	if err != nil {
		err = fmt.Errorf("the Go toolchain in %s is not complete: %w", root, err)
	}
	return b, err
}

// packed returns gomae as WebAssembly, compressed: a third of the size, on hosts that do not
// compress, too.
func (g *toolchain) packed() ([]byte, error) {
	compiled, err := g.compile()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(compiled)
	}
	if err == nil {
		err = z.Close()
	}
	return b.Bytes(), err
}

// compile returns gomae as WebAssembly.
func (g *toolchain) compile() ([]byte, error) {
	temp, err := os.MkdirTemp("", "gomae-wasm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	file := filepath.Join(temp, "gomae.wasm")
	browser := []string{"GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0"}
	small := []string{"-trimpath", "-ldflags=-s -w"}
	if _, err := g.run("", browser, "list", program); err == nil { // a clone, or a module that requires gomae
		_, err := g.run("", browser, append(append([]string{"build", "-o", file}, small...), program)...)
		if err != nil {
			return nil, err
		}
		return os.ReadFile(file)
	}
	if err := g.ctx.Err(); err != nil { // which ended "list"
		return nil, err
	}
	info, ok := debug.ReadBuildInfo()
	version := ""
	if ok {
		version = info.Main.Version
		for _, d := range info.Deps {
			if d.Path == module {
				version = d.Version
			}
		}
	}
	if version == "" || version == "(devel)" || strings.Contains(version, "+dirty") {
		return nil, fmt.Errorf("the source of this gomae (%s) is not published, and this folder has none; run the command in a clone of %s", version, module)
	}
	cache, err := g.run("", nil, "env", "GOMODCACHE")
	if err != nil {
		return nil, err
	}
	// go install takes a version without a module around it, but no place for what it compiles.
	env := append(browser, "GOPATH="+temp, "GOMODCACHE="+cache, "GOBIN=", "GOFLAGS=", "GOWORK=off")
	if _, err := g.run(temp, env, append(append([]string{"install"}, small...), program+"@"+version)...); err != nil {
		return nil, err
	}
	return readFirst(filepath.Join(temp, "bin", "js_wasm", "wasm"), filepath.Join(temp, "bin", "js_wasm", "wasm.wasm"))
}
