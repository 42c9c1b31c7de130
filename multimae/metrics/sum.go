package metrics

import "math"

// sum adds numbers without rounding, so that their order does not matter: Shewchuk, "Adaptive
// Precision Floating-Point Arithmetic and Fast Robust Geometric Predicates" (1997). The zero value
// is empty.
type sum struct {
	// parts add up to the sum. They ascend, and no two have bits of the same weight.
	parts []float64
	// other is the sum of infinities and NaN, which have no exact arithmetic.
	other float64
}

func (s *sum) add(x float64) {
	if math.IsInf(x, 0) || x != x {
		s.other += x
		return
	}
	n := 0
	for _, y := range s.parts {
		if math.Abs(x) < math.Abs(y) {
			x, y = y, x
		}
		hi := x + y
		if lo := y - (hi - x); lo != 0 { // what hi lacks
			s.parts[n] = lo
			n++
		}
		x = hi
	}
	s.parts = append(s.parts[:n], x)
}

func (s *sum) merge(o *sum) {
	for _, x := range o.parts {
		s.add(x)
	}
	s.other += o.other
}

// value returns the float64 nearest to the sum.
func (s *sum) value() float64 {
	n := len(s.parts)
	if s.other != 0 || n == 0 {
		return s.other
	}
	hi, lo := s.parts[n-1], 0.0
	for n--; n > 0 && lo == 0; n-- {
		x := hi
		hi = x + s.parts[n-1]
		lo = s.parts[n-1] - (hi - x)
	}
	// Where hi is half way between two numbers, what is left says which one is nearer.
	if n > 0 && (lo < 0) == (s.parts[n-1] < 0) {
		if up := hi + 2*lo; up-hi == 2*lo {
			hi = up
		}
	}
	return hi
}
