//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package train

import "os"

// lock reports that this process has f: the system has no locks.
func lock(*os.File) bool { return true }
