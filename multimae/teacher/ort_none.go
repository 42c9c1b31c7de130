//go:build !((darwin || linux || windows) && (amd64 || arm64) && !android)

package teacher

import (
	"fmt"
	"runtime"
)

type session struct{ network }

// openSession says that there is no way to open a library here.
func openSession(library, file string) (*session, error) {
	return nil, fmt.Errorf("%s: networks in ONNX run on Linux, macOS and Windows on amd64 and arm64, not on %s/%s", file, runtime.GOOS, runtime.GOARCH)
}
