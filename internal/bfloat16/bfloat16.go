// Package bfloat16 converts numbers to bfloat16, the upper half of float32: its range, with 8 bits of
// precision.
package bfloat16

import "math"

// Bits returns the bits of v rounded to nearest, and to even if two are as near. A NaN stays one.
func Bits(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 0x40 // a quiet NaN, whose low bits are not all that made it one
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// Float returns the number with the given bits, which float32 has exactly.
func Float(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }
