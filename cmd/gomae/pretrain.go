package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/train"
)

// pretrainFlags are the flags of pretrain.
type pretrainFlags struct {
	preset, config, data, out string
	steps, batch, classes     int
	keep                      int
	seed                      uint64
	workers                   int
	resume, skipBad, json     bool
	depthInvalid              *numberList
	cpuProfile, memProfile    string
	given                     map[string]bool // flags on the command line
}

func pretrainCommand(e *env) *command {
	f := new(pretrainFlags)
	fs := newFlags()
	fs.StringVar(&f.preset, "preset", "tiny", "train the model and recipe `NAME`: "+strings.Join(multimae.PresetNames, ", "))
	fs.StringVar(&f.config, "config", "", "take model and recipe from `FILE`, a config.json, instead of a preset")
	fs.StringVar(&f.data, "data", scenesData, "train on the dataset folder `DIR`, or on rendered scenes")
	fs.StringVar(&f.out, "out", "out", "write the run to the folder `DIR`")
	fs.IntVar(&f.steps, "steps", 0, "train for `N` steps; 0 means as many as preset or -config say")
	fs.IntVar(&f.batch, "batch", 0, "train on `N` samples a step; 0 means as many as preset or -config say")
	fs.IntVar(&f.classes, "classes", 0, "semantic maps have ids below `N`; 0 means 16 for scenes and 133 (COCO) for other data")
	f.depthInvalid = depthInvalidFlag(fs)
	fs.Uint64Var(&f.seed, "seed", 0, "draw weights, masks, order and scenes from `SEED`")
	fs.IntVar(&f.workers, "workers", 0, "compute on `N` cores; 0 means all. The number does not change the result")
	fs.BoolVar(&f.resume, "resume", false, "go on with the run in -out, or start one if there is none")
	fs.IntVar(&f.keep, "keep", 2, "keep the last `N` checkpoints: if one is damaged, -resume goes on from the one before")
	fs.BoolVar(&f.skipBad, "skip-bad", false, "leave out and count samples that cannot be read, instead of stopping")
	fs.BoolVar(&f.json, "json", false, "print the validation as JSON")
	fs.StringVar(&f.cpuProfile, "cpuprofile", "", "write a CPU profile for go tool pprof to `FILE`")
	fs.StringVar(&f.memProfile, "memprofile", "", "write a memory profile for go tool pprof to `FILE`")
	return &command{
		name:  "gomae pretrain",
		usage: "gomae pretrain [flags]",
		short: "train a MultiMAE",
		about: `Trains a model to reconstruct colour, depth and semantic maps from a sixth of
their patches. Without flags it trains a small model on rendered rooms, which
takes three to five minutes on two cores. It writes config.json and
model.safetensors (a model folder), best (the model folder with the lowest
validation loss), metrics.jsonl, reconstructions.png and checkpoints to the
folder of the run, and prints how well held-out samples are reconstructed, next
to a predictor that knows only averages.

Ctrl-C saves the run. After it, or after a crash at any moment, -resume goes on to
the same bits as a run that was never interrupted. The other flags of the run may
be repeated or left out; one that contradicts the run is refused, except for
-workers, -keep, -skip-bad, -json and the profiles.`,
		examples: []string{
			"gomae pretrain",
			"gomae pretrain -out run2 -seed 1 -steps 5000",
			"gomae pretrain -preset base -data photos -out base -batch 8",
			"gomae pretrain -out base -resume",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			f.given = given(fs)
			return e.pretrain(ctx, f)
		},
	}
}

