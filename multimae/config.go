package multimae

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/vit"
)

// Config is the content of a model folder's config.json: the model and, where
// it was trained here, how. The same schema describes parity dumps.
type Config struct {
	BackboneConfig
	Outputs Outputs `json:"outputs"`
	Optim   Optim   `json:"optim,omitzero"`
	Train   Train   `json:"train,omitzero"`
	// Case is present in parity dumps only; package parity reads it.
	Case json.RawMessage `json:"case,omitempty"`
}

// BackboneConfig describes a Backbone: what pre-training and fine-tuning have
// in common.
type BackboneConfig struct {
	Model           string     `json:"model"` // "multimae", or "multivit" with the heads of package heads
	Encoder         vit.Config `json:"encoder"`
	ImageSize       int        `json:"image_size"` // default side in pixels; other sizes resize the position tables
	PatchSize       int        `json:"patch_size"` // pixels at full resolution
	NumGlobalTokens int        `json:"num_global_tokens"`
	Inputs          Inputs     `json:"inputs"`
}

// The kinds of modality.
const (
	KindImage   = "image"   // float channels, e.g. RGB or depth
	KindClasses = "classes" // class ids, e.g. a semantic map
)

// Input is one input modality.
type Input struct {
	Name        string `json:"-"`
	Kind        string `json:"kind"`                    // KindImage or KindClasses
	Channels    int    `json:"channels,omitempty"`      // KindImage: channels C
	NumClasses  int    `json:"num_classes,omitempty"`   // KindClasses: ids are 0..NumClasses−1
	Stride      int    `json:"stride"`                  // the map is H/Stride × W/Stride
	ClassEmbDim int    `json:"class_emb_dim,omitempty"` // KindClasses: width of the class embedding
	// Normalize says how pixels of an image kind reach the model: "imagenet"
	// (mean and deviation of three-channel colour), "standardize" (robust, per
	// sample: see images.Standardize) or "none". See Normalization for "".
	Normalize string `json:"normalize,omitempty"`
}

// Normalization is Normalize, or where that is empty "imagenet" for three
// channels and "standardize" for any other number.
func (in *Input) Normalization() string {
	switch {
	case in.Normalize != "":
		return in.Normalize
	case in.Channels == 3:
		return "imagenet"
	}
	return "standardize"
}

// Output is one predicted task with its decoder.
type Output struct {
	Name     string `json:"-"`
	Channels int    `json:"channels"` // predicted channels; classes for cross_entropy
	Stride   int    `json:"stride"`   // the prediction is H/Stride × W/Stride
	Task     string `json:"task"`     // the input modality that this output reconstructs
	Loss     string `json:"loss"`     // LossMSE, LossL1, LossNormMSE or LossCrossEntropy
	Dim      int    `json:"dim"`      // decoder width d
	Depth    int    `json:"depth"`    // self-attention blocks after the cross-attention
	Heads    int    `json:"heads"`
	// UseTaskQueries: queries are the task's own tokens where it is an input.
	UseTaskQueries bool    `json:"use_task_queries"`
	LabelSmoothing float64 `json:"label_smoothing,omitempty"` // cross_entropy only
	LossOnUnmasked bool    `json:"loss_on_unmasked,omitempty"`
}

// The losses of an Output.
const (
	LossMSE          = "mse"
	LossL1           = "l1"
	LossNormMSE      = "norm_mse" // MSE against per-patch standardised pixels
	LossCrossEntropy = "cross_entropy"
)

// Optim configures AdamW (Loshchilov and Hutter, 2019).
type Optim struct {
	LR          float64    `json:"lr"`
	Betas       [2]float64 `json:"betas"`
	Eps         float64    `json:"eps"`
	WeightDecay float64    `json:"weight_decay"`
}

