package evaluate

import (
	"context"
	"fmt"
	"image"
	"math"
	"slices"

	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/metrics"
	"github.com/gomae/gomae/multimae/view"
	"github.com/gomae/gomae/tensor"
)

// topShown is how many of the most probable classes are named below an image.
const topShown = 3

// Picture draws what a model makes of samples as Evaluate reads them: for each sample the inputs,
// and for each output prediction, truth and error. Classes are drawn in false colours with a legend,
// and wrong pixels are marked. Relative depth is scaled and shifted to fit the truth. Below an image
// whose class is predicted stand the most probable classes.
func Picture(ctx context.Context, m *heads.Model, samples []*data.Sample, o Options, pool *tensor.Pool) (image.Image, error) {
	f, err := newFrame(m.Config, &o)
	if err != nil {
		return nil, err
	}
	p := painter{config: m.Config, shown: view.Pixels{}}
	for _, s := range samples {
		if err := f.check(s); err != nil {
			return nil, err
		}
		h, w, crop, err := f.fit(s)
		if err != nil {
			return nil, err
		}
		g := f.group([]*data.Sample{s}, h, w, []images.Crop{crop})
		err = m.Infer(ctx, pool, func(t *tensor.Tape) error {
			preds, err := g.predict(t, m, &o)
			if err == nil {
				p.sections = append(p.sections, p.section(t, g, preds))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	perLine := 2
	if len(samples) == 1 {
		perLine = 1
	} else if f.square {
		perLine = 4
	}
	side := m.Config.ImageSize
	grid := view.Grid(p.sections, perLine, min((159+side)/side*side, 224))
	if len(p.shown) == 0 {
		return grid, nil
	}
	return view.Below(grid, view.Legend(p.shown.Frequent(), p.names, grid.Rect.Dx())), nil
}

// painter collects sections of the grid.
type painter struct {
	config   *heads.Config
	sections []view.Section
	shown    view.Pixels // of maps of classes
	names    []string    // of classes in maps
}

func (p *painter) section(t *tensor.Tape, g *group, preds []*tensor.Tensor) view.Section {
	c, sample := p.config, g.samples[0]
	s := view.Section{Title: sample.Name}
	var inputs []image.Image
	for i := range c.Inputs {
		in := &c.Inputs[i]
		s.Columns = append(s.Columns, in.Name)
		inputs = append(inputs, images.Input(in, g.inputs))
	}
	for i, pred := range preds {
		o := &c.Outputs[i]
		truth := sample.Maps[o.TargetName()]
		row := view.Row{Tiles: slices.Clone(inputs)}
		if len(preds) > 1 {
			row.Title = o.Name
		}
		switch {
		case o.Head == heads.Linear:
			row.Notes = labelNotes(o, pred.Data, truth.Label)
		case o.Loss == heads.LossCrossEntropy:
			row.Tiles = append(row.Tiles, p.classes(t, o, pred, truth)...)
		default:
			row.Tiles = append(row.Tiles, values(t, o, pred, truth)...)
		}
		if len(row.Tiles) > len(s.Columns) {
			s.Columns = append(s.Columns, "prediction", "truth", "error")
		}
		s.Rows = append(s.Rows, row)
	}
	return s
}

// labelNotes returns the true class of an image, and the most probable ones with their
// probabilities.
func labelNotes(o *heads.Output, logits []float32, label int) []string {
	name := func(id int) string { return images.ClassName(o.Classes, id) }
	ids := make([]int, len(logits))
	top, sum := logits[best(logits)], 0.0
	for i, v := range logits {
		ids[i] = i
		sum += math.Exp(float64(v - top))
	}
	slices.SortStableFunc(ids, func(a, b int) int {
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return 0
	})
	notes := []string{"truth: " + name(label)}
	for _, id := range ids[:min(len(ids), topShown)] {
		mark := " "
		if id == label {
			mark = "*"
		}
		notes = append(notes, fmt.Sprintf("%s%3.0f %% %s", mark, 100*math.Exp(float64(logits[id]-top))/sum, name(id)))
	}
	return notes
}

// classes draws a map of classes.
func (p *painter) classes(t *tensor.Tape, o *heads.Output, pred *tensor.Tensor, m *images.Map) []image.Image {
	given, truth := classesAt(t, pred, 0, m.H, m.W), widen(m.IDs)
	p.shown.Add(given)
	p.shown.Add(truth)
	if len(o.Classes) > len(p.names) {
		p.names = o.Classes
	}
	return []image.Image{images.Classes(given, m.H, m.W), images.Classes(truth, m.H, m.W), view.WrongClasses(given, truth, m.H, m.W)}
}

// values draws a regression.
func values(t *tensor.Tape, o *heads.Output, pred *tensor.Tensor, m *images.Map) []image.Image {
	given, truth := valuesAt(t, pred, 0, m.H, m.W), trueValues(o, m)
	if o.Relative() {
		scale, shift := metrics.Fit(given, truth, m.Valid)
		for i, v := range given {
			given[i] = float32(scale*float64(v) + shift)
		}
	}
	n := m.H * m.W
	// The error of a pixel is the mean over channels.
	wrong := make([]float32, n)
	for i, v := range given {
		wrong[i%n] += float32(math.Abs(float64(v)-float64(truth[i]))) / float32(o.NumClasses)
	}
	measured := func(pix []float32) (lo, hi float32) {
		return images.Range(images.Measured(pix[:n], m.Valid), 0.01)
	}
	_, most := measured(wrong)
	errors := view.Measured(wrong, m.Valid, m.H, m.W, 0, most)
	if o.NumClasses == 3 {
		return []image.Image{images.RGB(given, m.H, m.W), images.RGB(truth, m.H, m.W), errors}
	}
	lo, hi := measured(truth)
	return []image.Image{view.Measured(given[:n], nil, m.H, m.W, lo, hi), view.Measured(truth[:n], m.Valid, m.H, m.W, lo, hi), errors}
}
