package multimae

import (
	"errors"
	"fmt"

	"github.com/gomae/gomae/tensor"
)

// layout says which token is in which row of the encoder's tokens, [B·(T+G), D]. A sample has its
// visible patches first, in the order of the masks, and then the global tokens.
type layout struct {
	inputs []string // modalities present
	nh, nw int      // the grid of patches
	length int      // tokens of a sample, T+G
	// modality and index say what each row shows: patch number index of modality number modality of
	// inputs, or global token number index.
	modality, index []int32
	// row says where each patch of each modality of each sample is, [B, M, nh·nw]: in which row, or
	// none if it is masked.
	row []int32
}

const (
	none   = -1 // no row of a table: tensor.GatherSum adds nothing
	global = -1 // in layout.modality
)

// layout checks a batch and its masks and returns their layout. Nil masks show all tokens in
// ascending order.
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
		at := s*len(l.inputs)*nh*nw + token
		if l.row[at] != none {
			return nil, fmt.Errorf("masks: sample %d has token %d twice; make them by DrawMasks, NewMasks or AllVisible", s, token)
		}
		l.row[at] = int32(r)
	}
	if masks != nil {
		for i, row := range l.row {
			if hidden := masks.Masked[i]; hidden != (row == none) {
				s, token := i/masks.Tokens(), i%masks.Tokens()
				return nil, fmt.Errorf("masks: Masked of sample %d and token %d is %v, want %v as Keep says; make them by DrawMasks, NewMasks or AllVisible", s, token, hidden, !hidden)
			}
		}
	}
	return l, nil
}

// of returns for each row its index if the row is of a modality, else none.
func (l *layout) of(t *tensor.Tape, modality int) []int32 {
	return choose(t, len(l.index), func(r int) int32 { return when(int(l.modality[r]) == modality, l.index[r]) })
}

// choose returns the numbers of n rows, in the memory of the tape.
func choose(t *tensor.Tape, n int, number func(i int) int32) []int32 {
	s := t.Ints(n)
	for i := range s {
		s[i] = number(i)
	}
	return s
}

// when returns row if ok, else none.
func when(ok bool, row int32) int32 {
	if ok {
		return row
	}
	return none
}
