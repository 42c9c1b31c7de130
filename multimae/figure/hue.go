package figure

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"strings"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/view"
	"github.com/gomae/gomae/nn"
)

// HueOptions say how the hue experiment goes.
type HueOptions struct {
	Scenes     int     // to measure
	Degrees    float64 // by which the hue is turned
	Background []int32 // classes that are no objects, such as those of the function Background
	Seed       uint64  // of the second patch, and of the confidence intervals
	Examples   int     // scenes to draw
}

// Interval is a mean with its 95 % confidence interval by bootstrap over scenes.
type Interval struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// HueResult is what the hue experiment has measured. A change is the mean absolute difference of
// predicted colour, over the channels in 0..1, between the two hues.
type HueResult struct {
	Scenes     int      `json:"scenes"`  // measured
	Looked     int      `json:"looked"`  // looked at; the others have no object that is large and coloured enough
	Degrees    float64  `json:"degrees"` // by which the hue was turned
	Inside     Interval `json:"inside"`  // change within the object, without its patch that is shown
	Outside    Interval `json:"outside"` // change elsewhere
	Difference Interval `json:"difference"`
	// Follows is the share of scenes in which the object changes more than its surroundings.
	Follows float64 `json:"follows"`
}

// Background returns the classes of a model's first class map, with which Hue finds objects, that are no
// objects: those that are named floor, wall, ceiling or sky, or so before a hyphen, such as COCO's
// sky-other-merged.
func Background(m Model) []int32 {
	var ids []int32
	if in := classMap(m.Config); in != nil {
		for id, name := range m.Classes[in.Name] {
			name, _, _ = strings.Cut(name, "-")
			if slices.Contains([]string{"floor", "wall", "ceiling", "sky"}, name) {
				ids = append(ids, int32(id))
			}
		}
	}
	return ids
}

// classMap returns the first input that is a class map, nil if there is none.
func classMap(c *multimae.Config) *multimae.Input {
	for i := range c.Inputs {
		if in := &c.Inputs[i]; in.Kind == multimae.KindClasses {
			return in
		}
	}
	return nil
}

// ErrNoObjects is wrapped by Hue's error where a dataset has too few scenes for the experiment.
var ErrNoObjects = errors.New("too few scenes have an object that is large and coloured enough")

// Hue does the experiment of Bachmann et al. (2022, figure 5) and measures it. Of a scene the model
// is shown all modalities but colour and classes, and two patches of colour: one on an object, and
// one off it. The hue of the first is turned. Does the whole object follow, and the rest not?
//
// A scene takes part if some connected region of one class covers most of a patch that has a colour,
// and at least two more patches' worth of pixels. Of several, the largest region is taken.
func Hue(ctx context.Context, m Model, ds data.Dataset, o HueOptions) (*HueResult, *Drawing, error) {
	e := &hueExperiment{m: m, o: o}
	if err := e.prepare(); err != nil {
		return nil, nil, err
	}
	r := &HueResult{Degrees: o.Degrees}
	var inside, outside, difference []float64
	var rows [][]image.Image
	for i := 0; i < ds.Len() && r.Scenes < o.Scenes; i++ {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if r.Looked > 200*(r.Scenes+1) {
			break // such scenes are too rare
		}
		s, err := ds.Sample(i)
		if err != nil {
			return nil, nil, err
		}
		r.Looked++
		b, err := m.batch(s)
		if err != nil {
			return nil, nil, err
		}
		present := m.Present(b)
		for _, name := range m.Config.Inputs.Names() {
			if !slices.Contains(present, name) {
				return nil, nil, fmt.Errorf("sample %s has no modality %s, which is among the inputs of the model", s.Name, name)
			}
		}
		t := e.target(b, uint64(i))
		if t == nil {
			continue
		}
		in, out, err := e.measure(ctx, b, t)
		if err != nil {
			return nil, nil, err
		}
		inside, outside, difference = append(inside, in), append(outside, out), append(difference, in-out)
		if in > out {
			r.Follows++
		}
		r.Scenes++
		if len(rows) < o.Examples {
			row, err := e.row(ctx, b, t)
			if err != nil {
				return nil, nil, err
			}
			rows = append(rows, row)
		}
	}
	if r.Scenes < 2 {
		return nil, nil, fmt.Errorf("%w: %d of %d", ErrNoObjects, r.Scenes, r.Looked)
	}
	r.Follows /= float64(r.Scenes)
	r.Inside, r.Outside, r.Difference = interval(inside, o.Seed), interval(outside, o.Seed), interval(difference, o.Seed)
	return r, e.draw(r, rows), nil
}

