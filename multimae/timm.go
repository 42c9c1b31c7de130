package multimae

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/gomae/gomae/nn/weights"
)

// Keys of a ViT as timm, DeiT and MAE name them (Wightman's
// vision_transformer.py), beside those of MultiMAE.
const (
	timmPatch  = "patch_embed.proj."
	timmPos    = "pos_embed"
	rgbAdapter = "input_adapters.rgb."
)

// timmTokens are what stands before the patches, in the order of pos_embed.
var timmTokens = []string{"cls_token", "dist_token"}

// blockKeys are the parameters of a transformer block, the same in both.
var blockKeys = []string{"norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias",
	"norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"}

// IsTimm reports whether names are the keys of a timm ViT.
func IsTimm(names []string) bool {
	for _, name := range names {
		if name == timmPatch+"weight" {
			return true
		}
	}
	return false
}

// FromTimm turns the weights of a timm ViT of RGB images into those of a
// MultiMAE without decoders:
//
//	cls_token + pos_embed[:, 0]    global_tokens [1, 1, D]; also dist_token of DeiT, as a second one
//	pos_embed[:, 1:]               input_adapters.rgb.pos_emb [1, D, n, n]
//	patch_embed.proj               input_adapters.rgb.proj
//	blocks.i                       encoder.i
//
// dropped are the keys that have no part in it: heads, the last norm (MultiMAE
// has none), the decoder of an MAE. A block or an embedding that computes
// something else, by further parameters, is an error. Values are float32 or
// float64 and shared where they do not change.
func FromTimm(in []weights.Tensor) (out []weights.Tensor, dropped []string, err error) {
	given := byName(in)
	pos, patch := given[timmPos], given[timmPatch+"weight"]
	if pos == nil || patch == nil {
		return nil, nil, fmt.Errorf("no timm ViT: want %s and %sweight among its keys", timmPos, timmPatch)
	}
	table, err := timmValues(pos)
	if err != nil {
		return nil, nil, err
	}
	if len(pos.Shape) != 3 || pos.Shape[0] != 1 || pos.Shape[2] == 0 || len(table) != pos.Shape[1]*pos.Shape[2] {
		return nil, nil, fmt.Errorf("%s has shape %v, want [1, tokens, D]", timmPos, pos.Shape)
	}
	rows, d := pos.Shape[1], pos.Shape[2]
	var tokens []float64
	double := isDouble(pos)
	for _, key := range timmTokens {
		t := given[key]
		if t == nil {
			continue
		}
		v, err := timmValues(t)
		if err != nil {
			return nil, nil, err
		}
		if len(v) != d {
			return nil, nil, fmt.Errorf("%s has shape %v, want [1 1 %d]", key, t.Shape, d)
		}
		tokens = append(tokens, v...)
		double = double || isDouble(t)
	}
	// Most tables have rows for the tokens, some only for patches.
	first := len(tokens) / d
	n := root(rows - first)
	if n < 1 {
		first, n = 0, root(rows)
	}
	if n < 1 {
		return nil, nil, fmt.Errorf("%s has %d rows, want those of %d tokens and a square of patches; resize it in Python", timmPos, rows, len(tokens)/d)
	}
	if len(tokens) > 0 {
		for i, v := range table[:first*d] {
			tokens[i] += v
		}
		out = append(out, timmTensor("global_tokens", []int{1, len(tokens) / d, d}, tokens, double))
	}
	grid := make([]float64, d*n*n)
	for i := range n * n {
		for c := range d {
			grid[c*n*n+i] = table[(first+i)*d+c]
		}
	}
	out = append(out, timmTensor(rgbAdapter+"pos_emb", []int{1, d, n, n}, grid, isDouble(pos)))
	for _, what := range []string{"weight", "bias"} {
		if t := given[timmPatch+what]; t != nil {
			out = append(out, weights.Tensor{Name: rgbAdapter + "proj." + what, Shape: t.Shape, Data: t.Data})
		}
	}
	for _, t := range in {
		block, isBlock := blockKey(t.Name, "blocks.")
		switch {
		case isBlock && block == "":
			return nil, nil, fmt.Errorf("%s has no counterpart in MultiMAE, which would compute something else without it", t.Name)
		case isBlock:
			out = append(out, weights.Tensor{Name: "encoder." + block, Shape: t.Shape, Data: t.Data})
		case t.Name == timmPos || t.Name == timmTokens[0] || t.Name == timmTokens[1] || t.Name == timmPatch+"weight" || t.Name == timmPatch+"bias":
		case hasAnyPrefix(t.Name, "norm.", "fc_norm.", "head.", "head_dist.", "pre_logits.", "decoder_") || t.Name == "mask_token":
			dropped = append(dropped, t.Name)
		default:
			return nil, nil, fmt.Errorf("%s has no counterpart in MultiMAE, which would compute something else without it", t.Name)
		}
	}
	return out, dropped, nil
}

