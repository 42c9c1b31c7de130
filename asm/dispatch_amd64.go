//go:build amd64 && !purego

package asm

import "unsafe"

// The functions of this file call the kernel of the current level. They branch instead of calling
// through a variable: there the compiler could not see that pointers do not escape, and buffers of
// callers would move to the heap. Lengths have been checked and are not zero.

func add(dst, x, y []float32) {
	switch level {
	case AVX512:
		addAVX512(&dst[0], &x[0], &y[0], len(dst))
	case AVX2:
		addAVX2(&dst[0], &x[0], &y[0], len(dst))
	default:
		addGeneric(dst, x, y)
	}
}

func mul(dst, x, y []float32) {
	switch level {
	case AVX512:
		mulAVX512(&dst[0], &x[0], &y[0], len(dst))
	case AVX2:
		mulAVX2(&dst[0], &x[0], &y[0], len(dst))
	default:
		mulGeneric(dst, x, y)
	}
}

func axpy(dst, x []float32, a float32) {
	switch level {
	case AVX512:
		axpyAVX512(&dst[0], &x[0], a, len(dst))
	case AVX2:
		axpyAVX2(&dst[0], &x[0], a, len(dst))
	default:
		axpyGeneric(dst, x, a)
	}
}

func scale(dst, x []float32, a float32) {
	switch level {
	case AVX512:
		scaleAVX512(&dst[0], &x[0], a, len(dst))
	case AVX2:
		scaleAVX2(&dst[0], &x[0], a, len(dst))
	default:
		scaleGeneric(dst, x, a)
	}
}

func relu(dst, x []float32) {
	switch level {
	case AVX512:
		reluAVX512(&dst[0], &x[0], len(dst))
	case AVX2:
		reluAVX2(&dst[0], &x[0], len(dst))
	default:
		reluGeneric(dst, x)
	}
}

func reluBackward(dst, y, dy []float32) {
	switch level {
	case AVX512:
		reluBackwardAVX512(&dst[0], &y[0], &dy[0], len(dst))
	case AVX2:
		reluBackwardAVX2(&dst[0], &y[0], &dy[0], len(dst))
	default:
		reluBackwardGeneric(dst, y, dy)
	}
}

func divRows(x []float32, ld, rows, n int, by []float32) {
	switch level {
	case AVX512:
		divRowsAVX512(&x[0], ld, rows, n, &by[0])
	case AVX2:
		divRowsAVX2(&x[0], ld, rows, n, &by[0])
	default:
		divRowsGeneric(x, ld, rows, n, by)
	}
}

func addRows(dst, x []float32, rows, ld int) {
	switch level {
	case AVX512:
		addRowsAVX512(&dst[0], &x[0], rows, len(dst), ld)
	case AVX2:
		addRowsAVX2(&dst[0], &x[0], rows, len(dst), ld)
	default:
		addRowsGeneric(dst, x, rows, ld)
	}
}

func slideRows(dst []float32, ldd int, a []float32, lda int, b []float32, ldb, m, rows, n int) {
	const tile = 7 // rows of dst that the larger kernel computes
	if level == Generic {
		slideRowsGeneric(dst, ldd, a, lda, b, ldb, m, rows, n)
		return
	}
	for i := 0; i < m; {
		d, x, whole := &dst[i*ldd], &a[i*lda], m-i >= tile
		switch {
		case whole && level == AVX512:
			slideRows7AVX512(d, ldd, x, lda, &b[0], ldb, rows, n)
		case whole:
			slideRows7AVX2(d, ldd, x, lda, &b[0], ldb, rows, n)
		case level == AVX512:
			slideRows1AVX512(d, ldd, x, lda, &b[0], ldb, rows, n)
		default:
			slideRows1AVX2(d, ldd, x, lda, &b[0], ldb, rows, n)
		}
		if whole {
			i += tile
		} else {
			i++
		}
	}
}

