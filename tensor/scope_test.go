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

func TestDone(t *testing.T) {
	tape := NewInference(nil)
	x, w := param("x", 40, 30), param("w", 30, 30)
	a := Linear(tape, x, w, nil)
	data := a.Data
	want := slices.Clone(data)
	tape.Done(a)
	if a.Data != nil || !allNaN(data) {
		t.Error("Done leaves the values")
	}
	tape.Done(a) // twice is fine
	b := Linear(tape, x, w, nil)
	if &b.Data[0] != &data[0] {
		t.Error("memory is not used again")
	}
	testkit.SameBits(t, "from memory used again", b.Data, want)

	// Leaves, views and other tapes' results are not the tape's to take.
	v := View(tape, b, 30, 40)
	other := NewInference(nil)
	for _, y := range []*Tensor{x, v} {
		tape.Done(y)
	}
	other.Done(b)
	if x.Data == nil || v.Data == nil || b.Data == nil || !finite(x.Data) || !finite(b.Data) {
		t.Error("Done takes what it did not give")
	}

	if b.needsGrad() {
		t.Error("a result that is not recorded wants a gradient")
	}

	// However deep a network is, its activations need the memory of two.
	for range 50 {
		h := LinearGELU(tape, b, w, nil)
		tape.Done(b)
		b = h
	}
	tape.Reset()
	if got := len(tape.buffers.free); got > 3 { // two and a packed weight
		t.Errorf("%d buffers for 50 layers, want at most 3", got)
	}

	// What is done with first and what is left to Reset both come back.
	ys := []*Tensor{tape.New(1), tape.New(2), tape.New(3)}
	tape.Done(ys[0])
	rest := [][]float32{ys[1].Data, ys[2].Data}
	tape.Reset()
	if !allNaN(rest[0]) || !allNaN(rest[1]) || ys[1].Data != nil || ys[2].Data != nil {
		t.Error("Reset leaves what was not Done")
	}

	// The backward pass needs everything.
	tape = NewTape(nil)
	a = Linear(tape, x, w, nil)
	tape.Done(a)
	testkit.SameBits(t, "while recording", a.Data, want)
}
