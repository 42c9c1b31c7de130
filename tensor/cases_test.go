package tensor

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// cases are all that the tests of operations run. The sizes are chosen to meet each branch: no row,
// one row, odd numbers of rows and columns, more rows than a block has (112), sums longer than
// blockK, keys and queries beyond attentionQueries (224).
var cases = sync.OnceValue(func() []*opCase {
	var all []*opCase
	add := func(c *opCase) { all = append(all, c) }
	for i, s := range [][3]int{{1, 1, 1}, {0, 4, 3}, {1, 33, 65}, {3, 5, 7}, {5, 16, 96}, {17, 9, 31}, {4, 3, 0}, {4, 0, 3}, {29, 31, 33}} {
		add(linearCase(s[0], s[1], s[2], i%3 != 2, false, false))
		add(linearCase(s[0], s[1], s[2], true, false, true))
		add(linearCase(s[0], s[1], s[2], i%2 == 0, true, false))
	}
	for _, c := range []*opCase{
		linearCase(130, 40, 33, true, false, true),
		linearCase(257, 20, 70, true, true, false),
		linearCase(17, 2*blockK+1, 45, true, true, false), // three k blocks of the result
		linearCase(blockK+84, 7, 10, true, false, false),  // two of the weight's gradient
		linearCase(4, 6, blockK+184, true, false, false),  // two of the input's gradient
		linearCase(2, blockK+1, 1, false, false, true),
	} {
		c.big = true
		add(c)
	}
	for _, s := range [][2]int{{0, 5}, {1, 1}, {1, 8}, {3, 7}, {64, 4}, {65, 19}, {5, 768}} {
		add(layerNormCase(s[0], s[1], 2))
	}
	add(layerNormCase(3, 40, 1e20)) // squares overflow a float32
	for _, s := range [][4]int{{1, 1, 1, 1}, {2, 5, 3, 1}, {2, 17, 2, 8}, {3, 14, 1, 32}, {1, 30, 2, 64}, {2, 0, 2, 4}, {0, 3, 2, 4}} {
		add(attentionCase(s[0], s[1], s[1], s[2], s[3], false))
	}
	for _, s := range [][5]int{{1, 1, 1, 1, 1}, {2, 3, 7, 2, 8}, {2, 7, 3, 3, 5}, {1, 15, 33, 1, 64}, {2, 4, 0, 2, 4}, {2, 0, 4, 2, 4}, {1, 1, 18, 2, 32}} {
		add(attentionCase(s[0], s[1], s[2], s[3], s[4], true))
	}
	// Scores so far apart that their exponentials leave float32.
	steep := attentionCase(1, 16, 16, 2, 8, false)
	steep.name, steep.loose, steep.in[0].sigma = "attention/steep", true, 6
	add(steep)
	for _, c := range []*opCase{
		attentionCase(1, 230, 230, 1, 64, false),
		attentionCase(1, 449, 449, 1, 8, false),
		attentionCase(2, 300, 20, 1, 8, true),
		attentionCase(1, 20, 300, 2, 32, true),
		attentionCase(1, 3, 1025, 1, 5, true), // k blocks over keys, a padded score row
		attentionCase(1, 800, 2, 1, 3, true),
	} {
		c.big = true
		add(c)
	}
	all = append(all, gatherCases()...)
	all = append(all, lossCases()...)
	all = append(all, graphCases()...)
	all = append(all, imageCases()...)
	return all
})

func linearCase(m, k, n int, bias, res, gelu bool) *opCase {
	c := &opCase{
		name: fmt.Sprintf("linear/%dx%dx%d bias=%v res=%v gelu=%v", m, k, n, bias, res, gelu),
		in:   []input{in(1, m, k), in(n, 1, k)},
	}
	if bias {
		c.in = append(c.in, in(n))
	}
	if res {
		c.in = append(c.in, in(1, m, n))
	}
	// A GELU far from 0 is the identity or nothing.
	if gelu && k > 0 {
		c.in[1].sigma = 2 / float64(k)
	}
	c.lib = func(t *Tape, x []*Tensor) *Tensor {
		var b *Tensor
		if bias {
			b = x[2]
		}
		switch {
		case res:
			return LinearAdd(t, x[0], x[1], b, x[len(x)-1])
		case gelu:
			return LinearGELU(t, x[0], x[1], b)
		}
		return Linear(t, x[0], x[1], b)
	}
	c.ref = func(g *graph, x []*array) *array {
		var b *array
		if bias {
			b = x[2]
		}
		y := g.linear(x[0], x[1], b)
		switch {
		case res:
			return g.add(y, x[len(x)-1])
		case gelu:
			return g.gelu(y)
		}
		return y
	}
	return c
}

