//go:build linux || darwin

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/nn/weights"
)

// notFiles are what may be found where a file is expected. Each function puts it at a path.
var notFiles = map[string]func(path string) error{
	"device":        func(path string) error { return os.Symlink("/dev/zero", path) },
	"named pipe":    func(path string) error { return syscall.Mkfifo(path, 0o666) },
	"dangling link": func(path string) error { return os.Symlink("nothing", path) },
	"circular link": func(path string) error { return os.Symlink(filepath.Base(path), path) },
	"folder":        func(path string) error { return os.Mkdir(path, 0o777) },
}

// ended runs a command that must end by itself, and soon.
func ended(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		code, stdout, stderr = gomae(args...)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%v does not end", args)
	}
	return code, stdout, stderr
}

// snapshot lists what is in a folder, with sizes and times of its files.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		switch {
		case err != nil:
			return err
		case info.IsDir(): // in which a file may be made and removed
			fmt.Fprintln(&list, path, info.Mode())
		default:
			fmt.Fprintln(&list, path, info.Mode(), info.Size(), info.ModTime())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

// TestNotFiles puts devices, pipes, links and folders in every place where a command expects a file.
// It must end with one message, and write nothing.
func TestNotFiles(t *testing.T) {
	model := trained(t)
	dump, err := filepath.Abs(tinyDump)
	if err != nil {
		t.Fatal(err)
	}
	photos := rendered(t, "-n", "8", "-size", "16")
	config := tinyConfig(t, nil)
	type place struct {
		name    string
		of      string // the folder that is copied to "in"
		file    string // in this folder, replaced
		args    string
		allowed string // kinds that the place may have
	}
	places := []place{
		{"pretrain -config", "", "x", "pretrain -out out -config in/x", ""},
		{"pretrain -out", "", "x", "pretrain -out in/x -config " + config, "folder"},
		{"pretrain -resume, config.json", model, multimae.ConfigFile, "pretrain -resume -out in -config " + config, ""},
		{"pretrain -resume, metrics", model, train.MetricsFile, "pretrain -resume -out in", ""},
		{"pretrain -resume, checkpoint", model, train.CheckpointName(1), "pretrain -resume -out in", ""},
		{"pretrain -data", "", "x", "pretrain -out out -data in/x -config " + config, ""},
		{"pretrain -data, picture", photos, "rgb/scene/000001.png", "pretrain -out out -data in -config " + config, "folder"},
		{"pretrain -cpuprofile", "", "x", "pretrain -out out -cpuprofile in/x -config " + config, "device, dangling link"},
		{"pretrain -memprofile", "", "x", "pretrain -out out -memprofile in/x -config " + config, "device, dangling link"},
		{"reconstruct, config.json", model, multimae.ConfigFile, "reconstruct -model in -scene 1", ""},
		{"reconstruct, weights", model, multimae.WeightsFile, "reconstruct -model in -scene 1", ""},
		{"reconstruct -model", "", "x", "reconstruct -model in/x -scene 1", ""},
		{"reconstruct -rgb", "", "x", "reconstruct -rgb in/x -model " + model, ""},
		{"reconstruct -depth", "", "x", "reconstruct -depth in/x -model " + model, ""},
		{"reconstruct -out", "", "x", "reconstruct -out in/x -scene 1 -model " + model, "device, dangling link"},
		{"render -out", "", "x", "render -n 1 -out in/x", "folder"},
		{"render -split -out", "", "x", "render -n 2 -split 0.5 -out in/x", "folder"},
		{"data check", "", "x", "data check in/x", ""},
		{"data check -config", photos, "x", "data check -config in/x in", ""},
		{"data check, picture", photos, "depth/scene/000001.png", "data check -classes scenes in", ""},
		{"data check, modality", photos, "depth", "data check -classes scenes in", ""},
		{"convert SRC", "", "x", "convert in/x out.pth", ""},
		{"convert -list", "", "x", "convert -list in/x", ""},
		{"convert -config", "", "x", "convert -config in/x " + filepath.Join(model, multimae.WeightsFile) + " out", ""},
		{"convert, config.json", model, multimae.ConfigFile, "convert in out", ""},
		{"convert, weights", model, multimae.WeightsFile, "convert in out", ""},
		{"convert DST", "", "x.pth", "convert " + model + " in/x.pth", "dangling link"},
		{"convert -force DST", "", "x.pth", "convert -force " + model + " in/x.pth", "device, dangling link"},
		{"info -config", "", "x", "info -config in/x", ""},
		{"parity", "", "x", "parity in/x", ""},
		{"parity, config.json", dump, multimae.ConfigFile, "parity in", ""},
		{"parity, inputs", dump, "inputs.safetensors", "parity in", ""},
		{"parity, weights", dump, multimae.WeightsFile, "parity in", ""},
		{"parity, expected", dump, "expected.safetensors", "parity in", ""},
	}
	for _, p := range places {
		for kind, put := range notFiles {
			if strings.Contains(p.allowed, kind) {
				continue
			}
			t.Run(p.name+" is a "+kind, func(t *testing.T) {
				t.Chdir(t.TempDir())
				if p.of != "" {
					err = os.CopyFS("in", os.DirFS(p.of))
				} else {
					err = os.Mkdir("in", 0o777)
				}
				path := filepath.Join("in", p.file)
				if err := errors.Join(err, os.RemoveAll(path), put(path)); err != nil {
					t.Fatal(err)
				}
				before := snapshot(t, ".")
				code, stdout, stderr := ended(t, strings.Fields(p.args)...)
				if code != 1 && code != 2 {
					t.Errorf("exit %d", code)
				}
				message := stderr
				if _, problems, ok := strings.Cut(stdout, "problem"); ok {
					message = problems // what data check reports is a result
				}
				if !strings.Contains(message, path) && !strings.Contains(message, p.file) || len(message) > 1000 || strings.Count(message, "\n") > 5 {
					t.Errorf("message %q, want a short one that names %s", message, path)
				}
				if after := snapshot(t, "."); after != before {
					t.Errorf("the folder holds\n%s\nand held\n%s", after, before)
				}
			})
		}
	}
}

