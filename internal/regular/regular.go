// Package regular opens and reads regular files only. A path from outside may lead to a folder, a
// device, a named pipe or a socket: opening one of these may wait for ever, and reading it may never
// end.
package regular

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// The reasons for which a file is refused.
var (
	ErrNotRegular = errors.New("not a regular file")
	ErrTooLarge   = errors.New("too large")
)

// ConfigLimit is the largest config.json in bytes.
const ConfigLimit = 1 << 20

// Check returns an error that wraps ErrNotRegular and says what the file is, unless it is a regular
// one. info is that of its target if the file is a link.
func Check(name string, info fs.FileInfo) error {
	if kind := Kind(info.Mode()); kind != "" {
		return fmt.Errorf("%s: %w but %s", name, ErrNotRegular, kind)
	}
	return nil
}

// Kind says what a file is that is not regular, such as "a named pipe"; "" for a regular one.
func Kind(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return ""
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}

// Real returns a path without links. Where one of its folders is a junction of Windows, which cannot
// be evaluated, it returns the absolute path.
func Real(path string) (string, error) {
	to, err := filepath.EvalSymlinks(path)
	if errors.Is(err, syscall.ENOTDIR) {
		return filepath.Abs(path)
	}
	return to, err
}

// Same reports whether two paths lead to one file or folder. Their texts may differ nevertheless, where a
// system ignores the case of letters.
func Same(a, b string) bool {
	is, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(is, other)
}

// Open opens the file at path for reading. A link is followed.
func Open(path string) (*os.File, error) {
	return open(path, func() (fs.FileInfo, error) { return os.Stat(path) }, func() (*os.File, error) { return os.Open(path) })
}

// OpenFS is Open for a file of fsys.
func OpenFS(fsys fs.FS, name string) (fs.File, error) {
	return open(name, func() (fs.FileInfo, error) { return fs.Stat(fsys, name) }, func() (fs.File, error) { return fsys.Open(name) })
}

// open looks at a file before it opens it, since opening a named pipe waits for somebody to write to
// it, and again afterwards, since it may be another file by then.
func open[F fs.File](name string, stat func() (fs.FileInfo, error), open func() (F, error)) (f F, err error) {
	info, err := stat()
	if err == nil {
		err = Check(name, info)
	}
	if err != nil {
		return f, err
	}
	opened, err := open()
	if err != nil {
		return f, err
	}
	if info, err = opened.Stat(); err == nil {
		err = Check(name, info)
	}
	if err != nil {
		opened.Close()
		return f, err
	}
	return opened, nil
}

// ReadFile reads the file at path, which has no more than limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	return read(path, f, limit)
}

// ReadFileFS is ReadFile for a file of fsys.
func ReadFileFS(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := OpenFS(fsys, name)
	if err != nil {
		return nil, err
	}
	return read(name, f, limit)
}

// read reads and closes a file. The size that the system gives for it is not relied on: it is 0 for
// files that the system makes up.
func read(name string, f fs.File, limit int64) ([]byte, error) {
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", name, ErrTooLarge, limit)
	}
	return b, nil
}
