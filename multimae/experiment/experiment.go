package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/evaluate"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
)

// Experiment is a table: a row for each way to pre-train, a column for each way to fine-tune.
type Experiment struct {
	Name         string
	About        string // what it asks, in a sentence
	Pretrainings []Pretraining
	Columns      []Column
}

// Pretraining is a way to pre-train.
type Pretraining struct {
	Name  string // of the row
	Model string // of the folder of the run: the same where Change comes to the same
	// Change turns the configuration of a MultiMAE on RGB, depth and semantic maps into this one;
	// nil stands for no pre-training.
	Change func(c *multimae.Config)
	Maps   Maps
}

// Maps says which depth and class maps a model is pre-trained with.
type Maps int

const (
	AsTheyAre Maps = iota
	// Labelled are those that models predict from colour: pre-trained as plain MAE, and fine-tuned on the
	// labelled samples of the experiment, one for each truth that these have.
	Labelled
	// Spoilt are coarse, and wrong in many places.
	Spoilt
)

// Column is a task with the inputs that the fine-tuned model is shown.
type Column struct {
	Inputs []string
	Task   string // a Task constant of package heads
}

// metric returns the main metric of the column's task.
func (c *Column) metric() string {
	if c.Task == heads.TaskDepth {
		return evaluate.Delta1
	}
	return evaluate.MIoU
}

// Settings are what a run of an experiment may vary, the same for every row.
type Settings struct {
	Experiment string `json:"experiment"`
	Preset     string `json:"preset"`   // architecture, as multimae.Preset knows it
	Data       string `json:"data"`     // to pre-train on: train.ScenesData or a dataset folder
	Labelled   string `json:"labelled"` // to fine-tune and test on, likewise
	Target     string `json:"target"`   // modality of the folder Labelled that holds the classes; "" for semseg
	Classes    int    `json:"classes"`  // of its truth; 0 if it has none for segmentation. Scenes have their own
	// Ignore are the ids that stand for no class.
	Ignore []float64 `json:"ignore"`
	// DepthUnit is what a step of the folder's true depth stands for in metres; 0 if it has none.
	// DepthInvalid are the stored values of its depth, as truth and as input, that stand for no measurement;
	// if Data is the same folder, models are pre-trained without them, too.
	DepthUnit     float64   `json:"depth_unit"`
	DepthInvalid  []float64 `json:"depth_invalid"`
	Seeds         int       `json:"seeds"`          // from 0 on
	PretrainSteps int       `json:"pretrain_steps"` // of PretrainBatch samples
	PretrainBatch int       `json:"pretrain_batch"`
	Steps         int       `json:"steps"` // of fine-tuning
	Batch         int       `json:"batch"`
	Samples       int       `json:"samples"` // labelled samples to fine-tune on; 0 for all of a folder
}

// DefaultSettings are for two cores and an hour or so.
func DefaultSettings(name string) Settings {
	s := Settings{
		Experiment: name, Preset: "tiny", Data: train.ScenesData, Labelled: train.ScenesData, Seeds: 3,
		PretrainSteps: 5000, PretrainBatch: 16, Steps: 600, Batch: 16, Samples: 128,
	}
	if name == "transfer" { // fewer models than the others, so that each can be trained for longer
		s.PretrainSteps *= 2
	}
	return s
}

// Options say where and how an experiment is run.
type Options struct {
	Settings
	Dir string
	// Models is the folder of pre-trained models, which experiments may share; "" for pretrain in Dir.
	Models  string
	Workers int // goroutines that compute; 0 means GOMAXPROCS. The number does not change the results
	// About goes into results.json: the commit and the machine.
	Commit, Machine string
	// Log is told what is being done; nil for nobody. Step is called after each step of a run.
	Log  func(format string, args ...any)
	Step func(p *train.Progress)
}

// run is a Run in progress.
type run struct {
	Options
	experiment *Experiment
}

