//go:build !(linux || darwin)

package train

import "errors"

func mkfifo(string) error { return errors.ErrUnsupported }
