//go:build linux && (amd64 || arm64) && !noonnx

package teacher

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

// library compiles a shared library from C.
func library(t *testing.T, name, source string) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc")
	}
	file := filepath.Join(t.TempDir(), name)
	c := file + ".c"
	if err := os.WriteFile(c, []byte(source), 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", file, c).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return file
}

// base is what every version of ONNX Runtime has.
const base = `static const void* api(unsigned v) { return 0; }
static const char* version(void) { return "%s"; }
static const struct { const void* (*a)(unsigned); const char* (*v)(void); } b = { api, version };
const void* OrtGetApiBase(void) { return &b; }
`

func TestLibraryErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("no library"), 0o666); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe.so")
	if err := syscall.Mkfifo(pipe, 0o666); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		want []string
	}{
		"missing":      {filepath.Join(dir, "absent.so"), []string{"absent.so"}},
		"empty folder": {dir + "/empty", []string{"libonnxruntime.so"}},
		"text":         {text, []string{"text.so"}},
		"pipe":         {pipe, []string{"pipe.so", "pipe"}},
		"another":      {library(t, "another.so", "int f(void) { return 1; }"), []string{"another.so", "OrtGetApiBase"}},
		"old":          {library(t, "old.so", fmt.Sprintf(base, "1.9.1")), []string{"old.so", "1.9.1", oldestORT, "pip install onnxruntime"}},
		"without it":   {library(t, "without.so", fmt.Sprintf(base, "2.0.0")), []string{"without.so", "2.0.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "empty folder" {
				if err := os.Mkdir(c.path, 0o777); err != nil {
					t.Fatal(err)
				}
			}
			_, err := openORT(c.path)
			testkit.ErrorNames(t, err, c.want...)
			t.Setenv(LibraryVariable, c.path)
			_, err = openORT("")
			testkit.ErrorNames(t, err, c.want[0])
		})
	}
}

// TestCandidates finds the library in an environment of Python, and of several versions the last.
func TestCandidates(t *testing.T) {
	root := t.TempDir()
	capi := filepath.Join(root, "lib", "python3.12", "site-packages", "onnxruntime", "capi")
	if err := os.MkdirAll(capi, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"libonnxruntime.so.1.9.1", "libonnxruntime.so.1.20.0", "libonnxruntime.so.1.19.2", "libonnxruntime_providers_shared.so"} {
		if err := os.WriteFile(filepath.Join(capi, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(LibraryVariable, "")
	t.Setenv("VIRTUAL_ENV", root)
	if got, want := candidates()[0], filepath.Join(capi, "libonnxruntime.so.1.20.0"); got != want {
		t.Errorf("first %s, want %s", got, want)
	}
	if err := os.Rename(filepath.Join(root, "lib"), filepath.Join(root, "lib64")); err != nil {
		t.Fatal(err)
	}
	if got := candidates()[0]; !strings.HasPrefix(got, filepath.Join(root, "lib64", "python3.12")) {
		t.Errorf("in lib64: first %s", got)
	}
	for _, c := range []struct {
		version, least string
		want           bool
	}{{"1.14.0", "1.14", true}, {"1.9.1", "1.14", false}, {"1.100.0", "1.14", true}, {"2.0", "1.14", true}, {"", "1.14", false}, {"x.y", "1.14", false}} {
		if got := atLeast(c.version, c.least); got != c.want {
			t.Errorf("atLeast(%q, %q) is %v", c.version, c.least, got)
		}
	}
}

// TestRelative opens a library by a path without a slash, which the system's loader would take for the
// name of one of its own.
func TestRelative(t *testing.T) {
	file := library(t, "libonnxruntime.so.1.9.1", fmt.Sprintf(base, "1.9.1"))
	t.Chdir(filepath.Dir(file))
	for _, path := range []string{".", filepath.Base(file)} {
		t.Run(path, func(t *testing.T) {
			_, err := loadORT(path)
			testkit.ErrorNames(t, err, file, oldestORT) // loaded, and too old
		})
	}
}

// TestOldRuntime finds a library that is too old before one that is not.
func TestOldRuntime(t *testing.T) {
	for variable, source := range map[string]string{
		"VIRTUAL_ENV":  fmt.Sprintf(base, "1.9.1"),
		"CONDA_PREFIX": "static void* f(void) { return 0; }\nstatic void* const table[] = {[0 ... 199] = (void*)f};\n" + strings.Replace(fmt.Sprintf(base, "1.77.0"), "return 0", "return table", 1),
	} {
		dir := filepath.Join(t.TempDir(), "lib")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(library(t, "lib.so", source), filepath.Join(dir, "libonnxruntime.so")); err != nil {
			t.Fatal(err)
		}
		t.Setenv(variable, filepath.Dir(dir))
	}
	o, err := loadORT("")
	if err != nil || o.version != "1.77.0" {
		t.Errorf("%v, %v", o, err)
	}
}

// TestNoRuntime looks for the library where there is none: the error is the line that installs it.
func TestNoRuntime(t *testing.T) {
	for _, name := range []string{LibraryVariable, "VIRTUAL_ENV", "CONDA_PREFIX", "PATH"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	for _, file := range candidates() {
		if filepath.IsAbs(file) {
			t.Skip("the system has " + file)
		}
	}
	if _, err := loadORT(""); err == nil {
		t.Skip("the system's loader finds one")
	} else if !errors.Is(err, ErrNoRuntime) {
		t.Error(err)
	}
	testkit.ErrorNames(t, ErrNoRuntime, installHint, LibraryVariable)
}
