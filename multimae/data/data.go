package data

import (
	"fmt"

	"github.com/gomae/gomae/multimae"
)

// Map is one modality of one sample. Exactly one of Pix and IDs is set.
type Map struct {
	C, H, W int       // C is 0 for a class map
	Pix     []float32 // image kinds: [C, H, W]
	IDs     []uint8   // class maps: [H, W]; 254 marks padding, 255 ignored pixels
}

// Sample is one scene before normalisation: colour is 0..1, depth the 16-bit
// value / 2^16 (also 0..1), class maps hold ids.
//
// All maps show the same field of view. They usually have the same size; a map
// of a modality with a stride may also be that much smaller.
type Sample struct {
	Name string // relative name without the extension, such as "scene/000017"
	Maps map[string]*Map
}

// Dataset is a fixed sequence of samples: Sample(i) is the same at every call.
// It is safe for concurrent use. Callers must not write to what Sample
// returns, for a dataset may keep its samples in memory.
type Dataset interface {
	Len() int
	Sample(i int) (*Sample, error) // 0 ≤ i < Len()
}

// Subset is the samples of ds at the given indices.
func Subset(ds Dataset, indices []int) Dataset { return &subset{ds, indices} }

type subset struct {
	ds      Dataset
	indices []int
}

func (s *subset) Len() int                      { return len(s.indices) }
func (s *subset) Sample(i int) (*Sample, error) { return s.ds.Sample(s.indices[i]) }

// normalization resolves the empty Normalize of an image kind.
func normalization(m *multimae.Input) string {
	switch {
	case m.Normalize != "":
		return m.Normalize
	case m.Channels == 3:
		return "imagenet"
	}
	return "standardize"
}

// checkInputs refuses what no loader could fill.
func checkInputs(inputs []multimae.Input, size int) error {
	if len(inputs) == 0 {
		return fmt.Errorf("data: no input modality given")
	}
	if size < 1 || size > 1<<14 {
		return fmt.Errorf("data: size %d is not within 1..%d", size, 1<<14)
	}
	for i := range inputs {
		m := &inputs[i]
		if m.Stride < 1 || size%m.Stride != 0 {
			return fmt.Errorf("data: size %d is not a multiple of the stride %d of %s", size, m.Stride, m.Name)
		}
		if m.Kind != multimae.KindImage && m.Kind != multimae.KindClasses {
			return fmt.Errorf("data: %s is of kind %q, want %q or %q", m.Name, m.Kind, multimae.KindImage, multimae.KindClasses)
		}
	}
	return nil
}

// mix64 is the finaliser of SplitMix64: a bijection whose output bits all
// depend on all input bits.
func mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// rng is SplitMix64. Its stream is part of what makes scenes and batches
// reproducible, so it is spelled out here rather than taken from a library
// whose derived draws (ranges, floats) may change.
type rng struct{ s uint64 }

// newRNG returns a generator for a tuple of numbers, such as (seed, epoch,
// position).
func newRNG(parts ...uint64) rng {
	h := uint64(0x243f6a8885a308d3)
	for _, p := range parts {
		h = mix64(h+0x9e3779b97f4a7c15) ^ mix64(p+0x9e3779b97f4a7c15)
	}
	return rng{mix64(h)}
}

func (r *rng) uint64() uint64 {
	r.s += 0x9e3779b97f4a7c15
	return mix64(r.s)
}

// float64 is uniform in [0, 1).
func (r *rng) float64() float64 { return float64(r.uint64()>>11) * 0x1p-53 }

// uniform is uniform in [lo, hi).
func (r *rng) uniform(lo, hi float64) float64 { return lo + (hi-lo)*r.float64() }

// f32 is uniform in [lo, hi].
func (r *rng) f32(lo, hi float32) float32 { return lo + (hi-lo)*float32(r.uint64()>>40)*0x1p-24 }

// intn is uniform in 0..n−1, for n well below 2^32.
func (r *rng) intn(n int) int { return int(r.uint64() >> 32 * uint64(n) >> 32) }

// chance is true with probability p.
func (r *rng) chance(p float64) bool { return r.float64() < p }