// interval returns the mean of x with the middle 95 % of the means of 4000 resamples.
func interval(x []float64, seed uint64) Interval {
	const resamples = 4000
	rng := nn.NewRNG(seed, nn.Hash("bootstrap"))
	mean := func(at func(i int) float64) float64 {
		sum := 0.0
		for i := range x {
			sum += at(i)
		}
		return sum / float64(len(x))
	}
	means := make([]float64, resamples)
	for k := range means {
		means[k] = mean(func(int) float64 { return x[rng.Intn(len(x))] })
	}
	slices.Sort(means)
	return Interval{mean(func(i int) float64 { return x[i] }), means[resamples/40], means[resamples-1-resamples/40]}
}

type hueExperiment struct {
	m       Model
	o       HueOptions
	colour  *multimae.Input
	classes *multimae.Input
	output  string   // the prediction of colour
	context []string // the inputs that are shown as a whole
}

// prepare finds the modalities that take part.
func (e *hueExperiment) prepare() error {
	e.classes = classMap(e.m.Config)
	for i := range e.m.Config.Inputs {
		in := &e.m.Config.Inputs[i]
		switch {
		case in == e.classes:
		case in.Kind == multimae.KindImage && in.Normalization() == multimae.NormalizeImageNet && e.colour == nil:
			e.colour = in
		default:
			e.context = append(e.context, in.Name)
		}
	}
	if e.colour == nil || e.classes == nil || len(e.context) == 0 {
		return errors.New("the model must read colour, a class map that tells where objects are, and another modality; see inputs in its config.json")
	}
	for _, out := range e.m.Config.Outputs {
		if out.Task == e.colour.Name && out.Loss != multimae.LossNormMSE {
			e.output = out.Name
			return nil
		}
	}
	return fmt.Errorf("the model does not predict %s; see outputs in its config.json", e.colour.Name)
}

// target is the object of a scene.
type target struct {
	region []bool // of each pixel of the class map
	patch  int    // of colour, on the object; its hue is turned
	other  int    // of colour, off the object
}

// target returns the object of a scene, or nil if it has none.
func (e *hueExperiment) target(b *multimae.Batch, scene uint64) *target {
	ids := b.Classes[e.classes.Name]
	h, w := b.H/e.classes.Stride, b.W/e.classes.Stride
	side := e.m.Config.PatchSize / e.classes.Stride
	nh, nw := e.m.Config.Grid(b.H, b.W)
	seen := make([]bool, len(ids))
	var best *target
	largest := 3 * side * side
	for start, id := range ids {
		if seen[start] || id < 0 || int(id) >= e.classes.NumClasses || slices.Contains(e.o.Background, id) {
			continue
		}
		region, size := flood(ids, seen, start, h, w)
		if size < largest {
			continue
		}
		// The patch that the region covers most, if it is coloured.
		patch, most := -1, 0.85*float64(side*side)
		for p := range nh * nw {
			n := 0.0
			for y := range side {
				for x := range side {
					if region[(p/nw*side+y)*w+p%nw*side+x] {
						n++
					}
				}
			}
			if n >= most && e.chroma(b, p) > 0.12 && (patch < 0 || n > most) {
				patch, most = p, n
			}
		}
		if patch < 0 {
			continue
		}
		var off []int // patches without a pixel of the region
		for p := range nh * nw {
			touches := false
			for k := range side * side {
				touches = touches || region[(p/nw*side+k/side)*w+p%nw*side+k%side]
			}
			if !touches {
				off = append(off, p)
			}
		}
		if len(off) == 0 {
			continue
		}
		rng := nn.NewRNG(e.o.Seed, nn.Hash("hue"), scene)
		best, largest = &target{region, patch, off[rng.Intn(len(off))]}, size
	}
	return best
}

