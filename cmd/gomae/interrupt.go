package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// grace is how long a command may go on after an interrupt, or after what it saves then, before it is
// left alone.
const grace = 2 * time.Second

var errBlocked = errors.New("interrupted while it waited or computed; run the command again")

// saver tells a command that has something to save after an interrupt, and so is waited for however
// long it takes, from one that may be left alone, because all it could do is wait.
type saver struct {
	mu     sync.Mutex // guards what follows
	saving bool
	since  time.Time // when saving last changed
}

// save calls f and lets it end.
func (s *saver) save(f func() error) error {
	s.set(true)
	defer s.set(false)
	return f()
}

func (s *saver) set(saving bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saving, s.since = saving, time.Now()
}

// idle returns for how long nothing has been saved, at most since start.
func (s *saver) idle(start time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saving {
		return 0
	}
	if s.since.After(start) {
		start = s.since
	}
	return time.Since(start)
}

// await returns what f returns, or errBlocked if ctx has ended and f does not end: opening, reading or
// writing may wait for ever, for the other end of a pipe or for a network.
func (s *saver) await(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	for interrupted := time.Now(); ; {
		select {
		case err := <-done:
			return err
		case <-time.After(grace - s.idle(interrupted)):
			if s.idle(interrupted) >= grace {
				return errBlocked
			}
		}
	}
}

// interruptible passes bytes on to w, but does not wait for it when ctx has ended: nobody may be
// reading from a pipe. Then all that follows is lost.
type interruptible struct {
	ctx context.Context
	w   io.Writer

	mu   sync.Mutex
	lost bool
}

func (i *interruptible) Write(b []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.lost {
		return 0, errBlocked
	}
	type result struct {
		n   int
		err error
	}
	b = slices.Clone(b) // the caller may change it when Write has returned
	done := make(chan result, 1)
	go func() {
		n, err := i.w.Write(b)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-i.ctx.Done():
	}
	select {
	case r := <-done:
		return r.n, r.err
	case <-time.After(grace / 2):
		i.lost = true
		return 0, errBlocked
	}
}

// untilEnd passes bytes on to w until ctx ends.
type untilEnd struct {
	ctx context.Context
	w   io.Writer
}

func (u untilEnd) Write(b []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, errors.New("interrupted; nothing is written")
	}
	return u.w.Write(b)
}
