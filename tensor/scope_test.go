package tensor

import (
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

// released reports whether a result's memory has been taken back.
func released(x *Tensor) bool { return x.Data == nil }

func TestScope(t *testing.T) {
	x, w := param("x", 40, 30), param("w", 30, 30)
	layer := func(tape *Tape, x *Tensor) *Tensor { return LinearGELU(tape, x, w, nil) }

	t.Run("keeps one", func(t *testing.T) {
		tape := NewInference(nil)
		before := layer(tape, x)
		s := tape.Scope()
		a := layer(tape, before)
		data := a.Data
		b := layer(tape, a)
		if got := s.Keep(b); got != b || released(b) || released(before) || !released(a) || !allNaN(data) {
			t.Error("want the result and what was there before, and nothing else")
		}
		c := layer(tape, b)
		if &c.Data[0] != &data[0] {
			t.Error("memory is not used again")
		}
		s.Keep(x) // a leaf
		if !released(b) || !released(c) || released(before) || !finite(x.Data) {
			t.Error("want everything but what was there before released")
		}
	})
	t.Run("keeps several", func(t *testing.T) {
		tape := NewInference(nil)
		s := tape.Scope()
		a, b, c := layer(tape, x), layer(tape, x), layer(tape, x)
		if s.Keep(c, a); released(a) || !released(b) || released(c) {
			t.Error("want the first and the third")
		}
		if s.Keep(nil); !released(a) || !released(c) {
			t.Error("want none")
		}
	})
	t.Run("keeps what a view shows", func(t *testing.T) {
		tape := NewInference(nil)
		s := tape.Scope()
		a, b := layer(tape, x), layer(tape, x)
		v := View(tape, View(tape, a, 30, 40), 1200)
		if s.Keep(v); released(a) || !released(b) {
			t.Error("want the tensor that is viewed")
		}
	})
	t.Run("nests", func(t *testing.T) {
		tape := NewInference(nil)
		outer := tape.Scope()
		a := layer(tape, x)
		inner := tape.Scope()
		b := layer(tape, a)
		c := inner.Keep(layer(tape, b))
		if released(a) || !released(b) {
			t.Error("the inner scope releases what is not its own")
		}
		if outer.Keep(a); released(a) || !released(c) {
			t.Error("the outer scope leaves what the inner one has kept")
		}
	})
	// However deep a network is, its activations need the memory of a few.
	t.Run("loops", func(t *testing.T) {
		tape := NewInference(nil)
		s := tape.Scope()
		y := x
		for range 50 {
			y = s.Keep(layer(tape, layer(tape, y)))
		}
		tape.Reset()
		if got := len(tape.buffers.free); got > 4 { // three and a packed weight
			t.Errorf("%d buffers for 100 layers, want at most 4", got)
		}
	})
	// The backward pass needs everything.
	t.Run("recording", func(t *testing.T) {
		tape := NewTape(nil)
		s := tape.Scope()
		a := layer(tape, x)
		want := append([]float32(nil), a.Data...)
		s.Keep(nil)
		testkit.SameBits(t, "a result", a.Data, want)
	})
	t.Run("left to Reset", func(t *testing.T) {
		tape := NewInference(nil)
		s := tape.Scope()
		a := layer(tape, x)
		data := a.Data
		tape.Reset()
		if !released(a) || !allNaN(data) {
			t.Error("Reset leaves a result")
		}
		if s.Keep(x) != x { // nothing is left of it
			t.Error("a scope from before Reset")
		}
	})
}

// TestScopeMemory: what a scope releases is used again, and nothing else is taken.
func TestScopeMemory(t *testing.T) {
	tape := NewInference(nil)
	x, w := param("x", 40, 30), param("w", 30, 30)
	s := tape.Scope()
	a := Linear(tape, x, w, nil)
	data := a.Data
	want := slices.Clone(data)
	s.Keep(nil)
	if a.Data != nil || !allNaN(data) {
		t.Error("Keep leaves the values of what it releases")
	}
	b := Linear(tape, x, w, nil)
	if &b.Data[0] != &data[0] {
		t.Error("memory is not used again")
	}
	testkit.SameBits(t, "from memory used again", b.Data, want)
	NewInference(nil).Scope().Keep(nil) // another tape's
	if x.Data == nil || b.Data == nil || !finite(x.Data) || !finite(b.Data) {
		t.Error("a scope takes what is not its tape's")
	}
	if b.needsGrad() {
		t.Error("a result that is not recorded wants a gradient")
	}

	// However deep a network is, its activations need the memory of two.
	for range 50 {
		b = s.Keep(LinearGELU(tape, b, w, nil))
	}
	tape.Reset()
	if got := len(tape.buffers.free); got > 3 { // two and a packed weight
		t.Errorf("%d buffers for 50 layers, want at most 3", got)
	}

	// What scopes leave comes back at Reset.
	ys := []*Tensor{tape.New(1), tape.New(2)}
	rest := [][]float32{ys[0].Data, ys[1].Data}
	tape.Reset()
	if !allNaN(rest[0]) || !allNaN(rest[1]) || ys[0].Data != nil || ys[1].Data != nil {
		t.Error("Reset leaves what no scope released")
	}

	// The backward pass needs everything.
	tape = NewTape(nil)
	s = tape.Scope()
	a = Linear(tape, x, w, nil)
	s.Keep(nil)
	testkit.SameBits(t, "while recording", a.Data, want)
}
