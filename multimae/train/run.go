package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/view"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// The files of a run beside those of a model folder and the checkpoints.
const (
	MetricsFile  = "metrics.jsonl"
	PicturesFile = "reconstructions.png"
	// BestDir is the model folder of the step with the lowest validation loss,
	// inside that of the run.
	BestDir = "best"
)

// Options say what Run does.
type Options struct {
	Config     *multimae.Config // with optim and train; on Resume that of Dir is taken instead
	Train, Val data.Dataset
	Dir        string // of the run; created
	Resume     bool   // go on from Dir's checkpoint
	Workers    int    // goroutines that compute; 0 means GOMAXPROCS. It does not change the results
	SkipBad    bool   // leave out samples that cannot be read
	Keep       int    // checkpoints, the last ones; 0 means 2: the last, and one before it should that be damaged
	// OnDamaged is called before OnStart for each file that Resume found to be
	// damaged and does without, with the error that names it and the step that
	// the run goes on from.
	OnDamaged func(err error, step int)
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
	Best         Best        // of all validations; its model is in BestDir
	DataWait     float64     // seconds waited for data in this call
	SkippedData  int         // samples that this call could not read, each counted once
	FirstSkipped error       // why, for the first of them
}

// Best is the validation with the lowest loss, the first of equal ones.
type Best struct {
	Step int // 0: there was none
	Loss float64
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
// Resuming a run that has all its steps validates and draws again. Where the
// last checkpoint is damaged the one before it is resumed from, to the same
// bits; it is an error if all are.
//
// The steps done before an error of the data are saved, too. After one of
// saving, or a step that diverged, the last checkpoint is as it was. A new run
// that fails before its first step, or diverges before its first checkpoint,
// leaves no files.
func Run(ctx context.Context, o Options) (*Result, error) {
	r := &run{Options: o, saved: -1, exported: -1}
	r.pool = tensor.NewPool(o.Workers)
	defer r.pool.Close()
	if r.Keep == 0 {
		r.Keep = 2
	}
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
	diverged bool        // it would again
	saved    int         // step of the last checkpoint; -1 if there is none
	damaged  []string    // paths of later ones that cannot be used
	exported int         // step of the model folder, as far as this call wrote it
	bad      []*counted  // with SkipBad: Train and Val
	result   Result
}

func (r *run) path(names ...string) string {
	return filepath.Join(append([]string{r.Dir}, names...)...)
}

// open prepares the trainer and the folder.
func (r *run) open() error {
	if r.Resume {
		c, err := LoadRun(r.Dir)
		if err != nil {
			return err
		}
		r.Config = c
	} else if err := r.vacant(); err != nil {
		return err
	}
	if r.Keep < 1 {
		return fmt.Errorf("keep: got %d checkpoints, want at least 1", r.Keep)
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
	if err := atomicfile.MkdirAll(r.Dir); err != nil {
		return fmt.Errorf("making the folder of the run: %w; give another -out", err)
	}
	metrics, busy, err := openMetrics(r.path(MetricsFile))
	if busy {
		return fmt.Errorf("%s: %w; wait for its end, or give another -out", r.Dir, ErrBusy)
	}
	if err != nil {
		return fmt.Errorf("%w; make the folder writable, or give another -out", err)
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
	r.prune()
	return metrics.cut(r.trainer.Steps())
}

// begin makes a new run, unless another process was faster.
func (r *run) begin(m *multimae.Model) error {
	if err := r.vacant(); err != nil {
		return err
	}
	r.begun = true
	m.Init(r.Config.Train.Seed)
	if err := r.writeConfig(r.Dir); err != nil {
		return fmt.Errorf("%w; make room, or give another -out", err)
	}
	return nil
}

// oldCheckpoint was the name of the only one.
const oldCheckpoint = "checkpoint.safetensors"

// vacant returns an error if the folder has files of a run.
func (r *run) vacant() error {
	names := []string{multimae.ConfigFile, multimae.WeightsFile, MetricsFile, BestDir}
	steps, err := r.checkpoints()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for another run: %w; give another -out", err)
	}
	for _, step := range steps {
		names = append(names, CheckpointName(step))
	}
	for _, name := range names {
		st, err := os.Lstat(r.path(name))
		if err == nil && (name != MetricsFile || st.Size() > 0) { // close cannot remove an open file everywhere
			return fmt.Errorf("%s %w (%s); use -resume to go on with it, or give another -out", r.Dir, ErrOtherRun, name)
		}
	}
	return nil
}

// sweep removes what a process that was killed while saving left behind: the
// temporary files of atomicfile.Write, each as large as what it was to be.
func (r *run) sweep() {
	for _, dir := range []string{r.Dir, r.path(BestDir)} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			name, _, temporary := strings.Cut(strings.TrimPrefix(e.Name(), "."), ".tmp-")
			_, checkpoint := checkpointStep(name)
			if temporary && e.Name()[0] == '.' && (checkpoint || slices.Contains([]string{multimae.ConfigFile, multimae.WeightsFile, PicturesFile}, name)) {
				os.Remove(filepath.Join(dir, e.Name()))
			}
		}
	}
}

