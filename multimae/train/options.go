package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
)

// Options say what Run does.
type Options struct {
	// Objective is what is trained. With Resume it is made from the configuration in Dir: see
	// LoadRun.
	Objective Objective
	// Init gives the model the parameters that a run begins with; nil means new ones, by
	// train.seed.
	Init       func() error
	Train, Val data.Dataset
	Dir        string // of the run; created
	Resume     bool   // go on from the last checkpoint in Dir
	Workers    int    // goroutines that compute; 0 means GOMAXPROCS. The number does not change the results
	SkipBad    bool   // leave out samples that cannot be read; one that once could not is not tried again by this call
	Keep       int    // checkpoints to keep; 0 means 2: the last, and one before it in case that is damaged
	// Ranks are processes that take part in the run, each of which calls Run with the same options;
	// nil means that this one trains alone. Only rank 0 reads and writes Dir. An error that all ranks
	// have is a *RankError, a *DivergedError or wraps ErrDiffer; after another one the ranks are out
	// of step, and must be ended.
	Ranks Ranks
	// BFloat16 lets the ranks, which are BFloat16Ranks then, send gradients as bfloat16: half of the
	// bytes, and 8 bits of precision.
	BFloat16 bool
	Build    string // of the program, which must be the same on all ranks
	// OnDamaged is called before OnStart for each damaged file that Resume does without, with the
	// error that names it and the step that the run goes on from.
	OnDamaged func(err error, step int)
	// OnData is called before OnStart if Resume goes on with other samples than the checkpoint had, so
	// not to the bits of a run that was never interrupted. was and now are as in data.Fingerprint.
	OnData func(was, now string)
	// OnStart is called with the number of steps done by earlier calls, which may be all. From then on
	// the folder is that of this run: no other process trains there, and the metrics of steps that will
	// be done again are cut off. OnStep is called after each step, OnEvaluate after each validation. All
	// may be nil.
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
	DataWait     float64 // seconds of waiting for data since the last logged step
	Sum, SumWait float64 // of the steps since the last logged one: see Metrics
}

// Result is how a run ended.
type Result struct {
	Steps        int         // done, with those of earlier calls
	Resumed      int         // done by earlier calls
	Interrupted  bool        // the context ended first; everything is saved
	Evaluation   *Evaluation // nil if interrupted
	Best         Best        // of all validations; its model is in BestDir
	DataWait     float64     // seconds of waiting for data in this call
	SkippedData  int         // samples that this call could not read, each counted once
	FirstSkipped error       // why the first of them could not be read
}

// Best is the validation with the lowest criterion, the first of equal ones.
type Best struct {
	Step      int     // 0 if there was no validation
	Criterion float64 // as in Evaluation
}

// LoadRun reads the configuration of the run in dir, to resume it. Without a run there the error
// wraps ErrNoRun.
func LoadRun(dir string) (*multimae.Config, error) {
	return loadRun(dir, multimae.LoadConfig, func(c *multimae.Config) *multimae.Recipe { return &c.Train.Recipe })
}

func loadRun[C any](dir string, load func(fs.FS, string) (*C, error), recipe func(*C) *multimae.Recipe) (*C, error) {
	c, err := load(os.DirFS(dir), multimae.ConfigFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &FolderError{dir, fmt.Errorf("%s %w: %w", dir, ErrNoRun, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if recipe(c).Steps < 1 {
		return nil, fmt.Errorf("%s: %s has no \"train\": it is of a model and not of a run", dir, multimae.ConfigFile)
	}
	return c, nil
}
