// Package machine says what the processor can do: the instruction set in use, and the peaks that
// the speeds of kernels are compared with.
package machine

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomae/gomae/asm"
	"github.com/gomae/gomae/tensor"
)

// SIMD returns the instruction set that operations use (generic, avx2 or avx512) and the reason for
// it. err is about the environment variable GOMAE_SIMD, if its value is unknown or asks for what
// this machine lacks; the best level of the machine is then in use.
func SIMD() (level, why string, err error) { return asm.Current().String(), asm.Why(), asm.Err() }

// Caches describes the data caches that blocks of matrix products are cut to, such as "48 KiB L1,
// 2 MiB L2, 32 MiB L3"; "unknown" where the CPU or the virtual machine does not say.
func Caches() string {
	l1, l2, l3 := asm.Caches()
	var known []string
	for i, size := range []int{l1, l2, l3} {
		switch {
		case size >= 1<<20 && size%(1<<20) == 0:
			known = append(known, fmt.Sprintf("%d MiB L%d", size>>20, i+1))
		case size > 0:
			known = append(known, fmt.Sprintf("%d KiB L%d", size>>10, i+1))
		}
	}
	if known == nil {
		return "unknown"
	}
	return strings.Join(known, ", ")
}

// PeakGFLOPS measures for about d how many billion float32 operations a second that many threads
// together can do at the level of SIMD, with a fused multiply-add counted as two. It is what 100 %
// of a kernel's speed means. Two threads do less than twice as much as one where they share a core,
// power or heat.
func PeakGFLOPS(threads int, d time.Duration) float64 {
	// Chunks so long that reading the clock does not count, and so short that all threads stop at
	// nearly the same time.
	iters := 1 << 10
	for start := time.Now(); ; start = time.Now() {
		asm.PeakFMA(iters)
		if time.Since(start) >= 50*time.Microsecond || iters == 1<<20 {
			break
		}
		iters *= 2
	}
	work := make([]func() float64, max(threads, 1))
	for i := range work {
		work[i] = func() float64 { return asm.PeakFMA(iters) }
	}
	return bestRound(work, d) / 1e9
}

// ReadBandwidth measures for about d how many bytes a second that many threads together, at most
// GOMAXPROCS, can read from memory. It uses 256 MiB meanwhile, or 32 MiB a thread if that is more,
// which no cache holds. At level generic, additions are the limit and not memory.
func ReadBandwidth(threads int, d time.Duration) float64 {
	threads = max(min(threads, runtime.GOMAXPROCS(0)), 1)
	return readBandwidth(threads, max(256/threads, 32)<<18, d)
}

// readBandwidth is ReadBandwidth with at least that many floats for each thread.
func readBandwidth(threads, floats int, d time.Duration) float64 {
	const chunk = 1 << 18
	floats = max(floats/chunk, 1) * chunk
	work := make([]func() float64, threads)
	for i := range work {
		x, at := tensor.New(floats).Data, 0 // on large pages, as what operations read
		for k := 0; k < len(x); k += 1024 {
			x[k] = 1 // pages that were never written to share one page, which a cache holds
		}
		work[i] = func() float64 {
			asm.ReadSum(x[at:][:chunk])
			at = (at + chunk) % len(x)
			return 4 * chunk
		}
	}
	return bestRound(work, d)
}

// bestRound calls the functions over and over, each on a goroutine of its own, in rounds of 20 ms
// until d is over. A function returns how much work it has done; the result is the work a second of
// the best round, as disturbances make a round slower and nothing makes it faster than the machine.
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
				// Goroutines take a while to start: none begins before all are there.
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
