package heads

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gomae/gomae/internal/sizes"
	"github.com/gomae/gomae/internal/sysmem"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Model is a MultiViT: a multimae.Backbone that sees all patches of the modalities present, and a
// head for each output.
//
// Several goroutines may run a model at once, each with its own tape, while none trains it.
type Model struct {
	*multimae.Backbone
	Config *Config

	heads []head // of Config.Outputs
}

// NewModel returns the model of a configuration, with all parameters zero: call Init or LoadWeights
// next. Load returns one that is ready to predict. The model keeps c: do not change it afterwards.
func NewModel(c *Config) (*Model, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	// Shapes first: a few lines of a configuration can describe a model of any size.
	count, largest := c.parameterCount()
	if err := sysmem.Check(4 * count); err != nil {
		return nil, fmt.Errorf("the model %w; its largest parameter is %s: use a smaller one", err, largest)
	}
	m := deferred(c)
	m.Params.Allocate()
	return m, nil
}

// deferred returns a model whose parameters have no memory yet: see nn.DeferredParams.
func deferred(c *Config) *Model {
	return build(c, multimae.NewBackbone(nn.DeferredParams(), &c.BackboneConfig))
}

func build(c *Config, backbone *multimae.Backbone) *Model {
	m := &Model{Backbone: backbone, Config: c}
	for i := range c.Outputs {
		m.heads = append(m.heads, newHead(m.Params, c, &c.Outputs[i]))
		if c.Outputs[i].Head == Segmenter {
			m.OutputHeads[c.Outputs[i].Name] = c.Outputs[i].Heads
		}
	}
	m.AddEncoder()
	return m
}

// Replica returns a model that shares the parameters of m but not their gradients: see
// multimae.Model.Replica.
func (m *Model) Replica() *Model { return build(m.Config, m.Backbone.Replica()) }

// head computes an output from the encoder's tokens: logits [B, C], or a map [B, H, W, C] at the
// size of the image.
type head interface {
	// blocks returns the numbers of the encoder blocks whose outputs the head sees, in ascending
	// order.
	blocks() []int
	// forward computes from the outputs of these blocks, f.tokens. rng draws what dropout and
	// drop-path drop in training; nil drops nothing.
	forward(t *tensor.Tape, f *features, rng *nn.RNG) *tensor.Tensor
}

func newHead(ps *nn.Params, c *Config, o *Output) head {
	prefix := "output_adapters." + o.Name
	switch o.Head {
	case Linear:
		return newLinear(ps, prefix, c, o)
	case ConvNeXt:
		return newConvNeXt(ps, prefix, c, o)
	case Segmenter:
		return newSegmenter(ps, prefix, c, o)
	case DPT:
		return newDPT(ps, prefix, c, o)
	}
	panic("heads: head, got " + o.Head + ", want a configuration that has been checked")
}

// features is what heads compute from.
type features struct {
	tokens []*tensor.Tensor // [B, M·n+G, D] each
	inputs []string         // the M modalities present, in token order
	nh, nw int              // the grid of n = nh·nw patches
	h, w   int              // pixels
}

