// Command compare answers the question whether this module is faster, by how
// much, and than what:
//
//	go run ./bench/compare                     # the main benchmarks, us and every peer that is installed
//	go run ./bench/compare -bench all -rounds 10 -save -html out.html
//	go run ./bench/compare -from bench/results/zen5-2-cores.txt   # from stored results
//
// It runs our benchmarks and the peers' in turn, round after round, so that a
// machine that drifts does so for all; prints medians with confidence
// intervals, shares of the peak of fused multiply-adds measured around each
// run, and the ratio to each peer's fastest variant with its p-value; and exits
// with 1 where a figure is below its floor in bench/floors.txt. See
// bench/README.md.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gomae/gomae/internal/machine"
	"github.com/klauspost/cpuid/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	root, err := findRoot()
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
	os.Exit(run(ctx, root, os.Args[1:], os.Stdout, os.Stderr))
}

// errUsage says that flags are wrong.
type errUsage struct{ error }

// run is the program: exit code 0, 1 where a floor was missed or the work could
// not be done, 2 for wrong usage.
func run(ctx context.Context, root string, args []string, stdout, stderr io.Writer) int {
	missed, err := compare(ctx, root, args, stdout, stderr)
	switch usage := new(errUsage); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, usage):
		fmt.Fprintf(stderr, "compare: %v\n", err)
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "compare: %v\n", err)
		return 1
	case missed:
		return 1
	}
	return 0
}

