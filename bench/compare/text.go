package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchunit"
)

// who names a library with its variant and version.
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

// time formats the median with a unit that suits it: "1.382 ms".
func (f *figure) time() string {
	s := benchunit.Scale(f.Seconds, benchunit.Decimal)
	number := strings.TrimRight(s, "nµmk")
	return number + " " + s[len(number):] + "s"
}

// spread formats the confidence interval as a percentage of the median.
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

// ratio formats a peer's time over ours, with the p-value.
func (f *figure) ratio() string {
	if f.Ratio == nil {
		return ""
	}
	return fmt.Sprintf("%.2f× (p=%.3f)", *f.Ratio, *f.P)
}

// title names the machine and the SIMD level of a table, and says if that is not the CPU's.
func (t *table) title() string {
	simd := t.SIMD
	if simd != "" && t.Best != "" && simd != t.Best {
		simd = "limited to " + simd
	}
	return strings.Join(slices.DeleteFunc([]string{t.Machine, t.CPU, simd}, func(s string) bool { return s == "" }), ", ")
}

// sessions lists the commits and dates of a table's rows.
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

// short is a benchmark's name without most of its keys.
func short(name string) string {
	threads := threadsOf(name)
	name = strings.NewReplacer("/shape=", " ", "/weights=", " ", "/model=", " ", "/batch=", " batch ", "/heads=", " heads ", "/pass=", " ").Replace(name)
	name, _, _ = strings.Cut(name, "/threads=")
	return name + threads
}

// threadsOf is ", 2 threads" for a benchmark's name, or empty.
func threadsOf(name string) string {
	switch n := part(name, "threads"); n {
	case 0:
		return ""
	case 1:
		return ", 1 thread"
	default:
		return fmt.Sprintf(", %d threads", n)
	}
}

// text writes the report for a terminal.
func (r *report) text(w io.Writer) {
	for _, t := range r.Tables {
		fmt.Fprintf(w, "%s (%s)\n\n", t.title(), t.sessions())
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "benchmark\tby\ttime\tCI 95 %\tn\tGFLOP/s\t% of peak\ttime over ours\t")
		for _, row := range t.Rows {
			name := row.Name
			for _, f := range row.figures() {
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t\n", name, f.who(), f.time(), f.spread(), f.N,
					optional("%.0f", f.GFLOPS), optional("%.1f", f.Share), f.ratio())
				name = ""
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

// few warns if a figure has too few measurements for a confidence interval.
func (r *report) few() string {
	for _, t := range r.Tables {
		for _, row := range t.Rows {
			if slices.ContainsFunc(row.figures(), func(f *figure) bool { return f.CI == nil }) {
				return "± ∞: a confidence interval at 95 % needs 6 measurements"
			}
		}
	}
	return ""
}
