//go:build linux && !android && (amd64 || arm64) && !nompi

package mpi

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ebitengine/purego"
)

// TestLeaving has a library whose other rank takes leave before this one has seen that the barrier is
// passed, while a message is due.
func TestLeaving(t *testing.T) {
	w := &World{size: 2}
	came, questions := false, 0
	ok := purego.NewCallback(func() uintptr { return 0 })
	w.lib = &library{f: map[string]uintptr{
		"MPI_Ibarrier": ok, "MPI_Isend": ok, "MPI_Irecv": ok,
		"MPI_Test": purego.NewCallback(func(req uintptr) uintptr {
			switch req {
			case pointer(&w.req):
				if questions++; questions > 1000 { // more than are asked before the first pause
					w.flag = 1
				}
			case pointer(&w.beatSend):
				w.flag = 1
			case pointer(&w.beatRecv):
				if !came {
					came, w.flag, w.beat.in[0] = true, 1, leaving
				}
			}
			return 0
		}),
	}}
	w.beat.w = w // its last message was long ago
	done := make(chan error, 1)
	go func() { done <- w.beat.stop() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("waits for the message that it has had")
	}
}

// TestBusy waits on a machine on which every question takes as long as one that moves data.
func TestBusy(t *testing.T) {
	w := &World{size: 2}
	asked := 0
	w.lib = &library{f: map[string]uintptr{"MPI_Test": purego.NewCallback(func(req uintptr) uintptr {
		if asked++; asked > 2e5 {
			w.flag = 1
		}
		for began := time.Now(); time.Since(began) < 5*time.Microsecond; {
		}
		return 0
	})}}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.wait(ctx, "MPI_Ibarrier", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v after %d questions", err, asked)
	}
}
