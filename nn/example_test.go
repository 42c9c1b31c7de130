package nn_test

import (
	"fmt"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// A layer learns the function y = 2·x₀ − x₁.
func Example() {
	ps := nn.NewParams()
	fc := nn.NewLinear(ps, "fc", 2, 1, true) // fc.weight [1, 2] and fc.bias [1]
	ps.Init(1)
	ps.EnableGrad()

	opt := nn.NewAdamW(0.9, 0.99, 1e-8, ps)
	rate := nn.Schedule{Base: 0.1, Warmup: 10, Steps: 300}
	x := tensor.From([]float32{0, 0, 1, 0, 0, 1, 1, 1}, 4, 2)
	y, weights := []float32{0, 2, -1, 1}, []float32{0.25, 0.25, 0.25, 0.25}

	t := tensor.NewTape(nil) // nil: one worker
	for opt.Steps < rate.Steps {
		t.Reset()
		ps.ZeroGrad(t)
		loss := tensor.RegressionLoss(t, fc.Forward(t, x), y, weights, tensor.L2)
		norm := ps.Backward(t, loss)
		opt.Step(t, rate.At(opt.Steps), 0, nn.ClipScale(norm, 1))
	}
	for _, p := range ps.All() {
		fmt.Printf("%s %v %.2f\n", p.Name, p.Shape, p.Data)
	}
	// Output:
	// fc.weight [1 2] [2.00 -1.00]
	// fc.bias [1] [-0.00]
}
