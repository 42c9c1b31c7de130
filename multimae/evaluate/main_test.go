package evaluate

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/images"

	_ "github.com/gomae/gomae/internal/testkit" // fills released memory with NaN
)

// The outputs of test models, by name.
var outputs = map[string]heads.Output{
	"semseg":   {Head: heads.ConvNeXt, NumClasses: 5, Loss: heads.LossCrossEntropy, EmbedDim: 16, Depth: 1, PredsPerPatch: 4},
	"depth":    {Head: heads.ConvNeXt, NumClasses: 1, Loss: heads.LossL1, EmbedDim: 16, PredsPerPatch: 4, Unit: 0.001},
	"relative": {Head: heads.ConvNeXt, NumClasses: 1, Loss: heads.LossL1, EmbedDim: 16, PredsPerPatch: 4},
	"normals":  {Head: heads.ConvNeXt, NumClasses: 3, Loss: heads.LossL1, EmbedDim: 16, PredsPerPatch: 4},
	"class":    {Head: heads.Linear, NumClasses: 7, Loss: heads.LossCrossEntropy, MeanPooling: true},
	"dpt":      {Head: heads.DPT, NumClasses: 5, Loss: heads.LossCrossEntropy, Hooks: []int{0, 1, 2, 3}, LayerDims: []int{4, 4, 8, 8}, FeatureDim: 8, HeadType: heads.HeadSemseg, Target: "semseg"},
}

// model returns a random model of colour with some of the outputs.
func model(t *testing.T, names ...string) *heads.Model {
	t.Helper()
	c := &heads.Config{BackboneConfig: tiny.Config().BackboneConfig}
	c.Model, c.Inputs = "multivit", c.Inputs[:1]
	for _, name := range names {
		o := outputs[name]
		if o.Name = name; o.Head != heads.Linear {
			o.MainTasks = []string{"rgb"}
		}
		if o.Head == heads.DPT {
			c.PatchSize, c.ImageSize, c.Encoder.Depth = 16, 32, 4
		}
		c.Outputs = append(c.Outputs, o)
	}
	m, err := heads.NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(5)
	return m
}

// random returns images with truth of all kinds, some of it missing.
func random(n, h, w int) data.Samples {
	r := rand.New(rand.NewPCG(uint64(n), uint64(h*1000+w)))
	var list data.Samples
	for i := range n {
		s := &data.Sample{Name: fmt.Sprint("x/", i), Maps: map[string]*images.Map{"class": images.Label(r.IntN(7))}}
		for name, channels := range map[string]int{"rgb": 3, "depth": 1, "relative": 1, "normals": 3} {
			m := &images.Map{C: channels, H: h, W: w, Pix: make([]float32, channels*h*w)}
			s.Maps[name] = m
		}
		for _, name := range []string{"rgb", "depth", "relative", "normals"} { // a map has no order
			for k := range s.Maps[name].Pix {
				s.Maps[name].Pix[k] = (1 + r.Float32()) / 4
			}
		}
		s.Maps["depth"].Hide(func(k int) bool { return k%7 == i%3 })
		ids := make([]uint8, h*w)
		for k := range ids {
			if ids[k] = uint8(r.IntN(4)); r.IntN(9) == 0 { // class 4 is not there
				ids[k] = multimae.IDIgnored
			}
		}
		s.Maps["semseg"] = &images.Map{H: h, W: w, IDs: ids}
		list = append(list, s)
	}
	return list
}
