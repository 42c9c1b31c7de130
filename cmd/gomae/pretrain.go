package main

import (
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
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
)

// scenesData is the -data value for rendered scenes.
const scenesData = "scenes"

// pretrainFlags are the flags of pretrain.
type pretrainFlags struct {
	set                       *flag.FlagSet
	preset, config, data, out string
	steps, batch, classes     int
	keep                      int
	seed                      uint64
	workers                   int
	resume, skipBad, json     bool
	cpuProfile, memProfile    string
	given                     map[string]bool // flags on the command line
}

func pretrainCommand(e *env) *command {
	f := &pretrainFlags{set: newFlags()}
	fs := f.set
	fs.StringVar(&f.preset, "preset", "tiny", "train the model and recipe `NAME`: "+strings.Join(multimae.PresetNames, ", "))
	fs.StringVar(&f.config, "config", "", "take model and recipe from `FILE`, a config.json, and not from a preset")
	fs.StringVar(&f.data, "data", scenesData, "train on the dataset folder `DIR`, or on rendered scenes")
	fs.StringVar(&f.out, "out", "out", "write the run to folder `DIR`")
	fs.IntVar(&f.steps, "steps", 0, "take `N` steps; 0 means as many as the preset has")
	fs.IntVar(&f.batch, "batch", 0, "take `N` samples a step; 0 means as many as the preset has")
	fs.IntVar(&f.classes, "classes", 0, "semantic maps have ids below `N`; 0 means 16 for scenes and 133 (COCO) otherwise")
	fs.Uint64Var(&f.seed, "seed", 0, "draw weights, masks, order and scenes from `SEED`")
	fs.IntVar(&f.workers, "workers", 0, "compute on `N` cores; 0 means all. The result is the same to the bit")
	fs.BoolVar(&f.resume, "resume", false, "go on with the run in -out, as configured there")
	fs.IntVar(&f.keep, "keep", 2, "keep the last `N` checkpoints: should one be damaged, -resume takes the one before")
	fs.BoolVar(&f.skipBad, "skip-bad", false, "leave out samples that cannot be read, and count them, instead of stopping")
	fs.BoolVar(&f.json, "json", false, "print the validation as JSON")
	fs.StringVar(&f.cpuProfile, "cpuprofile", "", "write a CPU profile for go tool pprof to `FILE`")
	fs.StringVar(&f.memProfile, "memprofile", "", "write a memory profile for go tool pprof to `FILE`")
	return &command{
		name:  "gomae pretrain",
		usage: "gomae pretrain [flags]",
		short: "train a MultiMAE",
		about: `Trains a model to reconstruct colour, depth and semantics from a sixth of their
patches. Without flags: a small model on rendered rooms, three to five minutes on
two cores. Writes config.json and model.safetensors (a model folder), best (the
model folder of the lowest validation loss), metrics.jsonl, reconstructions.png
and checkpoints to the folder of the run, and prints how well held-out samples
are reconstructed beside a predictor that knows only averages. Ctrl-C saves;
after it, or a crash at any moment, -resume goes on to the same bits as a run
that was never interrupted.`,
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
			f.given = map[string]bool{}
			fs.Visit(func(x *flag.Flag) { f.given[x.Name] = true })
			return e.pretrain(ctx, f)
		},
	}
}

// configuration is what the flags ask for.
func (f *pretrainFlags) configuration() (*multimae.Config, error) {
	for _, n := range []struct {
		name string
		v    int
	}{{"steps", f.steps}, {"batch", f.batch}, {"classes", f.classes}, {"workers", f.workers}} {
		if n.v < 0 {
			return nil, usagef("-%s %d: want 0 or more", n.name, n.v)
		}
	}
	if f.keep < 1 {
		return nil, usagef("-keep %d: want 1 or more", f.keep)
	}
	if f.resume {
		for _, name := range []string{"preset", "config", "data", "steps", "batch", "classes", "seed"} {
			if f.given[name] {
				return nil, usagef("-%s: a run is resumed as it was configured in %s; leave the flag out, or start another run", name, filepath.Join(f.out, multimae.ConfigFile))
			}
		}
		return train.LoadRun(f.out)
	}
	var c *multimae.Config
	var err error
	if f.config != "" {
		if f.given["preset"] || f.given["classes"] {
			return nil, usagef("-config gives the whole model; leave out -preset and -classes")
		}
		b, err := os.ReadFile(f.config)
		if err != nil {
			return nil, err
		}
		if c, err = multimae.ParseConfig(b); err != nil {
			return nil, fmt.Errorf("%s: %w", f.config, err)
		}
		if c.Train.Steps < 1 {
			return nil, fmt.Errorf("%s: has no \"train\" and so does not say how to train; see the config.json of a run", f.config)
		}
		c.Case = nil
	} else {
		classes := f.classes
		switch {
		case classes > 0:
		case f.data == scenesData:
			classes = len(scenes.Classes)
		default:
			classes = 133
		}
		if c, err = multimae.Preset(f.preset, classes); err != nil {
			return nil, usagef("-preset %s: %v", f.preset, err)
		}
	}
	t := &c.Train
	if f.steps > 0 {
		// The warm-up keeps its share of the run.
		t.WarmupSteps = t.WarmupSteps * f.steps / t.Steps
		t.Steps = f.steps
	}
	if f.batch > 0 {
		t.Batch = f.batch
	}
	if f.given["seed"] || f.config == "" {
		t.Seed = f.seed
	}
	if f.given["data"] || t.Data == "" {
		t.Data = f.data
	}
	if t.Data != scenesData {
		// The run may be resumed from another folder.
		if t.Data, err = filepath.Abs(t.Data); err != nil {
			return nil, err
		}
	}
	return c, c.Check()
}

