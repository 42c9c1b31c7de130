// Command plan predicts what pre-training on several machines would take, in
// time, memory and network, from the step time that one machine was measured
// to have:
//
//	go run ./bench/plan -images 1281167 -epochs 1600 -machines 16 -batch 128 -network 10
//	go run ./bench/plan -measure -model tiny -batch 16 -images 100000 -epochs 10
//
// It prints what it assumes. This repository trains on one machine: for
// -machines above 1 the prediction is of synchronous data-parallel training
// with a ring all-reduce, which is not implemented here.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/tensor"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program: exit code 0, 1 where it cannot predict, 2 for wrong usage.
func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("plan", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var w workload
	model := fs.String("model", "base", "preset: tiny, small, base, large")
	fs.IntVar(&w.Images, "images", 1281167, "`N` images of the data set")
	fs.IntVar(&w.Epochs, "epochs", 1600, "`N` passes over them")
	fs.IntVar(&w.Machines, "machines", 1, "`N` machines, each with the whole model")
	fs.IntVar(&w.Batch, "batch", 8, "`N` images in a step of one machine")
	fs.Float64Var(&w.Network, "network", 10, "`GBIT/S` that each machine sends and receives at the same time")
	fs.Float64Var(&w.LoadMillis, "load", 0, "`MS` of one core to load an image; with -measure, what rendering one takes")
	fs.IntVar(&w.SaveEvery, "save-every", 0, "`N` steps between checkpoints (the preset's)")
	fs.Float64Var(&w.Disk, "disk", 500, "`MB/S` that a checkpoint is written with")
	results := fs.String("results", "", "stored results with TrainStep, a `FILE` (bench/results/zen5-2-cores.txt)")
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
	if *measured && *results != "" {
		return fail(2, errors.New("-measure and -results: want one of them"))
	}
	c, err := multimae.Preset(*model, classes(*model))
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
		pool := tensor.NewPool(0)
		defer pool.Close()
		c.Train.Batch = w.Batch
		m, err = measure(c, pool, 10*time.Second)
	} else {
		path := *results
		if path == "" {
			path, err = storedResults()
		}
		if err == nil {
			m, err = readStep(path, *model, w.Batch, params)
		}
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

// storedResults finds the default of -results, from anywhere in the checkout.
func storedResults() (string, error) {
	const name = "bench/results/zen5-2-cores.txt"
	dir, err := os.Getwd()
	for err == nil {
		path := filepath.Join(dir, name)
		if _, statErr := os.Stat(path); statErr == nil {
			return path, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no %s in this folder or above; give -results FILE or -measure", name)
		}
		dir = parent
	}
	return "", err
}

// threads are those that a step computes with.
func threads() int { return runtime.GOMAXPROCS(0) }
