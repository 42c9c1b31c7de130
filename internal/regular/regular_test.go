package regular

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadFile reads by path and by file system.
func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("12345678"), 0o666); err != nil {
		t.Fatal(err)
	}
	links := os.Symlink("file", filepath.Join(dir, "link")) == nil &&
		os.Symlink("nothing", filepath.Join(dir, "dangling")) == nil && os.Symlink("circle", filepath.Join(dir, "circle")) == nil
	special := special(t, dir)
	for _, c := range []struct {
		name  string
		skip  bool
		limit int64
		want  error
	}{
		{"file", false, 8, nil},
		{"file", false, 7, ErrTooLarge},
		{"link", !links, 8, nil},
		{"nothing", false, 8, fs.ErrNotExist},
		{"dangling", !links, 8, fs.ErrNotExist},
		{"circle", !links, 8, errAny},
		{".", false, 8, ErrNotRegular},
		{"fifo", !special, 8, ErrNotRegular},
		{"socket", !special, 8, ErrNotRegular},
		{"zero", !special, 8, ErrNotRegular},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.skip {
				t.Skip("not on this system")
			}
			path := filepath.Join(dir, c.name)
			b, err := ReadFile(path, c.limit)
			judge(t, path, b, err, c.want)
			b, err = ReadFileFS(os.DirFS(dir), c.name, c.limit)
			judge(t, c.name, b, err, c.want)
		})
	}
}

// TestReal has a file in the place of a folder, which a junction of Windows is taken for.
func TestReal(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if got, err := Real(filepath.Join("file", "x")); err != nil || got != filepath.Join(dir, "file", "x") {
		t.Errorf("%q, error %v", got, err)
	}
	if _, err := Real("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v", err)
	}
	if os.Symlink("file", "link") == nil {
		if got, err := Real(filepath.Join(dir, "link")); err != nil || got != filepath.Join(dir, "file") {
			t.Errorf("%q, error %v", got, err)
		}
	}
}

// errAny stands for an error of the system.
var errAny = errors.New("any error")

func judge(t *testing.T, name string, b []byte, err, want error) {
	t.Helper()
	if want == nil && (err != nil || string(b) != "12345678") {
		t.Errorf("%q, error %v", b, err)
	}
	if want != nil && (err == nil || want != errAny && !errors.Is(err, want) || !strings.Contains(err.Error(), name) || b != nil) {
		t.Errorf("%q, error %v; want %v", b, err, want)
	}
}
