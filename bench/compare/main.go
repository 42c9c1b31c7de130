// Command compare measures how fast this module is and compares it with other libraries:
//
//	go run ./bench/compare                     # the main benchmarks, against every installed peer
//	go run ./bench/compare -bench all -rounds 10 -save -html out.html
//	go run ./bench/compare -from bench/results/granite-rapids-2-cores   # from stored results
//
// Our benchmarks and those of the peers run alternately, round after round, so that a machine that
// drifts affects all of them. The report has medians with confidence intervals, shares of the peak of
// fused multiply-adds measured around each run, and the ratio to the fastest variant of each peer
// with its p-value. The exit code is 1 if a figure is below its floor in bench/floors.txt. See
// bench/README.md.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/gomae/gomae/bench/internal/results"
	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/machine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	root, err := results.Root()
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
	if slices.Equal(os.Args[1:], []string{spinArgument}) {
		keepBusy()
	}
	os.Exit(run(ctx, root, os.Args[1:], os.Stdout, os.Stderr))
}

// spinArgument makes this program one of those that -busy starts.
const spinArgument = "-spin-for-ever"

// keepBusy keeps a core busy until the process is killed or the one that started it is gone.
func keepBusy() {
	for parent := os.Getppid(); os.Getppid() == parent; {
		for start := time.Now(); time.Since(start) < 10*time.Millisecond; {
		}
	}
	os.Exit(0)
}

// run is the command in the checkout at root. It returns the exit code: 0 for success, 1 if a figure
// is below its floor or the work could not be done, 2 for wrong usage.
func run(ctx context.Context, root string, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(root, args, stderr)
	below := false
	if err == nil {
		below, err = compare(ctx, root, o, stdout, stderr)
	}
	switch usage := new(usageError); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, usage):
		fmt.Fprintf(stderr, "compare: %v\n", err)
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "compare: %v\n", err)
		return 1
	case below:
		return 1
	}
	return 0
}

// compare measures or reads results and reports on them. It returns whether a figure is below its
// floor.
func compare(ctx context.Context, root string, o *options, stdout, stderr io.Writer) (below bool, err error) {
	var measured []*measurement
	var notes []error
	var interrupted error
	if !o.stored {
		measured, notes, err = measure(ctx, root, o, stderr)
		switch {
		case err != nil && len(measured) == 0:
			return false, err
		case ctx.Err() != nil:
			interrupted = errors.New("interrupted; the report has what was measured until then")
		default:
			interrupted = err
		}
	}
	accelerators, err := filepath.Glob(filepath.Join(root, "bench/results/gpu/*.txt"))
	if err != nil {
		return false, err
	}
	read, err := readFiles(append(o.files, accelerators...))
	if err != nil {
		return false, err
	}
	measured = append(measured, read...)
	measured = slices.DeleteFunc(measured, func(m *measurement) bool { return !o.selected.match(m.name) })
	if o.markdown {
		measured = undisturbed(measured)
	}
	if len(measured) == 0 {
		return false, fmt.Errorf("-bench %s: no result matches", o.bench)
	}

	r := newReport(measured, o.prices)
	for _, n := range notes {
		r.Notes = append(r.Notes, n.Error())
	}
	if o.floors != nil {
		r.Floors = r.check(o.floors)
	}
	if o.html != "" {
		var page bytes.Buffer
		if err := r.html(&page); err != nil {
			return false, err
		}
		if err := atomicfile.WriteBytes(o.html, page.Bytes()); err != nil {
			return false, err
		}
	}
	switch {
	case o.markdown:
		if err := r.writeMarkdown(root); err != nil {
			return false, err
		}
		fmt.Fprint(stdout, r.summary())
	case o.json:
		enc := json.NewEncoder(stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(r); err != nil {
			return false, err
		}
	default:
		r.text(stdout)
	}
	return r.Floors != nil && len(r.Floors.Below) > 0, interrupted
}

// measure runs our benchmarks and the peers' in turn. It stores what was measured if o says so.
func measure(ctx context.Context, root string, o *options, stderr io.Writer) (measured []*measurement, notes []error, err error) {
	if _, _, err := machine.SIMD(); err != nil {
		return nil, nil, usageError{err}
	}
	now := time.Now()
	config, err := configLines(root, o.name, now)
	if err != nil {
		return nil, nil, usageError{err}
	}
	logf := func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
	r := &runner{root: root, python: o.python, pattern: o.pattern, rounds: o.rounds, seconds: o.seconds, peers: o.peers,
		config: config, logf: logf, peak: measurePeak, busy: o.busy}
	if o.busy > 0 {
		exe, err := os.Executable()
		if err != nil {
			return nil, nil, err
		}
		r.spin = []string{exe, spinArgument}
	}
	if level, _, _ := machine.SIMD(); os.Getenv("GOMAE_SIMD") == level {
		r.simd = level
	}
	r.ours = func(dir string) (*adapter, error) { return r.buildOurs(ctx, dir) }
	path := filepath.Join(root, "bench/results", o.name, now.UTC().Format("2006-01-02-1504")+"-"+config[1][1]+".txt")
	if o.save {
		r.store = func(ms []*measurement) error { return write(path, ms) }
	}
	measured, notes, err = r.run(ctx)
	if o.save && len(measured) > 0 {
		logf("the results are in %s", path)
	}
	return measured, notes, err
}
