package multimae

import (
	"fmt"
	"maps"
	"slices"

	"github.com/gomae/gomae/internal/sizes"
	"github.com/gomae/gomae/internal/strictjson"
)

// Batch holds B samples of some modalities, aligned to the pixel. A modality that the batch lacks
// is absent from its map. The same maps serve as inputs and as targets. Package images makes
// batches of pictures.
type Batch struct {
	Size int // samples B
	H, W int // full-resolution height and width in pixels
	// Images holds for each modality of KindImage [B, C, H/s, W/s], s being its stride, normalised
	// as Input.Normalization says.
	Images map[string][]float32
	// Classes holds for each modality of KindClasses ids [B, H/s, W/s]. IDIgnored and IDPadding
	// mark pixels without a class.
	Classes map[string][]int32
	// Valid says for modalities of Images which pixels were measured, [B, H/s, W/s]. All pixels of
	// a modality without an entry were. The channels of others are 0. No loss looks at them, and
	// Model.DrawMasks shows a patch that has no other pixels only in a sample that has no other patches.
	Valid map[string][]bool
}

func (b *Batch) has(modality string) bool {
	_, image := b.Images[modality]
	_, classes := b.Classes[modality]
	return image || classes
}

// Slice returns the samples from..to of the batch, which share its memory.
func (b *Batch) Slice(from, to int) *Batch {
	part := &Batch{Size: to - from, H: b.H, W: b.W, Images: map[string][]float32{}, Classes: map[string][]int32{}}
	for name, x := range b.Images {
		n := len(x) / b.Size
		part.Images[name] = x[from*n : to*n]
	}
	for name, x := range b.Classes {
		n := len(x) / b.Size
		part.Classes[name] = x[from*n : to*n]
	}
	if b.Valid != nil {
		part.Valid = map[string][]bool{}
	}
	for name, x := range b.Valid {
		n := len(x) / b.Size
		part.Valid[name] = x[from*n : to*n]
	}
	return part
}

// validPatch is Valid of one patch. The zero value says that all of its pixels are valid.
type validPatch struct {
	pixels  []bool // from the first pixel of the patch on; nil means that all are valid
	w, side int
}

// validPatch returns Valid of a patch of side·side pixels of a modality of sample s.
func (b *Batch) validPatch(modality string, stride, side, s, patch int) validPatch {
	all := b.Valid[modality]
	if all == nil {
		return validPatch{}
	}
	h, w := b.H/stride, b.W/stride
	y, x := patch/(w/side)*side, patch%(w/side)*side
	return validPatch{all[(s*h+y)*w+x:], w, side}
}

// at reports whether pixel i is valid, row by row, in any channel of a patch [C, side, side].
func (v validPatch) at(i int) bool {
	return v.pixels == nil || v.pixels[i/v.side%v.side*v.w+i%v.side]
}

// count returns the number of valid pixels.
func (v validPatch) count() (n int) {
	for i := range v.side * v.side {
		if v.at(i) {
			n++
		}
	}
	return n
}

// names returns the modalities of the batch, sorted.
func (b *Batch) names() []string {
	names := slices.Collect(maps.Keys(b.Images))
	names = slices.AppendSeq(names, maps.Keys(b.Classes))
	slices.Sort(names)
	return names
}

// Present returns the names of the model's inputs that the batch has, in token order. Masks are
// drawn for these.
func (m *Backbone) Present(b *Batch) []string {
	return slices.DeleteFunc(m.config.Inputs.Names(), func(name string) bool { return !b.has(name) })
}

