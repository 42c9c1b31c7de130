package multimae

import (
	"fmt"
	"math"

	"github.com/gomae/gomae/nn"
)

// Masks says which tokens of a batch the encoder sees. The token of patch p of modality number m is
// number m·Patches + p, m being its place in Inputs. Global tokens have no number and are always
// visible. Every sample has the same number of visible tokens.
type Masks struct {
	Size    int      // samples B
	Inputs  []string // the M modalities present, in token order
	Patches int      // patches nh·nw of each modality
	Visible int      // visible tokens T of each sample
	Keep    []int32  // [B, T]: numbers of the visible tokens, in the encoder's order
	Masked  []bool   // [B, M·Patches]: whether a token is hidden
}

// MaskOptions says how masks are drawn. For Model.DrawMasks, zero values mean what the configuration
// says; false does so only where Alphas is nil.
type MaskOptions struct {
	Visible int       // visible tokens T of each sample, 1..M·Patches (num_encoded_tokens)
	Alphas  []float64 // Dirichlet concentration, in (0, 1e9]: one number, or one for each input present
	// UniformTasks chooses first, for each sample, which modalities may be visible: any non-empty
	// subset with the same probability. Others are visible only where the subset has fewer than
	// Visible patches.
	UniformTasks bool
	// Before is the number of samples of the batch that come before these, and whose masks are drawn
	// elsewhere: by another process that trains on them.
	Before int
}

// DrawMasks draws the masks of a batch as in Bachmann et al. (2022). For each sample, the shares of
// the modalities follow a Dirichlet distribution, the patches of each modality are chosen uniformly
// without replacement, and the encoder sees all of them in random order. The masks of a sample do
// not depend on the samples after it. Errors name the key of the configuration, num_encoded_tokens
// or alphas.
func DrawMasks(rng *nn.RNG, size int, inputs []string, patches int, o MaskOptions) (*Masks, error) {
	m := new(Masks)
	if err := m.draw(rng, size, inputs, patches, o, nil); err != nil {
		return nil, err
	}
	return m, nil
}

// DrawMasks draws masks for what the batch has of the model's inputs, as training does, into masks,
// whose memory it reuses: a training loop then allocates nothing that grows with the batch. Without
// o.Alphas it follows alphas and uniform_tasks of the configuration; o.UniformTasks holds in any case.
// After an error masks is unchanged.
//
// A patch without a valid pixel (see Batch.Valid) is not drawn. Where a sample has fewer other
// patches than o.Visible, so many are visible in every sample; of a batch whose parts are drawn apart,
// o.Visible is the least of what VisibleTokens returns for them. Only a sample that has no other
// patch at all shows what it has.
func (m *Model) DrawMasks(masks *Masks, rng *nn.RNG, b *Batch, o MaskOptions) error {
	if err := m.Check(b); err != nil {
		return err
	}
	nh, nw := m.Config.Grid(b.H, b.W)
	present := m.Present(b)
	c := m.Config.MaskOptions(present)
	if o.Visible == 0 {
		o.Visible = c.Visible
	}
	if o.Alphas == nil {
		o.Alphas, o.UniformTasks = c.Alphas, o.UniformTasks || c.UniformTasks
	}
	return masks.draw(rng, b.Size, present, nh*nw, o, m.blanks(b, present))
}

// VisibleTokens returns how many tokens of each sample DrawMasks leaves visible: as many as the
// configuration says, unless a sample has fewer that are not blank.
func (m *Model) VisibleTokens(b *Batch) int {
	nh, nw := m.Config.Grid(b.H, b.W)
	present := m.Present(b)
	return m.blanks(b, present).visible(b.Size, len(present), nh*nw, m.Config.MaskOptions(present).Visible)
}

// blanks says which tokens are not drawn, by sample, number of the modality, and patch. Nil means
// none.
type blanks func(s, input, patch int) bool

// blanks returns those of the batch: patches without a valid pixel.
func (m *Backbone) blanks(b *Batch, inputs []string) blanks {
	if len(b.Valid) == 0 {
		return nil
	}
	return func(s, input, patch int) bool {
		in := m.config.Input(inputs[input])
		return b.Valid[in.Name] != nil && b.validPatch(in.Name, in.Stride, m.config.PatchSize/in.Stride, s, patch).count() == 0
	}
}

// others returns how many tokens of a sample are not blank, but no more than most.
func (b blanks) others(s, inputs, patches, most int) (n int) {
	for t := 0; t < inputs*patches && n < most; t++ {
		if b == nil || !b(s, t/patches, t%patches) {
			n++
		}
	}
	return n
}

// visible returns how many tokens are visible in each sample, at most so many.
func (b blanks) visible(size, inputs, patches, most int) int {
	for s := range size {
		if n := b.others(s, inputs, patches, most); n > 0 {
			most = n
		}
	}
	return most
}

