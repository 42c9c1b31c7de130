package tensor

import (
	"fmt"
	"math"

	"github.com/gomae/gomae/asm"
)

// Attention is scaled dot-product self-attention (Vaswani et al., https://arxiv.org/abs/1706.03762)
// of B sequences of N tokens. qkv [B, N, 3D] holds queries, keys and values side by side, each of
// heads·(D/heads) channels; the scores of a head are scaled by (D/heads)^−½. It returns [B, N, D].
func Attention(t *Tape, qkv *Tensor, heads int) *Tensor {
	d := qkv.Cols() / 3
	mustBe("Attention columns of qkv", qkv.Cols(), 3*d)
	a := newAttention(t, qkv, qkv, heads, d)
	a.k0, a.v0 = d, 2*d
	return a.forward("attention", qkv)
}

// CrossAttention is attention of the queries q [B, N, D] to keys and values kv [B, M, 2D], keys
// first. It returns [B, N, D].
func CrossAttention(t *Tape, q, kv *Tensor, heads int) *Tensor {
	d := q.Cols()
	mustBe("CrossAttention columns of kv", kv.Cols(), 2*d)
	mustBe("CrossAttention sequences of kv", kv.Shape[0], q.Shape[0])
	a := newAttention(t, q, kv, heads, d)
	a.v0 = d
	return a.forward("cross-attention", q, kv)
}

// attention is one call. Queries are the first columns of q; keys and values are columns of kv from
// k0 and v0 on.
type attention struct {
	t            *Tape
	q, kv, out   *Tensor
	k0, v0       int
	batch, heads int
	n, m         int // queries and keys of a sequence
	d, dh        int // channels of all heads and of one
	scale        float32
	shift        []float32 // [batch, heads, n] largest scaled score, for the backward pass

	dq, dkv         []float32 // gradients
	freshQ, freshKV bool
}

func newAttention(t *Tape, q, kv *Tensor, heads, d int) *attention {
	if heads < 1 {
		panic(fmt.Sprintf("tensor: Attention heads, got %d, want at least 1", heads))
	}
	mustBe("Attention channels modulo heads", d%heads, 0)
	mustBe("Attention axes", len(q.Shape), 3)
	mustBe("Attention axes", len(kv.Shape), 3)
	return &attention{
		t: t, q: q, kv: kv, out: t.New(q.Shape[0], q.Shape[1], d),
		batch: q.Shape[0], heads: heads, n: q.Shape[1], m: kv.Shape[1], d: d, dh: d / heads,
		scale: float32(1 / math.Sqrt(float64(d/heads))),
	}
}

// head is the matrix of one head of one sequence in data like x's, [B, rows, ...]: its columns are
// those of the head from column first on.
func (a *attention) head(i int, x *Tensor, data []float32, first int) matrix {
	rows, cols := x.Shape[1], x.Cols()
	all := rowMajor(data[i/a.heads*rows*cols:], rows, cols)
	from := first + i%a.heads*a.dh
	return all.part(0, rows, from, from+a.dh)
}

func (a *attention) forward(op string, inputs ...*Tensor) *Tensor {
	t := a.t
	if t.recording {
		a.shift = t.Values(a.batch * a.heads * a.n)
	}
	if a.n > 0 && a.m > 0 {
		t.Parallel(a.batch*a.heads, a.forwardHead)
	} else {
		clear(a.out.Data)
	}
	if t.Record(op, a.out, inputs...) {
		t.Back(a.backward)
	}
	return a.out
}

// forwardHead computes, for a panel of queries at a time so that the scores stay in the first-level
// cache:
//
//	sᵀ = k·qᵀ        p = exp(scale·s − max)        out = p·v / sum(p)
//
// The scores are transposed, a column for each query: then the lanes of a vector belong to
// different queries, and neither maximum nor sum has to be taken across them.
func (a *attention) forwardHead(worker, i int) {
	q, k, v := a.head(i, a.q, a.q.Data, 0), a.head(i, a.kv, a.kv.Data, a.k0), a.head(i, a.kv, a.kv.Data, a.v0)
	out := a.head(i, a.out, a.out.Data, 0)
	nr := asm.PanelCols()
	lds := scoreStride(min(a.n, nr))
	scratch := a.t.Scratch(worker, asm.PackedLen(a.dh, a.n)+asm.PackedLen(a.m, a.dh)+a.m*lds+2*nr)
	queries := pack(&scratch, q.transposed())
	values := pack(&scratch, v)
	s, shift, sums := scratch[:a.m*lds], scratch[a.m*lds:][:nr], scratch[a.m*lds+nr:]
	for from := 0; from < a.n; from += nr {
		if a.t.stopping() { // one head of a long sequence takes seconds
			return
		}
		to := min(from+nr, a.n)
		if a.shift != nil {
			shift = a.shift[i*a.n+from : i*a.n+to]
		}
		scores, rows := matrix{data: s, rows: a.m, cols: to - from, rs: lds, cs: 1}, out.part(from, to, 0, a.dh)
		gemmSmall(scores, k, queries[from*a.dh:], false)
		asm.Softmax(s, lds, a.m, to-from, a.scale, shift, sums)
		gemmSmall(rows, scores.transposed(), values, false)
		asm.DivRows(rows.data, rows.rs, to-from, a.dh, sums)
	}
}

