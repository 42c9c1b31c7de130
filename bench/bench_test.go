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
	// A configuration line of benchfmt: benchstat keeps levels apart.
	fmt.Printf("simd: %s\n", level)
	os.Exit(m.Run())
}

// threadCounts are 1 and all that there are.
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

// named says whether the pattern of -bench has one of words: what takes
// minutes or many gigabytes runs only then.
func named(words ...string) bool {
	pattern := flag.Lookup("test.bench").Value.String()
	for _, w := range words {
		if strings.Contains(pattern, w) {
			return true
		}
	}
	return false
}

// peakTime is how long the peak is measured, before and after.
const peakTime = 60 * time.Millisecond

// work is what is timed.
type work struct {
	flops   float64 // floating-point operations; 0: not counted
	threads int
	images  int    // 0: none
	before  func() // not timed, before each call; may be nil
}

// measure times f and reports the rate of its operations and the time of an
// image.
func measure(b *testing.B, w work, f func()) {
	call := func() (took time.Duration) {
		if w.before != nil {
			w.before()
		}
		start := time.Now()
		f()
		return time.Since(start)
	}
	call() // memory is allocated, weights are packed
	peak := 0.0
	if w.flops > 0 {
		peak = machine.PeakGFLOPS(w.threads, peakTime)
	}
	call() // and what the peak has thrown out of the caches is back
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

// kept is what benchmarks of one group make once for a process: go test calls
// them many times. A group that begins drops what another kept.
var kept struct {
	group  string
	values map[string]any
}

func keep[T any](b *testing.B, group, key string, make func() (T, error)) T {
	b.Helper()
	if kept.group != group {
		kept.group, kept.values = group, map[string]any{}
		debug.FreeOSMemory()
	}
	if _, ok := kept.values[key]; !ok {
		v, err := make()
		if err != nil {
			b.Fatal(err)
		}
		kept.values[key] = v
	}
	return kept.values[key].(T)
}

func randomTensor(r *nn.RNG, shape ...int) *tensor.Tensor {
	x := tensor.New(shape...)
	for i := range x.Data {
		x.Data[i] = r.Float32(-1, 1)
	}
	return x
}
