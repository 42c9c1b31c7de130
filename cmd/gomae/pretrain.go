package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/train"
)

// pretrainFlags are the flags of pretrain.
type pretrainFlags struct {
	runFlags
	preset, config string
	inputs         string
	assumed        string // about the model of from
	classes        int
	depthInvalid   *numberList
}

func pretrainCommand(e *env) *command {
	f := new(pretrainFlags)
	fs := newFlags()
	fs.StringVar(&f.preset, "preset", "tiny", "train the model and recipe `NAME`: "+strings.Join(multimae.PresetNames, ", "))
	fs.StringVar(&f.config, "config", "", "take model and recipe from `FILE`, a config.json, instead of a preset")
	fs.StringVar(&f.from, "from", "", "start from the weights of `MODEL`: a folder or file of a MultiMAE, MAE or ViT; without -preset and -config, train such a model; "+builtinUsage)
	fs.StringVar(&f.data, "data", scenesData, "train on the dataset folder `DIR`, or on rendered "+scenesUsage)
	f.add(fs, "out")
	fs.IntVar(&f.classes, "classes", 0, "semantic maps have ids below `N`; 0 means as many as those of a MultiMAE in -from, or with -preset as classes.json of -data names; without it, 16 for scenes and 133 (COCO) for other data")
	fs.StringVar(&f.inputs, "inputs", "", "train only on the modalities in `LIST`, separated by commas, such as rgb,depth; empty means all")
	f.depthInvalid = depthInvalidFlag(fs)
	return &command{
		name:  "gomae pretrain",
		usage: "gomae pretrain [flags]",
		short: "train a MultiMAE",
		about: `Trains a model to reconstruct colour, depth and semantic maps from a sixth of
their patches. Without flags it trains a small model on rendered rooms, which
takes two to five minutes on two cores. It writes config.json and
model.safetensors (a model folder), best (the model folder with the lowest
validation loss), metrics.jsonl, reconstructions.png and checkpoints to the
folder of the run, and prints how well held-out samples are reconstructed, next
to a predictor that knows only averages.

-from takes encoder, adapters and decoders as far as they fit, resizes position
tables, and reports what was taken. MODEL may be a model folder, a file that
"gomae convert" reads, or a checkpoint of a run.

Ctrl-C saves the run. After it, or after a crash at any moment, -resume goes on to
the same bits as a run that was never interrupted. The other flags of the run may
be repeated or left out; one that contradicts the run is refused, except for
-workers, -keep, -skip-bad, -json, -serve, -tensorboard, the profiles and those of -mpi.

With -mpi, all processes that mpirun, srun or Kubeflow started train one model, each
on its part of every batch. The results differ from those of one process by no more
than the order of sums makes them, or with -mpi-bfloat16 the rounding of gradients.`,
		examples: []string{
			"gomae pretrain",
			"gomae pretrain -out run2 -seed 1 -steps 5000",
			"gomae pretrain -preset base -data set -out base -batch 8",
			"gomae pretrain -preset base -from mae_pretrain_vit_base.pth -data set -out base",
			"gomae pretrain -out base -resume",
			"mpirun -n 4 gomae pretrain -mpi -preset base -data set -out base -batch 64",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			f.given = given(fs)
			return e.together(&f.runFlags, func() error { return e.pretrain(ctx, f) })
		},
	}
}

func (e *env) pretrain(ctx context.Context, f *pretrainFlags) error {
	c, resumed, err := f.configuration()
	if err != nil {
		return err
	}
	if f.assumed != "" {
		e.logf("the weights do not show everything: assumed %s; a -config can say otherwise", f.assumed)
	}
	configFile := ""
	if resumed {
		configFile = filepath.Join(f.out, multimae.ConfigFile)
	} else if f.resume {
		e.logf("there is no run in %s: starting one", quote(f.out))
	}
	trainSet, val, err := datasets(c, configFile, f.skip(e)...)
	if err != nil {
		if !resumed && errors.As(err, new(*data.Problem)) {
			e.hint("train on", c.Train.Data, c.Inputs)
		}
		return err
	}
	if t := &c.Train; t.WarmupSteps >= t.Steps {
		e.logf("the warm-up of %d steps (train.warmup_steps) is not shorter than the run of %d: the learning rate never reaches optim.lr, %g", t.WarmupSteps, t.Steps, c.Optim.LR)
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
	r, err := e.runTraining(ctx, &f.runFlags, "pretrain", train.Options{
		Objective: train.NewPretraining(m), Init: e.startFrom(m.Backbone, c.Train.From, c.Train.Seed, configFile), Train: trainSet, Val: val, Resume: resumed,
	})
	if err != nil {
		return err
	}
	if f.json {
		return e.writeJSON(r.Evaluation)
	}
	e.writeEvaluation(c, r.Evaluation)
	return nil
}

// writeEvaluation prints a validation as a table.
func (e *env) writeEvaluation(c *multimae.Config, v *train.Evaluation) {
	of := "masked patches"
	if slices.ContainsFunc(c.Outputs, func(o multimae.Output) bool { return o.LossOnUnmasked }) {
		of = "patches"
	}
	fmt.Fprintf(e.stdout, "%s of %s held out, next to a predictor that knows only averages:\n\n", of, count(v.Samples, "sample"))
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "task\tloss\taverage's\tratio\tfigure\tmodel\taverage\t")
	for _, s := range v.Scores {
		fmt.Fprintf(w, "%s\t%.4f\t%.4f\t%.0f %%\t%s\t%.2f\t%.2f\t\n", s.Output, s.Loss, s.TrivialLoss, 100*s.Loss/s.TrivialLoss, s.Figure, s.Value, s.Trivial)
	}
	w.Flush()
}
