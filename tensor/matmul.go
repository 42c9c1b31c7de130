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
		right := operand{matrix: rowMajor(b.Data[i*n*k:], k).transposed()}
		t.gemm(y.Data[i*m*n:], n, rowMajor(a.Data[i*m*k:], k), right, m, n, k, epilogue{})
	}
	if t.Record("matrix product", y, a, b) {
		t.Back(func() {
			if da, fresh := t.rawGrad(a); da != nil {
				for i := range batch {
					right := operand{matrix: rowMajor(b.Data[i*n*k:], k)}
					g := da[i*m*k:]
					t.gemm(g, k, rowMajor(y.Grad[i*m*n:], n), right, m, k, n, epilogue{accumulate: !fresh})
				}
			}
			if m == 0 {
				t.Grad(b) // zeros, where nothing was added yet
				return
			}
			db, fresh := t.rawGrad(b)
			if db == nil {
				return
			}
			for i := range batch {
				right := operand{matrix: rowMajor(a.Data[i*m*k:], k)}
				g := db[i*n*k:]
				t.gemm(g, k, rowMajor(y.Grad[i*m*n:], n).transposed(), right, n, k, m, epilogue{accumulate: !fresh})
			}
		})
	}
	return y
}
