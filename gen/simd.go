package gen

import (
	"fmt"
	"go/types"
	"math"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/gotypes"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// simd is a build context for one instruction set. Its methods hide where AVX2 and AVX-512 differ:
// register width, constants, masks.
type simd struct {
	*build.Context
	avx512 bool
	lanes  int // floats in a vector register
	labels int // labels made in the current function
	tables map[string]Mem
	asm    *types.Package // for the structs that kernels are given
}

// newSIMDs returns a context for each instruction set, writing to one file.
func newSIMDs(ctx *build.Context, asm *types.Package) []*simd {
	tables := map[string]Mem{}
	return []*simd{
		{Context: ctx, lanes: 8, tables: tables, asm: asm},
		{Context: ctx, lanes: 16, tables: tables, asm: asm, avx512: true},
	}
}

// function starts a kernel, whose name is name and the instruction set. The lines of doc state the
// loop that it computes.
func (s *simd) function(name, signature string, doc ...string) {
	name += s.suffix()
	s.labels = 0
	s.Function(name)
	s.Attributes(attr.NOSPLIT)
	sig, err := gotypes.ParseSignatureInPackage(s.asm, "func"+signature)
	if err != nil {
		panic(fmt.Sprintf("gen: signature of %s: %v", name, err))
	}
	s.Signature(sig)
	s.Doc(append([]string{name + " computes, for pointers to the first elements:", ""}, indent(doc)...)...)
	s.Pragma("noescape")
}

func (s *simd) suffix() string {
	if s.avx512 {
		return "AVX512"
	}
	return "AVX2"
}

func indent(lines []string) []string {
	var out []string
	for _, l := range lines {
		out = append(out, "\t"+l)
	}
	return out
}

// ret returns from the kernel. It first clears the upper halves of the registers, which would slow
// down the SSE code of the Go compiler.
func (s *simd) ret() {
	s.VZEROUPPER()
	s.RET()
}

// label returns a label that is new in the function.
func (s *simd) label(name string) string {
	s.labels++
	return fmt.Sprintf("%s%d", name, s.labels)
}

// gp loads an integer or pointer parameter.
func (s *simd) gp(param string) reg.GPVirtual {
	r := s.GP64()
	s.Load(s.Param(param), r)
	return r
}

// vec returns a new vector register.
func (s *simd) vec() reg.VecVirtual {
	if s.avx512 {
		return s.ZMM()
	}
	return s.YMM()
}

// zero returns a new vector of zeros.
func (s *simd) zero() reg.VecVirtual {
	v := s.vec()
	s.clear(v)
	return v
}

func (s *simd) clear(v reg.VecVirtual) {
	if s.avx512 {
		s.VPXORD(v, v, v)
	} else {
		s.VXORPS(v, v, v)
	}
}

// zeros returns n vectors of zeros.
func (s *simd) zeros(n int) []reg.VecVirtual {
	var v []reg.VecVirtual
	for i := 0; i < n; i++ {
		v = append(v, s.zero())
	}
	return v
}

// broadcast loads a float32 parameter into all lanes.
func (s *simd) broadcast(param string) reg.VecVirtual {
	v := s.vec()
	s.VBROADCASTSS(s.param(param), v)
	return v
}

// param returns the address of a parameter.
func (s *simd) param(name string) Mem {
	b, err := s.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// fields loads a parameter that points to a struct. The function that it returns gives the address
// of a field.
func (s *simd) fields(param string) func(name string) Mem {
	pointed := s.Dereference(s.Param(param))
	return func(name string) Mem {
		b, err := pointed.Field(name).Resolve()
		if err != nil {
			panic(fmt.Sprintf("gen: field %s of %s: %v", name, param, err))
		}
		return b.Addr
	}
}

// result stores a float32, or a float64, as a result of the kernel. It takes the instructions of AVX:
// avo's Store and Load take those of SSE, which wait for whatever the upper halves of registers hold,
// and so for the kernel before. With them a row of layer norm took six times as long.
func (s *simd) result(v reg.Register, to gotypes.Component) {
	b, err := to.Resolve()
	if err != nil {
		panic(err)
	}
	if gotypes.Sizes.Sizeof(b.Type) == 8 {
		s.VMOVSD(v, b.Addr)
	} else {
		s.VMOVSS(v, b.Addr)
	}
}

// bits returns the address of 32 bytes that repeat the four bytes of b.
func (s *simd) bits(b uint32) Mem {
	words := make([]uint32, 8)
	for i := range words {
		words[i] = b
	}
	return s.table(fmt.Sprintf("const_%08x", b), words)
}

// table returns the address of read-only data, written once per file.
func (s *simd) table(name string, words []uint32) Mem {
	if m, ok := s.tables[name]; ok {
		return m
	}
	m := s.StaticGlobal(name)
	s.DataAttributes(attr.RODATA | attr.NOPTR)
	for i, w := range words {
		s.AddDatum(4*i, U32(w))
	}
	s.tables[name] = m
	return m
}

// constant returns f in all lanes as the first operand of an instruction: in a register with
// AVX-512, which has 32 of them, and in memory with AVX2, which has 16. Call it before a loop.
func (s *simd) constant(f float64) Op { return s.constantBits(math.Float32bits(float32(f))) }

func (s *simd) constantBits(b uint32) Op {
	m := s.bits(b)
	if !s.avx512 {
		return m
	}
	v := s.vec()
	s.VBROADCASTSS(m, v)
	return v
}

// constantReg returns f in all lanes of a register.
func (s *simd) constantReg(f float64) reg.VecVirtual {
	v := s.vec()
	s.VBROADCASTSS(s.bits(math.Float32bits(float32(f))), v)
	return v
}

// tailMask returns the mask of the first n floats of a few vectors, for vector number part of them.
// n is at most 16 with AVX2 and 64 with AVX-512.
func (s *simd) tailMask(n reg.GPVirtual, part int) reg.Register {
	if s.avx512 {
		all, k := s.GP64(), s.K()
		s.MOVQ(I32(-1), all)
		s.BZHIQ(n, all, all)
		if part > 0 {
			s.SHRQ(U8(16*part), all)
		}
		s.KMOVW(all.As32(), k)
		return k
	}
	table, off, m := s.GP64(), s.GP64(), s.YMM()
	s.LEAQ(s.maskTable(), table)
	s.MOVQ(I32(16), off)
	s.SUBQ(n, off)
	s.VMOVUPS(Mem{Base: table, Index: off, Scale: 4, Disp: 32 * part}, m)
	return m
}

// maskTable returns the address of 16 lanes of ones followed by 16 lanes of zeros.
func (s *simd) maskTable() Mem {
	words := make([]uint32, 32)
	for i := range words[:16] {
		words[i] = math.MaxUint32
	}
	return s.table("mask_table", words)
}

// loadTo loads a vector. Lanes whose bit of mask is 0 are not read and become 0; a nil mask has all
// bits set.
func (s *simd) loadTo(m Mem, mask reg.Register, v reg.VecVirtual) {
	switch {
	case mask == nil:
		s.VMOVUPS(m, v)
	case s.avx512:
		s.VMOVUPS_Z(m, mask, v)
	default:
		s.VMASKMOVPS(m, mask, v)
	}
}

// storeTo stores a vector. Lanes whose bit of mask is 0 are not written.
func (s *simd) storeTo(v reg.Register, mask reg.Register, m Mem) {
	switch {
	case mask == nil:
		s.VMOVUPS(v, m)
	case s.avx512:
		s.VMOVUPS(v, mask, m)
	default:
		s.VMASKMOVPS(v, mask, m)
	}
}

// at is the place of a vector in a loop over slices.
type at struct {
	s    *simd
	idx  reg.GPVirtual // elements before the current round of the loop
	disp int           // bytes from there to the vector
	mask reg.Register  // nil unless this is the tail
}

// mem returns the address of this place in the slice at p.
func (a at) mem(p reg.GPVirtual) Mem {
	return Mem{Base: p, Index: a.idx, Scale: 4, Disp: a.disp}
}

func (a at) load(p reg.GPVirtual) reg.VecVirtual {
	v := a.s.vec()
	a.s.loadTo(a.mem(p), a.mask, v)
	return v
}

func (a at) store(v reg.Register, p reg.GPVirtual) { a.s.storeTo(v, a.mask, a.mem(p)) }

// zeroTail clears the lanes of v past the end of the slice.
func (a at) zeroTail(v reg.VecVirtual) {
	switch {
	case a.mask == nil:
	case a.s.avx512:
		a.s.VMOVAPS_Z(v, a.mask, v)
	default:
		a.s.VANDPS(v, a.mask, v)
	}
}

// loop emits a loop over n elements: rounds of unroll vectors, then of one vector, then a masked
// tail. body emits a round for vectors at the places that it is given. It is called for each of the
// three kinds of round. n is overwritten.
func (s *simd) loop(n reg.GPVirtual, unroll int, body func(round []at)) {
	idx := s.GP64()
	s.XORQ(idx, idx)
	for _, u := range []int{unroll, 1} {
		top, after := s.label("loop"), s.label("after")
		s.SUBQ(U32(u*s.lanes), n)
		s.JLT(LabelRef(after))
		s.Label(top)
		var round []at
		for i := 0; i < u; i++ {
			round = append(round, at{s: s, idx: idx, disp: 4 * s.lanes * i})
		}
		body(round)
		s.ADDQ(U32(u*s.lanes), idx)
		s.SUBQ(U32(u*s.lanes), n)
		s.JGE(LabelRef(top))
		s.Label(after)
		s.ADDQ(U32(u*s.lanes), n)
		if unroll == 1 {
			break
		}
	}
	done := s.label("done")
	s.TESTQ(n, n)
	s.JEQ(LabelRef(done))
	body([]at{{s: s, idx: idx, mask: s.tailMask(n, 0)}})
	s.Label(done)
}

// combine reduces vectors to one, which is the first of them. It goes pairwise, so that rounding
// errors do not accumulate in one vector.
func (s *simd) combine(v []reg.VecVirtual, op func(...Op)) reg.VecVirtual {
	for n := len(v); n > 1; n = (n + 1) / 2 {
		for i := 0; i < n/2; i++ {
			op(v[n-1-i], v[i], v[i])
		}
	}
	return v[0]
}

// total adds all lanes of the vectors and returns the sum as a float64 scalar.
func (s *simd) total(v []reg.VecVirtual) reg.VecVirtual {
	return s.totalF64(s.widen(s.combine(v, s.VADDPS)))
}

// widen converts a vector to two vectors of float64.
func (s *simd) widen(v reg.VecVirtual) []reg.VecVirtual {
	lo, hi := s.vec(), s.vec()
	if s.avx512 {
		upper := s.YMM()
		s.VEXTRACTF32X8(U8(1), v, upper)
		s.VCVTPS2PD(v.AsY(), lo)
		s.VCVTPS2PD(upper, hi)
	} else {
		upper := s.XMM()
		s.VEXTRACTF128(U8(1), v, upper)
		s.VCVTPS2PD(v.AsX(), lo)
		s.VCVTPS2PD(upper, hi)
	}
	return []reg.VecVirtual{lo, hi}
}

// addF64 adds v to sum, which is two vectors of float64.
func (s *simd) addF64(v reg.VecVirtual, sum []reg.VecVirtual) {
	for i, half := range s.widen(v) {
		s.VADDPD(half, sum[i], sum[i])
	}
}

// narrow converts two vectors of float64 to one of float32.
func (s *simd) narrow(v []reg.VecVirtual) reg.VecVirtual {
	if s.avx512 {
		lo, hi, both := s.YMM(), s.YMM(), s.ZMM()
		s.VCVTPD2PS(v[0], lo)
		s.VCVTPD2PS(v[1], hi)
		s.VINSERTF32X8(U8(1), hi, lo.AsZ(), both)
		return both
	}
	lo, hi, both := s.XMM(), s.XMM(), s.YMM()
	s.VCVTPD2PSY(v[0], lo)
	s.VCVTPD2PSY(v[1], hi)
	s.VINSERTF128(U8(1), hi, lo.AsY(), both)
	return both
}

// totalF64 adds all lanes of vectors of float64 and returns the sum as a scalar.
func (s *simd) totalF64(v []reg.VecVirtual) reg.VecVirtual {
	sum := s.combine(v, s.VADDPD)
	x, swapped := s.XMM(), s.XMM()
	if y := s.YMM(); s.avx512 {
		s.VEXTRACTF64X4(U8(1), sum, y)
		s.VADDPD(sum.AsY(), y, y)
		s.VEXTRACTF64X2(U8(1), y, x)
		s.VADDPD(y.AsX(), x, x)
	} else {
		s.VEXTRACTF128(U8(1), sum, x)
		s.VADDPD(sum.AsX(), x, x)
	}
	s.VPERMILPD(U8(1), x, swapped)
	s.VADDSD(swapped, x, x)
	return x
}

// copyOf returns a new register with the value of v.
func (s *simd) copyOf(v reg.VecVirtual) reg.VecVirtual {
	c := s.vec()
	s.VMOVAPS(v, c)
	return c
}
