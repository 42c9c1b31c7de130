package gen

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func gemmFamily(s *simd) {
	rows := 6
	if s.avx512 {
		rows = 14
	}
	for m := 1; m <= rows; m++ {
		s.gemm(m)
	}
}

const (
	// sumLength and sumTail are the constants of these names in package asm: how many products are
	// summed up before the sum is added to C, and fewer than how many join the sum before them.
	sumLength, sumTail = 128, 32
	// gemmVecs is how many vectors wide a tile and a panel of B are.
	gemmVecs = 2
	// gemmUnroll is how many steps of k one round of the loop takes. A step at a time costs a tenth:
	// additions of addresses take turns with multiply-adds, and no branch predictor knows the end of
	// 128 rounds. Package asm counts on it, and on gemmAhead, for the pace of prefetching.
	gemmUnroll = 8
	// gemmAhead is how many steps fetch one row of the next panel, or less of it if there are more
	// tiles than this: bandTiles of package tensor.
	gemmAhead = 4
)

// gemm emits the kernel for tiles of m rows, one below the other. The accumulators stay in
// registers for sumLength steps of k, or a few more. Each step loads one row of the panel of B and broadcasts m
// values of A. To broadcast into a register first is faster than a multiply-add that broadcasts its
// operand.
func (s *simd) gemm(m int) {
	width := gemmVecs * s.lanes
	s.function(fmt.Sprintf("gemm%dx%d", m, width),
		"(t *gemmTiles)",
		"c, a, b and so on are the fields of t",
		fmt.Sprintf("for i < %d*tiles, j < n <= %d { // a moves on by nexta, instead of %d*ars, after each tile of %d rows", m, width, m, m),
		fmt.Sprintf("	for each %d of k, the last from 1 to %d {", sumLength, sumLength+sumTail-1),
		fmt.Sprintf("		c[i*ldc+j] += sum over these p of a[i*ars+p*acs]*b[p*%d+j] // the first sum overwrites c unless acc is 1", width),
		"	}",
		"	c[i*ldc+j] += bias[j]         // unless bias is nil",
		"	c[i*ldc+j] += add[i*ldadd+j]  // unless add is nil",
		"}")
	// The locals keep what lasts from one part of a sum to the next.
	t := &gemmTile{
		s: s, m: m, field: s.fields("t"), tile: s.label("tile"), part: s.label("part"),
		a: s.AllocLocal(8), b: s.AllocLocal(8), k: s.AllocLocal(8), acc: s.AllocLocal(8),
	}
	s.Label(t.tile)
	for _, v := range []struct {
		field string
		local Mem
	}{{"a", t.a}, {"b", t.b}, {"k", t.k}, {"acc", t.acc}} {
		s.MOVQ(t.load(v.field), v.local)
	}

	// C and add are needed only after the products: fetch them meanwhile.
	prefetch := func(base, ld string) {
		for _, row := range t.rows(base, ld) {
			for d := 0; d < 4*width; d += 64 {
				s.PREFETCHT0(row.Offset(d))
			}
		}
	}
	prefetch("c", "ldc")
	s.CMPQ(t.field("add"), I8(0))
	s.JEQ(LabelRef(t.part))
	prefetch("add", "ldadd")

	s.Label(t.part)
	ars, acs, ahead := t.load("ars"), t.load("acs"), t.load("ahead")
	s.SHLQ(U8(2), ars)
	s.SHLQ(U8(2), acs)
	a, b, rest, k := s.GP64(), s.GP64(), s.GP64(), s.GP64()
	s.MOVQ(t.k, rest)
	s.MOVQ(I32(sumLength), k)
	s.CMPQ(rest, U32(sumLength+sumTail))
	s.CMOVQLT(rest, k)
	s.SUBQ(k, rest)
	s.MOVQ(rest, t.k)
	s.MOVQ(t.a, a)
	s.MOVQ(t.b, b)
	row := s.rowAddresses(a, ars, m)

	acc := make([][]reg.VecVirtual, m)
	for i := range acc {
		acc[i] = s.zeros(gemmVecs)
	}
	// step emits one step of k: the row of the panel that is rowB rows from b on, and the values of A
	// that are floatsA floats from a on.
	step := func(rowB, floatsA int) {
		var bv []reg.VecVirtual
		for v := 0; v < gemmVecs; v++ {
			bv = append(bv, s.vec())
			s.VMOVUPS(Mem{Base: b, Disp: 4*width*rowB + 4*s.lanes*v}, bv[v])
		}
		for i := 0; i < m; i++ {
			av, from := s.vec(), row[i]
			from.Disp += 4 * floatsA
			s.VBROADCASTSS(from, av)
			for v := 0; v < gemmVecs; v++ {
				s.VFMADD231PS(bv[v], av, acc[i][v])
			}
		}
	}
	// rounds emits a loop that takes gemmUnroll steps a round. Where the distance of the values in a
	// row of A is known here, in floats, displacements reach them all; 0 is for any other one.
	rounds := func(name string, apart int) {
		top := s.label(name)
		s.Label(top)
		for u := 0; u < gemmUnroll; u++ {
			if u%gemmAhead == 0 {
				for d := 0; d < 4*width; d += 64 {
					s.PREFETCHT1(Mem{Base: ahead, Disp: u/gemmAhead*4*width + d})
				}
			}
			step(u, u*apart)
			if apart == 0 {
				s.ADDQ(acs, a)
			}
		}
		if apart > 0 {
			s.ADDQ(U32(4*gemmUnroll*apart), a)
		}
		s.ADDQ(t.field("pace"), ahead)
		s.ADDQ(U32(gemmUnroll*4*width), b)
		s.SUBQ(U32(gemmUnroll), k)
		s.JGE(LabelRef(top))
	}
	packed, strided, few, single, done := s.label("packed"), s.label("strided"), s.label("few"), s.label("single"), s.label("done")
	s.SUBQ(U32(gemmUnroll), k)
	s.JLT(LabelRef(few))
	s.CMPQ(acs, U8(4))
	s.JNE(LabelRef(packed))
	rounds("inrow", 1)
	s.JMP(LabelRef(few))
	s.Label(packed)
	if m > 1 {
		s.CMPQ(acs, U8(4*m))
		s.JNE(LabelRef(strided))
		rounds("bypackA", m)
		s.JMP(LabelRef(few))
		s.Label(strided)
	}
	rounds("strided", 0)
	s.Label(few)
	s.ADDQ(U32(gemmUnroll), k)
	s.JEQ(LabelRef(done))
	s.Label(single)
	step(0, 0)
	s.ADDQ(acs, a)
	s.ADDQ(U32(4*width), b)
	s.DECQ(k)
	s.JNE(LabelRef(single))
	s.Label(done)
	s.MOVQ(a, t.a)
	s.MOVQ(b, t.b)
	s.MOVQ(ahead, t.field("ahead"))

	// Masked stores are slow, very much so with AVX2, so a full tile does without.
	n := t.load("n")
	edge, next := s.label("edge"), s.label("next")
	s.CMPQ(n, U32(width))
	s.JNE(LabelRef(edge))
	t.store(acc, make([]reg.Register, gemmVecs))
	s.Label(next)
	t.next()
	s.Label(edge)
	var masks []reg.Register
	for v := 0; v < gemmVecs; v++ {
		masks = append(masks, s.tailMask(n, v))
	}
	t.store(acc, masks)
	s.JMP(LabelRef(next))
}

