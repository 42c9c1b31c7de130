package multimae

import (
	"errors"
	"fmt"
	"math"
	"reflect"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/vit"
)

// Check returns an error that names the first key whose value cannot be used.
func (c *Config) Check() error {
	if err := strictjson.CheckModel(c.Model, modelName); err != nil {
		return err
	}
	if err := c.BackboneConfig.Check(); err != nil {
		return err
	}
	names := make([]string, len(c.Outputs))
	for i := range c.Outputs {
		names[i] = c.Outputs[i].Name
	}
	if err := modelfolder.CheckNames("outputs", names); err != nil {
		return err
	}
	for i := range c.Outputs {
		if err := c.checkOutput(&c.Outputs[i]); err != nil {
			return fmt.Errorf("outputs.%s.%w", c.Outputs[i].Name, err)
		}
	}
	if err := c.Optim.Check(); err != nil {
		return fmt.Errorf("optim.%w", err)
	}
	if reflect.ValueOf(c.Train).IsZero() {
		return nil
	}
	return c.checkTrain()
}

// Check returns an error that names the first key whose value cannot be used. It leaves Model to
// the configuration that this is part of.
func (c *BackboneConfig) Check() error {
	if err := c.Encoder.Check(); err != nil {
		return fmt.Errorf("encoder.%w", err)
	}
	if c.Encoder.Depth < 1 {
		return errors.New("encoder.depth: got 0, want at least 1: features, attention and transfer are those of blocks")
	}
	if c.Encoder.Dim%4 != 0 {
		return fmt.Errorf("encoder.dim: got %d, want a multiple of 4 (sine–cosine position table)", c.Encoder.Dim)
	}
	const maxPatch = 1 << 10
	if c.PatchSize < 1 || c.PatchSize > maxPatch {
		return fmt.Errorf("patch_size: got %d, want 1..%d", c.PatchSize, maxPatch)
	}
	if err := c.CheckImageSize(c.ImageSize, c.ImageSize); err != nil {
		return err
	}
	if g, most := c.PositionGrid, maxSide/c.PatchSize; len(g) != 0 && (len(g) != 2 || min(g[0], g[1]) < 1 || max(g[0], g[1]) > most) {
		return fmt.Errorf("position_grid: got %v, want two numbers from 1 to %d, the rows and columns of patches", g, most)
	}
	const maxGlobal = 1024
	if c.NumGlobalTokens < 0 || c.NumGlobalTokens > maxGlobal {
		return fmt.Errorf("num_global_tokens: got %d, want 0..%d", c.NumGlobalTokens, maxGlobal)
	}
	if err := modelfolder.CheckNames("inputs", c.Inputs.Names()); err != nil {
		return err
	}
	for i := range c.Inputs {
		if err := c.checkInput(&c.Inputs[i]); err != nil {
			return fmt.Errorf("inputs.%s.%w", c.Inputs[i].Name, err)
		}
	}
	return nil
}

// maxSide bounds the sides of an image in pixels, so that no product of sizes overflows unnoticed.
const maxSide = 1 << 14

// CheckImageSize returns an error unless an image of h×w pixels splits into whole patches and has
// sides of at most 16384 pixels.
func (c *BackboneConfig) CheckImageSize(h, w int) error {
	if h > maxSide || w > maxSide {
		return fmt.Errorf("image_size: got %d×%d, want at most %d×%d", h, w, maxSide, maxSide)
	}
	if h < c.PatchSize || w < c.PatchSize || h%c.PatchSize != 0 || w%c.PatchSize != 0 {
		return fmt.Errorf("image_size: %d×%d is not divisible by patch_size %d; use a multiple such as %d", h, w, c.PatchSize,
			max(1, min(h, w)/c.PatchSize)*c.PatchSize)
	}
	return nil
}

func (c *BackboneConfig) checkStride(s int) error {
	if s < 1 || c.PatchSize%s != 0 {
		return fmt.Errorf("stride: got %d, want a divisor of patch_size %d", s, c.PatchSize)
	}
	return nil
}

const maxChannels = 1 << 14

