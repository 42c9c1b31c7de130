package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/view"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// The files of a run beside those of a model folder and the checkpoint.
const (
	MetricsFile  = "metrics.jsonl"
	PicturesFile = "reconstructions.png"
)

// Options say what Run does.
type Options struct {
	Config     *multimae.Config // with optim and train; on Resume that of Dir is taken instead
	Train, Val data.Dataset
	Dir        string // of the run; created
	Resume     bool   // go on from Dir's checkpoint
	Workers    int    // goroutines that compute; 0 means GOMAXPROCS. It does not change the results
	SkipBad    bool   // leave out samples that cannot be read
	// OnStart is called before the first step with the number of those done by
	// earlier calls, OnStep after each step, OnEvaluate after each validation.
	// All may be nil.
	OnStart    func(done int)
	OnStep     func(*Progress)
	OnEvaluate func(step int, e *Evaluation)
}

// Progress is what OnStep gets.
type Progress struct {
	*Metrics
	Epoch        int     // counted from 0
	Steps        int     // of the whole run
	ImagesPerSec float64 // since the last logged step
	DataWait     float64 // seconds waited for data since the last logged step
}

// Result is how a run ended.
type Result struct {
	Steps        int         // done, earlier calls included
	Resumed      int         // those of earlier calls
	Interrupted  bool        // the context ended first; everything is saved
	Evaluation   *Evaluation // nil if interrupted
	DataWait     float64     // seconds waited for data in this call
	SkippedData  int         // samples that this call could not read, each counted once
	FirstSkipped error       // why, for the first of them
}

// Samples that validations and pictures take, and that the trivial predictors
// learn from.
const (
	valSamples     = 256
	trivialSamples = 512
	pictureSamples = 4
)

// The errors of a folder that cannot be used are wrapped.
var (
	ErrOtherRun = errors.New("holds a run already")
	ErrBusy     = errors.New("another process is training there")
)

// LoadRun reads the configuration of the run in dir, to resume it.
func LoadRun(dir string) (*multimae.Config, error) {
	c, err := multimae.LoadConfig(os.DirFS(dir), multimae.ConfigFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no run to resume: %w; leave out -resume to start one there", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if c.Train.Steps < 1 {
		return nil, fmt.Errorf("%s: %s has no \"train\": it is a model without a run", dir, multimae.ConfigFile)
	}
	return c, nil
}

// Run trains to the configuration's number of steps, saving as it goes, and
// then validates and draws. When ctx ends, it saves and returns; a later Run
// with Resume goes on to the same bits as one that was never interrupted.
// Resuming a run that has all its steps validates and draws again.
//
// The steps done before an error of the data are saved, too. After one of
// saving, or a step that diverged, the last checkpoint is as it was. A new run
// that fails before its first step leaves no files.
func Run(ctx context.Context, o Options) (*Result, error) {
	r := &run{Options: o, saved: -1, exported: -1}
	r.pool = tensor.NewPool(o.Workers)
	defer r.pool.Close()
	if o.SkipBad {
		r.bad = []*counted{{Dataset: o.Train}, {Dataset: o.Val}}
		r.Train, r.Val = r.bad[0], r.bad[1]
	}
	defer r.close()
	if err := r.open(); err != nil {
		return nil, err
	}
	r.result.Resumed = r.trainer.Steps()
	err := r.train(ctx)
	r.result.Steps = r.trainer.Steps()
	for _, c := range r.bad {
		n, first := c.skipped()
		if r.result.SkippedData += n; r.result.FirstSkipped == nil {
			r.result.FirstSkipped = first
		}
	}
	if err != nil {
		return nil, err
	}
	return &r.result, nil
}

// run is a Run in progress.
type run struct {
	Options
	pool     *tensor.Pool
	trainer  *Trainer
	trivial  *Trivial
	metrics  *metricsLog // nil until the folder is ours
	created  bool        // Dir did not exist
	begun    bool        // the run is new
	saved    int         // step of the checkpoint; -1 if there is none
	exported int         // step of the model folder, as far as this call wrote it
	bad      []*counted  // with SkipBad: Train and Val
	result   Result
}

func (r *run) path(name string) string { return filepath.Join(r.Dir, name) }

