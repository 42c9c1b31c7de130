package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if runtime.GOOS == "windows" { // which lets few make links
		link = dir
	} else if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, c := range []struct {
		name, path string
		ok         bool
	}{
		{"new", filepath.Join(dir, "a", "b", "c"), true},
		{"there already", filepath.Join(dir, "a", "b"), true},
		{"beside others", filepath.Join(dir, "a", "d"), true},
		{"through a link", filepath.Join(link, "d"), true},
		{"this folder", ".", true},
		{"a relative path", "relative/x", true},
		{"a file", file, false},
		{"below a file", filepath.Join(file, "a"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := MkdirAll(c.path)
			if (err == nil) != c.ok {
				t.Errorf("got error %v", err)
			}
			if info, err := os.Stat(c.path); c.ok && (err != nil || !info.IsDir()) {
				t.Errorf("no folder: %v", err)
			}
		})
	}
}

// text returns what writes s.
func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

// wantOnly wants a folder to have one file, and that to hold a text.
func wantOnly(t *testing.T, path, text string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != text {
		t.Errorf("the file holds %q (%v), want %q", b, err, text)
	}
	list, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, []string{filepath.Base(path)}) {
		t.Errorf("the folder holds %q", names)
	}
}

func TestWrite(t *testing.T) {
	for name, write := range map[string]func(string, func(io.Writer) error) error{"Write": Write, "WriteNoSync": WriteNoSync, "Replace": Replace} {
		path := filepath.Join(t.TempDir(), "f")
		for _, s := range []string{"new", "replaced", ""} {
			t.Run(name+", text "+s, func(t *testing.T) {
				if err := write(path, text(s)); err != nil {
					t.Fatal(err)
				}
				wantOnly(t, path, s)
			})
		}
	}
}

func TestWriteBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for name, write := range map[string]func(string, []byte) error{"WriteBytes": WriteBytes, "ReplaceBytes": ReplaceBytes} {
		t.Run(name, func(t *testing.T) {
			if err := write(path, []byte(name)); err != nil {
				t.Fatal(err)
			}
			wantOnly(t, path, name)
		})
	}
}

func TestTemporary(t *testing.T) {
	for _, c := range []struct {
		name, of string
		ok       bool
	}{
		{".a.png.tmp-x7", "a.png", true},
		{".a.tmp-1.tmp-2", "a.tmp-1", true},
		{"a.png.tmp-x7", "", false},
		{".a.png", "", false},
		{".tmp-x7", "", false},
		{".a.tmp-", "a", false},
		{".a.tmp-x.png", "a", false},
		{"", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if of, ok := Temporary(c.name); ok != c.ok || ok && of != c.of {
				t.Errorf("got %q, %v, want %q, %v", of, ok, c.of, c.ok)
			}
		})
	}
	f, err := createTemp(filepath.Join(t.TempDir(), "f.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if of, ok := Temporary(filepath.Base(f.Name())); of != "f.png" || !ok {
		t.Errorf("%s: got %q, %v", f.Name(), of, ok)
	}

	// The longest names that a file may have, in ASCII and in letters of three bytes.
	for _, long := range []string{strings.Repeat("x", 251) + ".png", strings.Repeat("写", 83) + ".png"} {
		path := filepath.Join(t.TempDir(), long)
		f, err := createTemp(path)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if of, ok := Temporary(filepath.Base(f.Name())); !ok || of != Shortened(long) || !utf8.ValidString(of) {
			t.Errorf("%s: got %q, %v", f.Name(), of, ok)
		}
		if err := Write(path, text("x")); err != nil {
			t.Error(err)
		}
	}
	if a, b := Shortened(strings.Repeat("x", 200)+"a"), Shortened(strings.Repeat("x", 200)+"b"); a == b {
		t.Errorf("two files share the temporary name %s", a)
	}
}

// TestWriteFails: what goes wrong leaves the old file and no temporary one.
func TestWriteFails(t *testing.T) {
	errFull := errors.New("no space left on device")
	path := filepath.Join(t.TempDir(), "f")
	if err := Write(path, text("old")); err != nil {
		t.Fatal(err)
	}
	t.Run("error", func(t *testing.T) {
		err := Write(path, func(w io.Writer) error {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil { // more than any buffer holds
				return err
			}
			return errFull
		})
		if !errors.Is(err, errFull) || !strings.Contains(err.Error(), path) {
			t.Errorf("got error %v", err)
		}
		wantOnly(t, path, "old")
	})
	t.Run("panic", func(t *testing.T) {
		defer func() {
			if recover() != "write" {
				t.Error("the panic was swallowed")
			}
			wantOnly(t, path, "old")
		}()
		Write(path, func(w io.Writer) error { panic("write") })
	})
	t.Run("folder", func(t *testing.T) {
		if err := Write(filepath.Dir(path), text("x")); err == nil || !strings.Contains(err.Error(), filepath.Dir(path)) {
			t.Errorf("got error %v", err)
		}
		wantOnly(t, path, "old")
	})
	t.Run("missing folder", func(t *testing.T) {
		if err := Write(filepath.Join(t.TempDir(), "none", "f"), text("x")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got error %v", err)
		}
	})
}

