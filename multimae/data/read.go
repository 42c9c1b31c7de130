package data

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// Spread returns n indices below length, evenly spread, because the samples of a folder are sorted
// by class. It returns fewer if length is below n.
func Spread(n, length int) []int {
	indices := make([]int, min(n, length))
	for k := range indices {
		indices[k] = int(int64(k) * int64(length) / int64(len(indices)))
	}
	return indices
}

// Interrupted reports whether the error of Dataset.Sample says that reading was given up because all
// was to end, and so nothing about the sample: it is never skipped as a bad one. A time limit that the
// dataset has for reading, context.DeadlineExceeded, says something about the sample.
func Interrupted(err error) bool { return errors.Is(err, context.Canceled) }

// Read reads the samples of the given indices with several goroutines. Either the sample or the
// error of an index is set, unless ctx has ended.
func Read(ctx context.Context, ds Dataset, indices []int, workers int) ([]*Sample, []error) {
	samples, errs := make([]*Sample, len(indices)), make([]error, len(indices))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(max(workers, 1), len(indices)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				k := int(next.Add(1) - 1)
				if k >= len(indices) || ctx.Err() != nil {
					return
				}
				samples[k], errs[k] = ds.Sample(indices[k])
			}
		}()
	}
	wg.Wait()
	return samples, errs
}
