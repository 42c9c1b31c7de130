package multimae

import (
	"fmt"
	"slices"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// Model is a MultiMAE: Bachmann, Mizrahi, Atanov and Zamir, "MultiMAE:
// Multi-modal Multi-task Masked Autoencoders" (2022).
//
//	pixels, ids ─ input adapters ─▶ visible tokens + global tokens
//	            ─ encoder ────────▶ tokens
//	            ─ a decoder each ─▶ patches of every output
//
// Several goroutines may run a model at once, each with its own tape, while
// nobody trains it.
type Model struct {
	*Backbone
	Config *Config
	Params *nn.Params // under the keys of the published checkpoints, in their order

	outputs []*decoder
}

// NewModel returns the model of a configuration, with all parameters zero:
// load them, or call Init.
func NewModel(c *Config) (*Model, error) {
	return build(c, nn.NewParams())
}

func build(c *Config, ps *nn.Params) (*Model, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	m := &Model{Config: c, Params: ps}
	m.Backbone = NewBackbone(ps, &c.BackboneConfig, func() {
		for i := range c.Outputs {
			m.outputs = append(m.outputs, newDecoder(ps, c, &c.Outputs[i]))
		}
	})
	return m, nil
}

// Init draws new parameters. They depend on the seed and on each parameter's
// key and shape.
func (m *Model) Init(seed uint64) {
	m.Params.Init(seed)
	m.PositionsChanged()
}

// PositionsChanged must be called after the position tables in Params were
// written from outside, as by loading a checkpoint: token-order copies of them
// are kept.
func (m *Model) PositionsChanged() {
	m.Backbone.PositionsChanged()
	for _, d := range m.outputs {
		d.pos.forget()
	}
}

// Forward returns the prediction of every output in the order of
// Config.Outputs, in patches: [B, nh·nw, C·p·p] with features (channel, row,
// column); see Unpatch. The batch must have the masks' Inputs; drop is for
// training with drop-path and otherwise nil.
func (m *Model) Forward(t *tensor.Tape, b *Batch, masks *Masks, drop *nn.RNG) ([]*tensor.Tensor, error) {
	tokens, l, err := m.encode(t, b, masks, drop)
	if err != nil {
		return nil, err
	}
	preds := m.decode(t, tokens, l)
	t.Done(tokens)
	return preds, nil
}

// Decode returns Forward's predictions from Encode's tokens, for a batch of
// h×w pixels under the same masks.
func (m *Model) Decode(t *tensor.Tape, tokens *tensor.Tensor, h, w int, masks *Masks) ([]*tensor.Tensor, error) {
	c := m.Config
	if err := c.CheckImageSize(h, w); err != nil {
		return nil, err
	}
	if want := []int{masks.Size, masks.Visible + c.NumGlobalTokens, c.Encoder.Dim}; !slices.Equal(tokens.Shape, want) {
		return nil, fmt.Errorf("tokens: got shape %v, want %v", tokens.Shape, want)
	}
	if err := m.checkMaskSize(masks, masks.Size, h, w); err != nil {
		return nil, err
	}
	for _, name := range masks.Inputs {
		if c.Input(name) == nil {
			return nil, fmt.Errorf("masks: modality %q is not an input of this model", name)
		}
	}
	return m.decode(t, tokens, newLayout(t, &c.BackboneConfig, h, w, masks)), nil
}

func (m *Model) decode(t *tensor.Tape, tokens *tensor.Tensor, l *layout) []*tensor.Tensor {
	preds := make([]*tensor.Tensor, len(m.outputs))
	for i, d := range m.outputs {
		preds[i] = d.forward(t, tokens, l)
	}
	return preds
}

// Unpatch writes the prediction pred of one output, [B, nh·nw, C·p·p] as
// Forward returns it, as images [B, C, H/s, W/s] for a batch of h×w pixels.
func (m *Model) Unpatch(output int, pred *tensor.Tensor, h, w int) []float32 {
	o := &m.Config.Outputs[output]
	h, w = h/o.Stride, w/o.Stride
	image := make([]float32, len(pred.Data))
	n := o.Channels * h * w
	for b := range pred.Shape[0] {
		vit.Unpatch(image[b*n:(b+1)*n], pred.Data[b*n:(b+1)*n], o.Channels, h, w, m.Config.PatchSize/o.Stride)
	}
	return image
}
