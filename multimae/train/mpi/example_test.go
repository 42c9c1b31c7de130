package mpi_test

import (
	"context"
	"fmt"

	"github.com/gomae/gomae/multimae/train/mpi"
)

// Every process that mpirun starts runs the same program. Without a library, or on a system where
// the package does nothing, Start returns an error.
func Example() {
	w, err := mpi.Start(mpi.Options{})
	if err != nil {
		fmt.Println("training alone:", err)
		return
	}
	x := []float32{1}
	if err := w.Sum(context.Background(), x); err != nil {
		fmt.Println(err)
		w.Abort(1)
	}
	fmt.Printf("rank %d of %d: %g of us\n", w.Rank(), w.Size(), x[0])
	if err := w.Close(); err != nil {
		fmt.Println(err)
	}
}
