package tensor

import (
	"context"
	"runtime"
	"sync/atomic"
)

// Parallel calls f(worker, i) once for each 0 ≤ i < n, on the workers of the pool, and returns when
// all calls have returned. worker is below Workers(); what the calls write must not overlap. For
// results that do not depend on the number of workers, what is computed for i must depend on i
// alone. They come in no order: each worker begins with its own part of the indices, the first one
// with the lowest, so that it finds the same rows in its cache in one operation after the other.
func (t *Tape) Parallel(n int, f func(worker, i int)) {
	stop := t.stop
	if stop == nil {
		t.pool.run(n, f)
		return
	}
	t.pool.run(n, func(worker, i int) {
		if runtime.GOARCH == "wasm" {
			runtime.Gosched() // goroutines are not interrupted there, and stop would not be set
		}
		if !stop.Load() {
			f(worker, i)
		}
	})
	if stop.Load() {
		panic(stopped{})
	}
}

// each splits 0..n into spans of the given length and calls f for them in parallel.
func (t *Tape) each(n, span int, f func(worker, from, to int)) {
	t.Parallel((n+span-1)/span, func(w, i int) { f(w, i*span, min(n, (i+1)*span)) })
}

// Scratch returns memory for n numbers that belongs to one worker until the worker asks again. Its
// values are undefined.
func (t *Tape) Scratch(worker, n int) []float32 { return grown(&t.scratch[worker], n) }

// scratch64 is Scratch for sums that need more digits.
func (t *Tape) scratch64(worker, n int) []float64 { return grown(&t.scratch64s[worker], n) }

// grown returns n values of *s, which it replaces if it is too short.
func grown[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n+n/8)
		adviseHuge(*s)
	}
	return (*s)[:n]
}

// Until calls f and returns its error, or that of ctx soon after ctx ends, within a few
// milliseconds: an operation in progress is cut short, however large, and f does not go on after
// it. Results and gradients must then be thrown away. A context that cannot end costs nothing, any
// other one an atomic load for each piece of an operation. In f, another Until looks at its own
// context only, which may be made from the outer one.
func (t *Tape) Until(ctx context.Context, f func() error) (err error) {
	outer := t.stop
	if ctx.Done() == nil {
		defer func() { t.stop = outer }()
		t.stop = nil
		return f()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// A flag for each call: one that is set late must not stop the next.
	stop := new(atomic.Bool)
	t.stop = stop
	off := context.AfterFunc(ctx, func() { stop.Store(true) })
	defer func() {
		off()
		t.stop = outer
		t.product.clear()
		if r := recover(); r != nil {
			if _, ok := r.(stopped); !ok {
				panic(r)
			}
			err = ctx.Err()
		}
	}()
	if err := f(); err != nil {
		return err
	}
	return ctx.Err()
}

// stopped is the panic by which operations leave the function that Until called. Without it, all
// code that runs operations would have to ask after each whether its result is one.
type stopped struct{}

// stopping reports whether nobody wants the results any more.
func (t *Tape) stopping() bool { return t.stop != nil && t.stop.Load() }
