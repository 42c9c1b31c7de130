// Command plan predicts the time, memory and network volume of pre-training on several machines
// from the time that one machine takes for a step:
//
//	go run ./bench/plan -images 1281167 -epochs 1600 -machines 16 -batch 128 -network 10
//	go run ./bench/plan -measure -model tiny -batch 16 -images 100000 -epochs 10
//
// It prints its assumptions. For several machines it models what gomae pretrain -mpi does, with the
// times of steps and sums that bench/ranks.py has measured by themselves. With -check it compares
// itself with the training that was measured there.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/gomae/gomae/bench/internal/models"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/tensor"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options are the flags.
type options struct {
	workload
	model, ranks, results           string
	cores                           int
	seconds                         float64
	measure, record, check, doc, js bool
}

// errUsage is wrapped by errors of flags.
var errUsage = errors.New("wrong usage")

// parse reads the flags.
func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("plan", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.model, "model", "base", "preset: "+strings.Join(multimae.PresetNames, ", "))
	fs.IntVar(&o.Images, "images", 1281167, "the data set has `N` images")
	fs.IntVar(&o.Epochs, "epochs", 1600, "train for `N` passes over the data set")
	fs.IntVar(&o.Machines, "machines", 1, "train on `N` machines, each with the whole model")
	fs.IntVar(&o.Batch, "batch", 8, "each machine takes `N` images per step")
	fs.IntVar(&o.cores, "cores", 0, "each machine has `N` cores, and computes faster in proportion; 0 means as many as the measured one")
	fs.Float64Var(&o.Network, "network", 10, "each machine sends and receives at `GBIT/S`, in both directions at once")
	fs.BoolVar(&o.BFloat16, "bfloat16", false, "gradients travel in bfloat16, with half of the bytes")
	fs.Float64Var(&o.LoadMillis, "load", 0, "loading an image takes one core `MS`; with -measure the default is the time to render one")
	fs.IntVar(&o.SaveEvery, "save-every", 0, "write a checkpoint every `N` steps; 0 means as often as the preset")
	fs.Float64Var(&o.Disk, "disk", 500, "checkpoints and weights are written at `MB/S`")
	fs.StringVar(&o.ranks, "ranks", "", "take what sums cost, and the step time, from `FILE` of bench/ranks.py (default bench/results/ranks-2-cores.json)")
	fs.StringVar(&o.results, "results", "", "take the step time from `FILE` of bench/compare instead")
	fs.BoolVar(&o.measure, "measure", false, "measure the step time on this machine instead")
	fs.Float64Var(&o.seconds, "seconds", 10, "with -measure or -record, measure for about `S` seconds")
	fs.BoolVar(&o.record, "record", false, "only measure the step of one of -machines on this one, and write it as JSON for bench/ranks.py")
	fs.BoolVar(&o.check, "check", false, "compare the predictions with the training that FILE of -ranks has measured")
	fs.BoolVar(&o.doc, "markdown", false, "write the tables of bench/README.md")
	fs.BoolVar(&o.js, "json", false, "write JSON")
	if err := fs.Parse(args); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			err = errUsage // fs has said which
		}
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("%w: unexpected argument %q", errUsage, fs.Arg(0))
	}
	modes := 0
	for _, on := range []bool{o.measure, o.results != "", o.record, o.check, o.doc} {
		if on {
			modes++
		}
	}
	switch {
	case modes > 1:
		return nil, fmt.Errorf("%w: -measure, -results, -record, -check and -markdown exclude each other: give one of them", errUsage)
	case o.cores < 0:
		return nil, fmt.Errorf("%w: -cores %d: want 0 or more", errUsage, o.cores)
	case !(o.seconds >= 0):
		return nil, fmt.Errorf("%w: -seconds %v: want 0 or more", errUsage, o.seconds)
	}
	return o, nil
}

// run is the command. It returns the exit code: 0 for success, 1 if it cannot predict or -check finds
// a prediction that is wrong, 2 for wrong usage.
func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		err = o.do(stdout)
	}
	switch {
	case err == nil:
		return 0
	case err != errUsage:
		fmt.Fprintln(stderr, "plan:", err)
	}
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}

// do does what the flags ask for.
func (o *options) do(stdout io.Writer) error {
	c, err := models.Preset(o.model)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if o.SaveEvery == 0 {
		o.SaveEvery = c.Train.SaveEvery
	}
	if err := o.workload.check(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	c.Train.Batch = o.Batch * o.Machines
	if o.record {
		m, err := measureFor(c, o.Machines, o.seconds)
		if err != nil {
			return err
		}
		return writeJSON(stdout, m)
	}
	ranks, err := readRanks(o.ranks)
	if err != nil {
		return err
	}
	switch {
	case o.check:
		return ranks.check(stdout)
	case o.doc:
		return ranks.writeReadme()
	}
	params, err := countParams(c)
	if err != nil {
		return err
	}
	var m *measurement
	switch {
	case o.measure:
		m, err = measureFor(c, o.Machines, o.seconds)
	case o.results != "":
		m, err = readStep(o.results, o.model, o.Batch, params)
	default:
		m, err = ranks.stepOf(o.model, o.Batch)
	}
	if err != nil {
		return err
	}
	if o.measure && o.LoadMillis == 0 {
		o.LoadMillis = m.LoadMillis
	}
	p, err := ranks.plan(o.workload, params, m.on(o.cores))
	if err != nil {
		return err
	}
	if o.js {
		return writeJSON(stdout, p)
	}
	return p.text(stdout)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(v)
}

func countParams(c *multimae.Config) (int, error) {
	m, err := multimae.NewModel(c)
	if err != nil {
		return 0, err
	}
	return m.Params.Count(), nil
}

// measureFor measures one of so many ranks for about so many seconds with all threads.
func measureFor(c *multimae.Config, ranks int, seconds float64) (*measurement, error) {
	pool := tensor.NewPool(0)
	defer pool.Close()
	b, err := newBench(c, pool, ranks)
	if err != nil {
		return nil, err
	}
	return b.measure(time.Duration(seconds * float64(time.Second)))
}
