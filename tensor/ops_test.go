package tensor

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

// opCase is a computation from some inputs to one result, by the library and by the reference.
type opCase struct {
	name string
	in   []input
	lib  func(t *Tape, x []*Tensor) *Tensor
	ref  func(g *graph, x []*array) *array
	big  bool // left out under -short, as with the race detector
	// loose says that bounds may be as large as results: those cancel out, or went through many
	// operations.
	loose bool

	once  sync.Once
	seed  []float32 // gradient of the result
	data  [][]float32
	start [][]float32 // gradients of the inputs before the backward pass
	out   []num
	grads [][]num
}

// input is drawn from a normal distribution.
type input struct {
	shape       []int
	mean, sigma float64
}

func in(shape ...int) input { return input{shape, 0, 1} }

func (i input) around(mean, sigma float64) input { return input{i.shape, mean, sigma} }

// prepare draws the data and computes the expected result and gradients, once for all tests.
func (c *opCase) prepare() {
	c.once.Do(func() {
		r := seeded(c.name)
		g := &graph{}
		x := make([]*array, len(c.in))
		for k, in := range c.in {
			data, start := normal(r, size(in.shape)), normal(r, size(in.shape))
			x[k] = newArray(in.shape...)
			for i := range data {
				data[i] = float32(in.mean + in.sigma*float64(data[i]))
				x[k].val[i] = exact(float64(data[i]))
			}
			c.data, c.start = append(c.data, data), append(c.start, start)
		}
		y := c.ref(g, x)
		c.out = y.val
		c.seed = normal(r, len(c.out))
		for i, v := range c.seed {
			y.grad[i] = exact(float64(v))
		}
		g.backward()
		for _, x := range x {
			c.grads = append(c.grads, x.grad)
		}
	})
}

// leaves returns tensors of the case's inputs, those of which wants is true with a gradient that is
// not zero at first.
func (c *opCase) leaves(wants func(i int) bool) []*Tensor {
	c.prepare()
	x := make([]*Tensor, len(c.in))
	for i := range x {
		x[i] = From(slices.Clone(c.data[i]), c.in[i].shape...)
		if wants(i) {
			x[i].Grad = slices.Clone(c.start[i])
		}
	}
	return x
}

func all(int) bool  { return true }
func none(int) bool { return false }

// identity is an operation as packages above write them. Behind it a leaf is a tracked result,
// whose gradient is fresh for the first operation that adds to it.
func identity(t *Tape, x *Tensor) *Tensor {
	y := t.New(x.Shape...)
	copy(y.Data, x.Data)
	if t.Record("identity", y, x) {
		t.Back(func() { t.passGrad(x, y) })
	}
	return y
}

// project is the loss Σ seed·x, which gives x the gradient seed.
func project(t *Tape, x *Tensor, seed []float32) *Tensor {
	y := t.New(1)
	y.Data[0] = 0
	for i, v := range x.Data {
		y.Data[0] += v * seed[i]
	}
	if t.Record("projection", y, x) {
		t.Back(func() {
			g, fresh := t.rawGrad(x)
			for i, s := range seed {
				if fresh {
					g[i] = 0
				}
				g[i] += s * y.Grad[0]
			}
		})
	}
	return y
}

// step runs the case on leaves once, to and, on a tape that records, fro. It returns the result.
func (c *opCase) step(t *Tape, leaves []*Tensor, tracked bool) []float32 {
	x := slices.Clone(leaves)
	if tracked {
		for i := range x {
			x[i] = identity(t, x[i])
		}
	}
	y := c.lib(t, x)
	out := slices.Clone(y.Data)
	if t.recording {
		t.Backward(project(t, y, c.seed))
	}
	t.Reset()
	poisonScratch(t)
	return out
}

// compare reports the first element that is further from the reference than float32's roundings
// explain. extra holds what was added to, or is nil.
func compare(t *testing.T, what string, got []float32, want []num, extra []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	for i, w := range want {
		if extra != nil {
			// Sums may begin with what was there, and round it with each term.
			w = num{w.v + float64(extra[i]), w.e + 64*u*(w.abs()+math.Abs(float64(extra[i])))}
		}
		if !(math.Abs(float64(got[i])-w.v) <= w.e) {
			t.Errorf("%s: element %d is %v, want %v within %.2g", what, i, got[i], w.v, w.e)
			return
		}
	}
}

// telling fails where the bounds would accept zeros, or anything.
func telling(t *testing.T, what string, want []num) {
	t.Helper()
	var v, e float64
	for _, w := range want {
		v += w.v * w.v
		e += w.e * w.e
	}
	if !(e <= 0.02*0.02*v+1e-70) { // 1e-35 comes of sums of nothing
		t.Errorf("%s: bounds of %.2g for values of %.2g prove nothing", what, math.Sqrt(e/float64(len(want))), math.Sqrt(v/float64(len(want))))
	}
}

