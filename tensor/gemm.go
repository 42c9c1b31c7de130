package tensor

import "github.com/gomae/gomae/asm"

// The matrix product C = A·B, of A [m,k] and B [k,n], takes five loops:
//
//	for each region of C                 some tiles of rows × some panels of columns, in parallel
//	  for each block of k                packs these rows of the panels, unless B is packed
//	    for each band of tiles           whose block of A stays in the second-level cache
//	      for each panel                 up to 32 columns of B, in the second-level cache
//	        asm.GemmPanel for each tile  up to 14 rows, with their sums in registers
//
// A sum over k is taken in blocks that are added up in order, so its bits depend on k alone:
// neither on the regions nor on the place in the matrix.
const (
	blockK         = 816     // a panel of it is 102 KiB; the 8·99 tokens of a batch are one block
	regionPanels   = 4       // panels that are packed at once
	workerProducts = 1 << 18 // of a worker, at least: some microseconds
	bandFloats     = 1 << 14 // of C in a band: 64 KiB, which are near when finish comes to them
	shortPanel     = 1 << 13 // floats, 32 KiB: then a band may have up to 256 KiB of C
	fewTiles       = 18      // of C, which are one band: 99 rows at AVX2, 196 at AVX-512
	bandTiles      = 4       // of a band, at least, to fetch all of the next panel: gemmAhead of package gen
)

// cacheFloats is how many floats the second-level cache holds: those of 1 MiB, unless the CPU says
// between 512 KiB and 2 MiB.
var cacheFloats = func() int {
	_, l2, _ := asm.Caches()
	if l2 == 0 {
		l2 = 1 << 20
	}
	return min(max(l2, 1<<19), 1<<21) / 4
}()

// epilogue is what happens to a product on its way to memory.
type epilogue struct {
	accumulate bool      // it is added to what C holds
	bias       []float32 // [n] or nil: added to each row
	add        []float32 // [m,n] or nil: added
	gelu       []float32 // [m,n] or nil: receives GELU of what C gets
	slope      bool      // with gelu: C becomes the slope of GELU there
	times      []float32 // [m,n] or nil: C is multiplied by it
	rowsSq     []float64 // [m] or nil: receives the sum of squares of each row of C
}

// product is one call of gemm after the other.
type product struct {
	t      *Tape
	region func(worker, i int) // computes region number i
	factors
	epilogue
	copiesA               bool // as a.copied says
	tiles, panels, band   int  // of the rows, and of the columns, of C; tiles of a band, at most
	down, across, ownDown int  // regions; a worker begins with ownDown of those from top to bottom
}

type factors struct {
	c       []float32 // [m,n]
	a       lhs
	b       rhs
	m, n, k int
}

// region is a part of C that one worker computes: tiles tile0..tile1 of the rows and panels
// panel0..panel1 of the columns.
type region struct{ tile0, tile1, panel0, panel1 int }

// gemm computes C = A·B with an epilogue, in parallel. c is [m,n].
func (t *Tape) gemm(c []float32, a lhs, b rhs, e epilogue) {
	m, k := a.size()
	n := b.cols
	mustBe("rows of a right factor", b.rows, k)
	if m == 0 || n == 0 {
		clear(e.rowsSq)
		return
	}
	p := t.product
	p.factors, p.epilogue = factors{c, a, b, m, n, k}, e
	p.tiles, p.panels = ceilDiv(m, asm.TileRows()), ceilDiv(n, asm.PanelCols())
	// Few products are not worth a meeting of many workers.
	p.share(int(min(int64(t.Workers()), 1+int64(m)*int64(n)*int64(k)/workerProducts)))
	t.Parallel(p.down*p.across, p.region)
	if e.rowsSq != nil && p.across > 1 { // no region has had whole rows
		t.each(m, 16, func(_, i0, i1 int) { p.sumSquares(i0, i1) })
	}
	p.clear()
}

// clear lets go of the memory of the last product.
func (p *product) clear() { p.factors, p.epilogue = factors{}, epilogue{} }

func newProduct(t *Tape) *product {
	p := &product{t: t}
	p.region = func(worker, i int) {
		// The rows of a worker vary fastest: the panels stay in its cache.
		var r region
		r.tile0, r.tile1 = split(p.tiles, p.down, i/p.ownDown/p.across*p.ownDown+i%p.ownDown)
		r.panel0, r.panel1 = split(p.panels, p.across, i/p.ownDown%p.across)
		p.compute(worker, r)
	}
	return p
}

