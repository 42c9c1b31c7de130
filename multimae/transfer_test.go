package multimae

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// hfViT returns the weights of timmViT under the names of transformers, with query, key and value
// apart.
func hfViT(prefix string, tokens ...string) []weights.Tensor {
	var out []weights.Tensor
	add := func(name string, shape []int, data []float32) {
		out = append(out, weights.Tensor{Name: prefix + name, Shape: shape, Data: data})
	}
	names := strings.NewReplacer("cls_token", "embeddings.cls_token", "dist_token", "embeddings.distillation_token",
		"pos_embed", "embeddings.position_embeddings", "patch_embed.proj", "embeddings.patch_embeddings.projection",
		"blocks", "encoder.layer", "norm1", "layernorm_before", "norm2", "layernorm_after", "attn.proj", "attention.output.dense",
		"mlp.fc1", "intermediate.dense", "mlp.fc2", "output.dense")
	for _, x := range timmViT(tokens...) {
		data := x.Data.([]float32)
		if block, what, ok := strings.Cut(x.Name, ".attn.qkv."); ok {
			shape := slices.Clone(x.Shape)
			shape[0] /= 3
			n := len(data) / 3
			for i, part := range []string{"query", "key", "value"} {
				add(names.Replace(block)+".attention.attention."+part+"."+what, shape, data[i*n:][:n])
			}
			continue
		}
		if rest, ok := strings.CutPrefix(x.Name, "norm."); ok {
			x.Name = "layernorm." + rest
		}
		add(names.Replace(x.Name), x.Shape, data)
	}
	return out
}