// Run does what is left of an experiment and returns the table. When ctx ends, what was done is kept,
// the error is that of ctx, and a later call goes on.
func Run(ctx context.Context, e *Experiment, o Options) (*Results, error) {
	e = e.On(&o.Settings)
	r := &run{o, e}
	if r.Log == nil {
		r.Log = func(string, ...any) {}
	}
	if r.Models == "" {
		r.Models = r.path("pretrain")
	}
	if len(e.Columns) == 0 {
		return nil, fmt.Errorf("experiment %s: nothing can be judged on %s: neither the number of its classes is given nor the unit of its depth", e.Name, r.Labelled)
	}
	if err := r.checkData(); err != nil {
		return nil, err
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	total, done := r.Seeds*len(e.Pretrainings)*len(e.Columns), 0
	for seed := range r.Seeds {
		for i := range e.Pretrainings {
			p := &e.Pretrainings[i]
			for k := range e.Columns {
				c := &e.Columns[k]
				done++
				if r.has(p, c, seed) {
					continue
				}
				if err := r.pretrain(ctx, p, seed); err != nil {
					return nil, err
				}
				r.Log("%d of %d: %s from %s, pre-training %s, seed %d", done, total, c.Task, strings.Join(c.Inputs, ", "), p.Name, seed)
				if err := r.finetune(ctx, p, c, seed); err != nil {
					return nil, err
				}
				if _, err := r.write(); err != nil {
					return nil, err
				}
			}
		}
	}
	return r.write()
}

// On returns the experiment as it is run on these data: with the columns for which the labelled ones have
// the truth. A folder's own maps have errors already, so that none are spoilt.
func (e *Experiment) On(s *Settings) *Experiment {
	x := *e
	if s.Labelled != train.ScenesData {
		x.Columns = slices.DeleteFunc(slices.Clone(e.Columns), func(c Column) bool { return !s.hasTruth(c.Task) })
	}
	if s.Data != train.ScenesData {
		x.Pretrainings = slices.DeleteFunc(slices.Clone(e.Pretrainings), func(p Pretraining) bool { return p.Maps == Spoilt })
		for i := range x.Pretrainings {
			if p := &x.Pretrainings[i]; p.Name == trueMaps {
				p.Name = "maps of the folder"
			}
		}
	}
	return &x
}

// hasTruth reports whether the labelled data have the truth of a task.
func (s *Settings) hasTruth(task string) bool {
	switch {
	case s.Labelled == train.ScenesData:
		return true
	case task == heads.TaskDepth:
		return s.DepthUnit > 0
	}
	return s.Classes > 0
}

// classes returns the number of classes of the truth.
func (s *Settings) classes() int {
	if s.Labelled == train.ScenesData {
		return len(scenes.Classes)
	}
	return s.Classes
}

// checkData opens the data of each row that is still to be pre-trained, and the labelled data of each
// column that has something left to do, so that what they lack is said before hours of training, and
// before the settings are kept.
func (r *run) checkData() error {
	for i := range r.experiment.Pretrainings {
		if err := r.checkPretraining(&r.experiment.Pretrainings[i]); err != nil {
			return err
		}
	}
	for k := range r.experiment.Columns {
		c := &r.experiment.Columns[k]
		if !r.lacks(c) {
			continue
		}
		f, err := r.finetuneConfig(new(Pretraining), c, 0)
		if err != nil {
			return err
		}
		labelled, _, err := train.FinetuneData(f)
		if err != nil {
			return err
		}
		switch n := labelled.Len(); {
		case r.Samples > n:
			return fmt.Errorf("samples: got %d labelled samples, want at most %d: %s has no more to train on", r.Samples, n, r.Labelled)
		case r.Samples == 0 && r.Labelled == train.ScenesData:
			return fmt.Errorf("samples: got 0, which is all of a folder; say how many rendered scenes to train on")
		case n < r.Batch:
			return fmt.Errorf("samples: got %d labelled samples of %s to fine-tune on, want at least %d, which is one batch; take more, or another folder", n, r.Labelled, r.Batch)
		}
		test, err := r.testData(f)
		if err != nil {
			return err
		}
		if err := evaluate.CheckTruth(f, test); err != nil {
			return fmt.Errorf("%s, part test: %w", r.Labelled, err)
		}
	}
	return nil
}

// checkPretraining opens what a row is pre-trained on, unless all of its models are there.
func (r *run) checkPretraining(p *Pretraining) error {
	if p.Change == nil {
		return nil
	}
	for seed := range r.Seeds {
		c, err := r.pretrainConfig(p, seed)
		if err != nil {
			return err
		}
		if done, err := finished(r.pretrained(p, seed), c); err != nil {
			return err
		} else if !done {
			ds, _, err := r.openPretraining(p, seed)
			if err == nil && ds.Len() < r.PretrainBatch {
				err = fmt.Errorf("data: %s has %d samples to pre-train on, want at least %d, which is one batch; give another folder, or add samples", r.Data, ds.Len(), r.PretrainBatch)
			}
			return err
		}
	}
	return nil
}

// openPretraining opens what a row is pre-trained on, with the maps that the data have.
func (r *run) openPretraining(p *Pretraining, seed int) (trainSet, val data.Dataset, err error) {
	// Maps that are replaced have other classes.
	c, err := r.pretrainConfig(&Pretraining{Change: p.Change}, seed)
	if err != nil {
		return nil, nil, err
	}
	trainSet, val, err = train.PretrainData(c)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("data: there is no folder %s to pre-train on; give another one: %w", r.Data, err)
	}
	return trainSet, val, err
}

