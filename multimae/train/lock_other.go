//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package train

import "os"

// lock would keep two processes apart, where the system has flock.
func lock(*os.File) bool { return true }
