package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
)

// finetuneFlags are the flags of finetune.
type finetuneFlags struct {
	runFlags
	task, head, config, preset string
	inputs, target             string
	classes, size, samples     int
	unit                       float64
	invalid, ignore            *numberList
	freeze                     bool
}

func finetuneCommand(e *env) *command {
	f := new(finetuneFlags)
	fs := newFlags()
	fs.StringVar(&f.task, "task", "", "learn `TASK`: "+strings.Join(heads.Tasks, ", "))
	fs.StringVar(&f.from, "from", "", "start from the pre-trained model `DIR`, or a file of weights; without it, from scratch; "+builtinUsage)
	fs.StringVar(&f.inputs, "inputs", "", "show the model the modalities of `LIST`, such as rgb,depth; none means all that both model and data have")
	fs.StringVar(&f.head, "head", "", "put the head `NAME` on the encoder: "+strings.Join(heads.Heads, ", ")+"; none means that of the paper for the task")
	fs.StringVar(&f.data, "data", scenesData, "train on the dataset folder `DIR`, or on rendered "+scenesUsage)
	f.add(fs, "finetuned")
	fs.StringVar(&f.config, "config", "", "take model and recipe from `FILE`, a config.json, instead of -task")
	fs.StringVar(&f.preset, "preset", "tiny", "train the encoder of `NAME`, which takes from -from what fits: "+strings.Join(multimae.PresetNames, ", ")+"; with -from, left out means the encoder of that model")
	fs.IntVar(&f.size, "size", 0, "train on images of `N`×N pixels; 0 means as the encoder was trained")
	fs.StringVar(&f.target, "target", "", "take the truth from the modality `NAME` of the data; none means semseg or depth, as the task")
	fs.IntVar(&f.classes, "classes", 0, "with -task semseg, the truth in a dataset folder has ids below `N`, at most 254; 0 means as many as the maps have, those for validation too, which are all read for that")
	fs.Float64Var(&f.unit, "unit", 0, "a stored depth of 1 stands for `X` units, such as 0.001 for metres stored in mm; 0 means that depth is relative")
	f.invalid = depthInvalidFlag(fs)
	f.ignore = new(numberList)
	fs.Var(f.ignore, "ignore", "leave out pixels of semseg whose id is one of `LIST`, beside 255")
	fs.IntVar(&f.samples, "samples", 0, "train on `N` samples, spread over the data; 0 means all of a folder, or 1024 rendered scenes")
	fs.BoolVar(&f.freeze, "freeze", false, "train the head alone, without drop-path in the encoder")
	return &command{
		name:  "gomae finetune",
		usage: "gomae finetune -task TASK [flags]",
		short: "fine-tune a model for segmentation, depth or classification",
		about: `Puts a head on the encoder of a pre-trained model and trains both on a dataset
folder with truth: DIR/semseg for segmentation, DIR/depth for depth, and the
folders CLASS of DIR/rgb/CLASS/x.jpg for classification. Any inputs can be shown to
the model, and those that it was not pre-trained with get a fresh adapter. The
folder of the run is a model folder for "gomae eval", with the best model of all
validations in DIR/best.

Ctrl-C saves the run, and -resume goes on with it to the same bits, as in "gomae
pretrain".`,
		examples: []string{
			"gomae finetune -task semseg -from out -inputs rgb,depth -out segmentation",
			"gomae finetune -task depth -from out -data set -unit 0.001 -depth-invalid 0,65535",
			"gomae finetune -task classify -from out -data flowers -out flowers-model",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if err := exactly(args); err != nil {
				return err
			}
			f.given = given(fs)
			return e.together(&f.runFlags, func() error { return e.finetune(ctx, f) })
		},
	}
}

func (e *env) finetune(ctx context.Context, f *finetuneFlags) error {
	c, resumed, err := f.configuration(e)
	if err != nil {
		return err
	}
	configFile := ""
	if resumed {
		configFile = filepath.Join(f.out, multimae.ConfigFile)
	} else if f.resume {
		e.logf("there is no run in %s: starting one", quote(f.out))
	}
	trainSet, val, err := train.FinetuneData(c, f.skip(e)...)
	if err != nil {
		return noFolder(err, c.Train.Data, configFile)
	}
	m, err := heads.NewModel(c)
	if err != nil {
		return err
	}
	if !resumed {
		o := &c.Outputs[0]
		what := "1 value a pixel"
		if o.Loss == heads.LossCrossEntropy {
			what = fmt.Sprintf("%d classes", o.NumClasses)
		}
		e.logf("%s from %s: head %s, %s, truth in %q, %d parameters", taskOf(c), strings.Join(c.Inputs.Names(), ", "), o.Head, what,
			o.TargetName(), m.Params.Count())
	}
	r, err := e.runTraining(ctx, &f.runFlags, "finetune", train.Options{
		Objective: train.NewFinetuning(m), Init: e.startFrom(m.Backbone, c.Train.From, c.Train.Seed, configFile), Train: trainSet, Val: val, Resume: resumed,
	})
	if err != nil {
		return err
	}
	if f.json {
		return e.writeJSON(struct {
			Metrics map[string]float64 `json:"metrics"`
			Samples int                `json:"samples"`
			Loss    float64            `json:"loss"`
		}{metricsJSON(r.Evaluation.Metrics), r.Evaluation.Samples, r.Evaluation.Loss})
	}
	e.writeMetrics(r.Evaluation)
	return nil
}