// ToTimm is the inverse of FromTimm for the weights of a MultiMAE: its encoder
// as a ViT of RGB images. One global token becomes cls_token, a second one
// dist_token, and their rows of pos_embed are zeros. Since timm has a norm after
// the last block, norm.weight is made of ones and norm.bias of zeros. dropped
// are the keys that have no part in it: other input adapters and all output
// adapters.
func ToTimm(in []weights.Tensor) (out []weights.Tensor, dropped []string, err error) {
	given := byName(in)
	pos, patch := given[rgbAdapter+"pos_emb"], given[rgbAdapter+"proj.weight"]
	if pos == nil || patch == nil {
		return nil, nil, fmt.Errorf("no MultiMAE of RGB images: want %spos_emb and %sproj.weight among its keys", rgbAdapter, rgbAdapter)
	}
	grid, err := timmValues(pos)
	if err != nil {
		return nil, nil, err
	}
	if s := pos.Shape; len(s) != 4 || s[0] != 1 || s[1] == 0 || len(grid) != s[1]*s[2]*s[3] {
		return nil, nil, fmt.Errorf("%s has shape %v, want [1, D, n, n]", pos.Name, s)
	}
	d, n := pos.Shape[1], pos.Shape[2]*pos.Shape[3]
	tokens := 0
	if t := given["global_tokens"]; t != nil {
		v, err := timmValues(t)
		if err != nil {
			return nil, nil, err
		}
		if tokens = len(v) / d; tokens > len(timmTokens) || len(v) != tokens*d {
			return nil, nil, fmt.Errorf("%s has shape %v, want [1, 1, %d], or 2 tokens of DeiT", t.Name, t.Shape, d)
		}
		for i := range tokens {
			out = append(out, timmTensor(timmTokens[i], []int{1, 1, d}, v[i*d:(i+1)*d], isDouble(t)))
		}
	}
	table := make([]float64, (tokens+n)*d)
	for i := range n {
		for c := range d {
			table[(tokens+i)*d+c] = grid[c*n+i]
		}
	}
	out = append(out, timmTensor(timmPos, []int{1, tokens + n, d}, table, isDouble(pos)))
	for _, what := range []string{"weight", "bias"} {
		if t := given[rgbAdapter+"proj."+what]; t != nil {
			out = append(out, weights.Tensor{Name: timmPatch + what, Shape: t.Shape, Data: t.Data})
		}
	}
	for _, t := range in {
		block, isBlock := blockKey(t.Name, "encoder.")
		switch {
		case isBlock && block == "":
			return nil, nil, fmt.Errorf("%s has no counterpart in timm's ViT, which would compute something else without it", t.Name)
		case isBlock:
			out = append(out, weights.Tensor{Name: "blocks." + block, Shape: t.Shape, Data: t.Data})
		case t.Name == "global_tokens" || strings.HasPrefix(t.Name, rgbAdapter):
		default:
			dropped = append(dropped, t.Name)
		}
	}
	ones := make([]float64, d)
	for i := range ones {
		ones[i] = 1
	}
	return append(out, timmTensor("norm.weight", []int{d}, ones, false), timmTensor("norm.bias", []int{d}, make([]float64, d), false)), dropped, nil
}

// blockKey returns "i.PARAMETER" of a key of a transformer block, "" for a
// parameter that is not one of blockKeys; ok is whether it is of a block at all.
func blockKey(name, prefix string) (key string, ok bool) {
	key, ok = strings.CutPrefix(name, prefix)
	_, param, _ := strings.Cut(key, ".")
	for _, k := range blockKeys {
		if param == k {
			return key, ok
		}
	}
	return "", ok
}

func byName(list []weights.Tensor) map[string]*weights.Tensor {
	m := make(map[string]*weights.Tensor, len(list))
	for i := range list {
		m[list[i].Name] = &list[i]
	}
	return m
}

// timmValues are a tensor's numbers, which float64 holds exactly.
func timmValues(t *weights.Tensor) ([]float64, error) {
	switch d := t.Data.(type) {
	case []float64:
		return append([]float64{}, d...), nil
	case []float32:
		v := make([]float64, len(d))
		for i, x := range d {
			v[i] = float64(x)
		}
		return v, nil
	}
	return nil, errors.New(t.Name + " holds no floating-point numbers")
}

func isDouble(t *weights.Tensor) bool { _, ok := t.Data.([]float64); return ok }

// timmTensor is the inverse of timmValues.
func timmTensor(name string, shape []int, v []float64, double bool) weights.Tensor {
	if double {
		return weights.Tensor{Name: name, Shape: shape, Data: v}
	}
	f := make([]float32, len(v))
	for i, x := range v {
		f[i] = float32(x)
	}
	return weights.Tensor{Name: name, Shape: shape, Data: f}
}

// root returns n where x = n², else 0.
func root(x int) int {
	n := int(math.Sqrt(float64(max(x, 0))))
	if n*n != x {
		return 0
	}
	return n
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
