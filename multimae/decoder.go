package multimae

import (
	"slices"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// decoder reconstructs one output from the encoder's tokens by one
// cross-attention and a few blocks of self-attention (Bachmann et al. 2022,
// section 3.3).
type decoder struct {
	out         *Output
	mask        *tensor.Tensor            // [1, 1, d], for a patch that the encoder has not seen
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

func newDecoder(ps *nn.Params, c *Config, o *Output) *decoder {
	prefix := "output_adapters." + o.Name
	bc := c.Decoder(o)
	d, p, eps := o.Dim, c.PatchSize/o.Stride, bc.LayerNormEps
	a := &decoder{out: o, tasks: map[string]*tensor.Tensor{}}
	a.mask = ps.Add(prefix+".mask_token", nn.Zeros, 1, 1, d)
	a.pos = newPositionTable(ps, prefix, &c.BackboneConfig, d, vit.Bilinear)
	names := make([]string, len(c.Inputs))
	for i := range names {
		names[i] = c.Inputs[i].Name
	}
	slices.Sort(names) // as the published checkpoints have them
	for _, name := range names {
		a.tasks[name] = ps.Add(prefix+".task_embeddings."+name, nn.TruncatedNormal(0.02), 1, 1, d)
	}
	a.q = nn.NewLinear(ps, prefix+".decoder.q", d, d, bc.QKVBias)
	a.kv = nn.NewFusedLinear(ps, prefix+".decoder.kv", d, 2*d, 2, bc.QKVBias)
	a.proj = nn.NewLinear(ps, prefix+".decoder.proj", d, d, true)
	a.contextNorm = nn.NewLayerNorm(ps, prefix+".context_norm", d, eps)
	a.queryNorm = nn.NewLayerNorm(ps, prefix+".query_norm", d, eps)
	a.outNorm = nn.NewLayerNorm(ps, prefix+".out_norm", d, eps)
	a.mlp = vit.NewMLP(ps, prefix+".mlp", d, bc.MLPRatio*d)
	a.blocks = vit.NewEncoder(ps, prefix+".decoder_transformer", bc)
	a.outProj = nn.NewLinear(ps, prefix+".out_proj", d, o.Channels*p*p, true)
	a.projContext = nn.NewLinear(ps, prefix+".proj_context", c.Encoder.Dim, d, true)
	return a
}

// forward returns patches [B, nh·nw, C·p·p] for the encoder's tokens
// [B, T+G, D].
func (a *decoder) forward(t *tensor.Tape, tokens *tensor.Tensor, l *layout) *tensor.Tensor {
	c := a.projContext.Forward(t, tokens) // [B, T+G, d]
	queries := a.queries(t, c, l)         // [B, nh·nw, d]
	context := a.context(t, c, l)         // [B, T+G, d]
	t.Done(c)

	h := a.queryNorm.Forward(t, queries)
	t.Done(queries)
	q := a.q.Forward(t, h)
	t.Done(h)
	h = a.contextNorm.Forward(t, context)
	t.Done(context)
	kv := a.kv.Forward(t, h)
	t.Done(h)
	h = tensor.CrossAttention(t, q, kv, a.out.Heads)
	t.Done(q)
	t.Done(kv)
	x := a.proj.Forward(t, h) // no residual around the cross-attention
	t.Done(h)

	h = a.outNorm.Forward(t, x)
	y := a.mlp.ForwardAdd(t, h, x)
	t.Done(h)
	t.Done(x)
	y = a.blocks.Forward(t, y, nil)
	p := a.outProj.Forward(t, y)
	t.Done(y)
	return p
}

// context returns the tokens that queries attend to: the projected tokens c,
// each with the position of its patch and the embedding of its modality;
// global tokens as they are.
func (a *decoder) context(t *tensor.Tape, c *tensor.Tensor, l *layout) *tensor.Tensor {
	rows := t.Ints(l.rows)
	for r := range rows {
		rows[r] = int32(r)
	}
	sources := []tensor.Source{{Table: c, Rows: rows}, {Table: a.pos.rows(l.nh, l.nw), Rows: l.patch}}
	for k, name := range l.masks.Inputs {
		sources = append(sources, tensor.Source{Table: a.tasks[name], Rows: l.of[k]})
	}
	return tensor.GatherSum(t, c.Shape, sources...)
}

// queries returns one token for every patch of the output: its projection
// where the encoder has seen it and task queries are on, else the mask token;
// each with its position and the embedding of the task.
func (a *decoder) queries(t *tensor.Tape, c *tensor.Tensor, l *layout) *tensor.Tensor {
	n := len(l.grid)
	sources := []tensor.Source{
		{Table: a.pos.rows(l.nh, l.nw), Rows: l.grid},
		{Table: a.tasks[a.out.Task], Rows: l.zero[:n]},
	}
	if k := l.masks.Index(a.out.Task); k >= 0 && a.out.UseTaskQueries {
		sources = append(sources, tensor.Source{Table: c, Rows: l.shown[k]}, tensor.Source{Table: a.mask, Rows: l.masked[k]})
	} else {
		sources = append(sources, tensor.Source{Table: a.mask, Rows: l.zero[:n]})
	}
	return tensor.GatherSum(t, []int{l.masks.Size, l.masks.Patches, a.out.Dim}, sources...)
}
