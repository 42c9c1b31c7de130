package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/gomae/gomae/internal/machine"
	"github.com/gomae/gomae/multimae/parity"
	"github.com/gomae/gomae/tensor"
)

func parityCommand(e *env) *command {
	fs := newFlags()
	var (
		asJSON   = fs.Bool("json", false, "print the reports as JSON")
		markdown = fs.Bool("markdown", false, "print one Markdown table for all folders")
		workers  = fs.Int("workers", 0, "compute on `N` cores; 0 means all. The number does not change the result")
	)
	return &command{
		name:  "gomae parity",
		usage: "gomae parity [flags] DIR...",
		short: "compare this implementation with dumps of PyTorch",
		about: `Repeats the computation of a dump folder (forward pass, losses, every gradient,
optimiser steps) and compares the results with what PyTorch computed in float64.
A group of tensors passes if its largest relative error is at most twice the
error of PyTorch's own float32 run, or at most 5e-7. The table shows the ratio of
the two errors. testdata/README.md describes the folder. The exit code is 1
unless every group passes.

-markdown prints the largest error of each folder and group with its ratio. An
error above PyTorch's own and above 5e-7 misses the aim of the project and is in
bold.`,
		examples: []string{
			"gomae parity testdata/parity/pretrain_tiny",
			"GOMAE_SIMD=generic gomae parity testdata/parity/*",
			"gomae parity -markdown testdata/parity/*",
		},
		flags: fs,
		run: func(ctx context.Context, args []string) error {
			if len(args) == 0 {
				return usagef("argument missing: DIR, a dump folder")
			}
			if err := atLeast(fs, 0, "workers"); err != nil {
				return err
			}
			if *asJSON && *markdown {
				return usagef("-json and -markdown exclude each other")
			}
			pool := tensor.NewPool(*workers)
			defer pool.Close()
			passed, failed := 0, 0
			reports, read := []any{}, []*parity.Report{}
			for i, dir := range args {
				if ctx.Err() != nil {
					return fmt.Errorf("interrupted after %d of %s; run it again", i, count(len(args), "folder"))
				}
				r, err := parity.Run(os.DirFS(dir), dir, pool)
				if err != nil {
					e.logf("%v", err)
					failed++
					reports = append(reports, unreadable{dir, err.Error()})
					continue
				}
				for _, g := range r.Groups {
					if g.Pass {
						passed++
					} else {
						failed++
					}
				}
				reports, read = append(reports, r), append(read, r)
				if !*asJSON && !*markdown {
					e.writeParity(r)
				}
			}
			switch {
			case *asJSON:
				if err := e.writeJSON(reports); err != nil {
					return err
				}
			case *markdown:
				e.writeParityMarkdown(read)
			default:
				fmt.Fprintf(e.stdout, "%d passed, %d failed\n", passed, failed)
			}
			if failed > 0 {
				return errReported
			}
			return nil
		},
	}
}

// unreadable takes the place of a parity.Report.
type unreadable struct {
	Dir   string `json:"dir"`
	Error string `json:"error"`
}

// writeParity prints the table of a dump folder.
func (e *env) writeParity(r *parity.Report) {
	level, _, _ := machine.SIMD()
	fmt.Fprintf(e.stdout, "%s (%s, SIMD level %s)\n", r.Dir, r.Model, level)
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  group\ttensors\terror\tPyTorch float32\tratio\t\tworst tensor")
	for _, g := range r.Groups {
		verdict := "pass"
		if !g.Pass {
			verdict = "FAIL"
		}
		fmt.Fprintf(w, "  %s\t%d\t%.2e\t%.2e\t%.2f\t%s\t%s\n", g.Name, g.Count, g.Error, g.Torch, g.Ratio, verdict, g.Worst)
	}
	w.Flush()
	for _, g := range r.Groups {
		if g.First != "" {
			fmt.Fprintf(e.stdout, "  first in %s: %s\n", g.Name, g.First)
		}
	}
	fmt.Fprintln(e.stdout)
}

// writeParityMarkdown prints a table with a row for each dump folder and a column for each group
// that one of them has, in the order of computation.
func (e *env) writeParityMarkdown(reports []*parity.Report) {
	if len(reports) == 0 {
		return
	}
	var groups []string
	for _, r := range reports {
		at := 0 // of the next group that has no column yet
		for _, g := range r.Groups {
			if i := slices.Index(groups, g.Name); i >= 0 {
				at = i + 1
				continue
			}
			groups = slices.Insert(groups, at, g.Name)
			at++
		}
	}
	level, _, _ := machine.SIMD()
	fmt.Fprintf(e.stdout, "SIMD level %s; bold: above PyTorch's own error and above %.0e.\n\n", level, parity.Floor)
	fmt.Fprintf(e.stdout, "| dump | %s | largest ratio |\n", strings.Join(groups, " | "))
	fmt.Fprintf(e.stdout, "|---|%s---|\n", strings.Repeat("---|", len(groups)))
	for _, r := range reports {
		fmt.Fprintf(e.stdout, "| `%s` |", filepath.Base(r.Dir))
		var largest *parity.Group
		aim := true
		for _, name := range groups {
			i := slices.IndexFunc(r.Groups, func(g parity.Group) bool { return g.Name == name })
			if i < 0 {
				fmt.Fprint(e.stdout, " – |")
				continue
			}
			g := &r.Groups[i]
			fmt.Fprintf(e.stdout, " %s |", bold(fmt.Sprintf("%.1e (%.2f)", g.Error, g.Ratio), !g.MeetsAim()))
			if largest == nil || g.Ratio > largest.Ratio {
				largest = g
			}
			aim = aim && g.MeetsAim()
		}
		fmt.Fprintf(e.stdout, " %s |\n", bold(fmt.Sprintf("%.2f, %s", largest.Ratio, largest.Name), !aim))
	}
}

// bold returns text as Markdown, in bold if yes.
func bold(text string, yes bool) string {
	if yes {
		return "**" + text + "**"
	}
	return text
}
