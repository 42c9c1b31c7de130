package demo

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"maps"
	"slices"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/scenes"
)

// Scene is what is looked at: a rendered room, or images.
type Scene struct {
	// Room is the number of a rendered room, of those that no model was trained on.
	Room *uint64 `json:"room,omitempty"`
	// Images are files by modality, PNG or JPEG, as data.DecodeImage takes them.
	Images map[string][]byte `json:"images,omitempty"`
}

// maxRoom bounds the number of a room; scenes further on have other purposes: see package train.
const maxRoom = 99_999_999

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
// images cropped and resized to what the model sees: small enough to be sent with each request.
type SceneAnswer struct {
	Scene    Scene               `json:"scene"`
	Pictures map[string]*Picture `json:"pictures"`
}

func (a *App) scene(ctx context.Context, r *SceneRequest) (*SceneAnswer, error) {
	b, err := a.batch(&r.Scene)
	if err != nil {
		return nil, err
	}
	answer := &SceneAnswer{Scene: r.Scene, Pictures: map[string]*Picture{}}
	if r.Scene.Room == nil {
		answer.Scene.Images = map[string][]byte{}
	}
	for i := range a.model.Config.Inputs {
		in := &a.model.Config.Inputs[i]
		if !slices.Contains(a.model.Present(b), in.Name) {
			continue
		}
		answer.Pictures[in.Name] = pictureOf(truth(in, b))
		if r.Scene.Room == nil {
			if answer.Scene.Images[in.Name], err = small(in, b); err != nil {
				return nil, err
			}
		}
	}
	return answer, ctx.Err()
}

// batch returns the scene as the model takes it.
func (a *App) batch(s *Scene) (*multimae.Batch, error) {
	c := a.model.Config
	sample := &data.Sample{Name: "upload", Maps: map[string]*data.Map{}}
	switch {
	case s.Room != nil && len(s.Images) > 0:
		return nil, requestf("a scene has a room or images, and not both")
	case s.Room == nil && len(s.Images) == 0:
		return nil, requestf("the scene is empty; give a room or at least one image")
	case s.Room != nil:
		room, err := a.room(*s.Room)
		if err != nil {
			return nil, err
		}
		sample = room
	default:
		for _, name := range slices.Sorted(maps.Keys(s.Images)) {
			in, err := a.modality(name)
			if err != nil {
				return nil, err
			}
			m, err := data.DecodeImage(s.Images[name], *in)
			if err != nil {
				return nil, requestf("%s: %w", name, err)
			}
			sample.Maps[name] = m
		}
		if name, largest := images.Misfit(sample.Maps); name != "" {
			m, l := sample.Maps[name], sample.Maps[largest]
			return nil, requestf("%s has %d×%d pixels, but %s has %d×%d; give images of the same view, whose sides have the same ratio",
				name, m.W, m.H, largest, l.W, l.H)
		}
	}
	return data.Collate([]*data.Sample{sample}, c.Inputs, c.ImageSize)
}

// room renders a room, unless it is among those rendered last.
func (a *App) room(n uint64) (*data.Sample, error) {
	if err := a.rendersFor(); err != nil {
		return nil, err
	}
	if n > maxRoom {
		return nil, requestf("room %d: want 0 to %d", n, uint64(maxRoom))
	}
	a.mu.Lock()
	s := a.rendered[n]
	a.mu.Unlock()
	if s != nil {
		return s, nil
	}
	c := a.model.Config
	s, err := scenes.New(scenes.HeldOut+int(n), 1, c.ImageSize, c.Train.Seed).Sample(0)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	if len(a.rendered) >= maxRendered {
		clear(a.rendered)
	}
	a.rendered[n] = s
	a.mu.Unlock()
	return s, nil
}

// truth returns the picture of a modality of a batch of one sample.
func truth(in *multimae.Input, b *multimae.Batch) *image.RGBA {
	h, w := b.H/in.Stride, b.W/in.Stride
	if in.Kind == multimae.KindClasses {
		return images.Classes(b.Classes[in.Name], h, w)
	}
	pix := b.Images[in.Name]
	return images.Pixels(pix, h, w, in.Normalization(), pix)
}

// small returns a PNG from which batch makes the same values again, up to the rounding of colour to
// 8 and of anything else to 16 bits.
func small(in *multimae.Input, b *multimae.Batch) ([]byte, error) {
	h, w := b.H/in.Stride, b.W/in.Stride
	m := &data.Map{C: in.Channels, H: h, W: w}
	if in.Kind == multimae.KindClasses {
		m.IDs = make([]uint8, h*w)
		for i, id := range b.Classes[in.Name] {
			m.IDs[i] = uint8(id)
		}
	} else {
		m.Pix = slices.Clone(b.Images[in.Name])
		switch in.Normalization() {
		case multimae.NormalizeImageNet:
			images.DenormalizeRGB(m.Pix)
		case multimae.NormalizeStandardize: // which undoes any scale and shift
			lo, hi := slices.Min(m.Pix), slices.Max(m.Pix)
			for i, v := range m.Pix {
				m.Pix[i] = (v - lo) / max(hi-lo, 1e-12)
			}
		}
	}
	img, err := m.Image()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in.Name, err)
	}
	var file bytes.Buffer
	if err := png.Encode(&file, img); err != nil {
		return nil, err
	}
	return file.Bytes(), nil
}
