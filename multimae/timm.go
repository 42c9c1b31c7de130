package multimae

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/sizes"
	"github.com/gomae/gomae/nn/weights"
)

// Keys of a ViT in timm (Wightman's vision_transformer.py), DeiT and MAE, and of MultiMAE.
const (
	timmPatch  = "patch_embed.proj."
	timmPos    = "pos_embed"
	rgbAdapter = "input_adapters.rgb."
)

// timmTokens are the tokens before the patches, in the order of pos_embed.
var timmTokens = []string{"cls_token", "dist_token"}

// blockKeys are the parameters of a transformer block, which both name alike.
var blockKeys = []string{"norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias",
	"norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"}

// IsTimm reports whether names are the keys of a timm ViT.
func IsTimm(names []string) bool {
	return slices.Contains(names, timmPatch+"weight")
}

// FromTimm turns the weights of a timm ViT of RGB images into those of a MultiMAE without decoders:
//
//	cls_token + pos_embed[:, 0]    global_tokens [1, 1, D], with DeiT's dist_token as a second one
//	pos_embed[:, 1:]               input_adapters.rgb.pos_emb [1, D, n, n]
//	patch_embed.proj               input_adapters.rgb.proj
//	blocks.i                       encoder.i
//
// dropped are the keys that a MultiMAE has no use for: heads, the last norm, and the decoder of an
// MAE. Parameters by which a block or an embedding computes something else are an error. Values are
// float32 or float64, and out shares those that do not change.
func FromTimm(in []weights.Tensor) (out []weights.Tensor, dropped []string, err error) {
	return fromTimm(in, nil, nil)
}

// fromTimm is FromTimm for a ViT whose patches may be no square; known and likely are as in gridOf.
func fromTimm(in []weights.Tensor, known, likely []int) (out []weights.Tensor, dropped []string, err error) {
	given := byName(in)
	pos, patch := given[timmPos], given[timmPatch+"weight"]
	if pos == nil || patch == nil {
		return nil, nil, fmt.Errorf("not a timm ViT: want %s and %sweight among the keys", timmPos, timmPatch)
	}
	table, err := timmValues(pos, "[1, tokens, D]", 1, anySize, anySize)
	if err != nil {
		return nil, nil, err
	}
	rows, d := pos.Shape[1], pos.Shape[2]
	var tokens []float64
	double := isDouble(pos)
	for _, key := range timmTokens {
		t := given[key]
		if t == nil {
			continue
		}
		v, err := timmValues(t, fmt.Sprintf("[1 1 %d]", d), 1, 1, d)
		if err != nil {
			return nil, nil, err
		}
		tokens = append(tokens, v...)
		double = double || isDouble(t)
	}
	first, h, w := gridOf(rows, len(tokens)/d, known, likely)
	if h < 1 {
		return nil, nil, fmt.Errorf("%s has %d rows, want those of %d tokens and a square of patches; a position_grid in its configuration says how many rows and columns they have",
			timmPos, rows, len(tokens)/d)
	}
	if len(tokens) > 0 {
		for i, v := range table[:first*d] {
			tokens[i] += v
		}
		out = append(out, timmTensor("global_tokens", []int{1, len(tokens) / d, d}, tokens, double))
	}
	grid := make([]float64, d*h*w)
	for i := range h * w {
		for c := range d {
			grid[c*h*w+i] = table[(first+i)*d+c]
		}
	}
	out = append(out, timmTensor(rgbAdapter+"pos_emb", []int{1, d, h, w}, grid, isDouble(pos)))
	if err := checkProjection(patch, given[timmPatch+"bias"], d); err != nil {
		return nil, nil, err
	}
	for _, what := range []string{"weight", "bias"} {
		if t := given[timmPatch+what]; t != nil {
			out = append(out, weights.Tensor{Name: rgbAdapter + "proj." + what, Shape: t.Shape, Data: t.Data})
		}
	}
	for _, t := range in {
		block, isBlock := blockKey(t.Name, "blocks.")
		switch {
		case isBlock && block == "":
			return nil, nil, fmt.Errorf("%s has no counterpart in MultiMAE, which would compute something else without it", weights.Quote(t.Name))
		case isBlock:
			if err := checkBlock(&t); err != nil {
				return nil, nil, err
			}
			out = append(out, weights.Tensor{Name: "encoder." + block, Shape: t.Shape, Data: t.Data})
		case t.Name == timmPos || t.Name == timmTokens[0] || t.Name == timmTokens[1] || t.Name == timmPatch+"weight" || t.Name == timmPatch+"bias":
		case hasAnyPrefix(t.Name, "norm.", "fc_norm.", "head.", "head_dist.", "pre_logits.", "decoder_") || t.Name == "mask_token":
			dropped = append(dropped, t.Name)
		default:
			return nil, nil, fmt.Errorf("%s has no counterpart in MultiMAE, which would compute something else without it", weights.Quote(t.Name))
		}
	}
	return out, dropped, nil
}

