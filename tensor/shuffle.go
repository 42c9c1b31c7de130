package tensor

// DepthToSpace returns tokens x [B, nh·nw, s·s·C], whose features are (ph, pw, channel), as images
// [B, nh·s, nw·s, C]: each token becomes a patch of s×s pixels.
func DepthToSpace(t *Tape, x *Tensor, nh, nw, s int) *Tensor {
	mustBe("DepthToSpace axes", len(x.Shape), 3)
	mustBe("DepthToSpace tokens", x.Shape[1], nh*nw)
	batch, c := x.Shape[0], x.Cols()/max(1, s*s)
	mustBe("DepthToSpace features", x.Cols(), s*s*c)
	y := t.New(batch, nh*s, nw*s, c)
	t.eachRun(batch*nh, nw, s, c, func(fine, coarse, n int) { copy(y.Data[fine:fine+n], x.Data[coarse:]) })
	if t.Record("depth to space", y, x) {
		t.Back(func() {
			dx, fresh := t.rawGrad(x)
			t.eachRun(batch*nh, nw, s, c, func(fine, coarse, n int) { put(dx[coarse:coarse+n], y.Grad[fine:fine+n], fresh) })
		})
	}
	return y
}

// eachRun calls f, in parallel, for the runs of n values that lie side by side both in an image of
// rows·s by cols·s pixels of c channels, at fine, and in the same values ordered as rows by cols
// patches of s by s pixels, at coarse.
func (t *Tape) eachRun(rows, cols, s, c int, f func(fine, coarse, n int)) {
	t.Parallel(rows, func(_, i int) {
		for ph := range s {
			for j := range cols {
				f(((i*s+ph)*cols+j)*s*c, ((i*cols+j)*s+ph)*s*c, s*c)
			}
		}
	})
}
