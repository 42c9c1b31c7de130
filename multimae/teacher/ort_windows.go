//go:build (amd64 || arm64) && !noonnx

package teacher

import (
	"syscall"
	"unsafe"
)

func loadLibrary(file string) (uintptr, error) {
	h, err := syscall.LoadLibrary(file)
	return uintptr(h), err
}

func symbol(lib uintptr, name string) (uintptr, error) {
	return syscall.GetProcAddress(syscall.Handle(lib), name)
}

// systemPath returns a path as ONNX Runtime takes it: in UTF-16 on this system.
func systemPath(file string) (unsafe.Pointer, error) {
	p, err := syscall.UTF16PtrFromString(file)
	return unsafe.Pointer(p), err
}
