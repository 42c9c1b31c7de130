package multimae

import (
	"context"
	"errors"
	"slices"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// PredictOptions says what Predict shows the model and who computes. Nil is the zero value: the
// model sees the whole batch, and the calling goroutine computes alone.
type PredictOptions struct {
	// Masks says which tokens of the batch are visible. Its Inputs may be fewer than those of the
	// batch: the others are then predicted unseen. Nil shows the whole batch.
	Masks *Masks
	// Visible is an alternative to Masks: the number of visible tokens of each sample, which are
	// drawn from Seed as in training. 0 shows all of them.
	Visible int
	Seed    uint64
	// Pool shares the work among its workers. Nil suits a server that answers many requests at
	// once.
	Pool *tensor.Pool
}

// Prediction is what a model predicts for a batch.
type Prediction struct {
	Masks   *Masks // what the model saw, in memory of its own
	Outputs []Predicted
}

// Predicted is the prediction of one output for all samples of a batch.
type Predicted struct {
	Name     string
	Channels int       // C; the number of classes for KindClasses
	H, W     int       // pixels; 1×1 for the class of a whole image
	Pix      []float32 // [B, C, H, W]: logits for KindClasses, else values normalised as Normalization says

	Task          string // the input modality that the output reconstructs, "" if there is none
	Kind          string // KindImage or KindClasses
	Normalization string // of KindImage: a Normalize constant
}

// Output returns the output of that name, or nil.
func (p *Prediction) Output(name string) *Predicted {
	for i := range p.Outputs {
		if p.Outputs[i].Name == name {
			return &p.Outputs[i]
		}
	}
	return nil
}

// Image returns the part of Pix of sample b, [C, H, W]. It is not a copy.
func (p *Predicted) Image(b int) []float32 {
	n := p.Channels * p.H * p.W
	return p.Pix[b*n : (b+1)*n : (b+1)*n]
}

// IDs returns for each pixel of sample b, [H, W], the channel with the largest value, the first one
// if several are equal: the most probable class of KindClasses.
func (p *Predicted) IDs(b int) []int32 {
	n, image := p.H*p.W, p.Image(b)
	ids := make([]int32, n)
	for c := 1; c < p.Channels; c++ {
		for i, v := range image[c*n : (c+1)*n] {
			if v > image[int(ids[i])*n+i] {
				ids[i] = int32(c)
			}
		}
	}
	return ids
}

// Predict runs the model on any subset of its modalities and returns every output, also those of
// modalities that the batch lacks. A nil o shows the model the whole batch. Any number of
// goroutines may call Predict on one model, while none trains it. A model that Load returned keeps
// its weights packed; others do so after Params.Freeze.
//
// When ctx ends, Predict soon returns its error, whatever the size of model and batch. Other errors
// are those of Backbone.Check, of DrawMasks, and of masks that do not fit the batch.
func (m *Model) Predict(ctx context.Context, b *Batch, o *PredictOptions) (*Prediction, error) {
	if o == nil {
		o = new(PredictOptions)
	}
	masks, err := m.predictMasks(b, o)
	if err != nil {
		return nil, err
	}
	p := &Prediction{Masks: masks}
	err = m.Infer(ctx, o.Pool, func(t *tensor.Tape) error {
		l, err := m.layout(t, b, masks)
		if err != nil {
			return err
		}
		s := t.Scope()
		tokens := m.encode(t, b, l, nil)
		for i, d := range m.decoders {
			p.Outputs = append(p.Outputs, m.predicted(t, &m.Config.Outputs[i], d.forward(t, tokens, l, nil), b))
			s.Keep(tokens) // the patches were copied
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// predictMasks returns the masks that the options ask for.
func (m *Model) predictMasks(b *Batch, o *PredictOptions) (*Masks, error) {
	switch {
	case o.Masks != nil && o.Visible != 0:
		return nil, errors.New("predict: got Masks and Visible, want one or the other")
	case o.Visible == 0:
		return m.shown(b, o.Masks)
	}
	rng := nn.NewRNG(o.Seed, nn.Hash("predict"))
	masks := new(Masks)
	return masks, m.DrawMasks(masks, &rng, b, MaskOptions{Visible: o.Visible})
}

// predicted returns patches [B, nh·nw, C·p·p] as images.
func (m *Model) predicted(t *tensor.Tape, o *Output, patches *tensor.Tensor, b *Batch) Predicted {
	in := m.Config.Input(o.Task)
	p := Predicted{
		Name: o.Name, Channels: o.Channels, H: b.H / o.Stride, W: b.W / o.Stride, Pix: make([]float32, len(patches.Data)),
		Task: o.Task, Kind: in.Kind,
	}
	switch {
	case o.Loss == LossNormMSE:
		p.Normalization = NormalizePatches
	case in.Kind == KindImage:
		p.Normalization = in.Normalization()
	}
	n, side := p.Channels*p.H*p.W, m.Config.PatchSize/o.Stride
	rows := p.H / side
	t.Parallel(b.Size*rows, func(_, i int) {
		s, row := i/rows, i%rows
		vit.UnpatchRow(p.Image(s), patches.Data[s*n:][:n], o.Channels, p.H, p.W, side, row)
	})
	return p
}

// FeatureOptions says what Features computes. Nil is the zero value: the encoder sees the whole
// batch, the tokens are those of its last block, and the calling goroutine computes alone.
type FeatureOptions struct {
	Masks  *Masks       // which tokens of the batch are visible; nil shows all of them
	Blocks []int        // numbers of blocks in ascending order; nil means the last
	Pool   *tensor.Pool // as in PredictOptions
}

// Features are tokens of the encoder.
type Features struct {
	// Masks says which token is which. Each sample has T = Masks.Visible tokens of patches. The
	// k-th of sample b shows token number j = Masks.Keep[b·T+k], which is patch j mod Masks.Patches
	// of modality Masks.Inputs[j / Masks.Patches]. The G global tokens follow.
	Masks       *Masks
	Global, Dim int         // G and D
	Blocks      []int       // as asked for
	Tokens      [][]float32 // for each of Blocks, [B, T+G, D]
}

// Mean returns the mean over the tokens of Blocks[i], [B, D], without the global ones.
func (f *Features) Mean(i int) []float32 {
	t, d := f.Masks.Visible, f.Dim
	mean := make([]float32, f.Masks.Size*d)
	sums := make([]float64, d)
	for b := range f.Masks.Size {
		clear(sums)
		for j, v := range f.Tokens[i][b*(t+f.Global)*d:][:t*d] {
			sums[j%d] += float64(v)
		}
		for j, v := range sums {
			mean[b*d+j] = float32(v / float64(t))
		}
	}
	return mean
}

// GlobalTokens returns the global tokens of Blocks[i], [B, G, D].
func (f *Features) GlobalTokens(i int) []float32 {
	t, n := f.Masks.Visible*f.Dim, f.Global*f.Dim
	tokens := make([]float32, 0, f.Masks.Size*n)
	for b := range f.Masks.Size {
		tokens = append(tokens, f.Tokens[i][b*(t+n)+t:][:n]...)
	}
	return tokens
}

// Features runs the encoder on any subset of its modalities. A nil o shows it the whole batch and
// returns the tokens of its last block. For goroutines, ctx and errors it is like Predict.
func (m *Backbone) Features(ctx context.Context, b *Batch, o *FeatureOptions) (*Features, error) {
	if o == nil {
		o = new(FeatureOptions)
	}
	masks, err := m.shown(b, o.Masks)
	if err != nil {
		return nil, err
	}
	f := &Features{Masks: masks, Global: m.config.NumGlobalTokens, Dim: m.config.Encoder.Dim, Blocks: slices.Clone(o.Blocks)}
	if len(f.Blocks) == 0 {
		f.Blocks = []int{len(m.encoder.Blocks) - 1}
	}
	err = m.Infer(ctx, o.Pool, func(t *tensor.Tape) error {
		tokens, err := m.EncodeBlocks(t, b, f.Masks, nil, f.Blocks)
		for _, x := range tokens {
			f.Tokens = append(f.Tokens, copied(t, x.Data))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// copied returns a copy that outlives the tape. The end of its context ends the copying, which takes
// a fraction of a second for the largest images.
func copied(t *tensor.Tape, from []float32) []float32 {
	const piece = 1 << 18
	to := make([]float32, len(from))
	t.Parallel((len(from)+piece-1)/piece, func(_, i int) {
		copy(to[i*piece:], from[i*piece:min(len(from), (i+1)*piece)])
	})
	return to
}

// shown returns a copy of masks, whose memory DrawMasks may reuse. For nil it returns masks that hide
// nothing of a batch, which it checks.
func (m *Backbone) shown(b *Batch, masks *Masks) (*Masks, error) {
	if masks != nil {
		c := *masks
		c.Inputs, c.Keep, c.Masked = slices.Clone(c.Inputs), slices.Clone(c.Keep), slices.Clone(c.Masked)
		return &c, nil
	}
	if err := m.Check(b); err != nil {
		return nil, err
	}
	nh, nw := m.config.Grid(b.H, b.W)
	return AllVisible(b.Size, m.Present(b), nh*nw)
}

// Infer calls f with a tape for inference until ctx ends, and returns the error of f or of ctx.
// What f computes on the tape is valid until f returns. pool may be nil.
func (m *Backbone) Infer(ctx context.Context, pool *tensor.Pool, f func(t *tensor.Tape) error) error {
	// Idle tapes keep their memory until the garbage collector takes them.
	t, ok := m.tapes.Get().(*tensor.Tape)
	if !ok {
		t = tensor.NewInference(nil)
	}
	t.WorkOn(pool)
	err := t.Until(ctx, func() error { return f(t) })
	t.Reset()
	t.WorkOn(nil) // do not keep a closed pool alive
	m.tapes.Put(t)
	return err
}