// TestLongNames: names of a megabyte must not come back whole.
func TestLongNames(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("n", 1<<20)
	model := trained(t)
	config := tinyConfig(t, nil)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	configs := map[string]string{
		"key":    strings.Replace(string(text), `"train"`, `"`+long[:1<<19]+`"`, 1),
		"value":  strings.Replace(string(text), `"multimae"`, `"`+long[:1<<19]+`"`, 1),
		"input":  strings.Replace(string(text), `"rgb": {`, `"`+long[:1<<19]+`.": {`, 1),
		"kind":   strings.Replace(string(text), `"classes"`, `"`+long[:1<<19]+`"`, 1),
		"number": strings.Replace(string(text), `"dim": 16`, `"dim": `+strings.Repeat("9", 1<<19), 1),
		"large":  strings.Replace(string(text), `"dim": 16`, `"dim": `+strings.Repeat("9", 1<<20), 1),
	}
	for name, text := range configs {
		t.Run("config.json, "+name, func(t *testing.T) {
			path := filepath.Join(dir, "config.json")
			write(t, []byte(text), path)
			for _, args := range []string{"pretrain -out " + dir + "/out -config " + path, "data check -config " + path + " " + dir, "parity " + dir, "reconstruct -scene 1 -model " + dir} {
				if code, stdout, stderr := gomae(strings.Fields(args)...); code == 0 || len(stdout) > 100 || len(stderr) > 2000 || !strings.Contains(stderr, "config.json") {
					t.Errorf("%s: exit %d, %d bytes of stdout, %d of stderr, %.300q", args, code, len(stdout), len(stderr), stderr)
				}
			}
		})
	}
	// Weights.
	vit := filepath.Join(dir, "vit.safetensors")
	ok(t, "convert", "-to", "timm", model, vit)
	for _, key := range []string{"head." + long, "blocks.0." + long, long} {
		t.Run(fmt.Sprintf("key %.9s", key), func(t *testing.T) {
			path := filepath.Join(dir, "long.pth")
			list := append(tensorsOf(t, vit), weights.Tensor{Name: key, Shape: []int{1}, Data: []float32{1}})
			f, err := os.Create(path)
			if err == nil {
				err = errors.Join(weights.WritePth(f, list, nil), f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, args := range []string{"convert -force -to multimae " + path + " " + dir + "/out.pth", "convert -config " + config + " " + path + " " + dir + "/out"} {
				if _, stdout, stderr := gomae(strings.Fields(args)...); stdout != "" || stderr == "" || len(stderr) > 10_000 {
					t.Errorf("%s: %d bytes of stdout, %d of stderr, %.300q", args, len(stdout), len(stderr), stderr)
				}
			}
		})
	}
}

// TestBrokenPipe runs the command with a pipe as stdout or stderr that nobody reads any more.
func TestBrokenPipe(t *testing.T) {
	broken := func() *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		t.Cleanup(func() { w.Close() })
		return w
	}
	t.Run("stdout", func(t *testing.T) {
		cmd := program(t, nil, "help")
		var stderr strings.Builder
		cmd.Stdout, cmd.Stderr = broken(), &stderr
		cmd.Run()
		if cmd.ProcessState.ExitCode() != 1 || stderr.String() != "" {
			t.Errorf("%v, stderr %q", cmd.ProcessState, stderr.String())
		}
	})
	t.Run("stderr", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "run")
		cmd := program(t, nil, "pretrain", "-config", tinyConfig(t, nil), "-out", out)
		var stdout strings.Builder
		cmd.Stdout, cmd.Stderr = &stdout, broken()
		if err := cmd.Run(); err != nil || savedStep(out) != 6 || !strings.Contains(stdout.String(), "masked patches") {
			t.Errorf("%v, saved step %d, stdout %q", err, savedStep(out), stdout.String())
		}
	})
}

