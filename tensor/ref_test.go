package tensor

import (
	"math"

	"github.com/gomae/gomae/internal/testkit"
)

// num is a number of the float64 reference and how far a float32 computation may be from it: e adds
// up, to first order, every rounding on the way.
type num struct{ v, e float64 }

const (
	u    = testkit.U
	tiny = 3e-45 // two steps of the smallest float32
)

func exact(v float64) num      { return num{v, 0} }
func rounded(v float64) num    { return num{v, u * math.Abs(v)} }
func (a num) add(b num) num    { v := a.v + b.v; return num{v, a.e + b.e + u*math.Abs(v)} }
func (a num) sub(b num) num    { return a.add(num{-b.v, b.e}) }
func (a num) div(n int) num    { return a.mul(rounded(1 / float64(n))) }
func (a num) abs() float64     { return math.Abs(a.v) }
func sequential(n int) float64 { return float64(n+3) * u }

// chains is what a vector kernel's sum of n terms may be off: it adds in at least 16 chains, and
// plain Go in float64.
func chains(n int) float64 { return float64(n/16+4) * u }

func (a num) mul(b num) num {
	v := a.v * b.v
	return num{v, a.abs()*b.e + b.abs()*a.e + a.e*b.e + u*math.Abs(v) + tiny}
}

// vec is x[from], x[from+step], ...
type vec struct {
	x          []num
	from, step int
}

// dot is the inner product of n terms; err is the relative error of the summation itself, to be
// taken of their magnitudes.
func dot(n int, x, y vec, err float64) num {
	var v, e, size float64
	for i := range n {
		a, b := x.x[x.from+i*x.step], y.x[y.from+i*y.step]
		p := a.v * b.v
		v += p
		size += math.Abs(p)
		e += math.Abs(a.v)*b.e + math.Abs(b.v)*a.e + a.e*b.e
	}
	return num{v, e + err*size + tiny}
}

var one = []num{{1, 0}}

func total(n int, x vec, err float64) num { return dot(n, x, vec{one, 0, 0}, err) }

// array is a tensor of the reference.
type array struct {
	shape []int
	val   []num
	grad  []num
}

func newArray(shape ...int) *array {
	return &array{shape: shape, val: make([]num, size(shape)), grad: make([]num, size(shape))}
}

func (x *array) cols() int { return x.shape[len(x.shape)-1] }
func (x *array) rows() int { return size(x.shape[:len(x.shape)-1]) }

// like is a new array of x's shape with another last axis.
func (x *array) like(cols int) *array {
	s := append([]int(nil), x.shape...)
	s[len(s)-1] = cols
	return newArray(s...)
}

// graph is the reference of Tape: the operations in float64, written as the formulas have them,
// each with the roundings that float32 would make.
type graph struct{ back []func() }

func (g *graph) backward() {
	for i := len(g.back) - 1; i >= 0; i-- {
		g.back[i]()
	}
}

func (g *graph) then(f func()) { g.back = append(g.back, f) }

// linear is x·wᵀ + b, b may be nil.
func (g *graph) linear(x, w, b *array) *array {
	m, k, n := x.rows(), x.cols(), w.shape[0]
	y := x.like(n)
	for i := range m {
		for j := range n {
			s := dot(k, vec{x.val, i * k, 1}, vec{w.val, j * k, 1}, sequential(k))
			if b != nil {
				s = s.add(b.val[j])
			}
			y.val[i*n+j] = s
		}
	}
	g.then(func() {
		dy := y.grad
		for i := range m {
			for p := range k {
				x.grad[i*k+p] = x.grad[i*k+p].add(dot(n, vec{dy, i * n, 1}, vec{w.val, p, k}, sequential(n)))
			}
		}
		for j := range n {
			for p := range k {
				w.grad[j*k+p] = w.grad[j*k+p].add(dot(m, vec{dy, j, n}, vec{x.val, p, k}, sequential(m)))
			}
			if b != nil {
				b.grad[j] = b.grad[j].add(total(m, vec{dy, j, n}, sequential(m)))
			}
		}
	})
	return y
}

func (g *graph) add(x, h *array) *array {
	y := newArray(x.shape...)
	for i := range y.val {
		y.val[i] = x.val[i].add(h.val[i])
	}
	g.then(func() {
		for i, d := range y.grad {
			x.grad[i] = x.grad[i].add(d)
			h.grad[i] = h.grad[i].add(d)
		}
	})
	return y
}

// gelu has the error of asm.GELU; 1.13 and 0.8 bound its first and second derivative.
func (g *graph) gelu(x *array) *array {
	y := newArray(x.shape...)
	phi := func(z float64) float64 { return 0.5 * math.Erfc(-z/math.Sqrt2) }
	for i, z := range x.val {
		v := z.v * phi(z.v)
		y.val[i] = num{v, 1.13*z.e + 1.5e-7 + 2*u*math.Abs(v)}
	}
	g.then(func() {
		for i, z := range x.val {
			d := phi(z.v) + z.v*math.Exp(-z.v*z.v/2)/math.Sqrt(2*math.Pi)
			x.grad[i] = x.grad[i].add(y.grad[i].mul(num{d, 0.8*z.e + 2.4e-7}))
		}
	})
	return y
}

