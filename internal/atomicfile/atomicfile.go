// Package atomicfile writes files that are complete under their name or not there at all.
package atomicfile

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gomae/gomae/internal/regular"
)

// Write writes a file so that path holds, at every moment and after a crash, either what it held
// before or everything that write wrote. It writes to a temporary file in the same folder (buffered,
// so write may make small writes), forces it to the disk, renames it to path, and forces the entry of
// the folder to the disk. After any error, or a panic in write, the temporary file is removed and an
// earlier file at path is as it was.
//
// A new file gets the permissions that the umask leaves of 0666; a replaced one keeps its own. A
// symbolic link is followed, also to a file that is not there yet. A path that is not a regular file,
// such as a pipe or /dev/stdout, is written to directly: renaming a file to it would destroy it. A
// named pipe that nobody reads from is an error.
func Write(path string, write func(io.Writer) error) error { return place(path, write, resolve, true) }

// Replace is Write for a file of the program's own: a link or a special file at path is not written
// to, but replaced. A folder is an error.
func Replace(path string, write func(io.Writer) error) error { return place(path, write, itself, true) }

// ReplaceJSON is Replace with v as JSON for people: indented, with a line break at the end.
func ReplaceJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return ReplaceBytes(path, append(b, '\n'))
}

// ReplaceBytes is Replace with content that is at hand.
func ReplaceBytes(path string, content []byte) error {
	return Replace(path, whole(content))
}

// whole returns what writes content.
func whole(content []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}
}

// WriteBytes is Write with content that is at hand.
func WriteBytes(path string, content []byte) error {
	return Write(path, whole(content))
}

// WriteNoSync is Write without forcing anything to the disk: a file that it has just written may be
// empty after a power cut. It is for files by the thousand that can be made again.
func WriteNoSync(path string, write func(io.Writer) error) error {
	return place(path, write, resolve, false)
}

// resolver returns the file to replace, its permissions (0 for a new file), and whether it must be
// written to directly.
type resolver func(path string) (target string, mode fs.FileMode, special bool, err error)

func place(path string, write func(io.Writer) error, resolve resolver, sync bool) error {
	target, mode, special, err := resolve(path)
	if err != nil {
		return err
	}
	if special {
		f, err := os.OpenFile(target, os.O_WRONLY|nonblock, 0)
		if err != nil {
			return fmt.Errorf("writing %s, which is not a regular file: %w", path, err)
		}
		defer f.Close()
		if err := writeBuffered(f, write); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
		return f.Close()
	}
	f, err := createTemp(target)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	temp := f.Name()
	renamed := false
	defer func() { // also runs when write panics
		if !renamed {
			f.Close()
			os.Remove(temp)
		}
	}()
	if err := writeBuffered(f, write); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if mode != 0 {
		if err := permit(f, mode); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	// Without this a crash soon after the rename could leave an empty file under the final name.
	if sync {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := retry(func() error { return os.Rename(temp, target) }, inUse); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	renamed = true
	if !sync {
		return nil
	}
	if err := syncDir(filepath.Dir(target)); err != nil {
		return fmt.Errorf("writing %s: the file is in place, but its folder could not be forced to the disk: %w", path, err)
	}
	return nil
}

// resolve is the resolver of Write.
func resolve(path string) (target string, mode fs.FileMode, special bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		target, err = missing(path)
		return target, 0, false, err
	case err != nil:
		return "", 0, false, err
	case info.IsDir():
		return "", 0, false, folder(path)
	case !info.Mode().IsRegular():
		return path, 0, true, nil
	}
	target = path
	// Links among the folders may stay, and a junction there could not be evaluated.
	if at, err := os.Lstat(path); err == nil && at.Mode()&fs.ModeSymlink != 0 {
		if target, err = filepath.EvalSymlinks(path); err != nil {
			return "", 0, false, err
		}
	}
	return target, info.Mode().Perm(), false, nil
}

// missing returns the file that a path names which does not exist: where it is a link, what that
// points to.
func missing(path string) (string, error) {
	const most = 40 // links to links, as systems have it
	target := path
	for range most {
		to, err := os.Readlink(target)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Dir(target) + string(filepath.Separator) + to
		}
		// Folders may be links, too, so that a .. cannot be removed from the text.
		dir, base := filepath.Split(to)
		if dir, err = regular.Real(dir); err != nil {
			return "", fmt.Errorf("writing %s, which is a link to %s: %w", path, to, err)
		}
		target = filepath.Join(dir, base)
	}
	return target, nil
}

