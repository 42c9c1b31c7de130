package tensor

import (
	"fmt"
	"math"

	"github.com/gomae/gomae/asm"
)

// Attention is scaled dot-product self-attention (Vaswani et al.,
// https://arxiv.org/abs/1706.03762) of B sequences of N tokens. qkv [B, N, 3D]
// holds queries, keys and values side by side, each of heads·(D/heads)
// channels; the scores of a head are scaled by (D/heads)^−½. It returns
// [B, N, D].
func Attention(t *Tape, qkv *Tensor, heads int) *Tensor {
	d := qkv.Cols() / 3
	mustBe("Attention columns of qkv", qkv.Cols(), 3*d)
	a := newAttention(t, qkv, qkv, heads, d, 3*d, d, 2*d, 3*d)
	return a.forward("attention", qkv)
}

// CrossAttention is attention of the queries q [B, N, D] to keys and values kv
// [B, M, 2D], keys first. It returns [B, N, D].
func CrossAttention(t *Tape, q, kv *Tensor, heads int) *Tensor {
	d := q.Cols()
	mustBe("CrossAttention columns of kv", kv.Cols(), 2*d)
	mustBe("CrossAttention sequences of kv", kv.Shape[0], q.Shape[0])
	a := newAttention(t, q, kv, heads, d, d, 0, d, 2*d)
	return a.forward("cross-attention", q, kv)
}

// attention is one call. Queries are read from q at row stride ldq; keys and
// values from kv at row stride ldkv, starting at columns k0 and v0.
type attention struct {
	t               *Tape
	q, kv, out      *Tensor
	batch, heads    int
	n, m            int // queries and keys of a sequence
	d, dh           int // channels of all heads and of one
	ldq, ldkv       int
	k0, v0          int
	scale           float32
	shift           []float32 // [batch, heads, n] largest scaled score, for the backward pass
	dq, dkv         []float32 // gradients
	freshQ, freshKV bool
}

// attentionRows bounds how many queries are taken at a time, and with it the
// memory of a worker: two blocks of that many rows of scores.
const attentionRows = 224

func newAttention(t *Tape, q, kv *Tensor, heads, d, ldq, k0, v0, ldkv int) *attention {
	if heads < 1 {
		panic(fmt.Sprintf("tensor: Attention heads, got %d, want at least 1", heads))
	}
	mustBe("Attention channels modulo heads", d%heads, 0)
	mustBe("Attention axes", len(q.Shape), 3)
	mustBe("Attention axes", len(kv.Shape), 3)
	return &attention{
		t: t, q: q, kv: kv, out: t.New(q.Shape[0], q.Shape[1], d),
		batch: q.Shape[0], heads: heads, n: q.Shape[1], m: kv.Shape[1], d: d, dh: d / heads,
		ldq: ldq, ldkv: ldkv, k0: k0, v0: v0,
		scale: float32(1 / math.Sqrt(float64(d/heads))),
	}
}

// head finds the matrices of one head of one sequence in the data or the
// gradients of q and kv.
func (a *attention) head(i int, q, kv []float32) (query, key, value matrix) {
	b, h := i/a.heads, i%a.heads*a.dh
	query = matrix{q[b*a.n*a.ldq+h:], a.ldq, 1}
	row := kv[b*a.m*a.ldkv+h:]
	return query, matrix{row[a.k0:], a.ldkv, 1}, matrix{row[a.v0:], a.ldkv, 1}
}

// output is the head's part of out's data or gradient.
func (a *attention) output(i int, out []float32) matrix {
	return matrix{out[i/a.heads*a.n*a.d+i%a.heads*a.dh:], a.d, 1}
}

func (a *attention) forward(op string, inputs ...*Tensor) *Tensor {
	t := a.t
	if t.Recording() {
		a.shift = t.Values(a.batch * a.heads * a.n)
	}
	if a.n > 0 && a.m > 0 {
		t.Parallel(a.batch*a.heads, a.forwardHead)
	} else {
		clear(a.out.Data)
	}
	if t.Record(op, nil, a.out, inputs...) {
		t.Back(a.backward)
	}
	return a.out
}

// pack packs B, [k,n], at the front of *scratch and moves *scratch on.
func pack(scratch *[]float32, b matrix, k, n int) []float32 {
	length := asm.PackedLen(k, n)
	p := (*scratch)[:length]
	*scratch = (*scratch)[length:]
	asm.PackB(p, b.data, k, n, b.rs, b.cs)
	return p
}

