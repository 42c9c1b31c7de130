package heads

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
)

// TestConfigRoundTrip checks that what is written is read back, with the order of outputs.
func TestConfigRoundTrip(t *testing.T) {
	reversed := smallConfig()
	slices.Reverse(reversed.Outputs)
	bare := oneOutput("token")
	bare.Optim = multimae.Optim{}
	for what, c := range map[string]*Config{"small": smallConfig(), "reversed": reversed, "bare": bare} {
		b := c.JSON()
		got, err := ParseConfig(b)
		if err != nil {
			t.Errorf("%s: %v in\n%s", what, err, b)
			continue
		}
		if !reflect.DeepEqual(got, c) {
			t.Errorf("%s: read %+v, want %+v", what, got, c)
		}
		if again := got.JSON(); !bytes.Equal(again, b) || b[len(b)-1] != '\n' {
			t.Errorf("%s: written again\n%s\nwant\n%s", what, again, b)
		}
	}
	if s := string(bare.JSON()); strings.Contains(s, "optim") || strings.Contains(s, "hooks") {
		t.Errorf("what is not set is written:\n%s", s)
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
	files, err := filepath.Glob("../../testdata/parity/vit_*/config.json")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	heads := map[string]bool{}
	for _, f := range files {
		c, err := LoadConfig(os.DirFS(filepath.Dir(f)), "config.json")
		if err != nil {
			t.Error(err)
			continue
		}
		for _, o := range c.Outputs {
			heads[o.Head] = true
		}
		if c.Optim.Betas != [2]float64{0.9, 0.999} || c.Case == nil {
			t.Errorf("%s: %+v", f, c)
		}
	}
	if len(heads) != 4 {
		t.Errorf("heads %v", heads)
	}
	_, err = LoadConfig(fstest.MapFS{}, "a/config.json")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "a/config.json") {
		t.Errorf("no file: %v", err)
	}
	_, err = LoadConfig(fstest.MapFS{"m/c.json": {Data: []byte("{}")}}, "m/c.json")
	testkit.ErrorNames(t, err, "m/c.json: model: ")
	_, err = LoadConfig(os.DirFS("../../testdata/parity/pretrain_tiny"), "config.json")
	testkit.ErrorNames(t, err, "config.json: model: ", "multimae", "multivit")
}