func TestFromViT(t *testing.T) {
	for _, tokens := range [][]string{{"cls_token"}, {"cls_token", "dist_token"}} {
		want, _, err := FromTimm(timmViT(tokens...))
		if err != nil {
			t.Fatal(err)
		}
		for prefix, dropped := range map[string]int{"": 2, "vit.": 4, "deit.": 4} {
			t.Run(fmt.Sprint(prefix, tokens), func(t *testing.T) {
				in := hfViT(prefix, tokens...)
				if prefix != "" {
					in = append(in, weights.Tensor{Name: "decoder.mask_token", Shape: []int{1}, Data: []float32{1}},
						weights.Tensor{Name: "classifier.weight", Shape: []int{1}, Data: []float32{1}})
				}
				out, left, err := FromViT(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(left) != dropped || len(out) != len(want) {
					t.Errorf("left out %v, and %d tensors, want %d", left, len(out), len(want))
				}
				for _, x := range want {
					testkit.SameBits(t, x.Name, find(t, out, x.Name), x.Data.([]float32))
				}
			})
		}
	}
	in := hfViT("vit.", "cls_token")
	for _, c := range []struct{ drop, add, want string }{
		{".key.weight", "", `encoder.layer.0.attention.attention.key.weight" is missing`},
		{".query.bias", "", `key.bias" has no query`},
		{"", "vit.encoder.layer.0.lambda_1", `"blocks.0.lambda_1"`},
		{"", "vit.other", `"other"`},
	} {
		t.Run(c.want, func(t *testing.T) {
			list := slices.Clone(in)
			if c.drop != "" {
				list = slices.DeleteFunc(list, func(x weights.Tensor) bool { return strings.HasSuffix(x.Name, c.drop) })
			}
			if c.add != "" {
				list = append(list, weights.Tensor{Name: c.add, Shape: []int{1}, Data: []float32{1}})
			}
			_, _, err := FromViT(list, nil)
			testkit.ErrorNames(t, err, c.want)
		})
	}
}

func TestTransfer(t *testing.T) {
	source := newModel(t, smallConfig())
	for _, p := range source.Params.All() {
		for i := range p.Data { // tell it from all others
			p.Data[i]++
		}
	}
	config := func(set func(c *Config)) *Config { c := smallConfig(); set(c); return c }
	tensors := source.Params.Tensors()
	without := func(prefix string) []weights.Tensor {
		return slices.DeleteFunc(slices.Clone(tensors), func(x weights.Tensor) bool { return strings.HasPrefix(x.Name, prefix) })
	}
	with := func(name string, shape ...int) []weights.Tensor {
		n := 1
		for _, d := range shape {
			n *= d
		}
		return append(slices.Clone(tensors), weights.Tensor{Name: name, Shape: shape, Data: make([]float32, n)})
	}
	all := []string{"global_tokens", "input_adapters.rgb", "input_adapters.depth", "input_adapters.semseg",
		"output_adapters.rgb", "output_adapters.depth", "output_adapters.semseg", "output_adapters.norm_rgb", "encoder"}
	but := func(parts ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(p string) bool { return slices.Contains(parts, p) })
	}
	for _, c := range []struct {
		what    string
		c       *Config
		in      []weights.Tensor
		taken   []string
		fresh   []string // parts
		adapted int
		unused  int // parts
	}{
		{"the same model", smallConfig(), tensors, all, nil, 0, 0},
		{"another grid", config(func(c *Config) { c.ImageSize = 40 }), tensors, all, nil, 7, 0},
		{"the encoder alone", smallConfig(), slices.DeleteFunc(without("input"), func(x weights.Tensor) bool { return !strings.HasPrefix(x.Name, "encoder.") }),
			[]string{"encoder"}, but("encoder"), 0, 0},
		{"an input more", config(func(c *Config) {
			c.Inputs = append(c.Inputs, Input{Name: "nir", Kind: KindImage, Channels: 1, Stride: 1})
		}), tensors, all, []string{"input_adapters.nir", "output_adapters.rgb.task_embeddings.nir", "output_adapters.depth.task_embeddings.nir",
			"output_adapters.semseg.task_embeddings.nir", "output_adapters.norm_rgb.task_embeddings.nir"}, 0, 0},
		{"an input less", config(func(c *Config) {
			c.Inputs, c.Outputs = c.Inputs[:1], slices.Clone(c.Outputs[:1])
		}), tensors, []string{"global_tokens", "input_adapters.rgb", "output_adapters.rgb", "encoder"}, nil, 0, 5},
		{"more classes", config(func(c *Config) { c.Inputs[2].NumClasses, c.Outputs[2].Channels = 9, 9 }), tensors,
			but("output_adapters.semseg"), []string{"output_adapters.semseg"}, 1, 1},
		{"fewer classes", config(func(c *Config) { c.Inputs[2].NumClasses, c.Outputs[2].Channels = 3, 3 }), tensors,
			but("output_adapters.semseg", "input_adapters.semseg"), []string{"input_adapters.semseg", "output_adapters.semseg"}, 0, 2},
		{"shallower decoder", config(func(c *Config) { c.Outputs[2].Depth-- }), tensors,
			but("output_adapters.semseg"), []string{"output_adapters.semseg"}, 0, 1},
		{"other channels", config(func(c *Config) { c.Inputs[1].Channels, c.Outputs[1].Channels = 2, 2 }), tensors,
			but("input_adapters.depth", "output_adapters.depth"), []string{"input_adapters.depth", "output_adapters.depth"}, 0, 2},
		{"other global tokens", config(func(c *Config) { c.NumGlobalTokens = 1 }), tensors, but("global_tokens"), []string{"global_tokens"}, 0, 1},
		{"a head in place of a decoder", smallConfig(), append(without("output_adapters.rgb."), weights.Tensor{Name: "output_adapters.rgb.head.weight", Shape: []int{1}, Data: []float32{1}}),
			but("output_adapters.rgb"), []string{"output_adapters.rgb"}, 0, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			m, was := newModel(t, c.c), newModel(t, c.c)
			r, err := m.Transfer(fileOf(t, c.in))
			if err != nil {
				t.Fatal(err)
			}
			var fresh []string
			for _, p := range r.Fresh {
				fresh = append(fresh, p.Part)
			}
			if !slices.Equal(r.Taken, c.taken) || !slices.Equal(fresh, c.fresh) || len(r.Adapted) != c.adapted {
				t.Errorf("%v", r)
			}
			unused := map[string]bool{}
			for _, key := range r.Unused {
				unused[partOf(key)] = true
			}
			if len(unused) != c.unused {
				t.Errorf("unused %v", r.Unused)
			}
			for _, p := range m.Params.All() {
				from := source.Params.Get(p.Name)
				switch {
				case slices.Contains(c.fresh, partOf(p.Name)) || slices.Contains(c.fresh, p.Name):
					testkit.SameBits(t, "fresh "+p.Name, p.Data, was.Params.Get(p.Name).Data)
				case slices.Equal(p.Shape, from.Shape):
					testkit.SameBits(t, p.Name, p.Data, from.Data)
				}
			}
		})
	}

	for _, c := range []struct {
		what, want string
		c          *Config
		in         []weights.Tensor
	}{
		{"no encoder", "no encoder", smallConfig(), without("encoder.")},
		{"a block less", "encoder.depth: its encoder has 2 blocks and the model's 3", config(func(c *Config) { c.Encoder.Depth++ }), tensors},
		{"a block more", "encoder.depth: its encoder has 2 blocks and the model's 1", config(func(c *Config) { c.Encoder.Depth-- }), tensors},
		{"another width", "encoder.0.norm1.weight has shape [16] in the file and [32] in the model", config(func(c *Config) { c.Encoder.Dim = 32 }), tensors},
		{"a parameter more", `"encoder.0.attn.q_norm.weight" is no parameter`, smallConfig(), with("encoder.0.attn.q_norm.weight", 16)},
		{"integers", "encoder.0.norm1.weight has the type U8", smallConfig(),
			append(without("encoder.0.norm1.weight"), weights.Tensor{Name: "encoder.0.norm1.weight", Shape: []int{16}, Data: make([]uint8, 16)})},
	} {
		t.Run(c.what, func(t *testing.T) {
			m, was := newModel(t, c.c), newModel(t, c.c)
			_, err := m.Transfer(fileOf(t, c.in))
			testkit.ErrorNames(t, err, c.want)
			for i, p := range m.Params.All() {
				testkit.SameBits(t, p.Name, p.Data, was.Params.All()[i].Data)
			}
		})
	}
}

