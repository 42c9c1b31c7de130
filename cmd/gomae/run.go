package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/train"
)

// runFlags are the flags of all commands that train.
type runFlags struct {
	data, from, out        string
	steps, batch           int
	keep                   int
	seed                   uint64
	workers                int
	resume, skipBad, json  bool
	cpuProfile, memProfile string
	watch                  watchFlags
	flags                  *flag.FlagSet
	given                  map[string]bool // flags on the command line
	mpi                    bool
	mpiLib                 string
	mpiBFloat16            bool
	ranks                  train.Ranks // set by together
	build                  string
}

// defaultKeep is the default of -keep.
const defaultKeep = 2

// add defines the flags, but for -data and -from, whose meaning differs. out is the default of -out.
func (f *runFlags) add(fs *flag.FlagSet, out string) {
	f.flags = fs
	fs.StringVar(&f.out, "out", out, "write the run to the folder `DIR`")
	fs.IntVar(&f.steps, "steps", 0, "train for `N` steps; 0 means as many as preset or -config say")
	fs.IntVar(&f.batch, "batch", 0, "train on `N` samples a step, at the same learning rate; 0 means as many as preset or -config say")
	fs.Uint64Var(&f.seed, "seed", 0, "draw weights, masks, order and scenes from `SEED`")
	fs.IntVar(&f.workers, "workers", 0, "compute on `N` cores; 0 means all. The number does not change the result")
	fs.BoolVar(&f.resume, "resume", false, "go on with the run in -out, or start one if there is none")
	fs.IntVar(&f.keep, "keep", defaultKeep, "keep the last `N` checkpoints: if one is damaged, -resume goes on from the one before. Repeat it with -resume, which without it removes all but the default")
	fs.BoolVar(&f.skipBad, "skip-bad", false, "leave out and count samples that lack a file or cannot be read, instead of stopping")
	fs.BoolVar(&f.mpi, "mpi", false, "train together with the other processes that mpirun, srun or Kubeflow started")
	fs.BoolVar(&f.mpiBFloat16, "mpi-bfloat16", false, "with -mpi, gradients travel as bfloat16: half of the bytes, for networks that are slower than the cores")
	fs.StringVar(&f.mpiLib, "mpi-lib", "", "with -mpi, open the MPI library `PATH`; none means the one beside mpirun, or of the system")
	fs.BoolVar(&f.json, "json", false, "print the validation as JSON")
	f.watch.add(fs)
	fs.StringVar(&f.cpuProfile, "cpuprofile", "", "write a CPU profile for go tool pprof to `FILE`")
	fs.StringVar(&f.memProfile, "memprofile", "", "write a memory profile for go tool pprof to `FILE`")
}

// check returns an error for the first flag with a value that cannot be used.
func (f *runFlags) check() error {
	if err := atLeast(f.flags, 0, "steps", "batch", "workers"); err != nil {
		return err
	}
	if err := atLeast(f.flags, 1, "keep"); err != nil {
		return err
	}
	return nil
}

// skip returns what opens a dataset without its incomplete samples, if -skip-bad asks for that.
func (f *runFlags) skip(e *env) []data.Skip {
	if !f.skipBad {
		return nil
	}
	return []data.Skip{func(samples int, problems []data.Problem) {
		what := count(samples, "incomplete sample")
		if samples == 0 { // what cannot be read belongs to no sample
			what = count(len(problems), "file")
		}
		e.logf("left out %s (%v); \"gomae data check\" lists all of them", what, &problems[0])
	}}
}

// skipSilently is skip for a first look at the data, after which the run says what it leaves out.
func (f *runFlags) skipSilently() []data.Skip {
	if !f.skipBad {
		return nil
	}
	return []data.Skip{func(int, []data.Problem) {}}
}

// contradicts is the error of a flag that asks for another value than the run in -out has.
func (f *runFlags) contradicts(flag string, asked, has any) error {
	return usagef("-%s %v: the run in %s has %v; leave the flag out, or start another run with another -out", flag, asked, quote(f.out), has)
}

// agreeRecipe returns an error for the first flag that contradicts the recipe of the run in -out.
func (f *runFlags) agreeRecipe(t *multimae.Recipe) error {
	if f.given["steps"] && f.steps > 0 && f.steps != t.Steps {
		return f.contradicts("steps", f.steps, t.Steps)
	}
	if f.given["batch"] && f.batch > 0 && f.batch != t.Batch {
		return f.contradicts("batch", f.batch, t.Batch)
	}
	if f.given["seed"] && f.seed != t.Seed {
		return f.contradicts("seed", f.seed, t.Seed)
	}
	if f.given["data"] {
		asked, err := dataPath(f.data)
		if err != nil {
			return err
		}
		if asked != t.Data {
			return f.contradicts("data", asked, t.Data)
		}
	}
	if f.from != "" {
		asked, err := absolute(f.from)
		if err != nil {
			return err
		}
		if asked != t.From {
			return f.contradicts("from", asked, cmp.Or(t.From, "none"))
		}
	}
	return nil
}