// open prepares the trainer and the folder.
func (r *run) open() error {
	if r.Resume {
		c, err := LoadRun(r.Dir)
		if err != nil {
			return err
		}
		r.Config = c
	} else if err := r.vacant(multimae.ConfigFile, multimae.WeightsFile, CheckpointFile, MetricsFile); err != nil {
		return err
	}
	// What cannot work is refused before anything is written.
	m, err := multimae.NewModel(r.Config)
	if err != nil {
		return err
	}
	if r.trainer, err = NewTrainer(m, r.pool); err != nil {
		return err
	}
	if n, batch := r.Train.Len(), r.Config.Train.Batch; n < batch {
		return fmt.Errorf("train.batch: got %d, but there are only %d samples to train on; use a batch of no more than that", batch, n)
	}
	if r.Val.Len() < 1 {
		return errors.New("the dataset for validation has no samples; set some apart")
	}
	_, err = os.Stat(r.Dir)
	r.created = errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(r.Dir, 0o777); err != nil {
		return fmt.Errorf("making the folder of the run: %w; give another -out", err)
	}
	metrics, busy, err := openMetrics(r.path(MetricsFile))
	if busy {
		return fmt.Errorf("%s: %w; wait for its end, or give another -out", r.Dir, ErrBusy)
	}
	if err != nil {
		return err
	}
	r.metrics = metrics
	if r.Resume {
		err = r.restore(m)
	} else {
		err = r.begin(m)
	}
	if err != nil {
		return err
	}
	r.sweep()
	return metrics.cut(r.trainer.Steps())
}

// begin makes a new run, unless another process was faster.
func (r *run) begin(m *multimae.Model) error {
	if err := r.vacant(multimae.ConfigFile); err != nil {
		return err
	}
	r.begun = true
	m.Init(r.Config.Train.Seed)
	return nn.WriteFileAtomic(r.path(multimae.ConfigFile), func(w io.Writer) error {
		_, err := w.Write(r.Config.JSON())
		return err
	})
}

// vacant returns an error if any of the files is there.
func (r *run) vacant(names ...string) error {
	for _, name := range names {
		st, err := os.Lstat(r.path(name))
		if err == nil && (name != MetricsFile || st.Size() > 0) { // close cannot remove an open file everywhere
			return fmt.Errorf("%s %w (%s); use -resume to go on with it, or give another -out", r.Dir, ErrOtherRun, name)
		}
	}
	return nil
}

// sweep removes what a process that was killed while saving left behind: the
// temporary files of nn.WriteFileAtomic, each as large as a checkpoint.
func (r *run) sweep() {
	for _, name := range []string{multimae.ConfigFile, multimae.WeightsFile, CheckpointFile, PicturesFile} {
		left, _ := filepath.Glob(r.path("." + name + ".tmp-*"))
		for _, path := range left {
			os.Remove(path)
		}
	}
}

// restore goes to where the run was saved.
func (r *run) restore(m *multimae.Model) error {
	path := r.path(CheckpointFile)
	switch err := r.trainer.Restore(path); {
	case err == nil:
		r.saved = r.trainer.Steps()
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w. The run cannot go on from this checkpoint: restore the file from a copy, or start another run", err)
	}
	if _, err := os.Stat(r.path(multimae.WeightsFile)); err == nil {
		return fmt.Errorf("%s is missing, and the weights in %s are not enough to go on; restore the file, or start another run", path, multimae.WeightsFile)
	}
	// Stopped before the first checkpoint: the beginning is as exact.
	m.Init(r.Config.Train.Seed)
	return nil
}

// close ends the use of the folder. A new run without a step, and so without a
// checkpoint, is none: its files would only be in the way of the next attempt.
func (r *run) close() {
	if r.metrics == nil {
		return
	}
	if r.begun && r.saved < 0 && r.trainer.Steps() == 0 {
		os.Remove(r.path(multimae.ConfigFile))
		os.Remove(r.path(MetricsFile))
		if r.created {
			os.Remove(r.Dir) // if nothing else is in it
		}
	}
	r.metrics.Close()
}

// train does all steps that are left and what comes after them.
func (r *run) train(ctx context.Context) error {
	if err := r.steps(ctx); err != nil {
		return err
	}
	if err := r.save(); err != nil {
		return err
	}
	if r.trainer.Steps() < r.Config.Train.Steps {
		r.result.Interrupted = true
		return nil
	}
	e, err := r.evaluate(ctx)
	if err == nil {
		err = r.pictures()
	}
	switch {
	case err == nil:
		r.result.Evaluation = e
	case ctx.Err() != nil:
		r.result.Interrupted = true
	default:
		return r.keep(err)
	}
	return nil
}