// rowAddresses returns the addresses of rows 0 to m-1 from base on, with a stride in bytes. All are
// relative to base, so that one addition moves them together. Index registers hold the odd
// multiples of the stride; the scale of an address gives the others.
func (s *simd) rowAddresses(base, stride reg.GPVirtual, m int) []Mem {
	odd := map[int]reg.GPVirtual{1: stride}
	for o := 3; o < m; o += 2 {
		odd[o] = s.GP64()
		s.LEAQ(Mem{Base: odd[o-2], Index: stride, Scale: 2}, odd[o])
	}
	rows := []Mem{{Base: base}}
	for i := 1; i < m; i++ {
		o, scale := i, uint8(1)
		for o%2 == 0 {
			o, scale = o/2, scale*2
		}
		rows = append(rows, Mem{Base: base, Index: odd[o], Scale: scale})
	}
	return rows
}

// gemmTile is a GEMM kernel that is being emitted.
type gemmTile struct {
	s     *simd
	m     int                   // rows of a tile
	field func(name string) Mem // of the kernel's argument
	tile  string                // label where a tile begins
	part  string                // label where a part of the sum begins
	a, b  Mem                   // where the next part starts
	k     Mem                   // products after this part
	acc   Mem                   // not 0: C holds a sum
}

// store adds the accumulators to C, or overwrites C if they are the first part of a sum and acc is
// 0. With the last part it adds bias and add. masks has one for each vector of a row.
func (t *gemmTile) store(acc [][]reg.VecVirtual, masks []reg.Register) {
	s := t.s
	// each calls f for all accumulators and their places in a matrix.
	each := func(base, ld string, f func(v reg.VecVirtual, mask reg.Register, m Mem)) {
		for i, row := range t.rows(base, ld) {
			for v, mask := range masks {
				f(acc[i][v], mask, row.Offset(4*s.lanes*v))
			}
		}
	}
	add := func(v reg.VecVirtual, mask reg.Register, m Mem) {
		if mask == nil {
			s.VADDPS(m, v, v)
			return
		}
		x := s.vec()
		s.loadTo(m, mask, x)
		s.VADDPS(x, v, v)
	}

	first, more, noBias := s.label("first"), s.label("more"), s.label("nobias")
	s.CMPQ(t.acc, I8(0))
	s.JEQ(LabelRef(first))
	each("c", "ldc", add)
	s.Label(first)
	s.CMPQ(t.k, I8(0))
	s.JNE(LabelRef(more))

	bias := t.load("bias")
	s.TESTQ(bias, bias)
	s.JEQ(LabelRef(noBias))
	for v, mask := range masks {
		bv := s.vec()
		s.loadTo(Mem{Base: bias, Disp: 4 * s.lanes * v}, mask, bv)
		for i := range acc {
			s.VADDPS(bv, acc[i][v], acc[i][v])
		}
	}
	s.Label(noBias)
	s.CMPQ(t.field("add"), I8(0))
	s.JEQ(LabelRef(more))
	each("add", "ldadd", add)

	s.Label(more)
	each("c", "ldc", func(v reg.VecVirtual, mask reg.Register, m Mem) { s.storeTo(v, mask, m) })
}

