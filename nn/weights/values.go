package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/gomae/gomae/internal/sizes"
)

// elementSizes holds the bytes per element of every dtype that a file may contain. The 8-bit floats
// can be listed but not converted: a file that merely contains one stays readable.
var elementSizes = map[string]int{
	"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
	"I64": 8, "I32": 4, "I16": 2, "I8": 1,
	"U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}

// readSizes holds the bytes per element of the numbers that ReadAll makes of a tensor.
var readSizes = map[string]int{
	"F64": 8, "F32": 4, "F16": 4, "BF16": 4,
	"I64": 8, "I32": 8, "I16": 8, "I8": 8,
	"U64": 8, "U32": 8, "U16": 8, "U8": 1, "BOOL": 1,
}

var (
	floatDTypes = []string{"F32", "F16", "BF16", "F64"}
	intDTypes   = []string{"I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
)

// IsFloat reports whether Float32, ReadFloat32 and Float64 of a File read tensors of this dtype.
func IsFloat(dtype string) bool { return slices.Contains(floatDTypes, dtype) }

// maxRank bounds the shape of one tensor. Real tensors have at most 5 axes; without a bound a
// header of ones would cost four times its size in memory.
const maxRank = 32

// elements returns the product of shape, and false if it overflows. Zeros are left out of the
// product that is checked, so that no partial product of an accepted shape can overflow either.
func elements(shape []int) (int, bool) { return sizes.ProductUpTo(math.MaxInt, shape...) }

// The conversions below take b, little-endian elements of dtype, to the beginning of dst.

func toFloat32(dtype string, dst []float32, b []byte) {
	le := binary.LittleEndian
	dst = dst[:len(b)/elementSizes[dtype]]
	switch dtype {
	case "F32":
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(b[4*i:]))
		}
	case "F16":
		for i := range dst {
			dst[i] = math.Float32frombits(widenF16(le.Uint16(b[2*i:])))
		}
	case "BF16":
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(le.Uint16(b[2*i:])) << 16)
		}
	case "F64":
		for i := range dst {
			dst[i] = float32(math.Float64frombits(le.Uint64(b[8*i:])))
		}
	}
}

func toFloat64(dtype string, dst []float64, b []byte) {
	le := binary.LittleEndian
	dst = dst[:len(b)/elementSizes[dtype]]
	switch dtype {
	case "F64":
		for i := range dst {
			dst[i] = math.Float64frombits(le.Uint64(b[8*i:]))
		}
	case "F32":
		for i := range dst {
			dst[i] = float64(math.Float32frombits(le.Uint32(b[4*i:])))
		}
	case "F16":
		for i := range dst {
			dst[i] = float64(math.Float32frombits(widenF16(le.Uint16(b[2*i:]))))
		}
	case "BF16":
		for i := range dst {
			dst[i] = float64(math.Float32frombits(uint32(le.Uint16(b[2*i:])) << 16))
		}
	}
}

// toInt64 returns the index of the element that its error is about.
func toInt64(dtype string, dst []int64, b []byte) (int, error) {
	le := binary.LittleEndian
	dst = dst[:len(b)/elementSizes[dtype]]
	switch dtype {
	case "I64":
		for i := range dst {
			dst[i] = int64(le.Uint64(b[8*i:]))
		}
	case "U64":
		for i := range dst {
			n := le.Uint64(b[8*i:])
			if n > math.MaxInt64 {
				return i, fmt.Errorf("%d, which exceeds 2^63-1, is %w", n, ErrUnsupported)
			}
			dst[i] = int64(n)
		}
	case "I32":
		for i := range dst {
			dst[i] = int64(int32(le.Uint32(b[4*i:])))
		}
	case "U32":
		for i := range dst {
			dst[i] = int64(le.Uint32(b[4*i:]))
		}
	case "I16":
		for i := range dst {
			dst[i] = int64(int16(le.Uint16(b[2*i:])))
		}
	case "U16":
		for i := range dst {
			dst[i] = int64(le.Uint16(b[2*i:]))
		}
	case "I8":
		for i := range dst {
			dst[i] = int64(int8(b[i]))
		}
	case "U8":
		for i := range dst {
			dst[i] = int64(b[i])
		}
	case "BOOL":
		for i := range dst {
			if b[i] > 1 {
				return i, badBool(b[i])
			}
			dst[i] = int64(b[i])
		}
	}
	return 0, nil
}

func badBool(b byte) error { return damaged("boolean byte %d is neither 0 nor 1", b) }

// widenF16 returns the float32 bits of an IEEE binary16 value. Every value, subnormals and NaN
// payloads included, has an exact float32.
func widenF16(h uint16) uint32 {
	sign := uint32(h>>15) << 31
	exp := uint32(h>>10) & 31
	frac := uint32(h) & 0x3ff
	switch {
	case exp == 31: // Inf, NaN
		return sign | 0xff<<23 | frac<<13
	case exp != 0:
		return sign | (exp+127-15)<<23 | frac<<13
	case frac == 0:
		return sign
	}
	// A subnormal, frac·2⁻²⁴: shift its leading bit into the implicit place.
	exp = 127 - 15 + 1
	for frac&0x400 == 0 {
		frac <<= 1
		exp--
	}
	return sign | exp<<23 | (frac&0x3ff)<<13
}
