package multimae

import (
	"slices"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// decoder reconstructs one output from the encoder's tokens by one cross-attention and a few blocks
// of self-attention (Bachmann et al., 2022).
type decoder struct {
	out         *Output
	maskToken   *tensor.Tensor            // [1, 1, d], stands for a patch that the encoder has not seen
	pos         *positionTable            // of width d
	tasks       map[string]*tensor.Tensor // [1, 1, d] for each input modality
	projContext *nn.Linear                // D → d
	queryNorm   *nn.LayerNorm
	contextNorm *nn.LayerNorm
	q, kv, proj *nn.Linear // kv is [2d, d], keys first
	outNorm     *nn.LayerNorm
	mlp         *vit.MLP
	blocks      *vit.Encoder
	outProj     *nn.Linear // d → C·p·p
}

func newDecoder(m *Model, o *Output) *decoder {
	prefix, ps, c := "output_adapters."+o.Name, m.Params, m.Config.decoderBlocks(o)
	d, p := o.Dim, m.Config.PatchSize/o.Stride
	a := &decoder{out: o, tasks: map[string]*tensor.Tensor{}}
	a.maskToken = ps.Add(prefix+".mask_token", nn.Zeros, 1, 1, d)
	a.pos = m.newPositions(prefix, d, vit.Bilinear)
	names := m.Config.Inputs.Names()
	slices.Sort(names) // the order of the published checkpoints
	for _, name := range names {
		a.tasks[name] = ps.Add(prefix+".task_embeddings."+name, nn.TruncatedNormal(0.02), 1, 1, d)
	}
	a.q = nn.NewLinear(ps, prefix+".decoder.q", d, d, c.QKVBias)
	a.kv = nn.NewFusedLinear(ps, prefix+".decoder.kv", d, 2*d, 2, c.QKVBias)
	a.proj = nn.NewLinear(ps, prefix+".decoder.proj", d, d, true)
	a.contextNorm = nn.NewLayerNorm(ps, prefix+".context_norm", d, c.LayerNormEps)
	a.queryNorm = nn.NewLayerNorm(ps, prefix+".query_norm", d, c.LayerNormEps)
	a.outNorm = nn.NewLayerNorm(ps, prefix+".out_norm", d, c.LayerNormEps)
	a.mlp = vit.NewMLP(ps, prefix+".mlp", c)
	a.blocks = vit.NewEncoder(ps, prefix+".decoder_transformer", c)
	a.outProj = nn.NewLinear(ps, prefix+".out_proj", d, o.Channels*p*p, true)
	a.projContext = nn.NewLinear(ps, prefix+".proj_context", m.Config.Encoder.Dim, d, true)
	return a
}

// forward returns patches [B, nh·nw, C·p·p] for the encoder's tokens [B, T+G, D]. Where rows is not
// nil it returns those rows of them alone, [R, C·p·p], and computes the others no further than the
// attention of the last block needs them.
func (a *decoder) forward(t *tensor.Tape, tokens *tensor.Tensor, l *layout, rows []int32) *tensor.Tensor {
	s := t.Scope()
	c := a.projContext.Forward(t, tokens)                                // [B, T+G, d]
	q := a.q.Forward(t, a.queryNorm.Forward(t, a.queries(t, c, l)))      // [B, nh·nw, d]
	kv := a.kv.Forward(t, a.contextNorm.Forward(t, a.context(t, c, l)))  // [B, T+G, 2d]
	x := a.proj.Forward(t, tensor.CrossAttention(t, q, kv, a.out.Heads)) // no residual around it
	x = s.Keep(a.mlp.ForwardAdd(t, a.outNorm.Forward(t, x), x))
	return s.Keep(a.outProj.Forward(t, a.blocks.ForwardRows(t, x, rows)))
}

// context returns what the queries attend to: the projected tokens c, each with the position of its
// patch and the embedding of its modality; global tokens as they are.
func (a *decoder) context(t *tensor.Tape, c *tensor.Tensor, l *layout) *tensor.Tensor {
	rows := len(l.index)
	sum := []tensor.Source{
		{Table: c, Rows: choose(t, rows, func(r int) int32 { return int32(r) })},
		{Table: a.pos.rows(t, l.nh, l.nw), Rows: choose(t, rows, func(r int) int32 { return when(l.modality[r] != global, l.index[r]) })},
	}
	for k, name := range l.inputs {
		sum = append(sum, tensor.Source{Table: a.tasks[name], Rows: choose(t, rows, func(r int) int32 { return when(int(l.modality[r]) == k, 0) })})
	}
	return tensor.GatherSum(t, c.Shape, sum...)
}

// queries returns a token for every patch of the output, [B, nh·nw, d]: the projected token c that
// shows it, if there is one and task queries are on, else the mask token; each with the position of
// the patch and the embedding of the task.
func (a *decoder) queries(t *tensor.Tape, c *tensor.Tensor, l *layout) *tensor.Tensor {
	size, patches := c.Shape[0], l.nh*l.nw
	first := func(int) int32 { return 0 }
	sum := []tensor.Source{
		{Table: a.pos.rows(t, l.nh, l.nw), Rows: choose(t, size*patches, func(i int) int32 { return int32(i % patches) })},
		{Table: a.tasks[a.out.Task], Rows: choose(t, size*patches, first)},
	}
	if k := slices.Index(l.inputs, a.out.Task); k >= 0 && a.out.UseTaskQueries {
		shown := choose(t, size*patches, func(i int) int32 { return l.row[(i/patches*len(l.inputs)+k)*patches+i%patches] })
		masked := choose(t, size*patches, func(i int) int32 { return when(shown[i] == none, 0) })
		sum = append(sum, tensor.Source{Table: c, Rows: shown}, tensor.Source{Table: a.maskToken, Rows: masked})
	} else {
		sum = append(sum, tensor.Source{Table: a.maskToken, Rows: choose(t, size*patches, first)})
	}
	return tensor.GatherSum(t, []int{size, patches, a.out.Dim}, sum...)
}
