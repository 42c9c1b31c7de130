package multimae

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// folderOf is a model folder in memory.
func folderOf(t testing.TB, m *Model) fstest.MapFS {
	t.Helper()
	var b bytes.Buffer
	if err := weights.WriteSafetensors(&b, m.Params.Tensors(), nil); err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{ConfigFile: {Data: m.Config.JSON()}, WeightsFile: {Data: b.Bytes()}}
}

// TestSaveLoad checks that a model read back is the same to the bit.
func TestSaveLoad(t *testing.T) {
	c := smallConfig()
	c.Train, c.Optim = trained().Train, trained().Optim
	m := newModel(t, c)
	m.Params.Get("global_tokens").Data[0] = float32(math.Copysign(0, -1))
	for _, p := range m.Params.All() {
		if p.Fixed { // a table of its own is kept, not made anew
			p.Data[0] = 0.123
		}
	}
	m.PositionsChanged()
	dir := filepath.Join(t.TempDir(), "new", "folder")
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(dir); err != nil { // over an earlier one
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 || entries[0].Name() != ConfigFile || entries[1].Name() != WeightsFile {
		t.Errorf("folder holds %v, %v", entries, err)
	}
	f, err := weights.Open(filepath.Join(dir, WeightsFile))
	if err != nil {
		t.Fatal(err)
	}
	if f.Metadata()["format"] != "pt" { // transformers and others refuse a file without
		t.Errorf("metadata %v", f.Metadata())
	}
	if got := f.Names(); len(got) != len(m.Params.All()) || got[0] != "global_tokens" {
		t.Errorf("the file has %v", got)
	}
	f.Close()
	b := newBatch(c, 2, 16, 24, 1, "rgb", "semseg")
	masks := newMasks(t, c, b, 5, 2, "rgb", "semseg")
	want, err := m.Forward(tensor.NewTape(nil), b, masks, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := fileOf(t, m.Params.Tensors())
	for what, load := range map[string]func() (*Model, error){
		"LoadDir":        func() (*Model, error) { return LoadDir(dir) },
		"part of a tree": func() (*Model, error) { s, _ := fs.Sub(os.DirFS(filepath.Dir(dir)), "folder"); return Load(s) },
		"in memory":      func() (*Model, error) { return Load(folderOf(t, m)) },
		"LoadFrom":       func() (*Model, error) { return LoadFrom(c, file) },
	} {
		t.Run(what, func(t *testing.T) {
			got, err := load()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Config.JSON(), c.JSON()) {
				t.Errorf("configuration\n%s", got.Config.JSON())
			}
			for i, p := range got.Params.All() {
				w := m.Params.All()[i]
				if p.Name != w.Name || p.Fixed != w.Fixed || p.Frozen() != (what != "LoadFrom") {
					t.Fatalf("parameter %d is %s, frozen %v, want %s", i, p.Name, p.Frozen(), w.Name)
				}
				testkit.SameBits(t, p.Name, p.Data, w.Data)
			}
			preds, err := got.Forward(tensor.NewInference(nil), b, masks, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range preds {
				testkit.SameBits(t, "prediction", preds[i].Data, want[i].Data)
			}
		})
	}
}

// TestLoadErrors has folders without a model: the error names the file and lists everything that is
// wrong with it.
func TestLoadErrors(t *testing.T) {
	small := newModel(t, smallConfig())
	config := func(set func(c *Config)) []byte {
		c := smallConfig()
		set(c)
		return c.JSON()
	}
	for _, c := range []struct {
		what string
		set  func(f fstest.MapFS)
		want []string
	}{
		{"nothing", func(f fstest.MapFS) { clear(f) }, []string{"config.json"}},
		{"no weights", func(f fstest.MapFS) { delete(f, WeightsFile) }, []string{"model.safetensors", "pytorch_model.bin", "model.pth"}},
		{"a key misspelled", func(f fstest.MapFS) {
			f[ConfigFile].Data = bytes.Replace(f[ConfigFile].Data, []byte("patch_size"), []byte("patchsize"), 1)
		}, []string{"config.json: patchsize: ", `"patch_size"`}},
		{"a value out of range", func(f fstest.MapFS) {
			f[ConfigFile].Data = bytes.Replace(f[ConfigFile].Data, []byte(`"patch_size": 8`), []byte(`"patch_size": 7`), 1)
		}, []string{"config.json: image_size: ", "patch_size 7"}},
		{"cut off", func(f fstest.MapFS) { f[WeightsFile].Data = f[WeightsFile].Data[:5000] }, []string{"safetensors: model.safetensors: "}},
		{"a byte short", func(f fstest.MapFS) { f[WeightsFile].Data = f[WeightsFile].Data[:len(f[WeightsFile].Data)-1] }, []string{"safetensors: model.safetensors: "}},
		{"no global tokens", func(f fstest.MapFS) { f[ConfigFile].Data = config(func(c *Config) { c.NumGlobalTokens = 0 }) },
			[]string{"safetensors: model.safetensors: 1 of ", "config.json", `unexpected "global_tokens" [1 2 16]`}},
		{"another width", func(f fstest.MapFS) {
			f[ConfigFile].Data = config(func(c *Config) { c.Outputs[1].Dim = 24; c.Outputs[1].Depth = 1 })
		}, []string{"36 of its tensors", "output_adapters.depth.mask_token has shape [1 1 12], the model wants [1 1 24]", "output_adapters.depth.decoder.kv.weight has shape [24 12], the model wants [48 24]", "… and 16 more"}},
		{"another number of classes", func(f fstest.MapFS) {
			f[ConfigFile].Data = config(func(c *Config) { c.Inputs[2].NumClasses, c.Outputs[2].Channels = 6, 6 })
		}, []string{"3 of its tensors", "input_adapters.semseg.class_emb.weight has shape [5 6], the model wants [6 6]", "output_adapters.semseg.out_proj.weight has shape [20 8], the model wants [24 8]",
			"output_adapters.semseg.out_proj.bias has shape [20], the model wants [24]"}},
		{"another modality", func(f fstest.MapFS) {
			f[ConfigFile].Data = config(func(c *Config) { c.Inputs[1].Name, c.Outputs[1].Task = "nir", "nir" })
		}, []string{"missing input_adapters.nir.pos_emb [1 16 2 2]", `unexpected "input_adapters.depth.pos_emb" [1 16 2 2]`}},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := folderOf(t, small)
			c.set(f)
			m, err := Load(f)
			if testkit.ErrorNames(t, err, c.want...); m != nil {
				t.Error("a model and an error")
			}
		})
	}
	dir := t.TempDir()
	_, err := LoadDir(dir)
	if testkit.ErrorNames(t, err, dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadDir: %v", err)
	}
}