// itself is the resolver of Replace.
func itself(path string) (target string, mode fs.FileMode, special bool, err error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, 0, false, nil
	case err != nil:
		return "", 0, false, err
	case info.IsDir():
		return "", 0, false, folder(path)
	case info.Mode().IsRegular():
		mode = info.Mode().Perm()
	}
	return path, mode, false, nil
}

func folder(path string) error {
	return fmt.Errorf("writing %s: it is a folder; give the path of a file", path)
}

// createTemp creates a hidden file beside path. os.CreateTemp gives its files the mode 0600, which
// would make every checkpoint unreadable to the user's group.
func createTemp(path string) (*os.File, error) {
	dir, base := filepath.Split(path)
	for try := 0; ; try++ {
		name := filepath.Join(dir, "."+Shortened(base)+tempMark+strconv.FormatUint(rand.Uint64(), 36))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrExist) || try == 100 {
			return f, err
		}
	}
}

// permit gives a new file the permissions of the one that it replaces. Some file systems, such as
// those of other systems' servers and sticks, give every file the same owner and permissions and let
// nobody change them.
func permit(f interface {
	Stat() (fs.FileInfo, error)
	Chmod(fs.FileMode) error
}, mode fs.FileMode) error {
	if info, err := f.Stat(); err == nil && info.Mode().Perm() == mode {
		return nil
	}
	err := f.Chmod(mode)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// retry calls rename again, for two seconds, while it fails with an error that passes: Windows
// replaces no file that any program has open, such as one that reads the model of a run.
func retry(rename func() error, passes func(error) bool) error {
	begin := time.Now()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := rename()
		if err == nil || !passes(err) || time.Since(begin) > 2*time.Second {
			return err
		}
		time.Sleep(wait)
	}
}

// tempMark stands between the name of a file and the number of a temporary file that is to become it.
const tempMark = ".tmp-"

// Shortened returns what the name of a temporary file has of the name of its file: all, unless there
// might be no room for the rest. File systems limit names to 255 bytes, and to 143 where they encrypt
// them.
func Shortened(name string) string {
	const most, start = 100, 60
	if len(name) <= most {
		return name
	}
	h := fnv.New64a()
	io.WriteString(h, name)
	return strings.ToValidUTF8(name[:start], "") + "~" + strconv.FormatUint(h.Sum64(), 36)
}

// Temporary reports whether name is that of a temporary file, which a process that was killed may
// leave, and returns the name of the file that it was to become, as Shortened has it.
func Temporary(name string) (of string, ok bool) {
	hidden, dot := strings.CutPrefix(name, ".")
	at := strings.LastIndex(hidden, tempMark)
	if !dot || at < 1 {
		return "", false
	}
	_, err := strconv.ParseUint(hidden[at+len(tempMark):], 36, 64)
	return hidden[:at], err == nil
}

func writeBuffered(f *os.File, write func(io.Writer) error) error {
	w := bufio.NewWriterSize(f, 1<<16)
	if err := write(w); err != nil {
		return err
	}
	return w.Flush()
}

// MkdirAll creates a folder and those above it, so that they survive a crash as the files of Write do.
// It does nothing if the folder exists.
func MkdirAll(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o777); err != nil {
		if info, e := os.Stat(dir); e != nil || !info.IsDir() { // unless another process made it meanwhile
			return err
		}
	}
	return syncDir(parent)
}

// syncDir forces the entries of a folder to the disk. Systems that cannot do that (Windows, some
// network file systems) order a rename themselves, and a folder may be writable but not readable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}
