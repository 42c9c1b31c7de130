package vit

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// reference is a block in float64, one sample and one number at a time, of the parameters p by
// name.
type reference struct {
	c Config
	p map[string][]float64
}

func newReference(c Config, ps *nn.Params) *reference {
	r := &reference{c, map[string][]float64{}}
	for _, p := range ps.All() {
		v := make([]float64, len(p.Data))
		for i, x := range p.Data {
			v[i] = float64(x)
		}
		r.p[p.Name] = v
	}
	return r
}

func (r *reference) linear(x [][]float64, name string) [][]float64 {
	w, b := r.p[name+".weight"], r.p[name+".bias"]
	y := make([][]float64, len(x))
	for i, row := range x {
		y[i] = make([]float64, len(w)/len(row))
		for j := range y[i] {
			if b != nil {
				y[i][j] = b[j]
			}
			for k, v := range row {
				y[i][j] += v * w[j*len(row)+k]
			}
		}
	}
	return y
}

func (r *reference) norm(x [][]float64, name string) [][]float64 {
	w, b := r.p[name+".weight"], r.p[name+".bias"]
	y := make([][]float64, len(x))
	for i, row := range x {
		mean, square := 0.0, 0.0
		for _, v := range row {
			mean += v / float64(len(row))
			square += v * v / float64(len(row))
		}
		y[i] = make([]float64, len(row))
		for j, v := range row {
			y[i][j] = w[j]*(v-mean)/math.Sqrt(square-mean*mean+float64(r.c.LayerNormEps)) + b[j]
		}
	}
	return y
}

func (r *reference) attention(qkv [][]float64) [][]float64 {
	d, dh := r.c.Dim, r.c.Dim/r.c.Heads
	y := make([][]float64, len(qkv))
	for i := range y {
		y[i] = make([]float64, d)
		for h := range r.c.Heads {
			weights, sum := make([]float64, len(qkv)), 0.0
			for j := range weights {
				score := 0.0
				for c := h * dh; c < (h+1)*dh; c++ {
					score += qkv[i][c] * qkv[j][d+c]
				}
				weights[j] = math.Exp(score / math.Sqrt(float64(dh)))
				sum += weights[j]
			}
			for j, w := range weights {
				for c := h * dh; c < (h+1)*dh; c++ {
					y[i][c] += w / sum * qkv[j][2*d+c]
				}
			}
		}
	}
	return y
}

// block is the result for one sample, its branches times two scales.
func (r *reference) block(x [][]float64, name string, attn, mlp float64) [][]float64 {
	a := r.linear(r.attention(r.linear(r.norm(x, name+".norm1"), name+".attn.qkv")), name+".attn.proj")
	y := make([][]float64, len(x))
	for i := range y {
		y[i] = make([]float64, len(x[i]))
		for j := range y[i] {
			y[i][j] = x[i][j] + attn*a[i][j]
		}
	}
	h := r.linear(r.norm(y, name+".norm2"), name+".mlp.fc1")
	for i := range h {
		for j, v := range h[i] {
			h[i][j] = v / 2 * (1 + math.Erf(v/math.Sqrt2))
		}
	}
	for i, f := range r.linear(h, name+".mlp.fc2") {
		for j := range f {
			y[i][j] += mlp * f[j]
		}
	}
	return y
}

