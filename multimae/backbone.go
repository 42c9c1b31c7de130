package multimae

import (
	"fmt"
	"sync"

	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
	"github.com/gomae/gomae/vit"
)

// Backbone is the part of a model from pixels to the encoder's tokens, which
// fine-tuning keeps:
//
//	pixels, ids ─ input adapters ─▶ visible tokens + global tokens ─ encoder ─▶ tokens
type Backbone struct {
	config  *BackboneConfig
	global  *tensor.Tensor // [1, G, D]
	inputs  []*inputAdapter
	encoder *vit.Encoder
	tapes   sync.Pool // of *tensor.Tape, between calls of Predict and Features
}

// NewBackbone registers the parameters of a backbone. The heads of the model
// that it is part of register theirs when it calls heads, which keeps the order
// of the published checkpoints. c must have been checked.
func NewBackbone(ps *nn.Params, c *BackboneConfig, heads func()) *Backbone {
	m := &Backbone{config: c}
	if c.NumGlobalTokens > 0 {
		m.global = ps.Add("global_tokens", nn.TruncatedNormal(0.02), 1, c.NumGlobalTokens, c.Encoder.Dim)
	}
	for i := range c.Inputs {
		m.inputs = append(m.inputs, newInputAdapter(ps, c, &c.Inputs[i]))
	}
	heads()
	m.encoder = vit.NewEncoder(ps, "encoder", c.Encoder)
	return m
}

// PositionsChanged must be called after the position tables of the inputs were
// written from outside, as by loading a checkpoint: token-order copies of them
// are kept.
func (m *Backbone) PositionsChanged() {
	for _, a := range m.inputs {
		a.pos.forget()
	}
}

// Encode returns the encoder's tokens [B, T+G, D] of what the masks leave
// visible of a batch, global tokens last. The batch must have the masks'
// Inputs; drop is for training with drop-path and otherwise nil.
func (m *Backbone) Encode(t *tensor.Tape, b *Batch, masks *Masks, drop *nn.RNG) (*tensor.Tensor, error) {
	tokens, _, err := m.encode(t, b, masks, drop)
	return tokens, err
}

// EncodeBlocks is Encode that returns the output of every block numbered in
// blocks, which ascend; Encode's is that of the last.
func (m *Backbone) EncodeBlocks(t *tensor.Tape, b *Batch, masks *Masks, drop *nn.RNG, blocks []int) ([]*tensor.Tensor, error) {
	l, err := m.layout(t, b, masks)
	if err != nil {
		return nil, err
	}
	var tokens []*tensor.Tensor
	x := m.embed(t, b, l)
	for i, block := range m.encoder.Blocks {
		if len(tokens) == len(blocks) {
			break // nobody wants the rest
		}
		x = block.Forward(t, x, drop)
		if blocks[len(tokens)] == i {
			t.Keep(x)
			tokens = append(tokens, x)
		}
	}
	if len(tokens) < len(blocks) {
		return nil, fmt.Errorf("blocks: got %v, want ascending numbers below %d", blocks, len(m.encoder.Blocks))
	}
	return tokens, nil
}

// encode is Encode that also returns where the tokens are, for the decoders.
func (m *Backbone) encode(t *tensor.Tape, b *Batch, masks *Masks, drop *nn.RNG) (*tensor.Tensor, *layout, error) {
	l, err := m.layout(t, b, masks)
	if err != nil {
		return nil, nil, err
	}
	return m.encoder.Forward(t, m.embed(t, b, l), drop), l, nil
}

// layout checks a batch and its masks.
func (m *Backbone) layout(t *tensor.Tape, b *Batch, masks *Masks) (*layout, error) {
	if err := m.Check(b); err != nil {
		return nil, err
	}
	if err := m.checkMasks(b, masks); err != nil {
		return nil, err
	}
	return newLayout(t, m.config, b.H, b.W, masks), nil
}

// embed returns the encoder's input [B, T+G, D]: of each visible token its
// projection plus its position, and the global tokens.
func (m *Backbone) embed(t *tensor.Tape, b *Batch, l *layout) *tensor.Tensor {
	d := m.config.Encoder.Dim
	var sources []tensor.Source
	var projected []*tensor.Tensor
	for _, a := range m.inputs {
		k := l.masks.Index(a.in.Name)
		if k < 0 {
			continue
		}
		x := a.project(t, b, l, k)
		projected = append(projected, x)
		// Rows of x are in the order of the encoder rows that show the modality.
		rows, pos := t.Ints(l.rows), t.Ints(l.rows)
		next := int32(0)
		for r := range rows {
			rows[r], pos[r] = -1, -1
			if l.of[k][r] == 0 {
				rows[r], pos[r] = next, l.patch[r]
				next++
			}
		}
		sources = append(sources, tensor.Source{Table: x, Rows: rows}, tensor.Source{Table: a.pos.rows(l.nh, l.nw), Rows: pos})
	}
	if m.global != nil {
		sources = append(sources, tensor.Source{Table: m.global, Rows: l.global})
	}
	x := tensor.GatherSum(t, []int{b.Size, l.rows / b.Size, d}, sources...)
	for _, p := range projected {
		t.Done(p)
	}
	return x
}

// layout says where the tokens of a batch are. Encoder rows are the rows of
// its tokens as a matrix, [B·(T+G), D].
type layout struct {
	masks  *Masks
	nh, nw int // patches of the grid
	rows   int // encoder rows
	// For each encoder row: the patch it shows, −1 for a global token; its own
	// number, −1 for a global token; and for each modality 0 where the row is
	// of it, else −1.
	patch []int32
	token []int32
	of    [][]int32
	// For each global token's row its number g, else −1.
	global []int32
	// For each modality, a row for every patch of every sample: the encoder
	// row that shows it, or −1 where it is masked; and the reverse.
	shown  [][]int32
	masked [][]int32
	// For each row of a grid [B·patches]: its patch, and 0.
	grid, zero []int32
}

func newLayout(t *tensor.Tape, c *BackboneConfig, h, w int, masks *Masks) *layout {
	nh, nw := c.Grid(h, w)
	g, n := c.NumGlobalTokens, masks.Patches
	length := masks.Visible + g
	l := &layout{masks: masks, nh: nh, nw: nw, rows: masks.Size * length}
	ints := func(count int, v int32) []int32 {
		s := t.Ints(count)
		for i := range s {
			s[i] = v
		}
		return s
	}
	l.patch, l.token, l.global = ints(l.rows, -1), ints(l.rows, -1), ints(l.rows, -1)
	l.grid, l.zero = ints(masks.Size*n, 0), ints(max(masks.Size*n, l.rows), 0)
	for i := range l.grid {
		l.grid[i] = int32(i % n)
	}
	for range masks.Inputs {
		l.of = append(l.of, ints(l.rows, -1))
		l.shown = append(l.shown, ints(masks.Size*n, -1))
		l.masked = append(l.masked, ints(masks.Size*n, 0))
	}
	for b := range masks.Size {
		for k, token := range masks.Keep[b*masks.Visible : (b+1)*masks.Visible] {
			row, m, patch := b*length+k, int(token)/n, int(token)%n
			l.patch[row], l.token[row], l.of[m][row] = int32(patch), int32(row), 0
			l.shown[m][b*n+patch], l.masked[m][b*n+patch] = int32(row), -1
		}
		for k := range g {
			l.global[b*length+masks.Visible+k] = int32(k)
		}
	}
	return l
}
