package tensor

import "github.com/gomae/gomae/asm"

// matrix is a strided view: element (i, p) is data[i*rs+p*cs]. A transpose is
// a view with the strides exchanged.
type matrix struct {
	data   []float32
	rs, cs int
}

// rowMajor is the view of whole rows of n values.
func rowMajor(data []float32, n int) matrix { return matrix{data, n, 1} }

func (m matrix) transposed() matrix { return matrix{m.data, m.cs, m.rs} }

// at is the view whose element (0, 0) is m's (i, p).
func (m matrix) at(i, p int) matrix { return matrix{m.data[i*m.rs+p*m.cs:], m.rs, m.cs} }

// Blocking of a matrix product C = A·B with A [m,k] and B [k,n].
//
//	for each task: some rows of C × a few panels of B          parallel
//	  for each blockK of k                   pack B's part, unless it is
//	    for each blockTiles of the rows      A's part stays in L2
//	      for each panel of B                32 columns, in L2
//	        asm.GemmPanel                    tiles of up to 14 rows, sums in registers
//
// A sum over k is taken in blocks that are added up in order, so its bits
// depend on k alone: neither on the tasks nor on the place in the matrix.
const (
	blockK     = 768 // a panel of it is 96 KiB
	blockTiles = 8   // tiles of rows: 112 × 768 floats of A are 336 KiB
	taskPanels = 4   // panels of a task: 128 × 768 floats of B are 384 KiB
)

// blocks splits n into the fewest parts of at most most, all of nearly equal
// length: 99 rows are 8 tiles of 12 or 13 rather than 7 of 14 and one of 1.
func blocks(n, most int) int { return (n + most - 1) / most }

// block returns the bounds of part i of count.
func block(n, count, i int) (from, to int) { return n * i / count, n * (i + 1) / count }

// operand is B: packed, or to be packed by each task for itself. The latter
// costs no memory traffic, as what a task packs it uses at once, and pays where
// the rows of C are not shared out, so that nothing is packed twice.
type operand struct {
	matrix
	panels []float32 // by packPanels; nil: not packed
}

// left is A: a matrix in memory, or one whose values are gathered block by block.
type left interface {
	// part is rows i0..i1 of columns k0..k1: where they lie, or written to dst.
	part(dst []float32, i0, i1, k0, k1 int) matrix
	// inPlace says that part has no use for dst.
	inPlace() bool
}

// A matrix is read in place where the values of a row lie side by side; otherwise
// those of a column must.
func (m matrix) inPlace() bool { return m.cs == 1 }

func (m matrix) part(dst []float32, i0, i1, k0, k1 int) matrix {
	if m.inPlace() {
		return m.at(i0, k0)
	}
	mustBe("row stride of a transposed matrix", m.rs, 1)
	n := i1 - i0
	asm.PackA(dst, m.at(i0, k0).data, n, k1-k0, m.cs)
	return matrix{dst, 1, n}
}

// packPanels packs B, [k,n], for gemm: block by block of k, and in each block
// panel by panel. dst holds asm.PackedLen(k, n) floats.
func packPanels(t *Tape, dst []float32, b matrix, k, n int) {
	padded := asm.PackedLen(1, n)
	kBlocks, all := blocks(k, blockK), blocks(n, asm.PanelCols())
	groups := blocks(all, taskPanels)
	// Not by Parallel: the panels of a frozen weight outlive a tape that is stopped.
	t.pool.run(kBlocks*groups, func(_, i int) {
		k0, k1 := block(k, kBlocks, i/groups)
		q0, q1 := block(all, groups, i%groups)
		packBlock(dst[k0*padded+q0*asm.PanelCols()*(k1-k0):], b, k0, k1, q0, q1, n)
	})
}

// packBlock packs rows k0..k1 of panels q0..q1.
func packBlock(dst []float32, b matrix, k0, k1, q0, q1, n int) {
	nr := asm.PanelCols()
	asm.PackB(dst, b.at(k0, q0*nr).data, k1-k0, min(q1*nr, n)-q0*nr, b.rs, b.cs)
}

// epilogue is what happens to a product on its way to memory.
type epilogue struct {
	accumulate bool      // to what C holds
	bias       []float32 // [n] or nil
	add        []float32 // [m,n] with row stride ldadd, or nil
	ldadd      int
	gelu       []float32 // [m,n] like C, or nil: receives GELU of what C gets
	slope      []float32 // [m,n] like C, or nil: C is multiplied by GELU's derivative there
	rowsSq     []float64 // [m] or nil: receives the sum of squares of each row of C
}

// multiplication is one call of gemm.
type multiplication struct {
	t       *Tape
	c       []float32
	ldc     int
	a       left
	b       operand
	m, n, k int
	tiles   int // of all rows
	epilogue
}

// gemm computes C = A·B with an epilogue, in parallel. C has row stride ldc.
func (t *Tape) gemm(c []float32, ldc int, a left, b operand, m, n, k int, e epilogue) {
	if m == 0 || n == 0 {
		clear(e.rowsSq)
		return
	}
	p := &multiplication{t, c, ldc, a, b, m, n, k, blocks(m, asm.TileRows()), e}
	panels := blocks(n, asm.PanelCols())
	// A task that packs takes all that its packing serves, and others what
	// fits the cache; less where there would be too few tasks.
	group, rows := taskPanels, blockTiles
	switch {
	case !a.inPlace():
		group = panels
	case b.panels == nil:
		rows = p.tiles
	}
	for t.Workers() > 1 && group*rows > 1 && blocks(panels, group)*blocks(p.tiles, rows) < 4*t.Workers() {
		if group > 1 && (a.inPlace() || rows == 1) {
			group--
		} else {
			rows--
		}
	}
	groups, parts := blocks(panels, group), blocks(p.tiles, rows)
	// The same number for each worker: the last of 21 would leave one of two idle.
	if w := t.Workers(); groups*parts%w != 0 {
		if parts > 1 {
			parts = min(p.tiles, blocks(parts, w)*w)
		} else {
			groups = min(panels, blocks(groups, w)*w)
		}
	}
	t.Parallel(groups*parts, func(w, task int) {
		// Rows vary fastest: the panels stay in the cache.
		q0, q1 := block(panels, groups, task/parts)
		t0, t1 := block(p.tiles, parts, task%parts)
		p.task(w, t0, t1, q0, q1)
	})
	if e.rowsSq != nil && groups > 1 { // no task has had whole rows
		t.each(m, 16, func(_, i0, i1 int) { p.sumSquares(i0, i1) })
	}
}

