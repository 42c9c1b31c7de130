package asm

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// TestPause wants a pause not to let other goroutines run: on one processor they would run at once.
func TestPause(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const tries = 10
	for range tries { // the system may end the goroutine's turn in any of them
		var ran atomic.Bool
		done := make(chan struct{})
		go func() {
			ran.Store(true)
			close(done)
		}()
		for range 10 {
			Pause()
		}
		early := ran.Load()
		<-done
		if !early {
			return
		}
	}
	t.Errorf("another goroutine ran in each of %d rounds of pauses", tries)
}
