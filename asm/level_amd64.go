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

// cacheWays is how many lines of one set the first-level cache holds. The bits of
// an address within a page choose the set, so each way is a page: 8 of them are
// 32 KiB, 12 are 48.
var cacheWays = max(8, cpuid.CPU.Cache.L1D/4096)