// forwardHead computes, for 11 to 14 queries at a time so that the scores stay
// in the first-level cache:
//
//	s = q·kᵀ        p = exp(scale·s − max)        out = p·v / sum(p)
func (a *attention) forwardHead(w, i int) {
	q, k, v := a.head(i, a.q.Data, a.kv.Data)
	out := a.output(i, a.out.Data)
	tile := asm.TileRows()
	lds := scoreStride(a.m)
	scratch := a.t.Scratch(w, asm.PackedLen(a.dh, a.m)+asm.PackedLen(a.m, a.dh)+tile*lds)
	keys := pack(&scratch, k.transposed(), a.dh, a.m)
	values := pack(&scratch, v, a.m, a.dh)
	s := scratch[:tile*lds]
	// No tile is higher.
	var ownShift, sums [16]float32
	for tiles, b := blocks(a.n, tile), 0; b < tiles; b++ {
		if a.t.stopping() { // one head of a long sequence takes seconds
			return
		}
		from, to := block(a.n, tiles, b)
		shift := ownShift[:]
		if a.shift != nil {
			shift = a.shift[i*a.n+from : i*a.n+to]
		}
		gemmSmall(s, lds, q.at(from, 0), keys, to-from, a.m, a.dh, false)
		asm.Softmax(s, lds, to-from, a.m, a.scale, shift, sums[:])
		gemmSmall(out.at(from, 0).data, a.d, matrix{s, lds, 1}, values, to-from, a.dh, a.m, false)
		asm.DivRows(out.at(from, 0).data, a.d, to-from, a.dh, sums[:])
	}
}

// scoreStride pads a row of m scores to whole cache lines, and away from
// multiples of a page, at which rows would compete for one place in the cache.
func scoreStride(m int) int {
	ld := blocks(m, cacheLine) * cacheLine
	if ld%1024 == 0 {
		ld += cacheLine
	}
	return ld
}

func (a *attention) backward() {
	t := a.t
	a.dq, a.freshQ = t.Grad(a.q)
	if a.kv == a.q {
		a.dkv, a.freshKV = a.dq, a.freshQ
	} else {
		a.dkv, a.freshKV = t.Grad(a.kv)
	}
	if a.n == 0 || a.m == 0 {
		if a.freshQ {
			clear(a.dq)
		}
		if a.freshKV {
			clear(a.dkv)
		}
		return
	}
	t.Parallel(a.batch*a.heads, a.backwardHead)
}

// backwardHead computes p anew, a block of queries at a time:
//
//	p = exp(scale·q·kᵀ − max) / sum              dv += pᵀ·do
//	ds = scale·p∘(do·vᵀ − rowsum(p∘(do·vᵀ)))     dq += ds·k       dk += dsᵀ·q
//
// The forward pass keeps the maximum and not, as others do, the log-sum-exp:
// rounding that one number would scale a whole row of p, which then no longer
// sums to 1, and ds would no longer sum to 0.
func (a *attention) backwardHead(w, i int) {
	q, k, v := a.head(i, a.q.Data, a.kv.Data)
	do := a.output(i, a.out.Grad)
	lds := scoreStride(a.m)
	parts := blocks(a.n, attentionRows)
	most := blocks(a.n, parts)
	scratch := a.t.Scratch(w, 2*asm.PackedLen(a.dh, a.m)+asm.PackedLen(a.m, a.dh)+2*asm.PackedLen(most, a.dh)+2*most*lds)
	keysT := pack(&scratch, k.transposed(), a.dh, a.m)
	valuesT := pack(&scratch, v.transposed(), a.dh, a.m)
	keys := pack(&scratch, k, a.m, a.dh)
	var dq, dk, dv matrix
	if a.dq != nil {
		dq, _, _ = a.head(i, a.dq, a.kv.Data)
	}
	if a.dkv != nil {
		_, dk, dv = a.head(i, a.q.Data, a.dkv)
	}
	for part := range parts {
		from, to := block(a.n, parts, part)
		rows := to - from
		s := scratch
		queries := pack(&s, q.at(from, 0), rows, a.dh)
		outs := pack(&s, do.at(from, 0), rows, a.dh)
		p, ds := s[:rows*lds], s[most*lds:][:rows*lds]
		gemmSmall(p, lds, q.at(from, 0), keysT, rows, a.m, a.dh, false)
		gemmSmall(ds, lds, do.at(from, 0), valuesT, rows, a.m, a.dh, false)
		asm.SoftmaxBackward(p, ds, lds, rows, a.m, a.scale, a.shift[i*a.n+from:])
		if a.dq != nil {
			gemmSmall(dq.at(from, 0).data, a.ldq, matrix{ds, lds, 1}, keys, rows, a.dh, a.m, !a.freshQ)
		}
		if a.dkv != nil {
			gemmSmall(dk.data, a.ldkv, matrix{ds, 1, lds}, queries, a.m, a.dh, rows, !a.freshKV || part > 0)
			gemmSmall(dv.data, a.ldkv, matrix{p, 1, lds}, outs, a.m, a.dh, rows, !a.freshKV || part > 0)
		}
	}
}
