package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/gomae/gomae/multimae/parity"
	"github.com/gomae/gomae/tensor"
)

func parityCommand(e *env) *ffcli.Command {
	fs := new(flag.FlagSet)
	var (
		asJSON  = fs.Bool("json", false, "print the reports as JSON")
		workers = fs.Int("workers", 0, "compute on `N` cores; 0 means all. The result is the same to the bit")
	)
	return &ffcli.Command{
		Name:       "parity",
		ShortUsage: "gomae parity [flags] DIR...",
		ShortHelp:  "hold this implementation against dumps of PyTorch",
		LongHelp: `Repeats what a dump folder holds (forward pass, losses, every gradient, optimiser
steps) and compares with what PyTorch computed in float64. A group of tensors
passes if its largest relative error is at most twice that of PyTorch's own
float32 run, or 5e-7; the ratio to the latter is shown. testdata/README.md
describes the folder. The exit code is 1 unless everything passes.

Examples:
  gomae parity testdata/parity/pretrain_tiny
  GOMAE_SIMD=generic gomae parity testdata/parity/*`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if len(args) == 0 {
				return usagef("argument missing: DIR, a dump folder")
			}
			if *workers < 0 {
				return usagef("-workers %d: want 0 or more", *workers)
			}
			pool := tensor.NewPool(*workers)
			defer pool.Close()
			passed, failed := 0, 0
			reports := []any{}
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
				reports = append(reports, r)
				if !*asJSON {
					e.writeParity(r)
				}
			}
			if *asJSON {
				if err := e.writeJSON(reports); err != nil {
					return err
				}
			} else {
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

// writeParity prints the table of one dump folder.
func (e *env) writeParity(r *parity.Report) {
	level, _, _ := tensor.SIMD()
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
