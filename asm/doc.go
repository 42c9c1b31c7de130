// Package asm holds the single-threaded float32 kernels that everything else is built on: the
// blocks of a matrix product, row reductions, softmax, GELU, layer normalisation and the AdamW
// step.
//
// Kernels work on slices and strides. They know no tensors, start no goroutines and allocate
// nothing. The destination comes first. Lengths are checked in Go before any assembly runs; a
// mismatch is a programming error and panics with "asm: what, got X, want Y".
//
// # Levels
//
// Each kernel exists three times: in Go (the generic twin, which is the specification and runs
// everywhere), in AVX2 and in AVX-512 assembly. The best level the CPU supports is chosen once at
// start. The environment variable GOMAE_SIMD (generic, avx2 or avx512) can lower it, and the build
// tag purego removes all assembly. [Current], [Why] and [Err] tell what was chosen and why.
//
// The same call at the same level of the same program always gives the same bits. Between levels
// results differ by rounding, and so do those of a program that was compiled for another
// architecture, such as arm64 or GOAMD64=v3: there the compiler fuses multiplications and additions
// of Go code.
//
// # Assembly
//
// The generator in ../gen writes the *_amd64.s files and their stubs. It is a module of its own, so
// that importing this package does not download it. Run go generate here after changing the
// generator.
package asm

//go:generate go -C ../gen test . -run TestFamilies -generate
