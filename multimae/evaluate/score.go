package evaluate

import (
	"math"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/metrics"
	"github.com/gomae/gomae/tensor"
)

// scorer collects the figures of one output.
type scorer interface {
	// add compares the prediction for sample k of a group with its truth.
	add(t *tensor.Tape, pred *tensor.Tensor, k int, truth *images.Map) error
	// reduce is the Reduce of package metrics.
	reduce(sum func(x []float64) error) error
	// result returns the figures, or an error if a prediction was not finite.
	result() (Output, error)
}

func newScorer(o *heads.Output) scorer {
	switch {
	case o.Head == heads.Linear:
		return &labelScorer{confusion: metrics.NewConfusion(o.NumClasses)}
	case o.Loss == heads.LossCrossEntropy:
		ignore := []int32{multimae.IDPadding, multimae.IDIgnored}
		for _, id := range o.Invalid { // which the truth does not have, but a prediction may
			ignore = append(ignore, int32(id))
		}
		return &mapScorer{confusion: metrics.NewConfusion(o.NumClasses, ignore...)}
	case o.NumClasses != 1:
		return &valueScorer{output: o}
	}
	d := &depthScorer{output: o, aligned: metrics.NewDepth(metrics.AlignDepth, nearest(o))}
	if o.Unit > 0 {
		d.plain = metrics.NewDepth(metrics.AlignNone, nearest(o))
	} else {
		d.disparity = metrics.NewDepth(metrics.AlignDisparity, nearest(o))
	}
	return d
}

// nearest returns the depth to which nearer predictions are raised: a thousandth of the unit, a
// millimetre for metres, or in relative depth the least that is stored.
func nearest(o *heads.Output) float64 {
	if o.Unit > 0 {
		return 1e-3
	}
	return 0x1p-16
}

// labelScorer is for the classes of images.
type labelScorer struct {
	confusion *metrics.Confusion
	top       metrics.TopK
}

func (l *labelScorer) add(_ *tensor.Tape, pred *tensor.Tensor, k int, truth *images.Map) error {
	c := pred.Cols()
	logits, label := pred.Data[k*c:][:c], []int32{int32(truth.Label)}
	if err := l.top.Add(logits, c, label); err != nil {
		return err
	}
	return l.confusion.Add(label, []int32{best(logits)})
}

func (l *labelScorer) reduce(sum func(x []float64) error) error {
	if err := l.top.Reduce(sum); err != nil {
		return err
	}
	return l.confusion.Reduce(sum)
}

func (l *labelScorer) result() (Output, error) {
	return Output{
		Metrics: []Metric{
			{Name: Top1, Value: l.top.Top1(), More: true}, {Name: Top5, Value: l.top.Top5(), More: true},
			{Name: MeanAccuracy, Value: l.confusion.MeanAccuracy(), More: true},
		},
		Confusion: l.confusion, Pixels: l.confusion.Counted(),
	}, nil
}

// mapScorer is for maps of classes.
type mapScorer struct{ confusion *metrics.Confusion }

func (m *mapScorer) add(t *tensor.Tape, pred *tensor.Tensor, k int, truth *images.Map) error {
	return m.confusion.Add(widen(truth.IDs), classesAt(t, pred, k, truth.H, truth.W))
}

func (m *mapScorer) reduce(sum func(x []float64) error) error { return m.confusion.Reduce(sum) }

func (m *mapScorer) result() (Output, error) {
	c := m.confusion
	return Output{
		Metrics: []Metric{
			{Name: MIoU, Value: c.MeanIoU(), More: true}, {Name: PixelAccuracy, Value: c.Accuracy(), More: true},
			{Name: MeanAccuracy, Value: c.MeanAccuracy(), More: true},
		},
		Confusion: c, Pixels: c.Counted(),
	}, nil
}

func widen(ids []uint8) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = int32(id)
	}
	return out
}

// depthScorer is for regressions of one channel.
type depthScorer struct {
	output    *heads.Output
	plain     *metrics.Depth // nil for relative depth
	aligned   *metrics.Depth
	disparity *metrics.Depth // nil for depth in a unit
}

func (d *depthScorer) add(t *tensor.Tape, pred *tensor.Tensor, k int, truth *images.Map) error {
	p := valuesAt(t, pred, k, truth.H, truth.W)
	v := trueValues(d.output, truth)
	for _, m := range []*metrics.Depth{d.plain, d.aligned, d.disparity} {
		if m != nil {
			m.Add(p, v, truth.Valid)
		}
	}
	return nil
}