// draw draws into m, and not the blank tokens.
func (m *Masks) draw(rng *nn.RNG, size int, inputs []string, patches int, o MaskOptions, blank blanks) error {
	if err := checkTokens(size, inputs, patches, o.Visible, "num_encoded_tokens"); err != nil {
		return err
	}
	if err := checkAlphas(o.Alphas, len(inputs)); err != nil {
		return err
	}
	if o.Before < 0 {
		return fmt.Errorf("batch: got %d samples before it, want 0 or more", o.Before)
	}
	o.Visible = blank.visible(size, len(inputs), patches, o.Visible)
	m.resize(size, inputs, patches, o.Visible)
	allowed := make([]bool, len(inputs))
	shares := make([]float64, len(inputs))
	counts := make([]int, len(inputs))
	order := make([]int32, m.Tokens())
	noise := make([]float64, 2*o.Visible+len(inputs)) // rounding adds at most ½ for each modality
	for b := -o.Before; b < size; b++ {
		drawTasks(rng, allowed, o.UniformTasks)
		drawShares(rng, shares, o.Alphas, allowed)
		for i := range noise {
			noise[i] = rng.Float64()
		}
		if b < 0 { // drawn elsewhere
			continue
		}
		tokenCounts(counts, shares, o.Visible)
		hidden := func(input, patch int) bool { return blank != nil && blank(b, input, patch) }
		if blank.others(b, len(inputs), patches, 1) == 0 {
			hidden = func(int, int) bool { return false }
		}
		copy(m.visible(b), selectTokens(order, counts, allowed, o.Visible, noise, hidden))
	}
	m.hideOthers()
	return nil
}

// drawTasks chooses which modalities may be visible: all of them or, with uniform, any non-empty
// subset with the same probability.
func drawTasks(rng *nn.RNG, allowed []bool, uniform bool) {
	for some := false; !some; { // again after the empty set
		for m := range allowed {
			allowed[m] = !uniform || rng.Chance(0.5)
			some = some || allowed[m]
		}
	}
}

// drawShares draws shares ~ Dirichlet(alphas) for the allowed modalities; the others get 0.
func drawShares(rng *nn.RNG, shares, alphas []float64, allowed []bool) {
	// The shares are Gamma variates divided by their sum. With a small concentration all of the
	// variates may be below the smallest float64, so they are kept as logarithms until the largest
	// is divided out.
	largest := math.Inf(-1)
	for m := range shares {
		if allowed[m] {
			shares[m] = rng.LogGamma(alphas[min(m, len(alphas)-1)])
			largest = max(largest, shares[m])
		}
	}
	sum := 0.0
	for m := range shares {
		if allowed[m] {
			shares[m] = math.Exp(shares[m] - largest)
			sum += shares[m]
		} else {
			shares[m] = 0
		}
	}
	for m := range shares {
		shares[m] /= sum
	}
}

// tokenCounts rounds the shares of visible tokens, half to even. The sum of counts may differ from
// visible, and a count may exceed a modality's patches: selectTokens settles both.
func tokenCounts(counts []int, shares []float64, visible int) {
	for m, share := range shares {
		counts[m] = int(math.RoundToEven(share * float64(visible)))
	}
}

// selectTokens chooses the visible tokens of one sample and returns their numbers in the encoder's
// order, a random permutation. All chance comes from noise, uniform numbers in [0, 1). It never
// chooses hidden tokens, beside which there are at least visible others.
//
// From each allowed modality m it chooses counts[m] patches, or all if there are fewer, uniformly
// without replacement. If these are too many, it drops the surplus uniformly; if they are too few,
// it chooses the rest uniformly from the hidden tokens of allowed modalities, and only where these
// have no more, from the others.
//
// order is scratch for all M·P tokens and holds the result at its front. noise needs as many
// numbers as visible and the larger of visible and the sum of counts together.
func selectTokens(order []int32, counts []int, allowed []bool, visible int, noise []float64, hidden func(input, patch int) bool) []int32 {
	patches := len(order) / len(counts)
	// Of the tokens considered so far, order[:end], those in order[:chosen] are chosen.
	chosen, end := 0, 0
	for m, n := range counts {
		if !allowed[m] {
			continue
		}
		tokens := fillTokens(order[end:end+patches], m, hidden)
		n = min(n, len(tokens))
		noise = sampleFront(tokens, n, noise)
		for i := range n {
			order[chosen+i], tokens[i] = tokens[i], order[chosen+i]
		}
		chosen, end = chosen+n, end+len(tokens)
	}
	if chosen < visible {
		n := min(visible, end) - chosen
		noise = sampleFront(order[chosen:end], n, noise)
		chosen += n
	}
	if chosen < visible { // the allowed modalities have no more
		for m := range counts {
			if !allowed[m] {
				end += len(fillTokens(order[end:end+patches], m, hidden))
			}
		}
		noise = sampleFront(order[chosen:end], visible-chosen, noise)
		chosen = visible
	}
	// Sampling from the chosen tokens puts them in random order and leaves the surplus behind.
	sampleFront(order[:chosen], visible, noise)
	return order[:visible]
}

// fillTokens fills dst with the numbers of modality m's tokens in order, and returns it without
// the hidden ones.
func fillTokens(dst []int32, m int, hidden func(input, patch int) bool) []int32 {
	n := 0
	for p := range dst {
		if !hidden(m, p) {
			dst[n] = int32(m*len(dst) + p)
			n++
		}
	}
	return dst[:n]
}

// sampleFront moves n elements of s, drawn uniformly without replacement, to its front in random
// order (Fisher and Yates). It uses n numbers of noise and returns the rest.
func sampleFront(s []int32, n int, noise []float64) []float64 {
	for i := range n {
		j := i + int(noise[i]*float64(len(s)-i))
		s[i], s[j] = s[j], s[i]
	}
	return noise[n:]
}
