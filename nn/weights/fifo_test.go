//go:build linux || darwin

package weights

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestOpenFIFO: opening a FIFO would wait for somebody to write to it.
func TestOpenFIFO(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (File, error){
		"Open":   func() (File, error) { return Open(filepath.Join(dir, "fifo")) },
		"OpenFS": func() (File, error) { return OpenFS(os.DirFS(dir), "fifo") },
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() { _, err := open(); done <- err }()
			select {
			case err := <-done:
				wantError(t, err, ErrUnsupported, "fifo")
			case <-time.After(time.Minute):
				t.Fatal("waits for a writer")
			}
		})
	}
	t.Run("device", func(t *testing.T) {
		_, err := Open("/dev/zero")
		wantError(t, err, ErrUnsupported, "/dev/zero")
	})
}
