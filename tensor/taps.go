package tensor

import "github.com/gomae/gomae/asm"

// The weight of a convolution is [A, B, taps], as in PyTorch: a tap, which is a place in the
// kernel, is the last axis. Matrix products want its channels side by side.

// packTaps packs a weight w [A, B, taps] as [A, taps·B], or its transpose, for gemm. The panels of
// a frozen weight are kept; call releaseTaps when the others are no longer needed.
func packTaps(t *Tape, w *Tensor, transposed bool) rhs {
	a, n := w.Shape[0], size(w.Shape[1:])
	m := matrix{rows: a, cols: n, rs: n, cs: 1} // without values, which are in another order
	if transposed {
		m = m.transposed()
	}
	pack := func(panels []float32) {
		flat := m
		flat.data = t.buffers.take(len(w.Data))
		moveTaps(t, flat.data, w, n, w.Shape[1], nil)
		packPanels(t, panels, flat)
		t.buffers.give(flat.data)
	}
	right := rhs{matrix: m}
	if w.frozen {
		w.packed.once.Do(func() {
			w.packed.forward = alloc(asm.PackedLen(m.rows, m.cols))
			pack(w.packed.forward)
		})
		right.panels = w.packed.forward
	} else {
		right.panels = t.buffers.take(asm.PackedLen(m.rows, m.cols))
		pack(right.panels)
	}
	return right
}

// releaseTaps takes back the panels of a weight that is not frozen.
func releaseTaps(t *Tape, w *Tensor, right rhs) {
	if !w.frozen {
		t.buffers.give(right.panels)
	}
}

// moveTaps writes the value (a, b, k) of a weight w [A, B, taps] to dst[a*strideA +
// place(k)*strideTap + b]. place nil stands for k. It completes even on a tape that is stopped, which the
// panels of a frozen weight outlive.
func moveTaps(t *Tape, dst []float32, w *Tensor, strideA, strideTap int, place func(tap int) int) {
	n, taps := w.Shape[1], size(w.Shape[2:])
	parts := ceilDiv(w.Shape[0]*n*taps, 1<<12)
	t.pool.run(parts, func(_, i int) {
		from, to := split(w.Shape[0], parts, i)
		for a := from; a < to; a++ {
			in := w.Data[a*n*taps : (a+1)*n*taps]
			for k := range taps {
				at := k
				if place != nil {
					at = place(k)
				}
				out := dst[a*strideA+at*strideTap:][:n]
				for b := range out {
					out[b] = in[b*taps+k]
				}
			}
		}
	})
}

// addTaps adds dw [taps, B, A] to the gradient of a weight w [A, B, taps].
func addTaps(t *Tape, w *Tensor, dw []float32) {
	g := t.Grad(w)
	rows, n, taps := w.Shape[0], w.Shape[1], size(w.Shape[2:])
	// A cache line of dw at a time.
	t.each(rows, 16, func(_, from, to int) {
		for b := range n {
			for k := range taps {
				for a, v := range dw[(k*n+b)*rows+from : (k*n+b)*rows+to] {
					g[((from+a)*n+b)*taps+k] += v
				}
			}
		}
	})
}
