package evaluate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/metrics"
	"github.com/gomae/gomae/tensor"
)

// Options say which images the model sees, and how.
type Options struct {
	// Size is the shorter side in pixels to which images are resized; their shape is kept up to
	// whole patches. 0 means the model's image size.
	Size int
	// Slide shows the model one square of its image size after another, each two thirds of it
	// further, in whole patches, and takes the mean of the predictions where squares overlap. No output
	// may be a regression of one channel without a unit: each square would have a scale of its own.
	Slide   bool
	Samples int  // to use at most, spread over the dataset; 0 means all
	SkipBad bool // leave out samples that cannot be read
	// Progress is called with the number of samples done; nil for nobody.
	Progress func(done int)
}

// Result is what Evaluate measures.
type Result struct {
	Samples int
	Skipped int     // samples that could not be read, with SkipBad
	Loss    float64 // sum of the outputs' losses at the size that the model sees
	Outputs []Output
}

// Output is what Evaluate measures of an output.
type Output struct {
	Name    string
	Metrics []Metric // the main one first
	// Classes are the names of the classes, Confusion their counts of pixels, or of images for
	// Linear. Nil for a regression.
	Classes   []string
	Confusion *metrics.Confusion
	// Pixels is the number of pixels, or images for Linear, that have a truth.
	Pixels int64
}

// Metric is one figure.
type Metric struct {
	Output string  `json:"output"`
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	// More says that more is better.
	More bool `json:"-"`
}

// The names of metrics. Shares are in percent. See package metrics for what they are.
const (
	MIoU          = "miou"
	PixelAccuracy = "pixel_accuracy"
	MeanAccuracy  = "mean_accuracy" // over classes
	Top1          = "top1"
	Top5          = "top5"
	Delta1        = "delta1"
	Delta2        = "delta2"
	Delta3        = "delta3"
	RMSE          = "rmse" // in the unit of the truth
	AbsRel        = "abs_rel"
	Log10         = "log10"
	L1            = "l1"
	// Aligned is appended to the names of figures of depth that was scaled and shifted to fit the
	// truth of each image best: metrics.AlignDepth.
	Aligned = "_aligned"
	// AlignedDisparity is appended to those of relative depth whose scale and shift fit the inverse
	// of the true depth, as is fair to a model that has learnt from networks for inverse depth:
	// metrics.AlignDisparity.
	AlignedDisparity = "_aligned_disparity"
)

// Metrics returns those of all outputs.
func (r *Result) Metrics() (all []Metric) {
	for _, o := range r.Outputs {
		all = append(all, o.Metrics...)
	}
	return all
}

// Evaluate measures every output of a model on a dataset whose samples have the modalities of
// Config.Inputs and Config.TargetInputs: package data reads them, and data.Labelled adds the classes
// of images. It is an error if an output has no truth in any sample, or, one that wraps
// ErrDiverged, if a prediction is not finite. When ctx ends, Evaluate returns its error.
func Evaluate(ctx context.Context, m *heads.Model, ds data.Dataset, o Options, pool *tensor.Pool) (*Result, error) {
	s, err := Measure(ctx, m, ds, o, 0, 1, pool)
	if err != nil {
		return nil, err
	}
	return s.Result()
}

// Sums are what a Result is computed from. Those of the parts of a dataset add up to those of all.
type Sums struct {
	config           *heads.Config
	samples, skipped int
	bad              error // of the last sample that was skipped
	parts, atATime   int   // into which the samples were divided
	losses           lossSum
	scores           []scorer
}

