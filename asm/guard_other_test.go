//go:build !linux

package asm

import "testing"

// guarded returns n floats; guard pages are only set up on Linux.
func guarded(_ testing.TB, n int) []float32 { return make([]float32, n) }
