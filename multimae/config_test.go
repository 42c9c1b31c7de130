package multimae

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn"
)

// trained is smallConfig with everything that training needs.
func trained() *Config {
	c := smallConfig()
	c.Optim = Optim{LR: 1e-4, Betas: [2]float64{0.9, 0.95}, Eps: 1e-8, WeightDecay: 0.05}
	c.Train = Train{
		Recipe: Recipe{
			Steps: 10, WarmupSteps: 2, Batch: 4, Seed: 7, ClipGrad: 3, SkipGrad: 9, CropScale: []float64{0.2, 1},
			CropRatio: []float64{0.75, 4. / 3}, Flip: true, ValEvery: 5, SaveEvery: 3, LogEvery: 1,
		},
		NumEncodedTokens: 5, Alphas: Alphas{1, 2, 3}, UniformTasks: true, Weighting: "uncertainty",
	}
	return c
}

// TestConfigRoundTrip checks that what is written is read back, with the order of modalities.
func TestConfigRoundTrip(t *testing.T) {
	configs := map[string]*Config{"small": smallConfig(), "trained": trained()}
	for _, name := range PresetNames {
		c, err := Preset(name, 133)
		if err != nil {
			t.Fatal(err)
		}
		configs["preset "+name] = c
	}
	reversed := smallConfig()
	slices.Reverse(reversed.Inputs)
	slices.Reverse(reversed.Outputs)
	configs["reversed"] = reversed
	one := trained()
	one.Train.Alphas = Alphas{0.5}
	one.Inputs[0].Normalize = "none"
	configs["one concentration"] = one
	for what, c := range configs {
		b := c.JSON()
		got, err := ParseConfig(b)
		if err != nil {
			t.Errorf("%s: %v in\n%s", what, err, b)
			continue
		}
		if !reflect.DeepEqual(got, c) {
			t.Errorf("%s: read %+v, want %+v", what, got, c)
		}
		if again := got.JSON(); !bytes.Equal(again, b) {
			t.Errorf("%s: written again\n%s\nwant\n%s", what, again, b)
		}
		if b[len(b)-1] != '\n' {
			t.Errorf("%s: no newline at the end", what)
		}
	}
	var order []string
	for _, m := range regexp.MustCompile(`(?m)^  "(\w+)": \{$`).FindAllStringSubmatch(string(reversed.JSON()), -1) {
		order = append(order, m[1])
	}
	if got := strings.Join(order, " "); got != "semseg depth rgb norm_rgb semseg depth rgb" {
		t.Errorf("modalities are written in the order %s", got)
	}
	if s := string(one.JSON()); !strings.Contains(s, `"alphas": 0.5,`) {
		t.Errorf("one concentration is written as\n%s", s)
	}
	// A dump's case is carried along, whatever is in it.
	c := smallConfig()
	c.Case = []byte(`{"steps":3,"anything":[1,{"a":null}]}`)
	got, err := ParseConfig(c.JSON())
	if err != nil || !bytes.Contains(got.Case, []byte(`"anything"`)) {
		t.Errorf("case %s, %v", got.Case, err)
	}
}

// TestLoadConfigs reads the configurations of the committed dumps.
func TestLoadConfigs(t *testing.T) {
	files, err := filepath.Glob("../testdata/parity/pretrain_[ts]*/config.json")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		c, err := LoadConfig(os.DirFS(filepath.Dir(f)), "config.json")
		if err != nil {
			t.Error(err)
			continue
		}
		if got := fmt.Sprint(c.Inputs.Names()); got != "[rgb depth semseg]" || len(c.Outputs) != 4 || c.Outputs[3].Loss != LossNormMSE || c.Case == nil || c.Optim.Betas != [2]float64{0.9, 0.95} {
			t.Errorf("%s: %+v", f, c)
		}
	}
	_, err = LoadConfig(fstest.MapFS{}, "a/config.json")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "a/config.json") {
		t.Errorf("no file: %v", err)
	}
	_, err = LoadConfig(fstest.MapFS{"m/c.json": {Data: []byte("{}")}}, "m/c.json")
	testkit.ErrorNames(t, err, `m/c.json: model: `)
}

