package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/gomae/gomae/bench/internal/models"
	"github.com/gomae/gomae/bench/internal/results"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/tensor"
)

// bench trains a model on rendered scenes, as one of several ranks or alone, and times each part of
// it.
type bench struct {
	config  *multimae.Config
	trainer *train.Trainer
	ranks   *mirror
	scenes  data.Dataset
	batch   *multimae.Batch
	images  int // of a batch that this rank takes
	next    int // scene
}

// newBench prepares training with Train.Batch images per step, of which one of so many ranks takes
// its share, and takes the first step, which allocates memory.
func newBench(c *multimae.Config, pool *tensor.Pool, ranks int) (*bench, error) {
	m, err := models.New(c)
	if err != nil {
		return nil, err
	}
	b := &bench{config: c, ranks: &mirror{size: ranks}, scenes: scenes.New(0, 1<<20, c.ImageSize, 1)}
	if b.trainer, err = train.NewTrainer(train.NewPretraining(m), pool); err != nil {
		return nil, err
	}
	if _, b.images, err = b.trainer.Join(context.Background(), b.ranks); err != nil {
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
	batch, err := models.Batch(b.scenes, b.next, b.images, b.config)
	b.next += b.images
	return batch, time.Since(start), err
}

func (b *bench) step() (time.Duration, error) {
	b.ranks.begin()
	_, err := b.trainer.Step(b.batch)
	return time.Since(b.ranks.began), err
}

// measure times steps and loading alternately for about d, at least three times each.
func (b *bench) measure(d time.Duration) (*measurement, error) {
	var steps, loads, cpus []float64
	at := map[int][]float64{}
	var values []int
	small := 0
	for start := time.Now(); len(steps) < 3 || time.Since(start) < d; {
		_, load, err := b.load()
		if err != nil {
			return nil, err
		}
		busy := cpuSeconds()
		step, err := b.step()
		if err != nil {
			return nil, err
		}
		cpus = append(cpus, cpuSeconds()-busy)
		steps, loads = append(steps, step.Seconds()), append(loads, load.Seconds())
		values, small = values[:0], 0
		for _, s := range b.ranks.sums {
			if s.values <= smallSum {
				small++
				continue
			}
			i := len(values)
			values, at[i] = append(values, s.values), append(at[i], min(1, s.at.Seconds()/step.Seconds()))
		}
	}
	m := &measurement{
		From:       fmt.Sprintf("this machine, median of %d", len(steps)),
		Batch:      b.images,
		Ranks:      b.ranks.size,
		Step:       results.Median(steps),
		CPU:        results.Median(cpus),
		SmallSums:  small,
		Threads:    runtime.GOMAXPROCS(0),
		LoadMillis: 1e3 * results.Median(loads) / float64(b.images),
		Note:       "the loading time is that of rendering scenes of the model's image size",
	}
	for i, n := range values {
		m.Buckets = append(m.Buckets, bucket{results.Median(at[i]), n})
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.MemoryBytes = float64(mem.Sys - mem.HeapReleased)
	return m, nil
}

// mirror are ranks all of which do what this one does, at no cost. It notes when the trainer sums
// what.
type mirror struct {
	size  int
	began time.Time // the step
	mu    sync.Mutex
	sums  []noted // of the step
}

type noted struct {
	at     time.Duration // since the step began
	values int
}

func (m *mirror) begin() { m.began, m.sums = time.Now(), m.sums[:0] }

func (m *mirror) Rank() int { return 0 }
func (m *mirror) Size() int { return m.size }

// Sum fills in what the other ranks would have added, where each rank has a place of its own in x. Else
// it leaves the values, which is as good as any: time is all that is measured.
func (m *mirror) Sum(_ context.Context, x []float32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sums = append(m.sums, noted{time.Since(m.began), len(x)})
	if len(x) == 0 || len(x)%m.size > 0 {
		return nil
	}
	own := len(x) / m.size
	for _, v := range x[own:] {
		if v != 0 {
			return nil
		}
	}
	for i := own; i < len(x); i += own {
		copy(x[i:], x[:own])
	}
	return nil
}

// bucket is a part of the gradients that is summed at a time.
type bucket struct {
	At     float64 `json:"at"`     // share of a step's time after which it is complete
	Values int     `json:"values"` // float32 numbers
}

// measurement is what one machine was measured to do.
type measurement struct {
	From        string   `json:"from"`         // file, commit and date, or "this machine"
	Batch       int      `json:"batch"`        // images
	Ranks       int      `json:"ranks"`        // of which it is one
	Step        float64  `json:"step_seconds"` // for one batch, without loading and sums
	CPU         float64  `json:"cpu_seconds"`  // of all cores together for it; 0 if not measured
	Threads     int      `json:"threads"`
	MemoryBytes float64  `json:"memory_bytes"`           // of the process
	LoadMillis  float64  `json:"load_core_ms,omitempty"` // for one image; 0 if it was not measured
	Buckets     []bucket `json:"buckets,omitempty"`      // none with a single rank
	SmallSums   int      `json:"small_sums,omitempty"`   // beside those of gradients: of losses, and of what these are divided by
	Note        string   `json:"note,omitempty"`
}

// on returns the measurement for a machine with so many cores, that compute in proportion; 0 means
// those of the measured one.
func (m *measurement) on(cores int) *measurement {
	if cores == 0 || cores == m.Threads {
		return m
	}
	x := *m
	x.Step = m.Step * float64(m.Threads) / float64(cores)
	x.Threads = cores
	x.Note = strings.TrimPrefix(fmt.Sprintf("%s; %d threads were measured, and %d are assumed to be faster in proportion", m.Note, m.Threads, cores), "; ")
	return &x
}
