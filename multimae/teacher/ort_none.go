//go:build !((darwin || linux || windows) && (amd64 || arm64)) || android || noonnx

package teacher

import (
	"fmt"
	"runtime"
)

type session struct{ network }

// openSession says that there is no way to open a library here.
func openSession(library, file string) (*session, error) {
	return nil, fmt.Errorf("networks in ONNX run on Linux, macOS and Windows on amd64 and arm64, in programs that were not built with the tag noonnx; this one is of %s/%s", runtime.GOOS, runtime.GOARCH)
}