// TestParseConfigErrors has files that are no configuration: each error names the key and what
// stands there.
func TestParseConfigErrors(t *testing.T) {
	good := string(trained().JSON())
	if _, err := ParseConfig([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		// A misspelled key at every level.
		{`"patch_size"`, `"path_size"`, `path_size: unknown key at the top level; did you mean "patch_size"?`},
		{`"inputs"`, `"input"`, `input: unknown key at the top level; did you mean "inputs"?`},
		{`"mlp_ratio"`, `"mlp_ration"`, `encoder.mlp_ration: unknown key at encoder; did you mean "mlp_ratio"?`},
		{`"class_emb_dim"`, `"class_dim"`, `inputs.semseg.class_dim: unknown key at inputs.semseg; want one of "channels", "class_emb_dim", `},
		{`"label_smoothing"`, `"smoothing"`, `outputs.semseg.smoothing: unknown key at outputs.semseg; did you mean "label_smoothing"?`},
		{`"weight_decay"`, `"weightdecay"`, `optim.weightdecay: unknown key at optim; did you mean "weight_decay"?`},
		{`"warmup_steps"`, `"warm_up_steps"`, `train.warm_up_steps: unknown key at train; did you mean "warmup_steps"?`},
		{`"model"`, `"Model"`, `Model: unknown key at the top level; did you mean "model"?`},
		{`"model"`, `""`, `: unknown key at the top level`},
		// Keys given twice.
		{`"seed": 7`, `"seed": 7, "seed": 8`, `train: key "seed"`},
		{`"norm_rgb"`, `"semseg"`, `outputs: key "semseg"`},
		// Other types.
		{`"dim": 16`, `"dim": "16"`, `encoder.dim: got the text "16", want a whole number`},
		{`"dim": 16`, `"dim": 16.5`, "encoder.dim: got 16.5, want a whole number"},
		{`"steps": 10`, `"steps": 1e99`, "train.steps: got 1e99, want a whole number"},
		{`"lr": 0.0001`, `"lr": 1e999`, "optim.lr: got 1e999, want a number"},
		{`"seed": 7`, `"seed": -7`, "train.seed: got -7, want a whole number, 0 or more"},
		{`"qkv_bias": true`, `"qkv_bias": 1`, "encoder.qkv_bias: got 1, want true or false"},
		{`"channels": 3,`, `"channels": [3],`, "inputs.rgb.channels: got the list [3], want a whole number"},
		{`"flip": true`, `"flip": null, "alphas": "many"`, `train.alphas: got the text "many", want a list of numbers`},
		{`"model": "multimae"`, `"model": "multivit"`, `model: got "multivit", want "multimae"`},
		// Not JSON.
		{`"model": "multimae",`, `"model": "multimae"`, "a comma is missing"},
		{`"model"`, `model`, "invalid character"},
		{good, "", "is empty; want a JSON object"},
		{good, "{", "line 1, column 2: it ends too early"},
		{good, good + "{}", "invalid character '{' after top-level value"},
		{good, good[:len(good)/2], "it ends too early"},
		{good, "[]", "got [, want an object"},
		{good, "null", "got <nil>, want an object"},
		{good, `"model"`, "got model, want an object"},
		{good, `{"inputs": []}`, "inputs: got [, want an object"},
		{good, `{"inputs": {"rgb": 3}}`, "inputs.rgb: got 3, want an object"},
		{good, `{"encoder": null}`, "encoder: got <nil>, want an object"},
		{good, `{}`, `model: got "", want "multimae"`},
		{good, `{"train":{"alphas":["1"]}}`, `train.alphas: got the list ["1"], want a list of numbers`},
	} {
		t.Run(c.want, func(t *testing.T) {
			if !strings.Contains(good, c.old) {
				t.Fatalf("the configuration has no %s", c.old)
			}
			got, err := ParseConfig([]byte(strings.Replace(good, c.old, c.new, 1)))
			if testkit.ErrorNames(t, err, c.want); got != nil {
				t.Error("a configuration and an error")
			}
		})
	}
}

// TestConfigCheck reaches every refusal of Check.
func TestConfigCheck(t *testing.T) {
	if err := trained().Check(); err != nil {
		t.Fatal(err)
	}
	nan, inf := math.NaN(), math.Inf(1)
	many := func(n int) (in Inputs) {
		for i := range n {
			in = append(in, Input{Name: fmt.Sprint("m", i), Kind: KindImage, Channels: 1, Stride: 1})
		}
		return in
	}
	for _, test := range []struct {
		set func(c *Config)
		key string
	}{
		{func(c *Config) { c.Model = "mae" }, "model"},
		{func(c *Config) { c.Encoder.Dim = 0 }, "encoder.dim"},
		{func(c *Config) { c.Encoder.Heads = 3 }, "encoder.heads"},
		{func(c *Config) { c.Encoder.Dim = 14 }, "encoder.dim"},
		{func(c *Config) { c.Encoder.LayerNormEps = float32(inf) }, "encoder.layer_norm_eps"},
		{func(c *Config) { c.PatchSize = 0 }, "patch_size"},
		{func(c *Config) { c.PatchSize = 1025 }, "patch_size"},
		{func(c *Config) { c.ImageSize = 1<<14 + 8 }, "image_size"},
		{func(c *Config) { c.ImageSize = 20 }, "image_size"},
		{func(c *Config) { c.ImageSize = 0 }, "image_size"},
		{func(c *Config) { c.NumGlobalTokens = -1 }, "num_global_tokens"},
		{func(c *Config) { c.NumGlobalTokens = 1025 }, "num_global_tokens"},
		{func(c *Config) { c.Inputs = nil }, "inputs"},
		{func(c *Config) { c.Outputs = nil }, "outputs"},
		{func(c *Config) { c.Inputs = many(257) }, "inputs"},
		{func(c *Config) { c.Inputs[2].Name = "rgb" }, "inputs"},
		{func(c *Config) { c.Outputs[3].Name = "depth" }, "outputs"},
		{func(c *Config) { c.Inputs[0].Name = "" }, "inputs..name"},
		{func(c *Config) { c.Inputs[0].Name = "a.b" }, "inputs.a.b.name"},
		{func(c *Config) { c.Inputs[0].Name = "a/b" }, "inputs.a/b.name"},
		{func(c *Config) { c.Outputs[0].Name = `a\b` }, "outputs.a\\b.name"},
		{func(c *Config) { c.Outputs[0].Name = "a b" }, "outputs.a b.name"},
		{func(c *Config) { c.Inputs[1].Stride = 3 }, "inputs.depth.stride"},
		{func(c *Config) { c.Inputs[1].Stride = 0 }, "inputs.depth.stride"},
		{func(c *Config) { c.Inputs[1].Stride = -2 }, "inputs.depth.stride"},
		{func(c *Config) { c.Inputs[1].Kind = "video" }, "inputs.depth.kind"},
		{func(c *Config) { c.Inputs[1].Channels = 0 }, "inputs.depth.channels"},
		{func(c *Config) { c.Inputs[1].Channels = 1 << 15 }, "inputs.depth.channels"},
		{func(c *Config) { c.Inputs[1].NumClasses = 3 }, "inputs.depth.num_classes, class_emb_dim, class_emb_std"},
		{func(c *Config) { c.Inputs[1].ClassEmbDim = 3 }, "inputs.depth.num_classes, class_emb_dim, class_emb_std"},
		{func(c *Config) { c.Inputs[1].ClassEmbStd = 0.5 }, "inputs.depth.num_classes, class_emb_dim, class_emb_std"},
		{func(c *Config) { c.Inputs[2].ClassEmbStd = -0.1 }, "inputs.semseg.class_emb_std"},
		{func(c *Config) { c.Inputs[2].ClassEmbStd = 1.1 }, "inputs.semseg.class_emb_std"},
		{func(c *Config) { c.Inputs[2].ClassEmbStd = nan }, "inputs.semseg.class_emb_std"},
		{func(c *Config) { c.Inputs[2].NumClasses = 0 }, "inputs.semseg.num_classes"},
		{func(c *Config) { c.Inputs[2].NumClasses = 255 }, "inputs.semseg.num_classes"},
		{func(c *Config) { c.Inputs[2].ClassEmbDim = 0 }, "inputs.semseg.class_emb_dim"},
		{func(c *Config) { c.Inputs[2].ClassEmbDim = 1 << 15 }, "inputs.semseg.class_emb_dim"},
		{func(c *Config) { c.Inputs[2].Channels = 1 }, "inputs.semseg.channels"},
		{func(c *Config) { c.Inputs[1].Normalize = "imagenet" }, "inputs.depth.normalize"},
		{func(c *Config) { c.Inputs[1].Normalize = "minmax" }, "inputs.depth.normalize"},
		{func(c *Config) { c.Outputs[1].Stride = 3 }, "outputs.depth.stride"},
		{func(c *Config) { c.Outputs[1].Stride = 4 }, "outputs.depth.stride"},
		{func(c *Config) { c.Outputs[1].Task = "dept" }, "outputs.depth.task"},
		{func(c *Config) { c.Outputs[1].Loss = "l2" }, "outputs.depth.loss"},
		{func(c *Config) { c.Outputs[1].Loss = LossCrossEntropy }, "outputs.depth.loss"},
		{func(c *Config) { c.Outputs[2].Loss = LossMSE }, "outputs.semseg.loss"},
		{func(c *Config) { c.Outputs[2].Channels = 4 }, "outputs.semseg.channels"},
		{func(c *Config) { c.Outputs[0].Channels = 1 }, "outputs.rgb.channels"},
		{func(c *Config) { c.Outputs[2].LabelSmoothing = 1 }, "outputs.semseg.label_smoothing"},
		{func(c *Config) { c.Outputs[2].LabelSmoothing = -0.1 }, "outputs.semseg.label_smoothing"},
		{func(c *Config) { c.Outputs[2].LabelSmoothing = nan }, "outputs.semseg.label_smoothing"},
		{func(c *Config) { c.Outputs[0].LabelSmoothing = 0.1 }, "outputs.rgb.label_smoothing"},
		{func(c *Config) { c.Outputs[0].LossWeight = -1 }, "outputs.rgb.loss_weight"},
		{func(c *Config) { c.Outputs[0].LossWeight = 1e6 }, "outputs.rgb.loss_weight"},
		{func(c *Config) { c.Outputs[0].LossWeight = 1e-46 }, "outputs.rgb.loss_weight"}, // 0 as a float32
		{func(c *Config) { c.Outputs[0].LossWeight = nan }, "outputs.rgb.loss_weight"},
		{func(c *Config) { c.Outputs[0].LossWeight, c.Train.Weighting = 2, "uncertainty" }, "outputs.rgb.loss_weight"},
		{func(c *Config) { c.Outputs[0].Dim = 0 }, "outputs.rgb.dim"},
		{func(c *Config) { c.Outputs[0].Depth = -1 }, "outputs.rgb.depth"},
		{func(c *Config) { c.Outputs[0].Heads = 5 }, "outputs.rgb.heads"},
		{func(c *Config) { c.Outputs[0].Dim = 10 }, "outputs.rgb.dim"},
		{func(c *Config) { c.Train.Steps = 0 }, "train.steps"},
		{func(c *Config) { c.Train.Batch = 0 }, "train.batch"},
		{func(c *Config) { c.Train.NumEncodedTokens = 0 }, "train.num_encoded_tokens"},
		{func(c *Config) { c.Train.NumEncodedTokens = 13 }, "train.num_encoded_tokens"},
		{func(c *Config) { c.Train.LogEvery = 0 }, "train.log_every"},
		{func(c *Config) { c.Train.WarmupSteps = -1 }, "train.warmup_steps"},
		{func(c *Config) { c.Train.ValEvery = -1 }, "train.val_every"},
		{func(c *Config) { c.Train.SaveEvery = -1 }, "train.save_every"},
		{func(c *Config) { c.Train.Alphas = nil }, "train.alphas"},
		{func(c *Config) { c.Train.Alphas = Alphas{1, 1} }, "train.alphas"},
		{func(c *Config) { c.Train.Alphas = Alphas{0} }, "train.alphas"},
		{func(c *Config) { c.Train.Alphas = Alphas{1, 1e9, 2e9} }, "train.alphas"},
		{func(c *Config) { c.Train.Alphas = Alphas{nan} }, "train.alphas"},
		{func(c *Config) { c.Train.ClipGrad = -1 }, "train.clip_grad"},
		{func(c *Config) { c.Train.SkipGrad = -1 }, "train.skip_grad"},
		{func(c *Config) { c.Train.ClipGrad = nan }, "train.clip_grad"},
		{func(c *Config) { c.Train.SkipGrad = inf }, "train.skip_grad"},
		{func(c *Config) { c.Train.CropRatio = []float64{1, inf} }, "train.crop_ratio"},
		{func(c *Config) { c.Train, c.Optim.LR = Train{}, nan }, "optim.lr"},
		{func(c *Config) { c.Train.Weighting = "gradnorm" }, "train.weighting"},
		{func(c *Config) { c.Train.CropScale = []float64{0.2} }, "train.crop_scale"},
		{func(c *Config) { c.Train.CropScale = []float64{0, 1} }, "train.crop_scale"},
		{func(c *Config) { c.Train.CropScale = []float64{0.5, 0.4} }, "train.crop_scale"},
		{func(c *Config) { c.Train.CropScale = []float64{0.5, 1.1} }, "train.crop_scale"},
		{func(c *Config) { c.Train.CropRatio = []float64{1, 2, 3} }, "train.crop_ratio"},
		{func(c *Config) { c.Train.CropRatio = []float64{-1, 2} }, "train.crop_ratio"},
		{func(c *Config) { c.Train.CropRatio = []float64{2, 1} }, "train.crop_ratio"},
		{func(c *Config) { c.Train.CropScale = nil }, "train.crop_ratio"},
		{func(c *Config) { c.Optim.LR = 0 }, "optim.lr"},
		{func(c *Config) { c.Optim.Betas[0] = 1 }, "optim.betas"},
		{func(c *Config) { c.Optim.Betas[1] = -0.1 }, "optim.betas"},
		{func(c *Config) { c.Optim.Eps = 0 }, "optim.eps"},
		{func(c *Config) { c.Optim.Eps = 1e-50 }, "optim.eps"}, // 0 as a float32
		{func(c *Config) { c.Optim.Eps = 1e39 }, "optim.eps"},  // infinite as a float32
		{func(c *Config) { c.Optim.WeightDecay = -1 }, "optim.weight_decay"},
	} {
		t.Run(test.key, func(t *testing.T) {
			c := trained()
			test.set(c)
			testkit.ErrorNames(t, c.Check(), test.key+": ")
			if m, err := NewModel(c); m != nil || err == nil {
				t.Error("NewModel returns a model")
			}
		})
	}
	// The ends of ranges that are allowed.
	for _, set := range []func(c *Config){
		func(c *Config) { c.Train.Alphas = Alphas{1e9} },
		func(c *Config) { c.Train.NumEncodedTokens = 12 },
		func(c *Config) { c.Train, c.Optim = Train{}, Optim{} },
		func(c *Config) { c.NumGlobalTokens = 0 },
		func(c *Config) { c.Train.CropScale, c.Train.CropRatio = nil, nil },
		func(c *Config) { c.Inputs[2].NumClasses, c.Outputs[2].Channels = IDPadding, IDPadding },
		func(c *Config) { c.Inputs = append(c.Inputs[:3:3], many(253)...); c.Train.Alphas = Alphas{1} },
	} {
		c := trained()
		set(c)
		if err := c.Check(); err != nil {
			t.Error(err)
		}
	}
}

// TestPresetRecipes wants the training of each preset to be the paper's, or what it says it is.
func TestPresetRecipes(t *testing.T) {
	paper := Recipe{
		Steps: 100_000, WarmupSteps: 2_500, Batch: 32, CropScale: []float64{0.2, 1}, CropRatio: []float64{0.75, 4. / 3}, Flip: true,
		ValEvery: 1000, SaveEvery: 500, LogEvery: 10,
	}
	for _, want := range []struct {
		name   string
		lr     float64
		tokens int
		recipe Recipe
	}{
		{"tiny", 2e-3, 32, Recipe{Steps: 3600, WarmupSteps: 150, Batch: 16, ClipGrad: 1, Flip: true, SaveEvery: 500, LogEvery: 20}},
		{"photos", 2e-3, 32, Recipe{
			Steps: 20_000, WarmupSteps: 600, Batch: 16, ClipGrad: 1, CropScale: []float64{0.3, 1}, CropRatio: []float64{0.75, 4. / 3}, Flip: true,
			SaveEvery: 500, LogEvery: 20,
		}},
		{"small", 1e-4, 98, paper}, {"base", 1e-4, 98, paper}, {"large", 1e-4, 98, paper},
	} {
		c, err := Preset(want.name, 40)
		if err != nil {
			t.Fatal(err)
		}
		if o := (Optim{LR: want.lr, Betas: [2]float64{0.9, 0.95}, Eps: 1e-8, WeightDecay: 0.05}); !reflect.DeepEqual(c.Optim, o) {
			t.Errorf("%s: optimiser %+v, want %+v", want.name, c.Optim, o)
		}
		if r := (Train{Recipe: want.recipe, NumEncodedTokens: want.tokens, Alphas: Alphas{1}}); !reflect.DeepEqual(c.Train, r) {
			t.Errorf("%s: training %+v, want %+v", want.name, c.Train, r)
		}
		std := map[string]float64{"tiny": 0.5}[want.name] // all others begin with the paper's values
		if c.Encoder.ZeroInitResidual != (want.name == "tiny") || c.Inputs[2].ClassEmbStd != std {
			t.Errorf("%s: residual branches begin at zero: %v; class embeddings at %g", want.name, c.Encoder.ZeroInitResidual, c.Inputs[2].ClassEmbStd)
		}
	}
}

// TestClassEmbStd checks what class embeddings begin as.
func TestClassEmbStd(t *testing.T) {
	for _, c := range []struct{ std, want float64 }{{0, 0.02}, {0.5, 0.5}, {0.02, 0.02}} {
		config := smallConfig()
		in := &config.Inputs[2]
		in.NumClasses, in.ClassEmbDim, in.ClassEmbStd = 100, 64, c.std
		config.Outputs[2].Channels = 100
		m, err := NewModel(config)
		if err != nil {
			t.Fatal(err)
		}
		m.Init(1)
		sum := 0.0
		table := m.Params.Get("input_adapters.semseg.class_emb.weight").Data
		for _, v := range table {
			sum += float64(v) * float64(v)
		}
		if got := math.Sqrt(sum / float64(len(table))); math.Abs(got/c.want-1) > 0.05 {
			t.Errorf("class_emb_std %g: the standard deviation is %.3g, want %g", c.std, got, c.want)
		}
	}
}

// TestPresets checks the presets against the published model: the very keys, shapes and trained
// parameters of MultiMAE-B, in the order of its checkpoint.
func TestPresets(t *testing.T) {
	var sizes []int
	for _, name := range PresetNames {
		c, err := Preset(name, 40)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		m := build(c, NewBackbone(nn.DeferredParams(), &c.BackboneConfig))
		n := 0
		for _, p := range m.Params.All() {
			size := 1
			for _, d := range p.Shape {
				size *= d
			}
			n += size
		}
		sizes = append(sizes, n)
	}
	if !slices.IsSorted(sizes) {
		t.Errorf("presets %v have %v values", PresetNames, sizes)
	}
	_, err := Preset("bse", 40)
	testkit.ErrorNames(t, err, `"bse"`, `did you mean "base"`)
	_, err = Preset("tiny", 255)
	testkit.ErrorNames(t, err, "inputs.semseg.num_classes: ", "255")

	c, err := Preset("base", 133)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("testdata/multimae_b_keys.tsv")
	if err != nil {
		t.Fatal(err)
	}
	params := m.Params.All()
	count := 0
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if count >= len(params) {
			t.Fatalf("no parameter %s", f[0])
		}
		p := params[count]
		count++
		shape := strings.ReplaceAll(strings.Trim(fmt.Sprint(p.Shape), "[]"), " ", "x")
		if p.Name != f[0] || shape != f[1] || p.Fixed != (f[2] == "no") {
			t.Fatalf("parameter %d is %s %s, fixed %v; the published one %s", count, p.Name, shape, p.Fixed, line)
		}
	}
	if count != len(params) {
		t.Errorf("%d parameters, the first of them that is not published: %s", len(params), params[count].Name)
	}
}