func dot(x, y []float32) float32 {
	switch level {
	case AVX512:
		return dotAVX512(&x[0], &y[0], len(x))
	case AVX2:
		return dotAVX2(&x[0], &y[0], len(x))
	}
	return dotGeneric(x, y)
}

func maxOf(x []float32) float32 {
	switch level {
	case AVX512:
		return maxAVX512(&x[0], len(x))
	case AVX2:
		return maxAVX2(&x[0], len(x))
	}
	return maxGeneric(x)
}

func sumSq(x []float32) float64 {
	switch level {
	case AVX512:
		return sumSqAVX512(&x[0], len(x))
	case AVX2:
		return sumSqAVX2(&x[0], len(x))
	}
	return sumSqGeneric(x)
}

func readSum(x []float32) float32 {
	switch level {
	case AVX512:
		return readSumAVX512(&x[0], len(x))
	case AVX2:
		return readSumAVX2(&x[0], len(x))
	}
	return readSumGeneric(x)
}

func peakFMA(iters int) float64 {
	const chains = 12 // in both kernels
	switch level {
	case AVX512:
		peakFMAAVX512(iters)
		return float64(iters) * chains * 16 * 2
	case AVX2:
		peakFMAAVX2(iters)
		return float64(iters) * chains * 8 * 2
	}
	return peakFMAGeneric(iters)
}

func expSum(dst, x []float32, scale, shift float32) float32 {
	switch level {
	case AVX512:
		return expSumAVX512(&dst[0], &x[0], scale, shift, len(dst))
	case AVX2:
		return expSumAVX2(&dst[0], &x[0], scale, shift, len(dst))
	}
	return expSumGeneric(dst, x, scale, shift)
}

func softmax(x []float32, ld, rows, n int, scale float32, shift, sum []float32) {
	switch level {
	case AVX512:
		softmaxAVX512(&x[0], ld, rows, n, scale, &shift[0], &sum[0])
	case AVX2:
		softmaxAVX2(&x[0], ld, rows, n, scale, &shift[0], &sum[0])
	default:
		softmaxGeneric(x, ld, rows, n, scale, shift, sum)
	}
}

func softmaxBackward(x, dp []float32, ld, rows, n int, scale float32, shift []float32) {
	switch level {
	case AVX512:
		softmaxBackwardAVX512(&x[0], &dp[0], ld, rows, n, scale, &shift[0])
	case AVX2:
		softmaxBackwardAVX2(&x[0], &dp[0], ld, rows, n, scale, &shift[0])
	default:
		softmaxBackwardGeneric(x, dp, ld, rows, n, scale, shift)
	}
}

func gelu(dst, x []float32) {
	switch level {
	case AVX512:
		geluAVX512(&dst[0], &x[0], len(dst))
	case AVX2:
		geluAVX2(&dst[0], &x[0], len(dst))
	default:
		geluGeneric(dst, x)
	}
}

func geluSlope(slope, dst, x []float32) {
	switch level {
	case AVX512:
		geluSlopeAVX512(&slope[0], &dst[0], &x[0], len(x))
	case AVX2:
		geluSlopeAVX2(&slope[0], &dst[0], &x[0], len(x))
	default:
		geluSlopeGeneric(slope, dst, x)
	}
}

func layerNorm(y, x, w, b []float32, eps float32) (mean, rstd float32) {
	switch level {
	case AVX512:
		return layerNormAVX512(&y[0], &x[0], &w[0], &b[0], len(x), eps)
	case AVX2:
		return layerNormAVX2(&y[0], &x[0], &w[0], &b[0], len(x), eps)
	}
	return layerNormGeneric(y, x, w, b, eps)
}

func layerNormBackward(dx, dw, db, dy, x, w []float32, mean, rstd float32, accumulate bool) {
	switch level {
	case AVX512:
		layerNormBackwardAVX512(&dx[0], &dw[0], &db[0], &dy[0], &x[0], &w[0], len(x), mean, rstd, accumulate)
	case AVX2:
		layerNormBackwardAVX2(&dx[0], &dw[0], &db[0], &dy[0], &x[0], &w[0], len(x), mean, rstd, accumulate)
	default:
		layerNormBackwardGeneric(dx, dw, db, dy, x, w, mean, rstd, accumulate)
	}
}

