package train

import (
	"os"
	"syscall"
	"unsafe"
)

var lockFileEx = syscall.NewLazyDLL("kernel32.dll").NewProc("LockFileEx")

// lock takes f for this process until it is closed, also by a crash, and
// reports whether another one has it. Locked bytes cannot be read by others,
// so it is one that the file will never have.
func lock(f *os.File) bool {
	const failAtOnce, exclusive, lockViolation = 1, 2, syscall.Errno(33)
	at := &syscall.Overlapped{OffsetHigh: 1 << 30}
	ok, _, err := lockFileEx.Call(f.Fd(), failAtOnce|exclusive, 0, 1, 0, uintptr(unsafe.Pointer(at)))
	return ok != 0 || err != lockViolation
}
