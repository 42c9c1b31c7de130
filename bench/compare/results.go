package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gomae/gomae/internal/atomicfile"
	"golang.org/x/perf/benchfmt"
)

// own is the name of this module among the peers.
const own = "gomae"

// peakUnit is the peak of fused multiply-adds with a result's threads, measured
// around the run that it is from.
const peakUnit = "peak-GFLOP/s"

// measurement is one timing of one benchmark: a line of a result.
type measurement struct {
	*benchfmt.Result
	machine string
	peer    string // own, or who else
	variant string // of a peer: "eager-f32"
	name    string // without peer and GOMAXPROCS: "Forward/model=base/batch=8/threads=1"
}

// session is what tells runs of a machine apart. Only figures of one session
// are compared: a machine drifts from day to day.
type session struct{ date, commit string }

func (m *measurement) session() session {
	return session{m.GetConfig("date"), m.GetConfig("commit")}
}

// accelerator says whether the time is not a CPU's.
func (m *measurement) accelerator() bool {
	device := m.GetConfig("device")
	return device != "" && device != "cpu" || strings.Contains(m.name, "/device=")
}

// seconds of one operation.
func (m *measurement) seconds() float64 { v, _ := m.Value("sec/op"); return v }

// reduced says whether a peer computes with fewer bits than float32.
func (m *measurement) reduced() bool { return reducedPrecision.MatchString(m.variant) }

var reducedPrecision = regexp.MustCompile(`(^|-)(tf32|bf16|f16|fp8|int8)($|-)`)

// part is the value of a part of a benchmark's name, such as "batch" or
// "threads", or 0.
func part(name, key string) int {
	for _, p := range strings.Split(name, "/") {
		if v, ok := strings.CutPrefix(p, key+"="); ok {
			n, _ := strconv.Atoi(v)
			return n
		}
	}
	return 0
}

// newMeasurement takes a result apart. machine and peer are those of results
// that do not say.
func newMeasurement(r *benchfmt.Result, machine, peer string) *measurement {
	m := &measurement{Result: r, machine: machine, peer: peer}
	if v := r.GetConfig("machine"); v != "" {
		m.machine = v
	}
	base, parts := r.Name.Parts()
	m.name = string(base)
	for _, p := range parts {
		if p[0] == '-' { // GOMAXPROCS
			continue
		}
		// torch_bench.py's names end in /peer=torch-eager-f32.
		if v, ok := bytes.CutPrefix(p, []byte("/peer=")); ok {
			m.peer, m.variant, _ = strings.Cut(string(v), "-")
			continue
		}
		m.name += string(p)
	}
	if v := r.GetConfig("peer"); v != "" {
		m.peer = v
	}
	if v := r.GetConfig("variant"); v != "" {
		m.variant = v
	}
	return m
}

// parse reads results in Go's benchmark format. Lines that are none are
// skipped; broken ones are returned as errors beside the good ones.
func parse(r io.Reader, file, machine, peer string) (ms []*measurement, broken []error, err error) {
	reader := benchfmt.NewReader(r, file)
	for reader.Scan() {
		switch rec := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			broken = append(broken, rec)
		case *benchfmt.Result:
			m := newMeasurement(rec.Clone(), machine, peer)
			if !(m.seconds() > 0) {
				broken = append(broken, fmt.Errorf("%s has no time above 0 ns/op", rec.Name))
				continue
			}
			ms = append(ms, m)
		}
	}
	return ms, broken, reader.Err()
}

// readFiles reads stored results: files, folders and patterns. Results that do
// not name their machine are of one with the name of their file.
func readFiles(paths []string) ([]*measurement, error) {
	var files []string
	for _, path := range paths {
		found, err := filepath.Glob(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: no such file; stored results are under bench/results", path)
		}
		for _, f := range found {
			err := filepath.WalkDir(f, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || path != f && filepath.Ext(path) != ".txt" {
					return err
				}
				path, err = filepath.Abs(path)
				files = append(files, path)
				return err
			})
			if err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(files)
	var all []*measurement
	for _, path := range slices.Compact(files) {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		ms, broken, err := parse(bytes.NewReader(text), path, strings.TrimSuffix(filepath.Base(path), ".txt"), own)
		if err = errors.Join(append(broken, err)...); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(ms) == 0 {
			return nil, fmt.Errorf("%s: holds no benchmark results", path)
		}
		all = append(all, ms...)
	}
	return all, nil
}

// setFile sets a configuration line of a result's file; "" removes it.
func setFile(r *benchfmt.Result, key, value string) {
	r.SetConfig(key, value)
	if i, ok := r.ConfigIndex(key); ok {
		r.Config[i].File = true
	}
}

// write stores results for readFiles and for benchstat.
func write(path string, ms []*measurement) error {
	if err := atomicfile.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		out := benchfmt.NewWriter(w)
		for _, m := range ms {
			if err := out.Write(m.Result); err != nil {
				return err
			}
		}
		return nil
	})
}

// selector is a pattern of go test's -bench: alternatives of regular
// expressions, one for each part of a name between slashes.
type selector [][]*regexp.Regexp

// newSelector parses a pattern.
func newSelector(pattern string) (selector, error) {
	var s selector
	for _, alternative := range split(pattern, '|') {
		var parts []*regexp.Regexp
		for _, p := range split(alternative, '/') {
			re, err := regexp.Compile(p)
			if err != nil {
				return nil, fmt.Errorf("-bench %s: %w", pattern, err)
			}
			parts = append(parts, re)
		}
		s = append(s, parts)
	}
	return s, nil
}

// split cuts a pattern at a separator outside brackets, as package testing
// does.
func split(pattern string, separator byte) (parts []string) {
	start, square, round := 0, 0, 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case c == '[':
			square++
		case c == ']':
			square = max(0, square-1)
		case c == '(' && square == 0:
			round++
		case c == ')' && square == 0:
			round--
		case c == separator && square == 0 && round == 0:
			parts = append(parts, pattern[start:i])
			start = i + 1
		}
	}
	return append(parts, pattern[start:])
}

func (s selector) match(name string) bool {
	names := strings.Split("Benchmark"+name, "/") // as go test matches
	return slices.ContainsFunc(s, func(parts []*regexp.Regexp) bool {
		if len(parts) > len(names) {
			return false
		}
		for i, p := range parts {
			if !p.MatchString(names[i]) {
				return false
			}
		}
		return true
	})
}

// presets are names for patterns of -bench.
var presets = map[string]string{
	"quick": "BenchmarkGemm$/^shape=(99x3072x768|99x768x3072|99x768x768|792x3072x768|1568x1024x256|1024x1024x1024)$/packed" +
		"|Benchmark(Forward|TrainStep)$/^model=base$/^batch=8$",
	"gemm":   "BenchmarkGemm$",
	"models": "Benchmark(Forward|TrainStep)$",
	"all":    ".",
}