// row is the first row of a tile.
func (p *multiplication) row(tile int) int { return p.m * tile / p.tiles }

// task computes tiles t0..t1 of the rows and panels q0..q1 of C.
func (p *multiplication) task(worker, t0, t1, q0, q1 int) {
	nr, padded := asm.PanelCols(), asm.PackedLen(1, p.n)
	kBlocks := max(1, blocks(p.k, blockK))
	kMost := blocks(p.k, kBlocks)
	parts := blocks(t1-t0, blockTiles)
	lenA := 0
	if !p.a.inPlace() {
		lenA = blocks(t1-t0, parts) * asm.TileRows() * kMost
	}
	lenB := 0
	if p.b.panels == nil {
		lenB = (q1 - q0) * nr * kMost
	}
	scratch := p.t.Scratch(worker, lenA+lenB)
	for kb := range kBlocks {
		k0, k1 := block(p.k, kBlocks, kb)
		var panels []float32 // q0 and following, of this block of k
		if p.b.panels != nil {
			panels = p.b.panels[k0*padded+q0*nr*(k1-k0):]
		} else {
			panels = scratch[lenA:]
			if k1 > k0 {
				packBlock(panels, p.b.matrix, k0, k1, q0, q1, p.n)
			}
		}
		for part := range parts {
			if p.t.stopping() { // a task that packs has all rows of C
				return
			}
			from, to := block(t1-t0, parts, part)
			p.rows(scratch[:lenA], panels, t0+from, t0+to, q0, q1, k0, k1)
			if kb == kBlocks-1 {
				i0, i1, j0, j1 := p.row(t0+from), p.row(t0+to), q0*nr, min(q1*nr, p.n)
				p.activate(i0, i1, j0, j1)
				if j1-j0 == p.n {
					p.sumSquares(i0, i1)
				}
			}
		}
	}
}

// activate applies GELU or its derivative to rows i0..i1 and columns j0..j1 of C
// while they are in the cache.
func (p *multiplication) activate(i0, i1, j0, j1 int) {
	if p.gelu == nil && p.slope == nil {
		return
	}
	for i := i0; i < i1; i++ {
		from, to := i*p.ldc+j0, i*p.ldc+j1
		if p.gelu != nil {
			asm.GELU(p.gelu[from:to], p.c[from:to])
		} else {
			asm.GELUBackward(p.c[from:to], p.slope[from:to], p.c[from:to])
		}
	}
}

// sumSquares sums the squares of rows i0..i1 of C. The sum of a row, unlike that
// of a tile, does not depend on the machine.
func (p *multiplication) sumSquares(i0, i1 int) {
	if p.rowsSq == nil {
		return
	}
	for i := i0; i < i1; i++ {
		p.rowsSq[i] = asm.SumSq(p.c[i*p.ldc : i*p.ldc+p.n])
	}
}

// rows adds the block k0..k1 to tiles t0..t1 of the rows, at most blockTiles,
// and panels q0..q1 of C.
func (p *multiplication) rows(scratch, panels []float32, t0, t1, q0, q1, k0, k1 int) {
	nr, kc := asm.PanelCols(), k1-k0
	i, m := p.row(t0), p.row(t1)-p.row(t0)
	a := p.a.part(scratch, i, i+m, k0, k1)
	for q := q0; q < q1; q++ {
		j := q * nr
		c := p.c[i*p.ldc+j:]
		var bias, add []float32
		if k1 == p.k { // last: to a sum of the size of add each part would be rounded
			if p.bias != nil {
				bias = p.bias[j:]
			}
			if p.add != nil {
				add = p.add[i*p.ldadd+j:]
			}
		}
		asm.GemmPanel(&asm.GemmArgs{
			M: m, N: min(nr, p.n-j), K: kc,
			C: c, LDC: p.ldc,
			A: a.data, ARS: a.rs, ACS: a.cs,
			B:          panels[(q-q0)*nr*kc:],
			Accumulate: p.accumulate || k0 > 0,
			Bias:       bias,
			Add:        add, LDAdd: p.ldadd,
		})
	}
}

// gemmSmall is gemm on the calling worker, for products inside a parallel
// loop such as those of attention. A is read in place; panels is B as
// asm.PackB leaves it.
func gemmSmall(c []float32, ldc int, a matrix, panels []float32, m, n, k int, accumulate bool) {
	nr := asm.PanelCols()
	kBlocks := max(1, blocks(k, blockK))
	for kb := range kBlocks {
		k0, k1 := block(k, kBlocks, kb)
		for j := 0; j < n; j += nr {
			asm.GemmPanel(&asm.GemmArgs{
				M: m, N: min(nr, n-j), K: k1 - k0,
				C: c[j:], LDC: ldc,
				A: a.data[k0*a.cs:], ARS: a.rs, ACS: a.cs,
				B:          panels[j*k+k0*nr:],
				Accumulate: accumulate || kb > 0,
			})
		}
	}
}