func layerNormCase(rows, d int, scale float64) *opCase {
	return &opCase{
		name:  fmt.Sprintf("layer norm/%dx%d scale %g", rows, d, scale),
		in:    []input{in(rows, d).around(0.5, scale), in(d).around(1, 0.5), in(d)},
		loose: d == 1, // the result is the bias, and gradients are 0
		lib:   func(t *Tape, x []*Tensor) *Tensor { return LayerNorm(t, x[0], x[1], x[2], 1e-6) },
		ref:   func(g *graph, x []*array) *array { return g.layerNorm(x[0], x[1], x[2], 1e-6) },
	}
}

// attentionCase is attention of n queries to m keys; m is n unless cross.
func attentionCase(batch, n, m, heads, dh int, cross bool) *opCase {
	d := heads * dh
	c := &opCase{
		name:  fmt.Sprintf("attention/%dx%d heads %dx%d", batch, n, heads, dh),
		in:    []input{in(batch, n, 3*d).around(0, 1.5)},
		loose: n == 1 || m <= 1, // one key has the probability 1 and its score no gradient
		lib:   func(t *Tape, x []*Tensor) *Tensor { return Attention(t, x[0], heads) },
		ref:   func(g *graph, x []*array) *array { return g.selfAttention(x[0], heads) },
	}
	if cross {
		c.name = fmt.Sprintf("cross-attention/%dx%d to %d heads %dx%d", batch, n, m, heads, dh)
		c.in = []input{in(batch, n, d), in(batch, m, 2*d)}
		c.lib = func(t *Tape, x []*Tensor) *Tensor { return CrossAttention(t, x[0], x[1], heads) }
		c.ref = func(g *graph, x []*array) *array { return g.crossAttention(x[0], x[1], heads) }
	}
	return c
}

// gatherCase picks rows[k] from table picks[k] of the inputs.
func gatherCase(name string, shape []int, in []input, picks []int, rows [][]int32) *opCase {
	return &opCase{
		name: "gather/" + name,
		in:   in,
		lib: func(t *Tape, x []*Tensor) *Tensor {
			var sources []Source
			for k, p := range picks {
				sources = append(sources, Source{x[p], rows[k]})
			}
			return GatherSum(t, shape, sources...)
		},
		ref: func(g *graph, x []*array) *array {
			var tables []*array
			for _, p := range picks {
				tables = append(tables, x[p])
			}
			return g.gatherSum(shape, tables, rows)
		},
	}
}

func gatherCases() []*opCase {
	r := rand.New(rand.NewPCG(7, 8))
	pick := func(n, below int, skip float64) []int32 {
		rows := make([]int32, n)
		for i := range rows {
			rows[i] = int32(r.IntN(below))
			if r.Float64() < skip {
				rows[i] = -1 - int32(r.IntN(5))
			}
		}
		return rows
	}
	return []*opCase{
		gatherCase("one", []int{1, 1}, []input{in(1, 1)}, []int{0}, [][]int32{{0}}),
		gatherCase("nothing picked", []int{3, 5}, []input{in(2, 5)}, []int{0}, [][]int32{{-1, -1, -7}}),
		gatherCase("no rows", []int{0, 5}, []input{in(2, 5)}, []int{0}, [][]int32{{}}),
		gatherCase("no sources", []int{2, 5}, nil, nil, nil),
		gatherCase("no table rows", []int{2, 5}, []input{in(0, 5)}, []int{0}, [][]int32{{-1, -1}}),
		gatherCase("permutation", []int{2, 3, 33}, []input{in(6, 33)}, []int{0}, [][]int32{{5, 3, 0, 1, 4, 2}}),
		gatherCase("repeated rows", []int{13, 7}, []input{in(9, 7)}, []int{0}, [][]int32{pick(13, 3, 0.2)}),
		// Sums in float64, as a mask token's gradient.
		gatherCase("single row", []int{4, 25, 65}, []input{in(65)}, []int{0}, [][]int32{pick(100, 1, 0.3)}),
		gatherCase("single row of many axes", []int{7, 3}, []input{in(1, 1, 3)}, []int{0}, [][]int32{pick(7, 1, 0.5)}),
		gatherCase("few rows", []int{90, 31}, []input{in(3, 31)}, []int{0}, [][]int32{pick(90, 3, 0.1)}),
		gatherCase("tokens, mask and positions", []int{2, 30, 48}, []input{in(2, 11, 48), in(48), in(30, 48)}, []int{0, 1, 2, 2},
			[][]int32{pick(60, 22, 0.5), pick(60, 1, 0.5), pick(60, 30, 0), pick(60, 30, 0.9)}),
		gatherCase("one table twice", []int{5, 6}, []input{in(4, 6)}, []int{0, 0}, [][]int32{pick(5, 4, 0.2), pick(5, 4, 0.2)}),
	}
}

