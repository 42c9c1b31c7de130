package tensor

import (
	"math"
	"slices"

	"github.com/gomae/gomae/internal/poison"
)

// cacheLine is the length of a cache line, and of the widest vector, in floats. A load or store of
// 16 floats that does not begin with a line touches two and takes twice as long: with activations
// out of line, a whole training step takes 2 % longer.
const cacheLine = 16

// alloc returns zeroed memory from Go's heap.
func alloc(n int) []float32 {
	x := make([]float32, n)
	adviseHuge(x)
	return x
}

// arena hands out the memory of one step and takes it back all at once. It keeps its chunks, so
// that steps of equal size allocate nothing.
type arena[T any] struct {
	chunks [][]T
	chunk  int // in use
	used   int // of that chunk
	size   int // of all chunks
	min    int // least length of a new chunk
	unit   int // what is handed out begins at a multiple of it
}

func (a *arena[T]) take(n int) []T {
	if a.chunk < len(a.chunks) && len(a.chunks[a.chunk])-a.used >= n {
		s := a.chunks[a.chunk][a.used : a.used+n : a.used+n]
		a.used = min(len(a.chunks[a.chunk]), a.used+ceilDiv(n, a.unit)*a.unit)
		return s
	}
	// Go on with the shortest of the chunks left that is long enough, which changes places with the
	// next one. Going on to the first that is long enough would leave those before it unused in
	// this step: all of them, if one size has grown a little beyond its chunk.
	next := a.chunk
	if a.used > 0 {
		next++
	}
	i := -1
	for k := next; k < len(a.chunks); k++ {
		if l := len(a.chunks[k]); l >= n && (i < 0 || l < len(a.chunks[i])) {
			i = k
		}
	}
	if i < 0 {
		// Chunks grow with what is there, so that there are few of them, and little is left over at
		// their ends and in the last one, whatever the model.
		i = len(a.chunks)
		c := make([]T, max(a.min, a.size/4, n+n/8))
		a.size += len(c)
		adviseHuge(c)
		a.chunks = append(a.chunks, c)
	}
	a.chunks[next], a.chunks[i] = a.chunks[i], a.chunks[next]
	a.chunk, a.used = next, 0
	return a.take(n) // which now fits
}

// reset takes back everything.
func (a *arena[T]) reset() {
	if f, ok := any(a.chunks).([][]float32); ok && poison.On {
		for i, c := range f[:min(a.chunk+1, len(f))] {
			if i == a.chunk {
				c = c[:a.used]
			}
			fillNaN(c)
		}
	}
	a.chunk, a.used = 0, 0
}

func fillNaN(x []float32) {
	for i := range x {
		x[i] = float32(math.NaN())
	}
}

// freeList hands out buffers that come back one by one in any order: the gradients of a backward
// pass and the activations of inference. Of buffers of one size the last to come back is the next
// to go out, as it may still be in the cache.
type freeList struct{ free [][]float32 }

func (l *freeList) take(n int) []float32 {
	best := -1
	for i := len(l.free) - 1; i >= 0; i-- {
		c := cap(l.free[i])
		if c >= n && c <= 2*n+1024 && (best < 0 || c < cap(l.free[best])) {
			best = i
		}
	}
	if best < 0 {
		// Sizes vary a little from step to step, with the number of tokens that are visible in a
		// modality. An eighth in reserve lets buffers be used again.
		return alloc(n + n/8 + 64)[:n]
	}
	b := l.free[best]
	l.free = slices.Delete(l.free, best, best+1)
	return b[:n]
}

func (l *freeList) give(b []float32) {
	if b == nil {
		return
	}
	if poison.On {
		fillNaN(b[:cap(b)])
	}
	l.free = append(l.free, b)
}