// Train is what pre-training needs beside the model.
type Train struct {
	Steps            int     `json:"steps"`
	WarmupSteps      int     `json:"warmup_steps"`
	Batch            int     `json:"batch"`
	Seed             uint64  `json:"seed"`
	Data             string  `json:"data,omitempty"` // dataset folder, or "scenes"
	NumEncodedTokens int     `json:"num_encoded_tokens"`
	Alphas           Alphas  `json:"alphas"` // Dirichlet concentration: one number, or one for each input
	UniformTasks     bool    `json:"uniform_tasks,omitempty"`
	ClipGrad         float64 `json:"clip_grad,omitempty"` // largest global gradient norm; 0 = off
	SkipGrad         float64 `json:"skip_grad,omitempty"` // skip the update above this norm; 0 = off
	Weighting        string  `json:"weighting,omitempty"` // "" (sum) or "uncertainty" (Kendall et al., 2018)
	// CropScale and CropRatio are the random resized crop's area share and
	// aspect range, shared by all modalities; empty means no crop.
	CropScale []float64 `json:"crop_scale,omitempty"`
	CropRatio []float64 `json:"crop_ratio,omitempty"`
	Flip      bool      `json:"flip,omitempty"` // random horizontal flip
	ValEvery  int       `json:"val_every"`      // steps between validations; 0 = at the end only
	SaveEvery int       `json:"save_every"`     // steps between checkpoints; 0 = at the end only
	LogEvery  int       `json:"log_every"`
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
	return strictjson.MarshalObject(len(in), func(i int) (string, any) { return in[i].Name, in[i] })
}

// UnmarshalJSON reads an object in its order.
func (out *Outputs) UnmarshalJSON(b []byte) (err error) {
	*out, err = strictjson.List(b, func(x *Output) *string { return &x.Name })
	return err
}

// MarshalJSON writes an object in order.
func (out Outputs) MarshalJSON() ([]byte, error) {
	return strictjson.MarshalObject(len(out), func(i int) (string, any) { return out[i].Name, out[i] })
}

// LoadConfig reads and checks a config.json. Its errors name the file, the key
// and, for an unknown key, the nearest known one.
func LoadConfig(fsys fs.FS, name string) (*Config, error) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// ParseConfig is LoadConfig for bytes in memory.
func ParseConfig(b []byte) (*Config, error) {
	c := new(Config)
	if err := strictjson.Unmarshal(b, model, c); err != nil {
		return nil, err
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	return c, nil
}

// JSON is the indented content of a config.json.
func (c *Config) JSON() []byte {
	b, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		panic("multimae: config does not marshal: " + err.Error()) // only NaN and Inf do this, which Check refuses
	}
	return append(b, '\n')
}

// Nearest returns the candidate with the smallest edit distance to word, or ""
// where there is none: for error messages.
func Nearest(word string, candidates []string) string { return strictjson.Nearest(word, candidates) }

// Input returns the input modality of that name, or nil.
func (c *BackboneConfig) Input(name string) *Input {
	for i := range c.Inputs {
		if c.Inputs[i].Name == name {
			return &c.Inputs[i]
		}
	}
	return nil
}

// Grid returns the patches along height and width of an h×w image.
func (c *BackboneConfig) Grid(h, w int) (nh, nw int) { return h / c.PatchSize, w / c.PatchSize }

// CheckImageSize returns an error unless an image of h×w pixels splits into
// whole patches.
func (c *BackboneConfig) CheckImageSize(h, w int) error {
	if h < c.PatchSize || w < c.PatchSize || h%c.PatchSize != 0 || w%c.PatchSize != 0 {
		return fmt.Errorf("image_size: %d×%d is not divisible by patch_size %d; use a multiple such as %d", h, w, c.PatchSize,
			max(1, min(h, w)/c.PatchSize)*c.PatchSize)
	}
	return nil
}

// Check returns an error that names the first key that cannot be used.
func (c *Config) Check() error {
	if c.Model != model {
		return strictjson.ErrModel(c.Model, model)
	}
	if err := c.BackboneConfig.Check(); err != nil {
		return err
	}
	if n := len(c.Outputs); n == 0 || n > maxModalities {
		return fmt.Errorf("outputs: got %d, want 1..%d", n, maxModalities)
	}
	for i := range c.Outputs {
		name := c.Outputs[i].Name
		if slices.ContainsFunc(c.Outputs[:i], func(o Output) bool { return o.Name == name }) {
			return fmt.Errorf("outputs: %q stands twice", name)
		}
		if err := c.checkOutput(&c.Outputs[i]); err != nil {
			return fmt.Errorf("outputs.%s.%w", c.Outputs[i].Name, err)
		}
	}
	return c.checkTrain()
}

const (
	model         = "multimae" // Config.Model
	maxModalities = 256
)