// load loads a field of the kernel's argument.
func (t *gemmTile) load(field string) reg.GPVirtual {
	r := t.s.GP64()
	t.s.MOVQ(t.field(field), r)
	return r
}

// rows returns the addresses of the rows of a tile of the matrix in field base. ld is the field with
// their distance in floats.
func (t *gemmTile) rows(base, ld string) []Mem {
	stride := t.load(ld)
	t.s.SHLQ(U8(2), stride)
	return t.s.rowAddresses(t.load(base), stride, t.m)
}

// next goes on with the next part of the sum or, after the last one, with the tile below. After the
// last tile it returns.
func (t *gemmTile) next() {
	s := t.s
	last := s.label("last")
	s.CMPQ(t.k, I8(0))
	s.JEQ(LabelRef(last))
	s.MOVQ(I32(1), t.acc)
	s.JMP(LabelRef(t.part))
	s.Label(last)
	end := s.label("end")
	s.DECQ(t.field("tiles"))
	s.JEQ(LabelRef(end))
	for _, p := range []struct {
		field, step string
		bytes       int // in one step
	}{{"a", "nexta", 4}, {"c", "ldc", 4 * t.m}, {"add", "ldadd", 4 * t.m}} {
		if p.field == "add" {
			s.CMPQ(t.field("add"), I8(0))
			s.JEQ(LabelRef(t.tile))
		}
		down := t.load(p.step)
		s.IMUL3Q(U32(p.bytes), down, down)
		s.ADDQ(down, t.field(p.field))
	}
	s.JMP(LabelRef(t.tile))
	s.Label(end)
	s.ret()
}