func (c *BackboneConfig) checkInput(m *Input) error {
	if err := c.checkStride(m.Stride); err != nil {
		return err
	}
	switch m.Kind {
	case KindImage:
		if m.Channels < 1 || m.Channels > maxChannels {
			return fmt.Errorf("channels: got %d, want 1..%d", m.Channels, maxChannels)
		}
		if m.NumClasses != 0 || m.ClassEmbDim != 0 || m.ClassEmbStd != 0 {
			return fmt.Errorf("num_classes, class_emb_dim, class_emb_std: not used by kind %q; remove them", m.Kind)
		}
	case KindClasses:
		if m.NumClasses < 1 || m.NumClasses > IDPadding {
			return fmt.Errorf("num_classes: got %d, want 1..%d (ids %d and %d mark padding and ignored pixels)", m.NumClasses, IDPadding, IDPadding, IDIgnored)
		}
		if m.ClassEmbDim < 1 || m.ClassEmbDim > maxChannels {
			return fmt.Errorf("class_emb_dim: got %d, want 1..%d (64 in the paper)", m.ClassEmbDim, maxChannels)
		}
		if !(m.ClassEmbStd >= 0 && m.ClassEmbStd <= 1) {
			return fmt.Errorf("class_emb_std: got %g, want 0..1 (0.02 in the paper)", m.ClassEmbStd)
		}
		if m.Channels != 0 {
			return fmt.Errorf("channels: not used by kind %q; remove it", m.Kind)
		}
	default:
		return fmt.Errorf("kind: got %q, want %q or %q", m.Kind, KindImage, KindClasses)
	}
	if len(m.Invalid) > 0 && m.Kind == KindImage && m.Channels != 1 {
		return fmt.Errorf("invalid: got %v, but only images of one channel and class maps have invalid values; remove it", m.Invalid)
	}
	for _, v := range m.Invalid {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("invalid: got %g, want finite numbers", v)
		}
	}
	switch m.Normalize {
	case "", NormalizeStandardize, NormalizeNone:
	case NormalizeImageNet:
		if m.Channels != 3 {
			return fmt.Errorf("normalize: %q needs 3 channels, got %d", m.Normalize, m.Channels)
		}
	default:
		return fmt.Errorf("normalize: got %q, want %q, %q or %q", m.Normalize, NormalizeImageNet, NormalizeStandardize, NormalizeNone)
	}
	return nil
}

func (c *Config) checkOutput(o *Output) error {
	if err := c.checkStride(o.Stride); err != nil {
		return err
	}
	task := c.Input(o.Task)
	if task == nil {
		return fmt.Errorf("task: %q is not an input%s", o.Task, strictjson.Hint(o.Task, c.Inputs.Names()))
	}
	if o.Stride != task.Stride {
		return fmt.Errorf("stride: got %d, want that of input %s, %d", o.Stride, o.Task, task.Stride)
	}
	want, kind := task.Channels, KindImage
	switch o.Loss {
	case LossMSE, LossL1, LossNormMSE:
	case LossCrossEntropy:
		want, kind = task.NumClasses, KindClasses
	default:
		return fmt.Errorf("loss: got %q, want %q, %q, %q or %q", o.Loss, LossMSE, LossL1, LossNormMSE, LossCrossEntropy)
	}
	if task.Kind != kind {
		return fmt.Errorf("loss: %q needs an input of kind %q, but %s is of kind %q", o.Loss, kind, o.Task, task.Kind)
	}
	if o.Channels != want {
		return fmt.Errorf("channels: got %d, want those of input %s, %d", o.Channels, o.Task, want)
	}
	if !(o.LabelSmoothing >= 0 && o.LabelSmoothing < 1) || o.LabelSmoothing != 0 && o.Loss != LossCrossEntropy {
		return fmt.Errorf("label_smoothing: got %g, want 0 or more and below 1, and 0 unless the loss is %q", o.LabelSmoothing, LossCrossEntropy)
	}
	if w := o.LossWeight; w != 0 && !(float32(w) > 0 && w < 1e6) {
		return fmt.Errorf("loss_weight: got %g, want more than 0 as a float32 and below 1e6, or 0 for 1", w)
	}
	if o.LossWeight != 0 && c.Train.Weighting != "" {
		return fmt.Errorf("loss_weight: got %g with train.weighting %q, which learns the weights; leave one of them out", o.LossWeight, c.Train.Weighting)
	}
	blocks := c.decoderBlocks(o)
	if err := blocks.Check(); err != nil {
		return err
	}
	if o.Dim%4 != 0 {
		return fmt.Errorf("dim: got %d, want a multiple of 4 (sine–cosine position table)", o.Dim)
	}
	return nil
}

