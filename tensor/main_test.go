package tensor

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// seeded returns the same numbers for the same name in every run.
func seeded(name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(h.Sum64(), 1))
}

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// poisonScratch fills what the workers have left over.
func poisonScratch(t *Tape) {
	for w := range t.scratch {
		fillNaN(t.scratch[w][:cap(t.scratch[w])])
		for i := range t.scratch64s[w] {
			t.scratch64s[w][i] = math.NaN()
		}
	}
}

// pools returns a pool of each size, beyond GOMAXPROCS too, closed with the test.
func pools(t *testing.T, workers ...int) []*Pool {
	ps := make([]*Pool, len(workers))
	for i, n := range workers {
		ps[i] = newPool(n)
		t.Cleanup(ps[i].Close)
	}
	return ps
}

func finite(x []float32) bool { return FirstNotFinite(x) < 0 }

func allNaN(x []float32) bool {
	return !slices.ContainsFunc(x, func(v float32) bool { return v == v })
}