// TestTransferViT starts a MultiMAE from a ViT with other patches on another grid.
func TestTransferViT(t *testing.T) {
	c := smallConfig()
	c.Encoder.Dim, c.Encoder.MLPRatio, c.NumGlobalTokens, c.PatchSize, c.ImageSize = 8, 4, 1, 4, 16
	c.Inputs[0].Stride, c.Outputs[0].Stride, c.Outputs[3].Stride = 2, 2, 2 // patches of 2 pixels, as the ViT's
	for name, in := range map[string][]weights.Tensor{"timm": timmViT("cls_token"), "transformers": hfViT("vit.", "cls_token")} {
		t.Run(name, func(t *testing.T) {
			m := newModel(t, c)
			r, err := m.Transfer(fileOf(t, in))
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{"global_tokens", "input_adapters.rgb", "encoder"}; !slices.Equal(r.Taken, want) || len(r.Adapted) != 1 {
				t.Errorf("%v", r)
			}
			want, _, err := FromTimm(timmViT("cls_token"))
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range want {
				if !strings.HasSuffix(x.Name, "pos_emb") {
					testkit.SameBits(t, x.Name, m.Params.Get(x.Name).Data, x.Data.([]float32))
				}
			}
		})
	}
	// A square stays one where the model has another grid of as many patches.
	c.PositionGrid = []int{1, 9}
	r, err := newModel(t, c).Transfer(fileOf(t, timmViT("cls_token")))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Adapted) != 1 || !slices.Equal(r.Adapted[0].From, []int{1, 8, 3, 3}) {
		t.Errorf("%v", r)
	}
}

