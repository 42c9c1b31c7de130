package tensor

import "github.com/gomae/gomae/asm"

// normRows is how many rows share one partial sum of the gradients of a layer
// norm's weight and bias.
const normRows = 64

// LayerNorm normalises each row of x, [..., D], to mean 0 and variance 1 (eps
// is added to the variance) and returns it times w plus b, both [D]. Ba et
// al., https://arxiv.org/abs/1607.06450.
func LayerNorm(t *Tape, x, w, b *Tensor, eps float32) *Tensor {
	rows, d := x.Rows(), x.Cols()
	mustShape("LayerNorm weight", w, d)
	mustShape("LayerNorm bias", b, d)
	y := t.New(x.Shape...)
	var mean, rstd []float32
	if t.Recording() {
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
	dx, fresh := t.RawGrad(x)
	parts := blocks(rows, normRows)
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
