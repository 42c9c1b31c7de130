package gen

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func packFamily(s *simd) {
	s.packRows()
	s.packTiles()
	s.packCols()
}

// packRows copies rows in pieces of two vectors.
func (s *simd) packRows() {
	s.function("packRows", "(dst, src *float32, k, n, w, rs, step int)",
		"width = two vectors",
		"for p < k, q*width < n, j < width {",
		"	dst[q*step+p*w+j] = src[p*rs+q*width+j] // 0 from column n on",
		"}")
	dst, src, k, rs := s.gp("dst"), s.gp("src"), s.gp("k"), s.gp("rs")
	w, step := s.gp("w"), s.gp("step")
	s.SHLQ(U8(2), rs)
	s.SHLQ(U8(2), w)
	s.SHLQ(U8(2), step)
	ahead := s.rowsAhead(rs)

	pieces, rest := s.gp("n"), s.GP64()
	s.MOVQ(pieces, rest)
	s.ANDQ(U32(2*s.lanes-1), rest)
	s.SUBQ(rest, pieces) // columns of whole pieces
	masks := []reg.Register{s.tailMask(rest, 0), s.tailMask(rest, 1)}

	x, y, left := s.GP64(), s.GP64(), s.GP64()
	piece := func(from []reg.Register) {
		for d := 0; d < 8*s.lanes; d += 64 {
			s.PREFETCHT0(Mem{Base: x, Index: ahead, Scale: 1, Disp: d})
		}
		for v := range from {
			d := 4 * s.lanes * v
			r := s.vec()
			s.loadTo(Mem{Base: x, Disp: d}, from[v], r)
			s.VMOVUPS(r, Mem{Base: y, Disp: d})
		}
	}
	row, top, tail, next := s.label("row"), s.label("piece"), s.label("tail"), s.label("next")
	s.Label(row)
	s.MOVQ(src, x)
	s.MOVQ(dst, y)
	s.MOVQ(pieces, left)
	s.SUBQ(U32(2*s.lanes), left)
	s.JLT(LabelRef(tail))
	s.Label(top)
	piece(make([]reg.Register, 2))
	s.ADDQ(U32(8*s.lanes), x)
	s.ADDQ(step, y)
	s.SUBQ(U32(2*s.lanes), left)
	s.JGE(LabelRef(top))
	s.Label(tail)
	s.TESTQ(rest, rest)
	s.JEQ(LabelRef(next))
	piece(masks)
	s.Label(next)
	s.ADDQ(rs, src)
	s.ADDQ(w, dst)
	s.DECQ(k)
	s.JNE(LabelRef(row))
	s.ret()
}

// rowsAhead returns how far ahead rows are prefetched, in bytes like their stride: they may lie pages
// apart, where hardware does not prefetch.
func (s *simd) rowsAhead(stride reg.GPVirtual) reg.GPVirtual {
	ahead := s.GP64()
	s.MOVQ(stride, ahead)
	s.SHLQ(U8(4), ahead)
	return ahead
}

// packTiles copies rows in pieces that are narrower than a vector. What a vector holds beyond the
// piece is stored too, and overwritten by the next row: a masked store takes many times as long with
// AVX2. Where there is no next row, it is masked.
func (s *simd) packTiles() {
	s.function("packTiles", "(dst, src *float32, k, tiles, h, rs, step int)",
		"for p < k, q < tiles, j < h <= lanes {",
		"	dst[q*step+p*h+j] = src[p*rs+q*h+j]",
		"}")
	dst, src, k, tiles := s.gp("dst"), s.gp("src"), s.gp("k"), s.gp("tiles")
	h, rs, step := s.gp("h"), s.gp("rs"), s.gp("step")
	mask := s.tailMask(h, 0)
	rest := s.GP64() // floats of a tile from this row on
	s.MOVQ(k, rest)
	s.IMULQ(h, rest)
	bytes := s.GP64() // of a piece
	s.MOVQ(h, bytes)
	s.SHLQ(U8(2), bytes)
	s.SHLQ(U8(2), rs)
	s.SHLQ(U8(2), step)
	ahead := s.rowsAhead(rs)

	x, y, left := s.GP64(), s.GP64(), s.GP64()
	// pieces emits a loop over the pieces of a row.
	pieces := func(name string, to reg.Register) {
		top := s.label(name)
		s.Label(top)
		s.PREFETCHT0(Mem{Base: x, Index: ahead, Scale: 1})
		r := s.vec()
		s.loadTo(Mem{Base: x}, mask, r)
		s.storeTo(r, to, Mem{Base: y})
		s.ADDQ(bytes, x)
		s.ADDQ(step, y)
		s.DECQ(left)
		s.JNE(LabelRef(top))
	}
	row, exact, next := s.label("row"), s.label("exact"), s.label("next")
	s.Label(row)
	s.MOVQ(src, x)
	s.MOVQ(dst, y)
	s.MOVQ(tiles, left)
	s.CMPQ(rest, U32(s.lanes))
	s.JLT(LabelRef(exact))
	pieces("piece", nil)
	s.JMP(LabelRef(next))
	s.Label(exact)
	pieces("exactpiece", mask)
	s.Label(next)
	s.ADDQ(rs, src)
	s.ADDQ(bytes, dst)
	s.SUBQ(h, rest)
	s.DECQ(k)
	s.JNE(LabelRef(row))
	s.ret()
}

