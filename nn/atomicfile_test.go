package nn

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

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