// TestParseConfigErrors has files that are no configuration.
func TestParseConfigErrors(t *testing.T) {
	good := string(smallConfig().JSON())
	for _, c := range []struct{ old, new, want string }{
		{`"patch_size"`, `"patchsize"`, `patchsize: unknown key at the top level; did you mean "patch_size"?`},
		{`"layer_dims"`, `"layerdims"`, `outputs.depth.layerdims: unknown key at outputs.depth; did you mean "layer_dims"?`},
		{`"token"`, `"mean"`, `outputs: key "mean"`},
		{`"token": {`, `"token": null, "x": {`, "outputs.token: got <nil>, want an object"},
		{good, `{"model": "multivit", "recipe": {}}`, `recipe: unknown key at the top level`},
		{good, ``, "is empty"},
		{good, `[]`, "got [, want an object"},
		{good, `{"outputs": []}`, "outputs: got [, want an object"},
		{`"num_classes": 6`, `"num_classes": "6"`, `outputs.mean.num_classes: got the text "6", want a whole number`},
		{`"num_classes": 6`, `"num_classes": 6.5`, "outputs.mean.num_classes: got 6.5, want a whole number"},
		{`"multivit"`, `"vit"`, `model: got "vit", want "multivit"`},
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
	if err := smallConfig().Check(); err != nil {
		t.Fatal(err)
	}
	// set changes the output of that name.
	set := func(name string, f func(o *Output)) func(c *Config) {
		return func(c *Config) {
			f(&c.Outputs[slices.IndexFunc(c.Outputs, func(o Output) bool { return o.Name == name })])
		}
	}
	many := func(n int) (out Outputs) {
		for i := range n {
			out = append(out, Output{Name: fmt.Sprint("o", i), Head: Linear, NumClasses: 1, Loss: LossCrossEntropy})
		}
		return out
	}
	for _, test := range []struct {
		set func(c *Config)
		key string
	}{
		{func(c *Config) { c.Model = "multimae" }, "model"},
		{func(c *Config) { c.PatchSize = 0 }, "patch_size"},
		{func(c *Config) { c.Encoder.Depth = 0 }, "encoder.depth"},
		{func(c *Config) { c.Optim.LR = math.NaN() }, "optim.lr"},
		{func(c *Config) { c.Optim.Betas[0] = math.Inf(1) }, "optim.betas"},
		{func(c *Config) { c.Optim.Betas[1] = math.Inf(-1) }, "optim.betas"},
		{func(c *Config) { c.Optim.Eps = math.NaN() }, "optim.eps"},
		{func(c *Config) { c.Optim.WeightDecay = math.NaN() }, "optim.weight_decay"},
		{set("depth", func(o *Output) { o.LossWeight = 1e-46 }), "outputs.depth.loss_weight"}, // 0 as a float32
		{func(c *Config) { c.Outputs = nil }, "outputs"},
		{func(c *Config) { c.Outputs = many(257) }, "outputs"},
		{func(c *Config) { c.Outputs[1].Name = "mean" }, "outputs"},
		{func(c *Config) { c.Outputs[1].Name = "a.b" }, "outputs.a.b.name"},
		{func(c *Config) { c.Outputs[1].Name = "" }, "outputs..name"},
		{set("mean", func(o *Output) { o.NumClasses = 0 }), "outputs.mean.num_classes"},
		{set("mean", func(o *Output) { o.NumClasses = 1<<16 + 1 }), "outputs.mean.num_classes"},
		{set("parts", func(o *Output) { o.NumClasses = 255 }), "outputs.parts.num_classes"},
		{set("mean", func(o *Output) { o.Loss = "mse" }), "outputs.mean.loss"},
		{set("mean", func(o *Output) { o.Loss = LossL1 }), "outputs.mean.loss"},
		{set("mean", func(o *Output) { o.Loss = LossBerHu }), "outputs.mean.loss"},
		{set("mean", func(o *Output) { o.Head = "mlp" }), "outputs.mean.head"},
		{set("normals", func(o *Output) { o.MainTasks = nil }), "outputs.normals.main_tasks"},
		{set("parts", func(o *Output) { o.MainTasks = []string{"rbg"} }), "outputs.parts.main_tasks"},
		{set("depth", func(o *Output) { o.MainTasks = []string{"rgb", "rgb"} }), "outputs.depth.main_tasks"},
		{set("normals", func(o *Output) { o.PredsPerPatch = 0 }), "outputs.normals.preds_per_patch"},
		{set("normals", func(o *Output) { o.PredsPerPatch = -4 }), "outputs.normals.preds_per_patch"},
		{set("normals", func(o *Output) { o.PredsPerPatch = 8 }), "outputs.normals.preds_per_patch"},
		{set("normals", func(o *Output) { o.PredsPerPatch = 257 * 257 }), "outputs.normals.preds_per_patch"},
		{set("normals", func(o *Output) { o.PredsPerPatch = math.MaxInt }), "outputs.normals.preds_per_patch"},
		{set("normals", func(o *Output) { o.EmbedDim = 0 }), "outputs.normals.embed_dim"},
		{set("normals", func(o *Output) { o.EmbedDim = 40 }), "outputs.normals.embed_dim"},
		{set("normals", func(o *Output) { o.EmbedDim = 1 << 17 }), "outputs.normals.embed_dim"},
		{set("normals", func(o *Output) { o.Depth = -1 }), "outputs.normals.depth"},
		{set("normals", func(o *Output) { o.Depth = 1025 }), "outputs.normals.depth"},
		{set("parts", func(o *Output) { o.EmbedDim = 0 }), "outputs.parts.embed_dim"},
		{set("parts", func(o *Output) { o.EmbedDim = 1<<16 + 3 }), "outputs.parts.embed_dim"},
		{set("parts", func(o *Output) { o.Heads = 5 }), "outputs.parts.heads"},
		{set("parts", func(o *Output) { o.Heads = 0 }), "outputs.parts.heads"},
		{set("parts", func(o *Output) { o.Depth = 1025 }), "outputs.parts.depth"},
		{func(c *Config) { c.PatchSize = 8 }, "outputs.depth.head"},
		{set("depth", func(o *Output) { o.Hooks = []int{0, 1, 2} }), "outputs.depth.hooks, layer_dims"},
		{set("depth", func(o *Output) { o.LayerDims = nil }), "outputs.depth.hooks, layer_dims"},
		{set("depth", func(o *Output) { o.Hooks = []int{0, 1, 1, 2} }), "outputs.depth.hooks"},
		{set("depth", func(o *Output) { o.Hooks = []int{-1, 1, 2, 3} }), "outputs.depth.hooks"},
		{set("depth", func(o *Output) { o.Hooks = []int{1, 2, 3, 5} }), "outputs.depth.hooks"},
		{set("depth", func(o *Output) { o.LayerDims = []int{1, 2, 0, 4} }), "outputs.depth.layer_dims, feature_dim"},
		{set("depth", func(o *Output) { o.FeatureDim = 1 << 17 }), "outputs.depth.layer_dims, feature_dim"},
		{set("depth", func(o *Output) { o.FeatureDim = 7 }), "outputs.depth.feature_dim"},
		{set("depth", func(o *Output) { o.HeadType = "depth" }), "outputs.depth.head_type"},
		{set("depth", func(o *Output) { o.HeadType = "" }), "outputs.depth.head_type"},
	} {
		t.Run(test.key, func(t *testing.T) {
			c := smallConfig()
			test.set(c)
			testkit.ErrorNames(t, c.Check(), test.key+": ")
			if m, err := NewModel(c); m != nil || err == nil {
				t.Error("NewModel returns a model")
			}
		})
	}
	// The ends of ranges that are allowed.
	for _, f := range []func(c *Config){
		func(c *Config) { c.Optim = multimae.Optim{} },
		func(c *Config) { c.Outputs = many(256) },
		func(c *Config) { c.NumGlobalTokens = 0 },
		set("mean", func(o *Output) { o.NumClasses = 1 << 16 }),
		set("parts", func(o *Output) { o.NumClasses = 254 }),
		set("normals", func(o *Output) { o.NumClasses = 255 }),
		set("normals", func(o *Output) { o.Depth, o.PredsPerPatch = 0, 1 }),
		set("normals", func(o *Output) { o.EmbedDim, o.PredsPerPatch = 1<<16, 1<<16 }),
		set("parts", func(o *Output) { o.Depth = 0 }),
		set("classes", func(o *Output) { o.FeatureDim = 7 }),
	} {
		c := smallConfig()
		f(c)
		if err := c.Check(); err != nil {
			t.Error(err)
		}
	}
}

// TestUnusedKeys sets each key that a head does not use.
func TestUnusedKeys(t *testing.T) {
	keys := map[string]func(o *Output){
		"mean_pooling":    func(o *Output) { o.MeanPooling = true },
		"main_tasks":      func(o *Output) { o.MainTasks = []string{"rgb"} },
		"embed_dim":       func(o *Output) { o.EmbedDim = 12 },
		"depth":           func(o *Output) { o.Depth = 1 },
		"preds_per_patch": func(o *Output) { o.PredsPerPatch = 4 },
		"heads":           func(o *Output) { o.Heads = 3 },
		"hooks":           func(o *Output) { o.Hooks = []int{0, 1, 2, 3} },
		"layer_dims":      func(o *Output) { o.LayerDims = []int{1, 2, 3, 4} },
		"feature_dim":     func(o *Output) { o.FeatureDim = 8 },
		"head_type":       func(o *Output) { o.HeadType = HeadSemseg },
	}
	for name, used := range map[string][]string{
		"token":   {"mean_pooling"},
		"normals": {"main_tasks", "embed_dim", "depth", "preds_per_patch"},
		"parts":   {"main_tasks", "embed_dim", "depth", "heads"},
		"depth":   {"main_tasks", "hooks", "layer_dims", "feature_dim", "head_type"},
	} {
		for key, set := range keys {
			c := oneOutput(name)
			set(&c.Outputs[0])
			err := c.Check()
			refused := err != nil && strings.HasPrefix(err.Error(), fmt.Sprintf("outputs.%s.%s: not used ", name, key))
			if refused == slices.Contains(used, key) {
				t.Errorf("%s of the head %s: %v", key, c.Outputs[0].Head, err)
			}
		}
	}
}

// FuzzParseConfig: whatever the bytes, there is an error or a configuration that holds what Check
// promises and is written and read the same.
func FuzzParseConfig(f *testing.F) {
	f.Add(smallConfig().JSON())
	files, err := filepath.Glob("../../testdata/parity/vit_*/config.json")
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
	for _, s := range []string{"", "{}", "[", `{"outputs":{"":{}}}`, `{"model":1}`, `{"model":"multivit","case":null}`, `{"outputs":{"a":null}}`, `{"a":{"b":[[[[`} {
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
