package main

import (
	"cmp"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// report is the outcome of a set of measurements.
type report struct {
	Tables []*table  `json:"tables"`
	Costs  []*cost   `json:"costs"`
	Notes  []string  `json:"notes,omitempty"` // peers that are absent or failed
	Floors *floorSum `json:"floors,omitempty"`
}

// table holds the rows of a machine at one SIMD level.
type table struct {
	Machine string `json:"machine"`
	CPU     string `json:"cpu"`
	SIMD    string `json:"simd"`
	Best    string `json:"best_simd,omitempty"` // level of the CPU, if the results say it
	Rows    []*row `json:"rows"`
}

// row is a benchmark with the figures of everyone who ran it in one session.
type row struct {
	Name   string    `json:"name"`
	Date   string    `json:"date"`
	Commit string    `json:"commit"`
	Ours   *figure   `json:"ours,omitempty"`
	Peers  []*figure `json:"peers,omitempty"` // by the fastest variant of each, the fastest peer first
}

// figure summarises the measurements of one benchmark by one library. Optional fields are nil if
// they are unknown.
type figure struct {
	Peer    string      `json:"peer"`
	Version string      `json:"version,omitempty"`
	Variant string      `json:"variant,omitempty"`
	N       int         `json:"n"`              // measurements
	Seconds float64     `json:"seconds"`        // median time of one operation
	CI      *[2]float64 `json:"ci95,omitempty"` // of the median; nil below 6 measurements
	GFLOPS  *float64    `json:"gflop_s,omitempty"`
	Share   *float64    `json:"percent_of_peak,omitempty"`
	Ratio   *float64    `json:"ratio,omitempty"` // of a peer: its median time over ours
	P       *float64    `json:"p,omitempty"`     // of a peer: the p-value of Mann-Whitney's U test that our times and its times differ

	sample *benchmath.Sample
}

// newFigure summarises the measurements of one benchmark by one library.
func newFigure(ms []*measurement) *figure {
	m := ms[0]
	f := &figure{Peer: m.peer, Version: m.GetConfig("version"), Variant: m.variant, N: len(ms)}
	f.sample = sampleOf(ms, (*measurement).seconds)
	s := benchmath.AssumeNothing.Summary(f.sample, 0.95)
	f.Seconds = s.Center
	if !math.IsInf(s.Hi-s.Lo, 0) {
		f.CI = &[2]float64{s.Lo, s.Hi}
	}
	return f
}

func sampleOf(ms []*measurement, value func(*measurement) float64) *benchmath.Sample {
	var values []float64
	for _, m := range ms {
		values = append(values, value(m))
	}
	return benchmath.NewSample(values, &benchmath.DefaultThresholds)
}

// median returns the median of a unit, or nil unless every measurement has it.
func median(ms []*measurement, unit string) *float64 {
	for _, m := range ms {
		if v, ok := m.Value(unit); !ok || v == 0 {
			return nil
		}
	}
	v := benchmath.AssumeNothing.Summary(sampleOf(ms, func(m *measurement) float64 { v, _ := m.Value(unit); return v }), 0.95).Center
	return &v
}

// simdOrder lists the best level first. Peers are compared with the best level of a machine.
var simdOrder = []string{"avx512", "avx2", "generic", ""}

// groups are values by key.
type groups[K comparable, V any] struct {
	keys []K // in order of first appearance
	of   map[K][]V
}

func groupBy[K comparable, V any](values []V, key func(V) K) *groups[K, V] {
	g := &groups[K, V]{of: map[K][]V{}}
	for _, v := range values {
		k := key(v)
		if _, ok := g.of[k]; !ok {
			g.keys = append(g.keys, k)
		}
		g.of[k] = append(g.of[k], v)
	}
	return g
}

// newReport compares measurements. Of several sessions of a machine, the latest one that ran a
// benchmark counts.
func newReport(all []*measurement, prices map[string]float64) *report {
	r := &report{}
	cpus := slices.DeleteFunc(slices.Clone(all), (*measurement).accelerator)
	machines := groupBy(cpus, func(m *measurement) string { return m.machine })
	for _, machine := range machines.keys {
		r.Tables = append(r.Tables, tablesOf(machine, machines.of[machine])...)
	}
	r.Costs = costs(r.Tables, all, prices)
	return r
}

// tablesOf returns a table for each SIMD level of a machine. Peers that kept to a level are in its
// table. Others are in that of our best level, unless it is below the CPU's: then they are in one of
// their own, as if we have no results.
func tablesOf(machine string, ms []*measurement) (tables []*table) {
	unlimited := ""
	if i := slices.IndexFunc(simdOrder, func(level string) bool {
		return slices.ContainsFunc(ms, func(m *measurement) bool {
			return m.peer == own && m.GetConfig("simd") == level && cmp.Or(m.GetConfig("best-simd"), level) == level
		})
	}); i >= 0 {
		unlimited = simdOrder[i]
	}
	levels := groupBy(ms, func(m *measurement) string {
		if simd := m.GetConfig("simd"); m.peer == own || simd != "" {
			return simd
		}
		return unlimited
	})
	slices.SortStableFunc(levels.keys, func(a, b string) int {
		return slices.Index(simdOrder, a) - slices.Index(simdOrder, b)
	})
	for _, level := range levels.keys {
		t := &table{Machine: machine, CPU: ms[0].GetConfig("cpu"), SIMD: level}
		rows := levels.of[level]
		for _, m := range rows {
			t.Best = cmp.Or(t.Best, m.GetConfig("best-simd"))
		}
		names := groupBy(rows, func(m *measurement) string { return m.name })
		for _, name := range names.keys {
			t.Rows = append(t.Rows, newRow(name, names.of[name]))
		}
		tables = append(tables, t)
	}
	return tables
}

// newRow compares the measurements of one benchmark in the latest session that has it.
func newRow(name string, ms []*measurement) *row {
	latest, ms := latestSession(ms)
	r := &row{Name: name, Date: latest.date, Commit: latest.commit}
	var flop float64 // floating-point operations per call
	ours := slices.DeleteFunc(slices.Clone(ms), func(m *measurement) bool { return m.peer != own })
	if len(ours) > 0 {
		r.Ours = newFigure(ours)
		r.Ours.Share = median(ours, "%peak")
		if r.Ours.GFLOPS = median(ours, "GFLOP/s"); r.Ours.GFLOPS != nil {
			rate, _ := ours[0].Value("GFLOP/s")
			flop = rate * 1e9 * ours[0].seconds()
		}
	}
	r.Peers = bestOf(slices.DeleteFunc(slices.Clone(ms), func(m *measurement) bool { return m.peer == own || m.reduced() }),
		func(m *measurement) string { return m.peer }, func(f *figure, ms []*measurement) {
			if flop > 0 {
				rate := flop / f.Seconds / 1e9
				f.GFLOPS = &rate
				if peak := median(ms, peakUnit); peak != nil {
					share := 100 * rate / *peak
					f.Share = &share
				}
			}
			if r.Ours != nil {
				ratio := f.Seconds / r.Ours.Seconds
				p := benchmath.AssumeNothing.Compare(r.Ours.sample, f.sample).P
				f.Ratio, f.P = &ratio, &p
			}
		})
	return r
}

// latestSession returns the session with the latest date and its measurements. Sessions without our
// results count only if there are no others: in a table of our best level, peers that keep to no level
// may come from a session at a lower one.
func latestSession(ms []*measurement) (session, []*measurement) {
	sessions := groupBy(ms, (*measurement).session)
	candidates := groupBy(slices.DeleteFunc(slices.Clone(ms), func(m *measurement) bool { return m.peer != own }), (*measurement).session).keys
	if len(candidates) == 0 {
		candidates = sessions.keys
	}
	latest := slices.MaxFunc(candidates, func(a, b session) int { return cmp.Compare(a.date, b.date) })
	return latest, sessions.of[latest]
}

// figures returns our figure, if there is one, and those of the peers.
func (r *row) figures() []*figure {
	if r.Ours == nil {
		return r.Peers
	}
	return append([]*figure{r.Ours}, r.Peers...)
}

// bestOf returns the variant with the lowest median for each key, the fastest first. It passes each
// with its measurements to more, unless that is nil.
func bestOf(ms []*measurement, key func(*measurement) string, more func(*figure, []*measurement)) (best []*figure) {
	keys := groupBy(ms, key)
	for _, k := range keys.keys {
		variants := groupBy(keys.of[k], func(m *measurement) string { return m.variant })
		var fastest *figure
		var of []*measurement
		for _, v := range variants.keys {
			if f := newFigure(variants.of[v]); fastest == nil || f.Seconds < fastest.Seconds {
				fastest, of = f, variants.of[v]
			}
		}
		if more != nil {
			more(fastest, of)
		}
		best = append(best, fastest)
	}
	slices.SortStableFunc(best, func(a, b *figure) int { return cmp.Compare(a.Seconds, b.Seconds) })
	return best
}

// best returns the table of each machine's best SIMD level, which is its first.
func best(tables []*table) (first []*table) {
	for _, t := range tables {
		if !slices.ContainsFunc(first, func(o *table) bool { return o.Machine == t.Machine }) {
			first = append(first, t)
		}
	}
	return first
}
