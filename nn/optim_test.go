package nn

import (
	"fmt"
	"math"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/tensor"
)

// TestAdamW compares several steps with the formula of Loshchilov and Hutter in float64, over
// parameters shorter and longer than what a worker takes at once.
func TestAdamW(t *testing.T) {
	for _, betas := range [][2]float64{{0.9, 0.95}, {0.9, 0.999}, {0, 0}, {0.5, 0.9999}} {
		t.Run(fmt.Sprint(betas), func(t *testing.T) {
			var first []float32
			withPool(func(pool *tensor.Pool) {
				a, b := NewParams(), NewParams()
				a.Add("short", nil, 3)
				a.AddFixed("table", nil, 5)
				a.Add("long", nil, 2<<15+17)
				b.Add("other", nil, 1, 40)
				var all []*Param
				for _, ps := range []*Params{a, b} {
					ps.EnableGrad()
					for _, p := range ps.All() {
						copy(p.Data, testkit.Normal(p.Name, len(p.Data)))
					}
					all = append(all, ps.All()...)
				}
				opt := NewAdamW(betas[0], betas[1], 1e-8, a, b)
				if got := opt.Params(); len(got) != 3 || got[0] != all[0] || got[1] != all[2] || got[2] != all[3] || len(opt.M[1]) != len(all[2].Data) || len(opt.V[2]) != 40 {
					t.Fatalf("the optimiser trains %d parameters", len(got))
				}
				w := make([][]float64, len(all))
				m, v := make([][]float64, len(all)), make([][]float64, len(all))
				for k, p := range all {
					for _, x := range p.Data {
						w[k] = append(w[k], float64(x))
					}
					m[k], v[k] = make([]float64, len(p.Data)), make([]float64, len(p.Data))
				}
				const steps = 6
				tape := tensor.NewTape(pool)
				moved := 0.0 // learning rates so far
				for step := 1; step <= steps; step++ {
					lr, wd, scale := 0.01/float64(step), 0.05, 1.0
					if step == 3 {
						wd, scale = 0, 0.25
					}
					moved += lr
					for k, p := range all {
						copy(p.Grad, testkit.Normal(fmt.Sprint(p.Name, step), len(p.Grad)))
						if p.Fixed {
							continue
						}
						if step == 4 {
							clear(p.Grad)
						}
						for i, g := range p.Grad {
							g := float64(g) * scale
							m[k][i] = betas[0]*m[k][i] + (1-betas[0])*g
							v[k][i] = betas[1]*v[k][i] + (1-betas[1])*g*g
							mhat, vhat := m[k][i]/(1-math.Pow(betas[0], float64(step))), v[k][i]/(1-math.Pow(betas[1], float64(step)))
							w[k][i] = w[k][i]*(1-lr*wd) - lr*mhat/(math.Sqrt(vhat)+1e-8)
						}
					}
					opt.Step(tape, lr, wd, scale)
					for k, p := range all {
						for i, got := range p.Data {
							if p.Fixed && float64(got) != w[k][i] {
								t.Fatalf("%s is not trained, but element %d changed", p.Name, i)
							}
							// A step rounds the weight twice, and the quotient that the learning
							// rate multiplies, itself seldom above 4, some ten times.
							within := u * (2*float64(step)*(math.Abs(w[k][i])+moved) + 4*16*moved)
							if d := math.Abs(float64(got) - w[k][i]); !(d <= within) {
								t.Fatalf("step %d: %s element %d is %v, want %v ± %.2g", step, p.Name, i, got, w[k][i], within)
							}
						}
					}
				}
				if opt.Steps != steps {
					t.Errorf("%d steps counted, want %d", opt.Steps, steps)
				}
				if first == nil {
					first = a.Get("long").Data
				}
				testkit.SameBits(t, "more workers", a.Get("long").Data, first)
			})
		})
	}
}

