//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package lockfile

import "os"

// lock reports that this process has f: the system has no locks.
func lock(*os.File) bool { return true }
