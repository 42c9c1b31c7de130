package tensor

import "github.com/gomae/gomae/asm"

// matrix is a strided view: element (i, j) is data[i*rs+j*cs]. A transpose is a view with the
// strides exchanged.
type matrix struct {
	data       []float32
	rows, cols int
	rs, cs     int
	packed     bool // as asm.PackA leaves it; rs and cs have no meaning
}

// rowMajor is the view of rows that lie one after the other.
func rowMajor(data []float32, rows, cols int) matrix {
	return matrix{data: data, rows: rows, cols: cols, rs: cols, cs: 1}
}

// packedA is a matrix that asm.PackA has written.
func packedA(data []float32, rows, cols int) matrix {
	return matrix{data: data, rows: rows, cols: cols, packed: true}
}

func (m matrix) transposed() matrix {
	return matrix{data: m.data, rows: m.cols, cols: m.rows, rs: m.cs, cs: m.rs}
}

// part is the view of rows i0..i1 and columns j0..j1.
func (m matrix) part(i0, i1, j0, j1 int) matrix {
	p := matrix{rows: i1 - i0, cols: j1 - j0, rs: m.rs, cs: m.cs}
	if p.rows > 0 && p.cols > 0 {
		p.data = m.data[i0*m.rs+j0*m.cs:]
	}
	return p
}

// ceilDiv returns how many parts of at most size n is divided into.
func ceilDiv(n, size int) int { return (n + size - 1) / size }

// split divides n into count parts of nearly equal length and returns the bounds of part i: 99 rows
// are 8 tiles of 12 or 13 rather than 7 of 14 and one of 1.
func split(n, count, i int) (from, to int) {
	at := func(i int) int { return int(int64(n) * int64(i) / int64(count)) } // 32 bits would not do
	return at(i), at(i + 1)
}

// lhs is the left factor of a matrix product: a matrix in memory, or one whose values are gathered
// block by block.
type lhs interface {
	size() (rows, cols int)
	// block returns rows i0..i1 of columns k0..k1: written to dst, or where they lie if dst is empty.
	block(dst []float32, i0, i1, k0, k1 int) matrix
	// copied reports whether block should, or must, write rows, which workers share and so many packed
	// columns use.
	copied(workers, columns int) bool
}

func (m matrix) size() (rows, cols int) { return m.rows, m.cols }

// A matrix is read in place where the values of a row lie side by side; otherwise those of a column
// must. A copy takes about as long as the product with a panel, and its rows stay in the second-level
// cache while all panels pass by. If that cache is small it pays for rows whole pages apart, which
// compete for a fraction of its sets, and for one worker with many panels. Measured with 512 KiB: 2 to
// 8 % for one worker, 3 to 5 % for two, and 2 to 5 % lost if two copy rows that are not pages apart.
func (m matrix) copied(workers, columns int) bool {
	const page, small = 1024, 1 << 17 // floats
	panels, apart := columns/asm.PanelCols(), m.rs > 0 && m.rs%page == 0
	switch {
	case m.cs != 1:
		return true
	case cacheFloats > small || m.rows < 64*workers:
		return false
	case workers == 1:
		return panels >= 64 || apart && panels >= 16
	}
	return apart && panels >= 32
}

func (m matrix) block(dst []float32, i0, i1, k0, k1 int) matrix {
	b := m.part(i0, i1, k0, k1)
	switch {
	case len(dst) == 0:
		return b
	case m.cs == 1:
		asm.PackARows(dst, b.rows, b.cols, b.data, b.rs)
	default:
		mustBe("row stride of a transposed matrix", b.rs, 1)
		asm.PackA(dst, b.rows, b.cols, b.data, 0, b.cols, b.cs)
	}
	return packedA(dst, b.rows, b.cols)
}

// rhs is the right factor: packed, or to be packed by each task for itself. The latter costs no
// memory traffic, as what a task packs it uses at once, and pays where the rows of the result are
// not shared out, so that nothing is packed twice.
type rhs struct {
	matrix
	panels []float32 // by packPanels; nil: not packed
}

// packed returns m packed, in memory of the tape: give the panels back to t.buffers.
func (t *Tape) packed(m matrix) rhs {
	panels := t.buffers.take(asm.PackedLen(m.rows, m.cols))
	packPanels(t, panels, m)
	return rhs{m, panels}
}

// packPanels packs a right factor [k,n]: block by block of k, and in each block panel by panel. dst
// holds asm.PackedLen(k, n) floats.
func packPanels(t *Tape, dst []float32, m matrix) {
	kBlocks, panels := ceilDiv(m.rows, blockK), ceilDiv(m.cols, asm.PanelCols())
	groups := ceilDiv(panels, regionPanels)
	// Not by Parallel: the panels of a frozen weight outlive a tape that is stopped.
	t.pool.run(kBlocks*groups, func(_, i int) {
		k0, k1 := split(m.rows, kBlocks, i/groups)
		p0, p1 := split(panels, groups, i%groups)
		packBlock(dst[packedAt(m.cols, k0, k1, p0):], m, k0, k1, p0, p1)
	})
}

// packedAt is where panel number panel of the block k0..k1 of n columns is.
func packedAt(n, k0, k1, panel int) int {
	return k0*asm.PackedLen(1, n) + panel*asm.PanelCols()*(k1-k0)
}

// packBlock packs rows k0..k1 of panels p0..p1.
func packBlock(dst []float32, m matrix, k0, k1, p0, p1 int) {
	nr := asm.PanelCols()
	b := m.part(k0, k1, p0*nr, min(p1*nr, m.cols))
	asm.PackB(dst, b.data, b.rows, b.cols, b.rs, b.cs)
}
