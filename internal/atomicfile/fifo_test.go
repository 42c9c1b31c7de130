//go:build linux || darwin

package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFIFO: nobody reads from the named pipe, and opening it would wait.
func TestFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, text("x")); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got error %v", err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		t.Errorf("%v, error %v; want the named pipe", info, err)
	}
	if err := Replace(path, text("x")); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, path, "x")
}
