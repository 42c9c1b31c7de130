package multimae

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/vit"
)

const modelName = "multimae" // Config.Model

// Config is the content of a model folder's config.json: the model and, where it was trained by
// package train, how. Dumps of package parity have the same schema.
type Config struct {
	BackboneConfig
	Outputs Outputs `json:"outputs"`
	Optim   Optim   `json:"optim,omitzero"`
	Train   Train   `json:"train,omitzero"`
	// Case is for dumps only; package parity reads it.
	Case json.RawMessage `json:"case,omitempty"`
}

// BackboneConfig describes a Backbone: what pre-training and fine-tuning have in common.
type BackboneConfig struct {
	Model           string     `json:"model"` // "multimae", or "multivit" for package heads
	Encoder         vit.Config `json:"encoder"`
	ImageSize       int        `json:"image_size"` // default side in pixels; other sizes resize the position tables
	PatchSize       int        `json:"patch_size"` // pixels at full resolution
	NumGlobalTokens int        `json:"num_global_tokens"`
	// PositionGrid are the rows and columns of the stored position tables, where these are not of a
	// square image of ImageSize.
	PositionGrid []int  `json:"position_grid,omitempty"`
	Inputs       Inputs `json:"inputs"`
}

// The kinds of modality.
const (
	KindImage   = "image"   // float channels, such as RGB or depth
	KindClasses = "classes" // class ids, such as a semantic map
)

// Class ids that are no class: no loss looks at such a pixel, and its class embedding is zero.
const (
	IDPadding = 254 // padding of an image
	IDIgnored = 255 // a pixel without a label
)

// Input is one input modality.
type Input struct {
	Name        string `json:"-"`
	Kind        string `json:"kind"`                    // KindImage or KindClasses
	Channels    int    `json:"channels,omitempty"`      // of KindImage
	NumClasses  int    `json:"num_classes,omitempty"`   // of KindClasses: ids are 0..NumClasses−1
	Stride      int    `json:"stride"`                  // the map is H/Stride × W/Stride
	ClassEmbDim int    `json:"class_emb_dim,omitempty"` // of KindClasses: width of the class embedding
	// ClassEmbStd is the standard deviation that the class embedding begins with; 0 means the paper's
	// 0.02. Tokens of so small values nearly vanish beside their positions until they have grown.
	ClassEmbStd float64 `json:"class_emb_std,omitempty"`
	// Normalize is how pixels of KindImage are normalised: NormalizeImageNet, NormalizeStandardize
	// or NormalizeNone. Normalization says what "" means.
	Normalize string `json:"normalize,omitempty"`
	// Invalid are the stored values that mark a pixel without a measurement, of KindImage with one
	// channel: 0 and 65535 for many depth cameras. See Batch.Valid. Of KindClasses they are ids that
	// are no class, and are read as IDIgnored.
	Invalid []float64 `json:"invalid,omitempty"`
	// HasUnit says that pixels of KindImage with one channel are measurements in a unit, as truth is
	// that package heads reads.
	HasUnit bool `json:"-"`
}

// How pixels are normalised for a model, and its predictions.
const (
	NormalizeImageNet    = "imagenet"    // by ImageNet's mean and deviation of colour: see images.NormalizeRGB
	NormalizeStandardize = "standardize" // each sample by its own robust mean and deviation: see images.Standardize
	NormalizeNone        = "none"
	NormalizePatches     = "patches" // predictions of LossNormMSE only: each patch by its own mean and deviation
)

// Normalization returns Normalize, or where that is empty NormalizeImageNet for three channels and
// NormalizeStandardize for any other number.
func (in *Input) Normalization() string {
	switch {
	case in.Normalize != "":
		return in.Normalize
	case in.Channels == 3:
		return NormalizeImageNet
	}
	return NormalizeStandardize
}

// Needs16Bits reports whether an image of 8 bits is refused, which would quantise depth too coarsely
// and says nothing about its unit: for one channel that is standardised or HasUnit.
func (in *Input) Needs16Bits() bool {
	return in.Kind == KindImage && in.Channels == 1 && (in.HasUnit || in.Normalization() == NormalizeStandardize)
}

