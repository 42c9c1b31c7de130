package tensor

import (
	"slices"

	"github.com/gomae/gomae/asm"
)

// How a gradient travels
//
// Take two layers with a residual sum around them:
//
//	h := LinearGELU(t, x, w1, b1)
//	y := LinearAdd(t, h, w2, b2, x) // x + w2·h + b2
//	loss := RegressionLoss(t, y, target, weights, L2)
//	t.Backward(loss)
//
// w1, b1, w2 and b2 are leaves: tensors from outside the tape with a Grad, which is the caller's
// and lasts. h, y and loss are results. Their gradients belong to the tape: they come from its
// buffers during Backward and go back to them. Let x be a result, too, of the layer before. A
// tensor without a gradient, such as target, is a constant.
//
// Forward, every operation computes its result and calls Record with it and the inputs. If an input
// is a leaf or a tracked result, the result is tracked: a gradient will flow through it. Record
// reports that, and the operation leaves its backward pass with Back, as a closure. Nothing flows
// through what is computed of constants alone.
//
// Backward gives the loss the gradient 1 and goes back over the operations, the last first. When it
// comes to the one that made h, it has been through all that read h, so h.Grad is complete. The
// backward pass reads the gradient of its result and adds to those of its inputs, which it gets by
//
//	dx := t.Grad(x)            // nil: none is wanted
//	dx, fresh := t.rawGrad(x)  // the same without zeros in it
//
// A gradient is fresh until something has been added to it: it counts as zero whatever its values
// are. Results' gradients are fresh when they come from the buffers, leaves' after ZeroGrad. A leaf
// of LendGrad gets its gradient from the buffers like a result, and MoveGrad adds it to another's,
// or weightGrad lets a product do so. Writing zeros, only to read them for the first sum, would cost
// a pass over memory. So an operation that writes every value of a gradient asks for rawGrad, and
// overwrites if it is fresh; all others ask for Grad, which clears a fresh gradient first. Here, in
// this order:
//
//	loss  y.Grad is fresh: overwritten
//	y     w2.Grad, b2.Grad and h.Grad are fresh: overwritten
//	      x.Grad becomes y.Grad: passGrad hands the memory over, as nobody reads y.Grad after this
//	h     w1.Grad and b1.Grad are fresh: overwritten; to x.Grad is added
//
// The loss does not depend on a leaf that is still fresh after Backward. HasGrad then reports
// false, and an optimiser leaves the leaf as it is. For readers of Grad, Backward writes zeros
// there.
//
// Fused work. A matrix product has what it writes in the cache, and does there what would otherwise
// be a pass of its own over memory. Two such things concern gradients; type fused holds what one
// operation leaves for another:
//
//   - h is GELU(w1·x + b1), and the gradient of h is wanted only to be multiplied by the slope of
//     GELU. y is the one operation that reads h. So its backward pass writes h.Grad = y.Grad·w2 at
//     once, and multiplies on the way. Whoever multiplies calls takeSlope first, which gives the
//     slope to the first who asks: when the backward pass of h asks, nothing is left to do. Had h
//     been read twice, it would multiply the sum of both gradients.
//   - The optimiser needs the norm of all gradients. The product that writes w1.Grad sums up the
//     squares of each row, for GradSumSq. Whoever asks for the gradient afterwards will change it,
//     so rawGrad, and with it Grad, forgets the sums.

// gradState is what a tape knows of a tensor's Grad.
type gradState struct {
	tracked bool    // a result that a gradient flows through
	lent    *Tensor // of a leaf whose Grad is of the tape's buffers: to whose Grad it is added
	fresh   bool    // Grad counts as zero, whatever its values are
	fused   fused
}

// fused is what matrix products do to a gradient, or find out about it, as they write it.
type fused struct {
	reads  int       // operations recorded with the tensor as an input; of a leaf, where Tape.complete is set
	slope  []float32 // of LinearGELU's result: the slope of GELU at its input, until takeSlope
	rowsSq []float64 // of a leaf: sums of squares, of each row of Grad or each sumSpan values; empty: not known
}

// needsGrad reports whether a backward pass must reach x.
func (x *Tensor) needsGrad() bool { return x != nil && (x.Grad != nil || x.tracked || x.lent != nil) }

// HasGrad reports whether x, a leaf, has a gradient that is to be used: not if it wants none, nor
// if the loss of the last Backward did not depend on it, for nothing was added since ZeroGrad.
// PyTorch's grad is None in these cases.
func (x *Tensor) HasGrad() bool { return x.Grad != nil && !x.fresh }

// Grad returns where a backward pass adds the gradient of x, an input of its operation; nil if none
// is wanted. It holds zeros if nothing has been added yet.
func (t *Tape) Grad(x *Tensor) []float32 {
	g, fresh := t.rawGrad(x)
	if fresh {
		t.clear(g)
	}
	return g
}

// rawGrad is Grad for a backward pass that writes all values: where the gradient is fresh they are
// undefined and must be overwritten, otherwise they must be added to.
func (t *Tape) rawGrad(x *Tensor) (g []float32, fresh bool) {
	if !x.needsGrad() {
		return nil, false
	}
	if x.Grad == nil {
		x.Grad = t.buffers.take(len(x.Data))
		return x.Grad, true
	}
	if fresh = x.fresh; fresh { // else another tape may be reading it: see MoveGrad
		x.fresh = false
	}
	x.fused.rowsSq = x.fused.rowsSq[:0]
	return x.Grad, fresh
}

// clear writes zeros to g.
func (t *Tape) clear(g []float32) {
	const span = 1 << 15
	if len(g) <= span {
		clear(g)
		return
	}
	t.each(len(g), span, func(_, i, j int) { clear(g[i:j]) })
}

