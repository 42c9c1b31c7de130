package multimae_test

import (
	"fmt"
	"log"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/tensor"
)

// Depth and a semantic map are predicted from a colour image alone.
func Example() {
	m, err := multimae.LoadDir("../testdata/parity/pretrain_tiny") // config.json and model.safetensors
	if err != nil {
		log.Fatal(err)
	}
	m.Params.Freeze() // no training: keep packed weights
	const h, w = 32, 64
	image := make([]float32, 3*h*w) // [3, H, W], normalised: see package data
	b := &multimae.Batch{Size: 1, H: h, W: w, Images: map[string][]float32{"rgb": image}}
	nh, nw := m.Config.Grid(h, w)
	masks, err := multimae.AllVisible(1, m.Present(b), nh*nw)
	if err != nil {
		log.Fatal(err)
	}
	preds, err := m.Forward(tensor.NewInference(nil), b, masks, nil)
	if err != nil {
		log.Fatal(err)
	}
	for i, o := range m.Config.Outputs {
		if o.Task != "rgb" {
			pixels := m.Unpatch(i, preds[i], h, w) // depth, or the logits of the classes
			fmt.Printf("%s: %d × %d × %d, %d values\n", o.Name, o.Channels, h/o.Stride, w/o.Stride, len(pixels))
		}
	}
	// Output:
	// depth: 1 × 32 × 64, 2048 values
	// semseg: 5 × 8 × 16, 640 values
}