func (g *graph) layerNorm(x, w, b *array, eps float32) *array {
	m, n := x.rows(), x.cols()
	y := newArray(x.shape...)
	xhat, rstd := make([]num, m*n), make([]num, m)
	for i := range m {
		row := x.val[i*n : (i+1)*n]
		mean := total(n, vec{row, 0, 1}, chains(n)).div(n)
		sq, slack := 0.0, 0.0
		for _, v := range row {
			d := v.v - mean.v
			sq += d * d / float64(n)
			slack += 2 * math.Abs(d) * v.e / float64(n)
		}
		// The mean's own error counts twice only: differences from the true mean sum up to 0.
		slack += mean.e*mean.e + (chains(n)+4*u)*sq
		r := 1 / math.Sqrt(sq+float64(eps))
		rstd[i] = num{r, 0.5*r*r*r*slack + 2*u*r}
		for j, v := range row {
			xhat[i*n+j] = v.sub(mean).mul(rstd[i])
			y.val[i*n+j] = xhat[i*n+j].mul(w.val[j]).add(b.val[j])
		}
	}
	g.then(func() {
		d := make([]num, n)
		for i := range m {
			dy, h := y.grad[i*n:(i+1)*n], xhat[i*n:(i+1)*n]
			for j := range d {
				d[j] = w.val[j].mul(dy[j])
			}
			mean, meanX := total(n, vec{d, 0, 1}, chains(n)).div(n), dot(n, vec{d, 0, 1}, vec{h, 0, 1}, chains(n)).div(n)
			for j := range d {
				dx := d[j].sub(mean).sub(h[j].mul(meanX)).mul(rstd[i])
				x.grad[i*n+j] = x.grad[i*n+j].add(dx)
			}
		}
		for j := range n {
			w.grad[j] = w.grad[j].add(dot(m, vec{y.grad, j, n}, vec{xhat, j, n}, sequential(m)))
			b.grad[j] = b.grad[j].add(total(m, vec{y.grad, j, n}, sequential(m)))
		}
	})
	return y
}

// columns is columns from..to of x.
func (g *graph) columns(x *array, from, to int) *array {
	y, k, n := x.like(to-from), x.cols(), to-from
	for i := range x.rows() {
		copy(y.val[i*n:(i+1)*n], x.val[i*k+from:])
	}
	g.then(func() {
		for i := range x.rows() {
			for j := range n {
				x.grad[i*k+from+j] = x.grad[i*k+from+j].add(y.grad[i*n+j])
			}
		}
	})
	return y
}

func (g *graph) selfAttention(qkv *array, heads int) *array {
	d := qkv.cols() / 3
	return g.attend(g.columns(qkv, 0, d), g.columns(qkv, d, 2*d), g.columns(qkv, 2*d, 3*d), heads)
}

func (g *graph) crossAttention(q, kv *array, heads int) *array {
	d := q.cols()
	return g.attend(q, g.columns(kv, 0, d), g.columns(kv, d, 2*d), heads)
}

// attend is attention of q [B, N, D] to k and v [B, M, D].
func (g *graph) attend(q, k, v *array, heads int) *array {
	batch, n, m, d := q.shape[0], q.shape[1], k.shape[1], q.cols()
	dh := d / heads
	scale := 1 / math.Sqrt(float64(dh))
	y := newArray(q.shape...)
	if n*m == 0 {
		return y
	}
	for b := range batch {
		for h := range heads {
			from, of := b*n*d+h*dh, b*m*d+h*dh
			q, dq, y, dy := q.val[from:], q.grad[from:], y.val[from:], y.grad[from:]
			k, dk, v, dv := k.val[of:], k.grad[of:], v.val[of:], v.grad[of:]
			p := make([]num, n*m)
			for i := range n {
				s, rel := make([]num, m), make([]float64, m)
				top := math.Inf(-1)
				for j := range s {
					s[j] = dot(dh, vec{q, i * d, 1}, vec{k, j * d, 1}, sequential(dh))
					s[j] = num{scale * s[j].v, scale * s[j].e}
					top = math.Max(top, s[j].v)
				}
				sum, off := 0.0, 0.0
				for j := range s {
					e := math.Exp(s[j].v - top)
					rel[j] = s[j].e + (2*math.Abs(s[j].v-top)+s[j].abs()+4)*u
					sum += e
					off += e * rel[j]
				}
				off = off/sum + chains(m)
				for j := range s {
					e := math.Exp(s[j].v-top) / sum
					p[i*m+j] = num{e, e*(rel[j]+off+3*u) + tiny}
				}
				for c := range dh {
					y[i*d+c] = dot(m, vec{p, i * m, 1}, vec{v, c, d}, sequential(m))
				}
			}
			g.then(func() {
				ds := make([]num, n*m)
				for i := range n {
					dp := make([]num, m)
					for j := range dp {
						dp[j] = dot(dh, vec{dy, i * d, 1}, vec{v, j * d, 1}, sequential(dh))
					}
					delta := dot(m, vec{p, i * m, 1}, vec{dp, 0, 1}, chains(m))
					for j := range dp {
						ds[i*m+j] = dp[j].sub(delta).mul(p[i*m+j]).mul(rounded(scale))
					}
					for c := range dh {
						dq[i*d+c] = dq[i*d+c].add(dot(m, vec{ds, i * m, 1}, vec{k, c, d}, sequential(m)))
					}
				}
				for j := range m {
					for c := range dh {
						dk[j*d+c] = dk[j*d+c].add(dot(n, vec{ds, j, m}, vec{q, c, d}, sequential(n)))
						dv[j*d+c] = dv[j*d+c].add(dot(n, vec{p, j, m}, vec{dy, c, d}, sequential(n)))
					}
				}
			})
		}
	}
	return y
}