// writeMetrics prints the metrics of a fine-tuned model as a table.
func (e *env) writeMetrics(v *train.Evaluation) {
	fmt.Fprintf(e.stdout, "%s held out:\n\n", count(v.Samples, "sample"))
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "output\tmetric\tvalue\t")
	for _, m := range v.Metrics {
		fmt.Fprintf(w, "%s\t%s\t%.4g\t\n", m.Output, m.Name, m.Value)
	}
	w.Flush()
}

// configuration returns the configuration of the run, and whether it is one to resume.
func (f *finetuneFlags) configuration(e *env) (c *heads.Config, resumed bool, err error) {
	if err := f.check(); err != nil {
		return nil, false, err
	}
	if err := atLeast(f.flags, 0, "classes", "size", "samples"); err != nil {
		return nil, false, err
	}
	if f.resume {
		c, err = train.LoadFinetuneRun(f.out)
		if err == nil {
			return c, true, f.agree(c)
		}
		if !errors.Is(err, train.ErrNoRun) {
			return nil, false, err
		}
	}
	if f.config != "" {
		for _, name := range []string{"task", "preset", "inputs", "head", "target", "classes", "size", "unit", "depth-invalid", "ignore"} {
			if f.given[name] {
				return nil, false, usagef("-config gives the whole model and its task; leave out -%s", name)
			}
		}
		c, err = f.fileConfiguration()
	} else {
		c, err = f.taskConfiguration(e)
	}
	if err != nil {
		return nil, false, err
	}
	return c, false, c.Check()
}

// agree returns an error for the first flag on the command line that contradicts the run in -out.
func (f *finetuneFlags) agree(run *heads.Config) error {
	if err := f.agreeRecipe(&run.Train.Recipe); err != nil {
		return err
	}
	o := &run.Outputs[0]
	var invalid, ignore numberList
	if in := run.Input("depth"); in != nil {
		invalid = in.Invalid
	}
	switch o.Name {
	case heads.TaskDepth:
		invalid = o.Invalid
	case heads.TaskSemseg:
		ignore = o.Invalid
	}
	var noUnit any // relative depth, but of rendered scenes it is not given
	if run.Train.Data == scenesData {
		noUnit = 0.0
	}
	for _, x := range []struct {
		flag       string
		asked, has any
		unset      any // stands for what the run has
	}{
		{"task", f.task, taskOf(run), ""}, {"inputs", strings.ReplaceAll(f.inputs, " ", ""), strings.Join(run.Inputs.Names(), ","), ""},
		{"head", f.head, o.Head, ""}, {"target", f.target, o.TargetName(), ""}, {"classes", f.classes, o.NumClasses, 0},
		{"size", f.size, run.ImageSize, 0}, {"ignore", f.ignore.String(), ignore.String(), nil}, {"unit", f.unit, o.Unit, noUnit},
		{"depth-invalid", f.invalid.String(), invalid.String(), nil},
		{"samples", f.samples, run.Train.Samples, 0}, {"freeze", f.freeze, run.Train.Freeze, nil},
	} {
		if f.given[x.flag] && x.asked != x.has && x.asked != x.unset {
			return f.contradicts(x.flag, x.asked, cmp.Or(fmt.Sprint(x.has), "none"))
		}
	}
	if f.given["preset"] {
		if err := f.agreePreset(&run.BackboneConfig); err != nil {
			return err
		}
	}
	if f.config != "" {
		asked, err := f.fileConfiguration()
		if err != nil {
			return err
		}
		if key, x, y := strictjson.Difference(asked.JSON(), run.JSON()); key != "" {
			return f.contradicts("config", f.config+" with "+key+" "+x, key+" "+y)
		}
	}
	return nil
}

