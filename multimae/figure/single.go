package figure

import (
	"context"
	"fmt"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/view"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Model is a model and who computes.
type Model struct {
	*multimae.Model
	Pool *tensor.Pool
	// Classes has names of classes by modality, for legends. Modalities without any have no legend.
	Classes map[string][]string
}

// batch returns a sample as the model takes it.
func (m Model) batch(s *data.Sample) (*multimae.Batch, error) {
	return data.Collate([]*data.Sample{s}, m.Config.Inputs, m.Config.ImageSize)
}

// predict returns what is drawn of the prediction for the visible tokens of a batch, by modality.
func (m Model) predict(ctx context.Context, b *multimae.Batch, masks *multimae.Masks) (map[string]*multimae.Predicted, error) {
	p, err := m.Predict(ctx, b, &multimae.PredictOptions{Masks: masks, Pool: m.Pool})
	if err != nil {
		return nil, err
	}
	return images.Drawn(p), nil
}

// words are the names of common modalities for people.
var words = map[string]string{"rgb": "RGB", "semseg": "semantics"}

func word(modality string) string {
	if w := words[modality]; w != "" {
		return w
	}
	return modality
}

const (
	tile   = 104.0 // side of a picture
	gap    = 6.0
	margin = 18.0
)

// SingleModality draws what a model predicts from one modality alone, all of it visible: for each
// sample a block with a row for each input and a column for each modality. The diagonal is the
// input. The last row is the truth. The most frequent classes are named below.
func SingleModality(ctx context.Context, m Model, samples []*data.Sample) (*Drawing, error) {
	const left, head, between = 84.0, 26.0, 22.0
	inputs := m.Config.Inputs
	rows := float64(len(inputs) + 1)
	blockW, blockH := left+float64(len(inputs))*(tile+gap)-gap, head+rows*(tile+gap)-gap
	perLine := min(2, len(samples))
	lines := (len(samples) + perLine - 1) / perLine
	d := &Drawing{
		Width:  2*margin + float64(perLine)*(blockW+between) - between,
		Height: 2*margin + float64(lines)*(blockH+between) - between,
	}
	pixels := map[string]view.Pixels{} // by modality
	for k := range inputs {
		pixels[inputs[k].Name] = view.Pixels{}
	}
	for i, s := range samples {
		b, err := m.batch(s)
		if err != nil {
			return nil, err
		}
		x0, y0 := margin+float64(i%perLine)*(blockW+between), margin+float64(i/perLine)*(blockH+between)
		column := func(k int) float64 { return x0 + left + float64(k)*(tile+gap) }
		for k := range inputs {
			d.title(column(k)+tile/2, y0+16, 12, "middle", word(inputs[k].Name))
		}
		for r := range inputs {
			from := inputs[r].Name
			y := y0 + head + float64(r)*(tile+gap)
			d.text(x0+left-10, y+tile/2-4, 11, "end", soft, "from")
			d.title(x0+left-10, y+tile/2+10, 12, "end", word(from))
			nh, nw := m.Config.Grid(b.H, b.W)
			masks, err := multimae.AllVisible(1, []string{from}, nh*nw)
			if err != nil {
				return nil, err
			}
			if b.Images[from] == nil && b.Classes[from] == nil {
				continue
			}
			drawn, err := m.predict(ctx, b, masks)
			if err != nil {
				return nil, err
			}
			for k := range inputs {
				if k == r {
					d.rect(column(k)-2, y-2, tile+4, tile+4, series[1])
					d.picture(images.Input(&inputs[k], b), column(k), y, tile, tile)
				} else if out := drawn[inputs[k].Name]; out != nil {
					d.picture(images.Prediction(out, b), column(k), y, tile, tile)
					if out.Kind == multimae.KindClasses {
						pixels[inputs[k].Name].Add(out.IDs(0))
					}
				}
			}
		}
		y := y0 + head + float64(len(inputs))*(tile+gap)
		d.text(x0+left-10, y+tile/2+4, 12, "end", soft, "truth")
		for k := range inputs {
			if b.Images[inputs[k].Name] != nil || b.Classes[inputs[k].Name] != nil {
				d.picture(images.Input(&inputs[k], b), column(k), y, tile, tile)
				pixels[inputs[k].Name].Add(b.Classes[inputs[k].Name])
			}
		}
	}
	for k := range inputs {
		name := inputs[k].Name
		d.legend(pixels[name].Frequent(), m.Classes[name])
	}
	return d, nil
}

// Step is a model at a moment of its training.
type Step struct {
	Number int
	Model  Model
}

// Progress draws reconstructions over training: for each sample a block with a row for each
// modality, of the masked input, the predictions after the steps, and the truth. All steps see the
// same patches, drawn from seed as Model.DrawMasks does, as many as visible. They are put over the
// predictions.
func Progress(ctx context.Context, steps []Step, samples []*data.Sample, visible int, seed uint64) (*Drawing, error) {
	const left, head, between = 76.0, 26.0, 16.0
	inputs := steps[0].Model.Config.Inputs
	columns := float64(len(steps) + 2)
	blockH := float64(len(inputs))*(tile+gap) - gap
	d := &Drawing{
		Width:  2*margin + left + columns*(tile+gap) - gap,
		Height: 2*margin + head + float64(len(samples))*(blockH+between) - between,
	}
	column := func(k int) float64 { return margin + left + float64(k)*(tile+gap) }
	d.title(column(0)+tile/2, margin+14, 12, "middle", "input")
	for k, s := range steps {
		d.title(column(k+1)+tile/2, margin+14, 12, "middle", fmt.Sprintf("step %d", s.Number))
	}
	d.title(column(len(steps)+1)+tile/2, margin+14, 12, "middle", "truth")
	for i, s := range samples {
		m := steps[0].Model
		b, err := m.batch(s)
		if err != nil {
			return nil, err
		}
		nh, nw := m.Config.Grid(b.H, b.W)
		present := m.Present(b)
		rng, masks := nn.NewRNG(seed, nn.Hash("progress"), uint64(i)), new(multimae.Masks)
		if err := m.DrawMasks(masks, &rng, b, multimae.MaskOptions{Visible: min(visible, len(present)*nh*nw)}); err != nil {
			return nil, err
		}
		y := func(r int) float64 { return margin + head + float64(i)*(blockH+between) + float64(r)*(tile+gap) }
		for r := range inputs {
			in := &inputs[r]
			d.text(margin+left-10, y(r)+tile/2+4, 12, "end", ink, word(in.Name))
			if mask := masks.Task(0, in.Name); mask != nil {
				truth := images.Input(in, b)
				d.picture(view.Masked(truth, mask, m.Config.PatchSize/in.Stride), column(0), y(r), tile, tile)
				d.picture(truth, column(len(steps)+1), y(r), tile, tile)
			}
		}
		for k, step := range steps {
			drawn, err := step.Model.predict(ctx, b, masks)
			if err != nil {
				return nil, fmt.Errorf("step %d: %w", step.Number, err)
			}
			for r := range inputs {
				in := &inputs[r]
				if out := drawn[in.Name]; out != nil {
					img := images.Prediction(out, b)
					if mask := masks.Task(0, in.Name); mask != nil {
						view.Paste(img, images.Input(in, b), mask, m.Config.PatchSize/in.Stride)
					}
					d.picture(img, column(k+1), y(r), tile, tile)
				}
			}
		}
	}
	return d, nil
}