// Measure is what Evaluate does first, for one part of the dataset, 0 ≤ part < parts, which may have no
// samples: several processes can each measure a part, Reduce, and have the same Result. The model sees
// the same groups of images in any number of parts if all have the size of the first.
func Measure(ctx context.Context, m *heads.Model, ds data.Dataset, o Options, part, parts int, pool *tensor.Pool) (*Sums, error) {
	f, err := newFrame(m.Config, &o)
	if err != nil {
		return nil, err
	}
	n := len(m.Config.Outputs)
	s := &Sums{config: m.Config, bad: errNoSamples, parts: parts, losses: lossSum{make([]float64, n), make([]int, n)}, scores: make([]scorer, n)}
	for i := range s.scores {
		s.scores[i] = newScorer(&m.Config.Outputs[i])
	}
	err = eachGroup(ctx, ds, f, &o, part, parts, pool, s, func(g *group) error {
		return m.Infer(ctx, pool, func(t *tensor.Tape) error {
			preds, err := g.predict(t, m, &o)
			if err != nil {
				return err
			}
			if err := s.losses.add(t, m, preds, g); err != nil {
				return err
			}
			for i := range s.scores {
				for k, x := range g.samples {
					if err := s.scores[i].add(t, preds[i], k, x.Maps[m.Config.Outputs[i].TargetName()]); err != nil {
						return fmt.Errorf("sample %s: output %s: %w", x.Name, m.Config.Outputs[i].Name, err)
					}
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Reduce makes the sums of this process those of all. sum replaces x by its sum over the processes;
// Reduce calls it equally often in each. In some of them it is an error if the first sample could be
// read only by some.
func (s *Sums) Reduce(sum func(x []float64) error) error {
	x := []float64{float64(s.samples), float64(s.skipped), float64(s.atATime)}
	for i, n := range s.losses.pixels {
		x = append(x, s.losses.sums[i], float64(n))
	}
	if err := sum(x); err != nil {
		return err
	}
	divided := int(x[2]) == s.parts*s.atATime
	s.samples, s.skipped = int(x[0]), int(x[1])
	for i := range s.losses.pixels {
		s.losses.sums[i], s.losses.pixels[i] = x[3+2*i], int(x[4+2*i])
	}
	for _, score := range s.scores {
		if err := score.reduce(sum); err != nil {
			return err
		}
	}
	if !divided {
		return errors.New("the first sample could be read by some of the processes only, which then had different parts; make its files readable for all")
	}
	return nil
}

// Result returns that of Evaluate.
func (s *Sums) Result() (*Result, error) {
	switch {
	case s.samples == 0 && s.skipped == 0:
		return nil, errNoSamples
	case s.samples == 0:
		return nil, fmt.Errorf("none of %d samples can be used: %w", s.skipped, s.bad)
	}
	r := &Result{Samples: s.samples, Skipped: s.skipped}
	for i := range s.scores {
		out := &s.config.Outputs[i]
		result, err := s.scores[i].result()
		if err != nil {
			return nil, fmt.Errorf("output %s: %w", out.Name, err)
		}
		if result.Pixels == 0 {
			return nil, fmt.Errorf("output %s: %w", out.Name, noTruth(out, r.Samples))
		}
		if !finite(s.losses.sums[i]) {
			return nil, fmt.Errorf("output %s: %w", out.Name, errNotFinite)
		}
		r.Loss += s.losses.mean(i)
		result.Name, result.Classes = out.Name, out.Classes
		for k := range result.Metrics {
			result.Metrics[k].Output = out.Name
		}
		r.Outputs = append(r.Outputs, result)
	}
	return r, nil
}

// ErrDiverged is wrapped by the error of a model whose predictions or losses are not finite.
var ErrDiverged = errors.New("the model has diverged; train it with a lower optim.lr")

var errNoSamples = errors.New("the dataset has no samples")

var errNotFinite = fmt.Errorf("predictions are not finite: %w", ErrDiverged)

// noTruth is the error of an output that no sample says the truth of.
func noTruth(o *heads.Output, samples int) error {
	name := o.TargetName()
	if o.Loss == heads.LossCrossEntropy {
		return fmt.Errorf("none of %d samples has a labelled pixel in %s; give a dataset with labels below %d", samples, name, o.NumClasses)
	}
	return fmt.Errorf("none of %d samples has a valid pixel in %s; give a dataset with measurements, or correct the invalid values of the output", samples, name)
}

// CheckTruth returns an error if an output has no truth in any sample, such as where all depth is
// marked as not measured. It reads samples until it has seen a truth of each output. One that
// cannot be read says nothing.
func CheckTruth(c *heads.Config, ds data.Dataset) error {
	var without []*heads.Output
	for i := range c.Outputs {
		if o := &c.Outputs[i]; o.Head != heads.Linear { // a sample always has a folder
			without = append(without, o)
		}
	}
	read := 0
	for i := 0; i < ds.Len() && len(without) > 0; i++ {
		s, err := ds.Sample(i)
		if err != nil {
			continue
		}
		read++
		without = slices.DeleteFunc(without, func(o *heads.Output) bool { return hasTruth(o, s.Maps[o.TargetName()]) })
	}
	if read == 0 || len(without) == 0 {
		return nil
	}
	return fmt.Errorf("output %s: %w", without[0].Name, noTruth(without[0], read))
}

// hasTruth reports whether a pixel of the map counts in the figures of an output.
func hasTruth(o *heads.Output, m *images.Map) bool {
	switch {
	case m == nil:
		return false
	case o.Loss == heads.LossCrossEntropy:
		return slices.ContainsFunc(m.IDs, func(id uint8) bool { return int(id) < o.NumClasses })
	}
	for i, v := range m.Pix[:min(len(m.Pix), m.H*m.W)] {
		if (m.Valid == nil || m.Valid[i]) && (v > 0 || o.NumClasses > 1) {
			return true
		}
	}
	return false
}

// lossSum collects the losses of outputs over groups.
type lossSum struct {
	sums   []float64
	pixels []int
}

func (l *lossSum) add(t *tensor.Tape, m *heads.Model, preds []*tensor.Tensor, g *group) error {
	losses, err := m.Losses(t, preds, g.targets)
	if err != nil {
		return err
	}
	for i, n := range m.Config.LossPixels(g.targets) {
		if losses[i] != nil && n > 0 {
			l.sums[i] += float64(losses[i].Data[0]) * float64(n)
			l.pixels[i] += n
		}
	}
	return nil
}

func (l *lossSum) mean(i int) float64 { return l.sums[i] / float64(max(1, l.pixels[i])) }
