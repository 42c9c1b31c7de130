package tensor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

// TestUntil: when a context ends operations leave the function, complete nothing, and leave nothing
// wrong behind in a frozen weight.
func TestUntil(t *testing.T) {
	x, w := From(normal(seeded("x"), 50*70), 1, 50, 70), From(normal(seeded("w"), 210*70), 210, 70)
	run := func(tape *Tape) []float32 {
		tape.Reset()
		return slices.Clone(Attention(tape, Linear(tape, x, w, nil), 2).Data)
	}
	for _, p := range append(pools(t, 2), nil) {
		t.Run(fmt.Sprintf("workers=%d", p.Workers()), func(t *testing.T) {
			want := run(NewInference(p))
			w := From(w.Data, w.Shape...)
			w.Freeze()
			tape := NewInference(nil)
			tape.WorkOn(p)
			ctx, cancel := context.WithCancel(context.Background())
			end := func() {
				cancel()
				for !tape.stopping() {
					runtime.Gosched() // another goroutine sets the flag
				}
			}
			// In the middle of a loop.
			calls := atomic.Int64{}
			err := tape.Until(ctx, func() error {
				testkit.SameBits(t, "before", run(tape), want)
				tape.Parallel(100, func(_, i int) {
					if calls.Add(1) >= 3 {
						end()
					}
				})
				t.Error("a loop that was cut short returns")
				return nil
			})
			if n := int(calls.Load()); err != context.Canceled || n < 3 || n >= 3+p.Workers() {
				t.Errorf("error %v after %d calls", err, n)
			}
			// An ended context calls nothing.
			if err := tape.Until(ctx, func() error { t.Error("called"); return nil }); err != context.Canceled {
				t.Errorf("error %v", err)
			}
			// Before an operation, and while a weight is packed, which is completed.
			image, kernel := From(normal(seeded("image"), 5*6*70), 1, 5, 6, 70), From(normal(seeded("kernel"), 90*70*9), 90, 70, 3, 3)
			frozen := From(kernel.Data, kernel.Shape...)
			frozen.Freeze()
			for _, op := range []struct {
				f       func()
				returns bool
			}{
				{func() { tape.New(3) }, false},
				{func() { linear(tape, make([]float32, 50*210), x, w, nil, epilogue{}) }, false},
				{func() { packTaps(tape, frozen, true) }, true},
			} {
				ctx, cancel = context.WithCancel(context.Background())
				if err := tape.Until(ctx, func() error {
					end()
					op.f()
					if !op.returns {
						t.Error("an operation after the end returns")
					}
					return nil
				}); err != context.Canceled {
					t.Errorf("error %v", err)
				}
			}
			tape.Reset()
			testkit.SameBits(t, "by the weight that was packed meanwhile", Linear(tape, x, w, nil).Data, Linear(NewInference(p), x, From(w.Data, w.Shape...), nil).Data)
			testkit.SameBits(t, "by the kernel that was packed meanwhile", Conv2D(tape, image, frozen, nil, 1, 1).Data, Conv2D(NewInference(p), image, kernel, nil, 1, 1).Data)
			testkit.SameBits(t, "after", run(tape), want)

			// Errors and panics of the function are its own; what ends after it, or never, changes
			// nothing.
			own := errors.New("own")
			next, cancel := context.WithCancel(context.Background())
			for _, ctx := range []context.Context{next, context.Background()} {
				if err := tape.Until(ctx, func() error { return own }); err != own {
					t.Errorf("error %v, want the function's", err)
				}
				testkit.MustPanic(t, "mine", func() { tape.Until(ctx, func() error { panic("mine") }) })
				if err := tape.Until(ctx, func() error { testkit.SameBits(t, "under the next context", run(tape), want); return nil }); err != nil {
					t.Error(err)
				}
			}
			cancel()
			testkit.SameBits(t, "outside", run(tape), want)

			// In the function, another context counts alone, and the outer one again after it.
			other, cancelOther := context.WithCancel(context.Background())
			defer cancelOther()
			for _, inner := range []context.Context{other, context.Background()} {
				ctx, cancel = context.WithCancel(context.Background())
				var got []float32
				if err := tape.Until(ctx, func() error {
					end()
					if err := tape.Until(inner, func() error { got = run(tape); return nil }); err != nil {
						t.Error(err)
					}
					run(tape)
					t.Error("an operation after the end returns")
					return nil
				}); err != context.Canceled {
					t.Errorf("error %v", err)
				}
				cancel()
				testkit.SameBits(t, "inside", got, want)
			}
		})
	}
}

// TestWorkOn: a tape keeps its memory from pool to pool.
func TestWorkOn(t *testing.T) {
	ps := pools(t, 3, 1)
	tape := NewTape(nil)
	for _, p := range []*Pool{ps[0], nil, ps[1], ps[0]} {
		tape.WorkOn(p)
		if tape.Workers() != p.Workers() {
			t.Errorf("%d workers, want %d", tape.Workers(), p.Workers())
		}
		for w := range p.Workers() {
			first := &tape.Scratch(w, 8)[0]
			if first != &tape.Scratch(w, 4)[0] {
				t.Errorf("worker %d has no scratch of its own", w)
			}
		}
	}
}
