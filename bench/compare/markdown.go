package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/atomicfile"
)

// The lines of a README between which the tool writes.
const (
	beginMark = "<!-- begin benchmarks -->"
	endMark   = "<!-- end benchmarks -->"
)

// plotPath is the path of a machine's plot, relative to bench/README.md.
func plotPath(machine string) string { return "results/" + machine + ".svg" }

// undisturbed leaves out what was measured beside busy processes: the READMEs have one line for a
// benchmark.
func undisturbed(ms []*measurement) []*measurement {
	return slices.DeleteFunc(ms, func(m *measurement) bool { return part(m.name, "busy") > 0 })
}

// headline matches the benchmarks of the repository's README.
var headline = regexp.MustCompile(`^(Forward|TrainStep)/model=base/batch=8/threads=`)

// summary is the section of the repository's README: a line for each headline benchmark, with our
// time on each machine, at each SIMD level that was compared with peers there, and the ratio to the
// fastest of them.
func (r *report) summary() string {
	tables := r.compared()
	var names []string
	for _, t := range tables {
		for _, row := range t.Rows {
			if headline.MatchString(row.Name) && !slices.Contains(names, row.Name) {
				names = append(names, row.Name)
			}
		}
	}
	var b strings.Builder
	b.WriteString("| ViT-B, batch of 8 |")
	for _, t := range tables {
		fmt.Fprintf(&b, " %s |", t.title())
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(tables)) + "\n")
	for _, name := range names {
		fmt.Fprintf(&b, "| %s |", headlineTitle(name))
		for _, t := range tables {
			cell := ""
			i := slices.IndexFunc(t.Rows, func(row *row) bool { return row.Name == name && row.Ours != nil })
			if i >= 0 {
				row := t.Rows[i]
				cell = fmt.Sprintf("%.3g ms per image", 1e3*row.Ours.Seconds/float64(part(name, "batch")))
				if len(row.Peers) > 0 { // the fastest comes first
					peer := row.Peers[0]
					cell += fmt.Sprintf("; %s takes %.2f times as long", title(peer.Peer), *peer.Ratio)
					if n := min(row.Ours.N, peer.N); n < fewest {
						cell += fmt.Sprintf(" (measured %s)", times(n))
					}
				}
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// fewest is how many measurements of each library a ratio needs, or else it is marked.
const fewest = 3

// times is "once" or "twice", of numbers below fewest.
func times(n int) string { return []string{1: "once", 2: "twice"}[n] }

// headlineTitle is "Training step, 2 threads".
func headlineTitle(name string) string {
	pass := "Forward pass"
	if strings.HasPrefix(name, "TrainStep") {
		pass = "Training step"
	}
	return pass + threadsOf(name)
}

// title names a peer as its authors do.
func title(peer string) string {
	for _, a := range adapters {
		if a.name == peer {
			return a.title
		}
	}
	return peer
}

// compared returns the tables for the READMEs: of each machine that of its best level, and those of
// other levels that have peers.
func (r *report) compared() (tables []*table) {
	first := best(r.Tables)
	for _, t := range r.Tables {
		if slices.Contains(first, t) || slices.ContainsFunc(t.Rows, func(row *row) bool { return row.Ours != nil && len(row.Peers) > 0 }) {
			tables = append(tables, t)
		}
	}
	return tables
}

// tables is the section of bench/README.md: a table for each machine and level, and a plot for each
// machine.
func (r *report) tables() string {
	var b strings.Builder
	first := best(r.Tables)
	for _, t := range r.compared() {
		var peers []string
		for _, row := range t.Rows {
			for _, f := range row.Peers {
				if !slices.Contains(peers, f.Peer) {
					peers = append(peers, f.Peer)
				}
			}
		}
		fmt.Fprintf(&b, "%s (%s):\n\n| benchmark | time | GFLOP/s | of peak |", t.title(), t.sessions())
		for _, p := range peers {
			fmt.Fprintf(&b, " %s |", p)
		}
		b.WriteString("\n|---|---|---|---|" + strings.Repeat("---|", len(peers)) + "\n")
		for _, row := range t.Rows {
			if row.Ours == nil {
				continue
			}
			f := row.Ours
			fmt.Fprintf(&b, "| %s | %s %s | %s | %s |", short(row.Name), f.time(), f.spread(), optional("%.0f", f.GFLOPS), optional("%.0f %%", f.Share))
			for _, p := range peers {
				cell := ""
				if i := slices.IndexFunc(row.Peers, func(f *figure) bool { return f.Peer == p }); i >= 0 {
					cell = row.Peers[i].ratio()
					if v := row.Peers[i].Variant; v != "" {
						cell += " " + v
					}
				}
				fmt.Fprintf(&b, " %s |", cell)
			}
			b.WriteString("\n")
		}
		if len(peers) == 0 {
			b.WriteString("\nNo results of peers are stored for this machine.\n")
		} else {
			b.WriteString("\nThe columns of peers have their time over ours; above 1× we are faster.\n")
		}
		if slices.Contains(first, t) && plot(t.Rows) != "" {
			fmt.Fprintf(&b, "\n![shares of peak](%s)\n", plotPath(t.Machine))
		}
		b.WriteString("\n")
	}
	if few := r.few(); few != "" {
		b.WriteString(few + ".\n\n")
	}
	if accelerated(r.Costs) {
		fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(costHead[:len(costHead)-1], " | "), strings.Repeat("---|", len(costHead)-1))
		for _, c := range r.Costs {
			cells := c.cells()
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells[:len(cells)-1], " | "))
		}
	} else {
		b.WriteString("No results of accelerators are stored.\n")
	}
	return b.String()
}

// sections are the files, relative to the root, whose marked sections the report makes.
func (r *report) sections() map[string]string {
	return map[string]string{"README.md": r.summary(), "bench/README.md": r.tables()}
}

// replaceSection replaces the lines between the marks of a text.
func replaceSection(text []byte, section string) ([]byte, error) {
	before, rest, ok := bytes.Cut(text, []byte(beginMark))
	_, after, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return nil, fmt.Errorf("has no lines %s and %s, in this order; add them where the figures belong", beginMark, endMark)
	}
	return slices.Concat(before, []byte(beginMark+"\n"+section), []byte(endMark), after), nil
}

// writeMarkdown writes the sections of both READMEs below root, and the plots.
func (r *report) writeMarkdown(root string) error {
	for name, section := range r.sections() {
		path := filepath.Join(root, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if text, err = replaceSection(text, section); err != nil {
			return fmt.Errorf("%s %w", path, err)
		}
		if err := atomicfile.WriteBytes(path, text); err != nil {
			return err
		}
	}
	for _, t := range best(r.Tables) {
		if svg := plot(t.Rows); svg != "" {
			path := filepath.Join(root, "bench", plotPath(t.Machine))
			if err := atomicfile.MkdirAll(filepath.Dir(path)); err != nil {
				return err
			}
			if err := atomicfile.WriteBytes(path, []byte(svg)); err != nil {
				return err
			}
		}
	}
	return nil
}
