package heads_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/nn/weights"
)

// A pre-trained MultiMAE becomes a model that segments RGB-D images, of another size than those it
// has seen.
func Example() {
	pretrained := os.DirFS("../../testdata/parity/pretrain_small")
	base, err := multimae.LoadConfig(pretrained, multimae.ConfigFile)
	if err != nil {
		log.Fatal(err)
	}
	c := &heads.Config{BackboneConfig: base.BackboneConfig}
	c.Model = "multivit"
	c.ImageSize = 96
	c.Inputs = c.Inputs[:2] // rgb and depth
	c.Outputs = heads.Outputs{{
		Name: "segments", Head: heads.ConvNeXt, NumClasses: 40, Loss: heads.LossCrossEntropy,
		MainTasks: []string{"rgb", "depth"}, EmbedDim: 128, Depth: 2, PredsPerPatch: 16,
	}}
	m, err := heads.NewModel(c)
	if err != nil {
		log.Fatal(err)
	}
	m.Init(1) // the head; the rest is read
	f, err := weights.OpenFS(pretrained, multimae.WeightsFile)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	report, err := m.LoadWeights(f, &multimae.LoadOptions{DropInputs: true, DropOutputs: true, ResizePositions: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(report.Missing), "parameters are new, the first of them", report.Missing[0])
	fmt.Println(len(report.Unexpected), "tensors of the file are not used, the first of them", report.Unexpected[0])
	for _, a := range report.Adapted {
		fmt.Println(a.Name, a.From, "became", a.To)
	}

	b := &multimae.Batch{Size: 1, H: 96, W: 96, Images: map[string][]float32{"rgb": make([]float32, 3*96*96), "depth": make([]float32, 96*96)}}
	p, err := m.Predict(context.Background(), b, nil)
	if err != nil {
		log.Fatal(err)
	}
	segments := p.Output("segments")
	fmt.Printf("%d × %d × %d logits, %d ids\n", segments.Channels, segments.H, segments.W, len(segments.IDs(0)))
	// Output:
	// 20 parameters are new, the first of them output_adapters.segments.blocks.0.dwconv.weight
	// 200 tensors of the file are not used, the first of them input_adapters.semseg.pos_emb
	// input_adapters.rgb.pos_emb [1 48 4 4] became [1 48 6 6]
	// input_adapters.depth.pos_emb [1 48 4 4] became [1 48 6 6]
	// 40 × 96 × 96 logits, 9216 ids
}