// sequences splits x [B, N, D].
func sequences(x []float64, batch, n, d int) [][][]float64 {
	s := make([][][]float64, batch)
	for b := range s {
		for i := range n {
			at := (b*n + i) * d
			s[b] = append(s[b], x[at:at+d])
		}
	}
	return s
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// randomised gives every parameter values that none of the terms hides behind: biases and norms
// too.
func randomised(ps *nn.Params) {
	for _, p := range ps.All() {
		copy(p.Data, testkit.Normal(p.Name, len(p.Data)))
		for i := range p.Data {
			if len(p.Shape) == 2 {
				p.Data[i] /= float32(math.Sqrt(float64(p.Shape[1])))
			}
		}
	}
}

// scales replays the draws of a block for a batch.
func scales(r *nn.RNG, batch int, rate float64) []float64 {
	s := make([]float64, batch)
	for i := range s {
		if r.Float64() >= rate {
			s[i] = 1 / (1 - rate)
		}
	}
	return s
}

// within is what a block may be off where its input and results are of size about 1: its sums have
// up to 24 terms, and the errors of a dozen operations add up like random numbers.
const within = 4 * 24 * u

// TestBlock compares a block with the reference, its gradients with the reference's differences,
// with and without bias of qkv and dropped branches.
func TestBlock(t *testing.T) {
	for _, c := range []struct {
		heads, batch, n int
		bias            bool
		drop            float64
	}{{3, 2, 5, true, 0}, {1, 1, 1, true, 0}, {4, 3, 4, false, 0}, {2, 8, 3, true, 0.5}, {12, 4, 2, false, 0.3}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			cfg := Config{Dim: 12, Heads: c.heads, MLPRatio: 2, QKVBias: c.bias, LayerNormEps: 1e-3}
			ps := nn.NewParams()
			b := NewBlock(ps, "b", cfg, c.drop)
			randomised(ps)
			ps.EnableGrad()
			x := tensor.From(testkit.Normal("x", c.batch*c.n*cfg.Dim), c.batch, c.n, cfg.Dim).WithGrad()
			ref, x64 := newReference(cfg, ps), wide(x.Data)
			rng := nn.NewRNG(5)
			replay := rng
			attn, mlp := slices.Repeat([]float64{1}, c.batch), slices.Repeat([]float64{1}, c.batch)
			if c.drop > 0 {
				attn, mlp = scales(&replay, c.batch, c.drop), scales(&replay, c.batch, c.drop)
			}
			weights := testkit.Normal("weights", c.batch*c.n) // of the loss, a sum of squares
			want := func() (y []float64, loss float64) {
				for s, seq := range sequences(x64, c.batch, c.n, cfg.Dim) {
					for i, row := range ref.block(seq, "b", attn[s], mlp[s]) {
						y = append(y, row...)
						for _, v := range row {
							loss += float64(weights[s*c.n+i]) * v * v / float64(cfg.Dim)
						}
					}
				}
				return y, loss
			}
			y64, _ := want()
			// along is the derivative of the loss in the direction of v.
			along := func(p, v []float64) float64 {
				const h = 1e-5
				step := func(by float64) float64 {
					for i := range p {
						p[i] += by * v[i]
					}
					_, l := want()
					return l
				}
				up := step(h)
				down := step(-2 * h)
				step(h)
				return (up - down) / (2 * h)
			}
			type group struct {
				name   string
				data   []float64
				tensor *tensor.Tensor
				dir    []float64
				want   float64
			}
			groups := []group{{name: "x", data: x64, tensor: x}}
			for _, p := range ps.All() {
				groups = append(groups, group{name: p.Name, data: ref.p[p.Name], tensor: p.Tensor})
			}
			for i := range groups {
				g := &groups[i]
				g.dir = wide(testkit.Normal("direction of "+g.name, len(g.data)))
				g.want = along(g.data, g.dir)
			}
			testkit.EachLevel(t, func(t *testing.T) {
				ps.ZeroGrad(tensor.NewTape(nil))
				clear(x.Grad)
				again := rng
				random := &again
				if c.drop == 0 {
					random = nil
				}
				tape := tensor.NewTape(nil)
				y := b.Forward(tape, x, random)
				near(t, "output", y.Data, y64, within)
				tape.Backward(tensor.RegressionLoss(tape, y, make([]float32, len(y.Data)), weights, tensor.L2))
				size := 0.0 // the largest gradient
				for _, g := range groups {
					size = max(size, math.Sqrt(tape.GradSumSq(g.tensor)))
				}
				for _, g := range groups {
					got := 0.0
					for i, v := range g.tensor.Grad {
						got += float64(v) * g.dir[i]
					}
					// Rounding is in no direction: it adds up like the gradient's own components. Key
					// biases have a gradient of rounding only.
					off := within*math.Sqrt(tape.GradSumSq(g.tensor)) + 24*u*size + 1e-9
					if !(math.Abs(got-g.want) <= off) {
						t.Errorf("the gradient of %s is %v in a direction, want %v ± %.2g", g.name, got, g.want, off)
					}
				}
				infer := b.Forward(tensor.NewInference(nil), x, nil)
				if c.drop == 0 {
					testkit.SameBits(t, "inference", infer.Data, y.Data)
				}
			})
		})
	}
}

