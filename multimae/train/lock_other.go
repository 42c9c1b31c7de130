//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package train

import "os"

// lock would keep two processes apart, where the system can.
func lock(*os.File) bool { return true }
