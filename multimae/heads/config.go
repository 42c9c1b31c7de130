package heads

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"slices"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/vit"
)

const modelName = "multivit" // Config.Model

// Config is the content of the config.json of a model of this package.
type Config struct {
	multimae.BackboneConfig                // Model is "multivit"
	Outputs                 Outputs        `json:"outputs"`
	Optim                   multimae.Optim `json:"optim,omitzero"`
	Train                   Train          `json:"train,omitzero"`
	// Case is for dumps only; package parity reads it.
	Case json.RawMessage `json:"case,omitempty"`
}

// The heads.
const (
	Linear    = "linear"    // class of an image, from pooled tokens
	ConvNeXt  = "convnext"  // Liu et al., "A ConvNet for the 2020s" (2022), on tokens unfolded to pixels
	Segmenter = "segmenter" // Strudel et al., "Segmenter: Transformer for Semantic Segmentation" (2021)
	DPT       = "dpt"       // Ranftl et al., "Vision Transformers for Dense Prediction" (2021)
)

// Train is what fine-tuning needs beside the model.
type Train struct {
	multimae.Recipe
	Samples int `json:"samples,omitempty"` // to train on, spread over the data; 0 means all
	// LayerDecay multiplies the learning rate of a layer by this once for each layer above it, as
	// in Bao et al., "BEiT" (2021); 0 means no decay.
	LayerDecay float64 `json:"layer_decay,omitempty"`
	Freeze     bool    `json:"freeze,omitempty"` // train the heads alone: see Config.FreezeEncoder
	// EMA, if above 0, validates and saves a running average of the weights, of which a step keeps
	// this share.
	EMA float64 `json:"ema,omitempty"`
	// Scale is the range by which images are enlarged before a square of the model's size is cut
	// out and what is missing is padded: large-scale jitter, Ghiasi et al. (2021). It excludes
	// CropScale.
	Scale []float64 `json:"scale,omitempty"`
	// ColorJitter is the strength of random brightness, contrast and saturation of the inputs that are
	// multimae.NormalizeImageNet, such as rgb by default. Without one it does nothing.
	ColorJitter float64 `json:"color_jitter,omitempty"`
	// Mixup and CutMix are the α of two ways to blend pairs of images and their classes: Zhang et
	// al. (2018), Yun et al. (2019). Where both are set, each is drawn half of the time.
	Mixup  float64 `json:"mixup,omitempty"`
	CutMix float64 `json:"cutmix,omitempty"`
}

// ClassTarget is the Target of Linear heads: the folder CLASS of a sample.
const ClassTarget = "class"

// The losses of an Output.
const (
	LossCrossEntropy = "cross_entropy"
	LossL1           = "l1"
	LossBerHu        = "berhu" // reverse Huber: Laina et al., "Deeper Depth Prediction with Fully Convolutional Residual Networks" (2016)
)

// Output is a task with its head.
type Output struct {
	Name       string `json:"-"`
	Head       string `json:"head"`        // Linear, ConvNeXt, Segmenter or DPT
	NumClasses int    `json:"num_classes"` // classes, or channels of a regression
	// MainTasks are the inputs whose tokens the head sees, side by side on the channel axis. Linear
	// sees all tokens.
	MainTasks []string `json:"main_tasks,omitempty"`
	Loss      string   `json:"loss"` // LossCrossEntropy, LossL1 or LossBerHu

	// Target is the modality of a dataset that holds the truth, "" that of the output's name. For
	// Linear it is ClassTarget.
	Target  string   `json:"target,omitempty"`
	Classes []string `json:"classes,omitempty"` // names of the classes
	// Unit, of a regression of one channel, is what a stored value of 1 stands for, such as 0.001 for
	// depth in metres stored in millimetres. 0 means that truth is relative: each image of one channel is
	// standardised as an input is, and others are taken as they are, in 0..1.
	Unit float64 `json:"unit,omitempty"`
	// Invalid are the stored values that mark a pixel without truth: of a regression of one channel
	// such as 0 and 65535 of a depth camera, of a map of classes the ids to ignore beside
	// multimae.IDIgnored.
	Invalid        []float64 `json:"invalid,omitempty"`
	LabelSmoothing float64   `json:"label_smoothing,omitempty"` // of LossCrossEntropy
	LossWeight     float64   `json:"loss_weight,omitempty"`     // as that of multimae.Output

	// MeanPooling, of Linear, takes the mean of all tokens rather than the last token.
	MeanPooling bool `json:"mean_pooling,omitempty"`
	// EmbedDim and Depth, of ConvNeXt and Segmenter, are the width E of a token and the blocks.
	EmbedDim int `json:"embed_dim,omitempty"`
	Depth    int `json:"depth,omitempty"`
	// PredsPerPatch, of ConvNeXt, is the number of pixels that a token unfolds to, a square number.
	PredsPerPatch int `json:"preds_per_patch,omitempty"`
	Heads         int `json:"heads,omitempty"` // of Segmenter: attention heads
	// Hooks, of DPT, are the four blocks whose outputs it sees; LayerDims are the widths of the
	// maps made of them, and FeatureDim is the width of their fusion.
	Hooks      []int  `json:"hooks,omitempty"`
	LayerDims  []int  `json:"layer_dims,omitempty"`
	FeatureDim int    `json:"feature_dim,omitempty"`
	HeadType   string `json:"head_type,omitempty"` // of DPT: HeadRegression or HeadSemseg
}

