// Package sizes multiplies sizes that come from outside, such as those of a configuration, a dump or
// the shape of a tensor.
package sizes

import "math"

// Product returns the product of sizes. ok is false if one is negative, and if that many values of
// 8 bytes, or those without the sizes that are 0, are more than can be addressed.
func Product(sizes ...int) (product int, ok bool) { return ProductUpTo(math.MaxInt/8, sizes...) }

// ProductUpTo is Product with another limit of the product.
func ProductUpTo(limit int, sizes ...int) (product int, ok bool) {
	product, zero := 1, false
	for _, n := range sizes {
		switch {
		case n < 0:
			return 0, false
		case n == 0:
			zero = true
		case n > limit/product:
			return 0, false
		default:
			product *= n
		}
	}
	if zero {
		return 0, true
	}
	return product, true
}