func (e *env) pretrain(ctx context.Context, f *pretrainFlags) error {
	c, resumed, err := f.configuration()
	if err != nil {
		return err
	}
	configFile := ""
	if resumed {
		configFile = filepath.Join(f.out, multimae.ConfigFile)
	} else if f.resume {
		e.logf("there is no run in %s: starting one", quote(f.out))
	}
	trainSet, val, err := datasets(c, configFile)
	if err != nil {
		return err
	}
	if dir := c.Train.Data; dir != "" && dir != scenesData {
		splits, _ := data.FindSplits(dir, c.Inputs)
		for _, note := range splits.Notes() {
			e.logf("%s", note)
		}
	}
	m, err := multimae.NewModel(c)
	if err != nil {
		return err
	}
	stop, err := profile(f.cpuProfile, f.memProfile)
	if err != nil {
		return err
	}
	bar := e.bar(c.Train.Steps, "steps")
	began := time.Now()
	told, first, loss := began, 0, math.NaN()
	o := train.Options{
		Objective: train.NewPretraining(m), Train: trainSet, Val: val, Dir: f.out, Resume: resumed,
		Workers: f.workers, SkipBad: f.skipBad, Keep: f.keep,
		OnDamaged: func(err error, step int) { e.logf("%v; going on from step %d", err, step) },
		OnStart: func(done int) {
			first = done
			e.logf("training from step %d to %d: %s a step of %d, %d held out for validation", done+1, c.Train.Steps,
				count(c.Train.Batch, "sample"), trainSet.Len(), val.Len())
		},
		OnStep: func(p *train.Progress) {
			// Smoothed, because single batches are noisy.
			if loss += 0.05 * (p.Loss - loss); math.IsNaN(loss) {
				loss = p.Loss
			}
			bar.Describe(fmt.Sprintf("loss %.3f, %.0f images/s", loss, p.ImagesPerSec))
			bar.Set(p.Step)
			if p.Step == p.Steps {
				bar.Clear()
				e.logf("validating and drawing")
			} else if !e.terminal() && time.Since(told) > 15*time.Second {
				told = time.Now()
				each := time.Since(began) / time.Duration(p.Step-first)
				e.logf("step %d of %d, loss %.3f, %.0f images/s, %v left", p.Step, p.Steps, loss, p.ImagesPerSec,
					(each * time.Duration(p.Steps-p.Step)).Round(time.Second))
			}
		},
		OnEvaluate: func(step int, v *train.Evaluation) {
			if step < c.Train.Steps {
				bar.Clear()
				e.logf("step %d: validation loss %.4f", step, v.Loss)
			}
		},
	}
	var r *train.Result
	err = e.save(func() (err error) {
		r, err = train.Run(ctx, o)
		return err
	})
	bar.Clear()
	if perr := stop(); err == nil {
		err = perr
	}
	if err != nil {
		return f.remedy(err, resumed)
	}
	if r.SkippedData > 0 {
		e.logf("left out %s that could not be read (%v); \"gomae data check\" lists all of them", count(r.SkippedData, "sample"), r.FirstSkipped)
	}
	if r.Interrupted {
		skip := ""
		if f.skipBad {
			skip = " -skip-bad"
		}
		e.logf("interrupted after step %d of %d; everything is saved. To go on: gomae pretrain -out %s -resume%s", r.Steps, c.Train.Steps, quote(f.out), skip)
		return errReported
	}
	if r.Resumed == r.Steps {
		e.logf("all %d steps had been done; validated again. The run is in %s", r.Steps, quote(f.out))
	} else {
		e.logf("trained to step %d in %v, %.2f s of it waiting for data. The run is in %s", r.Steps, time.Since(began).Round(time.Second), r.DataWait, quote(f.out))
	}
	if b := r.Best; b.Step > 0 && b.Step < r.Steps {
		e.logf("the lowest validation loss was %.4f at step %d; that model is in %s", b.Criterion, b.Step, quote(filepath.Join(f.out, train.BestDir)))
	}
	e.logf("look at %s", quote(filepath.Join(f.out, train.PicturesFile)))
	if f.json {
		return e.writeJSON(r.Evaluation)
	}
	e.writeEvaluation(r.Evaluation)
	return nil
}

// writeEvaluation prints a validation as a table.
func (e *env) writeEvaluation(v *train.Evaluation) {
	fmt.Fprintf(e.stdout, "masked patches of %s held out, next to a predictor that knows only averages:\n\n", count(v.Samples, "sample"))
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "task\tloss\taverage's\tratio\tfigure\tmodel\taverage\t")
	for _, s := range v.Scores {
		fmt.Fprintf(w, "%s\t%.4f\t%.4f\t%.0f %%\t%s\t%.2f\t%.2f\t\n", s.Output, s.Loss, s.TrivialLoss, 100*s.Loss/s.TrivialLoss, s.Figure, s.Value, s.Trivial)
	}
	w.Flush()
}

// remedy adds to an error of train.Run what to do about it on the command line.
func (f *pretrainFlags) remedy(err error, resumed bool) error {
	stopped, folder := errors.As(err, new(*train.StopError)), errors.As(err, new(*train.FolderError))
	add := ""
	switch {
	case errors.As(err, new(*train.DivergedError)): // says what to change
	case errors.Is(err, train.ErrOtherRun) && f.resume:
		add = "restore its config.json from a copy, or give another -out"
	case errors.Is(err, train.ErrOtherRun):
		add = "go on with it with -resume, or give another -out"
	case errors.Is(err, train.ErrBusy):
		add = "wait for its end, or give another -out"
	case stopped && folder:
		add = "make room there, or make it writable, and go on with -resume"
	case stopped:
		add = "put this right and go on with -resume"
	case folder && resumed:
		add = "make the folder readable and writable"
	case folder:
		add = "make room there, or make it readable and writable, or give another -out"
	}
	if add == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, add)
}

// create creates a file, or opens a device. Opening a named pipe would wait for a reader.
func create(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeDevice == 0 {
		if err := regular.Check(path, info); err != nil {
			return nil, err
		}
	}
	return os.Create(path)
}

// profile starts the profiles that have a file; stop ends and writes them.
func profile(cpu, mem string) (stop func() error, err error) {
	var f, m *os.File
	if mem != "" {
		if m, err = create(mem); err != nil {
			return nil, err
		}
	}
	if cpu != "" {
		if f, err = create(cpu); err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			f.Close()
			return nil, err
		}
	}
	return func() error {
		if f != nil {
			pprof.StopCPUProfile()
			if err := f.Close(); err != nil {
				return err
			}
		}
		if m == nil {
			return nil
		}
		runtime.GC()
		if err := pprof.WriteHeapProfile(m); err != nil {
			m.Close()
			return err
		}
		return m.Close()
	}, nil
}
