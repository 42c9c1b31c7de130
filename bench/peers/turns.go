package peers

import (
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/gomae/gomae/tensor"
)

// rest is how long everyone is idle before a turn with several threads: OpenBLAS and OpenMP keep cores
// busy for a while after their last product.
const rest = 100 * time.Millisecond

// turns verifies our layer, lets it and the library take n turns of about d, and prints the medians of
// their times and of the ratios within a turn: the library's time over ours. What disturbs the machine
// for longer than a turn disturbs both.
func (l *Layer) turns(w io.Writer, name string, theirs Measure, threads, n int, d time.Duration) error {
	pool := tensor.NewPool(threads)
	defer pool.Close()
	tape := tensor.NewInference(pool)
	x, weight, layer := tensor.From(l.X, l.M, l.K), tensor.From(l.W, l.N, l.K), tensor.Linear
	var bias *tensor.Tensor
	if l.Packed {
		weight.Freeze()
	}
	if l.GELU {
		bias, layer = tensor.From(l.Bias, l.N), tensor.LinearGELU
	}
	if err := l.Verify(layer(tape, x, weight, bias).Data); err != nil {
		return fmt.Errorf("gomae: %w", err)
	}
	measures := []Measure{theirs, Loop(func() {
		tape.Reset()
		layer(tape, x, weight, bias)
	})}
	var ns [2][]float64
	var ratios []float64
	for turn := range n {
		for i := range measures {
			who := (turn + i) % 2
			if threads > 1 {
				time.Sleep(rest)
			}
			if _, _, err := measures[who](d); err != nil { // until caches and threads are warm
				return err
			}
			_, mean, err := measures[who].perCall(d)
			if err != nil {
				return err
			}
			ns[who] = append(ns[who], mean)
		}
		ratios = append(ratios, ns[0][turn]/ns[1][turn])
	}
	low, ratio, high := medianInterval(ratios)
	_, their, _ := medianInterval(ns[0])
	_, our, _ := medianInterval(ns[1])
	fmt.Fprintf(w, "%s\t%8d\t%12.0f ns/op\t%12.0f gomae-ns/op\t%6.3f over-gomae\t%6.3f low\t%6.3f high\n", name, n, their, our, ratio, low, high)
	return nil
}

// leastTurns and mostTurns are how many values medianInterval can take.
const leastTurns, mostTurns = 6, 1000

// medianInterval returns the median of values and its confidence interval at 95 %, from the binomial
// distribution of how many of them lie below the true median.
func medianInterval(values []float64) (low, median, high float64) {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	k, p := -1, math.Pow(0.5, float64(n)) // p is the probability that k+1 values lie below
	for tail := p; tail <= 0.025; tail += p {
		k++
		p *= float64(n-k) / float64(k+1)
	}
	return v[k], (v[(n-1)/2] + v[n/2]) / 2, v[n-1-k]
}
