package train

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gomae/gomae/multimae/data"
)

// counted is a dataset that remembers which samples could not be read: one bad
// file is one, in however many epochs.
type counted struct {
	data.Dataset
	mu    sync.Mutex // guards what follows
	bad   map[int]bool
	first int // the lowest bad index
	err   error
}

func (c *counted) Sample(i int) (*data.Sample, error) {
	s, err := c.Dataset.Sample(i)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.bad == nil {
			c.bad = map[int]bool{}
		}
		c.bad[i] = true
		if c.err == nil || i < c.first {
			c.first, c.err = i, err
		}
	}
	return s, err
}

// skipped is the number of bad samples met so far, and the error of the first.
func (c *counted) skipped() (n int, first error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.bad), c.err
}

// spread returns n indices below length, evenly spread: the samples of a
// folder are sorted by class. There are fewer where length is below n.
func spread(n, length int) []int {
	indices := make([]int, min(n, length))
	for k := range indices {
		indices[k] = int(int64(k) * int64(length) / int64(len(indices)))
	}
	return indices
}

// read returns samples in the order of indices, read by several goroutines.
// With skipBad those that cannot be read are left out; without it the first
// of them is the error.
func read(ctx context.Context, ds data.Dataset, indices []int, workers int, skipBad bool) ([]*data.Sample, error) {
	samples, errs := make([]*data.Sample, len(indices)), make([]error, len(indices))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(workers, len(indices)) {
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
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	good := samples[:0]
	for k, s := range samples {
		switch {
		case errs[k] == nil:
			good = append(good, s)
		case !skipBad:
			return nil, errs[k]
		}
	}
	return good, nil
}

// batches calls f with up to n samples of ds, spread over it, a batch at a
// time; from is the number of samples in the batches before. It returns how
// many samples f got, which is an error if it is none.
func batches(ctx context.Context, ds data.Dataset, n, workers int, skipBad bool, f func(from int, samples []*data.Sample) error) (int, error) {
	indices, got := spread(n, ds.Len()), 0
	for from := 0; from < len(indices); from += evalBatch {
		samples, err := read(ctx, ds, indices[from:min(len(indices), from+evalBatch)], workers, skipBad)
		if err != nil {
			return got, err
		}
		if len(samples) == 0 {
			continue
		}
		if err := f(from, samples); err != nil {
			return got, err
		}
		got += len(samples)
	}
	if got == 0 {
		return 0, fmt.Errorf("evaluate: none of %d samples can be used", len(indices))
	}
	return got, nil
}
