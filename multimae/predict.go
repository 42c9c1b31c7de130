package multimae

import (
	"context"
	"errors"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// PredictOptions says what Predict shows the model. The zero value shows it
// the whole batch.
type PredictOptions struct {
	// Masks says which tokens of the batch are seen. Its Inputs may be fewer
	// than the batch has: the others are then predicted unseen.
	Masks *Masks
	// Visible, where Masks is nil and this is not 0, is how many tokens of
	// each sample are seen, drawn from Seed as in training.
	Visible int
	Seed    uint64
	// Pool shares the work out. With nil the calling goroutine does it alone:
	// right for a server that answers many requests at once.
	Pool *tensor.Pool
}

// Prediction is what Predict returns. All of it is the caller's.
type Prediction struct {
	Masks   *Masks // what the model saw
	Outputs []Predicted
}

// Predicted is the prediction of one output for all samples of a batch.
type Predicted struct {
	*Output           // name, channels C, task and loss
	H, W    int       // of these images: those of the batch over Stride
	Pix     []float32 // [B, C, H, W], normalised like the task's input; logits of a class map
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

// Image is the part of Pix of sample b, [C, H, W]. It is not a copy.
func (p *Predicted) Image(b int) []float32 {
	n := p.Channels * p.H * p.W
	return p.Pix[b*n : (b+1)*n : (b+1)*n]
}

// IDs returns the channel with the largest value at each pixel of sample b,
// [H, W]: the most probable class, where the output is a class map. Of equal
// ones it is the first.
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

// Predict runs the model on any subset of its modalities and returns every
// output, also those whose task is not in the batch. Any number of goroutines
// may call it on one model, while nobody trains it. Call Params.Freeze once
// before, so that weights are not packed at each call.
//
// When ctx ends, Predict soon returns its error, whatever the size of model
// and batch. Other errors are those of Backbone.Check, DrawMasks, and masks
// that do not fit the batch.
func (m *Model) Predict(ctx context.Context, b *Batch, o PredictOptions) (*Prediction, error) {
	masks, err := m.predictMasks(b, o)
	if err != nil {
		return nil, err
	}
	p := &Prediction{Masks: masks}
	err = m.infer(ctx, o.Pool, func(t *tensor.Tape) error {
		tokens, l, err := m.encode(t, b, masks, nil)
		if err != nil {
			return err
		}
		for i, d := range m.outputs {
			pred := d.forward(t, tokens, l)
			p.Outputs = append(p.Outputs, m.images(t, i, pred, b))
			t.Done(pred)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// predictMasks are the masks that the options ask for.
func (m *Model) predictMasks(b *Batch, o PredictOptions) (*Masks, error) {
	switch {
	case o.Masks != nil && o.Visible != 0:
		return nil, errors.New("predict: got Masks and Visible, want one or the other")
	case o.Masks != nil:
		return o.Masks, nil
	case o.Visible == 0:
		return m.allVisible(b)
	}
	if err := m.Check(b); err != nil {
		return nil, err
	}
	nh, nw := m.Config.Grid(b.H, b.W)
	present := m.Present(b)
	mo := m.Config.MaskOptions(present)
	mo.Visible = o.Visible
	r := nn.NewRNG(o.Seed, nn.Hash("predict"))
	return DrawMasks(&r, b.Size, present, nh*nw, mo)
}

// images is Unpatch into memory of its own, by the workers of a tape.
func (m *Model) images(t *tensor.Tape, output int, pred *tensor.Tensor, b *Batch) Predicted {
	o := &m.Config.Outputs[output]
	p := Predicted{Output: o, H: b.H / o.Stride, W: b.W / o.Stride}
	p.Pix = make([]float32, len(pred.Data))
	n := o.Channels * p.H * p.W
	t.Parallel(b.Size, func(_, i int) {
		vit.Unpatch(p.Image(i), pred.Data[i*n:(i+1)*n], o.Channels, p.H, p.W, m.Config.PatchSize/o.Stride)
	})
	return p
}

// FeatureOptions says what Features computes. The zero value shows the encoder
// the whole batch and returns the tokens of its last block.
type FeatureOptions struct {
	Masks  *Masks       // which tokens of the batch are seen; nil means all
	Blocks []int        // ascending numbers of blocks; nil means the last
	Pool   *tensor.Pool // as in PredictOptions
}

// Features are tokens of the encoder. All of it is the caller's.
type Features struct {
	// Masks says which token is which: of T = Masks.Visible tokens of sample
	// b, the k-th shows token number j = Masks.Keep[b·T+k], which is patch
	// j mod Masks.Patches of modality Masks.Inputs[j / Masks.Patches]. The G
	// global tokens follow.
	Masks       *Masks
	Global, Dim int         // G and D
	Blocks      []int       // as asked for
	Tokens      [][]float32 // of each of Blocks, [B, T+G, D]
}

// Mean returns the mean over the tokens of Blocks[i], [B, D], without the
// global ones.
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

// Features runs the encoder on any subset of its modalities. What Predict says
// of goroutines, of freezing, of ctx and of errors holds for it too.
func (m *Backbone) Features(ctx context.Context, b *Batch, o FeatureOptions) (*Features, error) {
	f := &Features{Masks: o.Masks, Global: m.config.NumGlobalTokens, Dim: m.config.Encoder.Dim}
	f.Blocks = append(f.Blocks, o.Blocks...)
	if len(f.Blocks) == 0 {
		f.Blocks = []int{len(m.encoder.Blocks) - 1}
	}
	if f.Masks == nil {
		var err error
		if f.Masks, err = m.allVisible(b); err != nil {
			return nil, err
		}
	}
	err := m.infer(ctx, o.Pool, func(t *tensor.Tape) error {
		tokens, err := m.EncodeBlocks(t, b, f.Masks, nil, f.Blocks)
		for _, x := range tokens {
			f.Tokens = append(f.Tokens, append([]float32(nil), x.Data...))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// allVisible are masks that hide nothing of a batch, which it checks.
func (m *Backbone) allVisible(b *Batch) (*Masks, error) {
	if err := m.Check(b); err != nil {
		return nil, err
	}
	nh, nw := m.config.Grid(b.H, b.W)
	return AllVisible(b.Size, m.Present(b), nh*nw)
}

// infer calls f with a tape, until ctx ends. Tapes are kept for the next call;
// idle ones the garbage collector takes.
func (m *Backbone) infer(ctx context.Context, pool *tensor.Pool, f func(t *tensor.Tape) error) error {
	t, ok := m.tapes.Get().(*tensor.Tape)
	if !ok {
		t = tensor.NewInference(nil)
	}
	t.WorkOn(pool)
	err := t.Until(ctx, func() error { return f(t) })
	t.Reset()
	t.WorkOn(nil) // a pool that is closed need not wait for us to be forgotten
	m.tapes.Put(t)
	return err
}
