//go:build linux || darwin

package regular

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// special makes a named pipe, a socket and a link to a device that never ends.
func special(t *testing.T, dir string) bool {
	t.Helper()
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	// The path of a socket has few bytes.
	short, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	l, err := net.Listen("unix", filepath.Join(short, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for name, target := range map[string]string{"socket": filepath.Join(short, "s"), "zero": "/dev/zero"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return true
}
