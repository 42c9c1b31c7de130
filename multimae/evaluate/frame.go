package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/tensor"
)

// frame says at what size a model sees images.
type frame struct {
	config *heads.Config
	size   int  // of the shorter side
	unit   int  // both sides are multiples of it
	square bool // the largest centred square, and not the whole
	slide  bool
	inputs []multimae.Input // modalities of a batch: inputs, and targets that are maps
}

// longest is how many times as long as the other a side of an image may be that is seen whole.
const longest = 8

func newFrame(c *heads.Config, o *Options) (*frame, error) {
	f := &frame{config: c, size: o.Size, unit: c.PatchSize, square: true, slide: o.Slide, inputs: append([]multimae.Input(nil), c.Inputs...)}
	if f.size == 0 {
		f.size = c.ImageSize
	}
	targets := c.TargetInputs()
	for i := range c.Outputs {
		out := &c.Outputs[i]
		if out.Head == heads.Linear {
			continue
		}
		if f.slide && out.Relative() {
			return nil, fmt.Errorf("slide: output %s has no unit, so that its values are relative to the window and those of two windows have no mean; leave slide out to show whole images", out.Name)
		}
		f.square = false
		if out.Head == heads.DPT {
			f.unit = 2 * c.PatchSize // it sees even numbers of patches
		}
		for _, in := range targets {
			if in.Name == out.TargetName() && !slices.ContainsFunc(f.inputs, func(x multimae.Input) bool { return x.Name == in.Name }) {
				f.inputs = append(f.inputs, in)
			}
		}
	}
	switch {
	case f.size < 1 || f.size%f.unit != 0 || f.size > 1<<14:
		below := max(f.unit, min(f.size, 1<<14)/f.unit*f.unit)
		why := "a whole number of patches"
		if f.unit > c.PatchSize {
			why = fmt.Sprintf("an even number of patches, which the head %q needs", heads.DPT)
		}
		return nil, fmt.Errorf("size: got %d pixels, want a multiple of %d, %s, such as %d or %d", f.size, f.unit, why, below, below+f.unit)
	case f.slide && f.square:
		return nil, errors.New("slide: the model has no output that is a map; show it whole images")
	case f.slide && f.size < c.ImageSize:
		return nil, fmt.Errorf("size: got %d pixels, want at least %d to slide a window of that size", f.size, c.ImageSize)
	}
	return f, nil
}

// fit returns the size at which the model sees a sample, and which part of it.
func (f *frame) fit(s *data.Sample) (h, w int, crop images.Crop, err error) {
	fullW, fullH := images.Size(s.Maps)
	if f.square {
		return f.size, f.size, images.Square(fullW, fullH), nil
	}
	round := func(long, short int) int {
		ratio := float64(long) / float64(short)
		return max(f.size, int(math.Round(float64(f.size)*ratio/float64(f.unit)))*f.unit)
	}
	h, w = f.size, f.size
	if fullW > fullH {
		w = round(fullW, fullH)
	} else {
		h = round(fullH, fullW)
	}
	if max(h, w) > longest*f.size {
		return 0, 0, crop, fmt.Errorf("sample %s has %d×%d pixels, one side more than %d times the other; cut it into several images", s.Name, fullW, fullH, longest)
	}
	return h, w, images.Crop{W: fullW, H: fullH, FullW: fullW, FullH: fullH}, nil
}

// check returns an error unless the sample has all that is compared, in the right kind.
func (f *frame) check(s *data.Sample) error {
	for i := range f.inputs {
		in := &f.inputs[i]
		m := s.Maps[in.Name]
		switch {
		case m == nil && f.config.Input(in.Name) != nil:
			return fmt.Errorf("sample %s has no %s, which is an input of the model", s.Name, in.Name)
		case m == nil:
			return fmt.Errorf("sample %s has no %s, which says the truth; add it to the dataset", s.Name, in.Name)
		case m.IsLabel():
			return fmt.Errorf("sample %s: %s is one class of the whole image, want a map", s.Name, in.Name)
		}
		if err := s.Check(in); err != nil {
			return err
		}
	}
	for i := range f.config.Outputs {
		out := &f.config.Outputs[i]
		if out.Head != heads.Linear {
			continue
		}
		if m := s.Maps[out.TargetName()]; m == nil || !m.IsLabel() {
			return fmt.Errorf("sample %s has no class; put its files into folders CLASS", s.Name)
		} else if m.Label < 0 || m.Label >= out.NumClasses {
			return fmt.Errorf("sample %s is of class number %d, but output %s has %d classes", s.Name, m.Label, out.Name, out.NumClasses)
		}
	}
	return nil
}

