package multimae

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/vit"
)

// timmViT is a ViT of width 8 with two blocks on 3×3 patches of 2 pixels.
func timmViT(tokens ...string) []weights.Tensor {
	const d, n = 8, 3
	var list []weights.Tensor
	add := func(name string, shape ...int) {
		count := 1
		for _, s := range shape {
			count *= s
		}
		list = append(list, weights.Tensor{Name: name, Shape: shape, Data: testkit.Normal(name, count)})
	}
	for _, name := range tokens {
		add(name, 1, 1, d)
	}
	add("pos_embed", 1, len(tokens)+n*n, d)
	add("patch_embed.proj.weight", d, 3, 2, 2)
	add("patch_embed.proj.bias", d)
	for i := range 2 {
		ps := nn.NewParams()
		vit.NewEncoder(ps, "", vit.Config{Dim: d, Depth: 1, Heads: 2, MLPRatio: 4, QKVBias: true, LayerNormEps: 1e-6})
		for _, p := range ps.All() {
			_, key, _ := strings.Cut(strings.TrimPrefix(p.Name, "."), ".")
			add(fmt.Sprintf("blocks.%d.%s", i, key), p.Shape...)
		}
	}
	add("norm.weight", d)
	add("norm.bias", d)
	return list
}

func find(t *testing.T, list []weights.Tensor, name string) []float32 {
	t.Helper()
	for _, x := range list {
		if x.Name == name {
			return x.Data.([]float32)
		}
	}
	t.Fatalf("no %s", name)
	return nil
}

