package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/perf/benchfmt"
)

// runner measures our benchmarks and those of the peers in turn, round after round, so that whatever
// slows the machine down for a while affects all of them.
type runner struct {
	root, python string
	pattern      string // of go test's -bench
	rounds       int
	seconds      float64
	peers        []adapter
	config       [][2]string // configuration lines of every result
	logf         func(format string, args ...any)
	peak         func(threads int) float64          // in GFLOP/s
	store        func(ms []*measurement) error      // called after each run with all results so far; may be nil
	ours         func(dir string) (*adapter, error) // builds our benchmarks
	simd         string                             // our level if GOMAE_SIMD names it
	busy         int                                // processes that keep a core busy meanwhile
	spin         []string                           // the command of such a process
}

// buildOurs compiles package bench into dir.
func (r *runner) buildOurs(ctx context.Context, dir string) (*adapter, error) {
	program := filepath.Join(dir, "bench.test"+exeSuffix)
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, "./bench")
	cmd.Dir = r.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building ./bench: %w\n%s", err, tail(out))
	}
	return &adapter{name: own, commands: func(_ *adapter, _ string, _ []string, seconds float64) [][]string {
		return [][]string{{program, "-test.run", "^$", "-test.bench", r.pattern, "-test.count", "1", "-test.benchtime", fmt.Sprint(seconds) + "s"}}
	}}, nil
}

// side is one participant of the comparison.
type side struct {
	*adapter
	program string
	out     bool // it failed and does not take part any more
}

// run measures all rounds. The notes say which peers were absent or failed. When ctx ends it returns
// what was measured until then, with ctx's error.
func (r *runner) run(ctx context.Context) (all []*measurement, notes []error, err error) {
	dir, err := os.MkdirTemp("", "gomae-compare-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	sides, notes, err := r.prepare(ctx, dir)
	if err != nil {
		return nil, notes, err
	}
	stop, err := r.disturb(ctx)
	if err != nil {
		return nil, notes, err
	}
	defer stop()
	var names []string // of our benchmarks, known after their first run
	before := r.peaks()
	for round := range r.rounds {
		for _, s := range sides {
			wanted := names
			if s.does != nil {
				wanted = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !s.does.MatchString(n) })
				if len(wanted) == 0 {
					continue
				}
			}
			if s.out {
				continue
			}
			start := time.Now()
			ms, err := s.measure(ctx, r, wanted)
			after := r.peaks()
			r.label(ms, before, after)
			before = after
			all = append(all, ms...)
			if len(ms) > 0 && r.store != nil {
				if err := r.store(all); err != nil {
					return all, notes, err
				}
			}
			if ctx.Err() != nil {
				return all, notes, ctx.Err()
			}
			r.logf("round %d of %d: %s, %d results in %.0f s", round+1, r.rounds, s.name, len(ms), time.Since(start).Seconds())
			if err == nil {
				if s.name == own && names == nil {
					for _, m := range ms {
						names = append(names, strings.TrimSuffix(m.name, fmt.Sprintf("/busy=%d", r.busy)))
					}
				}
				continue
			}
			if s.name == own {
				return all, notes, err
			}
			notes = append(notes, err)
			r.logf("%v", err)
			s.out = len(ms) == 0 // it would fail in the next round as well
		}
	}
	return all, notes, nil
}

// prepare builds our benchmarks and the peers that are installed.
func (r *runner) prepare(ctx context.Context, dir string) (sides []*side, notes []error, err error) {
	r.logf("building the benchmarks")
	ours, err := r.ours(dir)
	if err != nil {
		return nil, nil, err
	}
	sides = []*side{{adapter: ours}}
	for i := range r.peers {
		a := &r.peers[i]
		program, err := a.prepare(ctx, r.root, dir, r.python)
		if ctx.Err() != nil {
			return nil, notes, ctx.Err()
		}
		if err != nil {
			notes = append(notes, err)
			r.logf("%v", err)
			continue
		}
		sides = append(sides, &side{adapter: a, program: program})
	}
	return sides, notes, nil
}

func (s *side) measure(ctx context.Context, r *runner, names []string) ([]*measurement, error) {
	if s.name == own {
		return execute(ctx, r.root, s.commands(nil, "", nil, r.seconds)[0], own)
	}
	return s.run(ctx, r.root, s.program, names, r.seconds)
}

// disturb starts the processes that keep cores busy. stop ends them.
func (r *runner) disturb(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var started []*exec.Cmd
	stop = func() {
		cancel()
		for _, c := range started {
			c.Wait()
		}
	}
	for range r.busy {
		cmd := exec.CommandContext(ctx, r.spin[0], r.spin[1:]...)
		if err := cmd.Start(); err != nil {
			stop()
			return nil, fmt.Errorf("-busy: %w", err)
		}
		started = append(started, cmd)
	}
	return stop, nil
}

// label adds to results what they do not say themselves: the peak around the run, the machine, the
// commit and the date, the level that a peer kept to, and the number of busy processes, which makes it
// another benchmark.
func (r *runner) label(ms []*measurement, before, after map[int]float64) {
	for _, m := range ms {
		if t := part(m.name, "threads"); t > 0 && before[t] > 0 {
			m.Values = append(m.Values, benchfmt.Value{Value: math.Round((before[t]+after[t])/2*10) / 10, Unit: peakUnit})
		}
		for _, c := range r.config {
			setConfig(m.Result, c[0], c[1])
		}
		if m.GetConfig("simd") == "" && r.simd == "avx2" {
			setConfig(m.Result, "simd", r.simd)
		}
		if r.busy > 0 {
			m.name += fmt.Sprintf("/busy=%d", r.busy)
		}
		setConfig(m.Result, "peer", m.peer)
		setConfig(m.Result, "variant", m.variant)
		m.Name = benchfmt.Name(m.name)
		m.machine = m.GetConfig("machine")
	}
}

// peaks measures the peak of fused multiply-adds with each number of threads that benchmarks use.
func (r *runner) peaks() map[int]float64 {
	p := map[int]float64{1: r.peak(1)}
	if n := runtime.GOMAXPROCS(0); n > 1 {
		p[n] = r.peak(n)
	}
	return p
}
