package machine

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomae/gomae/asm"
)

// SIMD returns the instruction set that the operations run at (generic, avx2
// or avx512) and the reason for it. err reports a value of the environment
// variable GOMAE_SIMD that is unknown or that this machine cannot follow; the
// operations then run at the best level it has.
func SIMD() (level, why string, err error) { return asm.Current().String(), asm.Why(), asm.Err() }

// PeakGFLOPS measures for about d how many billion float32 operations one
// thread can do in a second at the level of SIMD, counting a fused
// multiply-add as two. It is what 100% of a kernel's speed means.
func PeakGFLOPS(d time.Duration) float64 { return PeakGFLOPSAll(1, d) }

// PeakGFLOPSAll is PeakGFLOPS for that many threads at once, together: less
// than the multiple where cores share units, power or time.
func PeakGFLOPSAll(workers int, d time.Duration) float64 {
	// A chunk so long that reading the clock does not count, and so short
	// that all workers stop at nearly the same time.
	iters := 1 << 10
	for start := time.Now(); ; start = time.Now() {
		asm.PeakFMA(iters)
		if time.Since(start) >= 50*time.Microsecond || iters == 1<<20 {
			break
		}
		iters *= 2
	}
	work := make([]func() float64, max(workers, 1))
	for i := range work {
		work[i] = func() float64 { return asm.PeakFMA(iters) }
	}
	return bestRound(work, d) / 1e9
}

// ReadBandwidth measures for about d how many bytes in a second that many
// threads together can read from memory; no more of them than GOMAXPROCS. It
// takes 256 MiB meanwhile, or 32 MiB a thread: beyond the caches. At level
// generic additions set the limit and not memory.
func ReadBandwidth(workers int, d time.Duration) float64 {
	workers = max(min(workers, runtime.GOMAXPROCS(0)), 1)
	return readBandwidth(workers, max(256/workers, 32)<<18, d)
}

// readBandwidth is ReadBandwidth with floats for each worker, one chunk at
// least.
func readBandwidth(workers, floats int, d time.Duration) float64 {
	const chunk = 1 << 18
	floats = max(floats/chunk, 1) * chunk
	work := make([]func() float64, workers)
	for i := range work {
		x, at := make([]float32, floats), 0
		for k := 0; k < len(x); k += 1024 {
			x[k] = 1 // pages never written to are one and the same, which caches hold
		}
		work[i] = func() float64 {
			asm.ReadSum(x[at:][:chunk])
			at = (at + chunk) % len(x)
			return 4 * chunk
		}
	}
	return bestRound(work, d)
}

// bestRound calls the functions over and over, each on a goroutine of its own,
// in rounds of 20 ms until d is over, and returns what the best round did in a
// second. The best, because everything that disturbs makes a round slower and
// nothing makes it faster than the machine.
func bestRound(work []func() float64, d time.Duration) (best float64) {
	const round = 20 * time.Millisecond
	for begin := time.Now(); ; {
		var (
			waiting atomic.Int64
			mu      sync.Mutex // guards sum, first and last
			sum     float64
			first   = time.Now().Add(time.Hour)
			last    time.Time
			wg      sync.WaitGroup
		)
		waiting.Store(int64(len(work)))
		for _, f := range work {
			wg.Add(1)
			go func() {
				defer wg.Done()
				// Waking takes a while; nobody starts before all are awake.
				for waiting.Add(-1); waiting.Load() > 0; {
					runtime.Gosched()
				}
				start, done := time.Now(), 0.0
				end := start
				for end.Sub(start) < min(round, d) {
					done += f()
					end = time.Now()
				}
				mu.Lock()
				defer mu.Unlock()
				sum += done
				if start.Before(first) {
					first = start
				}
				if end.After(last) {
					last = end
				}
			}()
		}
		wg.Wait()
		if t := last.Sub(first); t > 0 {
			best = max(best, sum/t.Seconds())
		}
		if time.Since(begin) >= d {
			return best
		}
	}
}