// steps trains until the last step or the end of ctx, whichever is first.
func (r *run) steps(ctx context.Context) error {
	c := &r.Config.Train
	if r.trainer.Steps() >= c.Steps {
		return nil
	}
	if r.OnStart != nil {
		r.OnStart(r.trainer.Steps())
	}
	augment := data.Augment{Flip: c.Flip}
	if len(c.CropScale) == 2 {
		augment.Crop, augment.CropScale = true, [2]float64(c.CropScale)
	}
	if len(c.CropRatio) == 2 {
		augment.CropRatio = [2]float64(c.CropRatio)
	}
	loader := data.NewLoader(ctx, r.Train, data.LoaderConfig{
		Inputs: r.Config.Inputs, Size: r.Config.ImageSize, Batch: c.Batch, Seed: c.Seed, Augment: augment,
		Workers: r.pool.Workers(), Start: r.trainer.Steps(), SkipBad: r.SkipBad, Shuffle: true, Drop: true,
	})
	defer loader.Close()
	since, images, wait := time.Now(), 0, 0.0
	for r.trainer.Steps() < c.Steps {
		// Between two steps, so that a resumed run does here what it was
		// interrupted in.
		pause := time.Now()
		if err := r.between(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		asked := time.Now()
		since = since.Add(asked.Sub(pause))
		b, err := loader.Next()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return r.keep(err)
		}
		waited := time.Since(asked).Seconds()
		wait += waited
		r.result.DataWait += waited
		images += b.Size
		x, err := r.trainer.Step(b)
		loader.Release(b) // and b is the loader's again
		if err != nil {
			return r.explain(err)
		}
		p := &Progress{
			Metrics: x, Steps: c.Steps, Epoch: (x.Step - 1) / max(1, loader.BatchesPerEpoch()),
			ImagesPerSec: float64(images) / time.Since(since).Seconds(), DataWait: wait,
		}
		if x.Step%c.LogEvery == 0 || x.Step == c.Steps || x.Skipped {
			if err := r.metrics.log(r.stepLine(p)); err != nil {
				return r.lost(err)
			}
			since, images, wait = time.Now(), 0, 0
		}
		if r.OnStep != nil {
			r.OnStep(p)
		}
	}
	return nil
}

// between saves and validates where that is due.
func (r *run) between(ctx context.Context) error {
	c, step := &r.Config.Train, r.trainer.Steps()
	if step == 0 {
		return nil
	}
	if c.SaveEvery > 0 && step%c.SaveEvery == 0 && r.saved != step {
		if err := r.save(); err != nil {
			return err
		}
	}
	if c.ValEvery > 0 && step%c.ValEvery == 0 && r.metrics.evaluated != step {
		if _, err := r.evaluate(ctx); err != nil && ctx.Err() == nil {
			return r.keep(err)
		}
	}
	return nil
}

// save writes the checkpoint, which is what counts, and then the model folder
// for others to read.
func (r *run) save() error {
	step := r.trainer.Steps()
	if r.saved != step {
		// An update may overflow although its gradient did not.
		if bad := r.trainer.firstBad(); bad != "" {
			return r.explain(&DivergedError{step, "the update overflowed", bad})
		}
		if err := r.metrics.Sync(); err != nil {
			return r.lost(err)
		}
		if err := r.trainer.Save(r.path(CheckpointFile)); err != nil {
			return r.lost(err)
		}
		r.saved = step
	}
	if r.exported != step {
		if err := r.trainer.Model.Save(r.Dir); err != nil {
			return r.lost(err)
		}
		r.exported = step
	}
	return nil
}

// kept says what is left of the run after an error.
func (r *run) kept() string {
	if r.saved < 0 {
		return "no checkpoint was saved before"
	}
	return fmt.Sprintf("the checkpoint of step %d is kept in %s", r.saved, r.path(CheckpointFile))
}

// lost adds to an error of writing what is left.
func (r *run) lost(err error) error {
	return fmt.Errorf("%w; %s. Make room and go on with -resume", err, r.kept())
}

// keep saves the steps done when an error from outside ends the run.
func (r *run) keep(err error) error {
	if r.trainer.Steps() == 0 {
		return err
	}
	if e := r.save(); e != nil {
		return fmt.Errorf("%w; and then: %w", err, e)
	}
	return fmt.Errorf("%w. The run is saved at step %d: go on with -resume when this is put right", err, r.saved)
}

// explain adds to a step's error what is left of the run and what to change.
func (r *run) explain(err error) error {
	var d *DivergedError
	if !errors.As(err, &d) {
		return r.keep(err)
	}
	remedy := "Start another run with a lower optim.lr, or a limit in train.clip_grad"
	if d.inData() {
		remedy = "Look for the sample that gave it"
	}
	return fmt.Errorf("%w; %s. %s", err, r.kept(), remedy)
}

// evaluate validates and logs, once for each step.
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
	step := r.trainer.Steps()
	if r.metrics.evaluated != step {
		if err := r.metrics.log(evaluationLine(step, e)); err != nil {
			return nil, err
		}
		r.metrics.evaluated = step
	}
	if r.OnEvaluate != nil {
		r.OnEvaluate(step, e)
	}
	return e, nil
}

// pictures writes reconstructions of held-out samples.
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
	return view.WritePNG(r.path(PicturesFile), img)
}