// checkpoints lists the steps of the checkpoints in the folder, ascending.
func (r *run) checkpoints() (steps []int, err error) {
	entries, err := os.ReadDir(r.Dir)
	for _, e := range entries {
		if step, ok := checkpointStep(e.Name()); ok {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, err
}

// prune removes all checkpoints but the last ones; one that cannot be removed
// now may be the next time. Damaged ones do not count, and stay until save has
// a better one.
func (r *run) prune() {
	all, _ := r.checkpoints()
	steps := slices.DeleteFunc(all, func(step int) bool {
		return slices.Contains(r.damaged, r.path(CheckpointName(step)))
	})
	for _, step := range steps[:max(0, len(steps)-r.Keep)] {
		os.Remove(r.path(CheckpointName(step)))
	}
}

// restore goes to where the run was saved: the last checkpoint that is not
// damaged.
func (r *run) restore(m *multimae.Model) error {
	steps, err := r.checkpoints()
	if err != nil {
		return fmt.Errorf("looking for checkpoints: %w; make the folder readable", err)
	}
	var errs []error
	for _, step := range slices.Backward(steps) {
		path := r.path(CheckpointName(step))
		err := r.trainer.Restore(path)
		if err == nil && r.trainer.Steps() != step {
			err = fmt.Errorf("%s: is of step %d; give it the name %s", path, r.trainer.Steps(), CheckpointName(r.trainer.Steps()))
		}
		switch {
		case err == nil:
			r.saved = step
			r.loadBest(&errs)
			for _, err := range errs {
				if r.OnDamaged != nil {
					r.OnDamaged(err, step)
				}
			}
			return nil
		case !errors.Is(err, ErrDamaged):
			return fmt.Errorf("%w. The run cannot go on from this checkpoint", err)
		}
		errs = append(errs, err)
		r.damaged = append(r.damaged, path)
	}
	if errs != nil {
		return fmt.Errorf("%w\nThe run cannot go on, for it has no other checkpoint: restore one of these from a copy, or start another run", errors.Join(errs...))
	}
	for _, name := range []string{oldCheckpoint, multimae.WeightsFile, filepath.Join(BestDir, multimae.WeightsFile)} {
		if _, err := os.Stat(r.path(name)); err == nil && name == oldCheckpoint {
			return fmt.Errorf("%s is of an earlier version of gomae and has no checksum; finish the run with that version, or start another run", r.path(name))
		} else if err == nil {
			return fmt.Errorf("%s has no checkpoint, and the weights in %s are not enough to go on; restore the last checkpoint from a copy, or start another run", r.Dir, name)
		}
	}
	// Stopped before the first checkpoint: the beginning is as exact.
	m.Init(r.Config.Train.Seed)
	return nil
}

// loadBest finds the best validation of the steps done. Its weights are of no
// later step than the last checkpoint, so if they are of a step not done, that
// one was damaged: then, as where they are gone, the next validation is the
// best. It may be replaced again, by the same step that was.
func (r *run) loadBest(errs *[]error) {
	f, err := weights.OpenSafetensorsFile(r.path(BestDir, multimae.WeightsFile))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			*errs = append(*errs, fmt.Errorf("%w; the next validation will replace it", err))
		}
		return
	}
	defer f.Close()
	step, err1 := strconv.Atoi(f.Metadata()[metaStep])
	loss, err2 := strconv.ParseFloat(f.Metadata()[metaLoss], 64)
	if err1 == nil && err2 == nil && step <= r.trainer.Steps() {
		r.result.Best = Best{step, loss}
	}
}

// close ends the use of the folder. A new run without a step, and so without a
// checkpoint, is none: its files would only be in the way of the next attempt.
// Neither is one that diverged before it.
func (r *run) close() {
	if r.metrics == nil {
		return
	}
	if r.begun && r.saved < 0 && (r.diverged || r.trainer.Steps() == 0) {
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
		if err = r.pictures(); err != nil {
			err = r.keep(err)
		}
	}
	switch {
	case err == nil:
		r.result.Evaluation = e
	case ctx.Err() != nil:
		r.result.Interrupted = true
	default:
		return err
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
			return err
		}
	}
	return nil
}

