// Package peers is what the programs below it share. Each times another library
// on the products of this project's benchmarks and prints what `go test -bench`
// prints for ours, under the same names:
//
//	go run ./bench/peers/blas -lib onednn     # or openblas
//	go run ./bench/peers/gonum
//	cd bench/peers/gomlx && go run .          # a module of its own
//
// Results are compared with float64 before they are timed. A library that
// cannot pack weights ahead is timed under weights=packed all the same: it is
// what it has for inference. Nothing is downloaded: a library that is missing
// ends its program with exit code 3 and a last line that says how to install it.
package peers

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"
)

// Shapes are the rows M, columns N and depth K of the products of ViT-B: the
// encoder for one image (99 tokens; 98 and 100 do not divide into the same
// tiles), for larger shares of the patches, and for batches of 8, 16 and 32;
// the decoders for 1 and 8 images; and a square for comparison with others.
func Shapes() [][3]int {
	var shapes [][3]int
	for _, m := range []int{98, 99, 100, 295, 588, 792, 1584, 3168} {
		shapes = append(shapes, [3]int{m, 2304, 768}, [3]int{m, 768, 768}, [3]int{m, 3072, 768}, [3]int{m, 768, 3072})
	}
	for _, m := range []int{196, 8 * 196} {
		for _, k := range []int{256, 1024} {
			for _, n := range []int{256, 512, 768, 1024, 2128} {
				shapes = append(shapes, [3]int{m, n, k})
			}
		}
	}
	return append(shapes, [3]int{1024, 1024, 1024})
}

// GELUShapes are the shapes of Op/linear-gelu: a block's first layer after
// attention, for 1 and 8 images.
func GELUShapes() [][3]int { return [][3]int{{99, 3072, 768}, {792, 3072, 768}} }

// GemmName and GELUName are the names of benchmarks, without "Benchmark" and
// what follows the shape for the number of threads.
func GemmName(s [3]int, weights string) string {
	return fmt.Sprintf("Gemm/shape=%dx%dx%d/weights=%s", s[0], s[1], s[2], weights)
}

// GELUName is the name of GELU(x·wᵀ + bias).
func GELUName(s [3]int) string {
	return fmt.Sprintf("Op/linear-gelu/shape=%dx%dx%d/pass=forward", s[0], s[1], s[2])
}

// Layer is y [M,N] = x [M,K]·wᵀ for w [N,K], or with GELU the exact GELU of
// that plus Bias [N].
type Layer struct {
	Name    string
	M, N, K int
	Packed  bool // w may be packed before the time is taken
	GELU    bool
	X, W    []float32
	Bias    []float32 // nil without GELU
}

// Measure computes a layer for about d and returns how often, and how long it
// took.
type Measure func(d time.Duration) (calls int, took time.Duration, err error)

// Peer is another library.
type Peer struct {
	Name    string // such as openblas
	Install string // the command that installs it
	GELU    bool   // it has linear layers with GELU
	// Start makes the library ready for a number of threads. Compute computes a
	// layer once and returns the result with what times it. An *Absent error
	// says that the library is not there.
	Start func(threads int) (Library, error)
}

// Library is a peer at a number of threads.
type Library struct {
	Version, Variant string // Variant may be empty
	Compute          func(l *Layer) (y []float32, m Measure, err error)
	Done             func() error // called after the last Measure of a layer; may be nil
	Close            func() error // may be nil
}

// Absent says why a library cannot be used here.
type Absent struct{ Why string }

func (e *Absent) Error() string { return e.Why }

// Loop is the Measure of a function.
func Loop(f func()) Measure {
	return func(d time.Duration) (int, time.Duration, error) {
		start, n := time.Now(), 0
		for n == 0 || time.Since(start) < d {
			f()
			n++
		}
		return n, time.Since(start), nil
	}
}

// ModuleVersion is the version of a module in this build.
func ModuleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == path {
				return d.Version
			}
		}
	}
	return "unknown"
}

// Fastest is that of the Loops of several functions which is fastest in a short
// trial.
func Fastest(fs ...func()) Measure {
	best, least := 0, time.Duration(math.MaxInt64)
	for i, f := range fs {
		f()
		if calls, took, _ := Loop(f)(50 * time.Millisecond); took/time.Duration(calls) < least {
			best, least = i, took/time.Duration(calls)
		}
	}
	return Loop(fs[best])
}