// packCols transposes square blocks of one vector by one vector in registers.
func (s *simd) packCols() {
	s.function("packCols", "(dst, src *float32, k, n, w, cs int)",
		"for p < k {",
		"	for j < n          { dst[p*w+j] = src[p+j*cs] }",
		"	for n <= j < lanes { dst[p*w+j] = 0 }",
		"} // n is at most lanes, the floats of a vector, and may be 0")
	dst, src, k := s.gp("dst"), s.gp("src"), s.gp("k")
	n, w, cs := s.gp("n"), s.gp("w"), s.gp("cs")
	s.SHLQ(U8(2), w)
	s.SHLQ(U8(2), cs)
	top := s.label("loop")
	s.Label(top)
	left := s.GP64()
	s.MOVQ(U32(s.lanes), left)
	s.CMPQ(k, left)
	s.CMOVQLT(k, left)

	loadMask := s.tailMask(left, 0)
	x := s.zeros(s.lanes)
	loaded := s.label("loaded")
	p := s.GP64()
	s.MOVQ(src, p)
	for j := range x {
		s.CMPQ(n, U32(j))
		s.JLE(LabelRef(loaded))
		if j > 0 {
			s.ADDQ(cs, p)
		}
		s.loadTo(Mem{Base: p}, loadMask, x[j])
	}
	s.Label(loaded)
	s.ADDQ(U32(4*s.lanes), src)

	y := s.transpose(x)
	stored := s.label("stored")
	for i := range y {
		if i > 0 {
			s.CMPQ(left, U32(i))
			s.JLE(LabelRef(stored))
		}
		s.VMOVUPS(y[i], Mem{Base: dst})
		s.ADDQ(w, dst)
	}
	s.Label(stored)
	s.SUBQ(U32(s.lanes), k)
	s.JGT(LabelRef(top))
	s.ret()
}

// transpose returns the columns of the square block whose rows are x. Each stage moves the block
// from one set of registers to the other.
func (s *simd) transpose(x []reg.VecVirtual) []reg.VecVirtual {
	n := len(x)
	y := make([]reg.VecVirtual, n)
	for i := range y {
		y[i] = s.vec()
	}
	// After these two stages the 128-bit part L of x[4g+e] has element 4L+e of rows 4g to 4g+3.
	for i := 0; i < n; i += 2 {
		s.VUNPCKLPS(x[i+1], x[i], y[i])
		s.VUNPCKHPS(x[i+1], x[i], y[i+1])
	}
	for g := 0; g < n; g += 4 {
		s.VUNPCKLPD(y[g+2], y[g], x[g])
		s.VUNPCKHPD(y[g+2], y[g], x[g+1])
		s.VUNPCKLPD(y[g+3], y[g+1], x[g+2])
		s.VUNPCKHPD(y[g+3], y[g+1], x[g+3])
	}
	// For each e, the parts are a matrix that remains to be transposed.
	if !s.avx512 {
		for e := 0; e < 4; e++ {
			s.VPERM2F128(U8(0x20), x[4+e], x[e], y[e])
			s.VPERM2F128(U8(0x31), x[4+e], x[e], y[4+e])
		}
		return y
	}
	const even, odd = U8(0x88), U8(0xdd)
	for e := 0; e < 4; e++ {
		s.VSHUFF32X4(even, x[4+e], x[e], y[e])
		s.VSHUFF32X4(odd, x[4+e], x[e], y[4+e])
		s.VSHUFF32X4(even, x[12+e], x[8+e], y[8+e])
		s.VSHUFF32X4(odd, x[12+e], x[8+e], y[12+e])
	}
	for e := 0; e < 4; e++ {
		s.VSHUFF32X4(even, y[8+e], y[e], x[e])
		s.VSHUFF32X4(even, y[12+e], y[4+e], x[4+e])
		s.VSHUFF32X4(odd, y[8+e], y[e], x[8+e])
		s.VSHUFF32X4(odd, y[12+e], y[4+e], x[12+e])
	}
	return x
}
