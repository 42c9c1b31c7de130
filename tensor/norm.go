package tensor

import (
	"math"

	"github.com/gomae/gomae/asm"
)

// normRows is how many rows a worker takes, and how many share one partial sum of the gradients of
// a layer norm's weight and bias.
const normRows = 64

// LayerNorm normalises each row of x, [..., D], to mean 0 and variance 1 (eps is added to the
// variance) and returns it times w plus b, both [D]. Ba et al., https://arxiv.org/abs/1607.06450.
func LayerNorm(t *Tape, x, w, b *Tensor, eps float32) *Tensor {
	rows, d := x.Rows(), x.Cols()
	mustShape("LayerNorm weight", w, d)
	mustShape("LayerNorm bias", b, d)
	y := t.New(x.Shape...)
	var mean, rstd []float32
	if t.recording {
		mean, rstd = t.Values(rows), t.Values(rows)
	}
	t.each(rows, normRows, func(_, from, to int) {
		for i := from; i < to; i++ {
			m, r := asm.LayerNorm(y.Data[i*d:(i+1)*d], x.Data[i*d:(i+1)*d], w.Data, b.Data, eps)
			if mean != nil {
				mean[i], rstd[i] = m, r
			}
		}
	})
	if t.Record("layer norm", y, x, w, b) {
		t.Back(func() { layerNormBackward(t, y, x, w, b, mean, rstd) })
	}
	return y
}

func layerNormBackward(t *Tape, y, x, w, b *Tensor, mean, rstd []float32) {
	rows, d := x.Rows(), x.Cols()
	dx, fresh := t.rawGrad(x)
	parts := ceilDiv(rows, normRows)
	partial := t.buffers.take(parts * 2 * d) // [parts, 2, d]: dw and db
	defer t.buffers.give(partial)
	t.Parallel(parts, func(_, part int) {
		p := partial[part*2*d : (part+1)*2*d]
		clear(p)
		for i := part * normRows; i < min(rows, (part+1)*normRows); i++ {
			dy := y.Grad[i*d : (i+1)*d]
			into := dy // nobody wants dx: leave it where dy is no longer needed
			if dx != nil {
				into = dx[i*d : (i+1)*d]
			}
			asm.LayerNormBackward(into, p[:d], p[d:], dy, x.Data[i*d:(i+1)*d], w.Data, mean[i], rstd[i], dx != nil && !fresh)
		}
	})
	for k, v := range []*Tensor{w, b} {
		if g := t.Grad(v); g != nil && parts > 0 {
			asm.AddRows(g, partial[k*d:], parts, d, 2*d)
		}
	}
}

// minRowNorm is the least norm that NormalizeRows divides by, as in PyTorch's normalize.
const minRowNorm = 1e-12

// NormalizeRows divides each row of x [..., D] by its Euclidean norm, or by 1e-12 if the norm is
// smaller: a row of zeros stays zero.
func NormalizeRows(t *Tape, x *Tensor) *Tensor {
	d := x.Cols()
	y := t.New(x.Shape...)
	var inverse []float32 // what each row was multiplied by
	if t.recording {
		inverse = t.Values(x.Rows())
	}
	t.each(x.Rows(), normRows, func(_, from, to int) {
		for r := from; r < to; r++ {
			row := x.Data[r*d : (r+1)*d]
			f := float32(1 / max(math.Sqrt(asm.SumSq(row)), minRowNorm))
			asm.Scale(y.Data[r*d:(r+1)*d], row, f)
			if inverse != nil {
				inverse[r] = f
			}
		}
	})
	if t.Record("normalisation", y, x) {
		t.Back(func() { normalizeRowsBackward(t, y, x, inverse) })
	}
	return y
}

// normalizeRowsBackward adds, for each row,
//
//	dx += (dy − y·(y·dy)) / norm
//
// and where minRowNorm stands for the norm, a constant, dx += dy / minRowNorm.
func normalizeRowsBackward(t *Tape, y, x *Tensor, inverse []float32) {
	d := x.Cols()
	dx, fresh := t.rawGrad(x)
	t.each(len(inverse), normRows, func(_, from, to int) {
		for r := from; r < to; r++ {
			row, dy := y.Data[r*d:(r+1)*d], y.Grad[r*d:(r+1)*d]
			if inverse[r] != 1/minRowNorm {
				asm.Axpy(dy, row, -asm.Dot(row, dy))
			}
			putScaled(dx[r*d:(r+1)*d], dy, inverse[r], fresh)
		}
	})
}
