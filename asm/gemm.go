package asm

// Tile sizes per level. MR rows by NR columns fill the registers with accumulators and leave two
// for B and one or two for A.
const (
	genericMR, genericNR = 4, 8
	avx2MR, avx2NR       = 6, 16
	avx512MR, avx512NR   = 14, 32
)

// TileRows returns MR, the most rows of C whose sums [GemmPanel] keeps in registers: 14 at AVX-512,
// 6 at AVX2. At Generic it is 4, by which work is divided; the loop there takes 2 rows by 4 columns.
func TileRows() int {
	switch level {
	case AVX512:
		return avx512MR
	case AVX2:
		return avx2MR
	}
	return genericMR
}

// PanelCols returns NR, the columns of a packed panel: 32 at AVX-512, 16 at AVX2, 8 at Generic.
func PanelCols() int {
	switch level {
	case AVX512:
		return avx512NR
	case AVX2:
		return avx2NR
	}
	return genericNR
}

// PackedLen returns the number of floats that [PackB] writes for a k×n matrix. Every panel, the
// last one too, is PanelCols() wide.
func PackedLen(k, n int) int {
	if k <= 0 || n <= 0 {
		return 0
	}
	nr := PanelCols()
	return k * ((n + nr - 1) / nr * nr)
}

// PackB packs the k×n matrix with element (p,j) at b[p*rs+j*cs] into column panels for [GemmPanel].
// Panel q starts at dst[q*NR*k] and holds k rows of NR floats, where NR is PanelCols(); columns
// past n are zero. dst needs PackedLen(k, n) floats. cs == 1 (row-major) and rs == 1 (transposed,
// as weights of a linear layer are stored) are fast.
func PackB(dst, b []float32, k, n, rs, cs int) {
	if k <= 0 || n <= 0 {
		return
	}
	mustHold("PackB row stride", rs, 0)
	mustHold("PackB column stride", cs, 0)
	mustHold("PackB len(dst)", len(dst), PackedLen(k, n))
	mustHold("PackB len(b)", len(b), (k-1)*rs+(n-1)*cs+1)
	packB(dst, b, k, n, rs, cs)
}

// PackA packs columns p0..p1 of A, an m×k matrix that is stored transposed, with element (i,p) at
// a[(p-p0)*lda+i], for [GemmPanel]: tile by tile, and within a tile of h rows column by column, so
// that one tile after the other can be read from front to back. A nil stands for zeros. dst needs
// m*k floats, of which those of other columns are left alone.
func PackA(dst []float32, m, k int, a []float32, p0, p1, lda int) {
	if m <= 0 || p1 <= p0 {
		return
	}
	mustHold("PackA first column", p0, 0)
	mustHold("PackA k", k, p1)
	mustHold("PackA row stride", lda, 0)
	mustHold("PackA len(dst)", len(dst), m*k)
	if a != nil {
		mustHold("PackA len(a)", len(a), (p1-p0-1)*lda+m)
	}
	for _, t := range tilesOf(m, TileRows()) {
		if t.count == 0 {
			continue
		}
		d, step := dst[t.row*k+p0*t.height:], t.height*k
		if a != nil {
			packTiles(d, a[t.row:], p1-p0, t.count, t.height, lda, step)
			continue
		}
		for q := range t.count {
			clear(d[q*step:][:(p1-p0)*t.height])
		}
	}
}

// PackARows is [PackA] for an m×k matrix that is stored by rows, with element (i,p) at a[i*lda+p].
func PackARows(dst []float32, m, k int, a []float32, lda int) {
	if m <= 0 || k <= 0 {
		return
	}
	mustHold("PackARows row stride", lda, 0)
	mustHold("PackARows len(dst)", len(dst), m*k)
	mustHold("PackARows len(a)", len(a), (m-1)*lda+k)
	for _, t := range tilesOf(m, TileRows()) {
		for i := t.row; i < t.row+t.count*t.height; i += t.height {
			packRowsOfTile(dst[i*k:m*k], a[i*lda:], k, t.height, lda)
		}
	}
}

func packRowsOfTileGeneric(dst, src []float32, k, h, lda int) {
	for i := range h {
		for p, v := range src[i*lda:][:k] {
			dst[p*h+i] = v
		}
	}
}

func packTilesGeneric(dst, src []float32, k, tiles, h, rs, step int) {
	for p := range k {
		for q := range tiles {
			copy(dst[q*step+p*h:][:h], src[p*rs+q*h:])
		}
	}
}

// tiles are count tiles of one height, one below the other from a row on.
type tiles struct{ row, height, count int }

// tilesOf divides m rows into as few tiles of at most that many rows as there can be. All have the
// same height, or those of the first group a row more.
func tilesOf(m, most int) [2]tiles {
	count := (m + most - 1) / most
	height, higher := m/count, m%count
	return [2]tiles{{0, height + 1, higher}, {higher * (height + 1), height, count - higher}}
}

func packBGeneric(dst, b []float32, k, n, rs, cs int) {
	nr := PanelCols()
	for q := 0; q*nr < n; q++ {
		cols := min(nr, n-q*nr)
		for p := range k {
			row := dst[(q*k+p)*nr:][:nr]
			for j := range cols {
				row[j] = b[p*rs+(q*nr+j)*cs]
			}
			clear(row[cols:])
		}
	}
}

// sumLength is how many products one accumulator sums up. The rounding error of a sum grows with
// its length, so a longer sum is cut into parts, which are added to C one after the other. Each
// part costs a pass over the tile of C, which is then in the first-level cache: so much that fewer
// than sumTail products, as of the 132 tokens of four samples, join the part before them.
const sumLength, sumTail = 128, 32

