package metrics

// reduce is Reduce for counts, which are below 2^53, and sums.
func reduce(sum func(x []float64) error, counts []*int64, sums ...*float64) error {
	var x []float64
	for _, n := range counts {
		x = append(x, float64(*n))
	}
	for _, v := range sums {
		x = append(x, *v)
	}
	if err := sum(x); err != nil {
		return err
	}
	for i, n := range counts {
		*n = int64(x[i])
	}
	for i, v := range sums {
		*v = x[len(counts)+i]
	}
	return nil
}
