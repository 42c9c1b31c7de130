package tensor

import "github.com/gomae/gomae/asm"

// MeanRows returns the mean of the N rows of each sequence of x [B, N, D], of its tokens: [B, D].
func MeanRows(t *Tape, x *Tensor) *Tensor {
	mustBe("MeanRows axes", len(x.Shape), 3)
	batch, n, d := x.Shape[0], x.Shape[1], x.Shape[2]
	y := t.New(batch, d)
	t.Parallel(batch, func(_, b int) {
		o := y.Data[b*d : (b+1)*d]
		clear(o)
		asm.AddRows(o, x.Data[b*n*d:], n, d, d)
		asm.Scale(o, o, 1/float32(n))
	})
	if t.Record("mean", y, x) {
		t.Back(func() {
			g, fresh := t.rawGrad(x)
			t.each(batch*n, 64, func(_, from, to int) {
				for r := from; r < to; r++ {
					o, dy := g[r*d:(r+1)*d], y.Grad[r/n*d:][:d]
					putScaled(o, dy, 1/float32(n), fresh)
				}
			})
		})
	}
	return y
}
