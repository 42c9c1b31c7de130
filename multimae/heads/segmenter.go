package heads

import (
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// segmenterHead lets a token for each class attend to the patches, and them to it. The logit of a
// class at a patch is the cosine between their tokens, normalised over the classes.
type segmenterHead struct {
	tasks       []string
	last        int            // number of the encoder block it sees
	classes     *tensor.Tensor // [1, C, E]
	projDec     *nn.Linear
	encoder     *vit.Encoder
	norm        *nn.LayerNorm
	patchProj   *nn.Linear // without bias, like classesProj
	classesProj *nn.Linear
	maskNorm    *nn.LayerNorm // over the classes
}

func newSegmenter(ps *nn.Params, prefix string, c *Config, o *Output) *segmenterHead {
	e := o.EmbedDim
	h := &segmenterHead{tasks: o.MainTasks, last: c.Encoder.Depth - 1}
	h.classes = ps.Add(prefix+".cls_emb", nn.TruncatedNormal(0.02), 1, o.NumClasses, e)
	h.patchProj = nn.NewLinear(ps, prefix+".patch_proj", e, e, false)
	h.classesProj = nn.NewLinear(ps, prefix+".classes_proj", e, e, false)
	h.encoder = vit.NewEncoder(ps, prefix+".blocks", c.segmenterBlocks(o))
	h.norm = nn.NewLayerNorm(ps, prefix+".decoder_norm", e, mapNormEps)
	h.maskNorm = nn.NewLayerNorm(ps, prefix+".mask_norm", o.NumClasses, mapNormEps)
	h.projDec = nn.NewLinear(ps, prefix+".proj_dec", c.Encoder.Dim*len(o.MainTasks), e, true)
	return h
}

func (h *segmenterHead) blocks() []int { return []int{h.last} }

func (h *segmenterHead) forward(t *tensor.Tape, f *features, rng *nn.RNG) *tensor.Tensor {
	s := t.Scope()
	patches := h.projDec.Forward(t, f.main(t, 0, h.tasks))
	batch, n, e := patches.Shape[0], f.nh*f.nw, patches.Cols()
	classes := h.classes.Shape[1]
	x := h.norm.Forward(t, h.encoder.Forward(t, h.withClasses(t, patches, n), rng)) // [B, n+C, E]
	s.Keep(x)

	patches = h.patchProj.Forward(t, takeTokens(t, x, 0, n, []int{batch, n, e}))
	tokens := h.classesProj.Forward(t, takeTokens(t, x, n, classes, []int{batch, classes, e}))
	cosines := tensor.MatMulT(t, tensor.NormalizeRows(t, patches), tensor.NormalizeRows(t, tokens)) // [B, n, C]
	masks := tensor.View(t, h.maskNorm.Forward(t, cosines), batch, f.nh, f.nw, classes)
	return s.Keep(tensor.ResizeBilinear(t, masks, f.h, f.w, false))
}

// withClasses returns the n patches of each sample followed by the class tokens, [B, n+C, E].
func (h *segmenterHead) withClasses(t *tensor.Tape, patches *tensor.Tensor, n int) *tensor.Tensor {
	batch, length := patches.Shape[0], n+h.classes.Shape[1]
	fromPatches, fromClasses := t.Ints(batch*length), t.Ints(batch*length)
	for r := range fromPatches {
		b, k := r/length, r%length
		fromPatches[r], fromClasses[r] = int32(b*n+k), -1
		if k >= n {
			fromPatches[r], fromClasses[r] = -1, int32(k-n)
		}
	}
	return tensor.GatherSum(t, []int{batch, length, patches.Cols()},
		tensor.Source{Table: patches, Rows: fromPatches}, tensor.Source{Table: h.classes, Rows: fromClasses})
}