// Check returns an error that names the first key that cannot be used. It
// leaves Model to what the backbone is part of.
func (c *BackboneConfig) Check() error {
	if err := c.Encoder.Check(); err != nil {
		return fmt.Errorf("encoder.%w", err)
	}
	if c.Encoder.Dim%4 != 0 {
		return fmt.Errorf("encoder.dim: got %d, want a multiple of 4 (sine–cosine position table)", c.Encoder.Dim)
	}
	const maxPatch, maxSize = 1 << 10, 1 << 14
	if c.PatchSize < 1 || c.PatchSize > maxPatch {
		return fmt.Errorf("patch_size: got %d, want 1..%d", c.PatchSize, maxPatch)
	}
	if c.ImageSize > maxSize {
		return fmt.Errorf("image_size: got %d, want at most %d", c.ImageSize, maxSize)
	}
	if err := c.CheckImageSize(c.ImageSize, c.ImageSize); err != nil {
		return err
	}
	if c.NumGlobalTokens < 0 || c.NumGlobalTokens > 1024 {
		return fmt.Errorf("num_global_tokens: got %d, want 0..1024", c.NumGlobalTokens)
	}
	if n := len(c.Inputs); n == 0 || n > maxModalities {
		return fmt.Errorf("inputs: got %d, want 1..%d", n, maxModalities)
	}
	for i := range c.Inputs {
		if c.Input(c.Inputs[i].Name) != &c.Inputs[i] {
			return fmt.Errorf("inputs: %q stands twice", c.Inputs[i].Name)
		}
		if err := c.checkInput(&c.Inputs[i]); err != nil {
			return fmt.Errorf("inputs.%s.%w", c.Inputs[i].Name, err)
		}
	}
	return nil
}

