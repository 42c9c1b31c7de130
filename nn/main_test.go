package nn

import (
	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/tensor"
)

const u = testkit.U

// withPool calls f with pools of 1 and 2 workers.
func withPool(f func(p *tensor.Pool)) {
	f(nil)
	p := tensor.NewPool(2)
	defer p.Close()
	f(p)
}