func compare(ctx context.Context, root string, args []string, stdout, stderr io.Writer) (missed bool, err error) {
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var known []string
	for _, a := range adapters {
		known = append(known, a.name)
	}
	bench := fs.String("bench", "", "which benchmarks: quick, gemm, models, all, or a `REGEXP` as for go test -bench (quick; with -from, all)")
	rounds := fs.Int("rounds", 6, "measure each of us `N` times, in turn; a confidence interval takes 6")
	seconds := fs.Float64("seconds", 1, "for each measurement")
	peers := fs.String("peers", strings.Join(known, ","), "whom to compare with, a `LIST`; none for us alone; torch=eager+onednn for some of its variants")
	python := fs.String("python", "python3", "the interpreter of the peers in Python")
	save := fs.Bool("save", false, "store the raw results as bench/results/MACHINE/DATE-COMMIT.txt")
	name := fs.String("name", defaultMachine(), "the machine's `NAME` in the results")
	from := fs.String("from", "", "measure nothing, read stored results: `FILES`, folders or patterns, separated by commas or spaces")
	htmlFile := fs.String("html", "", "also write a page with tables and plots to `FILE`")
	asJSON := fs.Bool("json", false, "write JSON instead of text")
	markdown := fs.Bool("markdown", false, "write the README's table and its plots, from all stored results or from -from's")
	readme := fs.String("readme", filepath.Join(root, "README.md"), "the `FILE` that -markdown writes to, between its marks")
	floorsFile := fs.String("floors", filepath.Join(root, "bench/floors.txt"), "`FILE` with the least shares of peak and ratios; empty for none")
	price := fs.String("price", "", "what an hour of each machine costs, `MACHINE=PRICE,...`, such as zen5-2-cores=0.10")
	var files []string
	for rest := args; ; {
		if err := fs.Parse(rest); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return false, err
			}
			return false, errUsage{err}
		}
		if rest = fs.Args(); len(rest) == 0 {
			break
		}
		files, rest = append(files, rest[0]), rest[1:]
	}
	usage := func(format string, args ...any) (bool, error) {
		return false, errUsage{fmt.Errorf(format, args...)}
	}
	stored := *from != "" || *markdown
	switch {
	case len(files) > 0 && *from == "":
		return usage("unexpected argument %q; stored results follow -from", files[0])
	case *rounds < 1:
		return usage("-rounds %d: want at least 1", *rounds)
	case !(*seconds > 0 && *seconds <= 600):
		return usage("-seconds %v: want more than 0 and up to 600", *seconds)
	case stored && *save:
		return usage("-save: what -from or -markdown reads is stored already")
	}
	prices, err := parsePrices(*price)
	if err != nil {
		return false, errUsage{err}
	}
	pattern := cmp.Or(*bench, map[bool]string{true: "all", false: "quick"}[stored && !*markdown])
	pattern = cmp.Or(presets[pattern], pattern)
	selected, err := newSelector(pattern)
	if err != nil {
		return false, errUsage{err}
	}
	chosen, err := choose(*peers, known)
	if err != nil {
		return false, errUsage{err}
	}
	var floors []floor
	if *floorsFile != "" {
		names, err := benchmarkNames(root)
		if err != nil {
			return false, err
		}
		if floors, err = readFloors(*floorsFile, names); err != nil {
			return false, err
		}
	}

	var measured []*measurement
	var notes []string
	var interrupted error
	if stored {
		files = append(files, strings.FieldsFunc(*from, func(r rune) bool { return r == ',' })...)
		if len(files) == 0 {
			files = []string{filepath.Join(root, "bench/results")}
		}
	} else {
		if _, _, err := machine.SIMD(); err != nil {
			return false, errUsage{err}
		}
		now := time.Now()
		config, err := configLines(root, *name, now)
		if err != nil {
			return false, errUsage{err}
		}
		logf := func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
		r := &runner{root: root, python: *python, pattern: pattern, rounds: *rounds, seconds: *seconds, peers: chosen,
			config: config, logf: logf, peak: measurePeak}
		r.ours = func(dir string) (*adapter, error) { return r.buildOurs(ctx, dir) }
		path := filepath.Join(root, "bench/results", *name, now.UTC().Format("2006-01-02-1504")+"-"+config[1][1]+".txt")
		if *save {
			r.keep = func(ms []*measurement) error { return write(path, ms) }
		}
		measured, notes, err = r.run(ctx)
		if *save && len(measured) > 0 {
			logf("results are in %s", path)
		}
		switch {
		case err != nil && len(measured) == 0:
			return false, err
		case ctx.Err() != nil:
			interrupted = errors.New("interrupted; what was measured until then is above")
		case err != nil:
			interrupted = err
		}
	}
	accelerators, err := filepath.Glob(filepath.Join(root, "bench/results/gpu/*.txt"))
	if err != nil {
		return false, err
	}
	read, err := readFiles(append(files, accelerators...))
	if err != nil {
		return false, err
	}
	measured = append(measured, read...)
	measured = slices.DeleteFunc(measured, func(m *measurement) bool { return !selected.match(m.name) })
	if len(measured) == 0 {
		return false, fmt.Errorf("-bench %s: no result has such a name", cmp.Or(*bench, "quick"))
	}

	r := newReport(measured, prices)
	r.Notes = notes
	if floors != nil {
		r.Floors = r.check(floors)
	}
	if *htmlFile != "" {
		var page strings.Builder
		if err := r.html(&page); err != nil {
			return false, err
		}
		if err := writeFile(*htmlFile, []byte(page.String())); err != nil {
			return false, err
		}
	}
	switch {
	case *markdown:
		if err := r.writeMarkdown(*readme); err != nil {
			return false, err
		}
		fmt.Fprint(stdout, r.markdown())
	case *asJSON:
		enc := json.NewEncoder(stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(r); err != nil {
			return false, err
		}
	default:
		r.text(stdout)
	}
	return r.Floors != nil && len(r.Floors.Below) > 0, interrupted
}

// choose finds adapters by name.
func choose(names string, known []string) (chosen []adapter, err error) {
	for _, n := range strings.FieldsFunc(names, func(r rune) bool { return r == ',' }) {
		n, variants, only := strings.Cut(n, "=")
		i := slices.Index(known, n)
		if i < 0 && n != "none" {
			return nil, fmt.Errorf("-peers %s: want some of %s, or none", n, strings.Join(known, ", "))
		}
		if i < 0 {
			continue
		}
		a := adapters[i]
		if only {
			if a.variants == "" || variants == "" {
				return nil, fmt.Errorf("-peers %s=%s: want the name alone, or torch=VARIANT+VARIANT", n, variants)
			}
			a.variants = strings.ReplaceAll(variants, "+", ",")
		}
		chosen = append(chosen, a)
	}
	return chosen, nil
}

// defaultMachine names this machine by its processor and threads.
func defaultMachine() string {
	words := regexp.MustCompile(`[a-z0-9]+`).FindAllString(strings.ToLower(cpuid.CPU.BrandName), -1)
	words = append(slices.DeleteFunc(words, func(w string) bool { return slices.Contains([]string{"r", "tm", "cpu", "processor", "with"}, w) }),
		fmt.Sprint(runtime.GOMAXPROCS(0)), "threads")
	return strings.Join(words, "-")
}