// TestLoadHostile has configurations of models far larger than the file of weights: they must be
// refused before the memory is asked for.
func TestLoadHostile(t *testing.T) {
	small := newModel(t, smallConfig())
	for what, set := range map[string]func(c *Config){
		"width":  func(c *Config) { c.Encoder.Dim = 1 << 16 },
		"depth":  func(c *Config) { c.Encoder.Dim, c.Encoder.Depth, c.Encoder.MLPRatio = 1024, 1024, 64 },
		"grid":   func(c *Config) { c.ImageSize = 1 << 14 },
		"tokens": func(c *Config) { c.NumGlobalTokens, c.Encoder.Dim = 1024, 1<<14 },
		"modalities": func(c *Config) {
			for i := range 253 {
				name := strings.Repeat("x", i+1)
				c.Inputs = append(c.Inputs, Input{Name: name, Kind: KindImage, Channels: 1 << 10, Stride: 1})
				o := c.Outputs[0]
				o.Name, o.Task, o.Channels = name, name, 1<<10
				c.Outputs = append(c.Outputs, o)
			}
			c.Outputs = c.Outputs[:256]
		},
	} {
		t.Run(what, func(t *testing.T) {
			c := smallConfig()
			set(c)
			if err := c.Check(); err != nil {
				t.Error(err)
			}
			f := folderOf(t, small)
			f[ConfigFile].Data = c.JSON()
			var err error
			if n := testkit.Allocated(func() { _, err = Load(f) }); n > 8<<20 {
				t.Errorf("%d bytes for files of %d", n, len(f[ConfigFile].Data)+len(f[WeightsFile].Data))
			}
			testkit.ErrorNames(t, err, "config.json", "model.safetensors")
		})
	}
}

// TestSaveErrors checks that a failed Save leaves the earlier model.
func TestSaveErrors(t *testing.T) {
	m := newModel(t, smallConfig())
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file for a folder: %v", err)
	}
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, WeightsFile))
	if err != nil {
		t.Fatal(err)
	}
	// A folder stands where the configuration is to go.
	if err := os.Remove(filepath.Join(dir, ConfigFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, ConfigFile, "x"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(dir); err == nil {
		t.Error("a folder for a file: no error")
	}
	after, err := os.ReadFile(filepath.Join(dir, WeightsFile))
	if err != nil || !slices.Equal(before, after) {
		t.Errorf("the weights changed, %v", err)
	}
}
