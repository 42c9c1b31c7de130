package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/perf/benchfmt"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/tensor"
)

// classes of semantic maps that the benchmarks' models have.
func classes(preset string) int {
	if preset == "tiny" {
		return len(scenes.Classes)
	}
	return 133
}

func countParams(c *multimae.Config) (int, error) {
	m, err := multimae.NewModel(c)
	if err != nil {
		return 0, err
	}
	return m.Params.Count(), nil
}

var trainStep = regexp.MustCompile(`^TrainStep/model=([^/]+)/batch=(\d+)/threads=(\d+)`)

// readStep takes the step time of a model from stored results: at the largest
// number of threads, of the latest date, and of the nearest batch, scaled.
func readStep(path, model string, batch, params int) (*measurement, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("-results: %w", err)
	}
	defer f.Close()
	type key struct {
		batch, threads int
		date, commit   string
	}
	type values struct{ seconds, memory []float64 }
	found := map[key]*values{}
	reader := benchfmt.NewReader(f, path)
	for reader.Scan() {
		r, ok := reader.Result().(*benchfmt.Result)
		if !ok {
			if e, ok := reader.Result().(*benchfmt.SyntaxError); ok {
				return nil, e
			}
			continue
		}
		name := trainStep.FindSubmatch(r.Name)
		if peer := r.GetConfig("peer"); name == nil || string(name[1]) != model || peer != "" && peer != "gomae" {
			continue
		}
		b, _ := strconv.Atoi(string(name[2])) // digits
		t, _ := strconv.Atoi(string(name[3]))
		k := key{b, t, r.GetConfig("date"), r.GetConfig("commit")}
		if found[k] == nil {
			found[k] = &values{}
		}
		seconds, _ := r.Value("sec/op")
		memory, _ := r.Value("MiB-sys")
		found[k].seconds, found[k].memory = append(found[k].seconds, seconds), append(found[k].memory, memory)
	}
	if err := reader.Err(); err != nil {
		return nil, err
	}
	var best *key
	distance := func(k *key) int { return max(k.batch-batch, batch-k.batch) }
	for k := range found {
		if best == nil || k.threads > best.threads || k.threads == best.threads && (distance(&k) < distance(best) ||
			distance(&k) == distance(best) && (k.batch > best.batch || k.batch == best.batch && k.date > best.date)) {
			best = &k
		}
	}
	if best == nil || best.batch == 0 {
		return nil, fmt.Errorf("%s: holds no TrainStep of model=%s; give -results another file, or -measure", path, model)
	}
	v := found[*best]
	scale := float64(batch) / float64(best.batch)
	m := &measurement{
		From:    fmt.Sprintf("%s, commit %s, %s, median of %d", filepath.Base(path), best.commit, best.date, len(v.seconds)),
		Step:    median(v.seconds) * scale,
		Threads: max(best.threads, 1),
	}
	// Weights, gradients and two moments do not grow with the batch.
	fixed := 16 * float64(params)
	m.MemoryBytes = median(v.memory) * (1 << 20)
	if best.batch != batch {
		m.MemoryBytes = fixed + max(0, m.MemoryBytes-fixed)*scale
		m.Note = fmt.Sprintf("step and activations were measured with a batch of %d and are scaled in proportion", best.batch)
	}
	return m, nil
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	n := len(x)
	return (x[(n-1)/2] + x[n/2]) / 2
}

// bench trains a model on rendered scenes of its size.
type bench struct {
	trainer *train.Trainer
	batch   *multimae.Batch
	scenes  data.Dataset
	next    int // scene
}

// newBench makes a model of c and its first batch, and does a step, which
// allocates.
func newBench(c *multimae.Config, pool *tensor.Pool) (*bench, error) {
	m, err := multimae.NewModel(c)
	if err != nil {
		return nil, err
	}
	m.Init(1)
	b := &bench{scenes: scenes.New(0, 1<<20, c.ImageSize, 1)}
	if b.trainer, err = train.NewTrainer(m, pool); err != nil {
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
	c := b.trainer.Model.Config
	var samples []*data.Sample
	for range c.Train.Batch {
		s, err := b.scenes.Sample(b.next % b.scenes.Len())
		if err != nil {
			return nil, 0, err
		}
		b.next++
		samples = append(samples, s)
	}
	batch, err := data.Collate(samples, c.Inputs, c.ImageSize)
	return batch, time.Since(start), err
}

func (b *bench) step() (time.Duration, error) {
	start := time.Now()
	_, err := b.trainer.Step(b.batch)
	return time.Since(start), err
}

// measure times steps and loading in turn, for about d, and at least 3 of each.
func measure(c *multimae.Config, pool *tensor.Pool, d time.Duration) (*measurement, error) {
	b, err := newBench(c, pool)
	if err != nil {
		return nil, err
	}
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
		From: fmt.Sprintf("this machine, median of %d", len(steps)), Step: median(steps), Threads: threads(),
		MemoryBytes: float64(mem.Sys - mem.HeapReleased),
		LoadMillis:  1e3 * median(loads) / float64(c.Train.Batch),
		Note:        "loading was measured by rendering scenes of the model's image size",
	}, nil
}
