package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// options are the command line after all checks.
type options struct {
	bench    string // as given, or the default
	pattern  string // of go test's -bench
	selected selector
	rounds   int
	seconds  float64
	busy     int
	peers    []adapter
	python   string
	name     string // of the machine
	save     bool
	stored   bool     // measure nothing
	files    []string // of stored results
	html     string   // file; empty for none
	json     bool
	markdown bool
	floors   []floor // nil for none
	prices   map[string]float64
}

// usageError reports a command line that is wrong.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func parseOptions(root string, args []string, stderr io.Writer) (*options, error) {
	var known []string
	for _, a := range adapters {
		known = append(known, a.name)
	}
	o := &options{}
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.bench, "bench", "", "run these benchmarks: quick, gemm, models, finetune, all, or a `REGEXP` as for go test -bench (default quick; with -from, all)")
	fs.IntVar(&o.rounds, "rounds", 6, "measure everyone `N` times, in turn; a confidence interval needs 6")
	fs.Float64Var(&o.seconds, "seconds", 1, "spend `S` seconds on each measurement")
	fs.IntVar(&o.busy, "busy", 0, "let `N` other processes keep cores busy meanwhile; the benchmarks' names then end in /busy=N")
	peers := fs.String("peers", strings.Join(known, ","), "compare with the peers in `LIST`, or with none; torch=eager+onednn takes only those variants of a peer")
	fs.StringVar(&o.python, "python", "python3", "the interpreter for peers in Python")
	fs.BoolVar(&o.save, "save", false, "store the raw results in bench/results/MACHINE/DATE-COMMIT.txt")
	fs.StringVar(&o.name, "name", defaultMachine(), "the `NAME` of the machine in the results")
	from := fs.String("from", "", "measure nothing and read stored results: `FILES`, folders or patterns, separated by commas or spaces")
	fs.StringVar(&o.html, "html", "", "also write a page with tables and plots to `FILE`")
	fs.BoolVar(&o.json, "json", false, "write JSON instead of text")
	fs.BoolVar(&o.markdown, "markdown", false, "write the tables and plots of both READMEs, from all stored results or from those of -from")
	floors := fs.String("floors", filepath.Join(root, "bench/floors.txt"), "the `FILE` with the lowest acceptable figures; empty for none")
	price := fs.String("price", "", "the price of an hour on each machine, `MACHINE=PRICE,...`, such as zen5-2-cores=0.10")
	var rest []string // a shell expands a pattern to several arguments, and flags may follow them
	for args := args; ; {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, usageError{err}
		}
		if args = fs.Args(); len(args) == 0 {
			break
		}
		rest, args = append(rest, args[0]), args[1:]
	}
	o.stored = *from != "" || o.markdown
	switch {
	case len(rest) > 0 && *from == "":
		return nil, usagef("unexpected argument %q; files of results follow -from", rest[0])
	case o.rounds < 1:
		return nil, usagef("-rounds %d: want at least 1", o.rounds)
	case !(o.seconds > 0 && o.seconds <= 600):
		return nil, usagef("-seconds %v: want more than 0 and at most 600", o.seconds)
	case o.busy < 0 || o.busy > 1024:
		return nil, usagef("-busy %d: want 0 to 1024", o.busy)
	case o.stored && o.busy > 0:
		return nil, usagef("-busy: -from and -markdown measure nothing")
	case o.stored && o.save:
		return nil, usagef("-save: the results that -from and -markdown read are stored already")
	}
	if o.stored {
		o.files = append(rest, strings.FieldsFunc(*from, func(r rune) bool { return r == ',' })...)
		if len(o.files) == 0 {
			o.files = []string{filepath.Join(root, "bench/results")}
		}
	}
	if o.bench == "" {
		o.bench = "quick"
		if o.stored && !o.markdown {
			o.bench = "all"
		}
	}
	var err error
	o.pattern = cmp.Or(presets[o.bench], o.bench)
	if o.selected, err = newSelector(o.pattern); err != nil {
		return nil, usageError{err}
	}
	if o.prices, err = parsePrices(*price); err != nil {
		return nil, usageError{err}
	}
	if o.peers, err = choose(*peers, known); err != nil {
		return nil, usageError{err}
	}
	if *floors != "" {
		names, err := benchmarkNames(root)
		if err != nil {
			return nil, err
		}
		if o.floors, err = readFloors(*floors, names); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// choose finds adapters by name.
func choose(names string, known []string) (chosen []adapter, err error) {
	for _, n := range strings.FieldsFunc(names, func(r rune) bool { return r == ',' }) {
		n, variants, some := strings.Cut(n, "=")
		i := slices.Index(known, n)
		if i < 0 && n != "none" {
			return nil, fmt.Errorf("-peers %s: want names out of %s, or none", n, strings.Join(known, ", "))
		}
		if i < 0 {
			continue
		}
		a := adapters[i]
		if some {
			if a.variants == "" || variants == "" {
				return nil, fmt.Errorf("-peers %s=%s: want the name alone, or torch=VARIANT+VARIANT", n, variants)
			}
			a.variants = strings.ReplaceAll(variants, "+", ",")
		}
		chosen = append(chosen, a)
	}
	return chosen, nil
}
