//go:build !unix

package atomicfile

// nonblock has no effect where there are no named pipes in the file system.
const nonblock = 0
