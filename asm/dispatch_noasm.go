//go:build !amd64 || purego

package asm

func packTiles(dst, src []float32, k, tiles, h, rs, step int) {
	packTilesGeneric(dst, src, k, tiles, h, rs, step)
}

func packRowsOfTile(dst, src []float32, k, h, lda int) {
	packRowsOfTileGeneric(dst, src, k, h, lda)
}

func packB(dst, b []float32, k, n, rs, cs int) { packBGeneric(dst, b, k, n, rs, cs) }

func gemmPanel(g *GemmArgs) { gemmPanelGeneric(g) }

func add(dst, x, y []float32)                            { addGeneric(dst, x, y) }
func mul(dst, x, y []float32)                            { mulGeneric(dst, x, y) }
func axpy(dst, x []float32, a float32)                   { axpyGeneric(dst, x, a) }
func scale(dst, x []float32, a float32)                  { scaleGeneric(dst, x, a) }
func relu(dst, x []float32)                              { reluGeneric(dst, x) }
func reluBackward(dst, y, dy []float32)                  { reluBackwardGeneric(dst, y, dy) }
func divRows(x []float32, ld, rows, n int, by []float32) { divRowsGeneric(x, ld, rows, n, by) }

func addRows(dst, x []float32, rows, ld int) { addRowsGeneric(dst, x, rows, ld) }
func dot(x, y []float32) float32             { return dotGeneric(x, y) }
func maxOf(x []float32) float32              { return maxGeneric(x) }
func sumSq(x []float32) float64              { return sumSqGeneric(x) }
func readSum(x []float32) float32            { return readSumGeneric(x) }
func peakFMA(iters int) float64              { return peakFMAGeneric(iters) }

func slideRows(dst []float32, ldd int, a []float32, lda int, b []float32, ldb, m, rows, n int) {
	slideRowsGeneric(dst, ldd, a, lda, b, ldb, m, rows, n)
}

// pause counts, which takes about 100 ns: Go keeps loops that do nothing. It is no call of the
// scheduler, which takes a lock and may put the caller to sleep.
func pause() {
	for range 400 {
	}
}

func expSum(dst, x []float32, scale, shift float32) float32 {
	return expSumGeneric(dst, x, scale, shift)
}

func softmax(x []float32, ld, rows, n int, scale float32, shift, sum []float32) {
	softmaxGeneric(x, ld, rows, n, scale, shift, sum)
}

func softmaxBackward(x, dp []float32, ld, rows, n int, scale float32, shift []float32) {
	softmaxBackwardGeneric(x, dp, ld, rows, n, scale, shift)
}

func gelu(dst, x []float32)             { geluGeneric(dst, x) }
func geluSlope(slope, dst, x []float32) { geluSlopeGeneric(slope, dst, x) }

func layerNorm(y, x, w, b []float32, eps float32) (mean, rstd float32) {
	return layerNormGeneric(y, x, w, b, eps)
}

func layerNormBackward(dx, dw, db, dy, x, w []float32, mean, rstd float32, accumulate bool) {
	layerNormBackwardGeneric(dx, dw, db, dy, x, w, mean, rstd, accumulate)
}

func adamW(p, g, m, v []float32, k *adamWScalars) { adamWGeneric(p, g, m, v, k) }
