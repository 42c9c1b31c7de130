package tensor

import "slices"

// Scope is a stretch of a forward pass: it knows what operations have returned since it began, so
// that a function which runs several of them says what it wants of all that and need not name the
// rest:
//
//	func (m *MLP) Forward(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
//		s := t.Scope()
//		h := m.fc1.ForwardGELU(t, x)
//		return s.Keep(m.fc2.Forward(t, h)) // h is released
//	}
//
// A function releases in this way what it made and never what it was given. Without a scope nothing
// goes wrong: its results are released by that of its caller or, at the latest, by Reset.
type Scope struct {
	t    *Tape
	from int // in t.live
}

// Scope begins one. On a tape that records it does nothing, for the backward pass needs all
// results.
func (t *Tape) Scope() Scope { return Scope{t, len(t.live)} }

// Keep releases what operations have returned since the scope began, but for x and others, and
// returns x. A View is kept together with the tensor it views. With nil for x it releases
// everything.
//
// It may be called again: in a loop it keeps the result of one layer after the other, whose memory
// goes to the layer after the next.
func (s Scope) Keep(x *Tensor, others ...*Tensor) *Tensor {
	live := s.t.live
	if s.from >= len(live) {
		return x
	}
	n := s.from
	for _, y := range live[s.from:] {
		switch {
		case y == nil: // released by Done
		case x.shares(y) || y.keep || slices.ContainsFunc(others, func(o *Tensor) bool { return o.shares(y) }):
			live[n] = y
			n++
		default:
			s.t.release(y)
		}
	}
	clear(live[n:])
	s.t.live = live[:n]
	return x
}

// release takes back the memory of a result.
func (t *Tape) release(x *Tensor) {
	t.buffers.give(x.Data)
	x.Data = nil
}

// shares reports whether x is y or a View of it.
func (x *Tensor) shares(y *Tensor) bool { return x != nil && (x == y || x.base == y) }

// Done releases x, an operation's result, at once. It does nothing on a tape that records.
func (t *Tape) Done(x *Tensor) {
	if x.Data == nil || x.keep {
		return
	}
	for i := len(t.live) - 1; i >= 0; i-- {
		if t.live[i] == x {
			t.live[i] = nil
			t.release(x)
			return
		}
	}
}

// Keep makes x, an operation's result, last until Reset, whatever scopes and Done are told.
func (t *Tape) Keep(x *Tensor) { x.keep = true }
