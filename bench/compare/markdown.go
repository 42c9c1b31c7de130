package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/atomicfile"
)

const (
	beginMark = "<!-- begin benchmarks -->"
	endMark   = "<!-- end benchmarks -->"
)

// plotPath is where the plot of a machine is, seen from the README.
func plotPath(machine string) string { return "bench/results/" + machine + ".svg" }

// first are the tables of each machine's best SIMD level.
func (r *report) first() (tables []*table) {
	for _, t := range r.Tables {
		if !slices.ContainsFunc(tables, func(o *table) bool { return o.Machine == t.Machine }) {
			tables = append(tables, t)
		}
	}
	return tables
}

// markdown is the section of a README between the marks, for a reader who
// finds the whole in the files.
func (r *report) markdown() string {
	var b strings.Builder
	for _, t := range r.first() {
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
			b.WriteString("\nNo peers' results are stored for this machine.\n")
		} else {
			b.WriteString("\nPeers: their time over ours, above 1× we are faster.\n")
		}
		if plot(t.Rows) != "" {
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
		b.WriteString("Accelerators: no results stored.\n")
	}
	return b.String()
}

// between replaces what stands between the marks of a text.
func between(text []byte, section string) ([]byte, error) {
	before, rest, ok := bytes.Cut(text, []byte(beginMark))
	_, after, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return nil, fmt.Errorf("has no lines %s and %s, in this order", beginMark, endMark)
	}
	return slices.Concat(before, []byte(beginMark+"\n"+section), []byte(endMark), after), nil
}

// writeMarkdown puts the section into a README, and the plots where it refers
// to them.
func (r *report) writeMarkdown(readme string) error {
	text, err := os.ReadFile(readme)
	if err != nil {
		return fmt.Errorf("-readme: %w", err)
	}
	if text, err = between(text, r.markdown()); err != nil {
		return fmt.Errorf("-readme: %s %w", readme, err)
	}
	if err := writeFile(readme, text); err != nil {
		return err
	}
	for _, t := range r.first() {
		if svg := plot(t.Rows); svg != "" {
			path := filepath.Join(filepath.Dir(readme), plotPath(t.Machine))
			if err := atomicfile.MkdirAll(filepath.Dir(path)); err != nil {
				return err
			}
			if err := writeFile(path, []byte(svg)); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeFile(path string, text []byte) error {
	return atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}