// decoderBlocks returns the configuration of the blocks of an output's decoder.
func (c *Config) decoderBlocks(o *Output) vit.Config {
	blocks := c.Encoder
	blocks.Dim, blocks.Depth, blocks.Heads, blocks.DropPath = o.Dim, o.Depth, o.Heads, 0
	return blocks
}

// Check returns an error that names the first key whose value no optimiser could use.
func (o *Optim) Check() error {
	return firstWrong([]number{
		{"lr", o.LR, o.LR >= 0, "0 or more"},
		{"betas", o.Betas[0], o.Betas[0] >= 0 && o.Betas[0] < 1, "0 or more and below 1"},
		{"betas", o.Betas[1], o.Betas[1] >= 0 && o.Betas[1] < 1, "0 or more and below 1"},
		{"eps", o.Eps, o.Eps >= 0, "0 or more"},
		{"weight_decay", o.WeightDecay, o.WeightDecay >= 0, "0 or more"},
	})
}

// checkTrain checks what training needs; the rest of the configuration has been checked.
func (c *Config) checkTrain() error {
	t, o := &c.Train, &c.Optim
	if err := t.Recipe.Check(o); err != nil {
		return err
	}
	if t.NumEncodedTokens < 1 {
		return fmt.Errorf("train.num_encoded_tokens: got %d, want at least 1", t.NumEncodedTokens)
	}
	nh, nw := c.Grid(c.ImageSize, c.ImageSize)
	if n := len(c.Inputs) * nh * nw; t.NumEncodedTokens > n {
		return fmt.Errorf("train.num_encoded_tokens: got %d, but the inputs have only %d patches", t.NumEncodedTokens, n)
	}
	if err := checkAlphas(t.Alphas, len(c.Inputs)); err != nil {
		return fmt.Errorf("train.%w", err)
	}
	if t.Weighting != "" && t.Weighting != "uncertainty" {
		return fmt.Errorf("train.weighting: got %q, want \"\" or \"uncertainty\"", t.Weighting)
	}
	return nil
}

// Check returns an error that names the first key whose value cannot be used to train; o is the
// optimiser.
func (t *Recipe) Check(o *Optim) error {
	n := func(key string, v, least int) number {
		return number{key, float64(v), v >= least, fmt.Sprintf("at least %d", least)}
	}
	if err := firstWrong([]number{
		{"optim.lr", o.LR, o.LR > 0, "more than 0"},
		{"optim.eps", o.Eps, float32(o.Eps) > 0 && o.Eps <= math.MaxFloat32, "more than 0 as a float32, such as 1e-8"},
		n("train.steps", t.Steps, 1), n("train.batch", t.Batch, 1), n("train.log_every", t.LogEvery, 1),
		n("train.warmup_steps", t.WarmupSteps, 0), n("train.val_every", t.ValEvery, 0), n("train.save_every", t.SaveEvery, 0),
		{"train.clip_grad", t.ClipGrad, t.ClipGrad >= 0, "0 or more"},
		{"train.skip_grad", t.SkipGrad, t.SkipGrad >= 0, "0 or more"},
	}); err != nil {
		return err
	}
	if s := t.CropScale; len(s) != 0 && (len(s) != 2 || !(s[0] > 0 && s[0] <= s[1] && s[1] <= 1)) {
		return fmt.Errorf("train.crop_scale: got %v, want two ascending shares of the area, such as [0.2, 1]", s)
	}
	if r := t.CropRatio; len(r) != 0 && (len(r) != 2 || !(r[0] > 0 && r[0] <= r[1] && r[1] <= math.MaxFloat64)) {
		return fmt.Errorf("train.crop_ratio: got %v, want two ascending aspect ratios, such as [0.75, 1.3333]", r)
	}
	if r := t.CropRatio; len(r) > 0 && len(t.CropScale) == 0 {
		return fmt.Errorf("train.crop_ratio: got %v, but without train.crop_scale there is no crop; set that, such as [0.2, 1], or leave this out", r)
	}
	return nil
}

// number is a value of a configuration that is right or wrong.
type number struct {
	key   string
	value float64
	right bool
	want  string
}

// firstWrong returns an error about the first number that is wrong, as infinities always are.
func firstWrong(numbers []number) error {
	for _, n := range numbers {
		if !n.right || math.IsInf(n.value, 0) {
			return fmt.Errorf("%s: got %v, want a finite number, %s", n.key, n.value, n.want)
		}
	}
	return nil
}
