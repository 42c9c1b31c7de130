package bench

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/gomae/gomae/internal/machine"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

func TestMain(m *testing.M) {
	level, _, err := machine.SIMD()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	// A configuration line of benchfmt, by which benchstat distinguishes levels.
	fmt.Printf("simd: %s\n", level)
	os.Exit(m.Run())
}

// threadCounts returns 1 and the number of threads of this process.
func threadCounts() []int {
	if n := runtime.GOMAXPROCS(0); n > 1 {
		return []int{1, n}
	}
	return []int{1}
}

// withPool runs a benchmark for each number of threads.
func withPool(b *testing.B, f func(b *testing.B, threads int, pool *tensor.Pool)) {
	for _, threads := range threadCounts() {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			pool := tensor.NewPool(threads)
			defer pool.Close()
			f(b, threads, pool)
		})
	}
}

// named reports whether the pattern of -bench contains a word. Benchmarks that need minutes or many
// gigabytes run only then.
func named(word string) bool {
	return strings.Contains(flag.Lookup("test.bench").Value.String(), word)
}

// peakTime is the time spent on measuring the peak, before and again after a benchmark.
const peakTime = 60 * time.Millisecond

// work describes one call of what is timed.
type work struct {
	flops   float64 // floating-point operations; 0 if they are not counted
	threads int
	images  int    // 0 if it is not about images
	before  func() // called before each call and not timed; may be nil
}

// measure times f and reports its rate and the time per image.
func measure(b *testing.B, w work, f func()) {
	call := func() (took time.Duration) {
		if w.before != nil {
			w.before()
		}
		start := time.Now()
		f()
		return time.Since(start)
	}
	call() // allocates memory and packs weights
	peak := 0.0
	if w.flops > 0 {
		peak = machine.PeakGFLOPS(w.threads, peakTime)
	}
	call() // brings back into the caches what measuring the peak evicted
	b.ResetTimer()
	var sum time.Duration
	for range b.N {
		sum += call()
	}
	b.StopTimer()
	seconds := sum.Seconds() / float64(b.N)
	b.ReportMetric(1e9*seconds, "ns/op")
	if w.flops > 0 {
		peak = (peak + machine.PeakGFLOPS(w.threads, peakTime)) / 2
		rate := w.flops / seconds / 1e9
		b.ReportMetric(rate, "GFLOP/s")
		b.ReportMetric(100*rate/peak, "%peak")
	}
	if w.images > 0 {
		b.ReportMetric(1e3*seconds/float64(w.images), "ms/image")
	}
}

// cache has the values of one group of benchmarks.
var cache struct {
	group  string
	values map[string]any
}

// once returns the value of make, which it calls once for a key: go test calls a benchmark many
// times. The first call of another group drops the values of the last, to free memory.
func once[T any](b *testing.B, group, key string, make func() (T, error)) T {
	b.Helper()
	if cache.group != group {
		cache.group, cache.values = group, map[string]any{}
		debug.FreeOSMemory()
	}
	if _, ok := cache.values[key]; !ok {
		v, err := make()
		if err != nil {
			b.Fatal(err)
		}
		cache.values[key] = v
	}
	return cache.values[key].(T)
}

// randomTensor returns a tensor of numbers in [−1, 1).
func randomTensor(r *nn.RNG, shape ...int) *tensor.Tensor {
	x := tensor.New(shape...)
	for i := range x.Data {
		x.Data[i] = r.Float32(-1, 1)
	}
	return x
}
