package experiment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/evaluate"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// finished reports whether the run in dir has done all its steps and has written its model. The error
// says that it is another run.
func finished(dir string, c *multimae.Config) (bool, error) {
	have, err := regular.ReadFile(filepath.Join(dir, multimae.ConfigFile), regular.ConfigLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if key, asked, has := strictjson.Difference(c.JSON(), have); key != "" {
		return false, fmt.Errorf("%s: holds a run with %s %s and not %s; keep these models in another folder", dir, key, has, asked)
	}
	_, err = os.Stat(filepath.Join(dir, train.CheckpointName(c.Train.Steps)))
	_, err2 := os.Stat(filepath.Join(dir, train.PicturesFile))
	return err == nil && err2 == nil, nil
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

// fit fine-tunes a model in the folder of a run.
func (r *run) fit(ctx context.Context, p *Pretraining, c *Column, seed int, dir string) (*heads.Model, error) {
	f, err := r.finetuneConfig(p, c, seed)
	if err != nil {
		return nil, err
	}
	m, err := heads.NewModel(f)
	if err != nil {
		return nil, err
	}
	trainSet, val, err := train.FinetuneData(f)
	if err != nil {
		return nil, err
	}
	return m, r.train(ctx, train.Options{
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
			report, err := m.Transfer(w)
			if err != nil {
				return err
			}
			for line := range strings.Lines(report.String()) {
				r.Log("%s", strings.TrimSuffix(line, "\n"))
			}
			return nil
		},
	})
}

// finetune trains and tests a cell of the table with one seed.
func (r *run) finetune(ctx context.Context, p *Pretraining, c *Column, seed int) error {
	dir := r.path("finetune", fmt.Sprintf("%s-seed%d", key(p, c), seed))
	m, err := r.fit(ctx, p, c, seed, dir)
	if err != nil {
		return err
	}
	f := m.Config
	test, err := r.testData(f)
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
	// What it learnt step by step outlives its folder. The result, which ends the fine-tuning, comes last.
	path := r.resultPath(p, c, seed)
	lines, err := os.ReadFile(filepath.Join(dir, train.MetricsFile))
	if err != nil {
		return err
	}
	if err := atomicfile.ReplaceBytes(strings.TrimSuffix(path, ".json")+".jsonl", lines); err != nil {
		return err
	}
	if err := atomicfile.ReplaceJSON(path, out); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
