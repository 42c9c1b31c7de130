package vit_test

import (
	"fmt"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// An image of 32 pixels in patches of 8 becomes 16 tokens, which the first two blocks of ViT-Ti
// encode.
func Example() {
	c := vit.Ti
	c.Depth = 2
	ps := nn.NewParams()
	proj := nn.NewLinear(ps, "proj", 3*8*8, c.Dim, true)
	encoder := vit.NewEncoder(ps, "encoder", c)
	ps.Init(1)
	positions := make([]float32, c.Dim*4*4)
	vit.SinCos(positions, c.Dim, 4, 4)

	image := make([]float32, 3*32*32)
	patches := tensor.New(1, 16, 3*8*8)
	for i := range 16 {
		vit.Patch(patches.Data[i*3*8*8:(i+1)*3*8*8], image, 3, 32, 32, 8, i)
	}
	t := tensor.NewInference(nil) // nil: one worker
	tokens := proj.ForwardAdd(t, patches, tensor.From(vit.PositionRows(t, positions, c.Dim, 4, 4, 4, 4, vit.Bicubic), 1, 16, c.Dim))
	y := encoder.Forward(t, tokens, nil)
	fmt.Println(y.Shape, ps.Count(), "parameters, such as", ps.All()[2].Name)
	// Output: [1 16 192] 926784 parameters, such as encoder.0.norm1.weight
}
