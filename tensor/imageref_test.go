package tensor

import "math"

// sum adds up products as float32 would, in some order.
type sum struct {
	v, e, size float64
	n          int
}

func (s *sum) add(a, b num) {
	p := a.v * b.v
	s.v += p
	s.size += math.Abs(p)
	s.e += math.Abs(a.v)*b.e + math.Abs(b.v)*a.e + a.e*b.e
	s.n++
}

func (s *sum) total() num {
	if s.n == 0 {
		return num{}
	}
	return num{s.v, s.e + sequential(s.n)*s.size + tiny}
}

// terms calls yield for each product x[i]·w[j] that is part of y[o].
type terms func(yield func(o, i, j int))

// products is y[o] = Σ x[i]·w[j]: convolutions and whatever else is linear.
func (g *graph) products(x, w *array, all terms, shape ...int) *array {
	y := newArray(shape...)
	sums := make([]sum, len(y.val))
	all(func(o, i, j int) { sums[o].add(x.val[i], w.val[j]) })
	for o := range sums {
		y.val[o] = sums[o].total()
	}
	g.then(func() {
		dx, dw := make([]sum, len(x.val)), make([]sum, len(w.val))
		all(func(o, i, j int) {
			dx[i].add(y.grad[o], w.val[j])
			dw[j].add(y.grad[o], x.val[i])
		})
		for i := range dx {
			x.grad[i] = x.grad[i].add(dx[i].total())
		}
		for j := range dw {
			w.grad[j] = w.grad[j].add(dw[j].total())
		}
	})
	return y
}

// constants is an array of the given numbers.
func constants(v ...num) *array {
	c := newArray(len(v))
	copy(c.val, v)
	return c
}

// move is y[o] = x[from(o)].
func (g *graph) move(x *array, from func(o int) int, shape ...int) *array {
	return g.products(x, constants(exact(1)), func(yield func(o, i, j int)) {
		for o := range size(shape) {
			yield(o, from(o), 0)
		}
	}, shape...)
}

// bias adds b, if it is not nil, to each row.
func (g *graph) bias(x, b *array) *array {
	if b == nil {
		return x
	}
	n := x.cols()
	return g.add(x, g.move(b, func(o int) int { return o % n }, x.shape...))
}

// conv is Conv2D, or DepthwiseConv2D, in seven loops.
func (g *graph) conv(x, w, b *array, stride, pad int, depthwise bool) *array {
	batch, height, width, c := x.shape[0], x.shape[1], x.shape[2], x.shape[3]
	out, kh, kw := w.shape[0], w.shape[2], w.shape[3]
	rows, cols := (height+2*pad-kh)/stride+1, (width+2*pad-kw)/stride+1
	return g.bias(g.products(x, w, func(yield func(o, i, j int)) {
		for o := range batch * rows * cols * out {
			image, py, px, oc := o/out/cols/rows, o/out/cols%rows, o/out%cols, o%out
			for ky := range kh {
				for kx := range kw {
					y, x := py*stride-pad+ky, px*stride-pad+kx
					if y < 0 || y >= height || x < 0 || x >= width {
						continue
					}
					at, k := ((image*height+y)*width+x)*c, ky*kw+kx
					if depthwise {
						yield(o, at+oc, oc*kh*kw+k)
						continue
					}
					for ic := range c {
						yield(o, at+ic, (oc*c+ic)*kh*kw+k)
					}
				}
			}
		}
	}, batch, rows, cols, out), b)
}

func (g *graph) convTranspose(x, w, b *array) *array {
	height, width, c := x.shape[1], x.shape[2], x.shape[3]
	out, k := w.shape[1], w.shape[2]
	return g.bias(g.products(x, w, func(yield func(o, i, j int)) {
		for i := range x.val {
			image, y, x, ic := i/c/width/height, i/c/width%height, i/c%width, i%c
			for tap := range k * k {
				for oc := range out {
					yield((((image*height+y)*k+tap/k)*width*k+x*k+tap%k)*out+oc, i, (ic*out+oc)*k*k+tap)
				}
			}
		}
	}, x.shape[0], height*k, width*k, out), b)
}

// share is how much of a pixel another is.
type share struct {
	pixel  int
	weight num
}

// shares is, for each of m pixels, what it takes of n.
func shares(n, m int, alignCorners bool) [][]share {
	var all [][]share
	for i := range m {
		at := (float64(i)+0.5)*float64(n)/float64(m) - 0.5
		if alignCorners {
			at = float64(i) * float64(n-1) / math.Max(1, float64(m-1))
		}
		at = math.Min(math.Max(at, 0), float64(n-1))
		lo, f := int(at), at-math.Floor(at)
		slack := 4 * u * (at + 1) // positions are float32
		s := []share{{lo, num{1 - f, slack}}, {min(lo+1, n-1), num{f, slack}}}
		if lo > 0 { // rounding may put the position just before lo
			s = append(s, share{lo - 1, num{0, slack}})
		}
		all = append(all, s)
	}
	return all
}