// main returns the patches of some modalities side by side, [B, nh, nw, D·len(tasks)], of
// f.tokens[k].
func (f *features) main(t *tensor.Tape, k int, tasks []string) *tensor.Tensor {
	s := t.Scope()
	x, n := f.tokens[k], f.nh*f.nw
	shape := []int{x.Shape[0], f.nh, f.nw, x.Cols()}
	parts := make([]*tensor.Tensor, len(tasks))
	for i, task := range tasks {
		parts[i] = takeTokens(t, x, slices.Index(f.inputs, task)*n, n, shape)
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return s.Keep(tensor.ConcatCols(t, parts...))
}

// takeTokens returns n tokens of each sample of x [B, N, D] from number first on, under another
// shape.
func takeTokens(t *tensor.Tape, x *tensor.Tensor, first, n int, shape []int) *tensor.Tensor {
	rows := t.Ints(x.Shape[0] * n)
	for r := range rows {
		rows[r] = int32(r/n*x.Shape[1] + first + r%n)
	}
	return tensor.GatherSum(t, shape, tensor.Source{Table: x, Rows: rows})
}

// Forward returns the prediction of every output in the order of Config.Outputs: logits [B, C] of a
// linear head, else a map [B, H, W, C]; see ChannelsFirst. The batch must have the main tasks of
// every head. rng draws what drop-path and dropout drop in training; nil drops nothing.
func (m *Model) Forward(t *tensor.Tape, b *multimae.Batch, rng *nn.RNG) ([]*tensor.Tensor, error) {
	if err := m.checkBatch(b); err != nil {
		return nil, err
	}
	var blocks []int // all that a head sees
	for _, h := range m.heads {
		blocks = append(blocks, h.blocks()...)
	}
	slices.Sort(blocks)
	blocks = slices.Compact(blocks)
	s := t.Scope()
	tokens, err := m.EncodeBlocks(t, b, nil, rng, blocks)
	if err != nil {
		return nil, err
	}
	nh, nw := m.Config.Grid(b.H, b.W)
	preds := make([]*tensor.Tensor, len(m.heads))
	for i, h := range m.heads {
		f := &features{inputs: m.Present(b), nh: nh, nw: nw, h: b.H, w: b.W}
		for _, k := range h.blocks() {
			f.tokens = append(f.tokens, tokens[slices.Index(blocks, k)])
		}
		preds[i] = h.forward(t, f, rng)
	}
	s.Keep(nil, preds...)
	return preds, nil
}

// checkBatch returns an error unless the batch fits the model and has what its heads need.
func (m *Model) checkBatch(b *multimae.Batch) error {
	if err := m.Check(b); err != nil {
		return err
	}
	inputs := m.Present(b)
	if len(inputs) == 0 {
		return errors.New("batch: no modality is present")
	}
	nh, nw := m.Config.Grid(b.H, b.W)
	for i := range m.Config.Outputs {
		o := &m.Config.Outputs[i]
		if _, ok := sizes.Product(b.Size, o.NumClasses, b.H, b.W); !ok {
			return fmt.Errorf("batch: %d samples of %d×%d pixels and the %d classes of output %s are too many values", b.Size, b.H, b.W, o.NumClasses, o.Name)
		}
		for _, task := range o.MainTasks {
			if !slices.Contains(inputs, task) {
				return fmt.Errorf("batch: modality %q is missing, which output %s is computed from", task, o.Name)
			}
		}
		if o.Head == DPT && (nh%2 != 0 || nw%2 != 0) {
			return fmt.Errorf("batch: %d×%d pixels are %d×%d patches; the head %q of output %s needs even numbers of them", b.H, b.W, nh, nw, DPT, o.Name)
		}
	}
	return nil
}

// Predict runs the model on a batch, as multimae.Model.Predict does, and returns every output. A
// nil o lets the calling goroutine compute alone. A fine-tuned model always sees the whole batch,
// so Masks and Visible are errors. Values of a regression are normalised as its targets are: with a
// Unit they are in that unit, and one channel without it is standardised by image.
func (m *Model) Predict(ctx context.Context, b *multimae.Batch, o *multimae.PredictOptions) (*multimae.Prediction, error) {
	if o == nil {
		o = new(multimae.PredictOptions)
	}
	if o.Masks != nil || o.Visible != 0 {
		return nil, errors.New("predict: got Masks or Visible, but a fine-tuned model sees the whole batch")
	}
	if err := m.checkBatch(b); err != nil {
		return nil, err
	}
	nh, nw := m.Config.Grid(b.H, b.W)
	masks, err := multimae.AllVisible(b.Size, m.Present(b), nh*nw)
	if err != nil {
		return nil, err
	}
	p := &multimae.Prediction{Masks: masks}
	err = m.Infer(ctx, o.Pool, func(t *tensor.Tape) error {
		preds, err := m.Forward(t, b, nil)
		for i, pred := range preds {
			p.Outputs = append(p.Outputs, m.predicted(t, &m.Config.Outputs[i], pred))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (m *Model) predicted(t *tensor.Tape, o *Output, pred *tensor.Tensor) multimae.Predicted {
	p := multimae.Predicted{Name: o.Name, Channels: o.NumClasses, H: 1, W: 1, Pix: channelsFirst(t, pred), Kind: multimae.KindClasses}
	if o.Loss != LossCrossEntropy {
		in := m.Config.targetInput(o)
		p.Kind, p.Normalization = multimae.KindImage, in.Normalization()
	}
	if len(pred.Shape) == 4 {
		p.H, p.W = pred.Shape[1], pred.Shape[2]
	}
	return p
}

// ChannelsFirst returns a map [B, H, W, C] as [B, C, H, W], and logits [B, C] as they are.
func ChannelsFirst(pred *tensor.Tensor) []float32 {
	return channelsFirst(tensor.NewInference(nil), pred)
}

// channelsFirst is ChannelsFirst by the workers of the tape, until its context ends.
func channelsFirst(t *tensor.Tape, pred *tensor.Tensor) []float32 {
	if len(pred.Shape) != 4 {
		return slices.Clone(pred.Data)
	}
	h, w, c := pred.Shape[1], pred.Shape[2], pred.Shape[3]
	out := make([]float32, len(pred.Data))
	t.Parallel(pred.Shape[0]*h, func(_, i int) {
		s, y := i/h, i%h
		row := pred.Data[i*w*c:][:w*c]
		for k := range c {
			plane := out[((s*c+k)*h+y)*w:][:w]
			for x := range plane {
				plane[x] = row[x*c+k]
			}
		}
	})
	return out
}
