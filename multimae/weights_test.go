package multimae

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// fileOf is an opened file of tensors.
func fileOf(t testing.TB, tensors []weights.Tensor) weights.File {
	t.Helper()
	var b bytes.Buffer
	if err := weights.WriteSafetensors(&b, tensors, nil); err != nil {
		t.Fatal(err)
	}
	f, err := weights.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func pthOf(t testing.TB, m *Model) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := weights.WritePth(&b, m.Params.Tensors(), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestLoadPth reads folders with PyTorch checkpoints, and weights alone.
func TestLoadPth(t *testing.T) {
	m := newModel(t, smallConfig())
	pth, folder := pthOf(t, m), folderOf(t, m)
	safe := folder[WeightsFile].Data
	other := pthOf(t, newModel(t, smallConfig()))
	for what, files := range map[string]fstest.MapFS{
		"pytorch_model.bin":          {"pytorch_model.bin": {Data: pth}},
		"model.pth":                  {"model.pth": {Data: pth}},
		"bin before pth":             {"pytorch_model.bin": {Data: pth}, "model.pth": {Data: other[:100]}},
		"safetensors before all":     {WeightsFile: {Data: safe}, "pytorch_model.bin": {Data: other[:100]}},
		"told by content, not names": {WeightsFile: {Data: pth}},
	} {
		t.Run(what, func(t *testing.T) {
			files[ConfigFile] = folder[ConfigFile]
			got, err := Load(files)
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range got.Params.All() {
				testkit.SameBits(t, p.Name, p.Data, m.Params.All()[i].Data)
			}
		})
	}
	_, err := Load(fstest.MapFS{ConfigFile: folder[ConfigFile], "model.pth": {Data: pth[:len(pth)/2]}})
	testkit.ErrorNames(t, err, "pth: model.pth: ")
	file, err := weights.NewReader(bytes.NewReader(pth), int64(len(pth)))
	if err != nil {
		t.Fatal(err)
	}
	for key, set := range map[string]func(c *Config){
		"image_size": func(c *Config) { c.PatchSize = 7 },
		"pth":        func(c *Config) { c.Encoder.Dim = 1 << 16 },
	} {
		c := smallConfig()
		set(c)
		_, err = LoadFrom(c, file)
		testkit.ErrorNames(t, err, key+": ")
	}
}

func TestLoadWeights(t *testing.T) {
	source := newModel(t, smallConfig())
	for _, p := range source.Params.All() {
		for i := range p.Data { // tell it from all others
			p.Data[i] += 1
		}
	}
	file := fileOf(t, source.Params.Tensors())
	config := func(set func(c *Config)) *Config { c := smallConfig(); set(c); return c }
	// Which parameters come from the file.
	starts := func(prefixes ...string) func(string) bool {
		return func(name string) bool {
			return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		}
	}
	for _, c := range []struct {
		what                         string
		c                            *Config
		o                            LoadOptions
		read                         func(name string) bool
		missing, unexpected, adapted int
	}{
		{"strict", smallConfig(), LoadOptions{}, starts(""), 0, 0, 0},
		{"encoder", smallConfig(), LoadOptions{EncoderOnly: true}, starts("encoder.", "global_tokens"), -1, -1, 0},
		{"encoder of another model", config(func(c *Config) {
			c.Inputs[1].Name, c.Outputs[1].Task, c.Outputs[1].Name = "nir", "nir", "nir"
			c.Outputs[0].Dim, c.ImageSize = 16, 32
		}), LoadOptions{EncoderOnly: true}, starts("encoder.", "global_tokens"), -1, -1, 0},
		{"outputs dropped", smallConfig(), LoadOptions{DropOutputs: true}, starts("encoder.", "global_tokens", "input_adapters."), -1, -1, 0},
		{"inputs dropped", config(func(c *Config) {
			c.Inputs, c.Outputs = c.Inputs[:1], slices.Clone(c.Outputs[:1])
		}), LoadOptions{DropInputs: true, DropOutputs: true}, starts("encoder.", "global_tokens", "input_adapters.rgb."), -1, -1, 0},
		{"an input more", config(func(c *Config) { c.Inputs[1].Name, c.Outputs[1].Task = "nir", "nir" }),
			LoadOptions{DropInputs: true, DropOutputs: true}, starts("encoder.", "global_tokens", "input_adapters.rgb.", "input_adapters.semseg."), -1, -1, 0},
		{"positions", config(func(c *Config) { c.ImageSize = 40 }), LoadOptions{ResizePositions: true}, starts(""), 0, 0, 3 + len(source.Config.Outputs)},
		{"classes", config(func(c *Config) { c.Inputs[2].NumClasses, c.Outputs[2].Channels = 9, 9 }), LoadOptions{PadClasses: true, DropOutputs: true},
			starts("encoder.", "global_tokens", "input_adapters."), -1, -1, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			m, fresh := newModel(t, c.c), newModel(t, c.c)
			r, err := m.LoadWeights(file, &c.o)
			if err != nil {
				t.Fatal(err)
			}
			read := 0
			for _, p := range m.Params.All() {
				from := source.Params.Get(p.Name)
				switch {
				case !c.read(p.Name):
					testkit.SameBits(t, "kept "+p.Name, p.Data, fresh.Params.Get(p.Name).Data)
					continue
				case strings.HasSuffix(p.Name, ".class_emb.weight"):
					testkit.SameBits(t, p.Name, p.Data[:len(from.Data)], from.Data)
					testkit.SameBits(t, "new classes", p.Data[len(from.Data):], fresh.Params.Get(p.Name).Data[len(from.Data):])
				case slices.Equal(p.Shape, from.Shape):
					testkit.SameBits(t, p.Name, p.Data, from.Data)
				default: // a table of positions
					how := vit.Bicubic
					if strings.HasPrefix(p.Name, "output_adapters.") {
						how = vit.Bilinear
					}
					d, n := p.Shape[1], p.Shape[2]*p.Shape[3]
					rows := vit.PositionRows(tensor.NewInference(nil), from.Data, d, from.Shape[2], from.Shape[3], p.Shape[2], p.Shape[3], how)
					for i := range n {
						for k := range d {
							if p.Data[k*n+i] != rows[i*d+k] {
								t.Fatalf("%s: position %d, channel %d", p.Name, i, k)
							}
						}
					}
				}
				read++
			}
			if read == 0 {
				t.Error("nothing was read")
			}
			if got := len(r.Missing); c.missing < 0 && got != len(m.Params.All())-read || c.missing >= 0 && got != c.missing {
				t.Errorf("%d missing, %v", got, r.Missing)
			}
			if got := len(r.Unexpected); c.unexpected < 0 && got != len(source.Params.All())-read || c.unexpected >= 0 && got != c.unexpected {
				t.Errorf("%d unexpected, %v", got, r.Unexpected)
			}
			if len(r.Adapted) != c.adapted {
				t.Errorf("adapted %v", r.Adapted)
			}
		})
	}

	// What the options do not cover is an error that changes nothing.
	for what, c := range map[string]struct {
		c    *Config
		o    *LoadOptions
		want string
	}{
		"positions": {config(func(c *Config) { c.ImageSize = 40 }), nil, "input_adapters.rgb.pos_emb has shape [1 16 2 2], the model wants [1 16 5 5]"},
		"width":     {config(func(c *Config) { c.Encoder.Dim = 32 }), &LoadOptions{ResizePositions: true, PadClasses: true}, "input_adapters.rgb.pos_emb has shape [1 16 2 2], the model wants [1 32 2 2]"},
		"classes":   {config(func(c *Config) { c.Inputs[2].NumClasses, c.Outputs[2].Channels = 4, 4 }), &LoadOptions{PadClasses: true}, "class_emb.weight has shape [5 6], the model wants [4 6]"},
		"depth":     {config(func(c *Config) { c.Encoder.Depth++ }), &LoadOptions{EncoderOnly: true}, "missing encoder." + strconv.Itoa(smallConfig().Encoder.Depth) + ".norm1.weight"},
		"inputs":    {config(func(c *Config) { c.Inputs, c.Outputs = c.Inputs[:1], slices.Clone(c.Outputs[:1]) }), &LoadOptions{DropOutputs: true}, `unexpected "input_adapters.depth.pos_emb"`},
	} {
		t.Run(what, func(t *testing.T) {
			m, fresh := newModel(t, c.c), newModel(t, c.c)
			_, err := m.LoadWeights(file, c.o)
			testkit.ErrorNames(t, err, c.want)
			for i, p := range m.Params.All() {
				testkit.SameBits(t, p.Name, p.Data, fresh.Params.All()[i].Data)
			}
		})
	}
}

// published is the state dict of MultiMAE-B without its values.
type published struct {
	weights.File
	names  []string
	shapes map[string][]int
}

func (p *published) Label() string                   { return "published" }
func (p *published) Names() []string                 { return p.names }
func (p *published) Shape(name string) ([]int, bool) { s, ok := p.shapes[name]; return s, ok }

// TestConfigOf derives the configurations of the published checkpoint and of the presets.
func TestConfigOf(t *testing.T) {
	b, err := os.ReadFile("testdata/multimae_b_keys.tsv")
	if err != nil {
		t.Fatal(err)
	}
	p := &published{shapes: map[string][]int{}}
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(line, "\t"); len(f) == 3 && line[0] != '#' {
			p.names = append(p.names, f[0])
			var shape []int
			for _, s := range strings.Split(f[1], "x") {
				n, err := strconv.Atoi(s)
				if err != nil {
					t.Fatal(err)
				}
				shape = append(shape, n)
			}
			p.shapes[f[0]] = shape
		}
	}
	same := func(what string, f weights.File, heads, decoderHeads int, want *Config) {
		t.Helper()
		got, err := ConfigOf(f, heads, decoderHeads)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		want.Train, want.Optim = Train{}, Optim{}
		want.Encoder.ZeroInitResidual, want.Inputs[2].ClassEmbStd = false, 0 // weights do not show what they began as
		if !bytes.Equal(got.JSON(), want.JSON()) {
			t.Errorf("%s: derived\n%s\nwant\n%s", what, got.JSON(), want.JSON())
		}
	}
	base, err := Preset("base", 133)
	if err != nil {
		t.Fatal(err)
	}
	same("published", p, 0, 8, base)
	tiny, err := Preset("tiny", 7)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewModel(tiny)
	if err != nil {
		t.Fatal(err)
	}
	same("tiny", fileOf(t, m.Params.Tensors()), 4, 2, tiny)

	for _, c := range []struct {
		key   string // lacking, or of this shape
		shape []int
		want  string
	}{
		{"encoder.0.mlp.fc1.weight", nil, "lacks encoder.0.mlp.fc1.weight"},
		{"encoder.0.mlp.fc1.weight", []int{0, 0}, "encoder.0.mlp.fc1.weight has shape [0 0], want 2 axes"},
		{"encoder.0.mlp.fc1.weight", []int{math.MaxInt, 2}, "encoder.0.mlp.fc1.weight has shape "},
		{"input_adapters.rgb.pos_emb", []int{1, 1, 1, math.MaxInt / 16}, "input_adapters.rgb.pos_emb has shape "},
		{"input_adapters.rgb.pos_emb", []int{1, 0, 14, 14}, "input_adapters.rgb.pos_emb has shape "},
		{"input_adapters.rgb.proj.weight", []int{1, 1, 1, math.MaxInt / 64}, "input_adapters.rgb.pos_emb has shape "},
		{"global_tokens", []int{768}, "global_tokens has shape [768], want 3 axes"},
		{"input_adapters.rgb.proj.weight", nil, "lacks input_adapters.rgb.proj.weight"},
		{"input_adapters.rgb.pos_emb", nil, "lacks input_adapters.rgb.pos_emb"},
		{"input_adapters.semseg.class_emb.weight", []int{133}, "want 2 axes"},
		{"input_adapters.semseg.class_emb.weight", []int{1 << 20, 64}, "inputs.semseg.num_classes: got 1048576"},
		{"output_adapters.rgb.mask_token", nil, "lacks output_adapters.rgb.mask_token"},
		{"output_adapters.rgb.out_proj.weight", nil, "lacks output_adapters.rgb.out_proj.weight"},
		{"output_adapters.rgb.out_proj.weight", []int{5, 256}, "outputs.rgb.channels: got 0"},
	} {
		t.Run(c.key, func(t *testing.T) {
			was := p.shapes[c.key]
			if p.shapes[c.key] = c.shape; c.shape == nil {
				delete(p.shapes, c.key)
			}
			_, err := ConfigOf(p, 0, 8)
			if testkit.ErrorNames(t, err, "published: ", c.want); was == nil {
				t.Errorf("the published model has no %s", c.key)
			}
			p.shapes[c.key] = was
		})
	}
	odd := fileOf(t, []weights.Tensor{{Name: "input_adapters.a.x", Shape: nil, Data: []float32{1}}})
	_, err = ConfigOf(odd, 0, 8)
	testkit.ErrorNames(t, err, "safetensors: ", "1 input_adapters", "0 output_adapters")

	// Many modalities, and a name that no error may repeat.
	many := &published{shapes: map[string][]int{}}
	for i := range 100_000 {
		many.names = append(many.names, fmt.Sprintf("input_adapters.%d.x", i), fmt.Sprintf("output_adapters.%d.x", i))
	}
	_, err = ConfigOf(many, 0, 8)
	testkit.ErrorNames(t, err, "lacks encoder.0.mlp.fc1.weight")
	many.names = append(many.names, strings.Repeat("x", 1<<20))
	if _, err = ConfigOf(many, 0, 8); err == nil || len(err.Error()) > 1<<10 {
		t.Error("no error, or one with a name of a megabyte")
	}
}
