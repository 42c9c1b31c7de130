package main

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
	for vecs := 1; vecs <= 2; vecs++ {
		for m := 1; m <= rows; m++ {
			s.gemm(m, vecs)
		}
	}
}

// gemm emits the tile of m rows by vecs vectors. The accumulators stay in
// registers for all of k; each step loads one row of the B panel and
// broadcasts m values of A. Broadcasting into a register first beats the
// broadcasting operand of the multiply-add.
func (s *simd) gemm(m, vecs int) {
	width := vecs * s.lanes
	s.function(fmt.Sprintf("gemm%dx%d", m, width),
		"(c *float32, ldc int, a *float32, ars, acs int, b *float32, n, k int, bias, add *float32, ldadd int)",
		fmt.Sprintf("for i < %d, j < n <= %d {", m, width),
		"	c[i*ldc+j] = sum over p < k of a[i*ars+p*acs]*b[p*"+fmt.Sprint(width)+"+j]",
		"	c[i*ldc+j] += bias[j]         // unless bias is nil",
		"	c[i*ldc+j] += add[i*ldadd+j]  // unless add is nil",
		"}")

	// C is not touched before the end: fetch it meanwhile.
	c, ldc := s.gp("c"), s.gp("ldc")
	s.SHLQ(U8(2), ldc)
	for i := 0; i < m; i++ {
		for d := 0; d < 4*width; d += 64 {
			s.PREFETCHT0(Mem{Base: c, Disp: d})
		}
		if i < m-1 {
			s.ADDQ(ldc, c)
		}
	}

	a, ars, acs, b, k := s.gp("a"), s.gp("ars"), s.gp("acs"), s.gp("b"), s.gp("k")
	s.SHLQ(U8(2), ars)
	s.SHLQ(U8(2), acs)
	row := s.rowAddresses(a, ars, m)
	panel := s.GP64() // bytes of this panel: the distance to the next
	s.IMUL3Q(U32(4*width), k, panel)

	acc := make([][]reg.VecVirtual, m)
	for i := range acc {
		acc[i] = s.zeros(vecs)
	}
	done, top := s.label("done"), s.label("loop")
	s.TESTQ(k, k)
	s.JEQ(LabelRef(done))
	s.Label(top)
	var bv []reg.VecVirtual
	for v := 0; v < vecs; v++ {
		bv = append(bv, s.vec())
		s.VMOVUPS(Mem{Base: b, Disp: 4 * s.lanes * v}, bv[v])
	}
	for d := 0; d < 4*width; d += 64 {
		s.PREFETCHT1(Mem{Base: b, Index: panel, Scale: 1, Disp: d})
	}
	for i := 0; i < m; i++ {
		av := s.vec()
		s.VBROADCASTSS(row[i], av)
		for v := 0; v < vecs; v++ {
			s.VFMADD231PS(bv[v], av, acc[i][v])
		}
	}
	s.ADDQ(acs, a)
	s.ADDQ(U32(4*width), b)
	s.DECQ(k)
	s.JNE(LabelRef(top))
	s.Label(done)

	// Masked stores are slow, with AVX2 very, so a full tile does without.
	n := s.gp("n")
	edge := s.label("edge")
	s.CMPQ(n, U32(width))
	s.JNE(LabelRef(edge))
	s.gemmEpilogue(acc, make([]reg.Register, vecs))
	s.Label(edge)
	var masks []reg.Register
	for v := 0; v < vecs; v++ {
		masks = append(masks, s.tailMask(n, v))
	}
	s.gemmEpilogue(acc, masks)
}

// rowAddresses returns the addresses of rows 0 to m-1 at base with a stride in
// bytes, all relative to base so that one addition moves them together. Index
// registers hold odd multiples of the stride; the scale gives the others.
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

// gemmEpilogue adds bias and add to the accumulators, stores them and returns.
func (s *simd) gemmEpilogue(acc [][]reg.VecVirtual, masks []reg.Register) {
	place := func(base reg.GPVirtual, v int) Mem { return Mem{Base: base, Disp: 4 * s.lanes * v} }

	noBias := s.label("nobias")
	bias := s.gp("bias")
	s.TESTQ(bias, bias)
	s.JEQ(LabelRef(noBias))
	for v, mask := range masks {
		bv := s.vec()
		s.loadTo(place(bias, v), mask, bv)
		for i := range acc {
			s.VADDPS(bv, acc[i][v], acc[i][v])
		}
	}
	s.Label(noBias)

	noAdd := s.label("noadd")
	add, ldadd := s.gp("add"), s.gp("ldadd")
	s.TESTQ(add, add)
	s.JEQ(LabelRef(noAdd))
	s.SHLQ(U8(2), ldadd)
	for i := range acc {
		for v, mask := range masks {
			av := s.vec()
			s.loadTo(place(add, v), mask, av)
			s.VADDPS(av, acc[i][v], acc[i][v])
		}
		if i < len(acc)-1 {
			s.ADDQ(ldadd, add)
		}
	}
	s.Label(noAdd)

	c, ldc := s.gp("c"), s.gp("ldc")
	s.SHLQ(U8(2), ldc)
	for i := range acc {
		for v, mask := range masks {
			s.storeTo(acc[i][v], mask, place(c, v))
		}
		if i < len(acc)-1 {
			s.ADDQ(ldc, c)
		}
	}
	s.ret()
}
