package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
)

// scenesData is the value of -data for rendered scenes.
const scenesData = train.ScenesData

// scenesUsage says so in the usage of a flag.
const scenesUsage = "scenes (\"scenes\"; ./scenes for a folder of that name)"

// configuration returns the configuration of the run, and whether it is one to resume: with -resume
// that of the run in -out, if there is one, otherwise what the flags ask for.
func (f *pretrainFlags) configuration() (c *multimae.Config, resumed bool, err error) {
	if err := f.check(); err != nil {
		return nil, false, err
	}
	if err := atLeast(f.flags, 0, "classes"); err != nil {
		return nil, false, err
	}
	if f.config != "" && (f.given["preset"] || f.given["classes"]) {
		return nil, false, usagef("-config gives the whole model; leave out -preset and -classes")
	}
	if f.resume {
		c, err = train.LoadRun(f.out)
		if err == nil {
			return c, true, f.agree(c)
		}
		if !errors.Is(err, train.ErrNoRun) {
			return nil, false, err
		}
	}
	c, err = f.newConfiguration()
	return c, false, err
}

// newConfiguration returns what the flags ask for.
func (f *pretrainFlags) newConfiguration() (c *multimae.Config, err error) {
	if f.config != "" {
		if c, err = readRun(f.config, multimae.ParseConfig, func(c *multimae.Config) *multimae.Recipe { return &c.Train.Recipe }); err != nil {
			return nil, err
		}
		c.Case = nil
	} else if classes, err := f.knownClasses(); err != nil {
		return nil, err
	} else if f.from != "" && !f.given["preset"] {
		if c, f.assumed, err = modelOf(f.from, classes); err != nil {
			return nil, err
		}
	} else if c, err = preset(f.preset, classes); err != nil {
		return nil, err
	}
	if err := f.selectInputs(c); err != nil {
		return nil, err
	}
	if err := f.agreeClasses(c); err != nil {
		return nil, err
	}
	if err := f.depthInvalid.set(c.Inputs); err != nil {
		return nil, err
	}
	if err := f.setRecipe(&c.Train.Recipe, f.config == ""); err != nil {
		return nil, err
	}
	return c, c.Check()
}

// selectInputs leaves only the modalities that -inputs lists.
func (f *pretrainFlags) selectInputs(c *multimae.Config) error {
	if f.inputs == "" {
		return nil
	}
	names := strings.Split(f.inputs, ",")
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return usagef("-inputs %s: %s is listed twice", f.inputs, name)
		}
	}
	if err := c.Select(names); err != nil {
		return usagef("-inputs %s: %v", f.inputs, err)
	}
	return nil
}

// knownClasses returns the number of classes of semantic maps.
func (f *pretrainFlags) knownClasses() (int, error) {
	if f.classes > 0 {
		return f.classes, nil
	}
	return train.SemanticClasses(f.data)
}

// agreeClasses returns an error if -classes gives semantic maps another number of classes than the
// model has, which is that of -from or has none of them.
func (f *pretrainFlags) agreeClasses(c *multimae.Config) error {
	switch semseg := c.Input("semseg"); {
	case f.classes == 0:
		return nil
	case semseg == nil:
		return usagef("-classes %d: semseg is not among the inputs; leave the flag out", f.classes)
	case semseg.NumClasses != f.classes:
		return usagef("-classes %d: the semantic maps of %s have %d; leave the flag out, or choose another model with -preset", f.classes, quote(f.from), semseg.NumClasses)
	}
	return nil
}

// preset returns the configuration of -preset.
func preset(name string, classes int) (*multimae.Config, error) {
	c, err := multimae.Preset(name, classes)
	if err != nil {
		return nil, usagef("-preset %s: %v", name, err)
	}
	return c, nil
}

// readRun reads the file of -config, which says how to train. The model is that of parse.
func readRun[C any](file string, parse func([]byte) (*C, error), recipe func(*C) *multimae.Recipe) (*C, error) {
	b, err := regular.ReadFile(file, regular.ConfigLimit)
	if err != nil {
		return nil, err
	}
	c, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if recipe(c).Steps < 1 {
		return nil, fmt.Errorf("%s: has no \"train\" and so does not say how to train; see the config.json of a run", file)
	}
	return c, nil
}

// setRecipe changes what flags say about a recipe. fresh says that it is no one's yet, so that the
// seed is that of the flag even if the flag was not given. Paths become absolute, because a run may
// be resumed from another folder; those in a file are relative to the current folder, as flags are.
func (f *runFlags) setRecipe(t *multimae.Recipe, fresh bool) (err error) {
	if f.steps > 0 {
		setSteps(t, f.steps)
	}
	if f.batch > 0 {
		t.Batch = f.batch
	}
	if f.given["seed"] || fresh {
		t.Seed = f.seed
	}
	if f.given["data"] || t.Data == "" {
		t.Data = f.data
	}
	if t.Data, err = dataPath(t.Data); err != nil {
		return err
	}
	if t.From = cmp.Or(f.from, t.From); t.From != "" {
		t.From, err = absolute(t.From)
	}
	return err
}

