// Command gonum times gonum's matrix product in pure Go: see package peers.
package main

import (
	"os"
	"runtime"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/gomae/gomae/bench/peers"
)

func main() {
	os.Exit(peers.Main(func() (peers.Peer, error) {
		return peers.Peer{Name: "gonum", Install: "go mod download gonum.org/v1/gonum", Start: start}, nil
	}))
}

// start limits Go to that many threads: gonum divides a large product among goroutines.
func start(threads int) (peers.Library, error) {
	runtime.GOMAXPROCS(threads)
	return peers.Library{Version: peers.ModuleVersion("gonum.org/v1/gonum"), Compute: compute}, nil
}

func compute(l *peers.Layer) ([]float32, peers.Measure, error) {
	matrix := func(rows, cols int, data []float32) blas32.General {
		return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: data}
	}
	x, w, y := matrix(l.M, l.K, l.X), matrix(l.N, l.K, l.W), matrix(l.M, l.N, make([]float32, l.M*l.N))
	product := func() { blas32.Gemm(blas.NoTrans, blas.Trans, 1, x, w, 0, y) }
	product()
	if !l.Packed {
		return y.Data, peers.Loop(product), nil
	}
	// gonum cannot pack weights; a transposed weight comes nearest.
	transposed := matrix(l.K, l.N, l.Transposed())
	return y.Data, peers.Fastest(product, func() { blas32.Gemm(blas.NoTrans, blas.NoTrans, 1, x, transposed, 0, y) }), nil
}
