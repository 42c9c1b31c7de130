package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestAwait lets a command go on after an interrupt while it saves, and for a moment after that.
func TestAwait(t *testing.T) {
	last := errors.New("the last line")
	for _, c := range []struct {
		name              string
		early, save, late time.Duration // since the interrupt, each after the one before
		want              error
	}{
		{"ends at once", 0, 0, grace / 2, last},
		{"waits", 0, 0, 2 * grace, errBlocked},
		{"saves for long", 0, 9 * grace, 0, last},
		{"ends after its save", grace / 2, grace, grace - 1, last},
		{"waits after its save", grace / 2, grace, grace + 1, errBlocked},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				s := new(saver)
				err := s.await(ctx, func() error {
					time.Sleep(c.early)
					s.save(func() error { time.Sleep(c.save); return nil })
					time.Sleep(c.late)
					return last
				})
				if err != c.want {
					t.Errorf("got %v, want %v", err, c.want)
				}
				time.Sleep(2 * grace) // until the command has ended
			})
		})
	}
}
