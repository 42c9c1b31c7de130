package multimae_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/gomae/gomae/multimae"
)

// Depth and a semantic map are predicted from a colour image alone.
func ExampleModel_Predict() {
	m, err := multimae.Load(os.DirFS("../testdata/parity/pretrain_tiny")) // config.json and model.safetensors
	if err != nil {
		log.Fatal(err)
	}
	const h, w = 32, 64
	pixels := make([]float32, 3*h*w) // [3, H, W], normalised: see package images
	b := &multimae.Batch{Size: 1, H: h, W: w, Images: map[string][]float32{"rgb": pixels}}
	p, err := m.Predict(context.Background(), b, nil)
	if err != nil {
		log.Fatal(err)
	}
	depth := p.Output("depth")
	fmt.Printf("%s: %d × %d × %d, %d values\n", depth.Name, depth.Channels, depth.H, depth.W, len(depth.Pix))
	semseg := p.Output("semseg")
	fmt.Printf("%s: %d × %d × %d, %d ids\n", semseg.Name, semseg.Channels, semseg.H, semseg.W, len(semseg.IDs(0)))
	// Output:
	// depth: 1 × 32 × 64, 2048 values
	// semseg: 5 × 8 × 16, 128 ids
}

// A vector for an image: the mean of the encoder's last tokens.
func ExampleBackbone_Features() {
	m, err := multimae.Load(os.DirFS("../testdata/parity/pretrain_tiny"))
	if err != nil {
		log.Fatal(err)
	}
	b := &multimae.Batch{Size: 1, H: 32, W: 32, Images: map[string][]float32{"depth": make([]float32, 32*32)}}
	f, err := m.Features(context.Background(), b, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(f.Masks.Visible, "tokens and", f.Global, "global of width", len(f.Mean(0)))
	// Output: 16 tokens and 1 global of width 32
}