// TestAdamWUnreached compares parameters that the loss depends on in some steps only with PyTorch's
// rule in float64: in other steps neither the parameter nor its moments change, and the bias of the
// moments is corrected for the steps that changed them. A gradient of zeros is a gradient.
func TestAdamWUnreached(t *testing.T) {
	const lr, wd, beta1, beta2, eps, n = 0.01, 0.3, 0.9, 0.95, 1e-8, 40
	type rule struct {
		steps   []bool // in which of them the loss depends on it
		factor  float32
		w, m, v []float64
		updates float64
	}
	rules := map[string]*rule{
		"always":    {steps: []bool{true, true, true, true, true}, factor: 1},
		"sometimes": {steps: []bool{false, true, false, false, true}, factor: 1},
		"never":     {steps: make([]bool, 5), factor: 1},
		"of zeros":  {steps: []bool{true, true, false, true, true}, factor: 0},
	}
	ps := NewParams()
	for _, name := range []string{"always", "sometimes", "never", "of zeros"} {
		p := ps.Add(name, nil, 1, n)
		copy(p.Data, testkit.Normal(name, n))
		r := rules[name]
		r.m, r.v = make([]float64, n), make([]float64, n)
		for _, x := range p.Data {
			r.w = append(r.w, float64(x))
		}
	}
	ps.EnableGrad()
	opt := NewAdamW(beta1, beta2, eps, ps)
	tape := tensor.NewTape(nil)
	for step := range 5 {
		tape.Reset()
		ps.ZeroGrad(tape)
		var losses []*tensor.Tensor
		for _, p := range ps.All() {
			r := rules[p.Name]
			if !r.steps[step] {
				continue
			}
			// mean((w − target)²), whose gradient is 2·(w − target)/n.
			target := testkit.Normal(fmt.Sprint(p.Name, step), n)
			losses = append(losses, tensor.RegressionLoss(tape, p.Tensor, target, []float32{r.factor}, tensor.L2))
			r.updates++
			for i := range r.w {
				g := float64(r.factor) * 2 * float64(p.Data[i]-target[i]) / n
				r.m[i] = beta1*r.m[i] + (1-beta1)*g
				r.v[i] = beta2*r.v[i] + (1-beta2)*g*g
				mhat, vhat := r.m[i]/(1-math.Pow(beta1, r.updates)), r.v[i]/(1-math.Pow(beta2, r.updates))
				r.w[i] = r.w[i]*(1-lr*wd) - lr*mhat/(math.Sqrt(vhat)+eps)
			}
		}
		ps.Backward(tape, tensor.Sum(tape, losses...))
		opt.Step(tape, lr, wd, 1)
		for k, p := range opt.Params() {
			r := rules[p.Name]
			if p.HasGrad() != r.steps[step] || opt.Updates[k] != int(r.updates) {
				t.Errorf("step %d: %s has a gradient: %v, and %d updates", step, p.Name, p.HasGrad(), opt.Updates[k])
			}
			for i, got := range p.Data {
				if within := 64 * u * (math.Abs(r.w[i]) + lr); math.Abs(float64(got)-r.w[i]) > within {
					t.Fatalf("step %d: %s element %d is %v, want %v ± %.2g", step, p.Name, i, got, r.w[i], within)
				}
				if !r.steps[step] && p.Grad[i] != 0 {
					t.Fatalf("step %d: %s has the gradient %v", step, p.Name, p.Grad[i])
				}
			}
		}
	}
	testkit.SameBits(t, "never", ps.Get("never").Data, testkit.Normal("never", n))
}

