package tensor

import "slices"

// Scope knows the results that operations have returned since it began. A function that runs
// several operations opens one, to say which results are still needed and release all others:
//
//	func (m *MLP) Forward(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
//		s := t.Scope()
//		h := m.fc1.ForwardGELU(t, x)
//		return s.Keep(m.fc2.Forward(t, h)) // h is released
//	}
//
// So a function releases what it made, and never what it was given. A function without a scope
// makes no mistake: the scope of its caller releases its results, or at the latest Reset does.
type Scope struct {
	t    *Tape
	from int // in t.live
}

// Scope begins a scope. On a tape that records, scopes release nothing, for the backward pass needs
// all results.
func (t *Tape) Scope() Scope { return Scope{t, len(t.live)} }

// Keep returns x, and releases all results since the scope began except x and others; with nil for
// x, all of them. Of a View it keeps the tensor that is viewed.
//
// Keep can be called again. In a loop over layers, s.Keep(layer.Forward(t, x)) releases each result
// when the next one is there.
func (s Scope) Keep(x *Tensor, others ...*Tensor) *Tensor {
	live := s.t.live
	if s.from >= len(live) {
		return x
	}
	n := s.from
	for _, y := range live[s.from:] {
		if x.shares(y) || slices.ContainsFunc(others, func(o *Tensor) bool { return o.shares(y) }) {
			live[n] = y
			n++
		} else {
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
