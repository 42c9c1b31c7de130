package train

import (
	"fmt"
	"slices"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/evaluate"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
)

// ScenesData is the value of train.data for rendered scenes.
const ScenesData = "scenes"

// Numbers of rendered scenes. No number is used for two purposes, whatever the seed. Pre-training is
// validated with the first of scenes.HeldOut. The folders that gomae render writes begin with number
// 0, too.
const (
	pretrainScenes = 0 // and up
	labelledScenes = scenes.HeldOut + scenes.HeldOutLen
	labelledHeld   = labelledScenes + maxLabelled
	testScenes     = labelledHeld + 100_000_000

	maxLabelled = 100_000_000 // of train.samples
)

// The numbers of scenes to train on and held out. Every epoch of pre-training has the same scenes in
// another order.
const (
	epochScenes    = 1 << 16
	heldScenes     = 256
	fewScenes      = 1024 // of fine-tuning, unless train.samples says otherwise
	heldForTesting = 512
)

// sceneSize returns the side at which scenes are rendered for a recipe: larger than the model's, so
// that most crops are not enlarged.
func sceneSize(size int, r *multimae.Recipe) int {
	if len(r.CropScale) > 0 {
		size += size / 4
	}
	return size
}

// SemanticClasses returns the number of classes of the semantic maps of a dataset folder, as
// data.SemanticClasses does, or of ScenesData.
func SemanticClasses(source string) (int, error) {
	if source == "" || source == ScenesData {
		return len(scenes.Classes), nil
	}
	n, _, err := data.SemanticClasses(source)
	return n, err
}

// PretrainData opens what a configuration trains on and validates with. skip is as in
// data.OpenFolder.
func PretrainData(c *multimae.Config, skip ...data.Skip) (train, val data.Dataset, err error) {
	if dir := c.Train.Data; dir != "" && dir != ScenesData {
		return data.OpenSplit(dir, c.Inputs, skip...)
	}
	if err := scenes.Check(c.Inputs); err != nil {
		return nil, nil, fmt.Errorf("inputs.%w", err)
	}
	size, seed := sceneSize(c.ImageSize, &c.Train.Recipe), c.Train.Seed
	return scenes.New(pretrainScenes, epochScenes, size, seed), scenes.New(scenes.HeldOut, heldScenes, size, seed), nil
}

// FinetuneData is PretrainData for a model with heads. A folder has the modalities of inputs and
// targets; labels of whole images are the folders CLASS. The samples to train on are train.samples.
// It is an error if no sample to train on, or none held out, has a truth.
func FinetuneData(c *heads.Config, skip ...data.Skip) (train, val data.Dataset, err error) {
	inputs, labels := modalities(c)
	if dir := c.Train.Data; dir != "" && dir != ScenesData {
		if train, val, err = data.OpenSplit(dir, inputs, skip...); err != nil {
			return nil, nil, err
		}
		train = few(train, c.Train.Samples)
		for _, ds := range []data.Dataset{train, val} {
			if err := evaluate.CheckTruth(c, ds); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", dir, err)
			}
		}
	} else {
		if labels != nil {
			return nil, nil, fmt.Errorf("outputs: rendered scenes have no class of their own; train on a dataset folder with CLASS folders")
		}
		if err := scenes.Check(inputs); err != nil {
			return nil, nil, err
		}
		n := c.Train.Samples
		if n == 0 {
			n = fewScenes
		}
		if n > maxLabelled {
			return nil, nil, fmt.Errorf("train.samples: got %d, but there are only %d rendered scenes to fine-tune on; take fewer", n, maxLabelled)
		}
		size := sceneSize(c.ImageSize, &c.Train.Recipe)
		train, val = scenes.New(labelledScenes, n, size, c.Train.Seed), scenes.New(labelledHeld, heldScenes, c.ImageSize, 0)
	}
	return withLabels(train, labels), withLabels(val, labels), nil
}

// TestData opens what a fine-tuned model is evaluated on: the part of a dataset folder of that name, or
// without a name, as data.OpenPart does, or scenes on which nothing trains.
func TestData(c *heads.Config, source, split string) (data.Dataset, error) {
	inputs, labels := modalities(c)
	if source == ScenesData {
		if err := scenes.Check(inputs); err != nil {
			return nil, err
		}
		return scenes.New(testScenes, heldForTesting, c.ImageSize, 0), nil
	}
	ds, err := data.OpenPart(source, split, inputs)
	if err != nil {
		return nil, err
	}
	return withLabels(ds, labels), nil
}

// modalities returns what a dataset folder must have for a model, and the classes of whole images
// if an output has them.
func modalities(c *heads.Config) (inputs []multimae.Input, labels []string) {
	inputs = slices.Clone(c.Inputs)
	for _, in := range c.TargetInputs() {
		if in.Name != heads.ClassTarget {
			inputs = append(inputs, in)
		}
	}
	for i := range c.Outputs {
		if o := &c.Outputs[i]; o.Head == heads.Linear {
			labels = o.Classes
		}
	}
	return inputs, labels
}

func withLabels(ds data.Dataset, classes []string) data.Dataset {
	if classes == nil {
		return ds
	}
	return data.Labelled(ds, heads.ClassTarget, classes)
}