// TestTransferHeads tells encoders apart whose weights have the same shapes.
func TestTransferHeads(t *testing.T) {
	m := newModel(t, smallConfig())
	dir := t.TempDir()
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(dir + "/" + WeightsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := m.Transfer(f); err != nil {
		t.Error(err)
	}
	c := smallConfig()
	c.Encoder.Heads = 4
	_, err = newModel(t, c).Transfer(f)
	testkit.ErrorNames(t, err, "encoder.heads: its model has 2 and this one 4")
	c = smallConfig()
	c.Outputs[2].Heads = 2
	other := newModel(t, c)
	for _, p := range other.Params.All() {
		p.Data[0] = 3 // tell it from the file
	}
	r, err := other.Transfer(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Fresh) != 1 || r.Fresh[0].Part != "output_adapters.semseg" || !strings.Contains(r.Fresh[0].Why, "4 attention heads in the file and 2") {
		t.Errorf("%v", r)
	}
	for _, p := range other.Params.All() {
		if fresh := partOf(p.Name) == "output_adapters.semseg"; fresh != (p.Data[0] == 3) {
			t.Errorf("%s: %v", p.Name, p.Data[0])
		}
	}
}

// TestGridOf finds the patches in the rows of a position table.
func TestGridOf(t *testing.T) {
	for _, c := range []struct {
		what          string
		rows, tokens  int
		known, likely []int
		first, h, w   int
	}{
		{"a square", 197, 1, nil, nil, 1, 14, 14},
		{"a square without rows of tokens", 196, 1, nil, nil, 0, 14, 14},
		{"a square, whatever the model has", 197, 1, nil, []int{7, 28}, 1, 14, 14},
		{"a square without rows of tokens, whatever the model has", 196, 1, nil, []int{7, 28}, 0, 14, 14},
		{"the grid of the file", 197, 1, []int{7, 28}, nil, 1, 7, 28},
		{"the grid of the file without rows of tokens", 37, 1, []int{1, 37}, nil, 0, 1, 37},
		{"the grid of the model", 100, 1, nil, []int{9, 11}, 1, 9, 11},
		{"no grid", 11, 1, nil, []int{9, 11}, 0, 0, 0},
		{"no patches", 1, 1, []int{1, 0}, []int{1, 0}, 0, 1, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			if first, h, w := gridOf(c.rows, c.tokens, c.known, c.likely); first != c.first || h != c.h || w != c.w {
				t.Errorf("%d rows, then %d×%d patches; want %d, %d×%d", first, h, w, c.first, c.h, c.w)
			}
		})
	}
}

