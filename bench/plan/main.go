// Command plan predicts the time, memory and network volume of pre-training on several machines
// from the time that one machine takes for a step:
//
//	go run ./bench/plan -images 1281167 -epochs 1600 -machines 16 -batch 128 -network 10
//	go run ./bench/plan -measure -model tiny -batch 16 -images 100000 -epochs 10
//
// It prints its assumptions. For several machines it assumes synchronous data-parallel training
// with a ring all-reduce.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/gomae/gomae/bench/internal/models"
	"github.com/gomae/gomae/bench/internal/results"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/tensor"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the command. It returns the exit code: 0 for success, 1 if it cannot predict, 2 for wrong
// usage.
func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("plan", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var w workload
	model := fs.String("model", "base", "preset: tiny, small, base or large")
	fs.IntVar(&w.Images, "images", 1281167, "the data set has `N` images")
	fs.IntVar(&w.Epochs, "epochs", 1600, "train for `N` passes over the data set")
	fs.IntVar(&w.Machines, "machines", 1, "train on `N` machines, each with the whole model")
	fs.IntVar(&w.Batch, "batch", 8, "each machine takes `N` images per step")
	fs.Float64Var(&w.Network, "network", 10, "each machine sends and receives at `GBIT/S`, in both directions at once")
	fs.Float64Var(&w.LoadMillis, "load", 0, "loading an image takes one core `MS`; with -measure the default is the time to render one")
	fs.IntVar(&w.SaveEvery, "save-every", 0, "write a checkpoint every `N` steps; 0 means as often as the preset")
	fs.Float64Var(&w.Disk, "disk", 500, "a checkpoint is written at `MB/S`")
	stored := fs.String("results", "", "take the step time from the stored results in `FILE` (default bench/results/zen5-2-cores.txt)")
	measured := fs.Bool("measure", false, "measure the step on this machine instead, for about 10 seconds")
	asJSON := fs.Bool("json", false, "write JSON")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	fail := func(code int, err error) int {
		fmt.Fprintln(stderr, "plan:", err)
		return code
	}
	if fs.NArg() > 0 {
		return fail(2, fmt.Errorf("unexpected argument %q", fs.Arg(0)))
	}
	if *measured && *stored != "" {
		return fail(2, errors.New("-measure and -results exclude each other: give one of them"))
	}
	c, err := models.Preset(*model)
	if err != nil {
		return fail(2, err)
	}
	if w.SaveEvery == 0 {
		w.SaveEvery = c.Train.SaveEvery
	}
	if err := w.check(); err != nil {
		return fail(2, err)
	}
	params, err := countParams(c)
	if err != nil {
		return fail(1, err)
	}
	var m *measurement
	if *measured {
		c.Train.Batch = w.Batch
		m, err = measureFor(c, 10*time.Second)
	} else {
		m, err = stepOf(*stored, *model, w.Batch, params)
	}
	if err != nil {
		return fail(1, err)
	}
	if w.LoadMillis == 0 {
		w.LoadMillis = m.LoadMillis
	}
	p := predict(w, params, m)
	if *asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		err = enc.Encode(p)
	} else {
		err = p.text(stdout)
	}
	if err != nil {
		return fail(1, err)
	}
	return 0
}

func countParams(c *multimae.Config) (int, error) {
	m, err := multimae.NewModel(c)
	if err != nil {
		return 0, err
	}
	return m.Params.Count(), nil
}

// stepOf reads the step of a model from stored results, those of the repository by default.
func stepOf(path, model string, batch, params int) (*measurement, error) {
	if path == "" {
		root, err := results.Root()
		if err != nil {
			return nil, fmt.Errorf("%w, or give -results FILE or -measure", err)
		}
		path = filepath.Join(root, "bench", "results", "zen5-2-cores.txt")
	}
	m, err := readStep(path, model, batch, params)
	if err != nil {
		return nil, fmt.Errorf("-results: %w", err)
	}
	return m, nil
}

// measureFor measures for about d with all threads.
func measureFor(c *multimae.Config, d time.Duration) (*measurement, error) {
	pool := tensor.NewPool(0)
	defer pool.Close()
	b, err := newBench(c, pool)
	if err != nil {
		return nil, err
	}
	return b.measure(d)
}