// put adds x to dst, which counts as 0 if it is fresh.
func put(dst, x []float32, fresh bool) {
	if fresh {
		copy(dst, x)
	} else {
		asm.Add(dst, dst, x)
	}
}

// putScaled adds s·x to dst, which counts as 0 if it is fresh.
func putScaled(dst, x []float32, s float32, fresh bool) {
	if fresh {
		asm.Scale(dst, x, s)
	} else {
		asm.Axpy(dst, x, s)
	}
}

// passGrad adds the gradient of out to that of x, of the same size. Where x has none yet, the
// memory is handed over without a copy, so this must be the last that a backward pass does with
// out.Grad.
func (t *Tape) passGrad(x, out *Tensor) {
	if !x.needsGrad() {
		return
	}
	if x.Grad == nil {
		x.Grad, out.Grad = out.Grad, nil
		return
	}
	g, fresh := t.rawGrad(x)
	t.each(len(g), span, func(_, i, j int) { put(g[i:j], out.Grad[i:j], fresh) })
}

// takeSlope returns the slope of GELU if x is the result of LinearGELU, for the caller to multiply
// the gradient of x by. It returns nil otherwise, and if called before.
func (x *Tensor) takeSlope() []float32 {
	slope := x.fused.slope
	x.fused.slope = nil
	return slope
}

// rowsSq returns where a product that writes the gradient of x, of so many rows, leaves the sum of
// the squares of each row; nil if x is no leaf, or one whose gradient is moved, for then nobody asks.
func (x *Tensor) rowsSq(rows int) []float64 {
	if x.tracked || x.lent != nil {
		return nil
	}
	x.fused.rowsSq = slices.Grow(x.fused.rowsSq[:0], rows)[:rows]
	return x.fused.rowsSq
}

// LendGrad lets x, a leaf without a gradient, get one in each backward pass that reaches it, in
// memory of the tape: of buffers that were used a moment ago, and that MoveGrad takes back when it
// adds the gradient to that of to. After a Backward that was cut short, set Grad to nil: the next one
// would add to it.
func (x *Tensor) LendGrad(to *Tensor) { x.lent = to }

// MoveGrad adds the gradient of x, a leaf of LendGrad that this tape has gone back to, to that of
// the leaf it was lent for, and takes its memory back. With the last that is added, the squares that
// GradSumSq asks for are summed, while the values are in the cache. Other tapes may go on with other
// leaves meanwhile.
func (t *Tape) MoveGrad(x *Tensor, last bool) {
	to, from := x.lent, x.Grad
	if from == nil && (!last || to.fresh) { // x has none, or weightGrad was enough
		return
	}
	sum, fresh := to.Grad, false
	if from != nil {
		sum, fresh = t.rawGrad(to)
	}
	var sums []float64
	if last {
		sums = to.rowsSq(ceilDiv(len(sum), sumSpan))
	}
	t.each(len(sum), sumSpan, func(_, i, j int) {
		if from != nil {
			put(sum[i:j], from[i:j], fresh)
		}
		if last {
			sums[i/sumSpan] = asm.SumSq(sum[i:j])
		}
	})
	t.buffers.give(from)
	x.Grad = nil
}

// weightGrad is rawGrad for an operation that writes sums of so many products. Where they are all
// that x, a leaf of LendGrad, will get, and it is this tape's turn, they go at once to where MoveGrad
// would add them.
func (t *Tape) weightGrad(x *Tensor, products int) (g []float32, fresh bool) {
	if x.lent != nil && x.Grad == nil && x.fused.reads == 1 && asm.OneSum(products) && t.turn != nil && t.turn(x) {
		return t.rawGrad(x.lent)
	}
	return t.rawGrad(x)
}

// SetGrad replaces the gradient of x, a leaf, by g, or by zeros that HasGrad denies if g is nil.
func (t *Tape) SetGrad(x *Tensor, g []float32) {
	x.fresh = g == nil
	sums := x.rowsSq(ceilDiv(len(x.Grad), sumSpan))
	t.each(len(x.Grad), sumSpan, func(_, i, j int) {
		if g == nil {
			clear(x.Grad[i:j])
		} else {
			copy(x.Grad[i:j], g[i:j])
		}
		sums[i/sumSpan] = asm.SumSq(x.Grad[i:j])
	})
}

// sumSpan is how many values make one partial sum of squares.
const sumSpan = 1 << 13

// GradSumSq returns the sum of the squares of the gradient of x, a leaf, as Backward left it, in
// float64; 0 if x has none.
func (t *Tape) GradSumSq(x *Tensor) float64 {
	sums := x.fused.rowsSq
	if len(sums) == 0 {
		sums = t.scratch64(0, ceilDiv(len(x.Grad), sumSpan))
		t.each(len(x.Grad), sumSpan, func(_, i, j int) { sums[i/sumSpan] = asm.SumSq(x.Grad[i:j]) })
	}
	total := 0.0
	for _, s := range sums {
		total += s
	}
	return total
}

// ZeroGrad makes the gradient of x, a leaf, start from zero in the next Backward. Until then its
// values are undefined.
func (t *Tape) ZeroGrad(x *Tensor) {
	if x.Grad != nil {
		x.fresh = true
		t.zeroed = append(t.zeroed, x)
	}
}

// clearUnreached writes zeros to the gradients that Backward has not reached.
func (t *Tape) clearUnreached() {
	for _, x := range t.zeroed {
		if x.fresh {
			t.clear(x.Grad)
			x.fused.rowsSq = x.fused.rowsSq[:0]
		}
	}
	clear(t.zeroed)
	t.zeroed = t.zeroed[:0]
}
