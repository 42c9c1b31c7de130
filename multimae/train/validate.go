package train

import (
	"context"
	"errors"
	"image"
	"image/png"
	"io"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/evaluate"
)

// pictureSamples is the number of samples that a run draws.
const pictureSamples = 4

// evaluate validates, keeps the best model and logs. It logs once for each step, when the best
// model is complete.
func (r *run) evaluate(ctx context.Context) (*Evaluation, error) {
	var e *Evaluation
	step := r.trainer.Steps()
	err := r.trainer.average.during(func() (err error) {
		e, err = r.Objective.Evaluate(ctx, r.Train, r.Val, r.SkipBad, r.pool)
		return err
	})
	if errors.Is(err, evaluate.ErrDiverged) {
		err = &DivergedError{Step: step, What: "validation: " + err.Error()}
	}
	if err = r.agree(err); err != nil {
		return nil, err
	}
	if err := r.compare(); err != nil {
		return nil, err
	}
	if r.group.lead() {
		err = r.saveBest(e)
	}
	if err == nil && r.folder.metrics.evaluated != step {
		err = r.log(evaluationLine(step, e))
	}
	if err = r.agree(err); err != nil {
		return nil, err
	}
	r.folder.metrics.evaluated = step
	if r.OnEvaluate != nil {
		r.OnEvaluate(step, e)
	}
	return e, nil
}

// pictures draws samples held out.
func (r *run) pictures() error {
	var samples []*data.Sample
	n := r.Val.Len()
	for _, i := range data.Spread(pictureSamples, n) {
		s, err := r.Val.Sample(i)
		for r.SkipBad && err != nil && !data.Interrupted(err) && i+1 < n { // the next good one
			i++
			s, err = r.Val.Sample(i)
		}
		if err == nil {
			samples = append(samples, s)
		} else if !r.SkipBad || data.Interrupted(err) {
			return err
		}
	}
	var img image.Image
	if err := r.trainer.average.during(func() (err error) {
		img, err = r.Objective.Picture(samples, r.pool)
		return err
	}); err != nil {
		return err
	}
	if err := atomicfile.Replace(r.folder.path(PicturesFile), func(w io.Writer) error { return png.Encode(w, img) }); err != nil {
		return r.folder.refuse("%w", err)
	}
	return nil
}
