package lockfile

import (
	"os"
	"syscall"
	"unsafe"
)

var lockFileEx = syscall.NewLazyDLL("kernel32.dll").NewProc("LockFileEx")

// lock takes f for this process until it is closed, or until the process dies, and reports whether
// it did: another process may have it. No one can read locked bytes, so it locks a byte far beyond
// the end of the file.
func lock(f *os.File) bool {
	const failAtOnce, exclusive, lockViolation = 1, 2, syscall.Errno(33)
	at := &syscall.Overlapped{OffsetHigh: 1 << 30}
	ok, _, err := lockFileEx.Call(f.Fd(), failAtOnce|exclusive, 0, 1, 0, uintptr(unsafe.Pointer(at)))
	return ok != 0 || err != lockViolation
}
