package heads

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// TestTimm computes the features and logits of a VisionTransformer of timm with its weights: a
// MultiViT of RGB alone whose global token is timm's class token, and a linear head on it that has
// timm's last norm.
func TestTimm(t *testing.T) {
	const classes, d, patches = 5, 32, 16
	folder := os.DirFS("../../testdata/timm")
	read := func(file, name string) []float64 {
		t.Helper()
		f, err := weights.OpenFS(folder, file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		v, err := f.Float64(name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	float32s := func(v []float64) []float32 {
		x := make([]float32, len(v))
		for i := range x {
			x[i] = float32(v[i])
		}
		return x
	}
	c := &Config{ // as testdata/timm/vit.json has it
		BackboneConfig: multimae.BackboneConfig{
			Model: "multivit", ImageSize: 32, PatchSize: 8, NumGlobalTokens: 1,
			Encoder: vit.Config{Dim: d, Depth: 2, Heads: 4, MLPRatio: 4, QKVBias: true, LayerNormEps: 1e-6},
			Inputs:  multimae.Inputs{{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1}},
		},
		Outputs: Outputs{{Name: "cls", Head: Linear, NumClasses: classes, Loss: LossCrossEntropy}},
	}
	b := &multimae.Batch{Size: 2, H: 32, W: 32, Images: map[string][]float32{"rgb": float32s(read("inputs.safetensors", "in.rgb"))}}
	features, logits := read("expected.safetensors", "features"), read("expected.safetensors", "logits")
	for _, file := range []string{"model.safetensors", "model.pth"} {
		f, err := weights.OpenFS(folder, file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		given, err := weights.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		converted, dropped, err := multimae.FromTimm(given)
		if err != nil {
			t.Fatal(err)
		}
		head := []string{"norm.weight", "norm.bias", "head.weight", "head.bias"}
		if slices.Sort(dropped); !slices.Equal(dropped, slices.Sorted(slices.Values(head))) {
			t.Errorf("%s: dropped %v", file, dropped)
		}
		for _, x := range given {
			if slices.Contains(head, x.Name) {
				x.Name = "output_adapters.cls." + x.Name
				converted = append(converted, x)
			}
		}
		file := safetensorsOf(t, converted)
		w, err := weights.NewReader(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		m, err := NewModel(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.LoadWeights(w, nil); err != nil { // nothing missing, nothing left
			t.Fatal(err)
		}
		preds := forward(t, m, tensor.NewTape(nil), b, nil)
		tokens, err := m.Encode(tensor.NewTape(nil), b, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		// Ours are the patches and then the token, timm's the token first.
		var ours []float32
		for s := range b.Size {
			x := tokens.Data[s*(patches+1)*d : (s+1)*(patches+1)*d]
			ours = append(append(ours, x[patches*d:]...), x[:patches*d]...)
		}
		for what, x := range map[string]struct {
			got  []float32
			want []float64
		}{"features": {ours, features}, "logits": {preds[0].Data, logits}} {
			if len(x.got) != len(x.want) {
				t.Fatalf("%s: %d %s, want %d", file, len(x.got), what, len(x.want))
			}
			e := distance(x.got, float32s(x.want))
			t.Logf("%s: error of %s %.2g", file, what, e)
			if !(e < 1e-6) {
				t.Errorf("%s: error of %s %g, want below 1e-6", file, what, e)
			}
		}
	}
}
