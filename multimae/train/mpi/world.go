package mpi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"github.com/gomae/gomae/internal/bfloat16"
)

// ErrUnsupported is wrapped by Start's error on systems for which the package does nothing.
var ErrUnsupported = errors.New("MPI is supported on Linux on amd64 and arm64 only, in programs that were not built with the tag nompi")

// Options say how Start joins the others.
type Options struct {
	Lib string // path or name of the library; "" looks for one
	// Lost is called if another rank is lost, with a *LostError, before the process is ended. It may
	// be nil. It is called at any time between Start and Close, from the thread that owns the library:
	// in it Sum, Close and Abort would wait for ever for that thread.
	Lost func(error)
}

// LostError is the error of a rank that no longer answers.
type LostError struct {
	Rank int
	Host string
}

func (e *LostError) Error() string {
	return fmt.Sprintf("rank %d on %s has not answered for %d s: it was killed, or its machine or the network is down",
		e.Rank, e.Host, int(silence/time.Second))
}

// World is the group of all processes that a launcher started together: the ranks.
type World struct {
	o          Options
	lib        *library
	rank, size int
	hosts      []string // of each rank

	calls          chan call
	closed         chan struct{}
	leave, abandon sync.Once // of Close and of Abort
	beat           heartbeat

	// What the library reads and writes while a call is under way.
	req, beatSend, beatRecv handle
	flag                    int32
	counts, displs          [2][]int32
	recv                    []float32
	half                    [3][]uint32 // of SumBFloat16
}

// call is work for the thread that owns the library.
type call struct {
	do   func() error
	done chan error
}

// Start opens the library, joins the other ranks and returns when all have done so. Call it once in
// a process.
func Start(o Options) (*World, error) {
	w := &World{o: o, calls: make(chan call), closed: make(chan struct{})}
	started := make(chan error)
	go w.serve(started)
	if err := <-started; err != nil {
		return nil, err
	}
	if err := w.introduce(); err != nil {
		return nil, err
	}
	w.beat.start(w)
	return w, nil
}

// Rank returns the number of this process, 0 ≤ Rank() < Size().
func (w *World) Rank() int { return w.rank }

// Size returns the number of processes.
func (w *World) Size() int { return w.size }

// Host returns the name of the machine that a rank runs on.
func (w *World) Host(rank int) string { return w.hosts[rank] }

// Library describes the library: the first line of what it says about itself.
func (w *World) Library() string { return w.lib.version }

// Sum replaces x by its sum over all ranks, added in the order of ranks. All ranks call it with
// equally many values, and their calls in the same order. It returns the error of ctx when that
// ends, or of the library; the ranks are then no longer in step, and the world can only be aborted.
func (w *World) Sum(ctx context.Context, x []float32) error {
	if w.size == 1 || len(x) == 0 {
		return nil
	}
	return w.call(func() error {
		if len(x) <= small {
			return w.sumSmall(ctx, x)
		}
		return w.sumLarge(ctx, x)
	})
}

// small is up to how many values a message takes no longer for having more of them: these go to all
// ranks in one exchange instead of two.
const small = 1 << 10

// sumSmall sends all values to all ranks, and each adds them up.
func (w *World) sumSmall(ctx context.Context, x []float32) error {
	n := len(x)
	all := w.buffer(n * w.size)
	if err := w.wait(ctx, "MPI_Iallgather", w.lib.iallgather(x, all, &w.req)); err != nil {
		return err
	}
	copy(x, all)
	for r := 1; r < w.size; r++ {
		add(x, all[r*n:][:n])
	}
	return nil
}

// sumLarge gives each rank a part of x from all others. It adds them up and sends the result to all.
func (w *World) sumLarge(ctx context.Context, x []float32) error {
	mine := w.divide(len(x))
	all := w.buffer(mine * w.size)
	if err := w.scatter(ctx, x, all); err != nil {
		return err
	}
	sum := all[:mine]
	for k := 1; k < w.size; k++ {
		add(sum, all[k*mine:][:mine])
	}
	return w.gather(ctx, sum, x)
}

// SumBFloat16 is Sum with half of the bytes: all values travel as bfloat16, rounded to nearest even,
// and so does their sum, which is added up in float32. It has the same bits on all ranks.
func (w *World) SumBFloat16(ctx context.Context, x []float32) error {
	if w.size == 1 || len(x) == 0 {
		return nil
	}
	return w.call(func() error {
		words := (len(x) + 1) / 2 // of two values each
		mine := w.divide(words)
		for i, n := range []int{words, mine * w.size, mine} {
			if cap(w.half[i]) < n {
				w.half[i] = make([]uint32, n)
			}
			w.half[i] = w.half[i][:n]
		}
		out, all, part := w.half[0], w.half[1], w.half[2]
		pack(out, x)
		if err := w.scatter(ctx, floats(out), floats(all)); err != nil {
			return err
		}
		sum := w.buffer(2 * mine)
		clear(sum)
		for k := range w.size {
			addPacked(sum, all[k*mine:][:mine])
		}
		pack(part, sum)
		if err := w.gather(ctx, floats(part), floats(out)); err != nil {
			return err
		}
		clear(x)
		addPacked(x, out)
		return nil
	})
}

// divide notes which part of n values each rank sums, and returns the length of this one's.
func (w *World) divide(n int) (mine int) {
	r := w.size
	at := func(k int) int { return n * k / r }
	mine = at(w.rank+1) - at(w.rank)
	for k := range r {
		w.counts[0][k], w.displs[0][k] = int32(at(k+1)-at(k)), int32(at(k))
		w.counts[1][k], w.displs[1][k] = int32(mine), int32(k*mine)
	}
	return mine
}