// share decides how many regions C is divided into from top to bottom and from left to right.
func (p *product) share(workers int) {
	// As many tiles for each worker, if that makes none lower by more than a row or two: 99 rows are
	// 17 tiles at AVX2, and 18 for two workers.
	if even := ceilDiv(p.tiles, workers) * workers; 6*even <= 7*p.tiles {
		p.tiles = even
	}
	// Few rows are one band: weights then come from memory, and the more tiles fetch a panel, the
	// fewer of its lines are on their way at once.
	least := bandTiles
	if p.tiles <= fewTiles {
		least = max(least, p.tiles)
	}
	// Of the second-level cache, three eighths are for the panels of a region and a third for the
	// rows of A of a band: with 1 MiB and AVX-512, 3 panels and 7 tiles of the largest blocks. Of
	// short panels, which the first-level cache holds, half of it, and there are no more than leave a
	// band its tiles: the more panels, the less often A comes from farther away.
	k := max(1, ceilDiv(p.k, max(1, ceilDiv(p.k, blockK))))
	nr, mr := asm.PanelCols(), asm.TileRows()
	near, shared := bandFloats, cacheFloats*3/8
	if k*nr <= shortPanel {
		near, shared = max(near, cacheFloats/8), cacheFloats/2
	}
	panels := min(p.panels, max(1, shared/(k*nr)), near/(least*nr*mr))
	band := min(cacheFloats/3/(k*mr), near/(panels*nr*mr))
	// A region that packs takes all that its packing serves.
	if p.copiesA = p.a.copied(workers, len(p.b.panels)/max(1, p.k)); p.copiesA {
		// All panels, which come from farther away, once for each band. For the gradient of a weight
		// bands of 70 to 170 rows are the fastest, by up to a tenth, although C does not stay near;
		// measured with 2 MiB.
		panels = p.panels
		band = max(ceilDiv(70, mr), cacheFloats/5/(k*mr))
	}
	p.band = min(p.tiles, max(1, band))
	tiles := p.band
	if !p.copiesA && p.b.panels == nil {
		tiles = p.tiles
	}
	// Less where there would be too few regions.
	for workers > 1 && tiles*panels > 1 && ceilDiv(p.tiles, tiles)*ceilDiv(p.panels, panels) < 4*workers {
		if panels > 1 && (!p.copiesA || tiles == 1) {
			panels--
		} else {
			tiles--
		}
	}
	down, across := ceilDiv(p.tiles, tiles), ceilDiv(p.panels, panels)
	// The same number for each worker: with two workers, one would be idle during the last of 21.
	if down > 1 && (down >= workers || down*across%workers != 0) {
		down = min(p.tiles, ceilDiv(down, workers)*workers)
	}
	if down*across%workers != 0 {
		across = min(p.panels, ceilDiv(across, workers)*workers)
	}
	p.ownDown = down
	if down%workers == 0 {
		p.ownDown = down / workers
	}
	p.down, p.across = down, across
}

// row is the first row of a tile.
func (p *product) row(tile int) int {
	i, _ := split(p.m, p.tiles, tile)
	return i
}

// compute computes a region.
func (p *product) compute(worker int, r region) {
	kBlocks := max(1, ceilDiv(p.k, blockK)) // without any product, C is still written
	tiles := r.tile1 - r.tile0
	bands := ceilDiv(tiles, p.band)
	lenA, lenB := 0, 0
	if p.copiesA {
		lenA = ceilDiv(tiles, bands) * asm.TileRows() * ceilDiv(p.k, kBlocks)
	}
	if p.b.panels == nil {
		lenB = (r.panel1 - r.panel0) * asm.PanelCols() * ceilDiv(p.k, kBlocks)
	}
	scratch := p.t.Scratch(worker, lenA+lenB)
	bufferA, bufferB := scratch[:lenA], scratch[lenA:]
	for kb := range kBlocks {
		k0, k1 := split(p.k, kBlocks, kb)
		panels, next := bufferB, []float32(nil) // the region's, of this block of k, and what follows them
		if p.b.panels != nil {
			panels, next = p.b.panels[packedAt(p.n, k0, k1, r.panel0):], p.panelAfter(kb, kBlocks, r)
		} else if k1 > k0 {
			packBlock(panels, p.b.matrix, k0, k1, r.panel0, r.panel1)
		}
		for band := range bands {
			if p.t.stopping() { // a region that packs has all rows of C
				return
			}
			from, to := split(tiles, bands, band)
			i0, i1 := p.row(r.tile0+from), p.row(r.tile0+to)
			p.multiply(p.a.block(bufferA, i0, i1, k0, k1), panels, next, i0, k0, r)
			if kb == kBlocks-1 {
				p.finish(i0, i1, r)
			}
		}
	}
}