// gatherSum adds rows[k][r] of tables[k] to row r.
func (g *graph) gatherSum(shape []int, tables []*array, rows [][]int32) *array {
	y := newArray(shape...)
	d := y.cols()
	for k, x := range tables {
		for r, from := range rows[k] {
			for c := 0; c < d && from >= 0; c++ {
				y.val[r*d+c] = y.val[r*d+c].add(x.val[int(from)*d+c])
			}
		}
	}
	g.then(func() {
		for k, x := range tables {
			for r, to := range rows[k] {
				for c := 0; c < d && to >= 0; c++ {
					x.grad[int(to)*d+c] = x.grad[int(to)*d+c].add(y.grad[r*d+c])
				}
			}
		}
	})
	return y
}

func (g *graph) addScaled(x, h *array, scale []float32) *array {
	y := newArray(x.shape...)
	n := len(y.val) / max(1, len(scale))
	for i := range y.val {
		y.val[i] = x.val[i].add(h.val[i].mul(exact(float64(scale[i/n]))))
	}
	g.then(func() {
		for i, d := range y.grad {
			x.grad[i] = x.grad[i].add(d)
			h.grad[i] = h.grad[i].add(d.mul(exact(float64(scale[i/n]))))
		}
	})
	return y
}

// view is x under another shape.
func (g *graph) view(x *array, shape ...int) *array {
	return &array{shape: shape, val: x.val, grad: x.grad}
}

func (g *graph) regression(x *array, target, weights []float32, d Distance) *array {
	y, f := newArray(1), x.cols()
	for i, v := range x.val {
		e := v.sub(exact(float64(target[i])))
		if d == L1 {
			e.v = math.Abs(e.v)
		} else {
			e = e.mul(e)
		}
		y.val[0] = y.val[0].add(e.mul(exact(float64(weights[i/f]))).div(f))
	}
	g.then(func() {
		for i, v := range x.val {
			e := v.sub(exact(float64(target[i])))
			if d == L1 {
				e = exact(math.Copysign(1, e.v))
			} else {
				e = e.mul(exact(2))
			}
			x.grad[i] = x.grad[i].add(y.grad[0].mul(e).mul(exact(float64(weights[i/f]))).div(f))
		}
	})
	return y
}

func (g *graph) crossEntropy(x *array, classes int, targets []int32, weights []float32, smoothing float64) *array {
	y, rows, p := newArray(1), x.rows(), x.cols()/classes
	lse := make([]num, rows*p)
	at := func(i, c int) int { return (i/p*classes+c)*p + i%p }
	for i := range lse {
		if weights[i] == 0 {
			continue
		}
		sum, slack, mean := 0.0, 0.0, exact(0)
		for c := range classes {
			v := x.val[at(i, c)]
			sum += math.Exp(v.v)
			slack += math.Exp(v.v) * v.e
			mean = mean.add(v.div(classes))
		}
		l := math.Log(sum)
		lse[i] = num{l, slack/sum + chains(classes) + 8*u*(math.Abs(l)+1)}
		own := x.val[at(i, int(targets[i]))]
		ce := lse[i].sub(own.mul(rounded(1 - smoothing))).sub(mean.mul(rounded(smoothing)))
		y.val[0] = y.val[0].add(ce.mul(exact(float64(weights[i]))))
	}
	g.then(func() {
		for i, l := range lse {
			for c := 0; c < classes && weights[i] != 0; c++ {
				v := x.val[at(i, c)]
				e := math.Exp(v.v - l.v)
				d := num{e, e * (v.e + l.e + (math.Abs(v.v-l.v)+4)*u)}
				if c == int(targets[i]) {
					d = d.sub(rounded(1 - smoothing))
				}
				d = d.sub(rounded(smoothing / float64(classes))).mul(exact(float64(weights[i]))).mul(y.grad[0])
				x.grad[at(i, c)] = x.grad[at(i, c)].add(d)
			}
		}
	})
	return y
}
