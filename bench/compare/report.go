package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchmath"
	"golang.org/x/perf/benchunit"
)

// report is everything that the tool says about a set of measurements.
type report struct {
	Tables []*table  `json:"tables"`
	Costs  []*cost   `json:"costs"`
	Notes  []string  `json:"notes,omitempty"` // absent peers and what else did not work
	Floors *floorSum `json:"floors,omitempty"`
}

// table holds the rows of a machine at one SIMD level.
type table struct {
	Machine string `json:"machine"`
	CPU     string `json:"cpu"`
	SIMD    string `json:"simd"`
	Rows    []*row `json:"rows"`
}

// row is a benchmark with all who ran it in one session.
type row struct {
	Name   string    `json:"name"`
	Date   string    `json:"date"`
	Commit string    `json:"commit"`
	Ours   *figure   `json:"ours,omitempty"`
	Peers  []*figure `json:"peers,omitempty"` // the best variant of each, the fastest first
}

// figure is what was measured of one who ran a benchmark. Optional figures are
// nil where they cannot be told.
type figure struct {
	Peer    string      `json:"peer"`
	Version string      `json:"version,omitempty"`
	Variant string      `json:"variant,omitempty"`
	N       int         `json:"n"`              // measurements
	Seconds float64     `json:"seconds"`        // median time of one operation
	CI      *[2]float64 `json:"ci95,omitempty"` // of the median; it takes 6 measurements
	GFLOPS  *float64    `json:"gflop_s,omitempty"`
	Share   *float64    `json:"percent_of_peak,omitempty"`
	Ratio   *float64    `json:"ratio,omitempty"` // of a peer: its median time over ours
	P       *float64    `json:"p,omitempty"`     // of a peer: that times like these are of one distribution, by Mann-Whitney's U test

	sample *benchmath.Sample
}

