package parity_test

import (
	"fmt"
	"os"

	"github.com/gomae/gomae/multimae/parity"
	"github.com/gomae/gomae/tensor"
)

func Example() {
	dir := "../../testdata/parity/pretrain_tiny"
	pool := tensor.NewPool(0) // all cores
	defer pool.Close()
	r, err := parity.Run(os.DirFS(dir), dir, pool)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, g := range r.Groups {
		fmt.Println(g.Name, g.Count, g.Pass)
	}
	// Output:
	// encoder 1 true
	// out 4 true
	// loss 4 true
	// grad 176 true
	// step0 1 true
	// step1 1 true
	// step2 1 true
	// param 176 true
}