// agreePreset returns an error unless the encoder of -preset is that of the run. What else a preset says,
// the task and other flags may have changed.
func (f *finetuneFlags) agreePreset(run *multimae.BackboneConfig) error {
	same := func(name string) (bool, error) {
		c, err := preset(name, len(scenes.Classes))
		if err != nil {
			return false, err
		}
		c.Encoder.DropPath, c.Encoder.ZeroInitResidual = run.Encoder.DropPath, run.Encoder.ZeroInitResidual
		return c.Encoder == run.Encoder && c.PatchSize == run.PatchSize, nil
	}
	if ok, err := same(f.preset); ok || err != nil {
		return err
	}
	has := "the encoder of no preset"
	for _, name := range multimae.PresetNames {
		if ok, _ := same(name); ok {
			has = "preset " + name
		}
	}
	return f.contradicts("preset", f.preset, has)
}

// taskOf returns the task of a fine-tuned model.
func taskOf(c *heads.Config) string {
	if o := &c.Outputs[0]; o.Head != heads.Linear {
		return o.Name
	}
	return heads.TaskClassify
}

// fileConfiguration returns what -config and the flags of a recipe ask for.
func (f *finetuneFlags) fileConfiguration() (*heads.Config, error) {
	c, err := readRun(f.config, heads.ParseConfig, func(c *heads.Config) *multimae.Recipe { return &c.Train.Recipe })
	if err != nil {
		return nil, err
	}
	c.Case = nil
	return c, f.setTrain(c)
}

// setTrain changes what flags say about training.
func (f *finetuneFlags) setTrain(c *heads.Config) error {
	t := &c.Train
	fresh := f.config == ""
	if err := f.setRecipe(&t.Recipe, fresh); err != nil {
		return err
	}
	if fresh && f.steps > 0 { // a short run is validated and saved four times, as that of the recipe is
		quarter := max(1, t.Steps/4)
		t.ValEvery, t.SaveEvery = min(t.ValEvery, quarter), min(t.SaveEvery, quarter)
	}
	if f.samples > 0 {
		t.Samples = f.samples
	}
	if f.freeze {
		c.FreezeEncoder()
	}
	return nil
}

// taskConfiguration returns what -task, -from and the other flags ask for.
func (f *finetuneFlags) taskConfiguration(e *env) (*heads.Config, error) {
	if f.task == "" {
		return nil, usagef("-task: give one of %s", strings.Join(heads.Tasks, ", "))
	}
	if !slices.Contains(heads.Tasks, f.task) {
		return nil, usagef("-task %s: want one of %s", f.task, strings.Join(heads.Tasks, ", "))
	}
	if f.head != "" && !slices.Contains(heads.Heads, f.head) {
		return nil, usagef("-head %s: want one of %s", f.head, strings.Join(heads.Heads, ", "))
	}
	switch {
	case f.target != "" && f.task == heads.TaskClassify:
		return nil, usagef("-target %s: -task classify learns the folders CLASS; leave the flag out", f.target)
	case f.classes > 0 && f.task != heads.TaskSemseg:
		return nil, usagef("-classes %d: only -task semseg has ids", f.classes)
	case f.classes == 1:
		return nil, usagef("-classes 1: segmentation needs two or more")
	case f.classes > 0 && f.data == scenesData && f.classes != len(scenes.Classes):
		return nil, usagef("-classes %d: rendered scenes have %d; leave the flag out", f.classes, len(scenes.Classes))
	}
	if f.data != scenesData {
		if _, err := os.Stat(f.data); err != nil {
			return nil, noFolder(err, f.data, "")
		}
	}
	b, err := f.backbone(e)
	if err != nil {
		return nil, err
	}
	target := f.target
	if target == "" {
		target = f.task
	}
	if f.task == heads.TaskClassify {
		target = heads.ClassTarget
	}
	if f.data != scenesData && target != heads.ClassTarget && !hasModality(f.data, target) {
		return nil, fmt.Errorf("%s has no folder %s with the truth to learn; put it there, or name another folder with -target", quote(f.data), target)
	}
	invalid := f.depthInvalid(b)
	if err := f.setInputs(b, target); err != nil {
		return nil, err
	}
	if f.size > 0 {
		b.ImageSize = f.size
	}
	classes, names, err := f.classNames(e, b, target)
	if err != nil {
		return nil, err
	}
	c, err := heads.NewConfig(f.task, f.head, *b, classes)
	if err != nil {
		return nil, err
	}
	o := &c.Outputs[0]
	o.Classes = names
	if target != o.TargetName() {
		o.Target = target
	}
	if depth := c.Input("depth"); depth != nil {
		depth.Invalid = invalid
	} else if f.given["depth-invalid"] && f.task != heads.TaskDepth {
		return nil, usagef("-depth-invalid %v: depth is neither among the inputs nor the task", f.invalid)
	}
	if f.task == heads.TaskDepth {
		if o.Unit, o.Invalid = f.unit, invalid; f.data == scenesData {
			if f.unit != 0 && f.unit != scenes.DepthUnit {
				return nil, usagef("-unit %g: that of rendered scenes is %g; leave the flag out", f.unit, scenes.DepthUnit)
			}
			o.Unit = scenes.DepthUnit
		}
	} else if f.unit != 0 {
		return nil, usagef("-unit %g: only -task depth has a unit", f.unit)
	}
	if f.task == heads.TaskSemseg {
		o.Invalid = *f.ignore
	} else if len(*f.ignore) > 0 {
		return nil, usagef("-ignore %v: only -task semseg has ids", f.ignore)
	}
	return c, f.setTrain(c)
}