// heldScenes is the number of the first rendered scene that no run trains on.
const heldScenes = 1_000_000_000

// datasets opens what a configuration trains on.
func datasets(c *multimae.Config) (trainSet, val data.Dataset, err error) {
	if dir := c.Train.Data; dir != "" && dir != scenesData {
		if trainSet, val, err = data.OpenSplit(dir, c.Inputs); errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("train.data: there is no folder %s; give one with -data, or for a run that is resumed put the right path into its %s", dir, multimae.ConfigFile)
		}
		return trainSet, val, err
	}
	for _, in := range c.Inputs {
		if in.Name != "rgb" && in.Name != "depth" && in.Name != "semseg" {
			return nil, nil, fmt.Errorf("inputs.%s: rendered scenes have rgb, depth and semseg only; give a dataset folder with -data", in.Name)
		}
		if n := len(scenes.Classes); in.Kind == multimae.KindClasses && in.NumClasses < n {
			return nil, nil, fmt.Errorf("inputs.%s.num_classes: got %d, but rendered scenes have %d classes", in.Name, in.NumClasses, n)
		}
	}
	size := c.ImageSize
	if len(c.Train.CropScale) > 0 {
		size += size / 4 // so that most crops are not enlarged
	}
	// A scene takes less time to render than to train on, so none need come twice; an epoch is just
	// a number of them.
	const epoch, heldOut = 1 << 16, 256
	return scenes.New(0, epoch, size, c.Train.Seed), scenes.New(heldScenes, heldOut, size, c.Train.Seed), nil
}

func (e *env) pretrain(ctx context.Context, f *pretrainFlags) error {
	c, err := f.configuration()
	if err != nil {
		return err
	}
	trainSet, val, err := datasets(c)
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
		Config: c, Train: trainSet, Val: val, Dir: f.out, Resume: f.resume, Workers: f.workers, SkipBad: f.skipBad, Keep: f.keep,
		OnDamaged: func(err error, step int) { e.logf("%v; going on from step %d", err, step) },
		OnStart: func(done int) {
			first = done
			e.logf("training from step %d to %d: %s a step, out of %d; %d held out for validation", done+1, c.Train.Steps,
				count(c.Train.Batch, "sample"), trainSet.Len(), val.Len())
		},
		OnStep: func(p *train.Progress) {
			// Smoothed, for single batches are noisy.
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
	r, err := train.Run(ctx, o)
	bar.Clear()
	if perr := stop(); err == nil {
		err = perr
	}
	if err != nil {
		return err
	}
	if r.SkippedData > 0 {
		e.logf("left out %s that could not be read (%v); \"gomae data check\" lists them", count(r.SkippedData, "sample"), r.FirstSkipped)
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
		e.logf("all %d steps were done before; validated again, the run is in %s", r.Steps, quote(f.out))
	} else {
		e.logf("trained to step %d in %v, %.2f s of it waiting for data; the run is in %s", r.Steps, time.Since(began).Round(time.Second), r.DataWait, quote(f.out))
	}
	if b := r.Best; b.Step > 0 && b.Step < r.Steps {
		e.logf("the lowest validation loss, %.4f, was that of step %d: the model is in %s", b.Loss, b.Step, quote(filepath.Join(f.out, train.BestDir)))
	}
	e.logf("look at %s", quote(filepath.Join(f.out, train.PicturesFile)))
	if f.json {
		return e.writeJSON(r.Evaluation)
	}
	e.writeEvaluation(r.Evaluation)
	return nil
}

// writeEvaluation prints the table of a validation.
func (e *env) writeEvaluation(v *train.Evaluation) {
	fmt.Fprintf(e.stdout, "masked patches of %s not trained on, beside a predictor that knows only averages:\n\n", count(v.Samples, "sample"))
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "task\tloss\taverage's\tratio\tfigure\tmodel\taverage\t")
	for _, s := range v.Scores {
		fmt.Fprintf(w, "%s\t%.4f\t%.4f\t%.0f %%\t%s\t%.2f\t%.2f\t\n", s.Output, s.Loss, s.TrivialLoss, 100*s.Loss/s.TrivialLoss, s.Figure, s.Value, s.Trivial)
	}
	w.Flush()
}

// profile starts the profiles that were asked for; stop ends and writes them.
func profile(cpu, mem string) (stop func() error, err error) {
	var f *os.File
	if cpu != "" {
		if f, err = os.Create(cpu); err != nil {
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
		if mem == "" {
			return nil
		}
		m, err := os.Create(mem)
		if err != nil {
			return err
		}
		runtime.GC()
		if err := pprof.WriteHeapProfile(m); err != nil {
			m.Close()
			return err
		}
		return m.Close()
	}, nil
}
