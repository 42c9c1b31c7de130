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

// attentionQueries bounds how many queries the backward pass takes at a time,
// and with it the memory of a worker: two blocks of that many columns of scores.
const attentionQueries = 224

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

// pack packs B, [k,n], at the front of *scratch and moves *scratch on.
func pack(scratch *[]float32, b matrix, k, n int) []float32 {
	length := asm.PackedLen(k, n)
	p := (*scratch)[:length]
	*scratch = (*scratch)[length:]
	asm.PackB(p, b.data, k, n, b.rs, b.cs)
	return p
}

// forwardHead computes, for a panel of queries at a time so that the scores stay
// in the first-level cache:
//
//	sᵀ = k·qᵀ        p = exp(scale·s − max)        out = p·v / sum(p)
//
// The scores are transposed, a column for each query: then the lanes of a
// vector belong to different queries, and neither maximum nor sum has to be
// taken across them.
func (a *attention) forwardHead(w, i int) {
	q, k, v := a.head(i, a.q.Data, a.kv.Data)
	out := a.output(i, a.out.Data)
	nr := asm.PanelCols()
	lds := scoreStride(min(a.n, nr))
	scratch := a.t.Scratch(w, asm.PackedLen(a.dh, a.n)+asm.PackedLen(a.m, a.dh)+a.m*lds+2*nr)
	queries := pack(&scratch, q.transposed(), a.dh, a.n)
	values := pack(&scratch, v, a.m, a.dh)
	s, shift, sums := scratch[:a.m*lds], scratch[a.m*lds:][:nr], scratch[a.m*lds+nr:]
	for from := 0; from < a.n; from += nr {
		if a.t.stopping() { // one head of a long sequence takes seconds
			return
		}
		to := min(from+nr, a.n)
		if a.shift != nil {
			shift = a.shift[i*a.n+from : i*a.n+to]
		}
		gemmSmall(s, lds, k, queries[from*a.dh:], a.m, to-from, a.dh, false)
		asm.Softmax(s, lds, a.m, to-from, a.scale, shift, sums)
		gemmSmall(out.at(from, 0).data, a.d, rowMajor(s, lds).transposed(), values, to-from, a.dh, a.m, false)
		asm.DivRows(out.at(from, 0).data, a.d, to-from, a.dh, sums)
	}
}

// scoreStride pads a row of n scores to whole cache lines, and away from
// multiples of a page, at which rows would compete for one place in the cache.
func scoreStride(n int) int {
	ld := blocks(n, cacheLine) * cacheLine
	if ld%1024 == 0 {
		ld += cacheLine
	}
	return ld
}

func (a *attention) backward() {
	t := a.t
	if a.n == 0 || a.m == 0 {
		t.Grad(a.q) // zeros, where nothing was added yet
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

// backwardHead computes p anew, a block of queries at a time and transposed as
// in the forward pass:
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
	parts := blocks(a.n, attentionQueries)
	most := blocks(a.n, parts)
	lds := scoreStride(most)
	scratch := a.t.Scratch(w, asm.PackedLen(a.m, a.dh)+2*asm.PackedLen(a.dh, most)+2*asm.PackedLen(most, a.dh)+2*a.m*lds)
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
		n := to - from
		s := scratch
		query, grad := q.at(from, 0), do.at(from, 0)
		queriesT := pack(&s, query.transposed(), a.dh, n)
		gradsT := pack(&s, grad.transposed(), a.dh, n)
		queries := pack(&s, query, n, a.dh)
		grads := pack(&s, grad, n, a.dh)
		p, ds := s[:a.m*lds], s[a.m*lds:][:a.m*lds]
		gemmSmall(p, lds, k, queriesT, a.m, n, a.dh, false)
		gemmSmall(ds, lds, v, gradsT, a.m, n, a.dh, false)
		asm.SoftmaxBackward(p, ds, lds, a.m, n, a.scale, a.shift[i*a.n+from:])
		if a.dq != nil {
			gemmSmall(dq.at(from, 0).data, a.ldq, rowMajor(ds, lds).transposed(), keys, n, a.dh, a.m, !a.freshQ)
		}
		if a.dkv != nil {
			gemmSmall(dk.data, a.ldkv, rowMajor(ds, lds), queries, a.m, a.dh, n, !a.freshKV || part > 0)
			gemmSmall(dv.data, a.ldkv, rowMajor(p, lds), grads, a.m, a.dh, n, !a.freshKV || part > 0)
		}
	}
}
