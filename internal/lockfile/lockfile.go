// Package lockfile opens files that one process has at a time.
package lockfile

import (
	"errors"
	"io/fs"
	"os"
	"runtime"

	"github.com/gomae/gomae/internal/regular"
)

// Open opens or creates the file at path for reading and writing, and locks it until it is closed or
// the process dies. busy reports that another process has it; then there is nothing to close.
func Open(path string) (f *os.File, busy bool, err error) {
	// A process that ends may remove the file between opening and locking. Who then has the lock has
	// it on a file that nobody else will find, and tries again.
	for range 10 {
		f, busy, err = try(path)
		if f != nil || busy || err != nil {
			return f, busy, err
		}
	}
	return nil, true, nil
}

// try is an attempt of Open. All results are zero if the file at path is not the one that was locked.
func try(path string) (f *os.File, busy bool, err error) {
	info, err := os.Stat(path)
	if err == nil {
		err = regular.Check(path, info)
	} else if at, e := os.Lstat(path); errors.Is(e, fs.ErrNotExist) || e == nil && at.Mode().IsRegular() {
		err = nil // a new file, and not a link to one
	}
	if err != nil {
		return nil, false, err
	}
	if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return nil, false, err
	}
	if !lock(f) {
		f.Close()
		return nil, true, nil
	}
	got, err := f.Stat()
	if err == nil {
		err = regular.Check(path, got)
	}
	if err != nil {
		f.Close()
		return nil, false, err
	}
	if info, err = os.Stat(path); err != nil || !os.SameFile(got, info) {
		f.Close()
		return nil, false, nil
	}
	return f, false, nil
}

// Remove removes a file that Open has opened, and closes it.
func Remove(f *os.File) {
	os.Remove(f.Name()) // while it is locked: later, another process may have it
	f.Close()
	if runtime.GOOS == "windows" { // which removes no open file, nor that of another process
		os.Remove(f.Name())
	}
}
