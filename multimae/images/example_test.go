package images_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"log"
	"os"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
)

// A photograph becomes depth in false colours.
func Example() {
	m, err := multimae.Load(os.DirFS("../../testdata/parity/pretrain_tiny"))
	if err != nil {
		log.Fatal(err)
	}
	photo := image.NewNRGBA(image.Rect(0, 0, 640, 480))
	b, err := images.Batch(m, map[string]image.Image{"rgb": photo})
	if err != nil {
		log.Fatal(err)
	}
	p, err := m.Predict(context.Background(), b, nil)
	if err != nil {
		log.Fatal(err)
	}
	var file bytes.Buffer
	if err := png.Encode(&file, images.Picture(p.Output("depth"), 0)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Size, b.H, b.W, len(b.Images["rgb"]), file.String()[1:4])
	// Output: 1 32 32 3072 PNG
}
