package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gomae/gomae/internal/machine"
	"golang.org/x/perf/benchfmt"
)

var exeSuffix = map[bool]string{true: ".exe"}[runtime.GOOS == "windows"]

// runner measures: our benchmarks and the peers' in turn, round after round, so
// that what slows the machine down for a while hits all of them.
type runner struct {
	root, python string
	pattern      string // of -bench, as go test takes it
	rounds       int
	seconds      float64
	peers        []adapter
	config       [][2]string // configuration lines of every result
	logf         func(format string, args ...any)
	peak         func(threads int) float64          // GFLOP/s
	keep         func(ms []*measurement) error      // called after each run with all that was measured
	ours         func(dir string) (*adapter, error) // builds our benchmarks
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

// run measures all rounds. notes say which peers were absent and what else did
// not work. When ctx ends it returns what there is, with ctx's error.
func (r *runner) run(ctx context.Context) (all []*measurement, notes []string, err error) {
	dir, err := os.MkdirTemp("", "gomae-compare-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	r.logf("building the benchmarks")
	ours, err := r.ours(dir)
	if err != nil {
		return nil, nil, err
	}
	sides := []*side{{adapter: ours}}
	for i := range r.peers {
		a := &r.peers[i]
		program, err := a.prepare(ctx, r.root, dir, r.python)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			notes = append(notes, err.Error())
			r.logf("%v", err)
			continue
		}
		sides = append(sides, &side{adapter: a, program: program})
	}
	var names []string // of our benchmarks: the first run tells
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
			ms, err := s.execute(ctx, r, wanted)
			after := r.peaks()
			for _, m := range ms {
				if t := part(m.name, "threads"); t > 0 && before[t] > 0 {
					m.Values = append(m.Values, benchfmt.Value{Value: math.Round((before[t]+after[t])/2*10) / 10, Unit: peakUnit})
				}
				for _, c := range r.config {
					setFile(m.Result, c[0], c[1])
				}
				setFile(m.Result, "peer", m.peer)
				setFile(m.Result, "variant", m.variant)
				m.Name = benchfmt.Name(m.name)
				m.machine = m.GetConfig("machine")
			}
			before = after
			all = append(all, ms...)
			if len(ms) > 0 && r.keep != nil {
				if err := r.keep(all); err != nil {
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
						names = append(names, m.name)
					}
				}
				continue
			}
			if s.name == own {
				return all, notes, err
			}
			notes = append(notes, err.Error())
			r.logf("%v", err)
			// What cannot run now cannot in the next round either.
			s.out = len(ms) == 0
		}
	}
	return all, notes, nil
}

// side is who takes part in a comparison.
type side struct {
	*adapter
	program string
	out     bool // it does not any more
}

func (s *side) execute(ctx context.Context, r *runner, names []string) ([]*measurement, error) {
	if s.name == own {
		return execute(ctx, r.root, s.commands(nil, "", nil, r.seconds)[0], own)
	}
	return s.run(ctx, r.root, s.program, names, r.seconds)
}

// peaks measures the peak of fused multiply-adds for the numbers of threads
// that benchmarks have.
func (r *runner) peaks() map[int]float64 {
	p := map[int]float64{1: r.peak(1)}
	if n := runtime.GOMAXPROCS(0); n > 1 {
		p[n] = r.peak(n)
	}
	return p
}

func measurePeak(threads int) float64 {
	return machine.PeakGFLOPS(threads, 100*time.Millisecond)
}

// configLines are the machine, the commit and the date of a run that begins now.
func configLines(root, machine string, now time.Time) ([][2]string, error) {
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	commit, err := git("rev-parse", "--short", "HEAD")
	if err != nil {
		commit = "unknown"
	} else if changes, err := git("status", "--porcelain", "--untracked-files=no"); err != nil || changes != "" {
		commit += "-changed"
	}
	if strings.ContainsAny(machine, `/\ `) || machine == "" {
		return nil, fmt.Errorf("-name %q: want the name of a folder, without spaces and slashes", machine)
	}
	return [][2]string{
		{"machine", machine}, {"commit", commit}, {"date", now.UTC().Format("2006-01-02T15:04Z")},
		{"threads-available", strconv.Itoa(runtime.GOMAXPROCS(0))}, {"go", runtime.Version()},
	}, nil
}

// findRoot returns the folder of the checkout that the working folder is in.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		text, readErr := os.ReadFile(filepath.Join(dir, "go.mod"))
		if readErr == nil && strings.HasPrefix(string(text), "module github.com/gomae/gomae\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("run this inside a clone of the repository: it builds the benchmarks there")
		}
		dir = parent
	}
	return "", err
}