// eachCase runs body for all cases but, under -short, the big ones.
func eachCase(t *testing.T, body func(t *testing.T, c *opCase)) {
	for _, c := range cases() {
		if c.big && testing.Short() {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			c.prepare()
			body(t, c)
		})
	}
}

// TestReference checks the reference's own gradients by central differences.
func TestReference(t *testing.T) {
	eachCase(t, func(t *testing.T, c *opCase) {
		cost := func(x [][]float64) (sum float64) {
			arrays := make([]*array, len(x))
			for k := range x {
				arrays[k] = newArray(c.in[k].shape...)
				for i, v := range x[k] {
					arrays[k].val[i] = exact(v)
				}
			}
			for i, y := range c.ref(&graph{}, arrays).val {
				sum += y.v * float64(c.seed[i])
			}
			return sum
		}
		if !c.loose {
			telling(t, "result", c.out)
		}
		x := make([][]float64, len(c.data))
		for k := range x {
			for _, v := range c.data[k] {
				x[k] = append(x[k], float64(v))
			}
		}
		r := seeded("difference")
		for k := range x {
			what := fmt.Sprintf("gradient %d", k)
			if !c.loose {
				telling(t, what, c.grads[k])
			}
			// All elements of small inputs; of big ones a few: a wrong index is wrong nearly
			// everywhere.
			tries := min(len(x[k]), 60)
			if c.big {
				tries = min(tries, 4)
			}
			if testing.Short() {
				tries = min(tries, 20)
			}
			for try := range tries {
				i := try
				if tries < len(x[k]) {
					i = r.IntN(len(x[k]))
				}
				const h = 1e-5
				was := x[k][i]
				x[k][i] = was + h
				up := cost(x)
				x[k][i] = was - h
				down := cost(x)
				x[k][i] = was
				got, want := c.grads[k][i].v, (up-down)/(2*h)
				if !(math.Abs(got-want) <= 1e-6*(1+math.Abs(want)+math.Abs(up)*1e-4)) {
					t.Fatalf("%s: element %d is %v, differences say %v", what, i, got, want)
				}
			}
		}
	})
}

// TestOperations compares results and gradients with the reference, for leaves whose gradients are
// added to and for tracked inputs, whose are fresh; and again on the same tape, whose memory then
// has been released and is NaN.
func TestOperations(t *testing.T) {
	testkit.EachLevel(t, func(t *testing.T) {
		ps := pools(t, 1, 3)
		eachCase(t, func(t *testing.T, c *opCase) {
			for k, tracked := range []bool{false, true} {
				tape := NewTape(ps[k])
				var first [][]float32
				for round := range 2 {
					x := c.leaves(all)
					y := c.step(tape, x, tracked)
					compare(t, fmt.Sprintf("tracked %v: result", tracked), y, c.out, nil)
					bits := [][]float32{y}
					for i := range x {
						compare(t, fmt.Sprintf("tracked %v: gradient %d", tracked, i), x[i].Grad, c.grads[i], c.start[i])
						if got, want := tape.GradSumSq(x[i]), sumSquares(x[i].Grad); !(math.Abs(got-want) <= 1e-13*want) {
							t.Errorf("tracked %v: the squares of gradient %d sum to %v, want %v", tracked, i, got, want)
						}
						testkit.SameBits(t, fmt.Sprintf("input %d", i), x[i].Data, c.data[i])
						bits = append(bits, x[i].Grad)
					}
					for i := range bits {
						if round == 1 && !t.Failed() {
							testkit.SameBits(t, fmt.Sprintf("tracked %v: array %d of the second step", tracked, i), bits[i], first[i])
						}
					}
					first = bits
				}
			}
		})
	})
}

// TestWorkers: the number of workers changes no bit.
func TestWorkers(t *testing.T) {
	testkit.EachLevel(t, func(t *testing.T) {
		ps := pools(t, 1, 2, 3, 5)
		eachCase(t, func(t *testing.T, c *opCase) {
			want, alone := c.leaves(all), NewTape(nil)
			y := c.step(alone, want, false)
			for _, p := range ps {
				x, tape := c.leaves(all), NewTape(p)
				testkit.SameBits(t, fmt.Sprintf("%d workers: result", p.Workers()), c.step(tape, x, false), y)
				for i := range x {
					testkit.SameBits(t, fmt.Sprintf("%d workers: gradient %d", p.Workers(), i), x[i].Grad, want[i].Grad)
					if got, one := tape.GradSumSq(x[i]), alone.GradSumSq(want[i]); got != one {
						t.Errorf("%d workers: the squares of gradient %d sum to %v, want %v", p.Workers(), i, got, one)
					}
				}
			}
		})
	})
}

