package main

import (
	"bytes"
	"cmp"
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

	"github.com/gomae/gomae/bench/internal/results"
	"github.com/gomae/gomae/internal/atomicfile"
	"golang.org/x/perf/benchfmt"
)

// own is the name of this module among the peers.
const own = results.Own

// peakUnit is the unit of the peak of fused multiply-adds that was measured around a run with as
// many threads.
const peakUnit = "peak-GFLOP/s"

// measurement is one timing of one benchmark: a line of results.
type measurement struct {
	*benchfmt.Result
	machine string
	peer    string // own, or another library
	variant string // of the peer: "eager-f32"
	name    string // without peer and GOMAXPROCS: "Forward/model=base/batch=8/threads=1"
}

// session identifies a run on a machine. Figures of different sessions are not compared, because a
// machine drifts from day to day.
type session struct{ date, commit string }

func (m *measurement) session() session {
	return session{m.GetConfig("date"), m.GetConfig("commit")}
}

// accelerator reports whether the time is that of a GPU or the like.
func (m *measurement) accelerator() bool {
	device := m.GetConfig("device")
	return device != "" && device != "cpu" || strings.Contains(m.name, "/device=")
}

// seconds returns the time of one operation.
func (m *measurement) seconds() float64 { v, _ := m.Value("sec/op"); return v }

// reduced reports whether a peer computes with fewer bits than float32.
func (m *measurement) reduced() bool { return reducedPrecision.MatchString(m.variant) }

var reducedPrecision = regexp.MustCompile(`(^|-)(tf32|bf16|f16|fp8|int8)($|-)`)

// part returns the value of a key in a benchmark's name, such as "batch" or "threads", or 0.
func part(name, key string) int {
	for _, p := range strings.Split(name, "/") {
		if v, ok := strings.CutPrefix(p, key+"="); ok {
			n, _ := strconv.Atoi(v)
			return n
		}
	}
	return 0
}

// newMeasurement takes a result apart. A result that does not name its machine or peer gets those
// given.
func newMeasurement(r *benchfmt.Result, machine, peer string) *measurement {
	base, parts := r.Name.Parts()
	m := &measurement{
		Result: r, machine: cmp.Or(r.GetConfig("machine"), machine), peer: cmp.Or(r.GetConfig("peer"), peer),
		variant: r.GetConfig("variant"), name: string(base),
	}
	for _, p := range parts {
		if p[0] == '-' { // GOMAXPROCS
			continue
		}
		m.name += string(p)
	}
	return m
}

// errNoTime reports a result whose time is not a number above 0.
var errNoTime = errors.New("has no time above 0 ns/op")

// parse reads results in Go's benchmark format. Malformed results are returned in broken, beside
// the good ones.
func parse(r io.Reader, file, machine, peer string) (ms []*measurement, broken []error, err error) {
	good, broken, err := results.Read(r, file)
	for _, result := range good {
		m := newMeasurement(result, machine, peer)
		if !(m.seconds() > 0) {
			broken = append(broken, fmt.Errorf("%s %w", result.Name, errNoTime))
			continue
		}
		ms = append(ms, m)
	}
	return ms, broken, err
}

// readFiles reads stored results from files, folders and patterns. A file whose results do not name
// their machine is taken to be named after it.
func readFiles(paths []string) ([]*measurement, error) {
	var files []string
	for _, path := range paths {
		found, err := filepath.Glob(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: no such file; stored results are in bench/results", path)
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

// setConfig sets a configuration line that write stores; an empty value removes it.
func setConfig(r *benchfmt.Result, key, value string) {
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
