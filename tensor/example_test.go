package tensor_test

import (
	"fmt"

	"github.com/gomae/gomae/tensor"
)

// A line is fitted to points on y = 2x₁ − 3x₂ + 1 by gradient descent.
func Example() {
	pool := tensor.NewPool(0)
	defer pool.Close()
	tape := tensor.NewTape(pool)

	x := tensor.From([]float32{0, 0, 1, 0, 0, 1, 1, 1}, 4, 2)
	y := []float32{1, 3, -2, 0}
	rows := []float32{0.25, 0.25, 0.25, 0.25} // the mean over the points

	w := tensor.New(1, 2).WithGrad()
	b := tensor.New(1).WithGrad()
	for range 400 {
		loss := tensor.RegressionLoss(tape, tensor.Linear(tape, x, w, b), y, rows, tensor.L2)
		tape.Backward(loss)
		for _, p := range []*tensor.Tensor{w, b} {
			for i, g := range p.Grad {
				p.Data[i] -= 0.3 * g
				p.Grad[i] = 0
			}
		}
		tape.Reset()
	}
	fmt.Printf("y = %.3f·x₁ %+.3f·x₂ %+.3f\n", w.Data[0], w.Data[1], b.Data[0])
	// Output: y = 2.000·x₁ -3.000·x₂ +1.000
}

// Operations of packages above are written with Record, Back and Grad.
func ExampleTape_Record() {
	square := func(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
		y := t.New(x.Shape...)
		for i, v := range x.Data {
			y.Data[i] = v * v
		}
		if t.Record("square", y, x) {
			t.Back(func() {
				dx := t.Grad(x)
				for i, v := range x.Data {
					dx[i] += 2 * v * y.Grad[i]
				}
			})
		}
		return y
	}

	tape := tensor.NewTape(nil)
	x := tensor.From([]float32{3}, 1).WithGrad()
	y := square(tape, square(tape, x))
	tape.Backward(y)
	fmt.Println(y.Data, x.Grad)
	// Output: [81] [108]
}

// A function releases what it made and does not return, on a tape that records nothing.
func ExampleTape_Scope() {
	w := tensor.From([]float32{0, 1, 1, 0}, 2, 2)
	w.Freeze() // packed once, not at each call
	layers := func(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
		s := t.Scope()
		for range 3 {
			x = s.Keep(tensor.Linear(t, x, w, nil)) // releases the layer's input, but not the first
		}
		return x
	}

	tape := tensor.NewInference(nil)
	x := tensor.From([]float32{1, 2}, 1, 2)
	fmt.Println(layers(tape, x).Data, x.Data)
	tape.Reset()
	// Output: [2 1] [1 2]
}
