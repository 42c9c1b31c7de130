package multimae

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gomae/gomae/nn/weights"
)

// hfPatch is the projection of patches of a ViT in Hugging Face's transformers, after one of
// hfPrefixes.
const hfPatch = "embeddings.patch_embeddings.projection.weight"

// hfPrefixes are those of a bare encoder, and of the encoder of models with heads and decoders.
var hfPrefixes = []string{"", "vit.", "deit."}

// hfNames are the parts of the names in transformers that timm calls otherwise. Query, key and
// value become one matrix: see joinQKV.
var hfNames = strings.NewReplacer(
	"embeddings.cls_token", "cls_token",
	"embeddings.distillation_token", "dist_token",
	"embeddings.position_embeddings", "pos_embed",
	"embeddings.patch_embeddings.projection", "patch_embed.proj",
	"encoder.layer.", "blocks.",
	"layernorm_before", "norm1",
	"layernorm_after", "norm2",
	"attention.output.dense", "attn.proj",
	"intermediate.dense", "mlp.fc1",
	"output.dense", "mlp.fc2",
)

// isHF reports whether names are those of a ViT in transformers, and returns their prefix.
func isHF(names []string) (prefix string, ok bool) {
	for _, name := range names {
		if prefix, ok = strings.CutSuffix(name, hfPatch); ok && slices.Contains(hfPrefixes, prefix) {
			return prefix, true
		}
	}
	return "", false
}

// IsViT reports whether names are those of a ViT that FromViT knows.
func IsViT(names []string) bool { return vitFamily(names) != "" }

// vitFamily says whose names they are, "" for others.
func vitFamily(names []string) string {
	if IsTimm(names) {
		return "ViT of timm, DeiT or MAE"
	}
	if _, ok := isHF(names); ok {
		return "ViT of Hugging Face's transformers"
	}
	return ""
}

// FromViT is FromTimm for a ViT with the names of timm (also DeiT and MAE) or of Hugging Face's
// transformers (ViT, DeiT and ViTMAE). grid are the rows and columns of its patches; nil if they are
// not known, which stands for a square.
func FromViT(in []weights.Tensor, grid []int) (out []weights.Tensor, dropped []string, err error) {
	return fromViT(in, grid, nil)
}

// fromViT is FromViT; known and likely are as in gridOf.
func fromViT(in []weights.Tensor, known, likely []int) (out []weights.Tensor, dropped []string, err error) {
	names := make([]string, len(in))
	for i := range in {
		names[i] = in[i].Name
	}
	prefix, ok := isHF(names)
	if !ok {
		return fromTimm(in, known, likely)
	}
	var list []weights.Tensor
	given := byName(in)
	for _, t := range in {
		name, inEncoder := strings.CutPrefix(t.Name, prefix)
		if !inEncoder || isHFHead(name, prefix) {
			dropped = append(dropped, t.Name)
			continue
		}
		block, what, isQKV := cutQKV(name)
		switch {
		case isQKV && what[0] == "query":
			if t, err = joinQKV(given, prefix, block, what[1]); err != nil {
				return nil, nil, err
			}
			list = append(list, t)
		case isQKV: // joined with the query
			if given[prefix+block+".attention.attention.query."+what[1]] == nil {
				return nil, nil, fmt.Errorf("%s has no query beside it", weights.Quote(t.Name))
			}
		default:
			t.Name = hfNames.Replace(name)
			list = append(list, t)
		}
	}
	out, more, err := fromTimm(list, known, likely)
	return out, append(dropped, more...), err
}

// isHFHead reports whether a name belongs to what follows the encoder, or is not computed with.
func isHFHead(name, prefix string) bool {
	if prefix == "" && hasAnyPrefix(name, "decoder.", "classifier.") {
		return true
	}
	return hasAnyPrefix(name, "layernorm.", "pooler.") || name == "embeddings.mask_token"
}

// cutQKV splits "encoder.layer.i.attention.attention.query.weight" into the block and "query",
// "weight".
func cutQKV(name string) (block string, what [2]string, ok bool) {
	block, rest, ok := strings.Cut(name, ".attention.attention.")
	if !ok {
		return "", what, false
	}
	what[0], what[1], ok = strings.Cut(rest, ".")
	return block, what, ok && (what[0] == "query" || what[0] == "key" || what[0] == "value")
}

// joinQKV returns query, key and value of a block, one below the other.
func joinQKV(given map[string]*weights.Tensor, prefix, block, what string) (joined weights.Tensor, err error) {
	axes := []int{anySize, anySize}
	if what == "bias" {
		axes = axes[:1]
	}
	var values []float64
	double := false
	for _, name := range []string{"query", "key", "value"} {
		key := prefix + block + ".attention.attention." + name + "." + what
		t := given[key]
		if t == nil {
			return joined, fmt.Errorf("%s is missing", weights.Quote(key))
		}
		v, err := timmValues(t, "the axes of the query, key and value of a linear layer", axes...)
		if err != nil {
			return joined, err
		}
		axes = t.Shape // of the others, too
		values = append(values, v...)
		double = double || isDouble(t)
	}
	shape := append([]int{3 * axes[0]}, axes[1:]...)
	return timmTensor(hfNames.Replace(block)+".attn.qkv."+what, shape, values, double), nil
}
