package view

import (
	"context"
	"fmt"
	"image"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// ReconstructOptions are what Reconstructions shows.
type ReconstructOptions struct {
	Visible int    // encoded tokens of a sample; more than its modalities have means all
	Seed    uint64 // of the masks
	// Single adds a section with a row for each modality of the sample, from which alone, all of it
	// visible, the others are predicted.
	Single bool
	// Paste puts the visible patches over the prediction. Otherwise the whole prediction is shown.
	Paste bool
	Tile  int // side of a picture in pixels; 0 means a size that suits the model
	// Classes has names of classes by modality. The most frequent classes of modalities that have any
	// are named below the pictures.
	Classes map[string][]string
}

// Reconstructions draws what a model makes of samples: for each sample a section with a row for
// each modality, of the masked input, the prediction and the truth. Predictions are in the units of
// the data again: colour in 0..1, depth in the range of the truth, the most probable class. A
// modality that a sample lacks is predicted from the others.
func Reconstructions(m *multimae.Model, samples []*data.Sample, o ReconstructOptions, pool *tensor.Pool) (*image.RGBA, error) {
	if o.Tile == 0 {
		// In a whole multiple of a small image all pixels have the same size.
		side := m.Config.ImageSize
		o.Tile = min((95+side)/side*side, 224)
	}
	var masked, single []Section
	pixels := map[string]Pixels{}
	for i, s := range samples {
		b, err := data.Collate([]*data.Sample{s}, m.Config.Inputs, m.Config.ImageSize)
		if err != nil {
			return nil, err
		}
		p := &painter{m: m, pool: pool, b: b, o: o, pixels: pixels}
		r := nn.NewRNG(o.Seed, nn.Hash("reconstructions"), uint64(i))
		section, err := p.masked(&r, s.Name)
		if err != nil {
			return nil, err
		}
		masked = append(masked, section)
		if o.Single {
			if section, err = p.single(s.Name); err != nil {
				return nil, err
			}
			single = append(single, section)
		}
	}
	perLine := 2
	if len(samples) == 1 {
		perLine = 1
	}
	img := Grid(append(masked, single...), perLine, o.Tile)
	for i := range m.Config.Inputs {
		if name := m.Config.Inputs[i].Name; len(pixels[name]) > 0 {
			img = Below(img, Legend(pixels[name].Frequent(), o.Classes[name], img.Rect.Dx()))
		}
	}
	return img, nil
}

// painter draws the predictions for one sample.
type painter struct {
	m    *multimae.Model
	pool *tensor.Pool
	b    *multimae.Batch
	o    ReconstructOptions

	pixels map[string]Pixels // that were drawn, by modality
}

// note notes which classes a map has that is drawn, if they have names.
func (p *painter) note(modality string, ids []int32) {
	if len(p.o.Classes[modality]) == 0 {
		return
	}
	if p.pixels[modality] == nil {
		p.pixels[modality] = Pixels{}
	}
	p.pixels[modality].Add(ids)
}

func (p *painter) masked(r *nn.RNG, name string) (Section, error) {
	present := p.m.Present(p.b)
	nh, nw := p.m.Config.Grid(p.b.H, p.b.W)
	masks := new(multimae.Masks)
	if err := p.m.DrawMasks(masks, r, p.b, multimae.MaskOptions{Visible: min(p.o.Visible, len(present)*nh*nw)}); err != nil {
		return Section{}, err
	}
	preds, err := p.predict(masks)
	if err != nil {
		return Section{}, err
	}
	s := Section{
		Title:   fmt.Sprintf("%s: %d of %d patches seen", name, masks.Visible, masks.Tokens()),
		Columns: []string{"masked input", "prediction", "truth"},
	}
	for i := range p.m.Config.Inputs {
		in := &p.m.Config.Inputs[i]
		row := Row{Title: in.Name, Tiles: make([]image.Image, 3)}
		mask := masks.Task(0, in.Name)
		if mask != nil {
			truth := p.truth(in)
			row.Tiles[0] = Masked(truth, mask, p.m.Config.PatchSize/in.Stride)
			row.Tiles[2] = truth
		}
		if pred := preds[in.Name]; pred != nil {
			if p.o.Paste && mask != nil {
				Paste(pred, row.Tiles[2].(*image.RGBA), mask, p.m.Config.PatchSize/in.Stride)
			}
			row.Tiles[1] = pred
		}
		s.Rows = append(s.Rows, row)
	}
	return s, nil
}

func (p *painter) single(name string) (Section, error) {
	s := Section{Title: name + ": from one modality alone"}
	for _, in := range p.m.Config.Inputs {
		s.Columns = append(s.Columns, in.Name)
	}
	nh, nw := p.m.Config.Grid(p.b.H, p.b.W)
	for _, from := range p.m.Present(p.b) {
		masks, err := multimae.AllVisible(1, []string{from}, nh*nw)
		if err != nil {
			return s, err
		}
		preds, err := p.predict(masks)
		if err != nil {
			return s, err
		}
		row := Row{Title: from + " only in"}
		for i := range p.m.Config.Inputs {
			in := &p.m.Config.Inputs[i]
			var tile image.Image
			if in.Name == from {
				tile = p.truth(in)
			} else if pred := preds[in.Name]; pred != nil {
				tile = pred
			}
			row.Tiles = append(row.Tiles, tile)
		}
		s.Rows = append(s.Rows, row)
	}
	return s, nil
}

// predict returns a picture of each modality that the model predicts.
func (p *painter) predict(masks *multimae.Masks) (map[string]*image.RGBA, error) {
	pred, err := p.m.Predict(context.Background(), p.b, &multimae.PredictOptions{Masks: masks, Pool: p.pool})
	if err != nil {
		return nil, err
	}
	pictures := map[string]*image.RGBA{}
	for modality, out := range images.Drawn(pred) {
		if out.Kind == multimae.KindClasses {
			p.note(modality, out.IDs(0))
		}
		pictures[modality] = images.Prediction(out, p.b)
	}
	return pictures, nil
}

// truth returns the picture of a modality of the sample.
func (p *painter) truth(in *multimae.Input) *image.RGBA {
	p.note(in.Name, p.b.Classes[in.Name])
	return images.Input(in, p.b)
}

// Paste copies the visible patches of from over to, a prediction that training has never judged there.
// mask and patch are as in Masked.
func Paste(to, from *image.RGBA, mask []bool, patch int) {
	w := to.Rect.Dx() / patch
	for i, hidden := range mask {
		if hidden {
			continue
		}
		x, y := i%w*patch, i/w*patch
		for r := range patch {
			at := to.PixOffset(x, y+r)
			copy(to.Pix[at:at+4*patch], from.Pix[at:])
		}
	}
}