// Output is one predicted task with its decoder.
type Output struct {
	Name     string `json:"-"`
	Channels int    `json:"channels"` // predicted channels; classes for LossCrossEntropy
	Stride   int    `json:"stride"`   // the prediction is H/Stride × W/Stride
	Task     string `json:"task"`     // the input modality that this output reconstructs
	Loss     string `json:"loss"`     // LossMSE, LossL1, LossNormMSE or LossCrossEntropy
	Dim      int    `json:"dim"`      // decoder width d
	Depth    int    `json:"depth"`    // self-attention blocks after the cross-attention
	Heads    int    `json:"heads"`    // attention heads of the decoder
	// UseTaskQueries says whether the decoder's queries are the tokens of its own task, where that
	// is an input, rather than mask tokens.
	UseTaskQueries bool    `json:"use_task_queries"`
	LabelSmoothing float64 `json:"label_smoothing,omitempty"` // LossCrossEntropy only
	LossOnUnmasked bool    `json:"loss_on_unmasked,omitempty"`
	// LossWeight is what the loss is multiplied by in the sum that is trained; 0 means 1. Validations
	// and the figures of each output do not count it.
	LossWeight float64 `json:"loss_weight,omitempty"`
}

// The losses of an Output.
const (
	LossMSE          = "mse"
	LossL1           = "l1"
	LossNormMSE      = "norm_mse" // MSE against patches that are each standardised: He et al. (2022)
	LossCrossEntropy = "cross_entropy"
)

// Optim configures AdamW (Loshchilov and Hutter, 2019).
type Optim struct {
	LR          float64    `json:"lr"`
	Betas       [2]float64 `json:"betas"`
	Eps         float64    `json:"eps"`
	WeightDecay float64    `json:"weight_decay"`
}

// Recipe is what every run of package train needs, whatever it trains.
type Recipe struct {
	Steps       int    `json:"steps"`
	WarmupSteps int    `json:"warmup_steps"`
	Batch       int    `json:"batch"`
	Seed        uint64 `json:"seed"`
	Data        string `json:"data,omitempty"` // dataset folder, or "scenes"
	From        string `json:"from,omitempty"` // the weights that the run began with
	// ClipGrad is the largest norm of the gradient of the model's parameters; 0 means no limit. Learned
	// weights of losses do not count in the norm, but are scaled by the same factor.
	ClipGrad float64 `json:"clip_grad,omitempty"`
	SkipGrad float64 `json:"skip_grad,omitempty"` // skip the update above this norm; 0 means never
	// CropScale and CropRatio are the ranges of the random resized crop's share of the area and of
	// its aspect ratio, which all modalities share; empty means no crop.
	CropScale []float64 `json:"crop_scale,omitempty"`
	CropRatio []float64 `json:"crop_ratio,omitempty"`
	Flip      bool      `json:"flip,omitempty"` // random horizontal flip
	ValEvery  int       `json:"val_every"`      // steps between validations; 0 means at the end only
	SaveEvery int       `json:"save_every"`     // steps between checkpoints; 0 means at the end only
	LogEvery  int       `json:"log_every"`
}

// Train is what pre-training needs beside the model.
type Train struct {
	Recipe
	NumEncodedTokens int    `json:"num_encoded_tokens"`
	Alphas           Alphas `json:"alphas"`                  // Dirichlet concentration: one number, or one for each input
	UniformTasks     bool   `json:"uniform_tasks,omitempty"` // see MaskOptions
	Weighting        string `json:"weighting,omitempty"`     // of the losses: "" (sum) or "uncertainty" (see Balancer)
}

// Inputs is a JSON object of modalities whose order is the order of tokens.
type Inputs []Input

// Outputs is a JSON object whose order is the order of predictions.
type Outputs []Output

// Alphas is a JSON number or an array of numbers.
type Alphas []float64

// UnmarshalJSON reads a number or an array.
func (a *Alphas) UnmarshalJSON(b []byte) error {
	var one float64
	if json.Unmarshal(b, &one) == nil {
		*a = Alphas{one}
		return nil
	}
	return json.Unmarshal(b, (*[]float64)(a))
}