// lacks reports whether a column has cells without the result of a seed.
func (r *run) lacks(c *Column) bool {
	for seed := range r.Seeds {
		for i := range r.experiment.Pretrainings {
			if !r.has(&r.experiment.Pretrainings[i], c, seed) {
				return true
			}
		}
	}
	return false
}

// testData opens what a fine-tuned model is tested on.
func (r *run) testData(f *heads.Config) (data.Dataset, error) {
	split := "test"
	if r.Labelled == train.ScenesData {
		split = ""
	}
	return train.TestData(f, r.Labelled, split)
}

// open makes the folder, or compares its settings with those asked for.
func (r *run) open() error {
	if err := atomicfile.MkdirAll(r.path("results")); err != nil {
		return err
	}
	want, err := json.Marshal(r.Settings)
	if err != nil {
		return err
	}
	path := r.path("settings.json")
	have, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return atomicfile.ReplaceJSON(path, r.Settings)
	}
	if err != nil {
		return err
	}
	if key, asked, has := strictjson.Difference(want, have); key != "" {
		return fmt.Errorf("%s: holds an experiment with %s %s and not %s; give it another folder, or the same settings", r.Dir, key, has, asked)
	}
	return nil
}

func (r *run) path(names ...string) string {
	return filepath.Join(append([]string{r.Dir}, names...)...)
}

// resultPath returns where the result of a fine-tuning is kept.
func (r *run) resultPath(p *Pretraining, c *Column, seed int) string {
	return r.path("results", fmt.Sprintf("%s-seed%d.json", key(p, c), seed))
}

func key(p *Pretraining, c *Column) string {
	return fmt.Sprintf("%s-%s-%s", slug(p.Name), c.Task, strings.Join(c.Inputs, "+"))
}

// slug returns a name for files: letters, digits and dots.
func slug(name string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '_'
	}, strings.ToLower(name)), "_")
}

func (r *run) has(p *Pretraining, c *Column, seed int) bool {
	_, err := os.Stat(r.resultPath(p, c, seed))
	return err == nil
}

// pretrainConfig returns the configuration of a pre-training.
func (r *run) pretrainConfig(p *Pretraining, seed int) (*multimae.Config, error) {
	classes, err := train.SemanticClasses(r.Data)
	if err != nil {
		return nil, err
	}
	if p.Maps == Labelled {
		classes = r.classes() // which the models are fine-tuned to tell apart
	}
	c, err := multimae.Preset(r.Preset, classes)
	if err != nil {
		return nil, err
	}
	// Every row begins with the paper's initial values.
	c.Encoder.ZeroInitResidual = false
	for i := range c.Inputs {
		c.Inputs[i].ClassEmbStd = 0
	}
	t := &c.Train
	t.WarmupSteps = max(1, r.PretrainSteps*3/100)
	t.Steps, t.Batch, t.Seed, t.Data, t.ValEvery, t.SaveEvery = r.PretrainSteps, r.PretrainBatch, uint64(seed), r.Data, 0, 500
	if p.Change != nil {
		p.Change(c)
	}
	// Only of the labelled folder it is known which values of depth are no measurements.
	if depth := c.Input("depth"); depth != nil && r.Data == r.Labelled && r.Data != train.ScenesData {
		depth.Invalid = r.DepthInvalid
	}
	return c, c.Check()
}