// TestBackward: the norm is that of the gradients that are left, of weights, of what other
// operations read, and of what the loss does not depend on.
func TestBackward(t *testing.T) {
	var first float64
	withPool(func(pool *tensor.Pool) {
		ps := NewParams()
		w := ps.Add("w", nil, 300, 70)
		ps.AddFixed("table", nil, 9)
		b := ps.Add("b", nil, 300)
		x := ps.Add("x", nil, 30, 70)
		ps.Add("idle", nil, 7)
		for _, p := range ps.All() {
			copy(p.Data, testkit.Normal(p.Name, len(p.Data)))
		}
		tape := tensor.NewTape(pool)
		backward := func() float64 {
			y := tensor.Linear(tape, x, w, b)
			weights := make([]float32, 30)
			for i := range weights {
				weights[i] = 1
			}
			defer tape.Reset()
			return ps.Backward(tape, tensor.RegressionLoss(tape, y, make([]float32, len(y.Data)), weights, tensor.L2))
		}
		if n := backward(); n != 0 {
			t.Errorf("norm %g without gradients", n)
		}
		ps.EnableGrad()
		ps.Get("idle").Grad[3] = 500
		backward()
		got, want := backward(), 0.0 // adds to the gradients
		for _, p := range ps.All() {
			for _, g := range p.Grad {
				want += float64(g) * float64(g)
			}
		}
		if math.Abs(got-math.Sqrt(want)) > 1e-12*got || got < 501 {
			t.Errorf("norm %v, want %v", got, math.Sqrt(want))
		}
		if first == 0 {
			first = got
		}
		if got != first {
			t.Errorf("norm %v with another number of workers, want the bits of %v", got, first)
		}
	})
}

func TestClipScale(t *testing.T) {
	for _, c := range []struct{ norm, limit, want float64 }{
		{5, 0, 1}, {0, 3, 1}, {3, 3, 1}, {2.999, 3, 1}, {6, 3, 0.5}, {1e6, 1, 1e-6}, {math.Inf(1), 2, 0},
	} {
		t.Run(fmt.Sprintf("%g/%g", c.norm, c.limit), func(t *testing.T) {
			got := ClipScale(c.norm, c.limit)
			if math.Abs(got-c.want) > 1e-6*c.want {
				t.Errorf("got %g, want %g", got, c.want)
			}
			if c.limit > 0 && c.norm < 1e9 && c.norm*got > c.limit {
				t.Error("leaves a norm above the limit")
			}
		})
	}
}

func TestSchedule(t *testing.T) {
	for _, s := range []Schedule{
		{Base: 1, Warmup: 10, Steps: 100}, {Base: 0.3, Warmup: 0, Steps: 7}, {Base: 2, Warmup: 5, Steps: 5},
		{Base: 1, Warmup: 1, Steps: 1}, {Base: 1, Warmup: 0, Steps: 0}, {Base: 1, Warmup: 8, Steps: 4},
	} {
		t.Run(fmt.Sprintf("%+v", s), func(t *testing.T) {
			last := 0.0
			for step := range s.Warmup {
				r := s.At(step)
				if want := s.Base * float64(step+1) / float64(s.Warmup); math.Abs(r-want) > 1e-15 || r <= last {
					t.Errorf("step %d of the warm-up has %v, want %v", step, r, want)
				}
				last = r
			}
			if s.Warmup > 0 && last != s.Base {
				t.Errorf("the warm-up ends at %v", last)
			}
			if s.Steps > s.Warmup {
				if r := s.At(s.Warmup); r != s.Base {
					t.Errorf("the cosine begins at %v", r)
				}
				if (s.Steps-s.Warmup)%2 == 0 {
					if r := s.At((s.Steps + s.Warmup) / 2); math.Abs(r-s.Base/2) > 1e-15 {
						t.Errorf("half way it is %v", r)
					}
				}
				if first, end := s.At(s.Warmup)-s.At(s.Warmup+1), s.At(s.Steps-1)-s.At(s.Steps); math.Abs(first-end) > 1e-12 {
					t.Errorf("it leaves Base by %v a step and reaches 0 by %v", first, end)
				}
			}
			last = s.Base
			for step := s.Warmup; step < s.Steps+5; step++ {
				r := s.At(step)
				if r > last || r < 0 || step > s.Warmup && step < s.Steps && r == last {
					t.Errorf("step %d has %v after %v", step, r, last)
				}
				last = r
			}
			if s.Steps > s.Warmup && s.At(s.Steps) != 0 || s.At(max(s.Steps, s.Warmup)+1000) != 0 {
				t.Errorf("ends at %v, want 0", s.At(s.Steps))
			}
		})
	}
}
