package images

import (
	"fmt"
	"image"
	"maps"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
)

// Model is what a batch is made for: a multimae.Model, a heads.Model, or any other that embeds a
// multimae.Backbone.
type Model interface {
	BackboneConfig() *multimae.BackboneConfig
}

// Batch returns a batch of one sample from images of one view, by modality: any non-empty subset of
// the model's inputs. From says what kind of image each must be. They may have different sizes, but
// the same ratio of sides. Of each, the largest centred square is resized to the model's image size
// and normalised. Errors name the modality and the remedy.
//
// image.Decode drops how a camera was held. Pass photographs through Upright first, and WebP files
// through WidenWebP.
func Batch(m Model, imgs map[string]image.Image) (*multimae.Batch, error) {
	return BatchAt(m, imgs, m.BackboneConfig().ImageSize)
}

// BatchAt is Batch at size×size pixels, a multiple of the model's patch size.
func BatchAt(m Model, imgs map[string]image.Image, size int) (*multimae.Batch, error) {
	c := m.BackboneConfig()
	if err := c.CheckImageSize(size, size); err != nil {
		return nil, err
	}
	known := c.Inputs.Names()
	for _, name := range slices.Sorted(maps.Keys(imgs)) {
		if c.Input(name) == nil {
			return nil, fmt.Errorf("images: %q is not an input of this model%s", name, strictjson.Hint(name, known))
		}
	}
	var present []multimae.Input
	views := map[string]*Map{}
	for i := range c.Inputs {
		in := &c.Inputs[i]
		img := imgs[in.Name]
		if img == nil {
			continue
		}
		view, err := From(img, in)
		if err != nil {
			return nil, fmt.Errorf("images: %s: %w", in.Name, err)
		}
		present = append(present, *in)
		views[in.Name] = view
	}
	if len(present) == 0 {
		return nil, fmt.Errorf("images: no image; give at least one of %s", strings.Join(known, ", "))
	}
	if err := Misfit(views, nil); err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	b := new(multimae.Batch)
	Reshape(b, 1, size, size, present)
	new(Resizer).Place(b, 0, views, present, Square(Size(views)))
	return b, nil
}