// The last layers of a DPT head.
const (
	HeadRegression = "regression"
	HeadSemseg     = "semseg"
)

// Outputs is a JSON object whose order is the order of predictions.
type Outputs []Output

// LossWeights returns those of the outputs, as multimae.Total takes them.
func (out Outputs) LossWeights() []float64 {
	weights := make([]float64, len(out))
	for i := range out {
		weights[i] = out[i].LossWeight
	}
	return weights
}

// UnmarshalJSON reads an object in its order.
func (out *Outputs) UnmarshalJSON(b []byte) (err error) {
	*out, err = strictjson.List(b, func(x *Output) *string { return &x.Name })
	return err
}

// MarshalJSON writes an object in order.
func (out Outputs) MarshalJSON() ([]byte, error) {
	return strictjson.MarshalList(out, func(x *Output) *string { return &x.Name })
}

// LoadConfig reads and checks a config.json. Its errors name the file, the key and, for an unknown
// key, the nearest known one.
func LoadConfig(fsys fs.FS, name string) (*Config, error) {
	return modelfolder.LoadConfig[Config](fsys, name, modelName)
}

// ParseConfig is LoadConfig for bytes in memory.
func ParseConfig(b []byte) (*Config, error) {
	return modelfolder.ParseConfig[Config](b, modelName)
}

// FreezeEncoder makes the configuration one that trains the heads alone. Drop-path is for blocks that
// learn: it would only blur what the heads see.
func (c *Config) FreezeEncoder() {
	c.Train.Freeze = true
	c.Encoder.DropPath = 0
}

// JSON returns the indented content of a config.json.
func (c *Config) JSON() []byte { return modelfolder.FormatConfig(c) }

const (
	maxClasses = 1 << 16
	maxWidth   = 1 << 16
	maxDepth   = 1024
)

