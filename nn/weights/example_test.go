package weights_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/gomae/gomae/nn/weights"
)

// A file is written, opened, listed and read.
func Example() {
	var file bytes.Buffer
	err := weights.WriteSafetensors(&file, []weights.Tensor{
		{Name: "fc.weight", Shape: []int{2, 2}, Data: []float32{1, 2, 3, 4}},
		{Name: "fc.bias", Shape: []int{2}, Data: []float32{5, 6}},
	}, map[string]string{"format": "pt"})
	if err != nil {
		log.Fatal(err)
	}

	f, err := weights.NewReader(bytes.NewReader(file.Bytes()), int64(file.Len())) // or weights.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	for _, name := range f.Names() {
		shape, _ := f.Shape(name)
		values, err := f.Float32(name)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, f.DType(name), shape, values)
	}
	// Output:
	// fc.weight F32 [2 2] [1 2 3 4]
	// fc.bias F32 [2] [5 6]
}
