package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
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
	Config     *multimae.Config // with Train; on Resume nil, for that of Dir
	Train, Val data.Dataset
	Dir        string // of the run; created
	Resume     bool   // go on from Dir's checkpoint
	Workers    int    // goroutines that compute; 0 means GOMAXPROCS. It does not change the results
	SkipBad    bool   // leave out samples that cannot be read
	// OnStep is called after each step, OnEvaluate after each validation. Both
	// may be nil.
	OnStep     func(*Progress)
	OnEvaluate func(step int, e *Evaluation)
}

// Progress is what OnStep gets.
type Progress struct {
	*Metrics
	Epoch        int
	Steps        int     // of the whole run
	ImagesPerSec float64 // since the last logged step
	DataWait     float64 // seconds waited for data since the last logged step
	SkippedData  int     // samples left out so far
}

// Result is how a run ended.
type Result struct {
	Steps       int         // done, earlier runs included
	Interrupted bool        // the context ended before the last step; everything is saved
	Evaluation  *Evaluation // nil if interrupted
	SkippedData int         // samples that could not be read
}

// Samples that validations and pictures take, and that the trivial predictors
// learn from.
const (
	valSamples     = 256
	trivialSamples = 512
	pictureSamples = 4
)

// ErrOtherRun is wrapped by the error for a folder that holds a run already.
var ErrOtherRun = errors.New("holds a run already")

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

// Run trains to the configuration's number of steps, saving as it goes. When
// ctx ends it saves and returns; a later Run with Resume goes on to the same
// bits as one that was never interrupted. After any error the last checkpoint
// is as it was.
func Run(ctx context.Context, o Options) (*Result, error) {
	pool := tensor.NewPool(o.Workers)
	defer pool.Close()
	r := &run{Options: o, pool: pool}
	if err := r.open(); err != nil {
		return nil, err
	}
	defer r.metrics.Close()
	return r.train(ctx)
}

// run is a Run in progress.
type run struct {
	Options
	pool    *tensor.Pool
	trainer *Trainer
	trivial *Trivial
	metrics *os.File
	saved   int // step of the last checkpoint
}

func (r *run) path(name string) string { return filepath.Join(r.Dir, name) }

// open prepares the folder, the trainer and the metrics.
func (r *run) open() error {
	if r.Resume {
		c, err := LoadRun(r.Dir)
		if err != nil {
			return err
		}
		r.Config = c
	} else {
		for _, name := range []string{multimae.ConfigFile, multimae.WeightsFile, CheckpointFile, MetricsFile} {
			if _, err := os.Stat(r.path(name)); err == nil {
				return fmt.Errorf("%s %w (%s); use -resume to go on with it, or give another -out", r.Dir, ErrOtherRun, name)
			}
		}
		if err := r.Config.Check(); err != nil {
			return err
		}
	}
	m, err := multimae.NewModel(r.Config)
	if err != nil {
		return err
	}
	if r.trainer, err = NewTrainer(m, r.pool); err != nil {
		return err
	}
	switch err := error(nil); {
	case !r.Resume:
		m.Init(r.Config.Train.Seed)
	default:
		if err = r.trainer.Restore(r.path(CheckpointFile)); errors.Is(err, fs.ErrNotExist) {
			// Stopped before the first checkpoint: the beginning is as exact.
			m.Init(r.Config.Train.Seed)
		} else if err != nil {
			return err
		}
	}
	if err := os.MkdirAll(r.Dir, 0o777); err != nil {
		return err
	}
	if !r.Resume {
		if err := nn.WriteFileAtomic(r.path(multimae.ConfigFile), func(w io.Writer) error {
			_, err := w.Write(r.Config.JSON())
			return err
		}); err != nil {
			return err
		}
	}
	r.saved = r.trainer.Steps()
	return r.openMetrics()
}