// Check returns an error that names the first key whose value cannot be used.
func (c *Config) Check() error {
	if err := strictjson.CheckModel(c.Model, modelName); err != nil {
		return err
	}
	if err := c.BackboneConfig.Check(); err != nil {
		return err
	}
	if err := c.Optim.Check(); err != nil {
		return fmt.Errorf("optim.%w", err)
	}
	if err := c.checkTrain(); err != nil {
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
	return nil
}

func (c *Config) checkOutput(o *Output) error {
	if o.NumClasses < 1 || o.NumClasses > maxClasses {
		return fmt.Errorf("num_classes: got %d, want 1..%d", o.NumClasses, maxClasses)
	}
	switch o.Loss {
	case LossCrossEntropy:
		if o.Head != Linear && o.NumClasses > multimae.IDPadding {
			return fmt.Errorf("num_classes: got %d, want 1..%d for a map (ids %d and %d mark padding and ignored pixels)",
				o.NumClasses, multimae.IDPadding, multimae.IDPadding, multimae.IDIgnored)
		}
	case LossL1, LossBerHu:
		if o.Head == Linear {
			return fmt.Errorf("loss: got %q, want %q for the head %q", o.Loss, LossCrossEntropy, o.Head)
		}
	default:
		return fmt.Errorf("loss: got %q, want %q, %q or %q", o.Loss, LossCrossEntropy, LossL1, LossBerHu)
	}
	if err := c.checkTarget(o); err != nil {
		return err
	}
	// Keys of another head are refused, because they would have no effect.
	var used []string
	switch o.Head {
	case Linear:
		used = []string{"mean_pooling"}
	case ConvNeXt:
		used = []string{"main_tasks", "embed_dim", "depth", "preds_per_patch"}
	case Segmenter:
		used = []string{"main_tasks", "embed_dim", "depth", "heads"}
	case DPT:
		used = []string{"main_tasks", "hooks", "layer_dims", "feature_dim", "head_type"}
	default:
		return fmt.Errorf("head: got %q, want %q, %q, %q or %q", o.Head, Linear, ConvNeXt, Segmenter, DPT)
	}
	for _, f := range []struct {
		key string
		set bool
	}{
		{"mean_pooling", o.MeanPooling}, {"main_tasks", len(o.MainTasks) > 0}, {"embed_dim", o.EmbedDim != 0},
		{"depth", o.Depth != 0}, {"preds_per_patch", o.PredsPerPatch != 0}, {"heads", o.Heads != 0},
		{"hooks", len(o.Hooks) > 0}, {"layer_dims", len(o.LayerDims) > 0}, {"feature_dim", o.FeatureDim != 0},
		{"head_type", o.HeadType != ""},
	} {
		if f.set && !slices.Contains(used, f.key) {
			return fmt.Errorf("%s: not used by the head %q; remove it", f.key, o.Head)
		}
	}
	if o.Head == Linear {
		return nil
	}
	if len(o.MainTasks) == 0 {
		return fmt.Errorf("main_tasks: got none, want the inputs whose tokens the head sees")
	}
	for i, task := range o.MainTasks {
		if c.Input(task) == nil {
			return fmt.Errorf("main_tasks: %q is not an input%s", task, strictjson.Hint(task, c.Inputs.Names()))
		}
		if slices.Contains(o.MainTasks[:i], task) {
			return fmt.Errorf("main_tasks: %q is listed twice", task)
		}
	}
	switch o.Head {
	case ConvNeXt:
		q := o.PredsPerPatch
		if q < 1 || q > maxWidth || o.side()*o.side() != q {
			return fmt.Errorf("preds_per_patch: got %d, want a square number such as 16", q)
		}
		if o.EmbedDim < 1 || o.EmbedDim > maxWidth || o.EmbedDim%q != 0 {
			return fmt.Errorf("embed_dim: got %d, want 1..%d, a multiple of preds_per_patch %d", o.EmbedDim, maxWidth, q)
		}
		if o.Depth < 0 || o.Depth > maxDepth {
			return fmt.Errorf("depth: got %d, want 0..%d", o.Depth, maxDepth)
		}
	case Segmenter:
		b := c.segmenterBlocks(o)
		if err := b.Check(); err != nil {
			if o.EmbedDim < 1 || o.EmbedDim > maxWidth {
				return fmt.Errorf("embed_dim: got %d, want 1..%d", o.EmbedDim, maxWidth)
			}
			return err
		}
	case DPT:
		return c.checkDPT(o)
	}
	return nil
}

func (c *Config) checkDPT(o *Output) error {
	if c.PatchSize != 16 {
		return fmt.Errorf("head: %q makes maps of 16×16 pixels for each patch, so patch_size must be 16 and is %d; take another head, such as %q", DPT, c.PatchSize, ConvNeXt)
	}
	if n := c.ImageSize / c.PatchSize; n%2 != 0 {
		return fmt.Errorf("head: %q needs an even number of patches along a side, and image_size %d makes %d; take %d",
			DPT, c.ImageSize, n, (n+1)*c.PatchSize)
	}
	if len(o.Hooks) != 4 || len(o.LayerDims) != 4 {
		return fmt.Errorf("hooks, layer_dims: got %d and %d numbers, want 4 each", len(o.Hooks), len(o.LayerDims))
	}
	for i, b := range o.Hooks {
		if b < 0 || b >= c.Encoder.Depth || i > 0 && b <= o.Hooks[i-1] {
			return fmt.Errorf("hooks: got %v, want ascending numbers of the %d blocks, from 0", o.Hooks, c.Encoder.Depth)
		}
	}
	for _, d := range append(slices.Clone(o.LayerDims), o.FeatureDim) {
		if d < 1 || d > maxWidth {
			return fmt.Errorf("layer_dims, feature_dim: got %d, want 1..%d", d, maxWidth)
		}
	}
	switch o.HeadType {
	case HeadRegression:
		if o.FeatureDim%2 != 0 {
			return fmt.Errorf("feature_dim: got %d, want an even number for a regression", o.FeatureDim)
		}
	case HeadSemseg:
	default:
		return fmt.Errorf("head_type: got %q, want %q or %q", o.HeadType, HeadRegression, HeadSemseg)
	}
	return nil
}

// segmenterBlocks returns the configuration of the blocks of a Segmenter head.
func (c *Config) segmenterBlocks(o *Output) vit.Config {
	blocks := c.Encoder
	blocks.Dim, blocks.Depth, blocks.Heads, blocks.DropPath = o.EmbedDim, o.Depth, o.Heads, 0
	return blocks
}

// side returns the root of PredsPerPatch: the pixels along a side of the square that a token
// unfolds to.
func (o *Output) side() int { return int(math.Sqrt(float64(o.PredsPerPatch))) }
