package peers

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"
)

// Main is the main function of a program that times a peer. It returns the exit code. Define further
// flags before the call. Main calls peer after it has parsed the flags; peer returns an error if a
// flag is wrong.
func Main(peer func() (Peer, error)) int {
	log := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	bench := flag.String("bench", ".", "run the benchmarks whose names match `REGEXP`, such as Gemm/shape=99x768x768")
	threads := flag.String("threads", defaultThreads(), "run with each number of threads in `LIST`, separated by commas")
	shapes := flag.String("shapes", "", "run only the shapes in `LIST`, such as 99x3072x768,1024x1024x1024")
	count := flag.Int("count", 1, "measure each benchmark `N` times")
	turns := flag.Int("turns", 0, fmt.Sprintf("compare with gomae in `N` turns of -seconds each, from %d to %d, instead", leastTurns, mostTurns))
	seconds := flag.Float64("seconds", 1, "spend `S` seconds on each measurement")
	flag.Parse()
	match, err := regexp.Compile(*bench)
	if err != nil {
		log("-bench: %v", err)
		return 2
	}
	if flag.NArg() > 0 || *count < 1 || !(*seconds > 0) {
		log("want flags only, -count of at least 1 and -seconds above 0; -h lists the flags")
		return 2
	}
	if *turns != 0 && (*turns < leastTurns || *turns > mostTurns) {
		log("-turns %d: want %d to %d", *turns, leastTurns, mostTurns)
		return 2
	}
	var list []int
	for _, s := range strings.Split(*threads, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			log("-threads %s: want numbers of at least 1, separated by commas", *threads)
			return 2
		}
		list = append(list, n)
	}
	p, err := peer()
	if err != nil {
		log("%v", err)
		return 2
	}
	chosen := func(l *Layer, name string) bool {
		shape := fmt.Sprintf("%dx%dx%d", l.M, l.N, l.K)
		return match.MatchString(name) && (*shapes == "" || slices.Contains(strings.Split(*shapes, ","), shape))
	}
	err = run(os.Stdout, p, chosen, list, effort{*count, *turns, time.Duration(*seconds * float64(time.Second))})
	var absent *AbsentError
	switch {
	case errors.As(err, &absent):
		log("%v", err)
		log("peer %s is absent; install it with: %s", p.Name, p.Install)
		return 3
	case err != nil:
		log("peer %s: %v", p.Name, err)
		return 1
	}
	return 0
}

func defaultThreads() string {
	if n := runtime.GOMAXPROCS(0); n > 1 {
		return "1," + strconv.Itoa(n)
	}
	return "1"
}

// effort is how often and for how long a benchmark is measured.
type effort struct {
	count int
	turns int // instead of count, unless 0: turns with gomae
	d     time.Duration
}

// run prints the results of a peer's benchmarks that match.
func run(w io.Writer, p Peer, match func(l *Layer, name string) bool, threads []int, e effort) error {
	for i, n := range threads {
		lib, err := p.Start(n)
		if err != nil {
			return err
		}
		if i == 0 {
			fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: github.com/gomae/gomae/bench\ncpu: %s\npeer: %s\nversion: %s\n",
				runtime.GOOS, runtime.GOARCH, strings.Join(strings.Fields(cpuid.CPU.BrandName), " "), p.Name, lib.Version)
			if lib.Variant != "" {
				fmt.Fprintf(w, "variant: %s\n", lib.Variant)
			}
		}
		for _, l := range layers(p.GELU) {
			name := fmt.Sprintf("%s/threads=%d", l.Name, n)
			if e.turns > 0 { // not to be taken for results of rounds
				name = "Turns/" + name
			}
			name = "Benchmark" + name
			if err == nil && match(l, name) {
				if err = l.bench(w, name, lib, n, e); err != nil {
					err = fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		if lib.Close != nil {
			err = errors.Join(err, lib.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bench verifies a layer, measures it and prints the results.
func (l *Layer) bench(w io.Writer, name string, lib Library, threads int, e effort) error {
	l.fill()
	y, measure, err := lib.Compute(l)
	if err != nil {
		return err
	}
	if err := l.Verify(y); err != nil {
		return err
	}
	if e.turns > 0 {
		err = l.turns(w, name, measure, threads, e.turns, e.d)
	} else {
		err = l.rounds(w, name, measure, e.count, e.d)
	}
	if err == nil && lib.Done != nil {
		err = lib.Done()
	}
	return err
}

// rounds measures the layer count times for about d.
func (l *Layer) rounds(w io.Writer, name string, measure Measure, count int, d time.Duration) error {
	for range count {
		calls, ns, err := measure.perCall(d)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%8d\t%12.0f ns/op\t%10.2f GFLOP/s\n", name, calls, ns, 2*float64(l.M)*float64(l.N)*float64(l.K)/ns)
	}
	return nil
}