// scatter sends each rank its part of x, and receives this rank's part from all, in their order.
func (w *World) scatter(ctx context.Context, x, all []float32) error {
	return w.wait(ctx, "MPI_Ialltoallv", w.lib.ialltoallv(x, w.counts[0], w.displs[0], all, w.counts[1], w.displs[1], &w.req))
}

// gather sends this rank's part to all, and receives theirs in x. An all-gather would be a chain of
// messages in most libraries, each of which waits for the one before it. Here all go out at once.
func (w *World) gather(ctx context.Context, part, x []float32) error {
	clear(w.displs[1])
	return w.wait(ctx, "MPI_Ialltoallv", w.lib.ialltoallv(part, w.counts[1], w.displs[1], x, w.counts[0], w.displs[0], &w.req))
}

// pack rounds x to bfloat16, two values a word. A value that is missing in the last word is 0.
func pack(words []uint32, x []float32) {
	for i := range len(x) / 2 {
		words[i] = uint32(bfloat16.Bits(x[2*i])) | uint32(bfloat16.Bits(x[2*i+1]))<<16
	}
	if len(x)%2 > 0 {
		words[len(words)-1] = uint32(bfloat16.Bits(x[len(x)-1]))
	}
}

// addPacked adds the values in words to x.
func addPacked(x []float32, words []uint32) {
	for i := range len(x) / 2 {
		w := words[i]
		x[2*i] += bfloat16.Float(uint16(w))
		x[2*i+1] += bfloat16.Float(uint16(w >> 16))
	}
	if len(x)%2 > 0 {
		x[len(x)-1] += bfloat16.Float(uint16(words[len(words)-1]))
	}
}

// floats returns words as the library is told that they are. Their values are never looked at.
func floats(words []uint32) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(words))), len(words))
}

func (w *World) buffer(n int) []float32 {
	if cap(w.recv) < n {
		w.recv = make([]float32, n)
	}
	return w.recv[:n]
}

func add(dst, x []float32) {
	for i, v := range x {
		dst[i] += v
	}
}

// Close waits for all ranks to call it, and leaves them. After an error of Sum, call Abort instead.
func (w *World) Close() error {
	err := errors.New("MPI has been left already")
	w.leave.Do(func() {
		err = w.call(func() error {
			err := w.beat.stop()
			if err == nil {
				err = w.failed("MPI_Finalize", w.lib.finalize())
			}
			return err
		})
		close(w.closed)
	})
	return err
}

// Abort ends all ranks, this one too, with the given exit code. After Close it ends this process only.
func (w *World) Abort(code int) {
	w.abandon.Do(func() {
		// The thread may be inside of a call of the library that will never return.
		ended := time.AfterFunc(lastWords+2*time.Second, func() { os.Exit(code) })
		defer ended.Stop()
		time.Sleep(lastWords)
		w.call(func() error { return w.abort(code) })
		os.Exit(code)
	})
	select {} // another goroutine is ending the process
}

// abort is Abort on the thread that owns the library.
func (w *World) abort(code int) error {
	w.lib.abort(code)
	os.Exit(code)
	return nil
}

// call lets the thread that owns the library do something.
func (w *World) call(do func() error) error {
	c := call{do, make(chan error, 1)}
	select {
	case w.calls <- c:
		return <-c.done
	case <-w.closed:
		return errors.New("MPI has been left already")
	}
}

// wait waits for the exchange that was begun in w.req with the given return code. The library moves
// data only while it is asked. As long as it does, which takes time, the next question follows at
// once; else there are pauses, for cores that wait are missed by those that compute. On a busy machine
// every question may take long, so that what else is due does not wait for a pause.
func (w *World) wait(ctx context.Context, what string, code int32) error {
	if err := w.failed(what, code); err != nil {
		return err
	}
	const (
		moved = 2 * time.Microsecond // takes a question if data were moved; less than 1 µs if not
		tries = 100                  // without data before a pause
	)
	began := time.Now() // waiting, or last did what else is due
	for idle := 0; ; idle++ {
		asked := time.Now()
		done, err := w.test(&w.req)
		if done || err != nil {
			return err
		}
		if time.Since(asked) > moved {
			idle = 0
		}
		if idle < tries && asked.Sub(began) < between/4 {
			continue
		}
		began = asked
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("waiting for the other ranks: %w", err)
		}
		w.beat.tick()
		if idle >= tries {
			pause(50 * time.Microsecond)
			idle = tries - 10
		}
	}
}

// test reports whether an exchange has ended.
func (w *World) test(req *handle) (bool, error) {
	w.flag = 0
	err := w.failed("MPI_Test", w.lib.test(req, &w.flag))
	return w.flag != 0, err
}

// failed returns an error for a return code that is one.
func (w *World) failed(what string, code int32) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", what, w.lib.errorString(code))
}

// introduce tells all ranks where this one runs.
func (w *World) introduce() error {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	const limit = 255 // a name of the domain name system has no more
	host = host[:min(len(host), limit)]
	x := make([]float32, limit*w.size)
	for i := range len(host) {
		x[w.rank*limit+i] = float32(host[i])
	}
	if err := w.Sum(context.Background(), x); err != nil {
		return err
	}
	for r := range w.size {
		name := []byte{}
		for _, c := range x[r*limit:][:limit] {
			if c != 0 {
				name = append(name, byte(c))
			}
		}
		w.hosts = append(w.hosts, string(name))
	}
	return nil
}
