package probe

import "math"

// lbfgs minimises a convex function from x on, in place, and returns the number of iterations: Liu
// and Nocedal, "On the Limited Memory BFGS Method for Large Scale Optimization" (1989). f writes the
// gradient at x to grad and returns the value there. It ends when no component of the gradient is
// above tolerance, when no step makes the function smaller, or after limit iterations.
func lbfgs(x []float64, f func(x, grad []float64) (float64, error), tolerance float64, limit int) (int, error) {
	const memory = 10
	type pair struct {
		s, y []float64 // a step, and how much it changed the gradient
		rho  float64   // 1/sᵀy
	}
	var (
		n        = len(x)
		pairs    []pair // oldest first
		grad     = make([]float64, n)
		next     = make([]float64, n)
		nextGrad = make([]float64, n)
		d        = make([]float64, n) // direction
	)
	value, err := f(x, grad)
	if err != nil {
		return 0, err
	}
	for k := range limit {
		if largest(grad) <= tolerance {
			return k, nil
		}
		// d = −H·grad, H being the inverse of the Hessian as far as the pairs show it.
		for i, g := range grad {
			d[i] = -g
		}
		alpha := make([]float64, len(pairs))
		for j := len(pairs) - 1; j >= 0; j-- {
			p := &pairs[j]
			alpha[j] = p.rho * dot(p.s, d)
			addScaled(d, -alpha[j], p.y)
		}
		step := 1.0
		if len(pairs) == 0 {
			step = 1 / math.Sqrt(dot(grad, grad))
		} else {
			last := &pairs[len(pairs)-1]
			scale := 1 / (last.rho * dot(last.y, last.y))
			for i := range d {
				d[i] *= scale
			}
		}
		for j := range pairs {
			p := &pairs[j]
			addScaled(d, alpha[j]-p.rho*dot(p.y, d), p.s)
		}
		slope := dot(grad, d)
		if !(slope < 0) {
			return k, nil
		}
		// Halve the step until the value falls by a share of what the slope promises (Armijo).
		nextValue := 0.0
		for {
			copy(next, x)
			addScaled(next, step, d)
			if nextValue, err = f(next, nextGrad); err != nil {
				return k, err
			}
			if nextValue <= value+1e-4*step*slope {
				break
			}
			if step /= 2; step < 1e-10 {
				return k, nil // as small as rounding lets the value get
			}
		}
		p := pair{s: make([]float64, n), y: make([]float64, n)}
		if len(pairs) == memory { // reuse the memory of the oldest
			p = pairs[0]
			pairs = append(pairs[:0], pairs[1:]...)
		}
		for i := range x {
			p.s[i], p.y[i] = next[i]-x[i], nextGrad[i]-grad[i]
		}
		// Rounding can hide that the function is convex.
		if sy := dot(p.s, p.y); sy > 1e-12*dot(p.y, p.y) {
			p.rho = 1 / sy
			pairs = append(pairs, p)
		}
		copy(x, next)
		copy(grad, nextGrad)
		value = nextValue
	}
	return limit, nil
}

func dot(a, b []float64) (sum float64) {
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

// addScaled adds scale·b to a.
func addScaled(a []float64, scale float64, b []float64) {
	for i, v := range b {
		a[i] += scale * v
	}
}

// largest returns the largest absolute value.
func largest(a []float64) (m float64) {
	for _, v := range a {
		m = max(m, math.Abs(v))
	}
	return m
}
