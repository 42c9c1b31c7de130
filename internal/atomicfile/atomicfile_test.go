package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

var errFull = errors.New("no space left on device")

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	for range 2 { // new, and there already
		if err := MkdirAll(deep); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(deep); err != nil || !info.IsDir() {
			t.Errorf("no folder: %v", err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "a")} {
		if err := MkdirAll(path); err == nil {
			t.Errorf("%s was made", path)
		}
	}
	if runtime.GOOS != "windows" { // which lets few make links
		link := filepath.Join(dir, "link")
		if err := os.Symlink(deep, link); err != nil {
			t.Fatal(err)
		}
		if err := MkdirAll(filepath.Join(link, "d")); err != nil {
			t.Error(err)
		}
	}
	t.Chdir(dir)
	for _, path := range []string{".", "relative/x"} {
		if err := MkdirAll(path); err != nil {
			t.Error(err)
		}
	}
}

func folder(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestWrite(t *testing.T) {
	t.Run("Write", func(t *testing.T) { testWrite(t, Write) })
	t.Run("WriteNoSync", func(t *testing.T) { testWrite(t, WriteNoSync) })
}

func testWrite(t *testing.T, write func(string, func(io.Writer) error) error) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	put := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	check := func(want string) {
		t.Helper()
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("the file holds %q (%v), want %q", b, err, want)
		}
		if names := folder(t, dir); !reflect.DeepEqual(names, []string{"f"}) {
			t.Errorf("the folder holds %q", names)
		}
	}
	if err := write(path, put("old")); err != nil {
		t.Fatal(err)
	}
	check("old")

	// A failing writer, after more bytes than any buffer holds, leaves the old file and no debris.
	err := write(path, func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
		return errFull
	})
	if !errors.Is(err, errFull) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	check("old")

	func() { // so does a panic
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		write(path, func(w io.Writer) error { panic("write") })
	}()
	check("old")

	if err := write(path, put("new")); err != nil {
		t.Fatal(err)
	}
	check("new")

	if runtime.GOOS != "windows" {
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		if err := write(path, put("kept")); err != nil {
			t.Fatal(err)
		}
		check("kept")
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("permissions %v (%v), want 0640 kept", info.Mode(), err)
		}
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		if err := write(link, put("through a link")); err != nil {
			t.Fatal(err)
		}
		check("through a link")
		if err := write(os.DevNull, put("gone")); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
			t.Errorf("%s was replaced", os.DevNull)
		}
	}
	if err := write(dir, put("x")); err == nil {
		t.Error("a folder was written")
	}
	if err := write(filepath.Join(dir, "none", "f"), put("x")); err == nil {
		t.Error("a file in a missing folder was written")
	}
}