// pack packs a right factor at the front of *scratch and moves *scratch on.
func pack(scratch *[]float32, m matrix) []float32 {
	length := asm.PackedLen(m.rows, m.cols)
	p := (*scratch)[:length]
	*scratch = (*scratch)[length:]
	asm.PackB(p, m.data, m.rows, m.cols, m.rs, m.cs)
	return p
}

// scoreStride pads a row of n scores to whole cache lines, and away from multiples of a page, at
// which rows would compete for one place in the cache.
func scoreStride(n int) int {
	ld := ceilDiv(n, cacheLine) * cacheLine
	if ld%1024 == 0 {
		ld += cacheLine
	}
	return ld
}

func (a *attention) backward() {
	t := a.t
	if a.n == 0 || a.m == 0 {
		t.Grad(a.q) // zeros, if nothing has been added
		t.Grad(a.kv)
		return
	}
	a.dq, a.freshQ = t.rawGrad(a.q)
	if a.kv == a.q {
		a.dkv, a.freshKV = a.dq, a.freshQ
	} else {
		a.dkv, a.freshKV = t.rawGrad(a.kv)
	}
	t.Parallel(a.batch*a.heads, a.backwardHead)
}

// attentionQueries bounds how many queries the backward pass takes at a time, and with it the
// memory of a worker: two blocks of that many columns of scores.
const attentionQueries = 224

// backwardHead computes p anew, a block of queries at a time and transposed as in the forward pass:
//
//	p = exp(scale·q·kᵀ − max) / sum              dv += pᵀ·do
//	ds = scale·p∘(do·vᵀ − rowsum(p∘(do·vᵀ)))     dq += ds·k       dk += dsᵀ·q
//
// The forward pass keeps the maximum and not, as others do, the log-sum-exp: rounding that one
// number would scale a whole row of p, which then no longer sums to 1, and ds would no longer sum
// to 0.
func (a *attention) backwardHead(worker, i int) {
	q, k, v := a.head(i, a.q, a.q.Data, 0), a.head(i, a.kv, a.kv.Data, a.k0), a.head(i, a.kv, a.kv.Data, a.v0)
	do := a.head(i, a.out, a.out.Grad, 0)
	var dq, dk, dv matrix
	if a.dq != nil {
		dq = a.head(i, a.q, a.dq, 0)
	}
	if a.dkv != nil {
		dk, dv = a.head(i, a.kv, a.dkv, a.k0), a.head(i, a.kv, a.dkv, a.v0)
	}
	parts := ceilDiv(a.n, attentionQueries)
	longest := ceilDiv(a.n, parts)
	lds := scoreStride(longest)
	scratch := a.t.Scratch(worker, asm.PackedLen(a.m, a.dh)+2*asm.PackedLen(a.dh, longest)+2*asm.PackedLen(longest, a.dh)+2*a.m*lds)
	keys := pack(&scratch, k)
	for part := range parts {
		from, to := split(a.n, parts, part)
		n := to - from
		s := scratch
		query, grad := q.part(from, to, 0, a.dh), do.part(from, to, 0, a.dh)
		queriesT, gradsT := pack(&s, query.transposed()), pack(&s, grad.transposed())
		queries, grads := pack(&s, query), pack(&s, grad)
		p := matrix{data: s[:a.m*lds], rows: a.m, cols: n, rs: lds, cs: 1}
		ds := p
		ds.data = s[a.m*lds:][:a.m*lds]
		gemmSmall(p, k, queriesT, false)
		gemmSmall(ds, v, gradsT, false)
		asm.SoftmaxBackward(p.data, ds.data, lds, a.m, n, a.scale, a.shift[i*a.n+from:])
		if a.dq != nil {
			gemmSmall(dq.part(from, to, 0, a.dh), ds.transposed(), keys, !a.freshQ)
		}
		if a.dkv != nil {
			gemmSmall(dk, ds, queries, !a.freshKV || part > 0)
			gemmSmall(dv, p, grads, !a.freshKV || part > 0)
		}
	}
}
