//go:build (darwin || linux) && (amd64 || arm64) && !android && !noonnx

package teacher

import (
	"unsafe"

	"github.com/ebitengine/purego"
)

func loadLibrary(file string) (uintptr, error) {
	return purego.Dlopen(file, purego.RTLD_NOW|purego.RTLD_LOCAL)
}

func symbol(lib uintptr, name string) (uintptr, error) { return purego.Dlsym(lib, name) }

// systemPath returns a path as ONNX Runtime takes it.
func systemPath(file string) (unsafe.Pointer, error) { return unsafe.Pointer(cString(file)), nil }
