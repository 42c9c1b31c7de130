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
//	for each task (rowBlock rows of C) × (a few panels of B)      parallel
//	  for each blockK of k                      A's block stays in L2
//	    for each panel of B                     32 columns, in L2
//	      for each tile of the rows             14 rows, sums in registers
//	        asm.GemmTile
//
// A sum over k is taken in blocks that are added up in order, so its bits
// depend on k alone: neither on the tasks nor on the place in the matrix.
const (
	blockK     = 768 // longest sum in registers; a panel of it is 96 KiB
	blockTiles = 8   // tiles of rows: 112 × 768 floats of A are 336 KiB
	taskPanels = 4   // panels of a task, 128 columns
)

// blocks splits n into the fewest parts of at most most, all of nearly equal
// length: 99 rows are 9 tiles of 11 rather than 7 of 14 and a short one.
func blocks(n, most int) int { return (n + most - 1) / most }

// block returns the bounds of part i of count.
func block(n, count, i int) (from, to int) { return n * i / count, n * (i + 1) / count }

// epilogue is what happens to a product on its way to memory.
type epilogue struct {
	bias  []float32 // [n] or nil
	add   []float32 // [m,n] with row stride ldadd, or nil; may be C itself
	ldadd int
	gelu  []float32 // [m,n] like C, or nil: receives GELU of what C gets
}

// packPanels packs B, [k,n], in parallel into memory of the tape, to be given
// back with t.buffers.give.
func (t *Tape) packPanels(b matrix, k, n int) []float32 {
	dst := t.buffers.take(asm.PackedLen(k, n))
	packPanels(t, dst, b, k, n)
	return dst
}

func packPanels(t *Tape, dst []float32, b matrix, k, n int) {
	nr := asm.PanelCols()
	t.each((n+nr-1)/nr, max(1, (1<<15)/(k*nr+1)), func(_, from, to int) {
		cols := min(to*nr, n) - from*nr
		asm.PackB(dst[from*nr*k:], b.data[from*nr*b.cs:], k, cols, b.rs, b.cs)
	})
}

// gemm computes C = A·B with the epilogue e, in parallel. C is c with row
// stride ldc; panels is B as packPanels leaves it.
func (t *Tape) gemm(c []float32, ldc int, a matrix, panels []float32, m, n, k int, e epilogue) {
	if m == 0 || n == 0 {
		return
	}
	nr := asm.PanelCols()
	all := (n + nr - 1) / nr
	rowBlocks := blocks(blocks(m, asm.TileRows()), blockTiles)
	// Where A must be packed a task takes all panels, to pack it once only.
	// Fewer panels to a task where there would be too few tasks.
	group := taskPanels
	if a.cs != 1 {
		group = all
	}
	for group > 1 && rowBlocks*blocks(all, group) < 4*t.Workers() {
		group--
	}
	groups := blocks(all, group)
	t.Parallel(groups*rowBlocks, func(w, task int) {
		// Row blocks vary fastest: the panels stay in the cache.
		q0, q1 := block(all, groups, task/rowBlocks)
		i0, i1 := block(m, rowBlocks, task%rowBlocks)
		t.gemmBlock(w, c, ldc, a, panels, i0, i1, q0, q1, n, k, e)
	})
}

// gemmBlock computes rows i0..i1 and panels q0..q1 of a product.
func (t *Tape) gemmBlock(worker int, c []float32, ldc int, a matrix, panels []float32, i0, i1, q0, q1, n, k int, e epilogue) {
	nr := asm.PanelCols()
	rows := i1 - i0
	tiles := blocks(rows, asm.TileRows())
	kBlocks := max(1, blocks(k, blockK))
	var packed []float32
	if a.cs != 1 {
		packed = t.Scratch(worker, rows*blocks(k, kBlocks))
	}
	for kb := range kBlocks {
		k0, k1 := block(k, kBlocks, kb)
		kc := k1 - k0
		if packed != nil {
			for tile := range tiles {
				r0, r1 := block(rows, tiles, tile)
				asm.PackA(packed[r0*kc:], a.data[(i0+r0)*a.rs+k0*a.cs:], r1-r0, kc, a.rs, a.cs)
			}
		}
		for q := q0; q < q1; q++ {
			j := q * nr
			width := asm.PanelWidth(n, q)
			cols := min(nr, n-j)
			panel := panels[j*k+k0*width:]
			for tile := range tiles {
				r0, r1 := block(rows, tiles, tile)
				i := i0 + r0
				ta, ars, acs := a.data, a.rs, a.cs
				if packed != nil {
					ta, ars, acs = packed[r0*kc:], 1, r1-r0
				} else {
					ta = ta[i*ars+k0:]
				}
				var bias, add []float32
				ldadd := e.ldadd
				if kb == 0 {
					if e.bias != nil {
						bias = e.bias[j:]
					}
					if e.add != nil {
						add = e.add[i*ldadd+j:]
					}
				} else {
					add, ldadd = c[i*ldc+j:], ldc
				}
				asm.GemmTile(c[i*ldc+j:], ldc, ta, ars, acs, panel, width, r1-r0, cols, kc, bias, add, ldadd)
			}
		}
	}
	if e.gelu != nil {
		from, to := q0*nr, min(q1*nr, n)
		for i := i0; i < i1; i++ {
			asm.GELU(e.gelu[i*ldc+from:i*ldc+to], c[i*ldc+from:i*ldc+to])
		}
	}
}

// gemmSmall is gemm on the calling worker, for products inside a parallel
// loop such as those of attention. A is read in place.
func gemmSmall(c []float32, ldc int, a matrix, panels []float32, m, n, k int, accumulate bool) {
	nr := asm.PanelCols()
	tiles := blocks(m, asm.TileRows())
	kBlocks := max(1, blocks(k, blockK))
	for kb := range kBlocks {
		k0, k1 := block(k, kBlocks, kb)
		for j := 0; j < n; j += nr {
			width := asm.PanelWidth(n, j/nr)
			for tile := range tiles {
				i0, i1 := block(m, tiles, tile)
				var add []float32
				if accumulate || kb > 0 {
					add = c[i0*ldc+j:]
				}
				asm.GemmTile(c[i0*ldc+j:], ldc, a.data[i0*a.rs+k0*a.cs:], a.rs, a.cs, panels[j*k+k0*width:], width, i1-i0, min(nr, n-j), k1-k0, nil, add, ldc)
			}
		}
	}
}
