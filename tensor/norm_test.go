package tensor

import (
	"math"
	"testing"
)

// TestNormalizeRows has rows on both sides of the least norm, 1e-12, with results and gradients
// from PyTorch's formula x / max(|x|, 1e-12), and the gradients against differences of it, too.
func TestNormalizeRows(t *testing.T) {
	normalize := func(x []float64) []float64 {
		norm := max(math.Sqrt(x[0]*x[0]+x[1]*x[1]), 1e-12)
		return []float64{x[0] / norm, x[1] / norm}
	}
	for _, c := range []struct {
		name             string
		x, y, grad, seed [2]float64 // grad is that of seed·y
	}{
		{"large", [2]float64{3, 4}, [2]float64{0.6, 0.8}, [2]float64{-0.32, 0.24}, [2]float64{-1, 2}},
		{"small", [2]float64{3e-12, 4e-12}, [2]float64{0.6, 0.8}, [2]float64{-0.32e12, 0.24e12}, [2]float64{-1, 2}},
		{"below", [2]float64{3e-13, 4e-13}, [2]float64{0.3, 0.4}, [2]float64{-1e12, 2e12}, [2]float64{-1, 2}},
		{"zeros", [2]float64{}, [2]float64{}, [2]float64{5e12, -3e12}, [2]float64{5, -3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tape := NewTape(nil)
			x := From([]float32{float32(c.x[0]), float32(c.x[1])}, 1, 2).WithGrad()
			y := NormalizeRows(tape, x)
			for i, want := range normalize(c.x[:]) {
				if math.Abs(want-c.y[i]) > 1e-15 || math.Abs(float64(y.Data[i])-want) > 4*u {
					t.Errorf("element %d is %v, want %v", i, y.Data[i], c.y[i])
				}
			}
			tape.Backward(project(tape, y, []float32{float32(c.seed[0]), float32(c.seed[1])}))
			for i, want := range c.grad {
				h := 1e-6 * (math.Abs(c.x[0]) + math.Abs(c.x[1]) + 1e-13)
				up, down := c.x, c.x
				up[i] += h
				down[i] -= h
				yu, yd := normalize(up[:]), normalize(down[:])
				diff := (c.seed[0]*(yu[0]-yd[0]) + c.seed[1]*(yu[1]-yd[1])) / (2 * h)
				if math.Abs(diff-want) > 1e-8*math.Abs(want) || math.Abs(float64(x.Grad[i])-want) > 16*u*math.Abs(want) {
					t.Errorf("gradient %d is %v, want %v, differences say %v", i, x.Grad[i], want, diff)
				}
			}
		})
	}
}
