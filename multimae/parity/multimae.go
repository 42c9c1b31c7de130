package parity

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// openMultiMAE reads a dump of pre-training.
func openMultiMAE(fsys fs.FS, c *caseJSON, inputs weights.File) (*subject, error) {
	m, err := modelfolder.Load(fsys, multimae.LoadConfig, multimae.LoadFrom)
	if err != nil {
		return nil, err
	}
	b, masks, err := readInputs(m, c, inputs)
	if err != nil {
		return nil, err
	}
	s := &subject{params: m.Params, optim: m.Config.Optim, samples: c.Batch, tokens: c.Batch * (masks.Tokens()*(1+len(m.Config.Outputs)) + m.Config.NumGlobalTokens)}
	for _, o := range m.Config.Outputs {
		s.values += float64(c.Batch) * float64(b.H/o.Stride) * float64(b.W/o.Stride) * float64(o.Channels)
	}
	for _, o := range m.Config.Outputs {
		s.outputs = append(s.outputs, o.Name)
	}
	s.predict = func(t *tensor.Tape) (tokens *tensor.Tensor, preds []*tensor.Tensor, err error) {
		if tokens, err = m.Encode(t, b, masks, nil); err != nil {
			return nil, nil, err
		}
		preds, err = m.Forward(t, b, masks, nil)
		return tokens, preds, err
	}
	s.losses = func(t *tensor.Tape) ([]*tensor.Tensor, error) { return m.ForwardLosses(t, b, masks, nil, nil) }
	s.image = func(i int, pred *tensor.Tensor) []float32 { return m.Unpatch(i, pred, b.H, b.W) }
	return s, nil
}

// readInputs makes a batch of the inputs and targets of a dump.
func readInputs(m *multimae.Model, c *caseJSON, f weights.File) (*multimae.Batch, *multimae.Masks, error) {
	h, w := c.ImageSize[0], c.ImageSize[1]
	if err := m.Config.CheckImageSize(h, w); err != nil {
		return nil, nil, fmt.Errorf("case.%w", err)
	}
	b, names, err := readPresent(m.Config.Inputs, c, f)
	if err != nil {
		return nil, nil, err
	}
	for i := range m.Config.Outputs {
		o := &m.Config.Outputs[i]
		key := "target." + o.Name
		if _, ok := f.Shape(key); !ok {
			continue
		}
		pix, image := b.Images[o.Task]
		ids, classes := b.Classes[o.Task]
		if err := readInput(b, m.Config.Input(o.Task), f, key); err != nil {
			return nil, nil, err
		}
		if image && !slices.Equal(pix, b.Images[o.Task]) || classes && !slices.Equal(ids, b.Classes[o.Task]) {
			return nil, nil, fmt.Errorf("%s: differs from the input, or from another target, of its task %q", key, o.Task)
		}
	}
	if err := m.Check(b); err != nil {
		return nil, nil, err
	}
	keep, err := ids(f, "ids_keep")
	if err != nil {
		return nil, nil, err
	}
	restore, err := ids(f, "ids_restore")
	if err != nil {
		return nil, nil, err
	}
	nh, nw := m.Config.Grid(h, w)
	masks, err := multimae.NewMasks(c.Batch, names, nh*nw, keep)
	if err != nil {
		return nil, nil, err
	}
	if n := c.NumEncodedTokens; n != 0 && n != masks.Visible {
		return nil, nil, fmt.Errorf("case.num_encoded_tokens: got %d, but ids_keep has %d for each sample", n, masks.Visible)
	}
	// ids_keep implies the other ids and the masks: a dump that contradicts itself proves nothing.
	if err := checkRestore(masks, restore); err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		key := "mask." + name
		mask, err := f.Int64(key)
		if err != nil {
			return nil, nil, err
		}
		if len(mask) != c.Batch*nh*nw {
			return nil, nil, fmt.Errorf("%s has %d values, want %d×%d", key, len(mask), c.Batch, nh*nw)
		}
		for i, v := range mask {
			if (v != 0) != masks.Task(i/(nh*nw), name)[i%(nh*nw)] {
				return nil, nil, fmt.Errorf("%s: value %d contradicts ids_keep", key, i)
			}
		}
	}
	return b, masks, nil
}

// checkRestore returns an error unless restore, [B, M·Patches], is the position of each token in a
// shuffled order that begins with the visible ones, as they are in masks.
func checkRestore(masks *multimae.Masks, restore []int32) error {
	n := masks.Tokens()
	if len(restore) != masks.Size*n {
		return fmt.Errorf("ids_restore: got %d ids, want one for each of %d·%d tokens", len(restore), masks.Size, n)
	}
	for b := range masks.Size {
		order := make([]int, n) // the token at each position, plus 1
		for j, p := range restore[b*n : (b+1)*n] {
			if p < 0 || int(p) >= n || order[p] != 0 {
				return fmt.Errorf("ids_restore: sample %d has position %d for token %d, want each of 0..%d once", b, p, j, n-1)
			}
			order[p] = j + 1
		}
		for p, j := range masks.Keep[b*masks.Visible : (b+1)*masks.Visible] {
			if order[p] != int(j)+1 {
				return fmt.Errorf("ids_restore: sample %d has token %d at position %d, but ids_keep has token %d there", b, order[p]-1, p, j)
			}
		}
	}
	return nil
}
