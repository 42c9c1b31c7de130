package demo

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
)

// Scene is what is looked at: one of the scenes that are offered, or images.
type Scene struct {
	// Number is that of one of the App's scenes.
	Number *uint64 `json:"number,omitempty"`
	// Images are files by modality, PNG or JPEG, as data.DecodeImage takes them.
	Images map[string][]byte `json:"images,omitempty"`
	// Valid are PNGs of such images that are 0 where nothing was measured, and 1 elsewhere. An image
	// with one has no pixels that are marked by their value, as Input.Invalid says.
	Valid map[string][]byte `json:"valid,omitempty"`
}

// Picture is an image as a canvas takes it.
type Picture struct {
	Width  int    `json:"width"`
	Height int    `json:"height"`
	RGBA   []byte `json:"rgba"`
}

func pictureOf(img *image.RGBA) *Picture {
	return &Picture{img.Rect.Dx(), img.Rect.Dy(), img.Pix}
}

// SceneRequest asks for a scene.
type SceneRequest struct {
	Scene Scene `json:"scene"`
}

// SceneAnswer has the pictures of a scene by modality. Scene is the one that was asked for, its
// images cropped and resized to what the model sees: small enough to be sent with each request. Name
// is empty if the scene has none.
type SceneAnswer struct {
	Scene    Scene               `json:"scene"`
	Name     string              `json:"name,omitempty"`
	Pictures map[string]*Picture `json:"pictures"`
}

func (a *App) scene(ctx context.Context, r *SceneRequest) (*SceneAnswer, error) {
	b, err := a.batch(&r.Scene)
	if err != nil {
		return nil, err
	}
	answer := &SceneAnswer{Scene: r.Scene, Pictures: map[string]*Picture{}}
	if r.Scene.Number == nil {
		if answer.Scene, err = a.small(b); err != nil {
			return nil, err
		}
	} else {
		answer.Name = a.nameOf(*r.Scene.Number)
	}
	for _, name := range a.model.Present(b) {
		answer.Pictures[name] = pictureOf(images.Input(a.model.Config.Input(name), b))
	}
	return answer, ctx.Err()
}

// batch returns the scene as the model takes it.
func (a *App) batch(s *Scene) (*multimae.Batch, error) {
	c := a.model.Config
	var sample *data.Sample
	switch {
	case s.Number != nil && len(s.Images) > 0:
		return nil, requestf("a scene has a number or images, and not both")
	case s.Number == nil && len(s.Images) == 0:
		return nil, requestf("the scene is empty; give a number or at least one image")
	case s.Number != nil:
		var err error
		if sample, err = a.offered(*s.Number); err != nil {
			return nil, err
		}
	default:
		var err error
		if sample, err = a.decode(s); err != nil {
			return nil, err
		}
		if err := images.Misfit(sample.Maps, nil); err != nil {
			return nil, &RequestError{err}
		}
	}
	return data.Collate([]*data.Sample{sample}, c.Inputs, c.ImageSize)
}

// offered returns one of the App's scenes.
func (a *App) offered(n uint64) (*data.Sample, error) {
	if a.offers == nil {
		return nil, requestf("there are no scenes for this model; upload images of %s", strings.Join(a.model.Config.Inputs.Names(), ", "))
	}
	if n >= uint64(a.offers.Len()) {
		return nil, requestf("scene %d: want 0 to %d", n, a.offers.Len()-1)
	}
	a.mu.Lock()
	s := a.kept[n]
	a.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := a.offers.Sample(int(n))
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	if len(a.kept) >= maxKept {
		clear(a.kept)
	}
	a.kept[n] = s
	a.mu.Unlock()
	return s, nil
}

// nameOf returns the name of a scene that is offered, "" if it has none.
func (a *App) nameOf(n uint64) string {
	if named, ok := a.offers.(data.Named); ok {
		return named.Name(int(n))
	}
	return ""
}

