//go:build unix

package data

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestSpecialFiles puts what is no regular file in the place of pictures. Opening a FIFO would hang,
// and a device has no end.
func TestSpecialFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(path string) error
	}{
		{"FIFO", func(path string) error { return syscall.Mkfifo(path, 0o666) }},
		{"socket", func(path string) error {
			l, err := net.Listen("unix", path)
			if err == nil {
				l.(*net.UnixListener).SetUnlinkOnClose(false)
				l.Close()
			}
			return err
		}},
		{"device", func(path string) error { return os.Symlink("/dev/zero", path) }},
		{"linked FIFO", func(path string) error {
			return errors.Join(syscall.Mkfifo(path+".pipe", 0o666), os.Symlink(path+".pipe", path))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := WriteFolder(context.Background(), dir, patterns(0, 2, 16, 1), nil); err != nil {
				t.Fatal(err)
			}
			ds, err := OpenFolder(dir, all) // before a file is replaced
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "rgb", "scene", "000001.png")
			os.Remove(path)
			if err := c.make(path); err != nil {
				t.Skip(err) // such as a path too long for a socket
			}
			prob := new(Problem)
			if _, err := ReadImage(path, rgbIn); !errors.As(err, &prob) || prob.File != path {
				t.Errorf("read: %v", err)
			}
			if _, err := ds.Sample(1); !errors.As(err, &prob) || prob.File != path {
				t.Errorf("sample: %v", err)
			}
			if _, err := OpenFolder(dir, all); !errors.As(err, &prob) {
				t.Errorf("open: %v", err)
			}
			r, err := Check(context.Background(), dir, all)
			if err != nil || len(r.Problems) == 0 || r.Problems[0].File != path {
				t.Errorf("check: %+v, %v", r, err)
			}
		})
	}
	if _, err := ReadImage(t.TempDir(), rgbIn); !errors.As(err, new(*Problem)) {
		t.Errorf("a folder: %v", err)
	}
}
