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
	Config *Config
	Params *nn.Params // under the keys of the published checkpoints, in their order

	global  *tensor.Tensor // [1, G, D]
	inputs  []*inputAdapter
	outputs []*decoder
	encoder *vit.Encoder
}

// NewModel returns the model of a configuration, with all parameters zero:
// load them, or call Init.
func NewModel(c *Config) (*Model, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	ps := nn.NewParams()
	m := &Model{Config: c, Params: ps}
	if c.NumGlobalTokens > 0 {
		m.global = ps.Add("global_tokens", nn.TruncatedNormal(0.02), 1, c.NumGlobalTokens, c.Encoder.Dim)
	}
	for i := range c.Inputs {
		m.inputs = append(m.inputs, newInputAdapter(ps, c, &c.Inputs[i]))
	}
	for i := range c.Outputs {
		m.outputs = append(m.outputs, newDecoder(ps, c, &c.Outputs[i]))
	}
	m.encoder = vit.NewEncoder(ps, "encoder", c.Encoder)
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
	for _, a := range m.inputs {
		a.pos.forget()
	}
	for _, d := range m.outputs {
		d.pos.forget()
	}
}

// Check returns an error unless the batch fits the model: sizes divisible by
// the patch, known modalities with the right number of values, class ids in
// range. Ids of 254 and 255 are ignored pixels.
func (m *Model) Check(b *Batch) error {
	c := m.Config
	if b.Size < 1 {
		return fmt.Errorf("batch: got %d samples, want at least 1", b.Size)
	}
	if err := c.CheckImageSize(b.H, b.W); err != nil {
		return err
	}
	names := make([]string, len(c.Inputs))
	for i := range c.Inputs {
		in := &c.Inputs[i]
		names[i] = in.Name
		pixels := b.Size * (b.H / in.Stride) * (b.W / in.Stride)
		if in.Kind == KindClasses {
			ids, ok := b.Classes[in.Name]
			if _, wrong := b.Images[in.Name]; wrong {
				return fmt.Errorf("batch: modality %q is a class map; give it in Classes, not in Images", in.Name)
			}
			if ok && len(ids) != pixels {
				return fmt.Errorf("batch: modality %q has %d ids, want %d×%d×%d", in.Name, len(ids), b.Size, b.H/in.Stride, b.W/in.Stride)
			}
			for k, id := range ids {
				if (id < 0 || int(id) >= in.NumClasses) && id != 254 && id != 255 {
					return fmt.Errorf("batch: modality %q: id %d at index %d, want 0..%d, or 255 for ignored pixels", in.Name, id, k, in.NumClasses-1)
				}
			}
			continue
		}
		pix, ok := b.Images[in.Name]
		if _, wrong := b.Classes[in.Name]; wrong {
			return fmt.Errorf("batch: modality %q is an image; give it in Images, not in Classes", in.Name)
		}
		if ok && len(pix) != pixels*in.Channels {
			return fmt.Errorf("batch: modality %q has %d values, want %d×%d×%d×%d", in.Name, len(pix), b.Size, in.Channels, b.H/in.Stride, b.W/in.Stride)
		}
	}
	for _, name := range b.names() {
		if !slices.Contains(names, name) {
			return fmt.Errorf("batch: modality %q is not an input of this model; did you mean %q?", name, Nearest(name, names))
		}
	}
	return nil
}

// Present returns the names of the model's inputs that the batch has, in token
// order: what masks are to be drawn for.
func (m *Model) Present(b *Batch) []string {
	var names []string
	for i := range m.Config.Inputs {
		if b.has(m.Config.Inputs[i].Name) {
			names = append(names, m.Config.Inputs[i].Name)
		}
	}
	return names
}

// checkMasks returns an error unless the masks are for this batch.
func (m *Model) checkMasks(b *Batch, masks *Masks) error {
	if err := m.checkMaskSize(masks, b.Size, b.H, b.W); err != nil {
		return err
	}
	last := -1
	for _, name := range masks.Inputs {
		i := slices.IndexFunc(m.inputs, func(a *inputAdapter) bool { return a.in.Name == name })
		if i < 0 || !b.has(name) {
			return fmt.Errorf("masks: modality %q is not in the batch", name)
		}
		if i <= last {
			return fmt.Errorf("masks: modality %q stands out of the model's order of inputs", name)
		}
		last = i
	}
	return nil
}

// checkMaskSize is the part of checkMasks that holds for targets too.
func (m *Model) checkMaskSize(masks *Masks, size, h, w int) error {
	nh, nw := m.Config.Grid(h, w)
	switch {
	case masks.Size != size:
		return fmt.Errorf("masks: for %d samples, but the batch has %d", masks.Size, size)
	case masks.Patches != nh*nw:
		return fmt.Errorf("masks: for %d patches a modality, but %d×%d pixels have %d", masks.Patches, h, w, nh*nw)
	}
	return nil
}

// Encode returns the encoder's tokens [B, T+G, D] of what the masks leave
// visible of a batch, global tokens last. The batch must have the masks'
// Inputs; drop is for training with drop-path and otherwise nil.
func (m *Model) Encode(t *tensor.Tape, b *Batch, masks *Masks, drop *nn.RNG) (*tensor.Tensor, error) {
	tokens, _, err := m.encode(t, b, masks, drop)
	return tokens, err
}

// encode is Encode that also returns where the tokens are, for the decoders.
func (m *Model) encode(t *tensor.Tape, b *Batch, masks *Masks, drop *nn.RNG) (*tensor.Tensor, *layout, error) {
	if err := m.Check(b); err != nil {
		return nil, nil, err
	}
	if err := m.checkMasks(b, masks); err != nil {
		return nil, nil, err
	}
	l := newLayout(t, m.Config, b.H, b.W, masks)
	return m.encoder.Forward(t, m.embed(t, b, l), drop), l, nil
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
	return m.decode(t, tokens, newLayout(t, c, h, w, masks)), nil
}

func (m *Model) decode(t *tensor.Tape, tokens *tensor.Tensor, l *layout) []*tensor.Tensor {
	preds := make([]*tensor.Tensor, len(m.outputs))
	for i, d := range m.outputs {
		preds[i] = d.forward(t, tokens, l)
	}
	return preds
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

func newLayout(t *tensor.Tape, c *Config, h, w int, masks *Masks) *layout {
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