// flood returns the connected region of one class from start on, and marks it as seen.
func flood(ids []int32, seen []bool, start, h, w int) (region []bool, size int) {
	region = make([]bool, len(ids))
	stack := []int{start}
	seen[start] = true
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		region[i] = true
		size++
		for _, j := range [4]int{i - w, i + w, i - 1, i + 1} {
			inside := j >= 0 && j < h*w && (j/w == i/w || j%w == i%w)
			if inside && !seen[j] && ids[j] == ids[start] {
				seen[j] = true
				stack = append(stack, j)
			}
		}
	}
	return region, size
}

// eachPixel calls f with the index, in a plane of colour, of every pixel of a patch.
func (e *hueExperiment) eachPixel(b *multimae.Batch, patch int, f func(i int)) {
	_, nw := e.m.Config.Grid(b.H, b.W)
	side, w := e.m.Config.PatchSize/e.colour.Stride, b.W/e.colour.Stride
	for y := range side {
		for x := range side {
			f((patch/nw*side+y)*w + patch%nw*side + x)
		}
	}
}

// chroma returns the mean distance between the largest and the smallest channel of a patch, in 0..1.
func (e *hueExperiment) chroma(b *multimae.Batch, patch int) float64 {
	pix := e.rgb(b.Images[e.colour.Name])
	plane, sum, n := len(pix)/3, 0.0, 0
	e.eachPixel(b, patch, func(i int) {
		r, g, bl := pix[i], pix[plane+i], pix[2*plane+i]
		sum += float64(max(r, g, bl) - min(r, g, bl))
		n++
	})
	return sum / float64(n)
}

// rgb returns colour in 0..1.
func (e *hueExperiment) rgb(pix []float32) []float32 {
	pix = slices.Clone(pix)
	images.DenormalizeRGB(pix)
	return pix
}

// predict returns the predicted colour, in 0..1, with the hue of the target's patch turned.
func (e *hueExperiment) predict(ctx context.Context, b *multimae.Batch, t *target, degrees float64) (pix []float32, shown *multimae.Batch, masks *multimae.Masks, err error) {
	nh, nw := e.m.Config.Grid(b.H, b.W)
	side, w := e.m.Config.PatchSize/e.colour.Stride, b.W/e.colour.Stride
	shown = images.TurnHue(b, e.colour, degrees, func(i int) bool { return i/w/side*nw+i%w/side == t.patch })
	var inputs []string
	var keep []int32
	for _, name := range e.m.Config.Inputs.Names() {
		first := int32(len(inputs) * nh * nw)
		switch {
		case name == e.colour.Name:
			keep = append(keep, first+int32(t.patch), first+int32(t.other))
		case slices.Contains(e.context, name):
			for p := range nh * nw {
				keep = append(keep, first+int32(p))
			}
		default:
			continue
		}
		inputs = append(inputs, name)
	}
	if masks, err = multimae.NewMasks(1, inputs, nh*nw, keep); err != nil {
		return nil, nil, nil, err
	}
	p, err := e.m.Predict(ctx, shown, &multimae.PredictOptions{Masks: masks, Pool: e.m.Pool})
	if err != nil {
		return nil, nil, nil, err
	}
	return e.rgb(p.Output(e.output).Pix), shown, masks, nil
}

// measure returns the change of predicted colour inside and outside of the object.
func (e *hueExperiment) measure(ctx context.Context, b *multimae.Batch, t *target) (inside, outside float64, err error) {
	before, _, masks, err := e.predict(ctx, b, t, 0)
	if err != nil {
		return 0, 0, err
	}
	after, _, _, err := e.predict(ctx, b, t, e.o.Degrees)
	if err != nil {
		return 0, 0, err
	}
	var sums, counts [2]float64
	w, plane := b.W/e.colour.Stride, len(before)/3
	cw := b.W / e.classes.Stride
	for p, hidden := range masks.Task(0, e.colour.Name) {
		if !hidden {
			continue
		}
		e.eachPixel(b, p, func(i int) {
			change := 0.0
			for c := range 3 {
				change += math.Abs(float64(after[c*plane+i]-before[c*plane+i])) / 3
			}
			k := 1
			if t.region[i/w*e.colour.Stride/e.classes.Stride*cw+i%w*e.colour.Stride/e.classes.Stride] {
				k = 0
			}
			sums[k] += change
			counts[k]++
		})
	}
	return sums[0] / max(1, counts[0]), sums[1] / max(1, counts[1]), nil
}