func (d *depthScorer) reduce(sum func(x []float64) error) error {
	for _, m := range []*metrics.Depth{d.plain, d.aligned, d.disparity} {
		if m != nil {
			if err := m.Reduce(sum); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *depthScorer) result() (Output, error) {
	out := Output{Pixels: d.aligned.Errors().Pixels}
	for _, part := range []struct {
		d      *metrics.Depth
		suffix string
	}{{d.plain, ""}, {d.aligned, Aligned}, {d.disparity, AlignedDisparity}} {
		if part.d == nil {
			continue
		}
		e := part.d.Errors()
		if out.Pixels > 0 && !finite(e.RMSE) {
			return out, errNotFinite
		}
		for _, m := range []Metric{
			{Name: Delta1, Value: e.Delta[0], More: true}, {Name: Delta2, Value: e.Delta[1], More: true}, {Name: Delta3, Value: e.Delta[2], More: true},
			{Name: AbsRel, Value: e.AbsRel}, {Name: RMSE, Value: e.RMSE}, {Name: Log10, Value: e.Log10},
		} {
			m.Name += part.suffix
			out.Metrics = append(out.Metrics, m)
		}
	}
	return out, nil
}

// valueScorer is for any other regression.
type valueScorer struct {
	output *heads.Output
	values metrics.Values
}

func (v *valueScorer) add(t *tensor.Tape, pred *tensor.Tensor, k int, truth *images.Map) error {
	v.values.Add(valuesAt(t, pred, k, truth.H, truth.W), trueValues(v.output, truth), truth.Valid)
	return nil
}

func (v *valueScorer) reduce(sum func(x []float64) error) error { return v.values.Reduce(sum) }

func (v *valueScorer) result() (Output, error) {
	out := Output{
		Metrics: []Metric{{Name: L1, Value: v.values.L1()}, {Name: RMSE, Value: v.values.RMSE()}},
		Pixels:  v.values.Count() / int64(v.output.NumClasses),
	}
	if out.Pixels > 0 && !finite(v.values.RMSE()) {
		return out, errNotFinite
	}
	return out, nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// trueValues returns the truth of a regression in its unit. Relative depth is as it is stored.
func trueValues(o *heads.Output, m *images.Map) []float32 {
	if o.Unit == 0 {
		return m.Pix
	}
	// Split knows what is stored.
	c := &heads.Config{Outputs: heads.Outputs{*o}}
	b := &multimae.Batch{Size: 1, H: m.H, W: m.W, Images: map[string][]float32{o.TargetName(): m.Pix}}
	_, targets := c.Split(b)
	return targets.Values[o.Name]
}

// best returns the index of the largest value, the first one if several are equal.
func best(v []float32) int32 {
	at := 0
	for i := range v {
		if v[i] > v[at] {
			at = i
		}
	}
	return int32(at)
}

// classesAt returns the most probable class at each of h×w pixels that show sample k of logits
// [B, H, W, C].
func classesAt(t *tensor.Tape, logits *tensor.Tensor, k, h, w int) []int32 {
	ids, c := make([]int32, h*w), logits.Cols()
	eachPixel(t, logits, k, h, w, func(i int, v []float32) { ids[i] = best(v[:c]) })
	return ids
}

// valuesAt returns the values [C, h, w] of sample k of a prediction [B, H, W, C].
func valuesAt(t *tensor.Tape, pred *tensor.Tensor, k, h, w int) []float32 {
	out := make([]float32, pred.Cols()*h*w)
	eachPixel(t, pred, k, h, w, func(i int, v []float32) {
		for c, x := range v {
			out[c*h*w+i] = x
		}
	})
	return out
}

// eachPixel calls f with the number of each of h×w pixels and its values, interpolated linearly from
// sample k of a map [B, H, W, C]. It keeps no more than a pixel in memory, because h×w×C values may
// be many.
func eachPixel(t *tensor.Tape, m *tensor.Tensor, k, h, w int, f func(i int, v []float32)) {
	mh, mw, c := m.Shape[1], m.Shape[2], m.Cols()
	values := m.Data[k*mh*mw*c:][:mh*mw*c]
	t.Parallel(h, func(worker, y int) {
		v := t.Scratch(worker, c)
		y0, y1, fy := taps(y, h, mh)
		for x := range w {
			x0, x1, fx := taps(x, w, mw)
			a, b := values[(y0*mw+x0)*c:][:c], values[(y0*mw+x1)*c:][:c]
			d, e := values[(y1*mw+x0)*c:][:c], values[(y1*mw+x1)*c:][:c]
			for j := range v {
				top, bottom := a[j]+fx*(b[j]-a[j]), d[j]+fx*(e[j]-d[j])
				v[j] = top + fy*(bottom-top)
			}
			f(y*w+x, v)
		}
	})
}

// taps returns the two of n pixels between whose centres that of pixel i of out lies, and the share
// of the second.
func taps(i, out, n int) (first, second int, share float32) {
	at := (float64(i)+0.5)*float64(n)/float64(out) - 0.5
	at = min(max(at, 0), float64(n-1))
	first = int(at)
	return first, min(first+1, n-1), float32(at - float64(first))
}