// save writes the checkpoint, which is what counts, removes those that are then
// not needed any more, and writes the model folder for others to read.
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
		if err := r.trainer.Save(r.path(CheckpointName(step))); err != nil {
			return r.lost(err)
		}
		r.saved = step
		for _, path := range r.damaged {
			if path != r.path(CheckpointName(step)) {
				os.Remove(path)
			}
		}
		r.damaged = nil
		r.prune()
	}
	if r.exported != step {
		if err := r.writeWeights(r.Dir, nil); err != nil {
			return r.lost(err)
		}
		r.exported = step
	}
	return nil
}

// writeConfig writes the first half of a model folder.
func (r *run) writeConfig(dir string) error {
	return atomicfile.Write(filepath.Join(dir, multimae.ConfigFile), func(w io.Writer) error {
		_, err := w.Write(r.Config.JSON())
		return err
	})
}

// metaLoss is the metadata of the best model with its validation loss.
const metaLoss = "gomae_val_loss"

// writeWeights writes the other half, with the step it is of.
func (r *run) writeWeights(dir string, metadata map[string]string) error {
	about := map[string]string{"format": "pt", metaStep: strconv.Itoa(r.trainer.Steps())}
	maps.Copy(about, metadata)
	return atomicfile.Write(filepath.Join(dir, multimae.WeightsFile), func(w io.Writer) error {
		return weights.WriteSafetensors(w, r.trainer.Model.Params.Tensors(), about)
	})
}

// saveBest keeps the model if no validation before had as low a loss.
func (r *run) saveBest(e *Evaluation) error {
	best := Best{r.trainer.Steps(), e.Loss}
	if len(e.Scores) == 0 || r.result.Best.Step > 0 && best.Loss >= r.result.Best.Loss {
		return nil
	}
	// With the checkpoint first, a resumed run never meets a best model of a
	// step that it has still to do.
	if err := r.save(); err != nil {
		return err
	}
	dir := r.path(BestDir)
	err := atomicfile.MkdirAll(dir)
	if err == nil {
		err = r.writeConfig(dir)
	}
	if err == nil {
		err = r.writeWeights(dir, map[string]string{metaLoss: strconv.FormatFloat(best.Loss, 'g', -1, 64)})
	}
	if err != nil {
		return r.lost(err)
	}
	r.result.Best = best
	return nil
}

// kept says what is left of the run after an error.
func (r *run) kept() string {
	if r.saved < 0 {
		return "no checkpoint was saved before"
	}
	return fmt.Sprintf("the checkpoint of step %d is kept in %s", r.saved, r.path(CheckpointName(r.saved)))
}

// lost adds to an error of writing what is left.
func (r *run) lost(err error) error {
	return fmt.Errorf("%w; %s. Make room there, or make it writable, and go on with -resume", err, r.kept())
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

// unread is keep for an error of reading data, but for that of the end of ctx.
func (r *run) unread(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return r.keep(err)
}

// explain adds to a step's error what is left of the run and what to change.
func (r *run) explain(err error) error {
	var d *DivergedError
	if !errors.As(err, &d) {
		return r.keep(err)
	}
	r.diverged = true
	remedy := "Start another run with a lower optim.lr, or a limit in train.clip_grad"
	if d.inData() {
		remedy = "Look for the sample that gave it"
	}
	return fmt.Errorf("%w; %s. %s", err, r.kept(), remedy)
}

// evaluate validates, keeps the best model and logs, the latter once for each
// step. Where the line is logged, the best model is complete.
func (r *run) evaluate(ctx context.Context) (*Evaluation, error) {
	o := EvaluateOptions{Samples: trivialSamples, Seed: r.Config.Train.Seed, SkipBad: r.SkipBad}
	if r.trivial == nil {
		var err error
		if r.trivial, err = NewTrivial(ctx, r.Config, r.Train, o, r.pool.Workers()); err != nil {
			return nil, r.unread(ctx, err)
		}
	}
	o.Samples = valSamples
	e, err := Evaluate(ctx, r.trainer.Model, r.Val, r.trivial, o, r.pool)
	if err != nil {
		return nil, r.unread(ctx, err)
	}
	if err := r.saveBest(e); err != nil {
		return nil, err
	}
	step := r.trainer.Steps()
	if r.metrics.evaluated != step {
		if err := r.metrics.log(evaluationLine(step, e)); err != nil {
			return nil, r.lost(err)
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