// turns are the hues of an example, in degrees.
var turns = []float64{0, 120, 240}

// row returns the pictures of an example: the truth, then for each hue what is shown and what is
// predicted.
func (e *hueExperiment) row(ctx context.Context, b *multimae.Batch, t *target) ([]image.Image, error) {
	row := []image.Image{images.Input(e.colour, b), images.Input(e.m.Config.Input(e.context[0]), b)}
	for _, degrees := range turns {
		pix, shown, masks, err := e.predict(ctx, b, t, degrees)
		if err != nil {
			return nil, err
		}
		h, w := b.H/e.colour.Stride, b.W/e.colour.Stride
		predicted := images.RGB(pix, h, w)
		truth := images.Input(e.colour, shown)
		side := e.m.Config.PatchSize / e.colour.Stride
		view.Paste(predicted, truth, masks.Task(0, e.colour.Name), side)
		row = append(row, view.Masked(truth, masks.Task(0, e.colour.Name), side), predicted)
	}
	return row, nil
}

// draw lays out the examples and the measurement.
func (e *hueExperiment) draw(r *HueResult, rows [][]image.Image) *Drawing {
	const head, chart = 40.0, 150.0
	columns := float64(2 + 2*len(turns))
	d := &Drawing{Width: 2*margin + columns*(tile+gap) + 2*gap*float64(len(turns)), Height: 2*margin + head + float64(len(rows))*(tile+gap) + chart}
	x := func(k int) float64 { return margin + float64(k)*(tile+gap) + 2*gap*math.Floor(float64(k)/2) }
	d.title(x(0)+tile/2, margin+30, 12, "middle", "truth")
	d.title(x(1)+tile/2, margin+30, 12, "middle", "all of "+word(e.context[0]))
	for k, degrees := range turns {
		d.title(x(2+2*k)+tile+gap/2, margin+12, 12, "middle", fmt.Sprintf("hue of the object's patch +%.0f°", degrees))
		d.text(x(2+2*k)+tile/2, margin+30, 11, "middle", soft, "colour shown")
		d.text(x(3+2*k)+tile/2, margin+30, 11, "middle", soft, "prediction")
	}
	for i, row := range rows {
		for k, img := range row {
			d.picture(img, x(k), margin+head+float64(i)*(tile+gap), tile, tile)
		}
	}
	y := margin + head + float64(len(rows))*(tile+gap) + 34
	d.title(margin, y, 12, "start", fmt.Sprintf("Mean change of predicted colour when the hue of one patch turns by %.0f°, %d scenes", r.Degrees, r.Scenes))
	left, right := margin+150, d.Width-margin-60
	scale := (right - left) / (max(r.Inside.High, r.Outside.High, 1e-9) * 1.1)
	for k, bar := range []struct {
		name string
		v    Interval
		fill color.RGBA
	}{{"inside the object", r.Inside, series[4]}, {"elsewhere", r.Outside, series[0]}} {
		by := y + 16 + float64(k)*32
		d.text(left-10, by+15, 12, "end", ink, bar.name)
		d.rect(left, by, bar.v.Mean*scale, 22, bar.fill)
		d.line(left+bar.v.Low*scale, by+11, left+bar.v.High*scale, by+11, 1.5, ink)
		for _, end := range []float64{bar.v.Low, bar.v.High} {
			d.line(left+end*scale, by+6, left+end*scale, by+16, 1.5, ink)
		}
		d.text(left+bar.v.High*scale+8, by+15, 12, "start", ink, fmt.Sprintf("%.4f", bar.v.Mean))
	}
	d.line(left, y+10, left, y+76, 1, ink)
	d.text(margin, y+98, 11, "start", soft, fmt.Sprintf("Lines are 95 %% confidence intervals. The object changes more than its surroundings in %.0f %% of the scenes.", 100*r.Follows))
	return d
}