// newFigure summarises measurements of one benchmark by one peer.
func newFigure(ms []*measurement) *figure {
	m := ms[0]
	f := &figure{Peer: m.peer, Version: cmp.Or(m.GetConfig("version"), m.GetConfig(m.peer)), Variant: m.variant, N: len(ms)}
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

// median of a unit, or nil where it was not measured each time.
func median(ms []*measurement, unit string) *float64 {
	for _, m := range ms {
		if v, ok := m.Value(unit); !ok || v == 0 {
			return nil
		}
	}
	v := benchmath.AssumeNothing.Summary(sampleOf(ms, func(m *measurement) float64 { v, _ := m.Value(unit); return v }), 0.95).Center
	return &v
}

// simdOrder has the best level first: with it the peers are compared.
var simdOrder = []string{"avx512", "avx2", "generic", ""}

// group collects values under keys, in order of appearance.
type group[K comparable, V any] struct {
	keys []K
	of   map[K][]V
}

func groupBy[K comparable, V any](values []V, key func(V) K) *group[K, V] {
	g := &group[K, V]{of: map[K][]V{}}
	for _, v := range values {
		k := key(v)
		if _, ok := g.of[k]; !ok {
			g.keys = append(g.keys, k)
		}
		g.of[k] = append(g.of[k], v)
	}
	return g
}

// newReport compares. Of several sessions of a machine the latest counts that
// ran a benchmark.
func newReport(all []*measurement, prices map[string]float64) *report {
	r := &report{}
	cpus := slices.DeleteFunc(slices.Clone(all), (*measurement).accelerator)
	machines := groupBy(cpus, func(m *measurement) string { return m.machine })
	for _, machine := range machines.keys {
		ms := machines.of[machine]
		r.Tables = append(r.Tables, tablesOf(machine, ms)...)
	}
	r.Costs = costs(r.Tables, all, prices)
	return r
}

func tablesOf(machine string, ms []*measurement) (tables []*table) {
	levels := groupBy(ms, func(m *measurement) string {
		if m.peer != own {
			return "peers"
		}
		return m.GetConfig("simd")
	})
	peers := levels.of["peers"]
	slices.SortStableFunc(levels.keys, func(a, b string) int {
		return slices.Index(simdOrder, a) - slices.Index(simdOrder, b)
	})
	for _, level := range levels.keys {
		if level == "peers" && len(levels.keys) > 1 {
			continue
		}
		t := &table{Machine: machine, CPU: ms[0].GetConfig("cpu"), SIMD: level}
		rows := levels.of[level]
		if level == "peers" {
			t.SIMD = ""
		} else if len(tables) == 0 {
			rows = slices.Concat(rows, peers)
		}
		names := groupBy(rows, func(m *measurement) string { return m.name })
		for _, name := range names.keys {
			t.Rows = append(t.Rows, newRow(name, names.of[name]))
		}
		tables = append(tables, t)
	}
	return tables
}

func newRow(name string, ms []*measurement) *row {
	sessions := groupBy(ms, (*measurement).session)
	latest := slices.MaxFunc(sessions.keys, func(a, b session) int { return cmp.Compare(a.date, b.date) })
	ms = sessions.of[latest]
	r := &row{Name: name, Date: latest.date, Commit: latest.commit}
	var flop float64 // of an operation
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

// bestOf returns for each key the variant with the lowest median, the fastest
// first, each completed by more.
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

// who names a peer with its variant and version.
func (f *figure) who() string {
	name := f.Peer
	if f.Variant != "" {
		name += " " + f.Variant
	}
	if f.Version != "" {
		name += " " + f.Version
	}
	return name
}

// time is the median with a prefixed unit: "1.382 ms".
func (f *figure) time() string {
	s := benchunit.Scale(f.Seconds, benchunit.Decimal)
	number := strings.TrimRight(s, "nµmk")
	return number + " " + s[len(number):] + "s"
}

// spread is the confidence interval as a percentage of the median.
func (f *figure) spread() string {
	if f.CI == nil {
		return "± ∞"
	}
	return fmt.Sprintf("± %.0f %%", 100*max(f.CI[1]-f.Seconds, f.Seconds-f.CI[0])/f.Seconds)
}

func optional(format string, v *float64) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf(format, *v)
}

// ratio is a peer's time in terms of ours, with the p-value.
func (f *figure) ratio() string {
	if f.Ratio == nil {
		return ""
	}
	return fmt.Sprintf("%.2f× (p=%.3f)", *f.Ratio, *f.P)
}

// title says what a table is of.
func (t *table) title() string {
	return strings.Join(slices.DeleteFunc([]string{t.Machine, t.CPU, t.SIMD}, func(s string) bool { return s == "" }), ", ")
}

// sessions are the commits and dates of a table's rows.
func (t *table) sessions() string {
	var words []string
	for _, r := range t.Rows {
		w := cmp.Or(r.Date, "undated")
		if r.Commit != "" {
			w = "commit " + r.Commit + ", " + w
		}
		if !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	return strings.Join(words, "; ")
}

// text writes the report for a terminal.
func (r *report) text(w io.Writer) {
	for _, t := range r.Tables {
		fmt.Fprintf(w, "%s (%s)\n\n", t.title(), t.sessions())
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "benchmark\tby\ttime\tCI 95 %\tn\tGFLOP/s\t% of peak\ttime over ours\t")
		line := func(name string, f *figure) {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t\n", name, f.who(), f.time(), f.spread(), f.N,
				optional("%.0f", f.GFLOPS), optional("%.1f", f.Share), f.ratio())
		}
		for _, row := range t.Rows {
			name := row.Name
			for _, f := range append([]*figure{row.Ours}, row.Peers...) {
				if f != nil {
					line(name, f)
					name = ""
				}
			}
		}
		tw.Flush()
		fmt.Fprintln(w)
	}
	r.costText(w)
	for _, n := range r.Notes {
		fmt.Fprintln(w, n)
	}
	if few := r.few(); few != "" {
		fmt.Fprintln(w, few)
	}
	if r.Floors != nil {
		r.Floors.text(w)
	}
}

// few warns of too few measurements.
func (r *report) few() string {
	for _, t := range r.Tables {
		for _, row := range t.Rows {
			for _, f := range append([]*figure{row.Ours}, row.Peers...) {
				if f != nil && f.CI == nil {
					return "± ∞: a confidence interval at 95 % takes 6 measurements"
				}
			}
		}
	}
	return ""
}
