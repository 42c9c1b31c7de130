package multimae

import (
	"fmt"
	"slices"
)

// Check returns an error unless the batch fits the model: sizes divisible by
// the patch, known modalities with the right number of values, class ids in
// range. Ids of 254 and 255 are ignored pixels.
func (m *Backbone) Check(b *Batch) error {
	c := m.config
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
func (m *Backbone) Present(b *Batch) []string {
	var names []string
	for i := range m.config.Inputs {
		if b.has(m.config.Inputs[i].Name) {
			names = append(names, m.config.Inputs[i].Name)
		}
	}
	return names
}

// checkMasks returns an error unless the masks are for this batch.
func (m *Backbone) checkMasks(b *Batch, masks *Masks) error {
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
func (m *Backbone) checkMaskSize(masks *Masks, size, h, w int) error {
	nh, nw := m.config.Grid(h, w)
	switch {
	case masks.Size != size:
		return fmt.Errorf("masks: for %d samples, but the batch has %d", masks.Size, size)
	case masks.Patches != nh*nw:
		return fmt.Errorf("masks: for %d patches a modality, but %d×%d pixels have %d", masks.Patches, h, w, nh*nw)
	}
	return nil
}
