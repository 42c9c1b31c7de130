package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/gomae/gomae/internal/machine"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/experiment"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
)

func experimentCommand(e *env) *command {
	group := &command{
		name:  "gomae experiment",
		usage: "gomae experiment NAME [flags]",
		short: "repeat a table of the paper in miniature",
		about: `Pre-trains models in several ways for as many steps each, fine-tunes each on few labels
with several seeds, and tests them on samples that none of them saw.`,
		flags: newFlags(),
	}
	for _, name := range experiment.Names {
		group.subs = append(group.subs, experimentTable(e, name))
	}
	return group
}

func experimentTable(e *env, name string) *command {
	about := map[string]string{
		"transfer": "compare no pre-training, MAE and MultiMAE",
		"tasks":    "compare the modalities to pre-train with",
		"alpha":    "compare how visible tokens are shared among modalities",
		"labels":   "compare true maps, those of a teacher and spoilt ones",
	}
	o := experiment.Options{Settings: experiment.DefaultSettings(name)}
	fs := newFlags()
	fs.StringVar(&o.Dir, "out", name, "keep all runs and results in the folder `DIR`")
	fs.IntVar(&o.Seeds, "seeds", o.Seeds, "repeat every run with `N` seeds")
	fs.StringVar(&o.Preset, "preset", o.Preset, "train the architecture `NAME`: "+strings.Join(multimae.PresetNames, ", "))
	fs.StringVar(&o.Data, "data", o.Data, "pre-train on the dataset folder `DIR`, or on rendered "+scenesUsage)
	labelled := fs.String("labelled", "", "fine-tune and test on the dataset folder `DIR`, with train and test parts; none means that of -data")
	fs.StringVar(&o.Target, "target", "", "take the truth of segmentation from the modality `NAME` of -labelled; none means semseg")
	fs.IntVar(&o.Classes, "classes", 0, "the truth of segmentation in -labelled has ids below `N`; 0 means that it has none")
	ignore := new(numberList)
	fs.Var(ignore, "ignore", "ids in `LIST`, such as 0,11, stand for no class in -labelled; 255 always does")
	fs.Float64Var(&o.DepthUnit, "unit", 0, "depth in -labelled is true and in steps of `M` metres, such as 0.001; 0 means that it has none")
	depthInvalid := new(numberList)
	fs.Var(depthInvalid, "depth-invalid", "leave out pixels of depth in -labelled whose stored value is one of `LIST`, such as 0,65535; if -data is the same folder, in pre-training, too")
	fs.StringVar(&o.Models, "models", "", "keep the pre-trained models in the folder `DIR`, which other experiments on the same data, with the same steps, may share; empty means pretrain in -out")
	fs.IntVar(&o.PretrainSteps, "pretrain-steps", o.PretrainSteps, "pre-train for `N` steps")
	fs.IntVar(&o.Steps, "steps", o.Steps, "fine-tune for `N` steps")
	fs.IntVar(&o.Samples, "samples", o.Samples, "fine-tune on `N` labelled samples; 0 means all of a folder")
	fs.IntVar(&o.Workers, "workers", 0, "compute on `N` cores; 0 means all. The number does not change the result")
	asJSON := fs.Bool("json", false, "print the results as JSON")
	return &command{
		name:  "gomae experiment " + name,
		usage: "gomae experiment " + name + " [flags]",
		short: about[name],
		about: `Writes table.md, results.json and plot.svg to the folder of the experiment after
each run. Ctrl-C saves everything, and the same command goes on.`,
		examples: []string{"gomae experiment " + name, "gomae experiment " + name + " -seeds 1 -pretrain-steps 500 -steps 100 -out try"},
		flags:    fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			if err := atLeast(fs, 1, "seeds", "pretrain-steps", "steps"); err != nil {
				return err
			}
			if err := atLeast(fs, 0, "samples", "classes", "workers"); err != nil {
				return err
			}
			if _, err := preset(o.Preset, len(scenes.Classes)); err != nil {
				return err
			}
			var err error
			if o.Data, err = dataPath(o.Data); err != nil {
				return err
			}
			if o.Labelled = o.Data; *labelled != "" {
				if o.Labelled, err = dataPath(*labelled); err != nil {
					return err
				}
			}
			o.Ignore, o.DepthInvalid = *ignore, *depthInvalid
			if o.Labelled != scenesData && o.Classes < 2 && o.DepthUnit == 0 {
				return usagef("-classes %d: want the number of classes of the truth in %s, or -unit for its depth", o.Classes, quote(o.Labelled))
			}
			return e.experiment(ctx, name, o, *asJSON)
		},
	}
}

func (e *env) experiment(ctx context.Context, name string, o experiment.Options, asJSON bool) error {
	x, err := experiment.New(name)
	if err != nil {
		return err
	}
	level, _, err := machine.SIMD()
	if err != nil {
		return err
	}
	o.Commit, o.Machine = version(), fmt.Sprintf("%s, %d threads, %s", cpuName(), runtime.GOMAXPROCS(0), level)
	bar := e.bar(1, "steps")
	o.Log = func(format string, args ...any) {
		bar.Clear()
		e.logf(format, args...)
	}
	o.Step = func(p *train.Progress) {
		bar.ChangeMax(p.Steps)
		bar.Set(p.Step)
	}
	var r *experiment.Results
	err = e.save(func() (err error) {
		r, err = experiment.Run(ctx, x, o)
		return err
	})
	bar.Clear()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		e.logf("interrupted; everything is saved, and the same command goes on")
		return errReported
	}
	if err != nil {
		return err
	}
	e.logf("the results are in %s", quote(filepath.Join(o.Dir, "results.json")))
	if asJSON {
		return e.writeJSON(r)
	}
	fmt.Fprint(e.stdout, x.On(&o.Settings).Table(r))
	return nil
}
