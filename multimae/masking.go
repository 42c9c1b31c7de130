package multimae

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomae/gomae/nn"
)

// Masks says which tokens of a batch the encoder sees. Tokens are numbered
// m·Patches + patch, m being the place of the modality in Inputs; global
// tokens have no number and are never hidden. Of each sample's M·Patches
// tokens exactly T are visible.
type Masks struct {
	Size    int      // samples B
	Inputs  []string // present modalities, in token order: M of them
	Patches int      // patches of each modality, nh·nw (the same for all)
	Visible int      // encoded tokens T of each sample
	Keep    []int32  // [B, T] token numbers in the encoder's order
	Restore []int32  // [B, M·Patches]: token j sits at position Restore[j] of the shuffled order, visible tokens first
	Masked  []bool   // [B, M·Patches]: true where hidden
}

// MaskOptions says how DrawMasks chooses.
type MaskOptions struct {
	Visible int       // encoded tokens T of each sample, 1..M·Patches (num_encoded_tokens)
	Alphas  []float64 // Dirichlet concentration: one number, or one for each of the inputs drawn for; above 0, up to 1e9
	// UniformTasks first chooses which modalities may be seen at all: a
	// non-empty subset, each with the same probability. Patches of the others
	// are visible only where the subset has fewer than Visible.
	UniformTasks bool
}

// Tokens is the number of tokens of a sample, M·Patches.
func (m *Masks) Tokens() int { return len(m.Inputs) * m.Patches }

// Index is the place of a modality in Inputs, or −1.
func (m *Masks) Index(input string) int { return slices.Index(m.Inputs, input) }

// Task returns the Patches values of Masked that belong to one modality of
// sample b, or nil where the modality is not an input. It is part of Masked,
// not a copy.
func (m *Masks) Task(b int, input string) []bool {
	i := m.Index(input)
	if i < 0 {
		return nil
	}
	at := b*m.Tokens() + i*m.Patches
	return m.Masked[at : at+m.Patches : at+m.Patches]
}

// DrawMasks draws the masks of a batch as in Bachmann et al. (2022): for each sample the shares of the modalities are Dirichlet distributed, each
// modality's patches are chosen uniformly without replacement, and the encoder
// sees them in random order. What a sample gets does not depend on those after
// it. Errors name the key of the configuration, num_encoded_tokens or alphas.
func DrawMasks(r *nn.RNG, size int, inputs []string, patches int, o MaskOptions) (*Masks, error) {
	m := new(Masks)
	if err := m.Draw(r, size, inputs, patches, o); err != nil {
		return nil, err
	}
	return m, nil
}

// Draw is DrawMasks into m, whose memory it uses again where that is enough:
// a training loop then allocates nothing that grows with its batch. After an
// error m is as it was.
func (m *Masks) Draw(r *nn.RNG, size int, inputs []string, patches int, o MaskOptions) error {
	if err := checkTokens(size, inputs, patches, o.Visible, "num_encoded_tokens"); err != nil {
		return err
	}
	if len(o.Alphas) != 1 && len(o.Alphas) != len(inputs) {
		return fmt.Errorf("alphas: got %d values, want one, or one for each of the %d inputs", len(o.Alphas), len(inputs))
	}
	for _, a := range o.Alphas {
		if !(a > 0 && a <= 1e9) {
			return fmt.Errorf("alphas: got %g, want numbers above 0 and up to 1e9", a)
		}
	}
	m.resize(size, inputs, patches, o.Visible)
	lambda, counts := make([]float64, len(inputs)), make([]int, len(inputs))
	among := make([]bool, len(inputs))
	order := make([]int32, m.Tokens())
	noise := make([]float64, 2*o.Visible+len(inputs)) // rounding adds at most ½ for each modality
	for b := range size {
		drawTasks(r, among, o.UniformTasks)
		drawShares(r, lambda, o.Alphas, among)
		TokenCounts(counts, lambda, o.Visible)
		for i := range noise {
			noise[i] = r.Float64()
		}
		copy(m.keep(b), SelectTokens(order, counts, among, o.Visible, noise))
		m.hide(b)
	}
	return nil
}

// drawTasks chooses which modalities may be visible: all, or if uniform a
// non-empty subset, each with the same probability.
func drawTasks(r *nn.RNG, among []bool, uniform bool) {
	for some := false; !some; { // again where the fair coins chose the empty set
		for m := range among {
			among[m] = !uniform || r.Chance(0.5)
			some = some || among[m]
		}
	}
}

