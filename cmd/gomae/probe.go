package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/probe"
	"github.com/gomae/gomae/tensor"
)

// probeFlags are the flags of probe.
type probeFlags struct {
	from, data, inputs, cache string
	workers                   int
	json                      bool
}

func probeCommand(e *env) *command {
	f := new(probeFlags)
	fs := newFlags()
	fs.StringVar(&f.from, "from", "", "probe the encoder of the model in the folder `DIR` (required); "+builtinUsage)
	fs.StringVar(&f.data, "data", "", "use the images in the folder `DIR`: DIR/train/rgb/CLASS and DIR/val/rgb/CLASS (required)")
	fs.StringVar(&f.inputs, "inputs", "", "show the encoder the modalities of `LIST`, such as rgb,depth; none means all that both model and data have")
	fs.StringVar(&f.cache, "cache", "", "keep features in the folder `DIR`; none means gomae/features in the user's folder for caches")
	fs.IntVar(&f.workers, "workers", 0, "compute on `N` cores; 0 means all. The number does not change the result")
	fs.BoolVar(&f.json, "json", false, "print the figures as JSON")
	return &command{
		name:  "gomae probe",
		usage: "gomae probe -from DIR -data DIR [flags]",
		short: "measure how well frozen features tell classes apart",
		about: `Computes the mean of the encoder's tokens for each image, fits a linear classifier
to those of the training images, and prints how often it is right about the
validation images. Beside it stands a classifier that asks the 20 nearest training
images. Images are cropped to their largest centred square and resized to the
model's size; the weights of the encoder stay as they are.

The class of an image is its folder. Features are computed once and kept: a second
call with the same model and images takes seconds.`,
		examples: []string{
			"gomae probe -from out -data cifar10",
			"gomae probe -from out/best -data set -inputs rgb,depth -json",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			if err := need(fs, "from", "data"); err != nil {
				return err
			}
			if err := atLeast(fs, 0, "workers"); err != nil {
				return err
			}
			return e.probe(ctx, f)
		},
	}
}

func (e *env) probe(ctx context.Context, f *probeFlags) error {
	m, err := loadBackbone(f.from)
	if err != nil {
		return err
	}
	parts, err := data.FindSplits(f.data, m.BackboneConfig().Inputs)
	if err != nil {
		return err
	}
	if parts.Train == "" || parts.Val == "" {
		return fmt.Errorf("%s has no train and val folders; put the images into %s and %s", quote(f.data),
			filepath.Join(f.data, "train", "rgb", "CLASS"), filepath.Join(f.data, "val", "rgb", "CLASS"))
	}
	x := &probe.Extractor{Model: m, Cache: f.cache}
	if x.Inputs, err = f.modalities(m.BackboneConfig(), parts.Train); err != nil {
		return err
	}
	if x.Cache == "" {
		if dir, err := os.UserCacheDir(); err == nil {
			x.Cache = filepath.Join(dir, "gomae", "features")
		}
	}
	train, err := openListed(parts.Train, x.Inputs)
	if err != nil {
		return err
	}
	val, err := openListed(parts.Val, x.Inputs)
	if err != nil {
		return err
	}
	x.Pool = tensor.NewPool(f.workers)
	defer x.Pool.Close()
	bar := e.bar(train.Len(), "images")
	x.Progress = func(done, all int) {
		bar.ChangeMax(all)
		bar.Set(done)
	}
	x.Warn = func(err error) { bar.Clear(); e.logf("%v", err) }
	r, err := x.Run(ctx, train, val)
	bar.Clear()
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted; run the command again, which uses the features that are complete")
		}
		return err
	}
	names := multimae.Inputs(x.Inputs).Names()
	if f.json {
		return e.writeJSON(struct {
			Metrics *probe.Result `json:"metrics"`
			Inputs  []string      `json:"inputs"`
			Classes int           `json:"classes"`
			Train   int           `json:"train_images"`
			Val     int           `json:"val_images"`
			L2      float64       `json:"l2"`
		}{r, names, len(r.Classes), r.Train, r.Val, r.L2})
	}
	fmt.Fprintf(e.stdout, `%d classes, %d images to learn from, %d to judge, seen as %s
                     top-1    top-5
linear classifier  %5.1f %%  %5.1f %%
%d neighbours      %5.1f %%  %5.1f %%
`, len(r.Classes), r.Train, r.Val, strings.Join(names, " and "), r.LinearTop1, r.LinearTop5, probe.Neighbours, r.KNNTop1, r.KNNTop5)
	return nil
}

// modalities returns the inputs to show the encoder.
func (f *probeFlags) modalities(c *multimae.BackboneConfig, dir string) (inputs []multimae.Input, err error) {
	if f.inputs != "" {
		return chooseInputs(c, f.inputs)
	}
	for _, in := range c.Inputs {
		if isFolder(filepath.Join(dir, in.Name)) {
			inputs = append(inputs, in)
		}
	}
	if len(inputs) == 0 {
		return nil, fmt.Errorf("%s has no folder of a modality that the model knows; it knows %s", quote(dir), strings.Join(c.Inputs.Names(), ", "))
	}
	return inputs, nil
}

// chooseInputs returns the inputs of a model that a comma-separated list names, in the model's order.
func chooseInputs(c *multimae.BackboneConfig, list string) (inputs []multimae.Input, err error) {
	words := strings.Split(list, ",")
	for i, word := range words {
		switch {
		case c.Input(word) == nil:
			return nil, usagef("-inputs %s: the model has no input %q; it has %s", list, word, strings.Join(c.Inputs.Names(), ", "))
		case slices.Contains(words[:i], word):
			return nil, usagef("-inputs %s: %s is listed twice", list, word)
		}
	}
	for _, in := range c.Inputs {
		if slices.Contains(words, in.Name) {
			inputs = append(inputs, in)
		}
	}
	return inputs, nil
}

// loadBackbone reads the model of a folder, pre-trained or fine-tuned.
func loadBackbone(dir string) (*multimae.Backbone, error) {
	if _, err := heads.LoadConfig(folder(dir), multimae.ConfigFile); err == nil {
		m, err := heads.LoadDir(dir)
		if err != nil {
			return nil, err
		}
		return m.Backbone, nil
	}
	m, err := openModel(dir)
	if err != nil {
		return nil, err
	}
	return m.Backbone, nil
}

// openListed opens a folder of images.
func openListed(dir string, inputs []multimae.Input) (data.Listed, error) {
	ds, err := data.OpenFolder(dir, inputs)
	if err != nil {
		return nil, err
	}
	return ds.(data.Listed), nil
}
