//go:build linux && !android && (amd64 || arm64) && !nompi

package mpi

import (
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