// panelAfter returns the packed panel that comes after those of a region in block kb of k: the
// region's first in the next block, or in the first block the one to its right, if there is one.
func (p *product) panelAfter(kb, kBlocks int, r region) []float32 {
	panel := r.panel0
	if kb++; kb == kBlocks {
		kb, panel = 0, r.panel1
	}
	if panel == p.panels {
		return nil
	}
	k0, k1 := split(p.k, kBlocks, kb)
	return p.b.panels[packedAt(p.n, k0, k1, panel):]
}

// multiply adds to a region of C, from row i0 on, the products of the panels with a, a part of A
// that begins at row i0 and column k0. The kernels prefetch next, unless it is nil.
func (p *product) multiply(a matrix, panels, next []float32, i0, k0 int, r region) {
	nr := asm.PanelCols()
	g := asm.GemmArgs{
		M: a.rows, K: a.cols,
		LDC: p.n, LDAdd: p.n,
		A: a.data, ARS: a.rs, ACS: a.cs, PackedA: a.packed,
		Accumulate: p.accumulate || k0 > 0,
	}
	for q := r.panel0; q < r.panel1; q++ {
		j := q * nr
		g.N = min(nr, p.n-j)
		g.C = p.c[i0*p.n+j:]
		g.B = panels[(q-r.panel0)*nr*a.cols:]
		if q == r.panel1-1 {
			g.Next = next
		}
		// With the last products of a sum: added to the first, bias and add would make it larger,
		// and what follows would be rounded to fewer digits.
		if k0+a.cols == p.k {
			g.Bias, g.Add = suffix(p.bias, j), suffix(p.add, i0*p.n+j)
		}
		asm.GemmPanel(&g)
	}
}

// suffix returns s[i:], or nil for nil.
func suffix(s []float32, i int) []float32 {
	if s == nil {
		return nil
	}
	return s[i:]
}

// finish does the rest of the epilogue for rows i0..i1 of a region, while they are in the cache.
func (p *product) finish(i0, i1 int, r region) {
	nr := asm.PanelCols()
	j0, j1 := r.panel0*nr, min(r.panel1*nr, p.n)
	if p.gelu != nil || p.times != nil {
		for i := i0; i < i1; i++ {
			from, to := i*p.n+j0, i*p.n+j1
			switch c := p.c[from:to]; {
			case p.slope:
				asm.GELUSlope(c, p.gelu[from:to], c)
			case p.gelu != nil:
				asm.GELU(p.gelu[from:to], c)
			default:
				asm.Mul(c, c, p.times[from:to])
			}
		}
	}
	if p.rowsSq != nil && j1-j0 == p.n {
		p.sumSquares(i0, i1)
	}
}

// sumSquares sums the squares of rows i0..i1 of C. The sum of a row, unlike that of a tile, does
// not depend on the machine.
func (p *product) sumSquares(i0, i1 int) {
	for i := i0; i < i1; i++ {
		p.rowsSq[i] = asm.SumSq(p.c[i*p.n : (i+1)*p.n])
	}
}

// gemmSmall computes C = A·B, or adds it to C, on the calling worker: for products inside a
// parallel loop, such as those of attention. c has the values of a row side by side; panels is B as
// asm.PackB leaves it.
func gemmSmall(c, a matrix, panels []float32, accumulate bool) {
	nr := asm.PanelCols()
	kBlocks := max(1, ceilDiv(a.cols, blockK))
	for kb := range kBlocks {
		k0, k1 := split(a.cols, kBlocks, kb)
		g := asm.GemmArgs{
			M: a.rows, K: k1 - k0,
			LDC: c.rs,
			A:   a.data[k0*a.cs:], ARS: a.rs, ACS: a.cs,
			Accumulate: accumulate || kb > 0,
		}
		for j := 0; j < c.cols; j += nr {
			g.N = min(nr, c.cols-j)
			g.C = c.data[j:]
			g.B = panels[j*a.cols+k0*nr:]
			asm.GemmPanel(&g)
		}
	}
}