func adamW(p, g, m, v []float32, k *adamWScalars) {
	switch level {
	case AVX512:
		adamWAVX512(&p[0], &g[0], &m[0], &v[0], k, len(p))
	case AVX2:
		adamWAVX2(&p[0], &g[0], &m[0], &v[0], k, len(p))
	default:
		adamWGeneric(p, g, m, v, k)
	}
}

func packTiles(dst, src []float32, k, tiles, h, rs, step int) {
	switch level {
	case AVX512:
		packTilesAVX512(&dst[0], &src[0], k, tiles, h, rs, step)
	case AVX2:
		packTilesAVX2(&dst[0], &src[0], k, tiles, h, rs, step)
	default:
		packTilesGeneric(dst, src, k, tiles, h, rs, step)
	}
}

// packRowsOfTile writes whole vectors, of which the next column of the tile, or the next tile, overwrites
// what is too much. Only the columns after which that would be beyond dst are left to Go.
func packRowsOfTile(dst, src []float32, k, h, lda int) {
	lanes := PanelCols() / 2
	whole := 0 // columns
	if level != Generic && len(dst) >= lanes {
		whole = min(k, (len(dst)-lanes)/h+1)
	}
	if whole > 0 {
		packVector(&dst[0], &src[0], whole, h, h, lda)
	}
	if whole < k {
		packRowsOfTileGeneric(dst[whole*h:], src[whole:], k-whole, h, lda)
	}
}

// packB has kernels for a matrix that lies by rows (cs == 1) or by columns (rs == 1).
func packB(dst, b []float32, k, n, rs, cs int) {
	nr := PanelCols()
	switch {
	case level == Generic || cs != 1 && rs != 1:
		packBGeneric(dst, b, k, n, rs, cs)
	case cs == 1:
		packRows(dst, b, k, n, nr, rs, nr*k)
	default:
		for q := 0; q*nr < n; q++ {
			packCols(dst[q*nr*k:], b[q*nr*cs:], k, min(nr, n-q*nr), nr, cs)
		}
	}
}

func packRows(dst, src []float32, k, n, w, rs, step int) {
	if level == AVX512 {
		packRowsAVX512(&dst[0], &src[0], k, n, w, rs, step)
	} else {
		packRowsAVX2(&dst[0], &src[0], k, n, w, rs, step)
	}
}

// packCols transposes one panel, of which n columns are not padding, in two halves as wide as a
// vector. The second half may be all padding.
func packCols(dst, src []float32, k, n, w, cs int) {
	lanes := w / 2
	for j := 0; j < w; j += lanes {
		x, cols := &src[0], 0
		if j < n {
			x, cols = &src[j*cs], min(n-j, lanes)
		}
		packVector(&dst[j], x, k, cols, w, cs)
	}
}

// packVector transposes n columns, at most as many as a vector has lanes. Each of the k rows it writes is
// a whole vector, and they begin w floats apart.
func packVector(dst, src *float32, k, n, w, cs int) {
	if level == AVX512 {
		packColsAVX512(dst, src, k, n, w, cs)
	} else {
		packColsAVX2(dst, src, k, n, w, cs)
	}
}

// gemmTiles is the argument of a GEMM kernel: tiles of one height, one below the other. The
// generator looks up where the fields lie by their names. A kernel changes tiles, c, a and add: at
// the end they describe the last tile.
type gemmTiles struct {
	tiles     int // at least 1
	n, k      int
	c         *float32
	ldc       int
	a         *float32
	ars, acs  int
	nexta     int // floats from a tile's a to that of the next tile
	b         *float32
	acc       int // 1: c is added to, 0: it is overwritten
	bias, add *float32
	ldadd     int
	ahead     uintptr // what is prefetched next: of the panel that follows, which may not exist
	pace      int     // bytes by which ahead moves on in a round of the kernel's loop
}

