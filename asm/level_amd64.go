//go:build amd64 && !purego

package asm

import "github.com/klauspost/cpuid/v2"

// detect returns the supported levels and why there are no more. It asks for each feature by name
// because virtual machines and older servers offer odd subsets. Package cpuid also checks that the
// operating system saves the wide registers.
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

// cacheWays is how many lines of one set the first-level cache holds. The offset of an address
// within a page selects the set, so a way is as large as a page: a cache of 32 KiB has 8 ways, one
// of 48 KiB has 12.
var cacheWays = max(8, cpuid.CPU.Cache.L1D/4096)

// Caches returns the sizes in bytes of the data caches of the first, second and third level, as the
// CPU or the virtual machine states them; 0 where it does not.
func Caches() (l1, l2, l3 int) {
	c := &cpuid.CPU.Cache
	return max(c.L1D, 0), max(c.L2, 0), max(c.L3, 0)
}
