package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/evaluate"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
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
	Name string
	// Change turns the configuration of a MultiMAE on RGB, depth and semantic maps into this one;
	// nil stands for no pre-training.
	Change func(c *multimae.Config)
}

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
	Experiment    string `json:"experiment"`
	Preset        string `json:"preset"`         // architecture, as multimae.Preset knows it
	Data          string `json:"data"`           // to pre-train on: train.ScenesData or a dataset folder
	Labelled      string `json:"labelled"`       // to fine-tune and test on, likewise
	Target        string `json:"target"`         // modality of the folder Labelled that holds the classes; "" for semseg
	Classes       int    `json:"classes"`        // of the truth; 0 for scenes
	Seeds         int    `json:"seeds"`          // from 0 on
	PretrainSteps int    `json:"pretrain_steps"` // of PretrainBatch samples
	PretrainBatch int    `json:"pretrain_batch"`
	Steps         int    `json:"steps"` // of fine-tuning
	Batch         int    `json:"batch"`
	Samples       int    `json:"samples"` // labelled samples to fine-tune on; 0 for all of a folder
}

// DefaultSettings are for two cores and an hour or so.
func DefaultSettings(name string) Settings {
	return Settings{
		Experiment: name, Preset: "tiny", Data: train.ScenesData, Labelled: train.ScenesData, Seeds: 3,
		PretrainSteps: 5000, PretrainBatch: 16, Steps: 600, Batch: 16, Samples: 128,
	}
}

// Options say where and how an experiment is run.
type Options struct {
	Settings
	Dir     string
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
	r := &run{o, e}
	if r.Log == nil {
		r.Log = func(string, ...any) {}
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

// open makes the folder, or compares its settings with those asked for.
func (r *run) open() error {
	if err := atomicfile.MkdirAll(r.path("results")); err != nil {
		return err
	}
	want, err := json.MarshalIndent(r.Settings, "", " ")
	if err != nil {
		return err
	}
	path := r.path("settings.json")
	have, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return writeFile(path, want)
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

func writeFile(path string, b []byte) error {
	return atomicfile.Replace(path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
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
	classes := len(scenes.Classes)
	if r.Data != train.ScenesData {
		classes = 133
	}
	c, err := multimae.Preset(r.Preset, classes)
	if err != nil {
		return nil, err
	}
	t := &c.Train
	t.WarmupSteps = max(1, r.PretrainSteps*3/100)
	t.Steps, t.Batch, t.Seed, t.Data, t.ValEvery, t.SaveEvery = r.PretrainSteps, r.PretrainBatch, uint64(seed), r.Data, 0, 500
	if p.Change != nil {
		p.Change(c)
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
	if finished(dir, c.Train.Steps) {
		return nil
	}
	m, err := multimae.NewModel(c)
	if err != nil {
		return err
	}
	trainSet, val, err := train.PretrainData(c)
	if err != nil {
		return err
	}
	r.Log("pre-training %s, seed %d", p.Name, seed)
	return r.train(ctx, train.Options{Objective: train.NewPretraining(m), Train: trainSet, Val: val, Dir: dir})
}

// pretrained returns the folder of a pre-training.
func (r *run) pretrained(p *Pretraining, seed int) string {
	return r.path("pretrain", fmt.Sprintf("%s-seed%d", slug(p.Name), seed))
}

// finished reports whether the run in dir has done all its steps and has written its model.
func finished(dir string, steps int) bool {
	_, err := os.Stat(filepath.Join(dir, train.CheckpointName(steps)))
	_, err2 := os.Stat(filepath.Join(dir, train.PicturesFile))
	return err == nil && err2 == nil
}

// train does a run, or goes on with it.
func (r *run) train(ctx context.Context, o train.Options) error {
	o.Workers, o.OnStep, o.Keep = r.Workers, r.Step, 1
	_, err := os.Stat(filepath.Join(o.Dir, multimae.ConfigFile))
	o.Resume = err == nil
	result, err := train.Run(ctx, o)
	if err != nil {
		return err
	}
	if result.Interrupted {
		return ctx.Err()
	}
	return nil
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
	classes := r.Classes
	if r.Labelled == train.ScenesData {
		classes = len(scenes.Classes)
	}
	f, err := heads.NewConfig(c.Task, heads.ConvNeXt, b, classes)
	if err != nil {
		return nil, err
	}
	// A head that takes about as long as the encoder; and no part of the model learns faster than
	// another, because a fresh adapter deep below would be the one to suffer.
	o := &f.Outputs[0]
	o.Depth, o.EmbedDim = 2, 4*b.Encoder.Dim
	f.Train.LayerDecay, f.Encoder.DropPath = 0, 0
	if c.Task == heads.TaskSemseg {
		o.Target = r.Target
	} else if r.Labelled == train.ScenesData {
		o.Unit = scenes.DepthUnit
	}
	t := &f.Train
	t.WarmupSteps = max(1, r.Steps/20)
	t.Steps, t.Batch, t.Samples, t.Seed, t.Data, t.ValEvery = r.Steps, r.Batch, r.Samples, uint64(seed), r.Labelled, 0
	if p.Change != nil {
		t.From = r.pretrained(p, seed)
	}
	return f, f.Check()
}

// finetune trains and tests a cell of the table with one seed.
func (r *run) finetune(ctx context.Context, p *Pretraining, c *Column, seed int) error {
	f, err := r.finetuneConfig(p, c, seed)
	if err != nil {
		return err
	}
	m, err := heads.NewModel(f)
	if err != nil {
		return err
	}
	trainSet, val, err := train.FinetuneData(f)
	if err != nil {
		return err
	}
	dir := r.path("finetune", fmt.Sprintf("%s-seed%d", key(p, c), seed))
	if err := r.train(ctx, train.Options{
		Objective: train.NewFinetuning(m), Train: trainSet, Val: val, Dir: dir,
		Init: func() error {
			m.Init(f.Train.Seed)
			if f.Train.From == "" {
				return nil
			}
			w, err := weights.Open(filepath.Join(f.Train.From, multimae.WeightsFile))
			if err != nil {
				return err
			}
			defer w.Close()
			_, err = m.Transfer(w)
			return err
		},
	}); err != nil {
		return err
	}
	split := "test"
	if r.Labelled == train.ScenesData {
		split = ""
	}
	test, err := train.TestData(f, r.Labelled, split)
	if err != nil {
		return err
	}
	pool := tensor.NewPool(r.Workers)
	defer pool.Close()
	e, err := evaluate.Evaluate(ctx, m, test, evaluate.Options{}, pool)
	if err != nil {
		return err
	}
	out := outcome{
		Pretraining: p.Name, Inputs: strings.Join(c.Inputs, ","), Task: c.Task, Seed: seed, Samples: e.Samples,
		Parameters: m.Params.Count(), Metrics: map[string]float64{}, Config: f.JSON(),
	}
	for _, x := range e.Metrics() {
		out.Metrics[x.Name] = x.Value
	}
	b, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return err
	}
	if err := writeFile(r.resultPath(p, c, seed), b); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