// openMetrics takes away the lines after the checkpoint: they will be written
// again.
func (r *run) openMetrics() error {
	old, err := os.ReadFile(r.path(MetricsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var keep []byte
	for line := range bytes.Lines(old) {
		var at struct {
			Step int `json:"step"`
		}
		if !bytes.HasSuffix(line, []byte("\n")) || json.Unmarshal(line, &at) != nil || at.Step > r.trainer.Steps() {
			break
		}
		keep = append(keep, line...)
	}
	if !bytes.Equal(keep, old) {
		if err := nn.WriteFileAtomic(r.path(MetricsFile), func(w io.Writer) error {
			_, err := w.Write(keep)
			return err
		}); err != nil {
			return err
		}
	}
	r.metrics, err = os.OpenFile(r.path(MetricsFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	return err
}

func (r *run) train(ctx context.Context) (*Result, error) {
	c := &r.Config.Train
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
	var err error
	if r.trivial, err = NewTrivial(r.Config, r.Train, trivialSamples); err != nil && !r.SkipBad {
		return nil, err
	}
	since, images, wait := time.Now(), 0, 0.0
	for r.trainer.Steps() < c.Steps {
		asked := time.Now()
		b, err := loader.Next()
		if err != nil {
			if ctx.Err() != nil {
				return r.interrupt(loader)
			}
			return nil, err
		}
		wait += time.Since(asked).Seconds()
		x, err := r.trainer.Step(b)
		loader.Release(b)
		if err != nil {
			return nil, r.explain(err)
		}
		images += b.Size
		p := &Progress{
			Metrics: x, Steps: c.Steps, Epoch: (x.Step - 1) / max(1, loader.BatchesPerEpoch()),
			ImagesPerSec: float64(images) / time.Since(since).Seconds(), DataWait: wait, SkippedData: loader.Skipped(),
		}
		if x.Step%c.LogEvery == 0 || x.Step == c.Steps || x.Skipped {
			if err := r.log(r.stepLine(p)); err != nil {
				return nil, err
			}
			since, images, wait = time.Now(), 0, 0
		}
		if r.OnStep != nil {
			r.OnStep(p)
		}
		if c.ValEvery > 0 && x.Step%c.ValEvery == 0 && x.Step < c.Steps {
			if _, err := r.validate(ctx); err != nil && ctx.Err() == nil {
				return nil, err
			}
			since, images, wait = time.Now(), 0, 0
		}
		if c.SaveEvery > 0 && x.Step%c.SaveEvery == 0 && x.Step < c.Steps {
			if err := r.save(); err != nil {
				return nil, err
			}
			since, images, wait = time.Now(), 0, 0
		}
		if ctx.Err() != nil && x.Step < c.Steps {
			return r.interrupt(loader)
		}
	}
	if err := r.save(); err != nil {
		return nil, err
	}
	e, err := r.validate(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return &Result{Steps: r.trainer.Steps(), Interrupted: true, SkippedData: loader.Skipped()}, nil
		}
		return nil, err
	}
	if err := r.pictures(); err != nil {
		return nil, err
	}
	return &Result{Steps: r.trainer.Steps(), Evaluation: e, SkippedData: loader.Skipped()}, nil
}

// interrupt saves what was done when the context ended.
func (r *run) interrupt(loader *data.Loader) (*Result, error) {
	if err := r.save(); err != nil {
		return nil, err
	}
	return &Result{Steps: r.trainer.Steps(), Interrupted: true, SkippedData: loader.Skipped()}, nil
}

// explain adds to a step's error what is left of the run.
func (r *run) explain(err error) error {
	var d *DivergedError
	if !errors.As(err, &d) {
		return err
	}
	left := "no checkpoint was saved before it"
	if _, e := os.Stat(r.path(CheckpointFile)); e == nil {
		left = fmt.Sprintf("the checkpoint of step %d is kept in %s", r.saved, r.path(CheckpointFile))
	}
	return fmt.Errorf("%w; %s. Start anew with a lower optim.lr or a smaller train.clip_grad", err, left)
}

// save writes the checkpoint, which is what counts, and then the model folder
// for others to read.
func (r *run) save() error {
	if err := r.metrics.Sync(); err != nil {
		return err
	}
	if err := r.trainer.Save(r.path(CheckpointFile)); err != nil {
		return fmt.Errorf("%w; the checkpoint of step %d is as it was", err, r.saved)
	}
	r.saved = r.trainer.Steps()
	return r.trainer.Model.Save(r.Dir)
}

// field is one entry of a line of metrics.
type field struct {
	key   string
	value any
}

// log appends a line to metrics.jsonl, keys in the order given.
func (r *run) log(fields []field) error {
	line := []byte{'{'}
	for i, f := range fields {
		if v, ok := f.value.(float64); ok && !finite(v) {
			continue // JSON has no such number: the loss of a task without target
		}
		v, err := json.Marshal(f.value)
		if err != nil {
			return err
		}
		if i > 0 {
			line = append(line, ", "...)
		}
		line = fmt.Appendf(line, "%q: %s", f.key, v)
	}
	if _, err := r.metrics.Write(append(line, "}\n"...)); err != nil {
		return fmt.Errorf("writing %s: %w", r.path(MetricsFile), err)
	}
	return nil
}

func (r *run) stepLine(p *Progress) []field {
	line := []field{{"step", p.Step}, {"epoch", p.Epoch}, {"loss", p.Loss}}
	for i, l := range p.Losses {
		line = append(line, field{"loss." + r.Config.Outputs[i].Name, l})
	}
	line = append(line, field{"lr", p.LR}, field{"weight_decay", p.WeightDecay}, field{"grad_norm", p.GradNorm},
		field{"images_per_s", math.Round(p.ImagesPerSec*10) / 10}, field{"data_wait_s", math.Round(p.DataWait*1e4) / 1e4})
	if p.Skipped {
		line = append(line, field{"skipped", true})
	}
	return line
}

func (r *run) validate(ctx context.Context) (*Evaluation, error) {
	e, err := Evaluate(ctx, r.trainer.Model, r.Val, valSamples, r.Config.Train.Seed, r.trivial, r.pool)
	if err != nil {
		return nil, err
	}
	line := []field{{"step", r.trainer.Steps()}, {"val.loss", e.Loss}}
	for _, s := range e.Scores {
		line = append(line, field{"val.loss." + s.Output, s.Loss}, field{"val.trivial_loss." + s.Output, s.TrivialLoss},
			field{"val." + s.Output + "." + s.Figure, s.Value}, field{"val.trivial." + s.Output + "." + s.Figure, s.Trivial})
	}
	if r.OnEvaluate != nil {
		r.OnEvaluate(r.trainer.Steps(), e)
	}
	return e, r.log(line)
}

// pictures writes reconstructions of held-out samples.
func (r *run) pictures() error {
	var samples []*data.Sample
	for i := range min(pictureSamples, r.Val.Len()) {
		s, err := r.Val.Sample(i)
		if err != nil {
			return err
		}
		samples = append(samples, s)
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
