package tensor

// MatMulT returns a·bᵀ, [B, M, N], of the matrices a [B, M, K] and b [B, N, K].
func MatMulT(t *Tape, a, b *Tensor) *Tensor {
	mustBe("MatMulT axes", len(a.Shape), 3)
	batch, m, k := a.Shape[0], a.Shape[1], a.Shape[2]
	mustBe("MatMulT axes", len(b.Shape), 3)
	n := b.Shape[1]
	mustShape("MatMulT second matrix", b, batch, n, k)
	y := t.New(batch, m, n)
	for i := range batch {
		a, b := rowMajor(a.Data[i*m*k:], m, k), rowMajor(b.Data[i*n*k:], n, k)
		t.gemm(y.Data[i*m*n:], a, rhs{matrix: b.transposed()}, epilogue{})
	}
	if t.Record("matrix product", y, a, b) {
		t.Back(func() { matMulTBackward(t, y, a, b) })
	}
	return y
}

// matMulTBackward adds, for each matrix, da += dy·b and db += dyᵀ·a.
func matMulTBackward(t *Tape, y, a, b *Tensor) {
	batch, m, n, k := a.Shape[0], a.Shape[1], b.Shape[1], a.Shape[2]
	if da, fresh := t.rawGrad(a); da != nil {
		for i := range batch {
			dy, b := rowMajor(y.Grad[i*m*n:], m, n), rowMajor(b.Data[i*n*k:], n, k)
			t.gemm(da[i*m*k:], dy, rhs{matrix: b}, epilogue{accumulate: !fresh})
		}
	}
	if db, fresh := t.rawGrad(b); db != nil {
		for i := range batch {
			dy, a := rowMajor(y.Grad[i*m*n:], m, n), rowMajor(a.Data[i*m*k:], m, k)
			t.gemm(db[i*n*k:], dy.transposed(), rhs{matrix: a}, epilogue{accumulate: !fresh})
		}
	}
}
