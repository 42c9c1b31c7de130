package train

import (
	"context"
	"image/png"
	"io"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/view"
)

// The numbers of samples that validations and pictures use, and that the trivial predictors learn
// from.
const (
	valSamples     = 256
	trivialSamples = 512
	pictureSamples = 4
)

// evaluate validates, keeps the best model and logs. It logs once for each step, when the best
// model is complete.
func (r *run) evaluate(ctx context.Context) (*Evaluation, error) {
	o := EvaluateOptions{Samples: trivialSamples, Seed: r.Config.Train.Seed, SkipBad: r.SkipBad}
	if r.trivial == nil {
		var err error
		if r.trivial, err = NewTrivial(ctx, r.Config, r.Train, o, r.pool.Workers()); err != nil {
			return nil, err
		}
	}
	o.Samples = valSamples
	e, err := Evaluate(ctx, r.trainer.Model, r.Val, r.trivial, o, r.pool)
	if err != nil {
		return nil, err
	}
	if err := r.saveBest(e); err != nil {
		return nil, err
	}
	step := r.trainer.Steps()
	if r.folder.metrics.evaluated != step {
		if err := r.log(evaluationLine(step, e)); err != nil {
			return nil, err
		}
		r.folder.metrics.evaluated = step
	}
	if r.OnEvaluate != nil {
		r.OnEvaluate(step, e)
	}
	return e, nil
}

// pictures draws reconstructions of samples held out.
func (r *run) pictures() error {
	var samples []*data.Sample
	n := r.Val.Len()
	for _, i := range spread(pictureSamples, n) {
		s, err := r.Val.Sample(i)
		for r.SkipBad && err != nil && i+1 < n { // the next good one
			i++
			s, err = r.Val.Sample(i)
		}
		if err == nil {
			samples = append(samples, s)
		} else if !r.SkipBad {
			return err
		}
	}
	c := &r.Config.Train
	img, err := view.Reconstructions(r.trainer.Model, samples, view.ReconstructOptions{
		Visible: c.NumEncodedTokens, Seed: c.Seed, Single: true,
	}, r.pool)
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(r.folder.path(PicturesFile), func(w io.Writer) error { return png.Encode(w, img) }); err != nil {
		return r.folder.refuse("%w", err)
	}
	return nil
}