// pretrain trains the model of a row, unless that is done.
func (r *run) pretrain(ctx context.Context, p *Pretraining, seed int) error {
	if p.Change == nil {
		return nil
	}
	dir := r.pretrained(p, seed)
	c, err := r.pretrainConfig(p, seed)
	if err != nil {
		return err
	}
	if p.Maps == Labelled {
		if err := r.sameTeachers(dir, seed); err != nil {
			return err
		}
	}
	if ok, err := finished(dir, c); ok || err != nil {
		return err
	}
	m, err := multimae.NewModel(c)
	if err != nil {
		return err
	}
	trainSet, val, close, err := r.pretrainData(ctx, p, c, seed)
	if err != nil {
		return err
	}
	defer close()
	r.Log("pre-training %s, seed %d", p.Name, seed)
	return r.train(ctx, train.Options{Objective: train.NewPretraining(m), Train: trainSet, Val: val, Dir: dir})
}

// pretrainData opens what a row is pre-trained on, with its maps. close ends the use of it.
func (r *run) pretrainData(ctx context.Context, p *Pretraining, c *multimae.Config, seed int) (trainSet, val data.Dataset, close func(), err error) {
	var remake remake
	close = func() {}
	switch p.Maps {
	case Spoilt:
		remake = spoil(c.Input("semseg").NumClasses)
	case Labelled:
		var teachers teachers
		if teachers, err = r.teachers(ctx, seed); err != nil {
			return nil, nil, nil, err
		}
		remake, close = teachers.label, teachers.close
	}
	if trainSet, val, err = r.openPretraining(p, seed); err != nil {
		close()
		return nil, nil, nil, err
	}
	if remake != nil {
		trainSet, val = &withMaps{trainSet, remake}, &withMaps{val, remake}
	}
	return trainSet, val, close, nil
}

// pretrained returns the folder of a pre-training.
func (r *run) pretrained(p *Pretraining, seed int) string {
	return filepath.Join(r.Models, fmt.Sprintf("%s-seed%d", p.Model, seed))
}

// finetuneConfig returns the configuration of a fine-tuning.
func (r *run) finetuneConfig(p *Pretraining, c *Column, seed int) (*heads.Config, error) {
	base, err := r.pretrainConfig(&Pretraining{}, seed)
	if err != nil {
		return nil, err
	}
	b := base.BackboneConfig
	if err := heads.SetInputs(&b, c.Inputs, len(scenes.Classes)); err != nil {
		return nil, err
	}
	f, err := heads.NewConfig(c.Task, heads.ConvNeXt, b, r.classes())
	if err != nil {
		return nil, err
	}
	// A head that takes about as long as the encoder; and no part of the model learns faster than
	// another, because a fresh adapter deep below would be the one to suffer.
	o := &f.Outputs[0]
	o.Depth, o.EmbedDim = 2, 4*b.Encoder.Dim
	f.Train.LayerDecay, f.Encoder.DropPath = 0, 0
	if c.Task == heads.TaskSemseg {
		o.Target, o.Invalid = r.Target, r.Ignore
	} else if o.Unit = scenes.DepthUnit; r.Labelled != train.ScenesData {
		o.Unit, o.Invalid = r.DepthUnit, r.DepthInvalid
	}
	if depth := f.Input("depth"); depth != nil && r.Labelled != train.ScenesData {
		depth.Invalid = r.DepthInvalid
	}
	t := &f.Train
	t.WarmupSteps = max(1, r.Steps/20)
	t.Steps, t.Batch, t.Samples, t.Seed, t.Data, t.ValEvery = r.Steps, r.Batch, r.Samples, uint64(seed), r.Labelled, 0
	if p.Change != nil {
		t.From = r.pretrained(p, seed)
	}
	return f, f.Check()
}