// drawShares draws lambda ~ Dirichlet(alphas) over the modalities in among; the
// others get 0. alphas is one number for all or one for each modality.
func drawShares(r *nn.RNG, lambda, alphas []float64, among []bool) {
	// Gamma variates divided by their sum. With a small concentration all of
	// them may lie below the smallest float64, so the largest is divided out
	// before the exponential is taken.
	top := math.Inf(-1)
	for m := range lambda {
		if among[m] {
			lambda[m] = r.LogGamma(alphas[min(m, len(alphas)-1)])
			top = max(top, lambda[m])
		}
	}
	sum := 0.
	for m := range lambda {
		if among[m] {
			lambda[m] = math.Exp(lambda[m] - top)
			sum += lambda[m]
		} else {
			lambda[m] = 0
		}
	}
	for m := range lambda {
		lambda[m] /= sum
	}
}

// TokenCounts sets counts[m] to the number of visible tokens that modality m
// is meant to have: its share lambda[m] of them, rounded half to even. The
// counts may miss visible, or exceed a modality's patches: SelectTokens
// settles both.
func TokenCounts(counts []int, lambda []float64, visible int) {
	if len(counts) != len(lambda) {
		panic(fmt.Sprintf("multimae: TokenCounts, got %d counts, want one for each of %d shares", len(counts), len(lambda)))
	}
	for m, l := range lambda {
		counts[m] = int(math.RoundToEven(l * float64(visible)))
	}
}

// SelectTokens chooses the visible tokens of one sample and returns their
// numbers in the encoder's order, a random permutation. It draws nothing
// itself.
//
// order is scratch of M·P numbers for M = len(counts) modalities of P patches;
// its first visible ones are the result. From modality m, counts[m] patches
// (or all, if it has fewer) are chosen uniformly without replacement. If these
// are too many, the surplus is taken away uniformly from among them; if they
// are too few, the rest is chosen uniformly from the hidden tokens. Only
// modalities in among (nil means all) are chosen from, unless together they
// have fewer than visible patches: then the rest comes from the others.
//
// noise holds uniform numbers in [0, 1), used from the front: as many as
// visible and the larger of visible and the sum of counts are together.
func SelectTokens(order []int32, counts []int, among []bool, visible int, noise []float64) []int32 {
	if len(counts) == 0 || len(order)%len(counts) != 0 || visible < 0 || visible > len(order) {
		panic(fmt.Sprintf("multimae: SelectTokens, got order of %d, want equal parts for %d modalities and at least %d in all",
			len(order), len(counts), visible))
	}
	patches := len(order) / len(counts)
	// Invariant: order[:chosen] is what is chosen, order[chosen:end] what else
	// there is in the modalities so far.
	chosen, end := 0, 0
	for m, n := range counts {
		if among != nil && !among[m] {
			continue
		}
		all := tokensOf(order[end:end+patches], m)
		n = min(n, patches)
		noise = sampleFront(all, n, noise)
		for i := range n {
			order[chosen+i], all[i] = all[i], order[chosen+i]
		}
		chosen, end = chosen+n, end+patches
	}
	if chosen < visible {
		n := min(visible, end) - chosen
		noise = sampleFront(order[chosen:end], n, noise)
		chosen += n
	}
	if chosen < visible { // so chosen == end: the others have to help
		for m := range counts {
			if !among[m] {
				tokensOf(order[end:end+patches], m)
				end += patches
			}
		}
		noise = sampleFront(order[chosen:], visible-chosen, noise)
		chosen = visible
	}
	// Sampling what is chosen orders it, and leaves the surplus behind.
	sampleFront(order[:chosen], visible, noise)
	return order[:visible]
}

// tokensOf fills dst with the numbers of modality m's tokens, in order.
func tokensOf(dst []int32, m int) []int32 {
	for p := range dst {
		dst[p] = int32(m*len(dst) + p)
	}
	return dst
}

// sampleFront moves n elements of s, drawn uniformly without replacement, to
// its front in random order (Fisher and Yates). It uses n numbers of noise and
// returns the rest.
func sampleFront(s []int32, n int, noise []float64) []float64 {
	for i := range n {
		j := i + int(noise[i]*float64(len(s)-i))
		s[i], s[j] = s[j], s[i]
	}
	return noise[n:]
}