// group are samples that the model sees at the same time.
type group struct {
	samples []*data.Sample
	inputs  *multimae.Batch
	targets *heads.Targets
}

// group makes a batch of samples of which fit has returned the same size.
func (f *frame) group(samples []*data.Sample, h, w int, crops []images.Crop) *group {
	b := new(multimae.Batch)
	images.Reshape(b, len(samples), h, w, f.inputs)
	var z images.Resizer
	for k, s := range samples {
		z.Place(b, k, s.Maps, f.inputs, crops[k])
	}
	g := &group{samples: samples}
	g.inputs, g.targets = f.config.Split(b)
	for i := range f.config.Outputs {
		if out := &f.config.Outputs[i]; out.Head == heads.Linear {
			labels := make([]int32, len(samples))
			for k, s := range samples {
				labels[k] = int32(s.Maps[out.TargetName()].Label)
			}
			g.targets.Classes[out.Name] = labels
		}
	}
	return g
}

// The bounds of a group, so that it takes little memory: samples, pixels that the model sees, and
// values that are read.
const (
	groupSamples = 16
	groupPixels  = 1 << 19
	groupValues  = 1 << 25
)

// eachGroup reads the samples and calls f with groups of neighbours that have the same size, those of
// one of several parts. It counts them in sums.
func eachGroup(ctx context.Context, ds data.Dataset, fr *frame, o *Options, part, parts int, pool *tensor.Pool, sums *Sums, f func(g *group) error) error {
	n := ds.Len()
	if o.Samples > 0 {
		n = min(n, o.Samples)
	}
	indices := data.Spread(n, ds.Len())
	atATime := 1 // the first sample shows how large they are
	for from, turn := 0, 0; from < n; turn++ {
		to := min(n, from+atATime)
		own := turn%parts == part
		if !own && turn > 0 {
			from = to
			continue
		}
		samples, errs := data.Read(ctx, ds, indices[from:to], pool.Workers())
		if err := ctx.Err(); err != nil {
			return err
		}
		var now []*data.Sample
		var crops []images.Crop
		var h, w int
		flush := func() error {
			if len(now) == 0 {
				return nil
			}
			err := f(fr.group(now, h, w, crops))
			now, crops = nil, nil
			return err
		}
		values := 1
		for k, s := range samples {
			if errs[k] == nil {
				errs[k] = fr.check(s)
			}
			if errs[k] != nil {
				if !o.SkipBad || data.Interrupted(errs[k]) {
					return errs[k]
				}
				if own {
					sums.bad = errs[k]
					sums.skipped++
				}
				continue
			}
			for _, m := range s.Maps {
				values = max(values, len(m.Pix), len(m.IDs))
			}
			if !own {
				continue
			}
			sh, sw, crop, err := fr.fit(s)
			if err != nil {
				return err
			}
			if sh != h || sw != w || (len(now)+1)*h*w > groupPixels {
				if err := flush(); err != nil {
					return err
				}
				h, w = sh, sw
			}
			now, crops = append(now, s), append(crops, crop)
			sums.samples++
		}
		if err := flush(); err != nil {
			return err
		}
		from = to
		if turn == 0 || parts == 1 { // the first sample is all that each part sees
			atATime = min(max(1, groupValues/values), groupSamples)
			sums.atATime = atATime
		}
		if o.Progress != nil {
			o.Progress(from)
		}
	}
	return nil
}