// TestConstants: which inputs want a gradient changes no bit of the others', and constants get
// none.
func TestConstants(t *testing.T) {
	p := pools(t, 2)[0]
	eachCase(t, func(t *testing.T, c *opCase) {
		if c.big {
			return
		}
		tape := NewTape(p)
		want := c.leaves(all)
		y := c.step(tape, want, false)
		for which := -1; which < len(c.in); which++ {
			for _, tracked := range []bool{false, true} {
				x := c.leaves(func(i int) bool { return i == which })
				testkit.SameBits(t, "result", c.step(tape, x, tracked), y)
				for i := range x {
					testkit.SameBits(t, fmt.Sprintf("input %d", i), x[i].Data, c.data[i])
					if i != which {
						if x[i].Grad != nil {
							t.Errorf("constant %d got a gradient", i)
						}
					} else if !tracked {
						testkit.SameBits(t, fmt.Sprintf("gradient %d alone", i), x[i].Grad, want[i].Grad)
					} else {
						compare(t, fmt.Sprintf("gradient %d alone, tracked", i), x[i].Grad, c.grads[i], c.start[i])
					}
				}
			}
		}
	})
}

// TestInference: a tape that records nothing computes the same bits, with frozen inputs too, and
// again from memory that was released.
func TestInference(t *testing.T) {
	testkit.EachLevel(t, func(t *testing.T) {
		p := pools(t, 2)[0]
		eachCase(t, func(t *testing.T, c *opCase) {
			y := c.step(NewTape(p), c.leaves(all), false)
			x, frozen := c.leaves(all), c.leaves(all)
			for i := range x {
				frozen[i].Freeze()
			}
			tape := NewInference(p)
			for range 2 {
				testkit.SameBits(t, "result", c.step(tape, x, false), y)
				testkit.SameBits(t, "result of frozen inputs", c.step(tape, frozen, true), y)
				testkit.SameBits(t, "result of frozen weights", c.step(tape, frozen, false), y)
			}
			for i := range x {
				testkit.SameBits(t, fmt.Sprintf("gradient %d", i), x[i].Grad, c.start[i])
			}
		})
	})
}

// TestRecordingFrozen: frozen inputs are constants to a tape that records.
func TestRecordingFrozen(t *testing.T) {
	eachCase(t, func(t *testing.T, c *opCase) {
		if c.big {
			return
		}
		want := c.leaves(all)
		y := c.step(NewTape(nil), want, false)
		for which := range c.in {
			x := c.leaves(all)
			for i := range x {
				if i != which {
					x[i].Freeze()
				}
			}
			testkit.SameBits(t, "result", c.step(NewTape(nil), x, false), y)
			testkit.SameBits(t, fmt.Sprintf("gradient %d", which), x[which].Grad, want[which].Grad)
		}
	})
}

// TestTapesSharePool runs cases on several tapes of one pool at once.
func TestTapesSharePool(t *testing.T) {
	p := pools(t, 3)[0]
	var wg sync.WaitGroup
	for _, c := range cases() {
		c.prepare()
	}
	for k := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			tape, alone := NewTape(p), NewTape(nil)
			for i := range cases() {
				c := cases()[(i+5*k)%len(cases())]
				if c.big {
					continue
				}
				x, want := c.leaves(all), c.leaves(all)
				testkit.SameBits(t, c.name, c.step(tape, x, k == 1), c.step(alone, want, k == 1))
				for i := range x {
					testkit.SameBits(t, fmt.Sprintf("%s: gradient %d", c.name, i), x[i].Grad, want[i].Grad)
				}
			}
		}()
	}
	wg.Wait()
}

// TestAttentionOfEqualValues: where all values are equal the scores have no gradient, however large
// they are, which needs probabilities that sum to 1.
func TestAttentionOfEqualValues(t *testing.T) {
	testkit.EachLevel(t, func(t *testing.T) {
		const n, d = 20, 8
		x := New(1, n, 3*d).WithGrad()
		for i := range x.Data {
			x.Data[i] = 1
			if i%(3*d) < 2*d {
				x.Data[i] = 15 + float32(i*37%101)/50 // scores of about 700
			}
		}
		tape := NewTape(nil)
		tape.Backward(project(tape, Attention(tape, x, 1), ones(n*d)))
		for i, g := range x.Grad {
			// rowsum(p·dp) is off by the errors of two sums.
			if most := 2 * chains(n) * d * 17 / math.Sqrt(d); i%(3*d) < d && math.Abs(float64(g)) > most {
				t.Fatalf("element %d is %v, want at most %.2g", i, g, most)
			}
		}
	})
}

// TestCrossEntropyWithoutClass: a logit of −Inf rules a class out and leaves the loss of the others.
func TestCrossEntropyWithoutClass(t *testing.T) {
	testkit.EachLevel(t, func(t *testing.T) {
		tape := NewTape(nil)
		x := From([]float32{1, float32(math.Inf(-1)), 1}, 1, 3).WithGrad()
		loss := CrossEntropy(tape, x, 3, []int32{0}, ones(1), 0)
		tape.Backward(loss)
		for i, want := range []float64{math.Ln2, -0.5, 0, 0.5} {
			if got := float64(append(loss.Data[:1:1], x.Grad...)[i]); !(math.Abs(got-want) < 1e-6) {
				t.Errorf("loss and gradients: number %d is %v, want %v", i, got, want)
			}
		}
	})
}
