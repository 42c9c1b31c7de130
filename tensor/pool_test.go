package tensor

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"
)

// TestPoolRun: each index once, and each worker in one call at a time.
func TestPoolRun(t *testing.T) {
	sizes := pools(t, 1, 2, 3, 5, 16)
	for _, p := range append(sizes, nil) {
		for _, n := range []int{-1, 0, 1, 2, 3, 100, 1000} {
			t.Run(fmt.Sprintf("workers=%d/n=%d", p.Workers(), n), func(t *testing.T) {
				counts := make([]atomic.Int32, max(n, 0))
				in := make([]atomic.Bool, p.Workers())
				p.run(n, func(worker, i int) {
					if worker < 0 || worker >= p.Workers() || in[worker].Swap(true) {
						t.Errorf("worker %d is in two calls", worker)
						return
					}
					counts[i].Add(1)
					if i%7 == 0 {
						runtime.Gosched()
					}
					in[worker].Store(false)
				})
				for i := range counts {
					if c := counts[i].Load(); c != 1 {
						t.Errorf("index %d called %d times", i, c)
					}
				}
			})
		}
	}
}

// TestPoolParts: each worker begins with its own part of the indices. What it leaves, others take.
func TestPoolParts(t *testing.T) {
	p := pools(t, 4)[0]
	for _, n := range []int{4, 10, 103} {
		first := make([]int, p.Workers())
		for w := range first {
			first[w] = -1
		}
		var begun sync.WaitGroup
		begun.Add(len(first))
		p.run(n, func(worker, i int) {
			if first[worker] < 0 {
				first[worker] = i
				begun.Done()
				begun.Wait() // nobody has time to help
			}
		})
		for w, i := range first {
			if from, _ := split(n, len(first), w); i != from {
				t.Errorf("n = %d: worker %d begins with index %d, want %d", n, w, i, from)
			}
		}
		last, helped := first[len(first)-1], make(chan struct{})
		var once sync.Once
		p.run(n, func(worker, i int) {
			switch from, to := split(n, len(first), worker); {
			case i < from || i >= to:
				once.Do(func() { close(helped) })
			case i == last && to-from > 1:
				<-helped // what follows in this part is for others
			}
		})
	}
}

func TestPoolSizes(t *testing.T) {
	procs := runtime.GOMAXPROCS(0)
	for _, c := range []struct{ workers, want int }{{0, procs}, {-3, procs}, {1, 1}, {procs, procs}, {procs + 7, procs}} {
		t.Run(fmt.Sprint(c.workers), func(t *testing.T) {
			p := NewPool(c.workers)
			defer p.Close()
			if p.Workers() != c.want || NewTape(p).Workers() != c.want {
				t.Errorf("%d workers, of a tape %d, want %d", p.Workers(), NewTape(p).Workers(), c.want)
			}
		})
	}
	if got := NewTape(nil).Workers(); got != 1 {
		t.Errorf("without a pool: %d workers", got)
	}
}

// eventually waits for something that others are about to do, for nearly as long as the tests may
// take: how long it lasts on a busy machine does not matter.
func eventually(t *testing.T, ok func() bool) bool {
	end, limited := t.Deadline()
	for !ok() {
		if limited && time.Until(end) < 10*time.Second {
			return false
		}
		time.Sleep(100 * time.Microsecond)
	}
	return true
}

// TestPoolClose: no goroutine is left, closing twice is fine, and what comes after runs on the
// caller alone.
func TestPoolClose(t *testing.T) {
	before := runtime.NumGoroutine()
	for round := range 20 {
		p := newPool(4)
		if round%3 > 0 {
			p.run(10, func(_, _ int) {})
		}
		if round%3 == 2 {
			parked(t, p)
		}
		p.Close()
		p.Close()
		tape := NewTape(p)
		sum := 0 // no other goroutine
		tape.Parallel(100, func(worker, i int) { sum += i + worker })
		if sum != 4950 {
			t.Fatalf("after Close: sum %d", sum)
		}
	}
	// Close waits until workers are done; the runtime may count them a moment longer.
	if !eventually(t, func() bool { return runtime.NumGoroutine() <= before }) {
		t.Errorf("%d goroutines, before the pools %d", runtime.NumGoroutine(), before)
	}
}

