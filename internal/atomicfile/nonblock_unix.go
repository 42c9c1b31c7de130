//go:build unix

package atomicfile

import "syscall"

// nonblock makes opening a named pipe that nobody reads from an error: it would wait for a reader.
const nonblock = syscall.O_NONBLOCK