// tileRows returns the most rows that a tile may have. If the rows of A or C lie a multiple of a
// page apart, one cache line of each competes for the same set of the first-level cache.
func tileRows(g *GemmArgs) int {
	const page = 1024 // floats
	if g.PackedA {
		return TileRows() // which PackA has taken
	}
	if g.LDC%page == 0 || g.ACS == 1 && g.ARS%page == 0 {
		return min(TileRows(), cacheWays-1)
	}
	return TileRows()
}

func gemmPanel(g *GemmArgs) {
	if level == Generic {
		gemmPanelGeneric(g)
		return
	}
	// Field by field: the compiler would copy a composite literal, 16 bytes at a time right after
	// it has written each half. Such loads wait for the stores, which costs a product of one row
	// and k = 32 a quarter of its speed.
	var t gemmTiles
	t.n, t.k, t.ldc = g.N, g.K, g.LDC
	t.ars, t.acs, t.ldadd = g.ARS, g.ACS, g.LDAdd
	// With K == 0, A and B may be empty; a missing Bias or Add is a nil pointer.
	t.a, t.b, t.bias = unsafe.SliceData(g.A), unsafe.SliceData(g.B), unsafe.SliceData(g.Bias)
	if g.Accumulate {
		t.acc = 1
	}
	groups := tilesOf(g.M, tileRows(g))
	t.ahead = uintptr(unsafe.Pointer(t.b)) + uintptr(4*g.K*PanelCols())
	if g.Next != nil {
		t.ahead = uintptr(unsafe.Pointer(unsafe.SliceData(g.Next)))
	}
	// The tiles share out the next panel, which has a row for each step of k, evenly. If the first
	// four took all of it, as fast as they can, nearly all buffers for lines on their way from memory
	// would be taken.
	const unroll, ahead = 8, 4 // gemmUnroll and gemmAhead of package gen
	count, row := groups[0].count+groups[1].count, 4*PanelCols()
	t.pace = min((unroll*row+count-1)/count, unroll/ahead*row)
	for _, group := range groups {
		if group.count == 0 {
			continue
		}
		i := group.row
		t.tiles, t.nexta = group.count, group.height*g.ARS
		t.c = &g.C[i*g.LDC]
		switch {
		case g.K == 0:
		case g.PackedA:
			t.ars, t.acs, t.nexta = 1, group.height, group.height*g.K
			t.a = &g.A[i*g.K]
		default:
			t.a = &g.A[i*g.ARS]
		}
		if g.Add != nil {
			t.add = &g.Add[i*g.LDAdd]
		}
		if level == AVX512 {
			gemmAVX512(group.height, &t)
		} else {
			gemmAVX2(group.height, &t)
		}
	}
}

func gemmAVX512(height int, t *gemmTiles) {
	switch height {
	case 1:
		gemm1x32AVX512(t)
	case 2:
		gemm2x32AVX512(t)
	case 3:
		gemm3x32AVX512(t)
	case 4:
		gemm4x32AVX512(t)
	case 5:
		gemm5x32AVX512(t)
	case 6:
		gemm6x32AVX512(t)
	case 7:
		gemm7x32AVX512(t)
	case 8:
		gemm8x32AVX512(t)
	case 9:
		gemm9x32AVX512(t)
	case 10:
		gemm10x32AVX512(t)
	case 11:
		gemm11x32AVX512(t)
	case 12:
		gemm12x32AVX512(t)
	case 13:
		gemm13x32AVX512(t)
	case 14:
		gemm14x32AVX512(t)
	}
}

func gemmAVX2(height int, t *gemmTiles) {
	switch height {
	case 1:
		gemm1x16AVX2(t)
	case 2:
		gemm2x16AVX2(t)
	case 3:
		gemm3x16AVX2(t)
	case 4:
		gemm4x16AVX2(t)
	case 5:
		gemm5x16AVX2(t)
	case 6:
		gemm6x16AVX2(t)
	}
}
