//go:build !amd64 || purego

package asm

import "runtime"

func detect() ([]Level, string) {
	if runtime.GOARCH == "amd64" {
		return []Level{Generic}, "built with purego"
	}
	return []Level{Generic}, "no assembly for " + runtime.GOARCH
}
