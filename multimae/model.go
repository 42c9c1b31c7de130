package multimae

import (
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// Model is a MultiMAE: Bachmann, Mizrahi, Atanov and Zamir, "MultiMAE: Multi-modal Multi-task
// Masked Autoencoders" (2022).
//
//	pixels, ids ─ input adapters ─▶ visible tokens + global tokens
//	            ─ encoder ────────▶ tokens
//	            ─ a decoder each ─▶ patches of every output
//
// Several goroutines may run a model at once, each with its own tape, while none trains it.
type Model struct {
	*Backbone
	Config *Config

	decoders []*decoder // of Config.Outputs
}

// NewModel returns the model of a configuration, with all parameters zero: call Init or LoadWeights
// next. Load returns one that is ready to predict. The model keeps c: do not change it afterwards.
func NewModel(c *Config) (*Model, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if err := c.checkMemory(c.Footprint(0).Parameters); err != nil {
		return nil, err
	}
	return build(c, NewBackbone(nn.NewParams(), &c.BackboneConfig)), nil
}

func build(c *Config, backbone *Backbone) *Model {
	m := &Model{Backbone: backbone, Config: c}
	for i := range c.Outputs {
		m.decoders = append(m.decoders, newDecoder(m, &c.Outputs[i]))
		m.OutputHeads[c.Outputs[i].Name] = c.Outputs[i].Heads
	}
	m.AddEncoder()
	return m
}

// Replica returns a model that shares the parameters of m but not their gradients. Models that share
// them can go forward and back at the same time, each on a tape of its own: see nn.Params.Replica.
func (m *Model) Replica() *Model { return build(m.Config, m.Backbone.Replica()) }

// Forward returns the prediction of every output in the order of Config.Outputs, in patches: [B,
// nh·nw, C·p·p] with features in the order channel, row, column; see Unpatch. The batch must have
// the inputs of the masks; nil masks show all of the batch. rng draws what drop-path drops in
// training; nil drops nothing.
func (m *Model) Forward(t *tensor.Tape, b *Batch, masks *Masks, rng *nn.RNG) ([]*tensor.Tensor, error) {
	l, err := m.layout(t, b, masks)
	if err != nil {
		return nil, err
	}
	s := t.Scope()
	tokens := m.encode(t, b, l, rng)
	preds := make([]*tensor.Tensor, len(m.decoders))
	for i, d := range m.decoders {
		preds[i] = d.forward(t, tokens, l, nil)
	}
	s.Keep(nil, preds...)
	return preds, nil
}

// Unpatch returns the prediction of one output, [B, nh·nw, C·p·p] as Forward returns it, as images
// [B, C, H/s, W/s] for a batch of h×w pixels.
func (m *Model) Unpatch(output int, pred *tensor.Tensor, h, w int) []float32 {
	o := &m.Config.Outputs[output]
	h, w = h/o.Stride, w/o.Stride
	images := make([]float32, len(pred.Data))
	n := o.Channels * h * w
	for b := range pred.Shape[0] {
		vit.Unpatch(images[b*n:][:n], pred.Data[b*n:][:n], o.Channels, h, w, m.Config.PatchSize/o.Stride)
	}
	return images
}