func TestBlockParams(t *testing.T) {
	ps := nn.NewParams()
	NewEncoder(ps, "encoder", Config{Dim: 8, Depth: 2, Heads: 2, MLPRatio: 3, QKVBias: true, LayerNormEps: 1e-6})
	var got []string
	for _, p := range ps.All() {
		got = append(got, fmt.Sprint(p.Name, p.Shape))
	}
	var want []string
	for i := range 2 { // and no norm after the last block
		for _, s := range []string{"norm1.weight[8]", "norm1.bias[8]", "attn.qkv.weight[24 8]", "attn.qkv.bias[24]", "attn.proj.weight[8 8]", "attn.proj.bias[8]",
			"norm2.weight[8]", "norm2.bias[8]", "mlp.fc1.weight[24 8]", "mlp.fc1.bias[24]", "mlp.fc2.weight[8 24]", "mlp.fc2.bias[8]"} {
			want = append(want, fmt.Sprintf("encoder.%d.%s", i, s))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("parameters %q, want %q", got, want)
	}
	ps = nn.NewParams()
	NewBlock(ps, "b", Config{Dim: 8, Heads: 2, MLPRatio: 3, LayerNormEps: 1e-6}, 0)
	if ps.Get("b.attn.qkv.bias") != nil || ps.Get("b.attn.proj.bias") == nil {
		t.Error("qkv_bias false: want no bias of qkv and one of proj")
	}
	// Queries, keys and values are initialised each as if alone.
	ps = nn.NewParams()
	NewBlock(ps, "b", Config{Dim: 64, Heads: 2, MLPRatio: 4, QKVBias: true, LayerNormEps: 1e-6}, 0)
	ps.Init(1)
	for name, bound := range map[string]float64{"b.attn.qkv": math.Sqrt(6. / (64 + 64)), "b.attn.proj": math.Sqrt(6. / (64 + 64)), "b.mlp.fc1": math.Sqrt(6. / (256 + 64))} {
		largest := 0.0
		for _, v := range ps.Get(name + ".weight").Data {
			largest = max(largest, math.Abs(float64(v)))
		}
		if largest > bound || largest < 0.99*bound {
			t.Errorf("%s.weight: up to %.4f, want %.4f", name, largest, bound)
		}
	}
}

// TestZeroInitResidual checks that blocks begin as the identity, and that all that could teach them
// otherwise gets a gradient.
func TestZeroInitResidual(t *testing.T) {
	ps := nn.NewParams()
	e := NewEncoder(ps, "e", Config{Dim: 8, Depth: 2, Heads: 2, MLPRatio: 2, QKVBias: true, LayerNormEps: 1e-6, ZeroInitResidual: true})
	ps.Init(1)
	ps.EnableGrad()
	x := tensor.From(testkit.Normal("x", 2*5*8), 2, 5, 8)
	tape := tensor.NewTape(nil)
	y := e.Forward(tape, x, nil)
	testkit.SameBits(t, "encoder", y.Data, x.Data)
	weights := testkit.Normal("weights", y.Rows())
	tape.Backward(tensor.RegressionLoss(tape, y, testkit.Normal("target", len(y.Data)), weights, tensor.L2))
	for _, p := range ps.All() {
		ends := strings.HasSuffix(p.Name, "attn.proj.weight") || strings.HasSuffix(p.Name, "fc2.weight")
		if zero := !slices.ContainsFunc(p.Data, func(v float32) bool { return v != 0 }); zero != (ends || strings.HasSuffix(p.Name, ".bias")) {
			t.Errorf("%s: zeros is %v", p.Name, zero)
		}
		if ends && !slices.ContainsFunc(p.Grad, func(v float32) bool { return v != 0 }) {
			t.Errorf("%s has no gradient", p.Name)
		}
	}
}

// TestEncoder checks that an encoder is its blocks one after the other and nothing else.
func TestEncoder(t *testing.T) {
	c := Config{Dim: 8, Depth: 3, Heads: 2, MLPRatio: 2, QKVBias: true, LayerNormEps: 1e-6}
	ps := nn.NewParams()
	e := NewEncoder(ps, "e", c)
	randomised(ps)
	x := tensor.From(testkit.Normal("x", 2*5*8), 2, 5, 8)
	tape := tensor.NewTape(nil)
	got := e.Forward(tape, x, nil)
	ref := newReference(c, ps)
	var want []float64
	for _, seq := range sequences(wide(x.Data), 2, 5, 8) {
		for i := range c.Depth {
			seq = ref.block(seq, fmt.Sprint("e.", i), 1, 1)
		}
		for _, row := range seq {
			want = append(want, row...)
		}
	}
	near(t, "encoder", got.Data, want, 3*within)
	c.Depth = 0
	if y := NewEncoder(nn.NewParams(), "e", c).Forward(tape, x, nil); y != x {
		t.Error("an encoder without blocks is not the identity")
	}
}

// TestForwardRows wants the bits of the same rows of all: those of no sample, of one, and of several.
func TestForwardRows(t *testing.T) {
	const size, n, dim = 3, 5, 8
	for depth := range 3 {
		c := Config{Dim: dim, Depth: depth, Heads: 2, MLPRatio: 2, QKVBias: true, LayerNormEps: 1e-6}
		ps := nn.NewParams()
		e := NewEncoder(ps, "e", c)
		randomised(ps)
		x := tensor.From(testkit.Normal("x", size*n*dim), size, n, dim)
		for _, rows := range [][]int32{{}, {7}, {0, 1, 2, 3, 4}, {0, 3, 4, 6, 14}} {
			t.Run(fmt.Sprint(depth, " blocks, rows ", rows), func(t *testing.T) {
				testkit.EachLevel(t, func(t *testing.T) {
					for _, tape := range []*tensor.Tape{tensor.NewTape(nil), tensor.NewInference(nil)} {
						all := e.Forward(tape, x, nil)
						want := []float32{}
						for _, r := range rows {
							want = append(want, all.Data[r*dim:][:dim]...)
						}
						got := e.ForwardRows(tape, x, rows)
						if !slices.Equal(got.Shape, []int{len(rows), dim}) {
							t.Errorf("shape %v", got.Shape)
						}
						testkit.SameBits(t, "rows", got.Data, want)
						testkit.SameBits(t, "all rows", e.ForwardRows(tape, x, nil).Data, all.Data)
					}
				})
			})
		}
	}
}

func TestDropPathRates(t *testing.T) {
	for _, c := range []struct {
		depth int
		rate  float64
		want  []float64
	}{{5, 0.2, []float64{0, 0.05, 0.1, 0.15, 0.2}}, {2, 0.3, []float64{0, 0.3}}, {1, 0.3, []float64{0}}, {3, 0, []float64{0, 0, 0}}} {
		e := NewEncoder(nn.NewParams(), "e", Config{Dim: 4, Depth: c.depth, Heads: 1, MLPRatio: 1, LayerNormEps: 1e-6, DropPath: c.rate})
		for i, b := range e.Blocks {
			if math.Abs(b.dropPath-c.want[i]) > 1e-15 {
				t.Errorf("depth %d: block %d drops with %v, want %v", c.depth, i, b.dropPath, c.want[i])
			}
		}
	}
}

// TestDropPath checks samples whose branches are all dropped, that the mean over many samples is
// that without dropping, and that nil drops nothing.
func TestDropPath(t *testing.T) {
	const batch, n, d = 4000, 1, 4
	cfg := Config{Dim: d, Heads: 1, MLPRatio: 1, QKVBias: true, LayerNormEps: 1e-6}
	x := tensor.From(slices.Repeat(testkit.Normal("x", n*d), batch), batch, n, d).WithGrad()
	ps := nn.NewParams()
	always := NewBlock(ps, "b", cfg, 1-1e-12)
	randomised(ps)
	ps.EnableGrad()
	r := nn.NewRNG(1)
	tape := tensor.NewTape(nil)
	y := always.Forward(tape, x, &r)
	testkit.SameBits(t, "all dropped", y.Data, x.Data)
	weights := testkit.Normal("w", batch*n)
	tape.Backward(tensor.RegressionLoss(tape, y, make([]float32, len(y.Data)), weights, tensor.L2))
	for i, g := range x.Grad {
		if want := 2 * float64(weights[i/d]) / d * float64(x.Data[i]); math.Abs(float64(g)-want) > 4*u*math.Abs(want) {
			t.Fatalf("all dropped: gradient %d of x is %v, want %v", i, g, want)
		}
	}
	for _, p := range ps.All() {
		for i, g := range p.Grad {
			if g != 0 {
				t.Fatalf("all dropped: gradient %d of %s is %v", i, p.Name, g)
			}
		}
	}

	const rate = 0.3
	some := NewBlock(nn.NewParams(), "b", cfg, rate)
	*some = Block{always.norm1, always.qkv, always.proj, always.norm2, always.mlp, always.heads, rate}
	tape = tensor.NewTape(nil)
	all := some.Forward(tape, x, nil)
	testkit.SameBits(t, "nil drops nothing", all.Data[:d], all.Data[len(all.Data)-d:])
	// One branch: the second would see what the first did.
	branch := tensor.From(testkit.Normal("branch", batch*n*d)[:d], 1, 1, d)
	h := tensor.From(slices.Repeat(branch.Data, batch), batch, n, d)
	full := some.residual(tape, x, h, some.proj, nil).Data[:d]
	r = nn.NewRNG(2)
	got := some.residual(tape, x, h, some.proj, &r).Data
	dropped, mean := 0, make([]float64, d)
	for s := range batch {
		row := got[s*d : (s+1)*d]
		if slices.Equal(row, x.Data[:d]) {
			dropped++
		}
		for j, v := range row {
			mean[j] += float64(v) / batch
		}
	}
	sd := math.Sqrt(rate * (1 - rate) / batch)
	if p := float64(dropped) / batch; math.Abs(p-rate) > 4*sd {
		t.Errorf("%.4f of the samples dropped, want %g ± %.4f", p, rate, 4*sd)
	}
	for j, m := range mean {
		effect := float64(full[j]) - float64(x.Data[j])
		if math.Abs(m-float64(full[j])) > 4*sd/(1-rate)*math.Abs(effect)+1e-6 {
			t.Errorf("channel %d has the mean %v over dropped samples, want %v", j, m, full[j])
		}
	}
	// The same key drops the same samples, another one others.
	r, again := nn.NewRNG(2), nn.NewRNG(3)
	testkit.SameBits(t, "the same key", some.residual(tape, x, h, some.proj, &r).Data, got)
	if slices.Equal(some.residual(tape, x, h, some.proj, &again).Data, got) {
		t.Error("another key drops the same samples")
	}
}

func TestMLP(t *testing.T) {
	ps := nn.NewParams()
	m := NewMLP(ps, "m", Config{Dim: 3, MLPRatio: 2})
	randomised(ps)
	x, res := tensor.From(testkit.Normal("x", 6), 2, 3), tensor.From(testkit.Normal("res", 6), 2, 3)
	ref := newReference(Config{}, ps)
	var want []float64
	for i, row := range ref.linear([][]float64{wide(x.Data[:3]), wide(x.Data[3:])}, "m.fc1") {
		for j, v := range row {
			row[j] = v / 2 * math.Erfc(-v/math.Sqrt2)
		}
		for j, v := range ref.linear([][]float64{row}, "m.fc2")[0] {
			want = append(want, v+float64(res.Data[3*i+j]))
		}
	}
	near(t, "MLP", m.ForwardAdd(tensor.NewTape(nil), x, res).Data, want, within)
}