// MarshalJSON writes a single value as a number.
func (a Alphas) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]float64(a))
}

// UnmarshalJSON reads an object in its order.
func (in *Inputs) UnmarshalJSON(b []byte) (err error) {
	*in, err = strictjson.List(b, func(x *Input) *string { return &x.Name })
	return err
}

// MarshalJSON writes an object in order.
func (in Inputs) MarshalJSON() ([]byte, error) {
	return strictjson.MarshalList(in, func(x *Input) *string { return &x.Name })
}

// LossWeights returns those of the outputs, as Total takes them.
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

// JSON returns the indented content of a config.json.
func (c *Config) JSON() []byte { return modelfolder.FormatConfig(c) }

// Names returns the names of the modalities in order.
func (in Inputs) Names() []string {
	names := make([]string, len(in))
	for i := range in {
		names[i] = in[i].Name
	}
	return names
}

// Input returns the input modality of that name, or nil.
func (c *BackboneConfig) Input(name string) *Input {
	for i := range c.Inputs {
		if c.Inputs[i].Name == name {
			return &c.Inputs[i]
		}
	}
	return nil
}

// Select leaves only the inputs of these names and the outputs of their tasks. As before, the encoder
// sees the same share of all tokens. The error is about a name that is no input.
func (c *Config) Select(names []string) error {
	for _, name := range names {
		if c.Input(name) == nil {
			return fmt.Errorf("inputs: %q is not one of %s", name, strings.Join(c.Inputs.Names(), ", "))
		}
	}
	var inputs Inputs
	var alphas Alphas
	for i, in := range c.Inputs {
		if slices.Contains(names, in.Name) {
			inputs = append(inputs, in)
			if len(c.Train.Alphas) == len(c.Inputs) {
				alphas = append(alphas, c.Train.Alphas[i])
			}
		}
	}
	if len(c.Train.Alphas) == len(c.Inputs) && len(alphas) > 0 {
		c.Train.Alphas = alphas
	}
	if n := c.Train.NumEncodedTokens; n > 0 {
		c.Train.NumEncodedTokens = max(1, (n*len(inputs)+len(c.Inputs)/2)/len(c.Inputs))
	}
	c.Inputs = inputs
	c.Outputs = slices.DeleteFunc(slices.Clone(c.Outputs), func(o Output) bool { return !slices.Contains(names, o.Task) })
	return nil
}

// Grid returns the patches along height and width of an h×w image.
func (c *BackboneConfig) Grid(h, w int) (nh, nw int) { return h / c.PatchSize, w / c.PatchSize }

// positionGrid returns the rows and columns of the stored position tables.
func (c *BackboneConfig) positionGrid() (h, w int) {
	if len(c.PositionGrid) == 2 {
		return c.PositionGrid[0], c.PositionGrid[1]
	}
	return c.Grid(c.ImageSize, c.ImageSize)
}

// VisibleTokens returns how many patches of images of the configured size a sample shows in training:
// where there is no recipe for that a sixth, as in the paper.
func (c *Config) VisibleTokens() int {
	nh, nw := c.Grid(c.ImageSize, c.ImageSize)
	all := len(c.Inputs) * nh * nw
	if n := c.Train.NumEncodedTokens; n > 0 {
		return min(n, all)
	}
	return max(1, all/6)
}

// MaskOptions says how masks are drawn in training for these inputs, a subset of the
// configuration's.
func (c *Config) MaskOptions(inputs []string) MaskOptions {
	o := MaskOptions{Visible: c.Train.NumEncodedTokens, Alphas: c.Train.Alphas, UniformTasks: c.Train.UniformTasks}
	switch len(o.Alphas) {
	case 0:
		o.Alphas = []float64{1}
	case len(c.Inputs):
		o.Alphas = nil
		for i, a := range c.Train.Alphas {
			if slices.Contains(inputs, c.Inputs[i].Name) {
				o.Alphas = append(o.Alphas, a)
			}
		}
	}
	return o
}
