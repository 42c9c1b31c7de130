package heads

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// safetensorsOf is a file of tensors.
func safetensorsOf(t testing.TB, tensors []weights.Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := weights.WriteSafetensors(&b, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// folderOf is a model folder in memory.
func folderOf(t testing.TB, m *Model) fstest.MapFS {
	t.Helper()
	return fstest.MapFS{
		multimae.ConfigFile:  {Data: m.Config.JSON()},
		multimae.WeightsFile: {Data: safetensorsOf(t, m.Params.Tensors())},
	}
}

// sameParams wants the same parameters to the bit.
func sameParams(t *testing.T, what string, got, want *Model) {
	t.Helper()
	for i, p := range got.Params.All() {
		w := want.Params.All()[i]
		if p.Name != w.Name || p.Fixed != w.Fixed {
			t.Fatalf("%s: parameter %d is %s, want %s", what, i, p.Name, w.Name)
		}
		testkit.SameBits(t, what+": "+p.Name, p.Data, w.Data)
	}
}

// TestInit checks that parameters depend on the seed and are of the scale that the layer asks for.
func TestInit(t *testing.T) {
	models := make([]*Model, 3)
	for i, seed := range []uint64{1, 1, 2} {
		m, err := NewModel(smallConfig())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Params.All() {
			if slices.ContainsFunc(p.Data, func(v float32) bool { return v != 0 }) {
				t.Fatalf("%s is not zero before Init", p.Name)
			}
		}
		m.Init(seed)
		models[i] = m
	}
	sameParams(t, "the same seed", models[1], models[0])
	for _, p := range models[0].Params.All() {
		other := models[2].Params.Get(p.Name).Data
		random := len(p.Shape) > 1 && !strings.HasSuffix(p.Name, ".pos_emb")
		if random && slices.Equal(p.Data, other) {
			t.Errorf("%s does not depend on the seed", p.Name)
		}
		if (strings.HasSuffix(p.Name, "norm.weight") || strings.HasSuffix(p.Name, "norm1.weight")) && p.Data[0] != 1 {
			t.Errorf("%s begins with %v", p.Name, p.Data[0])
		}
	}
	// The bound 1/√(inputs) of a convolution is met and nearly reached.
	w := models[0].Params.Get("output_adapters.classes.head.0.weight").Data // 8·9 inputs
	if bound, top := float32(fanIn(72)), slices.Max(w); top > bound || top < 0.9*bound || slices.Min(w) < -bound {
		t.Errorf("a convolution's weights reach %v, want nearly %v", top, bound)
	}
}

// TestSaveLoad checks that a model read back is the same to the bit, from PyTorch checkpoints too.
func TestSaveLoad(t *testing.T) {
	c := smallConfig()
	m := newModel(t, c)
	m.Params.Get("input_adapters.rgb.pos_emb").Data[0] = 0.123 // kept, not made anew
	m.PositionsChanged()
	dir := filepath.Join(t.TempDir(), "new", "folder")
	for range 2 { // over an earlier one
		if err := m.Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	var pth bytes.Buffer
	if err := weights.WritePth(&pth, m.Params.Tensors(), nil); err != nil {
		t.Fatal(err)
	}
	b := newBatch(c, 2, 32, 64, "rgb", "semseg")
	want := forward(t, m, tensor.NewTape(nil), b, nil)
	file, err := weights.NewReader(bytes.NewReader(pth.Bytes()), int64(pth.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for what, load := range map[string]func() (*Model, error){
		"LoadFrom":  func() (*Model, error) { return LoadFrom(c, file) },
		"LoadDir":   func() (*Model, error) { return LoadDir(dir) },
		"in memory": func() (*Model, error) { return Load(folderOf(t, m)) },
		"model.pth": func() (*Model, error) {
			return Load(fstest.MapFS{multimae.ConfigFile: {Data: c.JSON()}, "model.pth": {Data: pth.Bytes()}})
		},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := load()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Config.JSON(), c.JSON()) {
				t.Errorf("configuration\n%s", got.Config.JSON())
			}
			if frozen := got.Params.All()[0].Frozen(); frozen != (what != "LoadFrom") {
				t.Errorf("frozen %v", frozen)
			}
			sameParams(t, what, got, m)
			for i, p := range forward(t, got, tensor.NewInference(nil), b, nil) {
				testkit.SameBits(t, "prediction", p.Data, want[i].Data)
			}
		})
	}
}

// TestSecondNames checks the tensors that checkpoints of a DPT head have under two names: both are
// written, the first is read, the second may be absent.
func TestSecondNames(t *testing.T) {
	m := newModel(t, oneOutput("depth"))
	folder := folderOf(t, m)
	const prefix = "output_adapters.depth."
	seconds := map[string]string{}
	for i := range 4 {
		seconds[fmt.Sprintf("scratch.layer_rn.%d.weight", i)] = fmt.Sprintf("scratch.layer%d_rn.weight", i+1)
		for _, key := range []string{"0.weight", "0.bias", "1.weight", "1.bias"} {
			if i != 2 || key[0] == '0' { // the third has nothing to resample
				seconds[fmt.Sprintf("act_postprocess.%d.%s", i, key)] = fmt.Sprintf("act_%d_postprocess.%s", i+1, key)
			}
		}
	}
	f, err := weights.OpenFS(folder, multimae.WeightsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for second, first := range seconds {
		got, err := f.Float32(prefix + second)
		if err != nil {
			t.Error(err)
			continue
		}
		testkit.SameBits(t, second, got, m.Params.Get(prefix+first).Data)
	}
	if n := len(m.Params.All()) + len(seconds); len(f.Names()) != n || len(seconds) != 18 {
		t.Errorf("%d tensors are written, want %d", len(f.Names()), n)
	}

	edit := func(change func(name string, x *weights.Tensor) (keep bool)) []byte {
		var list []weights.Tensor
		for _, x := range m.Params.Tensors() {
			if change(strings.TrimPrefix(x.Name, prefix), &x) {
				list = append(list, x)
			}
		}
		return safetensorsOf(t, list)
	}
	folder[multimae.WeightsFile].Data = edit(func(name string, _ *weights.Tensor) bool { return seconds[name] == "" })
	got, err := Load(folder)
	if err != nil {
		t.Fatalf("without second names: %v", err)
	}
	sameParams(t, "without second names", got, m)
	folder[multimae.WeightsFile].Data = edit(func(name string, x *weights.Tensor) bool {
		if seconds[name] != "" {
			x.Data = make([]float32, len(x.Data.([]float32)))
		}
		return true
	})
	if got, err = Load(folder); err != nil {
		t.Fatalf("second names of other values: %v", err)
	}
	sameParams(t, "second names of other values", got, m)
	folder[multimae.WeightsFile].Data = edit(func(name string, _ *weights.Tensor) bool { return name != "act_2_postprocess.1.weight" })
	_, err = Load(folder)
	testkit.ErrorNames(t, err, "model.safetensors: 1 of ", "missing output_adapters.depth.act_2_postprocess.1.weight [5 5 2 2]")
}

// TestFromPretrained starts a model from a pre-trained one: its encoder gives the same tokens,
// heads are as Init left them, and it needs the options.
func TestFromPretrained(t *testing.T) {
	folder := os.DirFS("../../testdata/parity/pretrain_small")
	base, err := multimae.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	f, err := weights.OpenFS(folder, multimae.WeightsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := &Config{BackboneConfig: base.Config.BackboneConfig}
	c.Model = "multivit"
	c.Outputs = Outputs{{Name: "depth", Head: Segmenter, NumClasses: 3, Loss: LossCrossEntropy, MainTasks: []string{"rgb"}, EmbedDim: 12, Heads: 3}}
	m, fresh := newModel(t, c), newModel(t, c)
	_, err = m.LoadWeights(f, nil)
	testkit.ErrorNames(t, err, "missing output_adapters.depth.cls_emb [1 3 12]")
	sameParams(t, "after an error", m, fresh)
	report, err := m.LoadWeights(f, &multimae.LoadOptions{DropOutputs: true})
	if err != nil {
		t.Fatal(err)
	}
	heads := 0
	for _, p := range m.Params.All() {
		from := fresh.Params
		if strings.HasPrefix(p.Name, "output_adapters.") {
			heads++
		} else {
			from = base.Params
		}
		testkit.SameBits(t, p.Name, p.Data, from.Get(p.Name).Data)
	}
	if len(report.Missing) != heads || heads == 0 || len(report.Adapted) != 0 || len(report.Unexpected) != len(f.Names())-(len(m.Params.All())-heads) {
		t.Errorf("%d parameters of heads; report %+v", heads, report)
	}
	b := newBatch(c, 2, 64, 64, "rgb", "depth")
	got, err := m.Encode(tensor.NewTape(nil), b, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	masks, err := multimae.AllVisible(2, base.Present(b), 16)
	if err != nil {
		t.Fatal(err)
	}
	want, err := base.Encode(tensor.NewTape(nil), b, masks, nil)
	if err != nil {
		t.Fatal(err)
	}
	testkit.SameBits(t, "tokens", got.Data, want.Data)
}

func TestLoadErrors(t *testing.T) {
	small := newModel(t, smallConfig())
	config := func(set func(c *Config)) []byte { c := smallConfig(); set(c); return c.JSON() }
	for _, c := range []struct {
		what string
		set  func(f fstest.MapFS)
		want string
	}{
		{"nothing", func(f fstest.MapFS) { clear(f) }, "config.json"},
		{"no weights", func(f fstest.MapFS) { delete(f, multimae.WeightsFile) }, "model.safetensors"},
		{"a value out of range", func(f fstest.MapFS) {
			f[multimae.ConfigFile].Data = bytes.Replace(f[multimae.ConfigFile].Data, []byte(`"patch_size": 16`), []byte(`"patch_size": 7`), 1)
		}, "config.json: image_size: "},
		{"cut off", func(f fstest.MapFS) { f[multimae.WeightsFile].Data = f[multimae.WeightsFile].Data[:5000] }, "safetensors: model.safetensors: "},
		{"a head missing", func(f fstest.MapFS) {
			f[multimae.ConfigFile].Data = config(func(c *Config) { c.Outputs = c.Outputs[1:] })
		},
			"unexpected \"output_adapters.mean.norm.weight\" [16]"},
		{"another number of classes", func(f fstest.MapFS) {
			f[multimae.ConfigFile].Data = config(func(c *Config) { c.Outputs[1].NumClasses = 9 })
		},
			"output_adapters.token.head.weight has shape [3 16], the model wants [9 16]"},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := folderOf(t, small)
			c.set(f)
			m, err := Load(f)
			if testkit.ErrorNames(t, err, c.want); m != nil {
				t.Error("a model and an error")
			}
		})
	}
	dir := t.TempDir()
	_, err := LoadDir(dir)
	if testkit.ErrorNames(t, err, dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadDir: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := small.Save(filepath.Join(dir, "file")); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "file")) {
		t.Errorf("a file for a folder: %v", err)
	}
}

// TestLoadHostile has configurations of models far larger than the file of weights: they must be
// refused before the memory is asked for.
func TestLoadHostile(t *testing.T) {
	small := newModel(t, smallConfig())
	for what, set := range map[string]func(c *Config){
		"width":   func(c *Config) { c.Encoder.Dim = 1 << 16 },
		"depth":   func(c *Config) { c.Encoder.Depth = 1024 },
		"grid":    func(c *Config) { c.ImageSize = 1 << 14 },
		"classes": func(c *Config) { c.Outputs[0].NumClasses, c.Outputs[4].NumClasses = 1<<16, multimae.IDPadding },
		"convnext": func(c *Config) {
			c.Outputs[2].EmbedDim, c.Outputs[2].PredsPerPatch, c.Outputs[2].NumClasses = 1<<16, 1, 1<<16
		},
		"convnext, segmenter depth": func(c *Config) { c.Outputs[2].Depth, c.Outputs[4].Depth = 1024, 1024 },
		"segmenter":                 func(c *Config) { c.Outputs[4].EmbedDim, c.Outputs[4].Heads = 1<<16, 1 },
		"dpt": func(c *Config) {
			for _, o := range c.Outputs[5:] {
				copy(o.LayerDims, []int{1 << 16, 1 << 16, 1 << 16, 1 << 16})
			}
			c.Outputs[5].FeatureDim, c.Outputs[6].FeatureDim = 1<<16, 1<<16
		},
		"outputs": func(c *Config) {
			for i := range 249 {
				o := c.Outputs[5]
				o.Name = strings.Repeat("x", i+1)
				c.Outputs = append(c.Outputs, o)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			c := smallConfig()
			set(c)
			if err := c.Check(); err != nil {
				t.Error(err)
			}
			f := folderOf(t, small)
			f[multimae.ConfigFile].Data = c.JSON()
			var err error
			if n := testkit.Allocated(func() { _, err = Load(f) }); n > 8<<20 {
				t.Errorf("%d bytes for files of %d", n, len(f[multimae.ConfigFile].Data)+len(f[multimae.WeightsFile].Data))
			}
			testkit.ErrorNames(t, err, "config.json", "model.safetensors")
		})
	}
}