func TestConfigHelpers(t *testing.T) {
	c := trained()
	if in := c.Input("depth"); in != &c.Inputs[1] || c.Input("norm_rgb") != nil {
		t.Error("Input finds another modality")
	}
	if nh, nw := c.Grid(32, 24); nh != 4 || nw != 3 {
		t.Errorf("grid %d×%d", nh, nw)
	}
	if d := c.decoderBlocks(&c.Outputs[2]); d.Dim != 8 || d.Depth != 2 || d.Heads != 4 || d.MLPRatio != 2 || !d.QKVBias || d.LayerNormEps != 1e-6 || d.DropPath != 0 {
		t.Errorf("decoder %+v", d)
	}
	for _, test := range []struct {
		alphas Alphas
		inputs []string
		want   string
	}{
		{Alphas{1, 2, 3}, []string{"rgb", "semseg"}, "[1 3]"},
		{Alphas{1, 2, 3}, c.Inputs.Names(), "[1 2 3]"},
		{Alphas{0.5}, []string{"depth"}, "[0.5]"},
		{nil, []string{"depth"}, "[1]"},
	} {
		c.Train.Alphas = test.alphas
		if o := c.MaskOptions(test.inputs); fmt.Sprint(o.Alphas) != test.want || o.Visible != 5 || !o.UniformTasks {
			t.Errorf("mask options %+v, want alphas %s", o, test.want)
		}
	}
	for in, want := range map[*Input]string{{Channels: 3}: "imagenet", {Channels: 1}: "standardize", {Channels: 3, Normalize: "none"}: "none"} {
		if got := in.Normalization(); got != want {
			t.Errorf("%+v is normalised by %q, want %q", in, got, want)
		}
	}
}

