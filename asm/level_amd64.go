//go:build amd64 && !purego

package asm

import "github.com/klauspost/cpuid/v2"

// detect asks for each feature by name: virtual machines and older servers
// offer odd subsets. cpuid also checks that the operating system saves the
// wide registers.
func detect() ([]Level, string) {
	cpu := &cpuid.CPU
	if !cpu.Supports(cpuid.AVX2, cpuid.FMA3, cpuid.BMI2) {
		return []Level{Generic}, "CPU lacks AVX2, FMA3 or BMI2"
	}
	if !cpu.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL) {
		return []Level{Generic, AVX2}, "CPU has AVX2, FMA3, BMI2"
	}
	return []Level{Generic, AVX2, AVX512}, "CPU has AVX-512 F, BW, DQ, VL"
}

// cacheWays is how many lines of one set the first-level cache holds. Its sets
// are told apart by the bits of an address within a page, so as many lines lie
// a page apart: 8 in 32 KiB, 12 in 48 KiB.
var cacheWays = max(8, cpuid.CPU.Cache.L1D/4096)
