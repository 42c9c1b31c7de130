package nn

import (
	"fmt"
	"hash/fnv"
	"math"
)

// RNG is the generator behind every random draw of this module: SplitMix64 (Steele, Lea and Flood,
// "Fast Splittable Pseudorandom Number Generators", 2014). Its stream makes weights, scenes,
// batches and masks reproducible, so it and the draws derived from it are spelled out here rather
// than taken from a library in which they may change. There is no hidden state: each draw says how
// far it moves the stream.
//
// One RNG must not be used by several goroutines at once. Give each its own key instead, as in
// NewRNG(seed, step, worker): then what is drawn does not depend on who runs first either.
//
// Streams are the same on all platforms, except that Normal and LogGamma are as exact as package
// math and may differ in the last bit where its functions do.
type RNG struct {
	s             uint64
	before, after uint64 // samples of a batch that others draw for: see Part
}

const goldenGamma = 0x9e3779b97f4a7c15 // SplitMix64's increment

// NewRNG returns the generator of a key: a tuple of any length, such as (seed, epoch, position).
// The order of the parts matters, and different keys give unrelated streams. Hash makes a part of a
// name.
func NewRNG(parts ...uint64) RNG {
	h := uint64(0x243f6a8885a308d3)
	for _, p := range parts {
		h = Mix64(h+goldenGamma) ^ Mix64(p+goldenGamma)
	}
	return RNG{s: Mix64(h)}
}

// Part returns r for some samples of a batch, with so many others before and after them, which are
// elsewhere. What ForSamples draws for each of these samples is the same as for the whole batch.
func (r RNG) Part(before, after int) RNG { return RNG{r.s, uint64(before), uint64(after)} }

// ForSamples calls draw, which moves the stream by n for each sample of a batch, the first sample
// first. Before and after it, the stream is moved by as much as the samples that Part left out take.
func (r *RNG) ForSamples(n int, draw func()) {
	const gamma = uint64(goldenGamma)
	r.s += gamma * r.before * uint64(n)
	draw()
	r.s += gamma * r.after * uint64(n)
}

// Hash returns a number for a name, such as that of a parameter: 64-bit FNV-1a, then Mix64. It will
// not change from version to version.
func Hash(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return Mix64(h.Sum64())
}

// Mix64 is the finaliser of SplitMix64: a bijection whose output bits all depend on all input bits.
func Mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Uint64 returns 64 random bits. It moves the stream by one, as do all draws that do not say
// otherwise.
func (r *RNG) Uint64() uint64 {
	r.s += goldenGamma
	return Mix64(r.s)
}

// Float64 is uniform over the multiples of 2^−53 in [0, 1).
func (r *RNG) Float64() float64 { return float64(r.Uint64()>>11) * 0x1p-53 }

// Here and below, a product is converted to its own type before it is added to: the language then
// forbids to fuse the two, which would give other bits on CPUs that can.

// Uniform is uniform in [lo, hi).
func (r *RNG) Uniform(lo, hi float64) float64 { return lo + float64((hi-lo)*r.Float64()) }

// Float32 is uniform in [lo, hi]: rounding may reach hi.
func (r *RNG) Float32(lo, hi float32) float32 {
	return lo + float32((hi-lo)*float32(r.Uint64()>>40)*0x1p-24)
}

// Intn is uniform in 0..n−1, for n well below 2^32: the probabilities differ by up to n/2^32 of
// themselves.
func (r *RNG) Intn(n int) int { return int(r.Uint64() >> 32 * uint64(n) >> 32) }

// Chance is true with probability p.
func (r *RNG) Chance(p float64) bool { return r.Float64() < p }

// Normal is standard normal: mean 0, variance 1 (Box and Muller, 1958). It moves the stream by two.
// The second number that the method could give is not kept, for it would be state outside the
// stream.
func (r *RNG) Normal() float64 {
	radius := math.Sqrt(-2 * math.Log(1-r.Float64())) // 1−u is never 0
	return radius * math.Cos(2*math.Pi*r.Float64())
}

// LogGamma is the logarithm of a Gamma variate of the given shape and of scale 1 (Marsaglia and
// Tsang, "A Simple Method for Generating Gamma Variables", 2000). Most variates of a small shape
// lie below the smallest float64, which their logarithms do not. It moves the stream by at least
// three; how far depends on the draw. It panics unless shape > 0.
func (r *RNG) LogGamma(shape float64) float64 {
	if !(shape > 0) {
		panic(fmt.Sprintf("nn: LogGamma, got shape %g, want a positive number", shape))
	}
	if shape < 1 {
		// If G is of shape a+1, then G·U^(1/a) is of shape a. The bound keeps the quotient finite.
		boost := math.Log(1-r.Float64()) / max(shape, 1e-300)
		return boost + r.LogGamma(shape+1)
	}
	d := shape - 1./3
	c := 1 / math.Sqrt(9*d)
	for {
		x := r.Normal()
		t := float64(c * x)
		if t <= -1 {
			continue
		}
		logV := float64(3 * math.Log1p(t))
		v := float64((1 + t) * (1 + t) * (1 + t))
		// Log-density of the proposal against that of the target. The bracket is about −x²/2d.
		if math.Log(1-r.Float64()) < float64(x*x/2)+float64(d*(1-v+logV)) {
			return math.Log(d) + logV
		}
	}
}
