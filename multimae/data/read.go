package data

import (
	"context"
	"errors"

	"github.com/gomae/gomae/internal/parallel"
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
	parallel.Do(ctx, workers, len(indices), func(k int) {
		samples[k], errs[k] = ds.Sample(indices[k])
	})
	return samples, errs
}