// Check returns an error unless the batch fits the model: it has a size of whole patches,
// modalities that are inputs of the model, as many values as they need, and class ids in range.
func (m *Backbone) Check(b *Batch) error {
	c := m.config
	if b.Size < 1 {
		return fmt.Errorf("batch: got %d samples, want at least 1", b.Size)
	}
	if err := c.CheckImageSize(b.H, b.W); err != nil {
		return err
	}
	for _, name := range b.names() {
		if c.Input(name) == nil {
			return fmt.Errorf("batch: modality %q is not an input of this model%s", name, strictjson.Hint(name, c.Inputs.Names()))
		}
	}
	for name, valid := range b.Valid {
		in := c.Input(name)
		if _, ok := b.Images[name]; !ok || in == nil {
			return fmt.Errorf("batch: Valid has modality %q, which Images lacks", name)
		}
		if want, ok := sizes.Product(b.Size, b.H/in.Stride, b.W/in.Stride); !ok || len(valid) != want {
			return fmt.Errorf("batch: modality %q has %d pixels in Valid, want %d×%d×%d", name, len(valid), b.Size, b.H/in.Stride, b.W/in.Stride)
		}
	}
	present := m.Present(b)
	nh, nw := c.Grid(b.H, b.W)
	if most := maxTokens / (max(1, len(present))*nh*nw + c.NumGlobalTokens); b.Size > most {
		return fmt.Errorf("batch: got %d samples of %d×%d pixels, want at most %d", b.Size, b.H, b.W, most)
	}
	for _, name := range present {
		in := c.Input(name)
		h, w := b.H/in.Stride, b.W/in.Stride
		values, ok := sizes.Product(b.Size, max(1, in.Channels), h, w)
		pixels, isImage := b.Images[name]
		ids, isClasses := b.Classes[name]
		switch {
		case isImage && in.Kind == KindClasses:
			return fmt.Errorf("batch: modality %q is a class map; give it in Classes, not in Images", name)
		case isClasses && in.Kind == KindImage:
			return fmt.Errorf("batch: modality %q is an image; give it in Images, not in Classes", name)
		case isImage && (!ok || len(pixels) != values):
			return fmt.Errorf("batch: modality %q has %d values, want %d×%d×%d×%d", name, len(pixels), b.Size, in.Channels, h, w)
		case isClasses && (!ok || len(ids) != values):
			return fmt.Errorf("batch: modality %q has %d ids, want %d×%d×%d", name, len(ids), b.Size, h, w)
		}
		for i, id := range ids {
			if (id < 0 || int(id) >= in.NumClasses) && id != IDPadding && id != IDIgnored {
				return fmt.Errorf("batch: modality %q: id %d at index %d, want 0..%d, or %d for an ignored pixel", name, id, i, in.NumClasses-1, IDIgnored)
			}
		}
	}
	return nil
}

// checkMasks returns an error unless the masks are for this batch.
func (m *Backbone) checkMasks(b *Batch, masks *Masks) error {
	if err := m.checkMaskSize(masks, b.Size, b.H, b.W); err != nil {
		return err
	}
	// The fields of masks can be set by hand; layout compares Keep with Masked.
	tokens, keep := b.Size*masks.Tokens(), b.Size*masks.Visible
	if len(masks.Keep) != keep || len(masks.Masked) != tokens || masks.Visible < 1 || masks.Visible > masks.Tokens() {
		return fmt.Errorf("masks: %d tokens are visible of %d, want %d of %d; make them by DrawMasks, NewMasks or AllVisible", len(masks.Keep), len(masks.Masked), keep, tokens)
	}
	for i, token := range masks.Keep {
		if token < 0 || int(token) >= masks.Tokens() {
			return fmt.Errorf("masks: token %d at index %d, want 0..%d", token, i, masks.Tokens()-1)
		}
	}
	last := -1
	for _, name := range masks.Inputs {
		i := slices.Index(m.config.Inputs.Names(), name)
		if i < 0 || !b.has(name) {
			return fmt.Errorf("masks: modality %q is not in the batch", name)
		}
		if i <= last {
			return fmt.Errorf("masks: modality %q is not in the model's order of inputs, %v", name, m.config.Inputs.Names())
		}
		last = i
	}
	return nil
}

// checkMaskSize is the part of checkMasks that holds where there are no inputs.
func (m *Backbone) checkMaskSize(masks *Masks, size, h, w int) error {
	nh, nw := m.config.Grid(h, w)
	switch {
	case masks.Size != size:
		return fmt.Errorf("masks: for %d samples, but the batch has %d", masks.Size, size)
	case masks.Patches != nh*nw:
		return fmt.Errorf("masks: for %d patches of a modality, but %d×%d pixels have %d", masks.Patches, h, w, nh*nw)
	}
	return nil
}