// decode reads the images of a scene.
func (a *App) decode(scene *Scene) (*data.Sample, error) {
	s := &data.Sample{Name: "upload", Maps: map[string]*data.Map{}}
	for _, name := range slices.Sorted(maps.Keys(scene.Images)) {
		in, err := a.modality(name)
		if err != nil {
			return nil, err
		}
		plain := *in
		if _, ok := scene.Valid[name]; ok {
			plain.Invalid = nil
		}
		if s.Maps[name], err = data.DecodeImage(scene.Images[name], plain); err != nil {
			return nil, requestf("%s: %w", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(scene.Valid)) {
		m := s.Maps[name]
		if m == nil || m.Pix == nil {
			return nil, requestf("valid.%s: the scene has no such image of measurements", name)
		}
		valid, err := data.DecodeImage(scene.Valid[name], multimae.Input{Name: name, Kind: multimae.KindClasses, NumClasses: 2, Stride: 1})
		if err != nil {
			return nil, requestf("valid.%s: %w", name, err)
		}
		if valid.W != m.W || valid.H != m.H {
			return nil, requestf("valid.%s: %d×%d pixels, but the image has %d×%d", name, valid.W, valid.H, m.W, m.H)
		}
		m.Hide(func(i int) bool { return valid.IDs[i] == 0 })
	}
	return s, nil
}

// small returns a scene of PNGs, from which decode makes the batch again, up to the rounding of
// colour to 8 and of anything else to 16 bits.
func (a *App) small(b *multimae.Batch) (Scene, error) {
	s := Scene{Images: map[string][]byte{}}
	add := func(files map[string][]byte, name string, m *data.Map) error {
		img, err := m.Image()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		var file bytes.Buffer
		if err := png.Encode(&file, img); err != nil {
			return err
		}
		files[name] = file.Bytes()
		return nil
	}
	for _, name := range a.model.Present(b) {
		in := a.model.Config.Input(name)
		m := &data.Map{C: in.Channels, H: b.H / in.Stride, W: b.W / in.Stride}
		valid := b.Valid[name]
		if in.Kind == multimae.KindClasses {
			m.IDs = make([]uint8, m.H*m.W)
			for i, id := range b.Classes[name] {
				m.IDs[i] = uint8(id)
			}
		} else {
			m.Pix = slices.Clone(b.Images[name])
			switch in.Normalization() {
			case multimae.NormalizeImageNet:
				images.DenormalizeRGB(m.Pix)
			case multimae.NormalizeStandardize:
				lo, scale := storable(images.Measured(m.Pix, valid), in.Channels)
				for i, v := range m.Pix {
					m.Pix[i] = (v - lo) * scale
				}
			}
		}
		if err := add(s.Images, name, m); err != nil {
			return Scene{}, err
		}
		// Scaled or rounded, any pixel may come to hold one of Invalid.
		if valid == nil && (m.Pix == nil || len(in.Invalid) == 0) {
			continue
		}
		holes := &data.Map{H: m.H, W: m.W, IDs: slices.Repeat([]uint8{1}, m.H*m.W)}
		for i, ok := range valid {
			if !ok {
				holes.IDs[i] = 0
			}
		}
		if s.Valid == nil {
			s.Valid = map[string][]byte{}
		}
		if err := add(s.Valid, name, holes); err != nil {
			return Scene{}, err
		}
	}
	return s, nil
}

// storable returns lo and scale such that (v − lo)·scale is in 0..1 for the standardised values v of
// pix, and images.Standardize makes v of it again. A shift is undone by that; a scale is only as long
// as the variance stays far above the 1e-6 that is added to it. So the scale is the number that the
// values were divided by, which restores the variance, or the largest one that fits where that is
// less. The former is at least 1e-3: rounded to 16 bits, no value changes by more than 2^−16/1e-3 <
// 0.016, even if the variance is tiny. In the 8 bits of colour that would be 4, so there the scale is
// always the largest one.
func storable(pix []float32, channels int) (lo, scale float32) {
	lo, hi := images.Range(pix, 0)
	if hi == lo {
		return lo, 1
	}
	largest := 1 / float64(hi-lo)
	if channels != 1 {
		return lo, float32(largest)
	}
	again := slices.Clone(pix)
	images.Standardize(again, nil)
	from, to := images.Range(again, 0)
	d := float64(hi-lo) / float64(to-from) // √(t + 1e-6) for the variance t of pix
	t := d*d - 1e-6                        // v/(v + 1e-6) for the variance v before
	return lo, float32(min(largest, math.Sqrt(1e-6/max(1-t, 1e-9))))
}
