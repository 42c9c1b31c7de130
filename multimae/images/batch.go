package images

import (
	"fmt"
	"image"
	"maps"
	"slices"
	"strings"

	"github.com/gomae/gomae/multimae"
)

// Batch makes a batch of one sample from images of one view by modality: any
// non-empty subset of c's inputs. From says what kind each must be. They may
// have different sizes, but the same ratio of sides; the largest centred square
// is resized to size×size pixels (0 means c.ImageSize) and normalised. Errors
// name the modality and the remedy.
func Batch(c *multimae.BackboneConfig, imgs map[string]image.Image, size int) (*multimae.Batch, error) {
	if size == 0 {
		size = c.ImageSize
	}
	if err := c.CheckImageSize(size, size); err != nil {
		return nil, err
	}
	known := make([]string, len(c.Inputs))
	for i := range c.Inputs {
		known[i] = c.Inputs[i].Name
	}
	for _, name := range slices.Sorted(maps.Keys(imgs)) {
		if c.Input(name) == nil {
			return nil, fmt.Errorf("images: %q is not an input of this model; did you mean %q?", name, multimae.Nearest(name, known))
		}
	}
	var present []multimae.Input
	views := map[string]*Map{}
	largest := "" // modality
	for i := range c.Inputs {
		in := &c.Inputs[i]
		img := imgs[in.Name]
		if img == nil {
			continue
		}
		m, err := From(img, in)
		if err != nil {
			return nil, fmt.Errorf("images: %s: %w", in.Name, err)
		}
		present = append(present, *in)
		views[in.Name] = m
		if l := views[largest]; l == nil || m.W*m.H > l.W*l.H {
			largest = in.Name
		}
	}
	if len(present) == 0 {
		return nil, fmt.Errorf("images: no image; give at least one of %s", strings.Join(known, ", "))
	}
	l := views[largest]
	for i := range present {
		name := present[i].Name
		if m := views[name]; !m.SameShape(l) {
			return nil, fmt.Errorf("images: %s has %d×%d pixels, but %s has %d×%d; give images of the same view, whose sides have the same ratio",
				name, m.W, m.H, largest, l.W, l.H)
		}
	}
	b := new(multimae.Batch)
	Reshape(b, 1, size, present)
	new(Resizer).Place(b, 0, views, present, Square(Size(views)))
	return b, nil
}
