package data

import "github.com/gomae/gomae/nn"

// permutation is a random bijection of 0..n−1 that is computed one value at a time: a "swap-or-not"
// shuffle. Any worker can compute any position of any epoch without a table, however large the
// dataset.
type permutation struct {
	n     int
	seed  uint64
	pivot [permutationRounds]int
}

// Each round exchanges a point with its mirror image about a random pivot, or leaves it. Mixing
// takes about 6·log2 n rounds: this is enough for n = 2^16 by the standards of cryptography, and
// for any n by those of training.
const permutationRounds = 96

func newPermutation(n int, seed, epoch uint64) *permutation {
	r := nn.NewRNG(seed, epoch)
	p := &permutation{n: n, seed: r.Uint64()}
	for i := range p.pivot {
		p.pivot[i] = int(r.Uint64() % uint64(n))
	}
	return p
}

func (p *permutation) at(x int) int {
	for round, pivot := range p.pivot {
		y := pivot - x
		if y < 0 {
			y += p.n
		}
		if nn.Mix64(p.seed+uint64(round)<<48+uint64(max(x, y)))&1 == 1 {
			x = y
		}
	}
	return x
}