// Main is the main function of a program that times a peer, whose exit code it
// returns. Flags of its own must be defined before; peer is called after they
// were read, and returns an error if one of them is wrong.
func Main(peer func() (Peer, error)) int {
	log := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	bench := flag.String("bench", ".", "run the benchmarks whose names match `REGEXP`, such as Gemm/shape=99x768x768")
	threads := flag.String("threads", defaultThreads(), "numbers of threads, a `LIST` separated by commas")
	shapes := flag.String("shapes", "", "only these shapes, a `LIST` such as 99x3072x768,1024x1024x1024")
	count := flag.Int("count", 1, "measurements of each benchmark")
	seconds := flag.Float64("seconds", 1, "for each measurement")
	flag.Parse()
	match, err := regexp.Compile(*bench)
	if err != nil {
		log("-bench: %v", err)
		return 2
	}
	if flag.NArg() > 0 || *count < 1 || *seconds <= 0 {
		log("want flags only, -count of at least 1 and -seconds above 0; -h lists the flags")
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
	if err := run(p, chosen, list, *count, time.Duration(*seconds*float64(time.Second))); err != nil {
		if a, ok := err.(*Absent); ok {
			log("%s", a.Why)
			log("peer %s is absent; install it with: %s", p.Name, p.Install)
			return 3
		}
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

// layers are the benchmarks that a peer has, without their numbers.
func layers(gelu bool) []*Layer {
	var all []*Layer
	for _, s := range Shapes() {
		for _, weights := range []string{"packed", "raw"} {
			all = append(all, &Layer{Name: GemmName(s, weights), M: s[0], N: s[1], K: s[2], Packed: weights == "packed"})
		}
	}
	if gelu {
		for _, s := range GELUShapes() {
			all = append(all, &Layer{Name: GELUName(s), M: s[0], N: s[1], K: s[2], Packed: true, GELU: true})
		}
	}
	return all
}

// run prints the benchmarks of a peer that match.
func run(p Peer, match func(l *Layer, name string) bool, threads []int, count int, d time.Duration) error {
	header := false
	for _, n := range threads {
		lib, err := p.Start(n)
		if err != nil {
			return err
		}
		if !header {
			fmt.Printf("goos: %s\ngoarch: %s\npkg: github.com/gomae/gomae/bench\ncpu: %s\npeer: %s\nversion: %s\n",
				runtime.GOOS, runtime.GOARCH, strings.Join(strings.Fields(cpuid.CPU.BrandName), " "), p.Name, lib.Version)
			if lib.Variant != "" {
				fmt.Printf("variant: %s\n", lib.Variant)
			}
			header = true
		}
		for _, l := range layers(p.GELU) {
			name := fmt.Sprintf("Benchmark%s/threads=%d", l.Name, n)
			if err == nil && match(l, name) {
				err = l.bench(name, lib, count, d)
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

func (l *Layer) bench(name string, lib Library, count int, d time.Duration) error {
	l.fill()
	y, measure, err := lib.Compute(l)
	if err == nil {
		err = l.verify(y)
	}
	for range count {
		if err != nil {
			break
		}
		var calls int
		var took time.Duration
		if calls, took, err = measure(d); err == nil {
			ns := float64(took.Nanoseconds()) / float64(calls)
			fmt.Printf("%s\t%8d\t%12.0f ns/op\t%10.2f GFLOP/s\n", name, calls, ns, 2*float64(l.M)*float64(l.N)*float64(l.K)/ns)
		}
	}
	if err == nil && lib.Done != nil {
		err = lib.Done()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// fill draws numbers in [−1, 1).
func (l *Layer) fill() {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = 2*r.Float32() - 1
		}
		return x
	}
	l.X, l.W = draw(l.M*l.K), draw(l.N*l.K)
	if l.GELU {
		l.Bias = draw(l.N)
	}
}

// verify compares a few hundred elements with float64.
func (l *Layer) verify(y []float32) error {
	if len(y) != l.M*l.N {
		return fmt.Errorf("got %d elements, want %d", len(y), l.M*l.N)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		i, j := r.IntN(l.M), r.IntN(l.N)
		want := 0.0
		for p := range l.K {
			want += float64(l.X[i*l.K+p]) * float64(l.W[j*l.K+p])
		}
		if l.GELU {
			want += float64(l.Bias[j])
			want *= 0.5 * math.Erfc(-want/math.Sqrt2)
		}
		// The sum of K products of numbers below 1, in float32.
		if got := float64(y[i*l.N+j]); !(math.Abs(got-want) <= 4e-6*math.Sqrt(float64(l.K))) {
			return fmt.Errorf("element (%d,%d) is %g, want %g", i, j, got, want)
		}
	}
	return nil
}