// OneSum reports whether [GemmPanel] sums up k products in one accumulator: then accumulating in C has
// the bits of adding the finished product to it.
func OneSum(k int) bool { return k < sumLength+sumTail }

// GemmArgs describes a call of [GemmPanel]. No slice may overlap C.
type GemmArgs struct {
	M, N, K int // rows and columns of C, N at most PanelCols(), and products in each sum

	C   []float32 // element (i,j) is C[i*LDC+j]
	LDC int

	A        []float32 // element (i,p) is A[i*ARS+p*ACS]; not read if K is 0
	ARS, ACS int
	PackedA  bool // A is as [PackA] leaves an M×K matrix; ARS and ACS are not read

	B    []float32 // a panel of K rows as [PackB] lays it out; not read if K is 0
	Next []float32 // the panel that will follow, prefetched and not read; nil: what lies behind B

	Accumulate bool      // the result is added to C instead of overwriting it
	Bias       []float32 // N floats that are added to each row; nil: none
	Add        []float32 // a matrix that is added, with element (i,j) at Add[i*LDAdd+j]; nil: none
	LDAdd      int
}

// GemmPanel computes N columns of a matrix product:
//
//	C[i,j] = (C[i,j] +)  sum_p A[i,p]*B[p,j]  (+ Bias[j])  (+ Add[i,j])
//
// for i < M, j < N, p < K. K may be 0. Only these elements of C are written, and nothing beyond
// column N of C, Add and Bias is read. g is not changed.
//
// Rows are taken in tiles of at most TileRows(), all of nearly the same height. Each element is
// summed in the order of p, 128 products in an accumulator, the last ones up to 159, so its bits do
// not depend on M, N or its place.
func GemmPanel(g *GemmArgs) {
	if g.M <= 0 || g.N <= 0 {
		return
	}
	if nr := PanelCols(); g.N > nr {
		fail("GemmPanel N", g.N, "at most PanelCols() = %d", nr)
	}
	mustHold("GemmPanel K", g.K, 0)
	mustHold("GemmPanel LDC", g.LDC, 0)
	mustHold("GemmPanel len(C)", len(g.C), (g.M-1)*g.LDC+g.N)
	if g.K > 0 {
		if g.PackedA {
			mustHold("GemmPanel len(packed A)", len(g.A), g.M*g.K)
		} else {
			mustHold("GemmPanel ARS", g.ARS, 0)
			mustHold("GemmPanel ACS", g.ACS, 0)
			mustHold("GemmPanel len(A)", len(g.A), (g.M-1)*g.ARS+(g.K-1)*g.ACS+1)
		}
		mustHold("GemmPanel len(B)", len(g.B), g.K*PanelCols())
	}
	if g.Bias != nil {
		mustHold("GemmPanel len(Bias)", len(g.Bias), g.N)
	}
	if g.Add != nil {
		mustHold("GemmPanel LDAdd", g.LDAdd, 0)
		mustHold("GemmPanel len(Add)", len(g.Add), (g.M-1)*g.LDAdd+g.N)
	}
	gemmPanel(g)
}

// rowA says where a row of A begins, and how far apart its values are.
func (g *GemmArgs) rowA(i int) (first, step int) {
	if !g.PackedA {
		return i * g.ARS, g.ACS
	}
	groups := tilesOf(g.M, TileRows())
	t := groups[0]
	if i >= groups[1].row {
		t = groups[1]
	}
	q := (i - t.row) / t.height // its tile
	top := t.row + q*t.height
	return top*g.K + i - top, t.height
}

// gemmPanelGeneric works on blocks of two rows by four columns, which fit the scalar registers. An
// odd last row is computed twice: the compiler could round a second, narrower loop differently.
func gemmPanelGeneric(g *GemmArgs) {
	a, b, c, k, nr := g.A, g.B, g.C, g.K, PanelCols()
	for i := 0; i < g.M; i += 2 {
		i1 := min(i+1, g.M-1)
		first0, step0 := g.rowA(i)
		first1, step1 := g.rowA(i1)
		for j := 0; j < g.N; j += 4 {
			var s [2][4]float32
			if g.Accumulate {
				for r := i; r <= i1; r++ {
					copy(s[r-i][:], c[r*g.LDC+j:r*g.LDC+min(j+4, g.N)])
				}
			}
			ia, ib := first0, first1
			for p0, p1 := 0, 0; p0 < k; p0 = p1 {
				if p1 = p0 + sumLength; k-p1 < sumTail {
					p1 = k
				}
				var s00, s01, s02, s03, s10, s11, s12, s13 float32
				for p := p0; p < p1; p++ {
					a0, a1 := a[ia], a[ib]
					ia += step0
					ib += step1
					r := b[p*nr+j : p*nr+j+4 : p*nr+j+4]
					s00 += a0 * r[0]
					s01 += a0 * r[1]
					s02 += a0 * r[2]
					s03 += a0 * r[3]
					s10 += a1 * r[0]
					s11 += a1 * r[1]
					s12 += a1 * r[2]
					s13 += a1 * r[3]
				}
				for q, v := range [4]float32{s00, s01, s02, s03} {
					s[0][q] += v
				}
				for q, v := range [4]float32{s10, s11, s12, s13} {
					s[1][q] += v
				}
			}
			for r := i; r <= i1; r++ {
				for q := j; q < min(j+4, g.N); q++ {
					v := s[r-i][q-j]
					if g.Bias != nil {
						v += g.Bias[q]
					}
					if g.Add != nil {
						v += g.Add[r*g.LDAdd+q]
					}
					c[r*g.LDC+q] = v
				}
			}
		}
	}
}
