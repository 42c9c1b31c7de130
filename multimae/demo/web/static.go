package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
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

// WriteStatic writes the page of an App, its model and gomae as WebAssembly to a folder, which any
// web host can serve as it is. The weights are stored as bfloat16.
//
// It compiles gomae with the Go toolchain on the PATH: in a folder of a module that has gomae, such
// as a clone, that version; elsewhere the version of the running program, as the module proxy has
// it.
func WriteStatic(ctx context.Context, dir string, a *demo.App) error {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("%w on the PATH, which compiles gomae for the browser; install Go from https://go.dev/dl, or write the page on a machine that has it and copy the folder", ErrNoGo)
	}
	if err := atomicfile.MkdirAll(filepath.Join(dir, "model")); err != nil {
		return err
	}
	put := func(name string, b []byte) error {
		return atomicfile.Write(filepath.Join(dir, filepath.FromSlash(name)), func(w io.Writer) error { _, err := w.Write(b); return err })
	}
	for _, name := range []string{"index.html", "app.js", "worker.js", "style.css", "icon.svg"} {
		b, err := fs.ReadFile(page, name)
		if err != nil {
			return err
		}
		if name == "index.html" {
			b = bytes.Replace(b, []byte(`data-backend="server"`), []byte(`data-backend="worker"`), 1)
		}
		if err := put(name, b); err != nil {
			return err
		}
	}
	if err := put("model/"+multimae.ConfigFile, a.Model().Config.JSON()); err != nil {
		return err
	}
	options, err := a.MarshalOptions()
	if err != nil {
		return err
	}
	if err := put("model/page.json", options); err != nil {
		return err
	}
	list := a.Model().Params.Tensors()
	for i := range list {
		list[i].Data = weights.BFloat16(list[i].Data.([]float32))
	}
	var file bytes.Buffer
	if err := weights.WriteSafetensors(&file, list, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	if err := put("model/"+multimae.WeightsFile, file.Bytes()); err != nil {
		return err
	}
	g := &toolchain{ctx: ctx, path: goTool}
	root, err := g.run("", nil, "env", "GOROOT")
	if err != nil {
		return err
	}
	support, err := readFirst(filepath.Join(root, "lib", "wasm", "wasm_exec.js"), filepath.Join(root, "misc", "wasm", "wasm_exec.js"))
	if err != nil {
		return fmt.Errorf("the Go toolchain in %s is not complete: %w", root, err)
	}
	if err := put("wasm_exec.js", support); err != nil {
		return err
	}
	compiled, err := g.compile()
	if err != nil {
		return err
	}
	var packed bytes.Buffer // a third of the size, on hosts that do not compress, too
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(compiled)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return err
	}
	return put("gomae.wasm.packed", packed.Bytes())
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
