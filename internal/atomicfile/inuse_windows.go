package atomicfile

import (
	"errors"
	"syscall"
)

// inUse reports whether an error of a rename may be that another program has the file open, which
// passes.
func inUse(err error) bool {
	const sharingViolation = syscall.Errno(32)
	return errors.Is(err, syscall.ERROR_ACCESS_DENIED) || errors.Is(err, sharingViolation)
}
