package mpi

import (
	"context"
	"time"
)

const (
	between = time.Second     // between two messages
	silence = 8 * time.Second // after which a rank is lost
	tag     = 1               // of the messages; no other messages have one
	// lastWords is how long a launcher has to pass on what a process wrote before it ended all.
	lastWords = 300 * time.Millisecond
)

// heartbeat sends messages to the next rank and receives those of the one before. All methods run
// on the thread that owns the library.
type heartbeat struct {
	w                *World // nil before start and after stop
	last             time.Time
	missed           int // ticks without a message; a process that was halted itself has no ticks either
	out, in          [1]float32
	sending, hearing bool
	left             bool // by the rank before, whose last message has come
}

// The values of messages.
const (
	alive   = 1
	leaving = 2
)

// start is called once all ranks are there.
func (h *heartbeat) start(w *World) {
	if w.size == 1 {
		return
	}
	w.call(func() error {
		h.last, h.w = time.Now(), w
		return nil
	})
}

// tick does what is due, at most once in so long.
func (h *heartbeat) tick() {
	now := time.Now()
	if h.w == nil || now.Sub(h.last) < between {
		return
	}
	h.last = now
	h.missed++
	h.send(alive)
	if !h.listen() && h.missed > int(silence/between) {
		w := h.w
		h.w = nil
		before := (w.rank + w.size - 1) % w.size
		if w.o.Lost != nil {
			w.o.Lost(&LostError{before, w.hosts[before]})
		}
		time.Sleep(lastWords)
		w.abort(1)
	}
}

// send sends a message unless the last one is still under way. It reports whether it did.
func (h *heartbeat) send(value float32) bool {
	w := h.w
	if h.sending {
		if done, err := w.test(&w.beatSend); !done || err != nil {
			return false
		}
	}
	h.out[0] = value
	h.sending = w.lib.isend(h.out[:], (w.rank+1)%w.size, tag, &w.beatSend) == 0
	return h.sending
}

// listen takes the messages that have come and reports whether one, now or before, says that the rank
// is leaving.
func (h *heartbeat) listen() bool {
	w := h.w
	for !h.left {
		if !h.hearing {
			h.hearing = w.lib.irecv(h.in[:], (w.rank+w.size-1)%w.size, tag, &w.beatRecv) == 0
		}
		if !h.hearing {
			return false
		}
		if done, err := w.test(&w.beatRecv); !done || err != nil {
			return false
		}
		h.hearing, h.missed, h.left = false, 0, h.in[0] == leaving
	}
	return true
}

// stop waits for all ranks and takes leave of both neighbours, so that no message is left over.
func (h *heartbeat) stop() error {
	w := h.w
	if w == nil {
		return nil
	}
	if err := w.wait(context.Background(), "MPI_Ibarrier", w.lib.ibarrier(&w.req)); err != nil {
		return err
	}
	for sent := false; !sent || !h.listen() || h.sending; time.Sleep(100 * time.Microsecond) {
		sent = sent || h.send(leaving)
		if sent {
			done, err := w.test(&w.beatSend)
			if err != nil {
				return err
			}
			h.sending = !done
		}
	}
	h.w = nil
	return nil
}
