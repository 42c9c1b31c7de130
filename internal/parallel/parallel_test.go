package parallel

import (
	"context"
	"slices"
	"sync"
	"testing"
)

// TestDo wants each index once, as many at the same time as there are goroutines.
func TestDo(t *testing.T) {
	for _, c := range []struct{ goroutines, n, together int }{{0, 3, 1}, {1, 3, 1}, {4, 4, 4}, {4, 100, 1}, {9, 3, 3}, {4, 0, 0}} {
		var begun sync.WaitGroup
		begun.Add(c.together)
		calls := make([]int, c.n)
		Do(context.Background(), c.goroutines, c.n, func(i int) {
			if c.together > 1 { // ends only if all of them are called before one returns
				begun.Done()
				begun.Wait()
			}
			calls[i]++
		})
		if !slices.Equal(calls, slices.Repeat([]int{1}, c.n)) {
			t.Errorf("%+v: calls %v", c, calls)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	Do(ctx, 1, 100, func(i int) {
		if calls++; i == 2 {
			cancel()
		}
	})
	if calls != 3 {
		t.Errorf("%d calls, the third of which ends the context", calls)
	}
}
