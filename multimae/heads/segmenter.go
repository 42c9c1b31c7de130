package heads

import (
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// segmenterHead lets a token for each class attend to the patches, and they to
// it; the logit of a class at a patch is the cosine between their tokens.
type segmenterHead struct {
	tasks       []string
	last        int            // encoder block
	classes     *tensor.Tensor // [1, C, E]
	projDec     *nn.Linear
	encoder     *vit.Encoder
	norm        *nn.LayerNorm
	patchProj   *nn.Linear // without bias, as classesProj
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
	tokens := f.main(t, 0, h.tasks)
	patches := h.projDec.Forward(t, tokens)
	t.Done(tokens)
	// The classes follow the patches.
	batch, n, e := tokens.Shape[0], f.nh*f.nw, patches.Cols()
	classes := h.classes.Shape[1]
	length := n + classes
	fromPatches, fromClasses := t.Ints(batch*length), t.Ints(batch*length)
	for r := range fromPatches {
		b, k := r/length, r%length
		fromPatches[r], fromClasses[r] = int32(b*n+k), -1
		if k >= n {
			fromPatches[r], fromClasses[r] = -1, int32(k-n)
		}
	}
	x := tensor.GatherSum(t, []int{batch, length, e},
		tensor.Source{Table: patches, Rows: fromPatches}, tensor.Source{Table: h.classes, Rows: fromClasses})
	t.Done(patches)
	x = h.encoder.Forward(t, x, rng)
	y := h.norm.Forward(t, x)
	t.Done(x)

	// part returns the normalised projection of count tokens of each sample.
	part := func(first, count int, proj *nn.Linear) *tensor.Tensor {
		x := takeTokens(t, y, first, count, []int{batch, count, e})
		p := proj.Forward(t, x)
		t.Done(x)
		unit := tensor.NormalizeRows(t, p)
		t.Done(p)
		return unit
	}
	p, k := part(0, n, h.patchProj), part(n, classes, h.classesProj)
	t.Done(y)
	cosines := tensor.MatMulT(t, p, k)
	t.Done(p)
	t.Done(k)
	masks := h.maskNorm.Forward(t, cosines)
	t.Done(cosines)
	out := tensor.ResizeBilinear(t, tensor.View(t, masks, batch, f.nh, f.nw, classes), f.h, f.w, false)
	t.Done(masks)
	return out
}