// setSteps changes the number of steps. The warm-up keeps its share of the run.
func setSteps(t *multimae.Recipe, steps int) {
	t.WarmupSteps = t.WarmupSteps * steps / t.Steps
	t.Steps = steps
}

// dataPath returns train.data for a value of -data.
func dataPath(data string) (string, error) {
	if data == scenesData {
		return data, nil
	}
	return filepath.Abs(data)
}

// agree returns an error for the first flag on the command line that contradicts the run in -out.
func (f *pretrainFlags) agree(run *multimae.Config) error {
	if err := f.agreeRecipe(&run.Train.Recipe); err != nil {
		return err
	}
	contradicts := f.contradicts
	if f.given["inputs"] && f.inputs != "" {
		names := strings.Split(f.inputs, ",")
		has := run.Inputs.Names()
		slices.Sort(names)
		if sorted := slices.Sorted(slices.Values(has)); !slices.Equal(names, sorted) {
			return contradicts("inputs", f.inputs, strings.Join(has, ","))
		}
	}
	if depth := run.Input("depth"); f.given["depth-invalid"] && (depth == nil || !slices.Equal(depth.Invalid, *f.depthInvalid)) {
		has := "no depth"
		if depth != nil {
			has = fmt.Sprintf("%q", (*numberList)(&depth.Invalid).String())
		}
		return contradicts("depth-invalid", f.depthInvalid, has)
	}
	semseg := run.Input("semseg")
	if f.given["classes"] && f.classes > 0 && (semseg == nil || semseg.NumClasses != f.classes) {
		has := "no semantic maps"
		if semseg != nil {
			has = fmt.Sprint(semseg.NumClasses)
		}
		return contradicts("classes", f.classes, has)
	}
	if f.config != "" {
		asked, err := f.newConfiguration()
		if err != nil {
			return err
		}
		if key, x, y := strictjson.Difference(asked.JSON(), run.JSON()); key != "" {
			return contradicts("config", f.config+" with "+key+" "+x, key+" "+y)
		}
	}
	if f.given["preset"] {
		key, x, y, err := f.presetDifference(run)
		if err != nil || key == "" {
			return err
		}
		has := key + " " + y + " and not " + x
		for _, name := range multimae.PresetNames {
			other := *f
			other.preset = name
			if key, _, _, err := other.presetDifference(run); err == nil && key == "" {
				has = "preset " + name
			}
		}
		return contradicts("preset", f.preset, has)
	}
	return nil
}

// presetDifference returns the first key in which the run differs from -preset, with both values.
// What has a flag of its own is not compared.
func (f *pretrainFlags) presetDifference(run *multimae.Config) (key, asked, has string, err error) {
	classes := len(scenes.Classes)
	if semseg := run.Input("semseg"); semseg != nil {
		classes = semseg.NumClasses
	}
	c, err := preset(f.preset, classes)
	if err != nil {
		return "", "", "", err
	}
	if names := run.Inputs.Names(); !slices.ContainsFunc(names, func(name string) bool { return c.Input(name) == nil }) {
		if err := c.Select(names); err != nil {
			return "", "", "", err
		}
	}
	setSteps(&c.Train.Recipe, run.Train.Steps)
	c.Train.Batch, c.Train.Seed, c.Train.Data, c.Train.From = run.Train.Batch, run.Train.Seed, run.Train.Data, run.Train.From
	if from, to := run.Input("depth"), c.Input("depth"); from != nil && to != nil {
		to.Invalid = from.Invalid
	}
	key, asked, has = strictjson.Difference(c.JSON(), run.JSON())
	return key, asked, has, nil
}

// datasets opens what a configuration trains on. configFile is that of the run if it is resumed,
// otherwise "".
func datasets(c *multimae.Config, configFile string, skip ...data.Skip) (trainSet, val data.Dataset, err error) {
	trainSet, val, err = train.PretrainData(c, skip...)
	return trainSet, val, noFolder(err, c.Train.Data, configFile)
}

// noFolder adds a remedy to an error of opening the data of a run, where there is no such folder.
func noFolder(err error, dir, configFile string) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	remedy := "give one with -data"
	if configFile != "" {
		remedy = "put the right path into " + quote(configFile)
	}
	return fmt.Errorf("train.data: there is no folder %s; %s", quote(dir), remedy)
}