func lossCases() []*opCase {
	r := seeded("losses")
	var all []*opCase
	add := func(c *opCase) { all = append(all, c) }
	for _, s := range [][2]int{{1, 1}, {0, 4}, {5, 7}, {50, 48}} {
		for _, d := range []Distance{L2, L1} {
			rows, f := s[0], s[1]
			target, weights := normal(r, rows*f), normal(r, rows)
			for i := range weights {
				if weights[i] < -0.5 {
					weights[i] = 0
				}
			}
			add(&opCase{
				name:  fmt.Sprintf("regression loss/%dx%d distance %d", rows, f, d),
				in:    []input{in(rows, f)},
				loose: true, // a loss of both signs
				lib:   func(t *Tape, x []*Tensor) *Tensor { return RegressionLoss(t, x[0], target, weights, d) },
				ref:   func(g *graph, x []*array) *array { return g.regression(x[0], target, weights, d) },
			})
		}
	}
	for _, s := range [][3]int{{1, 2, 1}, {0, 3, 4}, {3, 5, 4}, {37, 19, 3}} {
		for _, smoothing := range []float64{0, 0.1} {
			rows, classes, p := s[0], s[1], s[2]
			targets, weights := make([]int32, rows*p), normal(r, rows*p)
			for i := range targets {
				targets[i] = int32(r.IntN(classes))
				if weights[i] < -0.5 {
					weights[i], targets[i] = 0, 255 // what no class is, where it does not count
				}
			}
			add(&opCase{
				name:  fmt.Sprintf("cross-entropy/%dx%dx%d smoothing %v", rows, classes, p, smoothing),
				in:    []input{in(rows, classes*p).around(0, 3)},
				loose: true,
				lib: func(t *Tape, x []*Tensor) *Tensor {
					return CrossEntropy(t, x[0], classes, targets, weights, smoothing)
				},
				ref: func(g *graph, x []*array) *array {
					return g.crossEntropy(x[0], classes, targets, weights, smoothing)
				},
			})
		}
	}
	add(&opCase{
		name: "sum", in: []input{in(1), in(1)}, loose: true,
		lib: func(t *Tape, x []*Tensor) *Tensor { return Sum(t, x[0], x[1], x[0]) },
		ref: func(g *graph, x []*array) *array { return g.add(g.add(x[0], x[1]), x[0]) },
	})
	return all
}

