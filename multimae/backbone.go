package multimae

import (
	"fmt"
	"slices"
	"sync"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// Backbone is the part of a model that fine-tuning keeps, from pixels to the encoder's tokens:
//
//	pixels, ids ─ input adapters ─▶ visible tokens + global tokens ─ encoder ─▶ tokens
type Backbone struct {
	Params *nn.Params // of the whole model, under the keys of the published checkpoints
	// OutputHeads are the attention heads of the output adapters that have any, by output. Models put
	// them in with their adapters; Transfer compares them.
	OutputHeads map[string]int

	config    *BackboneConfig
	global    *tensor.Tensor // [1, G, D], nil if there are none
	adapters  []*inputAdapter
	encoder   *vit.Encoder
	positions []*positionTable // of the adapters and of the decoders
	of        *Backbone        // of a Replica: whose copies of the positions it shares
	tapes     sync.Pool        // of *tensor.Tape, idle between calls of Predict and Features
}

// NewBackbone registers the global tokens and the input adapters of a checked configuration. The
// heads of the model register their parameters in ps next, and AddEncoder comes last: that is the
// order of the published checkpoints. The backbone keeps c: do not change it afterwards.
func NewBackbone(ps *nn.Params, c *BackboneConfig) *Backbone {
	m := &Backbone{Params: ps, OutputHeads: map[string]int{}, config: c}
	if c.NumGlobalTokens > 0 {
		m.global = ps.Add("global_tokens", nn.TruncatedNormal(0.02), 1, c.NumGlobalTokens, c.Encoder.Dim)
	}
	for i := range c.Inputs {
		m.adapters = append(m.adapters, newInputAdapter(m, &c.Inputs[i]))
	}
	return m
}

// Replica returns a backbone as NewBackbone does, for a model that shares the parameters of m but not
// their gradients: see nn.Params.Replica.
func (m *Backbone) Replica() *Backbone {
	r := NewBackbone(m.Params.Replica(), m.config)
	r.of = m
	return r
}

// AddEncoder registers the encoder, without which a backbone is not complete.
func (m *Backbone) AddEncoder() {
	m.encoder = vit.NewEncoder(m.Params, "encoder", m.config.Encoder)
	if m.of != nil { // all tables of positions are registered now
		for i, p := range m.positions {
			p.positionCopies = m.of.positions[i].positionCopies
		}
	}
}

// BackboneConfig returns the configuration of the backbone, which must not be changed.
func (m *Backbone) BackboneConfig() *BackboneConfig { return m.config }

// Init draws new parameters. They depend on the seed and on each parameter's key and shape.
func (m *Backbone) Init(seed uint64) {
	m.Params.Init(seed)
	m.PositionsChanged()
}

// PositionsChanged must be called after a position table in Params was written to, because the
// model and its replicas keep copies of the tables in token order. Init and LoadWeights call it
// themselves.
func (m *Backbone) PositionsChanged() {
	for _, p := range m.positions {
		p.forget()
	}
}

// Encode returns the encoder's tokens [B, T+G, D] for the visible tokens of a batch, global tokens
// last. The batch must have the inputs of the masks; nil masks show all of the batch. rng draws
// what drop-path drops in training; nil drops nothing.
func (m *Backbone) Encode(t *tensor.Tape, b *Batch, masks *Masks, rng *nn.RNG) (*tensor.Tensor, error) {
	l, err := m.layout(t, b, masks)
	if err != nil {
		return nil, err
	}
	return m.encode(t, b, l, rng), nil
}

func (m *Backbone) encode(t *tensor.Tape, b *Batch, l *layout, rng *nn.RNG) *tensor.Tensor {
	s := t.Scope()
	return s.Keep(m.encoder.Forward(t, m.embed(t, b, l), rng))
}

// EncodeBlocks is Encode that returns the output of every block listed in blocks, numbers in
// ascending order.
func (m *Backbone) EncodeBlocks(t *tensor.Tape, b *Batch, masks *Masks, rng *nn.RNG, blocks []int) ([]*tensor.Tensor, error) {
	l, err := m.layout(t, b, masks)
	if err != nil {
		return nil, err
	}
	s := t.Scope()
	var outputs []*tensor.Tensor
	x := m.embed(t, b, l)
	for i, block := range m.encoder.Blocks {
		if len(outputs) == len(blocks) {
			break // nothing needs the other blocks
		}
		x = block.Forward(t, x, rng)
		if blocks[len(outputs)] == i {
			outputs = append(outputs, x)
		}
		s.Keep(x, outputs...)
	}
	if len(outputs) < len(blocks) {
		return nil, fmt.Errorf("blocks: got %v, want ascending numbers below %d", blocks, len(m.encoder.Blocks))
	}
	return outputs, nil
}

// embed returns the encoder's input [B, T+G, D]: the projection of each visible patch plus its
// position, and the global tokens.
func (m *Backbone) embed(t *tensor.Tape, b *Batch, l *layout) *tensor.Tensor {
	s := t.Scope()
	var sum []tensor.Source
	for _, a := range m.adapters {
		k := slices.Index(l.inputs, a.in.Name)
		if k < 0 {
			continue
		}
		patches := l.of(t, k)
		projected, rows := a.project(t, b, l, patches)
		sum = append(sum,
			tensor.Source{Table: projected, Rows: rows},
			tensor.Source{Table: a.pos.rows(t, l.nh, l.nw), Rows: patches})
	}
	if m.global != nil {
		sum = append(sum, tensor.Source{Table: m.global, Rows: l.of(t, global)})
	}
	return s.Keep(tensor.GatherSum(t, []int{b.Size, l.length, m.config.Encoder.Dim}, sum...))
}