// TestWriteKeeps: permissions, links and devices stay what they are.
func TestWriteKeeps(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has other permissions, lets few make links, and has other devices")
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := Write(path, text("old")); err != nil {
		t.Fatal(err)
	}
	t.Run("permissions", func(t *testing.T) {
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		if err := Write(path, text("kept")); err != nil {
			t.Fatal(err)
		}
		wantOnly(t, path, "kept")
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("permissions %v (%v), want 0640", info.Mode(), err)
		}
	})
	t.Run("link", func(t *testing.T) {
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		if err := Write(link, text("through a link")); err != nil {
			t.Fatal(err)
		}
		wantOnly(t, path, "through a link")
		if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("the link was replaced: %v", err)
		}
	})
	t.Run("link to nothing", func(t *testing.T) {
		dir, elsewhere := t.TempDir(), t.TempDir()
		links := map[string]string{"absolute": filepath.Join(elsewhere, "new"), "relative": "folder/../new", "again": "relative", "folder": filepath.Join(elsewhere, "sub"), "nowhere": "none/new"}
		if err := os.Mkdir(filepath.Join(elsewhere, "sub"), 0o777); err != nil {
			t.Fatal(err)
		}
		for name, target := range links {
			if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"absolute", "relative", "again"} {
			if err := Write(filepath.Join(dir, name), text(name)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(elsewhere, "new")
			if b, err := os.ReadFile(file); err != nil || string(b) != name {
				t.Errorf("%s: the target holds %q, %v", name, b, err)
			}
			os.Remove(file)
		}
		err := Write(filepath.Join(dir, "nowhere"), text("x"))
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), filepath.Join(dir, "nowhere")) || !strings.Contains(err.Error(), links["nowhere"]) {
			t.Errorf("got error %v", err)
		}
		for name, target := range links {
			if got, err := os.Readlink(filepath.Join(dir, name)); err != nil || got != target {
				t.Errorf("the link %s became %q, %v", name, got, err)
			}
		}
	})
	t.Run("replaced link", func(t *testing.T) {
		link := filepath.Join(t.TempDir(), "link")
		for _, target := range []string{path, os.DevNull, "nothing", "link"} {
			os.Remove(link)
			if err := os.Symlink(target, link); err != nil {
				t.Fatal(err)
			}
			if err := Replace(link, text("replaced")); err != nil {
				t.Fatal(err)
			}
			wantOnly(t, link, "replaced")
			if info, err := os.Lstat(link); err != nil || !info.Mode().IsRegular() {
				t.Errorf("link to %s: %v, error %v; want a regular file", target, info, err)
			}
		}
		wantOnly(t, path, "through a link")
	})
	t.Run("device", func(t *testing.T) {
		if err := Write(os.DevNull, text("gone")); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
			t.Errorf("%s was replaced", os.DevNull)
		}
	})
}

// TestRetry: a rename that fails while a file is in use succeeds later, and no other error is waited
// for.
func TestRetry(t *testing.T) {
	errBusy, errOther := errors.New("in use"), errors.New("no space left on device")
	for _, c := range []struct {
		name  string
		errs  []error // of one rename after the other
		calls int
		want  error
	}{
		{"at once", []error{nil}, 1, nil},
		{"in use", []error{errBusy, errBusy, nil}, 3, nil},
		{"another error", []error{errOther, nil}, 1, errOther},
		{"another error later", []error{errBusy, errOther, nil}, 2, errOther},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			err := retry(func() error { calls++; return c.errs[calls-1] }, func(err error) bool { return err == errBusy })
			if err != c.want || calls != c.calls {
				t.Errorf("error %v after %d calls, want %v after %d", err, calls, c.want, c.calls)
			}
		})
	}
	t.Run("for ever", func(t *testing.T) {
		begin := time.Now()
		err := retry(func() error { return errBusy }, func(error) bool { return true })
		if err != errBusy || time.Since(begin) < 2*time.Second {
			t.Errorf("error %v after %v", err, time.Since(begin))
		}
	})
}

// TestReplaceOpen replaces a file while it is being read. Windows does so only when it is closed.
func TestReplaceOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Write(path, text("old")); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	closing := time.AfterFunc(50*time.Millisecond, func() { f.Close() })
	defer closing.Stop()
	defer f.Close()
	if err := Replace(path, text("new")); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, path, "new")
}

// owned is a new file, with permissions that the file system chose, which answers Chmod with an error.
type owned struct {
	*os.File
	err error
}

func (f owned) Chmod(fs.FileMode) error {
	return &fs.PathError{Op: "chmod", Path: f.Name(), Err: f.err}
}

// TestPermit: a file system that has no permissions of its own is no reason to lose a file.
func TestPermit(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	same, other := info.Mode().Perm(), info.Mode().Perm()^0o040
	for _, c := range []struct {
		name string
		mode fs.FileMode
		err  error
		ok   bool
	}{
		{"the same", same, syscall.EIO, true},
		{"another, not allowed", other, syscall.EPERM, true},
		{"another, not supported", other, syscall.ENOSYS, true},
		{"another, broken", other, syscall.EIO, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := permit(owned{f, c.err}, c.mode); (err == nil) != c.ok {
				t.Errorf("got error %v", err)
			}
		})
	}
}