// FuzzParseConfig: whatever the bytes, there is an error or a configuration that holds what Check
// promises and is written and read the same.
func FuzzParseConfig(f *testing.F) {
	f.Add(trained().JSON())
	for _, name := range PresetNames {
		c, err := Preset(name, 13)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(c.JSON())
	}
	files, err := filepath.Glob("../testdata/parity/*/config.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{"", "{}", "[", `{"inputs":{"":{}}}`, `{"train":{"alphas":[]}}`, `{"case":null}`, `{"inputs":{"a":null}}`, `{"a":{"b":[[[[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseConfig(b)
		if err != nil {
			if c != nil {
				t.Error("a configuration and an error")
			}
			return
		}
		if err := c.Check(); err != nil {
			t.Fatalf("read, but refused: %v", err)
		}
		out := c.JSON()
		again, err := ParseConfig(out)
		if err != nil {
			t.Fatalf("written, but not read: %v\n%s", err, out)
		}
		if !bytes.Equal(again.JSON(), out) {
			t.Errorf("read and written again:\n%s\nwant\n%s", again.JSON(), out)
		}
	})
}

// TestSelect leaves some inputs of a configuration.
func TestSelect(t *testing.T) {
	for _, c := range []struct {
		names   []string
		inputs  string
		outputs int
		tokens  int
		alphas  Alphas
	}{
		{[]string{"rgb", "depth", "semseg"}, "rgb depth semseg", 4, 98, Alphas{1, 2, 3}},
		{[]string{"semseg", "rgb"}, "rgb semseg", 3, 65, Alphas{1, 3}},
		{[]string{"depth"}, "depth", 1, 33, Alphas{2}},
	} {
		t.Run(c.inputs, func(t *testing.T) {
			cfg, err := Preset("base", 133)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Train.Alphas = Alphas{1, 2, 3}
			if err := cfg.Select(c.names); err != nil {
				t.Fatal(err)
			}
			if err := cfg.Check(); err != nil {
				t.Error(err)
			}
			if got := strings.Join(cfg.Inputs.Names(), " "); got != c.inputs || len(cfg.Outputs) != c.outputs ||
				cfg.Train.NumEncodedTokens != c.tokens || !slices.Equal(cfg.Train.Alphas, c.alphas) {
				t.Errorf("inputs %s, %d outputs, %d tokens, alphas %v", got, len(cfg.Outputs), cfg.Train.NumEncodedTokens, cfg.Train.Alphas)
			}
		})
	}
	cfg := smallConfig()
	if err := cfg.Select([]string{"rgb", "infrared"}); err == nil || len(cfg.Inputs) != 3 {
		t.Errorf("error %v, %d inputs", err, len(cfg.Inputs))
	}
}

func TestVisibleTokens(t *testing.T) {
	for _, c := range []struct{ inputs, side, recipe, want int }{{3, 16, 100, 100}, {3, 16, 0, 128}, {1, 2, 100, 4}, {1, 2, 0, 1}} {
		t.Run(fmt.Sprintf("%d inputs of %d×%d patches, recipe of %d", c.inputs, c.side, c.side, c.recipe), func(t *testing.T) {
			cfg := &Config{}
			cfg.Inputs, cfg.PatchSize, cfg.ImageSize, cfg.Train.NumEncodedTokens = make([]Input, c.inputs), 8, 8*c.side, c.recipe
			if got := cfg.VisibleTokens(); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
