package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/gomae/gomae/internal/sizes"
)

// elementSizes holds the bytes per element of the dtypes whose size is known. Some of them can only
// be listed: see readSizes.
var elementSizes = map[string]int{
	"F64": 8, "F32": 4, "F16": 2, "BF16": 2,
	"F8_E4M3": 1, "F8_E5M2": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "F8_E8M0": 1,
	"I64": 8, "I32": 4, "I16": 2, "I8": 1,
	"U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
	complex64: 8, complex128: 16, quantizedI8: 1, quantizedU8: 1, quantizedI32: 4,
}

// readSizes holds the bytes per element of the numbers that ReadAll makes of a tensor. A tensor of
// any other dtype can be listed and not read, so that it does not hide the others in its file.
var readSizes = map[string]int{
	"F64": 8, "F32": 4, "F16": 4, "BF16": 4,
	"F8_E4M3": 4, "F8_E5M2": 4, "F8_E4M3FNUZ": 4, "F8_E5M2FNUZ": 4, "F8_E8M0": 4,
	"I64": 8, "I32": 8, "I16": 8, "I8": 8,
	"U64": 8, "U32": 8, "U16": 8, "U8": 1, "BOOL": 1,
}

// The dtypes, or kinds of tensors, that can be listed but not read.
const (
	complex64    = "C64"
	complex128   = "C128"
	quantizedI8  = "QI8"
	quantizedU8  = "QU8"
	quantizedI32 = "QI32"
	quantized    = "quantized"
	sparse       = "sparse"
	meta         = "meta"
	nested       = "nested"
	flagged      = "flagged"
)

// unreadable says what to do about a tensor of a dtype that cannot be read.
func unreadable(dtype string) string {
	switch dtype {
	case complex64, complex128:
		return "save its torch.view_as_real"
	case quantizedI8, quantizedU8, quantizedI32, quantized:
		return "save its dequantize()"
	case sparse:
		return "save its to_dense()"
	case meta:
		return "it was saved without values"
	case nested:
		return "save its to_padded_tensor"
	case flagged:
		return "save its resolve_conj().resolve_neg()"
	}
	return "save it as float32"
}

var (
	floatDTypes = []string{"F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"}
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
	default:
		table := float8Tables()[dtype]
		for i := range dst {
			dst[i] = table[b[i]]
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
	default:
		table := float8Tables()[dtype]
		for i := range dst {
			dst[i] = float64(table[b[i]])
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

// float8Tables returns the values of the 8-bit floats, all of which float32 holds exactly. E4M3 and
// E5M2 are those of Micikevicius et al., "FP8 Formats for Deep Learning" (2022): E5M2 is the upper
// half of a binary16, and E4M3 has no infinities and one NaN of each sign. Those with FNUZ have one
// NaN, in the place of −0, and a bias of one more. E8M0 is a power of two without a sign.
var float8Tables = sync.OnceValue(func() map[string]*[256]float32 {
	tables := map[string]*[256]float32{}
	for dtype, value := range map[string]func(b byte) float32{
		"F8_E5M2":     func(b byte) float32 { return math.Float32frombits(widenF16(uint16(b) << 8)) },
		"F8_E4M3":     func(b byte) float32 { return float8(b, 3, 7, b&0x7f == 0x7f) },
		"F8_E4M3FNUZ": func(b byte) float32 { return float8(b, 3, 8, b == 0x80) },
		"F8_E5M2FNUZ": func(b byte) float32 { return float8(b, 2, 16, b == 0x80) },
		"F8_E8M0": func(b byte) float32 {
			if b == 0xff {
				return float32(math.NaN())
			}
			return float32(math.Ldexp(1, int(b)-127))
		},
	} {
		table := new([256]float32)
		for i := range table {
			table[i] = value(byte(i))
		}
		tables[dtype] = table
	}
	return tables
})

// float8 returns the value of a sign, an exponent with a bias, and a fraction of so many bits.
func float8(b byte, fractionBits, bias int, isNaN bool) float32 {
	if isNaN {
		return float32(math.NaN())
	}
	exponent, fraction := int(b&0x7f)>>fractionBits, int(b)&(1<<fractionBits-1)
	if exponent == 0 { // subnormal
		exponent = 1
	} else {
		fraction |= 1 << fractionBits
	}
	v := math.Ldexp(float64(fraction), exponent-bias-fractionBits)
	if b&0x80 != 0 {
		v = math.Copysign(v, -1)
	}
	return float32(v)
}