// parked waits until all workers sleep.
func parked(t *testing.T, p *Pool) {
	t.Helper()
	for i, h := range p.helpers {
		if !eventually(t, h.parked.Load) {
			t.Fatalf("worker %d does not park", i+1)
		}
	}
}

// TestPoolOwnerParks: whoever waits long for a worker leaves its core to others, and comes back.
func TestPoolOwnerParks(t *testing.T) {
	p := pools(t, 2)[0]
	for round := range 5 {
		parked(t, p)
		var here atomic.Int32
		p.run(2, func(worker, _ int) {
			here.Add(1)
			// Both are in a call, and that of the owner ends at once.
			if !eventually(t, func() bool { return here.Load() == 2 && (worker == 0 || p.owner.parked.Load()) }) {
				t.Errorf("round %d: the owner does not park", round)
			}
		})
	}
}

// TestPoolWakes: every worker that sleeps comes when there is work for it.
func TestPoolWakes(t *testing.T) {
	p := pools(t, 4)[0]
	for round := range 5 {
		parked(t, p)
		var here atomic.Int32
		var seen [4]atomic.Bool
		p.run(4, func(worker, _ int) {
			seen[worker].Store(true)
			here.Add(1)
			if !eventually(t, func() bool { return here.Load() == 4 }) { // nobody takes two
				t.Errorf("round %d: %d of 4 workers came", round, here.Load())
			}
		})
		for w := range seen {
			if !seen[w].Load() {
				t.Errorf("round %d: worker %d did not come", round, w)
			}
		}
	}
}

// TestPoolBusy: who finds the workers busy does all calls itself, as worker 0.
func TestPoolBusy(t *testing.T) {
	p := pools(t, 3)[0]
	var calls atomic.Int32
	other := func() {
		sum := 0 // no other goroutine
		NewTape(p).Parallel(50, func(worker, i int) {
			sum += i
			if worker != 0 {
				t.Errorf("worker %d", worker)
			}
		})
		if sum == 1225 {
			calls.Add(1)
		}
	}
	p.run(3, func(_, i int) {
		other() // nested
		done := make(chan bool)
		go func() { other(); close(done) }()
		<-done
	})
	if calls.Load() != 6 {
		t.Errorf("%d of 6 loops came to their end", calls.Load())
	}
}

// TestPoolForgets: a pool does not keep the memory of a tape alive.
func TestPoolForgets(t *testing.T) {
	p := pools(t, 2)[0]
	w := func() weak.Pointer[Tape] {
		tape := NewTape(p)
		tape.Parallel(100, func(_, _ int) { _ = tape.recording })
		return weak.Make(tape)
	}()
	if !eventually(t, func() bool { runtime.GC(); return w.Value() == nil }) {
		t.Error("the tape is still there")
	}
}

// TestPoolStress: many tiny loops of several tapes on one pool, with pauses in which workers park,
// while other pools come and go.
func TestPoolStress(t *testing.T) {
	p := pools(t, 4)[0]
	loops := 3000
	if testing.Short() {
		loops = 300
	}
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			tape := NewTape(p)
			out := make([]int, 40)
			for loop := range loops {
				n := 1 + (loop+k)%len(out)
				tape.Parallel(n, func(worker, i int) {
					tape.Scratch(worker, 8)[0] = float32(i)
					out[i] = loop + i
				})
				for i := range n {
					if out[i] != loop+i {
						t.Errorf("tape %d, loop %d: element %d is %d", k, loop, i, out[i])
						return
					}
				}
				if loop%100 == 10*k {
					time.Sleep(time.Millisecond)
				}
			}
		}()
	}
	for range loops / 10 {
		q := newPool(3)
		q.run(5, func(_, _ int) {})
		q.Close()
	}
	wg.Wait()
}

// TestPoolCloseBusy closes while others compute: they finish, on fewer workers.
func TestPoolCloseBusy(t *testing.T) {
	for range 20 {
		p := newPool(3)
		tape := NewTape(p)
		started, done := make(chan bool), make(chan bool)
		go func() {
			defer close(done)
			for loop := range 200 {
				var sum atomic.Int64
				tape.Parallel(20, func(_, i int) { sum.Add(int64(i)) })
				if sum.Load() != 190 || p.Workers() != 3 {
					t.Errorf("loop %d: sum %d, %d workers", loop, sum.Load(), p.Workers())
				}
				if loop == 20 {
					close(started)
				}
			}
		}()
		<-started
		p.Close()
		<-done
	}
}