func TestFromTimm(t *testing.T) {
	for _, tokens := range [][]string{{"cls_token"}, {"cls_token", "dist_token"}, {}} {
		in := timmViT(tokens...)
		in = append(in, weights.Tensor{Name: "head.weight", Shape: []int{1}, Data: []float32{1}}, weights.Tensor{Name: "decoder_blocks.0.norm1.weight", Shape: []int{1}, Data: []float32{1}},
			weights.Tensor{Name: "mask_token", Shape: []int{1}, Data: []float32{1}})
		out, dropped, err := FromTimm(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(dropped); got != "[norm.weight norm.bias head.weight decoder_blocks.0.norm1.weight mask_token]" {
			t.Errorf("dropped %s", got)
		}
		pos := find(t, in, "pos_embed")
		k := len(tokens)
		if k > 0 {
			want := make([]float32, k*8)
			for i, name := range tokens {
				for c, v := range find(t, in, name) {
					want[i*8+c] = v + pos[i*8+c]
				}
			}
			testkit.SameBits(t, "global_tokens", find(t, out, "global_tokens"), want)
			if out[0].Name != "global_tokens" || !slices.Equal(out[0].Shape, []int{1, k, 8}) {
				t.Errorf("first comes %s %v", out[0].Name, out[0].Shape)
			}
		}
		table := find(t, out, "input_adapters.rgb.pos_emb")
		for i := range 9 {
			for c := range 8 {
				if table[c*9+i] != pos[(k+i)*8+c] {
					t.Fatalf("position %d, channel %d", i, c)
				}
			}
		}
		testkit.SameBits(t, "projection", find(t, out, "input_adapters.rgb.proj.weight"), find(t, in, "patch_embed.proj.weight"))
		testkit.SameBits(t, "block", find(t, out, "encoder.1.mlp.fc2.weight"), find(t, in, "blocks.1.mlp.fc2.weight"))
		// The keys are those of an encoder here.
		ps := nn.NewParams()
		vit.NewEncoder(ps, "encoder", vit.Config{Dim: 8, Depth: 2, Heads: 2, MLPRatio: 4, QKVBias: true, LayerNormEps: 1e-6})
		for _, p := range ps.All() {
			if len(find(t, out, p.Name)) != len(p.Data) {
				t.Errorf("%s has another size", p.Name)
			}
		}
		if n := len(ps.All()) + 3 + min(k, 1); len(out) != n {
			t.Errorf("%d tensors, want %d", len(out), n)
		}

		// Back: only the sum of token and position stays one.
		timm, dropped, err := ToTimm(append(out, weights.Tensor{Name: "output_adapters.rgb.mask_token", Shape: []int{1}, Data: []float32{1}}))
		if err != nil || len(dropped) != 1 {
			t.Fatal(dropped, err)
		}
		back, _, err := FromTimm(timm)
		if err != nil || len(back) != len(out) {
			t.Fatal(err)
		}
		for i := range out {
			if back[i].Name != out[i].Name || !slices.Equal(back[i].Shape, out[i].Shape) {
				t.Errorf("%s %v came back as %s %v", out[i].Name, out[i].Shape, back[i].Name, back[i].Shape)
			}
			testkit.SameBits(t, out[i].Name, back[i].Data.([]float32), out[i].Data.([]float32))
		}
		for _, x := range timmViT(tokens...) {
			got := find(t, timm, x.Name)
			switch {
			case x.Name == "norm.weight" && (got[0] != 1 || len(got) != 8) || x.Name == "norm.bias" && got[7] != 0:
				t.Errorf("%s is %v", x.Name, got)
			case x.Name == "pos_embed":
				testkit.SameBits(t, x.Name, got[k*8:], pos[k*8:])
				testkit.SameBits(t, x.Name, got[:k*8], make([]float32, k*8))
			case strings.HasPrefix(x.Name, "blocks."):
				testkit.SameBits(t, x.Name, got, x.Data.([]float32))
			}
		}
	}
}

// TestTimmFiles converts weights that timm wrote, there and back.
func TestTimmFiles(t *testing.T) {
	for _, file := range []string{"model.safetensors", "model.pth"} {
		f, err := weights.Open("../testdata/timm/" + file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in, err := weights.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		out, dropped, err := FromTimm(in)
		if err != nil || !IsTimm(f.Names()) {
			t.Fatal(err)
		}
		if slices.Sort(dropped); fmt.Sprint(dropped) != "[head.bias head.weight norm.bias norm.weight]" {
			t.Errorf("%s: dropped %v", file, dropped)
		}
		back, dropped, err := ToTimm(out)
		if err != nil || len(dropped) != 0 || len(back) != len(in)-2 {
			t.Fatalf("%s: %d tensors of %d, dropped %v, %v", file, len(back), len(in), dropped, err)
		}
		const d = 32
		pos, posBack := find(t, in, "pos_embed"), find(t, back, "pos_embed")
		for _, x := range back {
			got, want := x.Data.([]float32), find(t, in, x.Name)
			switch x.Name {
			case "cls_token": // its position has become part of it
				for i, v := range want {
					if sum := v + pos[i]; got[i] != sum || posBack[i] != 0 {
						t.Fatalf("%s: token and position %d are %g and %g, want %g and 0", file, i, got[i], posBack[i], sum)
					}
				}
			case "pos_embed":
				testkit.SameBits(t, file+": "+x.Name, got[d:], want[d:])
			case "norm.weight", "norm.bias":
				for i, v := range got {
					if (v == 1) != (x.Name == "norm.weight") || v != 0 && v != 1 {
						t.Fatalf("%s: %s is %g at %d", file, x.Name, v, i)
					}
				}
			default:
				testkit.SameBits(t, file+": "+x.Name, got, want)
			}
		}
	}
}

// TestFromTimmNoRow has a table without a row for the class token, as some models have it.
func TestFromTimmNoRow(t *testing.T) {
	in := timmViT()
	token := testkit.Normal("cls", 8)
	out, _, err := FromTimm(append(in, weights.Tensor{Name: "cls_token", Shape: []int{1, 1, 8}, Data: token}))
	if err != nil {
		t.Fatal(err)
	}
	testkit.SameBits(t, "global_tokens", find(t, out, "global_tokens"), token)
}

func TestTimmErrors(t *testing.T) {
	one := func(name string, shape ...int) weights.Tensor {
		n := 1
		for _, s := range shape {
			n *= s
		}
		return weights.Tensor{Name: name, Shape: shape, Data: make([]float32, n)}
	}
	hollow := func(name string, shape ...int) weights.Tensor {
		return weights.Tensor{Name: name, Shape: shape, Data: []float32{}}
	}
	pos, patch := one("pos_embed", 1, 10, 8), one("patch_embed.proj.weight", 8, 3, 2, 2)
	table, proj := one("input_adapters.rgb.pos_emb", 1, 8, 3, 3), one("input_adapters.rgb.proj.weight", 8, 3, 2, 2)
	for _, c := range []struct {
		convert func([]weights.Tensor) ([]weights.Tensor, []string, error)
		in      []weights.Tensor
		want    string
	}{
		{FromTimm, nil, "pos_embed"},
		{FromTimm, []weights.Tensor{one("pos_embed", 1, 10), patch}, `"pos_embed" has shape [1 10]`},
		{FromTimm, []weights.Tensor{{Name: "pos_embed", Shape: []int{1, 1, 1}, Data: []int64{1}}, patch}, "pos_embed"},
		{FromTimm, []weights.Tensor{pos, patch}, "pos_embed has 10 rows"},
		{FromTimm, []weights.Tensor{pos, patch, one("cls_token", 1, 1, 7)}, `"cls_token" has shape [1 1 7]`},
		{FromTimm, []weights.Tensor{pos, patch, one("cls_token", 1, 1, 8), one("blocks.0.ls1.gamma", 8)}, `"blocks.0.ls1.gamma" `},
		{FromTimm, []weights.Tensor{pos, patch, one("cls_token", 1, 1, 8), one("reg_token", 1, 4, 8)}, `"reg_token" `},
		{ToTimm, nil, "input_adapters.rgb."},
		{ToTimm, []weights.Tensor{one("input_adapters.rgb.pos_emb", 8, 3, 3), proj}, "has shape [8 3 3]"},
		{ToTimm, []weights.Tensor{table, proj, one("global_tokens", 1, 3, 8)}, `"global_tokens" has shape [1 3 8]`},
		{ToTimm, []weights.Tensor{table, proj, one("encoder.0.other", 8)}, `"encoder.0.other" `},

		// Shapes that do not fit the values, or have no values.
		{FromTimm, []weights.Tensor{hollow("pos_embed", 1, 1<<30, 0), patch}, `"pos_embed" has shape [1 1073741824 0]`},
		{FromTimm, []weights.Tensor{hollow("pos_embed", 1, 0, 8), patch}, `"pos_embed" has shape [1 0 8]`},
		{FromTimm, []weights.Tensor{hollow("pos_embed", 1, 1<<30, 1<<30), patch}, `"pos_embed" has shape [1 1073741824 1073741824], but 0 values`},
		{FromTimm, []weights.Tensor{one("pos_embed", 1, 9, 8), hollow("patch_embed.proj.weight", 0)}, `"patch_embed.proj.weight" has shape [0], want [8, 3, p, p]`},
		{FromTimm, []weights.Tensor{one("pos_embed", 1, 9, 8), one("patch_embed.proj.weight", 4, 3, 2, 2)}, `"patch_embed.proj.weight" has shape [4 3 2 2], want [8, 3, p, p]`},
		{FromTimm, []weights.Tensor{one("pos_embed", 1, 9, 8), one("patch_embed.proj.weight", 8, 1, 2, 2)}, `"patch_embed.proj.weight" has shape [8 1 2 2], want [8, 3, p, p]`},
		{FromTimm, []weights.Tensor{one("pos_embed", 1, 9, 8), one("patch_embed.proj.weight", 8, 2, 2, 3)}, `"patch_embed.proj.weight" has shape [8 2 2 3], want [8, 3, p, p]`},
		{FromTimm, []weights.Tensor{one("pos_embed", 1, 9, 8), one("patch_embed.proj.weight", 8, 3, 2, 3)}, `"patch_embed.proj.weight" has shape [8 3 2 3], want [8, 3, p, p]`},
		{FromTimm, []weights.Tensor{one("pos_embed", 1, 9, 8), patch, one("patch_embed.proj.bias", 7)}, `"patch_embed.proj.bias" has shape [7], want [8]`},
		{FromTimm, []weights.Tensor{one("pos_embed", 1, 9, 8), patch, hollow("blocks.0.norm1.bias", 0)}, `"blocks.0.norm1.bias" has shape [0], want one axis`},
		{FromTimm, []weights.Tensor{one("pos_embed", 1, 9, 8), patch, one("blocks.0.mlp.fc1.weight", 8)}, `"blocks.0.mlp.fc1.weight" has shape [8], want two axes`},
		{FromTimm, []weights.Tensor{one("pos_embed", 1, 9, 8), patch, one("cls_token", 8)}, `"cls_token" has shape [8]`},
		{ToTimm, []weights.Tensor{hollow("input_adapters.rgb.pos_emb", 1, math.MaxInt/2+1, 0, 0), proj}, `"input_adapters.rgb.pos_emb" has shape [1 `},
		{ToTimm, []weights.Tensor{hollow("input_adapters.rgb.pos_emb", 1, 1<<30, 0, 1), proj}, `"input_adapters.rgb.pos_emb" has shape [1 1073741824 0 1]`},
		{ToTimm, []weights.Tensor{hollow("input_adapters.rgb.pos_emb", 1, 0, 3, 3), proj}, `"input_adapters.rgb.pos_emb" has shape [1 0 3 3]`},
		{ToTimm, []weights.Tensor{hollow("input_adapters.rgb.pos_emb", 1, -8, 3, 3), proj}, `"input_adapters.rgb.pos_emb" has shape [1 -8 3 3]`},
		{ToTimm, []weights.Tensor{table, hollow("input_adapters.rgb.proj.weight", 0)}, `"input_adapters.rgb.proj.weight" has shape [0], want [8, 3, p, p]`},
		{ToTimm, []weights.Tensor{table, proj, hollow("global_tokens", 1, 0, 8)}, `"global_tokens" has shape [1 0 8]`},
		{ToTimm, []weights.Tensor{table, proj, hollow("encoder.0.norm1.weight", 0)}, `"encoder.0.norm1.weight" has shape [0], want one axis`},
		{ToTimm, []weights.Tensor{table, proj, one(strings.Repeat("encoder.", 1<<17), 8)}, "\"encoder.encoder.encoder.encoder.encoder.encoder.encoder.enco…\" has no counterpart"},
	} {
		t.Run(c.want, func(t *testing.T) {
			var out []weights.Tensor
			var err error
			if took := testkit.Allocated(func() { out, _, err = c.convert(c.in) }); took > 1<<20 {
				t.Errorf("%d bytes were allocated, want at most 1 MiB", took)
			}
			if testkit.ErrorNames(t, err, c.want); out != nil {
				t.Error("tensors and an error")
			}
		})
	}
}
