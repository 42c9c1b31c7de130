package multimae

import (
	"errors"

	"github.com/gomae/gomae/tensor"
)

// layout says which token of a batch is in which row of the encoder's tokens, [B·(T+G), D]. Those
// of a sample are its visible patches in the order of the masks, and then the global tokens.
//
// Its functions return row numbers for tensor.GatherSum, which adds nothing for the number none.
type layout struct {
	inputs []string // modalities present
	nh, nw int      // the grid of patches
	length int      // tokens of a sample, T+G
	// For each row its modality, a number of inputs or global; and which of its patches the row
	// shows, or which global token it is.
	modality, index []int32
	// For each patch of each modality of each sample, [B, M, nh·nw], the row that shows it, or none
	// where it is masked.
	row []int32
}

const (
	none   = -1
	global = -1 // in layout.modality
)

// layout returns that of a batch, after checking both the batch and the masks. Nil masks show all
// tokens in ascending order.
func (m *Backbone) layout(t *tensor.Tape, b *Batch, masks *Masks) (*layout, error) {
	if err := m.Check(b); err != nil {
		return nil, err
	}
	nh, nw := m.config.Grid(b.H, b.W)
	l := &layout{nh: nh, nw: nw}
	var visible int
	if masks != nil {
		if err := m.checkMasks(b, masks); err != nil {
			return nil, err
		}
		l.inputs, visible = masks.Inputs, masks.Visible
	} else if l.inputs = m.Present(b); len(l.inputs) > 0 {
		visible = len(l.inputs) * nh * nw
	} else {
		return nil, errors.New("batch: no modality is present")
	}
	l.length = visible + m.config.NumGlobalTokens
	l.modality, l.index = t.Ints(b.Size*l.length), t.Ints(b.Size*l.length)
	l.row = t.Ints(b.Size * len(l.inputs) * nh * nw)
	for i := range l.row {
		l.row[i] = none
	}
	for r := range l.modality {
		s, k := r/l.length, r%l.length
		if k >= visible {
			l.modality[r], l.index[r] = global, int32(k-visible)
			continue
		}
		token := k
		if masks != nil {
			token = int(masks.visible(s)[k])
		}
		l.modality[r], l.index[r] = int32(token/(nh*nw)), int32(token%(nh*nw))
		l.row[s*len(l.inputs)*nh*nw+token] = int32(r)
	}
	return l, nil
}

// of returns for each row the patch it shows, or which global token it is, if it is of a modality.
func (l *layout) of(t *tensor.Tape, modality int) []int32 {
	return choose(t, len(l.index), func(r int) int32 {
		if int(l.modality[r]) != modality {
			return none
		}
		return l.index[r]
	})
}

// choose returns n numbers in the memory of the tape.
func choose(t *tensor.Tape, n int, number func(i int) int32) []int32 {
	s := t.Ints(n)
	for i := range s {
		s[i] = number(i)
	}
	return s
}

// count numbers the elements of s that are not none.
func count(t *tensor.Tape, s []int32) []int32 {
	n := int32(0)
	return choose(t, len(s), func(i int) int32 {
		if s[i] == none {
			return none
		}
		n++
		return n - 1
	})
}
