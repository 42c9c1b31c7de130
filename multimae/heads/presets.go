package heads

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gomae/gomae/multimae"
)

// The tasks of NewConfig.
const (
	TaskSemseg   = "semseg"   // classes of pixels
	TaskDepth    = "depth"    // a value for each pixel
	TaskClassify = "classify" // the class of an image
)

// Tasks and Heads are the tasks and heads that NewConfig knows.
var (
	Tasks = []string{TaskSemseg, TaskDepth, TaskClassify}
	Heads = []string{Linear, ConvNeXt, Segmenter, DPT}
)

// NewConfig returns a model and a recipe for a task, on a backbone that all inputs are shown to. head
// is the kind of its head; "" means that of the paper: ConvNeXt for maps, Linear for classes of
// images and, for depth from patches of 16×16 pixels, DPT. classes is the number of classes.
//
// Widths are those of the paper for its encoder of 768 channels, and in proportion for others. Batch
// and steps are for one machine. Learning rates are the paper's, but higher for narrower encoders,
// which need that. The paper's rate for classes of images is 5e-4 for each 256 samples of a batch;
// here it is 5e-4 for the batch of 16, because the steps are few. Optim.LR does not follow
// Train.Batch: who takes k times the batch should take √k times the rate, as fits Adam.
//
// For classes of images the paper also has random augmentation. Here colour jitter, random crops and
// flips take its place.
func NewConfig(task, head string, b multimae.BackboneConfig, classes int) (*Config, error) {
	c := &Config{BackboneConfig: b}
	c.Model = modelName
	c.Encoder.DropPath = 0.1
	inputs := c.Inputs.Names()
	o := Output{Name: task, Head: head, NumClasses: classes, Loss: LossCrossEntropy}
	wide := float64(b.Encoder.Dim) / 768
	c.Optim = multimae.Optim{LR: 1e-4 / min(wide, 1), Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 0.05}
	c.Train = Train{LayerDecay: 0.75, ColorJitter: 0.4, Recipe: multimae.Recipe{
		Steps: 2000, WarmupSteps: 100, Batch: 16, Flip: true, ValEvery: 500, SaveEvery: 500, LogEvery: 20,
	}}
	switch task {
	case TaskSemseg:
		c.Train.Scale = []float64{0.1, 2}
		if b.ImageSize < 224 { // a tenth of 64 pixels shows nothing
			c.Train.Scale[0] = 0.5
		}
		o.Head = cmp.Or(head, ConvNeXt)
	case TaskDepth:
		o.NumClasses, o.Loss = 1, LossBerHu
		c.Optim.WeightDecay = 1e-4
		c.Train.CropScale, c.Train.CropRatio = []float64{0.5, 1}, []float64{1, 1}
		if o.Head = cmp.Or(head, ConvNeXt); head == "" && b.PatchSize == 16 && b.Encoder.Depth >= 4 {
			o.Head = DPT
		}
	case TaskClassify:
		o.Name, o.Head, o.LabelSmoothing = ClassTarget, cmp.Or(head, Linear), 0.1
		c.Optim.LR *= 5
		c.Train.LayerDecay, c.Train.Mixup, c.Train.CutMix = 0.65, 0.8, 1
		c.Train.CropScale, c.Train.CropRatio = []float64{0.35, 1}, []float64{3. / 4, 4. / 3}
	default:
		return nil, fmt.Errorf("task: got %q, want one of %v", task, Tasks)
	}
	if task == TaskClassify != (o.Head == Linear) {
		return nil, fmt.Errorf("head: %q does not fit task %q: %q is for %q, the others are for maps", o.Head, task, Linear, TaskClassify)
	}
	switch o.Head {
	case Linear:
		o.MeanPooling = true
	case ConvNeXt:
		// 16 predictions a patch of 16×16 pixels; a patch of 8×8 has as many, so that they are finer.
		o.MainTasks, o.Depth, o.PredsPerPatch = inputs, 4, 16
		o.EmbedDim = multiple(6144*wide, 16)
	case Segmenter:
		o.MainTasks, o.Depth, o.Heads, o.EmbedDim = inputs, 2, b.Encoder.Heads, b.Encoder.Dim
	case DPT:
		o.MainTasks, o.HeadType = inputs, HeadSemseg
		if o.Loss != LossCrossEntropy {
			o.HeadType = HeadRegression
		}
		for i := range 4 {
			o.Hooks = append(o.Hooks, (i+1)*b.Encoder.Depth/4-1)
			o.LayerDims = append(o.LayerDims, multiple(float64(int(96)<<i)*wide, 8))
		}
		o.FeatureDim = multiple(256*wide, 16)
	default:
		return nil, fmt.Errorf("head: got %q, want one of %v", o.Head, Heads)
	}
	c.Outputs = Outputs{o}
	return c, c.Check()
}

// multiple returns the multiple of n next to v, at least n.
func multiple(v float64, n int) int { return max(n, int(v/float64(n)+0.5)*n) }

// SetInputs keeps the inputs of the backbone that are named, in the order of names. One that the
// backbone does not have is added as the paper has it, for a fresh adapter.
func SetInputs(b *multimae.BackboneConfig, names []string, classes int) error {
	like, err := multimae.Preset("base", max(classes, 1))
	if err != nil {
		return err
	}
	var inputs multimae.Inputs
	for _, name := range names {
		in := b.Input(name)
		if in == nil {
			if in = like.Input(name); in == nil {
				return fmt.Errorf("inputs: the model has no %q, and nothing is known about it; it has %v", name, b.Inputs.Names())
			}
			if in.Kind == multimae.KindClasses {
				in.Stride = multimae.SemanticStride(b.PatchSize)
			}
		}
		if slices.ContainsFunc(inputs, func(x multimae.Input) bool { return x.Name == name }) {
			return fmt.Errorf("inputs: %q is listed twice", name)
		}
		inputs = append(inputs, *in)
	}
	b.Inputs = inputs
	return nil
}
