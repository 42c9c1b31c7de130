package train

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFollow writes, cuts and writes again what Follow reads.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, MetricsFile)
	write := func(s string, flag int) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flag, 0o666)
		if err == nil {
			_, err = f.WriteString(s)
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	type call struct {
		lines string
		again bool
	}
	calls := make(chan call, 10)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- Follow(ctx, dir, time.Millisecond, func(lines [][]byte, again bool) error {
			calls <- call{string(bytes.Join(lines, []byte("|"))), again}
			return nil
		})
	}()
	expect := func(want call) {
		t.Helper()
		if got := <-calls; got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
	}
	write("1\n2", os.O_APPEND)
	expect(call{"1", false})
	write("2\n", os.O_APPEND)
	expect(call{"22", false})
	write("9\n", os.O_TRUNC)
	if got := <-calls; got == (call{"", true}) { // it looked between the cut and the writing
		expect(call{"9", false})
	} else if want := (call{"9", true}); got != want {
		t.Fatalf("%+v, want %+v", got, want)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}

	t.Run("last lines", func(t *testing.T) { // also when ctx has ended before
		got := ""
		err := Follow(ctx, dir, time.Hour, func(lines [][]byte, _ bool) error { got = string(lines[0]); return nil })
		if err != nil || got != "9" {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("error", func(t *testing.T) {
		stop := errors.New("stop")
		if err := Follow(context.Background(), dir, time.Hour, func([][]byte, bool) error { return stop }); !errors.Is(err, stop) {
			t.Error(err)
		}
	})
	t.Run("long line", func(t *testing.T) {
		write(string(bytes.Repeat([]byte("x"), maxLine+1))+"\n8\n", os.O_APPEND)
		lines, next, again, err := linesFrom(path, 2)
		if err != nil || again || len(lines) != 1 || string(lines[0]) != "8" || next != 2+maxLine+2+2 {
			t.Errorf("%d lines, next %d, again %v, %v", len(lines), next, again, err)
		}
	})
	t.Run("folder in its place", func(t *testing.T) {
		other := t.TempDir()
		if err := os.Mkdir(filepath.Join(other, MetricsFile), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := Follow(context.Background(), other, time.Hour, func([][]byte, bool) error { return nil }); err == nil {
			t.Error("no error")
		}
	})
}