func (g *graph) resize(x *array, h, w int, alignCorners bool) *array {
	height, width, c := x.shape[1], x.shape[2], x.shape[3]
	vertical, horizontal := shares(height, h, alignCorners), shares(width, w, alignCorners)
	weights := &array{}
	type link struct{ o, i int }
	var links []link
	for o := range x.shape[0] * h * w * c {
		image, y, x := o/c/w/h, o/c/w%h, o/c%w
		for _, v := range vertical[y] {
			for _, z := range horizontal[x] {
				links = append(links, link{o, ((image*height+v.pixel)*width+z.pixel)*c + o%c})
				weights.val = append(weights.val, v.weight.mul(z.weight))
			}
		}
	}
	weights.grad = make([]num, len(weights.val))
	return g.products(x, weights, func(yield func(o, i, j int)) {
		for j, l := range links {
			yield(l.o, l.i, j)
		}
	}, x.shape[0], h, w, c)
}

// scaled is x times constants.
func (g *graph) scaled(x *array, scale []float32) *array {
	c := newArray(len(scale))
	for i, v := range scale {
		c.val[i] = exact(float64(v))
	}
	return g.products(x, c, func(yield func(o, i, j int)) {
		for i := range x.val {
			yield(i, i, i)
		}
	}, x.shape...)
}

func (g *graph) relu(x *array) *array {
	scale := make([]float32, len(x.val))
	for i, v := range x.val {
		if v.v > 0 {
			scale[i] = 1
		}
	}
	return g.scaled(x, scale)
}

func (g *graph) depthToSpace(x *array, nh, nw, s int) *array {
	c := x.cols() / (s * s)
	return g.move(x, func(o int) int {
		image, y, x, ch := o/c/(nw*s)/(nh*s), o/c/(nw*s)%(nh*s), o/c%(nw*s), o%c
		return ((image*nh+y/s)*nw+x/s)*s*s*c + (y%s*s+x%s)*c + ch
	}, x.shape[0], nh*s, nw*s, c)
}

// concat joins the columns of x and y.
func (g *graph) concat(x, y *array) *array {
	a, b := x.cols(), y.cols()
	both := newArray(len(x.val) + len(y.val))
	copy(both.val, x.val)
	copy(both.val[len(x.val):], y.val)
	z := g.move(both, func(o int) int {
		if r, j := o/(a+b), o%(a+b); j < a {
			return r*a + j
		} else {
			return len(x.val) + r*b + j - a
		}
	}, x.like(a+b).shape...)
	move := g.back[len(g.back)-1]
	g.back[len(g.back)-1] = func() {
		move()
		for i, d := range both.grad {
			if i < len(x.val) {
				x.grad[i] = x.grad[i].add(d)
			} else {
				y.grad[i-len(x.val)] = y.grad[i-len(x.val)].add(d)
			}
		}
	}
	return z
}

func (g *graph) meanRows(x *array) *array {
	n, d := x.shape[1], x.shape[2]
	return g.products(x, constants(rounded(1/float64(n))), func(yield func(o, i, j int)) {
		for i := range x.val {
			yield(i/d/n*d+i%d, i, 0)
		}
	}, x.shape[0], d)
}

func (g *graph) normalize(x *array) *array {
	y, d := newArray(x.shape...), x.cols()
	inverse := make([]num, x.rows())
	for r := range inverse {
		row := vec{x.val, r * d, 1}
		s := dot(d, row, row, 4*u)
		inverse[r] = num{1 / math.Sqrt(s.v), 0.5*s.e/(s.v*math.Sqrt(s.v)) + 2*u/math.Sqrt(s.v)}
		for i := r * d; i < (r+1)*d; i++ {
			y.val[i] = x.val[i].mul(inverse[r])
		}
	}
	g.then(func() {
		for r := range inverse {
			along := dot(d, vec{y.val, r * d, 1}, vec{y.grad, r * d, 1}, chains(d))
			for i := r * d; i < (r+1)*d; i++ {
				x.grad[i] = x.grad[i].add(y.grad[i].sub(y.val[i].mul(along)).mul(inverse[r]))
			}
		}
	})
	return y
}

func (g *graph) matMulT(a, b *array) *array {
	m, n, k := a.shape[1], b.shape[1], a.shape[2]
	return g.products(a, b, func(yield func(o, i, j int)) {
		for o := range a.shape[0] * m * n {
			for p := range k {
				yield(o, o/n*k+p, (o/n/m*n+o%n)*k+p)
			}
		}
	}, a.shape[0], m, n)
}

// berHu keeps c from the first call on, which makes it a constant for finite differences too.
func (g *graph) berHu(x *array, target, weights []float32, c *float64) *array {
	y, f := newArray(1), x.cols()
	if *c == 0 {
		*c = 1e-5
		for i, v := range x.val {
			if weights[i/f] != 0 {
				*c = math.Max(*c, 0.2*math.Abs(v.v-float64(target[i])))
			}
		}
	}
	share := func(i int) num { return exact(float64(weights[i/f])).div(f) }
	for i, v := range x.val {
		e := v.sub(exact(float64(target[i])))
		if a := e.abs(); a > *c {
			e.v, e.e = (a*a+*c**c)/(2**c), e.e*a / *c + 8*u*a*a / *c
		}
		e.v = math.Abs(e.v)
		y.val[0] = y.val[0].add(e.mul(share(i)))
	}
	g.then(func() {
		for i, v := range x.val {
			e := v.sub(exact(float64(target[i])))
			if e.abs() > *c {
				e = e.mul(rounded(1 / *c))
			} else {
				e = exact(math.Copysign(1, e.v))
			}
			x.grad[i] = x.grad[i].add(y.grad[0].mul(e).mul(share(i)))
		}
	})
	return y
}