// graphCases use one tensor more than once, which finds = written for +=, in whatever order the
// backward passes meet.
func graphCases() []*opCase {
	scale := []float32{2, 0, -0.5}
	block := func(batch, n, d, heads int) *opCase {
		return &opCase{
			name: fmt.Sprintf("graph/transformer block %dx%dx%d", batch, n, d),
			in: []input{in(batch, n, d), in(d).around(1, 0.3), in(d), in(3*d, d).around(0, 0.2), in(3 * d), in(d, d).around(0, 0.2), in(d),
				in(4*d, d).around(0, 0.2), in(4 * d), in(d, 4*d).around(0, 0.1), in(d)},
			loose: true,
			lib: func(t *Tape, x []*Tensor) *Tensor {
				h := x[0]
				a := Attention(t, Linear(t, LayerNorm(t, h, x[1], x[2], 1e-6), x[3], x[4]), heads)
				h = LinearAdd(t, a, x[5], x[6], h)
				return LinearAdd(t, LinearGELU(t, LayerNorm(t, h, x[1], x[2], 1e-6), x[7], x[8]), x[9], x[10], h)
			},
			ref: func(g *graph, x []*array) *array {
				h := x[0]
				a := g.selfAttention(g.linear(g.layerNorm(h, x[1], x[2], 1e-6), x[3], x[4]), heads)
				h = g.add(g.linear(a, x[5], x[6]), h)
				return g.add(g.linear(g.gelu(g.linear(g.layerNorm(h, x[1], x[2], 1e-6), x[7], x[8])), x[9], x[10]), h)
			},
		}
	}
	return []*opCase{{
		name: "graph/input and residual",
		in:   []input{in(3, 5), in(5, 5), in(5)},
		lib:  func(t *Tape, x []*Tensor) *Tensor { return LinearAdd(t, x[0], x[1], x[2], x[0]) },
		ref:  func(g *graph, x []*array) *array { return g.add(g.linear(x[0], x[1], x[2]), x[0]) },
	}, {
		name: "graph/input and weight",
		in:   []input{in(5, 5)},
		lib:  func(t *Tape, x []*Tensor) *Tensor { return Linear(t, x[0], x[0], nil) },
		ref:  func(g *graph, x []*array) *array { return g.linear(x[0], x[0], nil) },
	}, {
		name: "graph/one weight in two layers",
		in:   []input{in(7, 6), in(6, 6).around(0, 0.4), in(6)},
		lib: func(t *Tape, x []*Tensor) *Tensor {
			return Linear(t, LinearGELU(t, x[0], x[1], x[2]), x[1], x[2])
		},
		ref: func(g *graph, x []*array) *array {
			return g.linear(g.gelu(g.linear(x[0], x[1], x[2])), x[1], x[2])
		},
	}, {
		name: "graph/three readers",
		in:   []input{in(2, 3, 6), in(6, 6), in(6).around(1, 0.3), in(6)},
		lib: func(t *Tape, x []*Tensor) *Tensor {
			h := Linear(t, x[0], x[1], x[3])
			return LinearAdd(t, LayerNorm(t, h, x[2], x[3], 1e-5), x[1], nil, LinearAdd(t, Attention(t, h, 2), From([]float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 6, 2), nil, h))
		},
		ref: func(g *graph, x []*array) *array {
			h := g.linear(x[0], x[1], x[3])
			c := newArray(6, 2)
			for i := range c.val {
				c.val[i] = exact(float64(i + 1))
			}
			n, a := g.layerNorm(h, x[2], x[3], 1e-5), g.add(g.linear(g.selfAttention(h, 2), c, nil), h)
			return g.add(g.linear(n, x[1], nil), a)
		},
		loose: true,
	}, {
		name: "graph/residual dropped for a sample",
		in:   []input{in(3, 2, 5), in(3, 2, 5)},
		lib:  func(t *Tape, x []*Tensor) *Tensor { return AddScaled(t, x[0], x[1], scale) },
		ref:  func(g *graph, x []*array) *array { return g.addScaled(x[0], x[1], scale) },
	}, {
		name: "graph/residual of no samples",
		in:   []input{in(0, 2), in(0, 2)},
		lib:  func(t *Tape, x []*Tensor) *Tensor { return AddScaled(t, x[0], x[1], nil) },
		ref:  func(g *graph, x []*array) *array { return g.addScaled(x[0], x[1], nil) },
	}, {
		name: "graph/residual with itself",
		in:   []input{in(3, 4)},
		lib:  func(t *Tape, x []*Tensor) *Tensor { return AddScaled(t, x[0], x[0], scale) },
		ref:  func(g *graph, x []*array) *array { return g.addScaled(x[0], x[0], scale) },
	}, {
		name: "graph/long residual", // passGrad splits it
		in:   []input{in(1, 40000), in(1, 40000)},
		lib: func(t *Tape, x []*Tensor) *Tensor {
			h := AddScaled(t, x[0], x[1], scale[:1])
			return AddScaled(t, h, x[0], scale[2:])
		},
		ref: func(g *graph, x []*array) *array {
			h := g.addScaled(x[0], x[1], scale[:1])
			return g.addScaled(h, x[0], scale[2:])
		},
	}, {
		name: "graph/views",
		in:   []input{in(4, 6), in(8, 8), in(6, 6)},
		lib: func(t *Tape, x []*Tensor) *Tensor {
			h := Linear(t, x[0], x[2], nil)
			a := Linear(t, View(t, h, 3, 8), x[1], nil)
			y := LinearAdd(t, View(t, View(t, h, 2, 2, 6), 4, 6), x[2], nil, View(t, a, 4, 6))
			return AddScaled(t, View(t, y, 1, 24), View(t, h, 1, 24), scale[:1])
		},
		ref: func(g *graph, x []*array) *array {
			h := g.linear(x[0], x[2], nil)
			a := g.linear(g.view(h, 3, 8), x[1], nil)
			y := g.add(g.linear(h, x[2], nil), g.view(a, 4, 6))
			return g.addScaled(g.view(y, 1, 24), g.view(h, 1, 24), scale[:1])
		},
	},
		block(2, 5, 8, 2),
		block(1, 33, 16, 4),
	}
}
