//go:build !amd64 || purego

package asm

import "runtime"

func detect() ([]Level, string) {
	if runtime.GOARCH == "amd64" {
		return []Level{Generic}, "built with purego"
	}
	return []Level{Generic}, "no assembly for " + runtime.GOARCH
}

// Caches returns the sizes in bytes of the data caches of the first, second and third level; here
// 0, for not known.
func Caches() (l1, l2, l3 int) { return 0, 0, 0 }
