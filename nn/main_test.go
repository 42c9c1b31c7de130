package nn

import (
	"github.com/gomae/gomae/tensor"
)

const u = 1.0 / (1 << 24) // the largest relative rounding error of float32

// withPool calls f with pools of 1 and 2 workers.
func withPool(f func(p *tensor.Pool)) {
	f(nil)
	p := tensor.NewPool(2)
	defer p.Close()
	f(p)
}
