// Command gomlx times simplego, gomlx's backend in pure Go: see package peers. It is a module of its
// own, so that nobody else downloads gomlx.
package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/simplego"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/shapes"

	"github.com/gomae/gomae/bench/peers"
)

func main() {
	os.Exit(peers.Main(func() (peers.Peer, error) {
		return peers.Peer{Name: "gomlx", Start: start}, nil
	}))
}

func start(threads int) (peers.Library, error) {
	runtime.GOMAXPROCS(threads)
	stdout := os.Stdout
	os.Stdout = os.Stderr // simplego prints its configuration
	backend, err := simplego.New(fmt.Sprintf("parallelism=%d", threads))
	os.Stdout = stdout
	if err != nil {
		return peers.Library{}, err
	}
	return peers.Library{
		Version: peers.ModuleVersion("github.com/gomlx/gomlx"), Variant: "simplego",
		Compute: func(l *peers.Layer) ([]float32, peers.Measure, error) { return compute(backend, l) },
		Close:   func() error { backend.Finalize(); return nil },
	}, nil
}

// compute times the product. gomlx cannot pack w ahead of time, but a transposed w may be faster.
func compute(backend backends.Backend, l *peers.Layer) ([]float32, peers.Measure, error) {
	y := make([]float32, l.M*l.N)
	product, err := compile(backend, l, l.W, false)
	if err != nil {
		return nil, nil, err
	}
	out, err := product()
	if err != nil {
		return nil, nil, err
	}
	if err := backend.BufferToFlatData(out, y); err != nil {
		return nil, nil, err
	}
	ways := []func(){func() { release(backend, product) }}
	if l.Packed {
		other, err := compile(backend, l, l.Transposed(), true)
		if err != nil {
			return nil, nil, err
		}
		ways = append(ways, func() { release(backend, other) })
	}
	return y, peers.Fastest(ways...), nil
}

// release computes once and frees the result. It panics on an error, because the product has already
// worked once.
func release(backend backends.Backend, product func() (backends.Buffer, error)) {
	out, err := product()
	if err == nil {
		err = backend.BufferFinalize(out)
	}
	if err != nil {
		panic(err)
	}
}

// compile returns a function that multiplies x [M,K] by w, which is [N,K], or [K,N] if it is
// transposed.
func compile(backend backends.Backend, l *peers.Layer, w []float32, transposed bool) (func() (backends.Buffer, error), error) {
	xShape, wShape, contract := shapes.Make(dtypes.Float32, l.M, l.K), shapes.Make(dtypes.Float32, l.N, l.K), 1
	if transposed {
		wShape, contract = shapes.Make(dtypes.Float32, l.K, l.N), 0
	}
	b := backend.Builder(l.Name)
	xOp, err := b.Parameter("x", xShape, nil)
	if err != nil {
		return nil, err
	}
	wOp, err := b.Parameter("w", wShape, nil)
	if err != nil {
		return nil, err
	}
	yOp, err := b.DotGeneral(xOp, []int{1}, nil, wOp, []int{contract}, nil)
	if err != nil {
		return nil, err
	}
	program, err := b.Compile([]backends.Op{yOp}, nil)
	if err != nil {
		return nil, err
	}
	x, err := backend.BufferFromFlatData(0, l.X, xShape)
	if err != nil {
		return nil, err
	}
	wBuffer, err := backend.BufferFromFlatData(0, w, wShape)
	if err != nil {
		return nil, err
	}
	return func() (backends.Buffer, error) {
		out, err := program.Execute([]backends.Buffer{x, wBuffer}, nil, 0)
		if err != nil {
			return nil, err
		}
		return out[0], nil
	}, nil
}