// TestPositionGrid has position tables that are not square in a folder, in the configuration that
// their shapes give, and in a ViT.
func TestPositionGrid(t *testing.T) {
	c := smallConfig()
	c.PositionGrid = []int{2, 4}
	m := newModel(t, c)
	dir := t.TempDir()
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := newBatch(c, 1, 16, 32, 3, "rgb")
	want, err := m.Predict(t.Context(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := loaded.Predict(t.Context(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	testkit.SameBits(t, "prediction", got.Outputs[0].Pix, want.Outputs[0].Pix)
	table := m.Params.Get("input_adapters.rgb.pos_emb")
	if !slices.Equal(table.Shape, []int{1, 16, 2, 4}) {
		t.Errorf("a table of shape %v", table.Shape)
	}
	rows := m.adapters[0].pos.rows(tensor.NewInference(nil), 2, 4)
	for i := range 8 {
		for k := range 16 {
			if rows.Data[i*16+k] != table.Data[k*8+i] {
				t.Fatalf("position %d, channel %d: %g, want that of the table, %g", i, k, rows.Data[i*16+k], table.Data[k*8+i])
			}
		}
	}

	derived, err := ConfigOf(fileOf(t, m.Params.Tensors()), 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(derived.PositionGrid, c.PositionGrid) || derived.ImageSize != c.ImageSize {
		t.Errorf("derived position_grid %v and image_size %d", derived.PositionGrid, derived.ImageSize)
	}

	for _, grid := range [][]int{{1}, {2, 0}, {1, 2, 3}, {-1, 2}, {1 << 20, 1}} {
		c := smallConfig()
		c.PositionGrid = grid
		testkit.ErrorNames(t, c.Check(), "position_grid: ")
	}

	vit := timmViT("cls_token") // of 3×3 patches
	for i := range vit {
		if vit[i].Name == "pos_embed" {
			vit[i] = weights.Tensor{Name: "pos_embed", Shape: []int{1, 1 + 10, 8}, Data: testkit.Normal("pos", 11*8)}
		}
	}
	_, _, err = FromViT(vit, nil)
	testkit.ErrorNames(t, err, "pos_embed has 11 rows", "position_grid")
	out, _, err := FromViT(vit, []int{2, 5})
	if err != nil {
		t.Fatal(err)
	}
	pos, old := find(t, out, "input_adapters.rgb.pos_emb"), find(t, vit, "pos_embed")
	for i := range 10 {
		for k := range 8 {
			if pos[k*10+i] != old[(1+i)*8+k] {
				t.Fatalf("position %d, channel %d", i, k)
			}
		}
	}
}

// TestConfigFrom derives what to train from a file of every kind.
func TestConfigFrom(t *testing.T) {
	c := smallConfig()
	c.Train = Train{Recipe: Recipe{Steps: 9, Batch: 3, LogEvery: 1}, NumEncodedTokens: 2, Alphas: Alphas{1}}
	c.Optim = Optim{LR: 1, Betas: [2]float64{0.1, 0.2}, Eps: 1}
	c.Outputs[1].Dim, c.Outputs[1].Heads = 16, 8 // the heads that are assumed divide it
	m := newModel(t, c)
	dir := t.TempDir()
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	own, err := weights.Open(dir + "/" + WeightsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	vit := slices.DeleteFunc(timmViT("cls_token"), func(x weights.Tensor) bool { return strings.HasPrefix(x.Name, "norm.") })
	for _, k := range []struct {
		what    string
		f       weights.File
		assumed string
		check   func(got *Config) bool
	}{
		{"its own", own, "", func(got *Config) bool { return got.Train.Steps == 9 && got.Outputs[3].Name == "norm_rgb" }},
		{"shapes", fileOf(t, m.Params.Tensors()), "1 attention heads in the encoder and 8", func(got *Config) bool {
			return got.Encoder.Depth == 2 && got.Encoder.Dim == 16 && len(got.Outputs) == 4 && got.Train.Steps > 9 && got.Train.NumEncodedTokens == 2
		}},
		{"fine-tuned", describedFile{fileOf(t, m.Params.Tensors()), `{"model": "multivit", "encoder": {"dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 4, "layer_norm_eps": 1e-6, "drop_path": 0.1}}`}, "", func(got *Config) bool {
			return got.Encoder.Heads == 2 && got.Encoder.DropPath == 0
		}},
		{"a ViT", fileOf(t, vit), "1 attention heads in the encoder", func(got *Config) bool {
			return got.Encoder.Dim == 8 && got.PatchSize == 2 && got.ImageSize == 6 && got.Input("semseg").NumClasses == 5 && got.Input("semseg").Stride == 1
		}},
	} {
		t.Run(k.what, func(t *testing.T) {
			got, assumed, err := ConfigFrom(k.f, 5)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(assumed, k.assumed) || (k.assumed == "") != (assumed == "") || !k.check(got) {
				t.Errorf("assumed %q: %s", assumed, got.JSON())
			}
		})
	}
	_, _, err = ConfigFrom(fileOf(t, []weights.Tensor{{Name: "x.y", Shape: []int{1}, Data: []float32{1}}}), 5)
	testkit.ErrorNames(t, err, "encoder.0.mlp.fc1.weight")
}

// describedFile is a file of weights with a configuration.
type describedFile struct {
	weights.File
	config string
}

func (f describedFile) Metadata() map[string]string {
	return map[string]string{modelfolder.MetaConfig: f.config}
}

// TestPositionCopies bounds what a table keeps by its size.
func TestPositionCopies(t *testing.T) {
	c := smallConfig()
	c.Inputs, c.Outputs = c.Inputs[:1], nil
	m := NewBackbone(nn.NewParams(), &c.BackboneConfig)
	p, tape := m.positions[0], tensor.NewInference(nil)
	for _, k := range []struct{ h, w, copies int }{{64, 64, 1}, {512, 512, 2}, {600, 1000, 3}, {512, 1024, 1}, {2048, 1024, 1}} { // of width 16
		if rows := p.rows(tape, k.h, k.w); len(rows.Data) != 16*k.h*k.w {
			t.Errorf("%d values", len(rows.Data))
		}
		if len(p.copies) != k.copies {
			t.Errorf("%d×%d: %d copies, want %d", k.h, k.w, len(p.copies), k.copies)
		}
	}
}
