package multimae

import (
	"fmt"
	"math"
	"slices"
)

// Tokens returns the number of tokens of a sample, M·Patches.
func (m *Masks) Tokens() int { return len(m.Inputs) * m.Patches }

// Index returns the place of a modality in Inputs, or −1.
func (m *Masks) Index(input string) int { return slices.Index(m.Inputs, input) }

// Task returns the Patches values of Masked of one modality of sample b, or nil where the modality
// is not an input. It is part of Masked, not a copy.
func (m *Masks) Task(b int, input string) []bool {
	i := m.Index(input)
	if i < 0 {
		return nil
	}
	at := b*m.Tokens() + i*m.Patches
	return m.Masked[at : at+m.Patches : at+m.Patches]
}

// Slice returns the masks of the samples from..to, which share the memory of m.
func (m *Masks) Slice(from, to int) *Masks {
	part := *m
	part.Size = to - from
	part.Keep = m.Keep[from*m.Visible : to*m.Visible]
	part.Masked = m.Masked[from*m.Tokens() : to*m.Tokens()]
	return &part
}

// NewMasks returns the masks in which the tokens keep are visible: [B, T] numbers in the encoder's
// order, of which it makes a copy. Errors name ids_keep, the sample and the token.
func NewMasks(size int, inputs []string, patches int, keep []int32) (*Masks, error) {
	if size < 1 || len(keep)%size != 0 {
		return nil, fmt.Errorf("ids_keep: got %d ids for %d samples, want the same number for every sample", len(keep), size)
	}
	if err := checkTokens(size, inputs, patches, len(keep)/size, "ids_keep"); err != nil {
		return nil, err
	}
	m := new(Masks)
	m.resize(size, inputs, patches, len(keep)/size)
	copy(m.Keep, keep)
	seen := make([]bool, m.Tokens())
	for b := range size {
		clear(seen)
		for _, j := range m.visible(b) {
			if j < 0 || int(j) >= len(seen) || seen[j] {
				return nil, fmt.Errorf("ids_keep: sample %d has token %d, want each of 0..%d at most once", b, j, len(seen)-1)
			}
			seen[j] = true
		}
	}
	m.hideOthers()
	return m, nil
}

// AllVisible returns masks that hide nothing: the encoder sees all M·Patches tokens of each sample
// in ascending order.
func AllVisible(size int, inputs []string, patches int) (*Masks, error) {
	n := len(inputs) * patches
	if err := checkTokens(size, inputs, patches, n, "inputs"); err != nil {
		return nil, err
	}
	m := new(Masks)
	m.resize(size, inputs, patches, n)
	for b := range size {
		for j := range m.visible(b) {
			m.visible(b)[j] = int32(j)
		}
	}
	m.hideOthers()
	return m, nil
}

// resize makes room; the contents of Keep and Masked are undefined.
func (m *Masks) resize(size int, inputs []string, patches, visible int) {
	m.Size, m.Patches, m.Visible = size, patches, visible
	m.Inputs = append(m.Inputs[:0], inputs...)
	m.Keep = slices.Grow(m.Keep[:0], size*visible)[:size*visible]
	m.Masked = slices.Grow(m.Masked[:0], size*m.Tokens())[:size*m.Tokens()]
}

// visible returns the part of Keep of sample b.
func (m *Masks) visible(b int) []int32 { return m.Keep[b*m.Visible : (b+1)*m.Visible] }

// hideOthers sets Masked by Keep.
func (m *Masks) hideOthers() {
	for i := range m.Masked {
		m.Masked[i] = true
	}
	for b := range m.Size {
		for _, j := range m.visible(b) {
			m.Masked[b*m.Tokens()+int(j)] = false
		}
	}
}

// maxTokens bounds the tokens of a batch, whose numbers are int32.
const maxTokens = math.MaxInt32

// checkTokens returns an error unless masks can have these sizes; key asks for the number of
// visible tokens.
func checkTokens(size int, inputs []string, patches, visible int, key string) error {
	seen := make(map[string]bool, len(inputs))
	for _, name := range inputs {
		if seen[name] {
			return fmt.Errorf("inputs: %q is listed twice", name)
		}
		seen[name] = true
	}
	switch n := len(inputs); {
	case n == 0:
		return fmt.Errorf("inputs: no modality is present, want at least one")
	case patches < 1 || patches > maxTokens/n:
		return fmt.Errorf("inputs: got %d patches in each of %d modalities, want at least 1 and at most %d", patches, n, maxTokens/n)
	case size < 1 || size > maxTokens/(n*patches):
		return fmt.Errorf("batch: got %d samples of %d tokens, want 1..%d", size, n*patches, maxTokens/(n*patches))
	case visible < 1:
		return fmt.Errorf("%s: got %d encoded tokens, want at least 1", key, visible)
	case visible > n*patches:
		return fmt.Errorf("%s: got %d encoded tokens, but the inputs have only %d patches", key, visible, n*patches)
	}
	return nil
}

// checkAlphas returns an error unless there is one concentration, or one for each input, and all
// are in range.
func checkAlphas(alphas []float64, inputs int) error {
	if len(alphas) != 1 && len(alphas) != inputs {
		return fmt.Errorf("alphas: got %d values, want one, or one for each of the %d inputs", len(alphas), inputs)
	}
	for _, a := range alphas {
		if !(a > 0 && a <= 1e9) {
			return fmt.Errorf("alphas: got %g, want numbers above 0 and up to 1e9", a)
		}
	}
	return nil
}
