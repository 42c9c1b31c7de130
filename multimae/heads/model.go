package heads

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Model is a MultiViT: a multimae.Backbone that sees all patches of the
// modalities present, and a head for each output.
//
// Several goroutines may run a model at once, each with its own tape, while
// nobody trains it.
type Model struct {
	*multimae.Backbone
	Config *Config
	Params *nn.Params // under the keys of the published checkpoints

	heads []head
}

// head computes an output from the encoder's tokens: logits [B, C], or a map
// [B, H, W, C] at the size of the image.
type head interface {
	// blocks are the numbers of the encoder blocks whose outputs it sees, in
	// ascending order.
	blocks() []int
	// forward has the outputs of these blocks in f.tokens. drop is for training
	// with dropout and otherwise nil.
	forward(t *tensor.Tape, f *features, drop *nn.RNG) *tensor.Tensor
}

// features is what heads compute from.
type features struct {
	tokens []*tensor.Tensor // [B, M·n+G, D] each
	inputs []string         // the M modalities present, in token order
	nh, nw int              // patches, n = nh·nw
	h, w   int              // pixels
}

// main returns the patches of some modalities side by side, [B, nh, nw,
// D·len(tasks)], of the tokens number k.
func (f *features) main(t *tensor.Tape, k int, tasks []string) *tensor.Tensor {
	x, n := f.tokens[k], f.nh*f.nw
	shape := []int{x.Shape[0], f.nh, f.nw, x.Cols()}
	parts := make([]*tensor.Tensor, len(tasks))
	for i, task := range tasks {
		first := slices.Index(f.inputs, task) * n
		rows := t.Ints(x.Shape[0] * n)
		for r := range rows {
			rows[r] = int32(r/n*x.Shape[1] + first + r%n)
		}
		parts[i] = tensor.GatherSum(t, shape, tensor.Source{Table: x, Rows: rows})
	}
	if len(parts) == 1 {
		return parts[0]
	}
	y := tensor.ConcatCols(t, parts...)
	for _, p := range parts {
		t.Done(p)
	}
	return y
}

// NewModel returns the model of a configuration, with all parameters zero:
// load them, or call Init.
func NewModel(c *Config) (*Model, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	return build(c, nn.NewParams()), nil
}

func build(c *Config, ps *nn.Params) *Model {
	m := &Model{Config: c, Params: ps}
	m.Backbone = multimae.NewBackbone(ps, &c.BackboneConfig, func() {
		for i := range c.Outputs {
			o := &c.Outputs[i]
			prefix := "output_adapters." + o.Name
			var h head
			switch o.Head {
			case Linear:
				h = newLinear(ps, prefix, c, o)
			case ConvNeXt:
				h = newConvNeXt(ps, prefix, c, o)
			case Segmenter:
				h = newSegmenter(ps, prefix, c, o)
			case DPT:
				h = newDPT(ps, prefix, c, o)
			}
			m.heads = append(m.heads, h)
		}
	})
	return m
}

// Init draws new parameters. They depend on the seed and on each parameter's
// key and shape.
func (m *Model) Init(seed uint64) {
	m.Params.Init(seed)
	m.PositionsChanged()
}

// Forward returns the prediction of every output in the order of
// Config.Outputs: logits [B, C] of a linear head, else a map [B, H, W, C], see
// ChannelsFirst. The batch must have the main tasks of every head; drop is for
// training with drop-path and dropout and otherwise nil.
func (m *Model) Forward(t *tensor.Tape, b *multimae.Batch, drop *nn.RNG) ([]*tensor.Tensor, error) {
	preds, _, err := m.ForwardTokens(t, b, drop)
	return preds, err
}

// ForwardTokens is Forward that also returns the encoder's tokens, [B, M·n+G,
// D] with M modalities of n patches each.
func (m *Model) ForwardTokens(t *tensor.Tape, b *multimae.Batch, drop *nn.RNG) ([]*tensor.Tensor, *tensor.Tensor, error) {
	c := m.Config
	if err := m.Check(b); err != nil {
		return nil, nil, err
	}
	inputs := m.Present(b)
	if len(inputs) == 0 {
		return nil, nil, errors.New("batch: no modality is present")
	}
	nh, nw := c.Grid(b.H, b.W)
	for i := range c.Outputs {
		o := &c.Outputs[i]
		for _, task := range o.MainTasks {
			if !slices.Contains(inputs, task) {
				return nil, nil, fmt.Errorf("batch: modality %q is missing, which output %s is computed from", task, o.Name)
			}
		}
		if o.Head == DPT && (nh%2 != 0 || nw%2 != 0) {
			return nil, nil, fmt.Errorf("batch: %d×%d pixels are %d×%d patches; the head \"dpt\" of output %s needs even numbers of them", b.H, b.W, nh, nw, o.Name)
		}
	}
	var blocks []int
	for _, h := range m.heads {
		blocks = append(blocks, h.blocks()...)
	}
	blocks = append(blocks, c.Encoder.Depth-1)
	slices.Sort(blocks)
	blocks = slices.Compact(blocks)
	tokens, err := m.EncodeBlocks(t, b, allVisible(t, b.Size, inputs, nh*nw), drop, blocks)
	if err != nil {
		return nil, nil, err
	}
	preds := make([]*tensor.Tensor, len(m.heads))
	for i, h := range m.heads {
		f := &features{inputs: inputs, nh: nh, nw: nw, h: b.H, w: b.W}
		for _, k := range h.blocks() {
			f.tokens = append(f.tokens, tokens[slices.Index(blocks, k)])
		}
		preds[i] = h.forward(t, f, drop)
	}
	return preds, tokens[len(tokens)-1], nil
}

// allVisible is multimae.AllVisible in the memory of a tape, with no more than
// the encoder reads.
func allVisible(t *tensor.Tape, size int, inputs []string, patches int) *multimae.Masks {
	n := len(inputs) * patches
	m := &multimae.Masks{Size: size, Inputs: inputs, Patches: patches, Visible: n, Keep: t.Ints(size * n)}
	for i := range m.Keep {
		m.Keep[i] = int32(i % n)
	}
	return m
}

// ChannelsFirst returns a map [B, H, W, C] as [B, C, H, W], and logits as they
// are.
func ChannelsFirst(pred *tensor.Tensor) []float32 {
	if len(pred.Shape) != 4 {
		return slices.Clone(pred.Data)
	}
	pixels, c := pred.Shape[1]*pred.Shape[2], pred.Shape[3]
	out := make([]float32, len(pred.Data))
	for i, v := range pred.Data {
		s, p, k := i/(pixels*c), i/c%pixels, i%c
		out[(s*c+k)*pixels+p] = v
	}
	return out
}