// runTraining trains the objective of o with progress on stderr, and says how it went. command is the
// word that goes on with the run.
func (e *env) runTraining(ctx context.Context, f *runFlags, command string, o train.Options) (*train.Result, error) {
	recipe := o.Objective.Plan().Recipe
	watch, unwatch, err := e.watch(f, o.Val)
	if err != nil {
		return nil, err
	}
	defer unwatch()
	stop, err := profile(f.cpuProfile, f.memProfile)
	if err != nil {
		return nil, err
	}
	bar := e.bar(recipe.Steps, "steps")
	began := time.Now()
	told, first, loss := began, 0, math.NaN()
	o.Dir, o.Workers, o.SkipBad, o.Keep, o.Ranks, o.BFloat16, o.Build = f.out, f.workers, f.skipBad, f.keep, f.ranks, f.mpiBFloat16, f.build
	o.OnDamaged = func(err error, step int) { e.logf("%v; going on from step %d", err, step) }
	o.OnData = func(was, now string) {
		e.logf("the data changed since the run was saved (%s; now %s): it goes on, but not to the same bits as without the change", was, now)
	}
	o.OnStart = func(done int) {
		watch()
		if first = done; done >= recipe.Steps {
			return
		}
		e.logf("training from step %d to %d: %s a step of %d, %d held out for validation", done+1, recipe.Steps,
			count(recipe.Batch, "sample"), o.Train.Len(), o.Val.Len())
	}
	o.OnStep = func(p *train.Progress) {
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
	}
	o.OnEvaluate = func(step int, v *train.Evaluation) {
		if step < recipe.Steps {
			bar.Clear()
			e.logf("step %d: validation loss %.4f", step, v.Loss)
		}
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
	if data.Interrupted(err) { // while the ranks compared their data
		e.logf("interrupted before the first step; %s is as it was", quote(f.out))
		return nil, errReported
	}
	if err != nil {
		return nil, f.remedy(err, o.Resume)
	}
	if r.SkippedData > 0 {
		e.logf("left out %s that could not be read (%v); \"gomae data check\" lists all of them", count(r.SkippedData, "sample"), r.FirstSkipped)
	}
	if r.Interrupted {
		e.logf("interrupted after step %d of %d; everything is saved. To go on: %s", r.Steps, recipe.Steps, f.goOn(command))
		return nil, errReported
	}
	if r.Resumed == r.Steps {
		e.logf("all %d steps had been done; validated again. The run is in %s", r.Steps, quote(f.out))
	} else {
		e.logf("trained to step %d in %v, %.2f s of it waiting for data. The run is in %s", r.Steps, time.Since(began).Round(time.Second), r.DataWait, quote(f.out))
	}
	if b := r.Best; b.Step > 0 && b.Step < r.Steps {
		e.logf("the best validation was that of step %d; that model is in %s", b.Step, quote(filepath.Join(f.out, train.BestDir)))
	}
	e.logf("look at %s", quote(filepath.Join(f.out, train.PicturesFile)))
	return r, nil
}

// goOn returns the command line that goes on with a run. What the run does not remember is on it.
func (f *runFlags) goOn(command string) string {
	words := []string{"gomae", command}
	if f.ranks != nil {
		words = append([]string{"mpirun", "-n", strconv.Itoa(f.ranks.Size())}, append(words, "-mpi")...)
		if f.mpiLib != "" {
			words = append(words, "-mpi-lib", quote(f.mpiLib))
		}
		if f.mpiBFloat16 {
			words = append(words, "-mpi-bfloat16")
		}
	}
	words = append(words, "-out", quote(f.out), "-resume")
	if f.keep != defaultKeep {
		words = append(words, "-keep", strconv.Itoa(f.keep))
	}
	if f.skipBad {
		words = append(words, "-skip-bad")
	}
	if f.workers > 0 {
		words = append(words, "-workers", strconv.Itoa(f.workers))
	}
	if f.watch.serve != "" {
		words = append(words, "-serve", quote(f.watch.serve))
	}
	if f.watch.tensorboard != "" {
		words = append(words, "-tensorboard", quote(f.watch.tensorboard))
	}
	if f.json {
		words = append(words, "-json")
	}
	return strings.Join(words, " ")
}

// remedy adds to an error of train.Run what to do about it on the command line.
func (f *runFlags) remedy(err error, resumed bool) error {
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