// CheckName refuses a modality or output whose name would spoil the keys of a
// checkpoint.
func CheckName(name string) error {
	if name == "" || strings.ContainsAny(name, "./\\ ") {
		return fmt.Errorf("name: %q must be a non-empty word without dots, slashes or spaces: it becomes part of checkpoint keys", name)
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
	if err := CheckName(m.Name); err != nil {
		return err
	}
	if err := c.checkStride(m.Stride); err != nil {
		return err
	}
	switch m.Kind {
	case KindImage:
		if m.Channels < 1 || m.Channels > maxChannels {
			return fmt.Errorf("channels: got %d, want 1..%d", m.Channels, maxChannels)
		}
		if m.NumClasses != 0 || m.ClassEmbDim != 0 {
			return fmt.Errorf("num_classes, class_emb_dim: not used by kind %q; remove them", m.Kind)
		}
	case KindClasses:
		if m.NumClasses < 1 || m.NumClasses > 254 {
			return fmt.Errorf("num_classes: got %d, want 1..254 (254 and 255 mark padding and ignored pixels)", m.NumClasses)
		}
		if m.ClassEmbDim < 1 || m.ClassEmbDim > maxChannels {
			return fmt.Errorf("class_emb_dim: got %d, want 1..%d (64 in the paper)", m.ClassEmbDim, maxChannels)
		}
		if m.Channels != 0 {
			return fmt.Errorf("channels: not used by kind %q; remove it", m.Kind)
		}
	default:
		return fmt.Errorf("kind: got %q, want %q or %q", m.Kind, KindImage, KindClasses)
	}
	switch m.Normalize {
	case "", "standardize", "none":
	case "imagenet":
		if m.Channels != 3 {
			return fmt.Errorf("normalize: \"imagenet\" needs 3 channels, got %d", m.Channels)
		}
	default:
		return fmt.Errorf("normalize: got %q, want \"imagenet\", \"standardize\" or \"none\"", m.Normalize)
	}
	return nil
}

func (c *Config) checkOutput(o *Output) error {
	if err := CheckName(o.Name); err != nil {
		return err
	}
	if err := c.checkStride(o.Stride); err != nil {
		return err
	}
	task := c.Input(o.Task)
	if task == nil {
		names := make([]string, len(c.Inputs))
		for i := range names {
			names[i] = c.Inputs[i].Name
		}
		return fmt.Errorf("task: %q is not an input; did you mean %q?", o.Task, Nearest(o.Task, names))
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
		return fmt.Errorf("label_smoothing: got %g, want 0 or more and below 1, with cross_entropy", o.LabelSmoothing)
	}
	dec := c.Decoder(o)
	if err := dec.Check(); err != nil {
		return err
	}
	if o.Dim%4 != 0 {
		return fmt.Errorf("dim: got %d, want a multiple of 4 (sine–cosine position table)", o.Dim)
	}
	return nil
}

// Decoder returns the block configuration of an output's decoder.
func (c *Config) Decoder(o *Output) vit.Config {
	return vit.Config{Dim: o.Dim, Depth: o.Depth, Heads: o.Heads, MLPRatio: c.Encoder.MLPRatio, QKVBias: c.Encoder.QKVBias, LayerNormEps: c.Encoder.LayerNormEps}
}

// NumTokens is the number of patches of all inputs at h×w pixels.
func (c *BackboneConfig) NumTokens(h, w int) int {
	nh, nw := c.Grid(h, w)
	return len(c.Inputs) * nh * nw
}

// MaskOptions says how masks are drawn for these inputs, a subset of the
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

func (c *Config) checkTrain() error {
	t, o := &c.Train, &c.Optim
	floats := []float64{o.LR, o.Betas[0], o.Betas[1], o.Eps, o.WeightDecay, t.ClipGrad, t.SkipGrad}
	for _, v := range append(append(floats, t.CropScale...), t.CropRatio...) {
		if v-v != 0 { // NaN and infinities only
			return fmt.Errorf("optim, train: got %g, want finite numbers", v)
		}
	}
	if reflect.ValueOf(*t).IsZero() {
		return nil
	}
	for _, f := range []struct {
		key string
		v   int
	}{{"steps", t.Steps}, {"batch", t.Batch}, {"num_encoded_tokens", t.NumEncodedTokens}, {"log_every", t.LogEvery}} {
		if f.v < 1 {
			return fmt.Errorf("train.%s: got %d, want at least 1", f.key, f.v)
		}
	}
	if n := c.NumTokens(c.ImageSize, c.ImageSize); t.NumEncodedTokens > n {
		return fmt.Errorf("train.num_encoded_tokens: got %d, but the inputs have only %d patches", t.NumEncodedTokens, n)
	}
	if t.WarmupSteps < 0 || t.ValEvery < 0 || t.SaveEvery < 0 {
		return fmt.Errorf("train.warmup_steps, val_every, save_every: got %d, %d, %d, want none below 0", t.WarmupSteps, t.ValEvery, t.SaveEvery)
	}
	if len(t.Alphas) != 1 && len(t.Alphas) != len(c.Inputs) {
		return fmt.Errorf("train.alphas: got %d values, want one, or one for each of the %d inputs", len(t.Alphas), len(c.Inputs))
	}
	for _, a := range t.Alphas {
		if !(a > 0 && a <= 1e9) {
			return fmt.Errorf("train.alphas: got %g, want numbers above 0 and up to 1e9", a)
		}
	}
	if t.ClipGrad < 0 || t.SkipGrad < 0 {
		return fmt.Errorf("train.clip_grad, skip_grad: got %g, %g, want none below 0", t.ClipGrad, t.SkipGrad)
	}
	if t.Weighting != "" && t.Weighting != "uncertainty" {
		return fmt.Errorf("train.weighting: got %q, want \"\" or \"uncertainty\"", t.Weighting)
	}
	if s := t.CropScale; len(s) != 0 && (len(s) != 2 || !(s[0] > 0 && s[0] <= s[1] && s[1] <= 1)) {
		return fmt.Errorf("train.crop_scale: got %v, want two ascending shares of the area, such as [0.2, 1]", s)
	}
	if r := t.CropRatio; len(r) != 0 && (len(r) != 2 || !(r[0] > 0 && r[0] <= r[1])) {
		return fmt.Errorf("train.crop_ratio: got %v, want two ascending aspect ratios, such as [0.75, 1.3333]", r)
	}
	if !(o.LR > 0) || !(o.Betas[0] >= 0 && o.Betas[0] < 1) || !(o.Betas[1] >= 0 && o.Betas[1] < 1) || !(o.Eps > 0) || !(o.WeightDecay >= 0) {
		return fmt.Errorf("optim: got %+v, want lr and eps positive, betas in [0, 1), weight_decay not negative", *o)
	}
	return nil
}
