package nn

import "math"

// Init fills x with a parameter's initial values.
type Init func(r *RNG, x []float32)

// Zeros fills x with 0.
func Zeros(_ *RNG, x []float32) { clear(x) }

// Ones fills x with 1.
func Ones(_ *RNG, x []float32) {
	for i := range x {
		x[i] = 1
	}
}

// Uniform draws from [−bound, bound).
func Uniform(bound float64) Init {
	return func(r *RNG, x []float32) {
		for i := range x {
			x[i] = float32(r.Uniform(-bound, bound))
		}
	}
}

// Xavier draws the weight of a linear layer of rows outputs and cols inputs from the uniform
// distribution with the bound √(6/(rows+cols)). Glorot and Bengio, "Understanding the difficulty of
// training deep feedforward neural networks" (2010).
func Xavier(rows, cols int) Init { return Uniform(math.Sqrt(6 / float64(rows+cols))) }

// TruncatedNormal draws from the normal distribution of standard deviation sigma, anew where a
// number is beyond ±2, as vision transformers do for embeddings.
func TruncatedNormal(sigma float64) Init {
	return func(r *RNG, x []float32) {
		for i := range x {
			v := sigma * r.Normal()
			for math.Abs(v) > 2 {
				v = sigma * r.Normal()
			}
			x[i] = float32(v)
		}
	}
}