// ToTimm is the inverse of FromTimm: it turns the encoder of a MultiMAE into a ViT of RGB images. A
// global token becomes cls_token, a second one dist_token, and their rows of pos_embed are zeros.
// timm has a norm after the last block: its weight becomes ones and its bias zeros. dropped are the
// keys that the ViT has no use for: other input adapters and all output adapters.
func ToTimm(in []weights.Tensor) (out []weights.Tensor, dropped []string, err error) {
	given := byName(in)
	pos, patch := given[rgbAdapter+"pos_emb"], given[rgbAdapter+"proj.weight"]
	if pos == nil || patch == nil {
		return nil, nil, fmt.Errorf("not a MultiMAE of RGB images: want %spos_emb and %sproj.weight among the keys", rgbAdapter, rgbAdapter)
	}
	grid, err := timmValues(pos, "[1, D, n, n]", 1, anySize, anySize, anySize)
	if err != nil {
		return nil, nil, err
	}
	d, n := pos.Shape[1], pos.Shape[2]*pos.Shape[3]
	tokens := 0
	if t := given["global_tokens"]; t != nil {
		want := fmt.Sprintf("[1, 1, %d], or 2 tokens of DeiT", d)
		v, err := timmValues(t, want, 1, anySize, d)
		if err != nil {
			return nil, nil, err
		}
		if tokens = t.Shape[1]; tokens > len(timmTokens) {
			return nil, nil, fmt.Errorf("%s has shape %v, want %s", weights.Quote(t.Name), t.Shape, want)
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
	if err := checkProjection(patch, given[rgbAdapter+"proj.bias"], d); err != nil {
		return nil, nil, err
	}
	for _, what := range []string{"weight", "bias"} {
		if t := given[rgbAdapter+"proj."+what]; t != nil {
			out = append(out, weights.Tensor{Name: timmPatch + what, Shape: t.Shape, Data: t.Data})
		}
	}
	for _, t := range in {
		block, isBlock := blockKey(t.Name, "encoder.")
		switch {
		case isBlock && block == "":
			return nil, nil, fmt.Errorf("%s has no counterpart in timm's ViT, which would compute something else without it", weights.Quote(t.Name))
		case isBlock:
			if err := checkBlock(&t); err != nil {
				return nil, nil, err
			}
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

// blockKey returns "i.PARAMETER" for a key of a transformer block, or "" for a parameter that is
// not one of blockKeys. ok reports whether the key is of a block at all.
func blockKey(name, prefix string) (key string, ok bool) {
	key, ok = strings.CutPrefix(name, prefix)
	if _, param, _ := strings.Cut(key, "."); slices.Contains(blockKeys, param) {
		return key, ok
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

// anySize stands for every number but 0 on an axis.
const anySize = -1

// checkShape returns an error unless a tensor has these axes and as many values as they need. want
// says in words what the axes are.
func checkShape(t *weights.Tensor, want string, axes ...int) error {
	right := len(t.Shape) == len(axes)
	for i := 0; right && i < len(axes); i++ {
		right = t.Shape[i] == axes[i] || axes[i] == anySize && t.Shape[i] > 0
	}
	if !right {
		return fmt.Errorf("%s has shape %v, want %s", weights.Quote(t.Name), t.Shape, want)
	}
	values := 0
	switch d := t.Data.(type) {
	case []float64:
		values = len(d)
	case []float32:
		values = len(d)
	default:
		return fmt.Errorf("%s holds values of type %T, want floating-point numbers", weights.Quote(t.Name), t.Data)
	}
	if n, ok := sizes.Product(t.Shape...); !ok || n != values {
		return fmt.Errorf("%s has shape %v, but %d values", weights.Quote(t.Name), t.Shape, values)
	}
	return nil
}

// checkProjection checks the projection of RGB patches to width d. Other libraries put the colours
// last, and some models see one channel or four. The bias may be nil.
func checkProjection(weight, bias *weights.Tensor, d int) error {
	want := fmt.Sprintf("[%d, 3, p, p], of RGB patches", d)
	if err := checkShape(weight, want, d, 3, anySize, anySize); err != nil {
		return err
	}
	if s := weight.Shape; s[2] != s[3] {
		return fmt.Errorf("%s has shape %v, want %s", weights.Quote(weight.Name), s, want)
	}
	if bias == nil {
		return nil
	}
	return checkShape(bias, fmt.Sprintf("[%d]", d), d)
}

// checkBlock checks a parameter of a transformer block, whose name ends as blockKeys do.
func checkBlock(t *weights.Tensor) error {
	if strings.HasSuffix(t.Name, ".bias") || strings.Contains(t.Name, ".norm") {
		return checkShape(t, "one axis", anySize)
	}
	return checkShape(t, "two axes", anySize, anySize)
}

// timmValues returns the values of a tensor, which float64 holds exactly, after checkShape.
func timmValues(t *weights.Tensor, want string, axes ...int) ([]float64, error) {
	if err := checkShape(t, want, axes...); err != nil {
		return nil, err
	}
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
	panic("multimae: timmValues, got values that checkShape refuses")
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

// gridOf returns how many rows of a position table come before those of the patches, and the grid of
// the patches: known if that is one of them, else a square, else likely; 0 and 0 if none is. Most
// tables have rows for the tokens and the patches, some for the patches alone.
func gridOf(rows, tokens int, known, likely []int) (first, h, w int) {
	for _, first := range []int{tokens, 0} {
		if isGrid(known, rows-first) {
			return first, known[0], known[1]
		}
	}
	for _, first := range []int{tokens, 0} {
		if n := root(rows - first); n > 0 {
			return first, n, n
		}
		if isGrid(likely, rows-first) {
			return first, likely[0], likely[1]
		}
	}
	return 0, 0, 0
}

// isGrid reports whether grid are rows and columns of so many patches.
func isGrid(grid []int, patches int) bool {
	return len(grid) == 2 && grid[0] > 0 && grid[1] == patches/grid[0] && patches%grid[0] == 0 && patches > 0
}

// root returns the n for which x = n², or 0 if there is none.
func root(x int) int {
	n := int(math.Sqrt(float64(max(x, 0))))
	if n*n != x {
		return 0
	}
	return n
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}
