package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/gomae/gomae/bench/internal/models"
	"github.com/gomae/gomae/bench/internal/results"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/tensor"
)

// bench trains a model on rendered scenes and times each part of it.
type bench struct {
	trainer *train.Trainer
	scenes  data.Dataset
	batch   *multimae.Batch
	next    int // scene
}

// newBench prepares training with Train.Batch images per step and takes the first step, which
// allocates memory.
func newBench(c *multimae.Config, pool *tensor.Pool) (*bench, error) {
	m, err := models.New(c)
	if err != nil {
		return nil, err
	}
	b := &bench{scenes: scenes.New(0, 1<<20, c.ImageSize, 1)}
	if b.trainer, err = train.NewTrainer(train.NewPretraining(m), pool); err != nil {
		return nil, err
	}
	if b.batch, _, err = b.load(); err != nil {
		return nil, err
	}
	_, err = b.step()
	return b, err
}

// load makes a batch on this goroutine.
func (b *bench) load() (*multimae.Batch, time.Duration, error) {
	start := time.Now()
	c := b.trainer.Objective.(*train.Pretraining).Model.Config
	batch, err := models.Batch(b.scenes, b.next, c.Train.Batch, c)
	b.next += c.Train.Batch
	return batch, time.Since(start), err
}

func (b *bench) step() (time.Duration, error) {
	start := time.Now()
	_, err := b.trainer.Step(b.batch)
	return time.Since(start), err
}

// measure times steps and loading alternately for about d, at least three times each.
func (b *bench) measure(d time.Duration) (*measurement, error) {
	var steps, loads []float64
	for start := time.Now(); len(steps) < 3 || time.Since(start) < d; {
		_, load, err := b.load()
		if err != nil {
			return nil, err
		}
		step, err := b.step()
		if err != nil {
			return nil, err
		}
		steps, loads = append(steps, step.Seconds()), append(loads, load.Seconds())
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return &measurement{
		From:        fmt.Sprintf("this machine, median of %d", len(steps)),
		Step:        results.Median(steps),
		Threads:     runtime.GOMAXPROCS(0),
		MemoryBytes: float64(mem.Sys - mem.HeapReleased),
		LoadMillis:  1e3 * results.Median(loads) / float64(b.trainer.Objective.(*train.Pretraining).Model.Config.Train.Batch),
		Note:        "the loading time is that of rendering scenes of the model's image size",
	}, nil
}