// depthInvalid returns the stored values of depth that are no measurements: those of -depth-invalid, or
// those that the model was pre-trained without.
func (f *finetuneFlags) depthInvalid(b *multimae.BackboneConfig) []float64 {
	if depth := b.Input("depth"); depth != nil && !f.given["depth-invalid"] {
		return depth.Invalid
	}
	return *f.invalid
}

// backbone returns the configuration of the model of -from, or of -preset.
func (f *finetuneFlags) backbone(e *env) (*multimae.BackboneConfig, error) {
	classes, err := train.SemanticClasses(f.data)
	if err != nil {
		return nil, err
	}
	if f.from == "" || f.given["preset"] {
		c, err := preset(f.preset, classes)
		if err != nil {
			return nil, err
		}
		return &c.BackboneConfig, nil
	}
	if fine, err := heads.LoadConfig(folder(f.from), multimae.ConfigFile); err == nil {
		return &fine.BackboneConfig, nil
	}
	c, assumed, err := modelOf(f.from, classes)
	if err != nil {
		return nil, err
	}
	if assumed != "" {
		e.logf("the weights do not show everything: assumed %s; a -config can say otherwise", assumed)
	}
	return &c.BackboneConfig, nil
}

// setInputs keeps the inputs that -inputs lists, or that both model and data have.
func (f *finetuneFlags) setInputs(b *multimae.BackboneConfig, target string) error {
	var names []string
	if f.inputs != "" {
		for _, name := range strings.Split(f.inputs, ",") {
			names = append(names, strings.TrimSpace(name))
		}
	} else {
		for _, name := range b.Inputs.Names() {
			if name != target && (f.data == scenesData || hasModality(f.data, name)) {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			return fmt.Errorf("%s has no folder of a modality that the model can be shown: %s", quote(f.data), strings.Join(b.Inputs.Names(), ", "))
		}
	}
	classes, err := train.SemanticClasses(f.data)
	if err != nil {
		return err
	}
	if err := heads.SetInputs(b, names, classes); err != nil {
		return usagef("-%w", err)
	}
	return nil
}

// hasModality reports whether a dataset folder, or its part for training, has a folder of that name.
func hasModality(dir, name string) bool {
	s, err := data.FindSplits(dir, nil)
	if err == nil && s.Train != "" {
		dir = s.Train
	}
	return isFolder(filepath.Join(dir, name))
}

// classNames returns the number of classes of the truth and, where they are known, their names.
func (f *finetuneFlags) classNames(e *env, b *multimae.BackboneConfig, target string) (n int, names []string, err error) {
	switch {
	case f.task == heads.TaskDepth:
		return 1, nil, nil
	case f.data == scenesData:
		return len(scenes.Classes), scenes.Classes, nil
	case f.task == heads.TaskClassify:
		ds, _, err := data.OpenSplit(f.data, b.Inputs, f.skipSilently()...)
		if err != nil {
			return 0, nil, noFolder(err, f.data, "")
		}
		if names, err = data.Classes(ds.(data.Named)); err == nil && len(names) < 2 {
			err = fmt.Errorf("%s has %d folder CLASS; a classifier needs two or more", quote(f.data), len(names))
		}
		return len(names), names, err
	case f.classes > 0 && !f.skipBad: // then a sample with another id is an error when it is read, and not left out
		return f.classes, nil, nil
	}
	e.logf("looking for the classes of %s", target)
	if n, err = data.CountClasses(f.data, target, *f.ignore, f.skipSilently()...); err != nil {
		return 0, nil, noFolder(err, f.data, "")
	}
	if f.classes > 0 && n > f.classes {
		return 0, nil, fmt.Errorf("-classes %d: %s has ids up to %d; raise it to %d, or leave ids out with -ignore", f.classes, quote(f.data), n-1, n)
	}
	return max(n, f.classes), nil, nil
}