// NewMasks makes masks of given ids, such as those of a parity dump, which it
// copies. keep is [B, T]: the numbers of the visible tokens of each sample, in
// the encoder's order. restore is [B, M·Patches] as in Masks, or nil: then the
// hidden tokens follow the visible ones in ascending order. It checks all of
// it; errors name ids_keep or ids_restore, the sample and the token.
func NewMasks(size int, inputs []string, patches int, keep, restore []int32) (*Masks, error) {
	if size < 1 || len(keep)%size != 0 {
		return nil, fmt.Errorf("ids_keep: got %d ids for a batch of %d samples, want as many for each", len(keep), size)
	}
	if err := checkTokens(size, inputs, patches, len(keep)/size, "ids_keep"); err != nil {
		return nil, err
	}
	tokens := len(inputs) * patches
	if restore != nil && len(restore) != size*tokens {
		return nil, fmt.Errorf("ids_restore: got %d ids, want one for each of %d·%d tokens", len(restore), size, tokens)
	}
	m := new(Masks)
	m.resize(size, inputs, patches, len(keep)/size)
	copy(m.Keep, keep)
	seen := make([]bool, tokens)
	for b := range size {
		clear(seen)
		for _, j := range m.keep(b) {
			if j < 0 || int(j) >= tokens || seen[j] {
				return nil, fmt.Errorf("ids_keep: sample %d has token %d, want each of 0..%d at most once", b, j, tokens-1)
			}
			seen[j] = true
		}
		m.hide(b)
		if restore == nil {
			continue
		}
		clear(seen)
		given := restore[b*tokens : (b+1)*tokens]
		for j, p := range given {
			if p < 0 || int(p) >= tokens || seen[p] {
				return nil, fmt.Errorf("ids_restore: sample %d has position %d for token %d, want each of 0..%d once", b, p, j, tokens-1)
			}
			seen[p] = true
		}
		for p, j := range m.keep(b) {
			if given[j] != int32(p) {
				return nil, fmt.Errorf("ids_restore: sample %d has position %d for token %d, but ids_keep has it at %d", b, given[j], j, p)
			}
		}
		copy(m.Restore[b*tokens:], given)
	}
	return m, nil
}

// AllVisible makes masks that hide nothing: the encoder sees all M·Patches
// tokens of each sample in ascending order, as in prediction and fine-tuning.
func AllVisible(size int, inputs []string, patches int) (*Masks, error) {
	if err := checkTokens(size, inputs, patches, 1, "inputs"); err != nil {
		return nil, err
	}
	m := new(Masks)
	m.resize(size, inputs, patches, len(inputs)*patches)
	for b := range size {
		tokensOf(m.keep(b), 0)
		m.hide(b)
	}
	return m, nil
}

// checkTokens refuses what cannot be masked; key is what asks for so many
// visible tokens.
func checkTokens(size int, inputs []string, patches, visible int, key string) error {
	for i, name := range inputs {
		if slices.Contains(inputs[:i], name) {
			return fmt.Errorf("inputs: %q stands twice", name)
		}
	}
	// Ids are int32, and so must their number be, also where int is.
	const most = math.MaxInt32
	switch n := len(inputs); {
	case n == 0:
		return fmt.Errorf("inputs: no modality is present, want at least one")
	case patches < 1 || patches > most/n:
		return fmt.Errorf("inputs: got %d patches in each of %d modalities, want at least 1 and at most %d", patches, n, most/n)
	case size < 1 || size > most/(n*patches):
		return fmt.Errorf("batch: got %d samples of %d tokens, want 1..%d", size, n*patches, most/(n*patches))
	case visible < 1:
		return fmt.Errorf("%s: got %d encoded tokens, want at least 1", key, visible)
	case visible > n*patches:
		return fmt.Errorf("%s: got %d encoded tokens, but the inputs have only %d patches", key, visible, n*patches)
	}
	return nil
}

// resize makes room; the contents of Keep, Restore and Masked are undefined.
func (m *Masks) resize(size int, inputs []string, patches, visible int) {
	m.Size, m.Patches, m.Visible = size, patches, visible
	m.Inputs = append(m.Inputs[:0], inputs...)
	m.Keep = room(m.Keep, size*visible)
	m.Restore = room(m.Restore, size*m.Tokens())
	m.Masked = room(m.Masked, size*m.Tokens())
}

func room[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// keep is the part of Keep of sample b.
func (m *Masks) keep(b int) []int32 { return m.Keep[b*m.Visible : (b+1)*m.Visible] }

// hide sets Masked and Restore of sample b by its Keep. The hidden tokens
// follow the visible ones in ascending order: no result depends on theirs.
func (m *Masks) hide(b int) {
	n := m.Tokens()
	masked, restore := m.Masked[b*n:(b+1)*n], m.Restore[b*n:(b+1)*n]
	for j := range masked {
		masked[j] = true
	}
	for p, j := range m.keep(b) {
		masked[j], restore[j] = false, int32(p)
	}
	p := m.Visible
	for j, hidden := range masked {
		if hidden {
			restore[j] = int32(p)
			p++
		}
	}
}
