package data

import (
	"errors"
	"fmt"
	"math"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/nn"
)

// Augment says how training samples are varied. All modalities of a sample share one draw, so that
// they stay aligned to the pixel.
type Augment struct {
	// Crop takes a random rectangle and resizes it to the square that the model sees. Its area is a
	// share of the image within CropScale, its width:height is within CropRatio; zero values mean
	// the paper's [0.2, 1] and [3/4, 4/3]. Without Crop the largest centred square is taken.
	Crop                 bool
	CropScale, CropRatio [2]float64
	Flip                 bool // mirror left to right with probability ½
	// Scale, where it is not zero, takes a square of the image instead: the image is enlarged by a
	// factor from this range, where 1 makes its longer side as long as the model's image, a random
	// part of it is taken, and what is missing is padded. This is the large-scale jitter of Ghiasi
	// et al., "Simple Copy-Paste is a Strong Data Augmentation Method" (2021).
	Scale [2]float64
	// Color is the range of random factors of brightness, contrast and saturation, 1−Color..1+Color, for
	// the inputs that images.Color changes.
	Color float64
}

// draw draws the crop of a w×h image.
func (a *Augment) draw(r *nn.RNG, w, h int) images.Crop {
	c := images.Square(w, h)
	switch {
	case a.Scale != [2]float64{}:
		side := max(1, int(math.RoundToEven(float64(max(w, h))/r.Uniform(a.Scale[0], a.Scale[1]))))
		place := func(full int) int {
			if side <= full {
				return r.Intn(full - side + 1)
			}
			return -r.Intn(side - full + 1)
		}
		y := place(h)
		c = images.Crop{X: place(w), Y: y, W: side, H: side, FullW: w, FullH: h}
	case a.Crop:
		c = a.crop(r, w, h)
	}
	c.Flip = a.Flip && r.Chance(0.5)
	if a.Color > 0 {
		factor := func() float32 { return float32(r.Uniform(1-a.Color, 1+a.Color)) }
		c.Color.Brightness, c.Color.Contrast, c.Color.Saturation = factor(), factor(), factor()
	}
	return c
}

// crop draws up to ten rectangles and takes the first that fits. If none does, it takes the largest
// centred one within the aspect ratios.
func (a *Augment) crop(r *nn.RNG, w, h int) images.Crop {
	scale, ratio := a.CropScale, a.CropRatio
	if scale == ([2]float64{}) {
		scale = [2]float64{0.2, 1}
	}
	if ratio == ([2]float64{}) {
		ratio = [2]float64{3. / 4, 4. / 3}
	}
	logLo, logHi := math.Log(ratio[0]), math.Log(ratio[1])
	for range 10 {
		area := float64(w) * float64(h) * r.Uniform(scale[0], scale[1])
		aspect := math.Exp(r.Uniform(logLo, logHi))
		cw, ch := int(math.RoundToEven(math.Sqrt(area*aspect))), int(math.RoundToEven(math.Sqrt(area/aspect)))
		if cw > 0 && cw <= w && ch > 0 && ch <= h {
			y := r.Intn(h - ch + 1)
			return images.Crop{X: r.Intn(w - cw + 1), Y: y, W: cw, H: ch, FullW: w, FullH: h}
		}
	}
	cw, ch := w, h
	switch in := float64(w) / float64(h); {
	case in < ratio[0]:
		ch = min(h, max(1, int(math.RoundToEven(float64(w)/ratio[0]))))
	case in > ratio[1]:
		cw = min(w, max(1, int(math.RoundToEven(float64(h)*ratio[1]))))
	}
	return images.Crop{X: (w - cw) / 2, Y: (h - ch) / 2, W: cw, H: ch, FullW: w, FullH: h}
}

// Check returns an error unless the map of the modality is there, well formed and of the right
// kind.
func (s *Sample) Check(m *multimae.Input) error {
	p := s.Maps[m.Name]
	switch {
	case p == nil:
		return fmt.Errorf("data: sample %s has no %s", s.Name, m.Name)
	case p.W < 1 || p.H < 1:
	case p.Valid != nil && len(p.Valid) != p.W*p.H:
		return fmt.Errorf("data: sample %s: %s has %d×%d pixels, and says of %d whether they are valid", s.Name, m.Name, p.W, p.H, len(p.Valid))
	case m.Kind == multimae.KindClasses && (len(p.IDs) == p.W*p.H || p.IsLabel()):
		return nil
	case m.Kind == multimae.KindImage && p.C == m.Channels && len(p.Pix) == p.C*p.W*p.H:
		return nil
	}
	return fmt.Errorf("data: sample %s: %s is [%d,%d,%d] with %d values and %d ids, which does not fit kind %q with %d channels",
		s.Name, m.Name, p.C, p.H, p.W, len(p.Pix), len(p.IDs), m.Kind, m.Channels)
}

// Collate makes one batch of samples without augmentation: the largest centred square of each,
// resized to size×size pixels and normalised as the model expects. A modality that no sample has is
// absent from the batch; one that only some samples have is an error.
func Collate(samples []*Sample, inputs []multimae.Input, size int) (*multimae.Batch, error) {
	if len(samples) == 0 {
		return nil, errors.New("data: got no samples, want at least 1")
	}
	if err := checkInputs(inputs, size); err != nil {
		return nil, err
	}
	var present []multimae.Input
	for _, m := range inputs {
		have := 0
		for _, s := range samples {
			if s.Maps[m.Name] == nil {
				continue
			}
			have++
			if err := s.Check(&m); err != nil {
				return nil, err
			}
		}
		switch have {
		case 0:
		case len(samples):
			present = append(present, m)
		default:
			return nil, fmt.Errorf("data: %d of %d samples have no %s; a batch needs it in all samples or in none", len(samples)-have, len(samples), m.Name)
		}
	}
	b := new(multimae.Batch)
	images.Reshape(b, len(samples), size, size, present)
	var z images.Resizer
	for i, s := range samples {
		z.Place(b, i, s.Maps, present, images.Square(images.Size(s.Maps)))
	}
	return b, nil
}
