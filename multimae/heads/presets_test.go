package heads

import (
	"slices"
	"testing"

	"github.com/gomae/gomae/multimae"
)

// TestRecipe compares NewConfig on the paper's encoder with the recipes of the paper, and on a small
// one with what differs there.
func TestRecipe(t *testing.T) {
	type recipe struct {
		head                                   string
		loss                                   string
		lr, layerDecay, weightDecay, dropPath  float64
		scale                                  []float64
		labelSmoothing, mixup, cutMix, jitter  float64
		embedDim, depth, predsPerPatch, inputs int
		meanPooling                            bool
	}
	for _, c := range []struct {
		name, preset, task string
		want               recipe
	}{
		{"segmentation", "base", TaskSemseg, recipe{
			head: ConvNeXt, loss: LossCrossEntropy, lr: 1e-4, layerDecay: 0.75, weightDecay: 0.05, dropPath: 0.1,
			scale: []float64{0.1, 2}, jitter: 0.4, embedDim: 6144, depth: 4, predsPerPatch: 16, inputs: 1,
		}},
		{"segmentation, large", "large", TaskSemseg, recipe{
			head: ConvNeXt, loss: LossCrossEntropy, lr: 1e-4, layerDecay: 0.75, weightDecay: 0.05, dropPath: 0.1,
			scale: []float64{0.1, 2}, jitter: 0.4, embedDim: 8192, depth: 4, predsPerPatch: 16, inputs: 1,
		}},
		{"segmentation, tiny", "tiny", TaskSemseg, recipe{
			head: ConvNeXt, loss: LossCrossEntropy, lr: 6e-4, layerDecay: 0.75, weightDecay: 0.05, dropPath: 0.1,
			scale: []float64{0.5, 2}, jitter: 0.4, embedDim: 1024, depth: 4, predsPerPatch: 16, inputs: 1,
		}},
		{"depth", "base", TaskDepth, recipe{
			head: DPT, loss: LossBerHu, lr: 1e-4, layerDecay: 0.75, weightDecay: 1e-4, dropPath: 0.1, jitter: 0.4, inputs: 1,
		}},
		{"classification", "base", TaskClassify, recipe{
			head: Linear, loss: LossCrossEntropy, lr: 5e-4, layerDecay: 0.65, weightDecay: 0.05, dropPath: 0.1,
			jitter: 0.4, labelSmoothing: 0.1, mixup: 0.8, cutMix: 1, meanPooling: true,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := multimae.Preset(c.preset, 40)
			if err != nil {
				t.Fatal(err)
			}
			p.Inputs = p.Inputs[:1] // the others hold the truth
			got, err := NewConfig(c.task, "", p.BackboneConfig, 40)
			if err != nil {
				t.Fatal(err)
			}
			o, x, want := &got.Outputs[0], &got.Train, &c.want
			for _, v := range []struct {
				key       string
				got, want any
			}{
				{"head", o.Head, want.head}, {"loss", o.Loss, want.loss},
				{"layer_decay", x.LayerDecay, want.layerDecay}, {"weight_decay", got.Optim.WeightDecay, want.weightDecay},
				{"drop_path", got.Encoder.DropPath, want.dropPath}, {"color_jitter", x.ColorJitter, want.jitter},
				{"label_smoothing", o.LabelSmoothing, want.labelSmoothing}, {"mixup", x.Mixup, want.mixup}, {"cutmix", x.CutMix, want.cutMix},
				{"embed_dim", o.EmbedDim, want.embedDim}, {"depth", o.Depth, want.depth}, {"preds_per_patch", o.PredsPerPatch, want.predsPerPatch},
				{"main_tasks", len(o.MainTasks), want.inputs}, {"mean_pooling", o.MeanPooling, want.meanPooling}, {"flip", x.Flip, true},
			} {
				if v.got != v.want {
					t.Errorf("%s is %v, want %v", v.key, v.got, v.want)
				}
			}
			if lr := got.Optim.LR; lr < 0.999999*want.lr || lr > 1.000001*want.lr {
				t.Errorf("lr is %g, want %g", lr, want.lr)
			}
			if !slices.Equal(x.Scale, want.scale) || got.Optim.Betas != [2]float64{0.9, 0.999} {
				t.Errorf("scale %v, want %v; betas %v", x.Scale, want.scale, got.Optim.Betas)
			}
		})
	}
}

// TestSetInputs adds semantic maps to encoders with patches of any size.
func TestSetInputs(t *testing.T) {
	for patch, stride := range map[int]int{16: 4, 8: 2, 14: 1, 6: 1} {
		b := smallConfig().BackboneConfig
		b.PatchSize, b.ImageSize, b.Inputs = patch, 2*patch, b.Inputs[:1]
		if err := SetInputs(&b, []string{"rgb", "semseg"}, 5); err != nil {
			t.Fatal(err)
		}
		if err := b.Check(); err != nil || b.Inputs[1].Stride != stride {
			t.Errorf("patches of %d: stride %d, want %d; %v", patch, b.Inputs[1].Stride, stride, err)
		}
	}
}
