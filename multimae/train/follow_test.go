package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	t.Run("blocks", func(t *testing.T) { // of a file of several, with lines across their borders and one that is longer
		var text bytes.Buffer
		var want [][]byte
		for i := range 30_000 {
			line := fmt.Appendf(nil, "%d %0*d", i, i%200, 0)
			want = append(want, line)
			text.Write(append(line, '\n'))
			if i == 20_000 {
				text.Write(append(bytes.Repeat([]byte("x"), maxLine), '\n'))
			}
		}
		text.WriteString("incomplete")
		write(text.String(), os.O_TRUNC)
		for _, at := range []int64{0, 1 << 40} { // at first, and after a cut
			var got [][]byte
			next, calls := at, 0
			for left := true; left; calls++ {
				lines, to, again, err := linesFrom(path, next)
				if size := len(bytes.Join(lines, []byte{'\n'})); err != nil || again != (at > 0 && calls == 0) || size > maxLine {
					t.Fatalf("call %d: %d bytes, again %v, %v", calls, size, again, err)
				}
				got, left, next = append(got, lines...), to != next, to
			}
			if !slices.EqualFunc(got, want, bytes.Equal) || next != int64(text.Len()-len("incomplete")) || calls < 4 {
				t.Errorf("%d lines to byte %d of %d in %d calls, want %d lines", len(got), next, text.Len(), calls, len(want))
			}
		}
		calls, lines := 0, 0
		err := Follow(ctx, dir, time.Hour, func(l [][]byte, again bool) error {
			calls, lines = calls+1, lines+len(l)
			return nil
		})
		if err != nil || lines != len(want) || calls < 3 {
			t.Errorf("Follow: %d lines in %d calls, want %d lines; %v", lines, calls, len(want), err)
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
