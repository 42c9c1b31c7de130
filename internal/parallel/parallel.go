// Package parallel does the same for many items with several goroutines.
package parallel

import (
	"context"
	"sync"
	"sync/atomic"
)

// Files is for how many files at a time the system is asked. The disk may be a network drive, whose
// every answer takes a millisecond in which no processor is needed.
const Files = 32

// Do calls f for each index below n, from up to so many goroutines, and returns when all of them have
// ended. When ctx ends, it calls f no more.
func Do(ctx context.Context, goroutines, n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(max(goroutines, 1), n) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := int(next.Add(1) - 1)
				if i >= n || ctx.Err() != nil {
					return
				}
				f(i)
			}
		}()
	}
	wg.Wait()
}