// blocked is a writer that never returns.
type blocked struct{}

func (blocked) Write([]byte) (int, error) { select {} }

// TestInterruptBlocked interrupts commands that wait for the other end of a pipe. The first
// interrupt must end them.
func TestInterruptBlocked(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo.pth")
	if err := syscall.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDWR, 0) // and nothing is read
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	for _, c := range []struct {
		args           string
		stdout, stderr bool
	}{
		{"version", true, false},
		{"version", true, true},
		{"pretrain -config " + tinyConfig(t, nil) + " -out " + filepath.Join(t.TempDir(), "run"), false, true},
		{"parity " + tinyDump, true, false},
		{"convert -force " + tinyDump + " " + fifo, false, false},
	} {
		t.Run(fmt.Sprintf("%.20s, stdout %v, stderr %v", c.args, c.stdout, c.stderr), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(context.Background())
			var out, errs strings.Builder
			code := make(chan int, 1)
			go func() {
				switch {
				case c.stdout && c.stderr:
					code <- run(ctx, strings.Fields(c.args), blocked{}, blocked{})
				case c.stdout:
					code <- run(ctx, strings.Fields(c.args), blocked{}, &errs)
				case c.stderr:
					code <- run(ctx, strings.Fields(c.args), &out, blocked{})
				default:
					code <- run(ctx, strings.Fields(c.args), &out, &errs)
				}
			}()
			time.Sleep(100 * time.Millisecond) // for most of them to come to the pipe; sooner is as good
			cancel()
			select {
			case got := <-code:
				if got != 1 || !c.stderr && !strings.Contains(errs.String(), "interrupted") {
					t.Errorf("exit %d, stderr %q", got, errs.String())
				}
			case <-time.After(time.Minute):
				t.Fatal("does not end")
			}
		})
	}
}
