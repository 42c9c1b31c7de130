package nn

import (
	"fmt"
	"math"
	"testing"

	"github.com/gomae/gomae/internal/stattest"
	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/tensor"
)

func TestParams(t *testing.T) {
	ps := NewParams()
	l := NewLinear(ps, "fc", 3, 2, true)
	table := ps.AddFixed("pos_emb", Ones, 1, 4)
	n := NewLayerNorm(ps, "norm", 3, 1e-6)
	NewLinear(ps, "head", 3, 5, false)
	want := []string{"fc.weight [2 3]", "fc.bias [2]", "pos_emb [1 4]", "norm.weight [3]", "norm.bias [3]", "head.weight [5 3]"}
	var got []string
	for _, p := range ps.All() {
		got = append(got, fmt.Sprint(p.Name, " ", p.Shape))
		if ps.Get(p.Name) != p {
			t.Errorf("Get(%q) is another parameter", p.Name)
		}
		if p.Fixed != (p.Name == "pos_emb") || p.Grad != nil {
			t.Errorf("%s: fixed %v, gradient %v", p.Name, p.Fixed, p.Grad)
		}
		for _, v := range p.Data {
			if v != 0 {
				t.Errorf("%s is %v before Init", p.Name, p.Data)
				break
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("parameters %q, want %q", got, want)
	}
	if ps.Get("fc") != nil || ps.Get("") != nil {
		t.Error("Get of an unknown name is not nil")
	}
	if ps.Count() != 6+2+3+3+15 {
		t.Errorf("Count %d", ps.Count())
	}
	if l.Weight != ps.Get("fc.weight").Tensor || l.Bias != ps.Get("fc.bias").Tensor || n.Weight != ps.Get("norm.weight").Tensor || n.Eps != 1e-6 {
		t.Error("a layer holds other tensors than its parameters")
	}
	testkit.MustPanic(t, "nn: parameter fc.bias registered twice, want unique names", func() { ps.Add("fc.bias", Zeros, 2) })
	testkit.MustPanic(t, "nn: parameter norm.weight registered twice, want unique names", func() { NewLayerNorm(ps, "norm", 3, 1e-6) })

	ps.EnableGrad()
	for _, p := range ps.All() {
		if (p.Grad == nil) != p.Fixed {
			t.Errorf("%s: %d gradients", p.Name, len(p.Grad))
		}
		for i := range p.Grad {
			p.Grad[i] = 1
		}
	}
	// Gradients that the next backward pass does not reach are zero after it, and fc.bias gets its
	// own without what it had.
	tape := tensor.NewTape(nil)
	ps.ZeroGrad(tape)
	bias := ps.Get("fc.bias")
	tape.Backward(tensor.RegressionLoss(tape, bias.Tensor, make([]float32, len(bias.Data)), []float32{2}, tensor.L2))
	for _, p := range ps.All() {
		for _, g := range p.Grad {
			if g != 0 { // the bias is zero, and so is its gradient
				t.Fatalf("%s: gradient %v after ZeroGrad and Backward", p.Name, p.Grad)
			}
		}
	}
	ps.Freeze()
	for _, p := range ps.All() {
		if p.Grad != nil {
			t.Errorf("%s has a gradient after Freeze", p.Name)
		}
	}
	if table.Data[0] != 0 {
		t.Errorf("a fixed parameter changed: %v", table.Data)
	}
}

// TestInit checks that a parameter's values depend on seed and name alone.
func TestInit(t *testing.T) {
	register := func(ps *Params, name string) {
		switch name {
		case "a":
			NewLinear(ps, "a", 7, 5, true)
		case "b":
			NewFusedLinear(ps, "b", 4, 12, 3, true)
		case "c", "e":
			ps.Add(name, TruncatedNormal(0.02), 1, 1, 9)
		case "d":
			ps.AddFixed("d", Uniform(2), 6)
		}
	}
	set := func(seed uint64, names ...string) *Params {
		ps := NewParams()
		for _, n := range names {
			register(ps, n)
		}
		ps.Init(seed)
		return ps
	}
	ps := set(1, "a", "b", "c", "d", "e")
	for _, other := range []*Params{set(1, "d", "b", "a", "c"), set(1, "c", "a"), set(1, "e", "b"), set(1, "d")} {
		for _, p := range other.All() {
			testkit.SameBits(t, p.Name, p.Data, ps.Get(p.Name).Data)
		}
	}
	again := set(1, "a", "c")
	again.Init(2)
	again.Init(1) // whatever was before
	testkit.SameBits(t, "initialised again", again.Get("a.weight").Data, ps.Get("a.weight").Data)
	seen := map[string]string{}
	for seed := range uint64(3) {
		for _, p := range set(seed, "a", "b", "c", "d", "e").All() {
			if p.Name == "a.bias" || p.Name == "b.bias" {
				continue
			}
			what := fmt.Sprintf("%s of seed %d", p.Name, seed)
			if key := fmt.Sprint(p.Data[:4]); seen[key] != "" {
				t.Errorf("%s is %s", what, seen[key])
			} else {
				seen[key] = what
			}
		}
	}
}

func TestInitialValues(t *testing.T) {
	ps := NewParams()
	NewLinear(ps, "square", 200, 200, true)
	NewLinear(ps, "wide", 300, 60, true)
	NewFusedLinear(ps, "qkv", 120, 360, 3, true)
	NewFusedLinear(ps, "kv", 150, 300, 2, true)
	NewLayerNorm(ps, "norm", 50, 1e-6)
	ps.Add("uniform", Uniform(0.25), 40000)
	ps.Init(3)
	for _, c := range []struct {
		name        string
		from, parts int
		bound       float64
	}{
		{"square.weight", 0, 1, math.Sqrt(6.0 / (200 + 200))},
		{"wide.weight", 0, 1, math.Sqrt(6.0 / (60 + 300))},
		{"qkv.weight", 0, 3, math.Sqrt(6.0 / (360/3 + 120))},
		{"qkv.weight", 1, 3, math.Sqrt(6.0 / (360/3 + 120))},
		{"qkv.weight", 2, 3, math.Sqrt(6.0 / (360/3 + 120))},
		{"kv.weight", 0, 2, math.Sqrt(6.0 / (300/2 + 150))},
		{"kv.weight", 1, 2, math.Sqrt(6.0 / (300/2 + 150))},
		{"uniform", 0, 1, 0.25},
	} {
		t.Run(fmt.Sprintf("%s/%d", c.name, c.from), func(t *testing.T) {
			data := ps.Get(c.name).Data
			n := len(data) / c.parts
			var x []float64
			for _, v := range data[c.from*n : (c.from+1)*n] {
				x = append(x, float64(v))
			}
			d := stattest.KS(x, stattest.UniformCDF(-c.bound, c.bound))
			if lo, hi := x[0], x[n-1]; d > stattest.KSLimit || lo < -c.bound || hi > c.bound || hi < 0.998*c.bound || lo > -0.998*c.bound {
				t.Errorf("%.5f..%.5f, want ±%.5f; √n·D = %.2f", lo, hi, c.bound, d)
			}
		})
	}
	for name, want := range map[string]float32{"square.bias": 0, "qkv.bias": 0, "kv.bias": 0, "norm.weight": 1, "norm.bias": 0} {
		for i, v := range ps.Get(name).Data {
			if v != want {
				t.Errorf("%s: element %d is %g, want %g", name, i, v, want)
				break
			}
		}
	}
}

func TestTruncatedNormal(t *testing.T) {
	cdf := stattest.NormalCDF
	for _, sigma := range []float64{0.02, 1, 3} {
		t.Run(fmt.Sprint(sigma), func(t *testing.T) {
			r := NewRNG(4)
			data := make([]float32, 40000)
			TruncatedNormal(sigma)(&r, data)
			x := make([]float64, len(data))
			for i, v := range data {
				if math.Abs(float64(v)) > 2 {
					t.Fatalf("%g is beyond ±2", v)
				}
				// Its place among those that lie within ±2 is uniform.
				lo, hi := cdf(-2/sigma), cdf(2/sigma)
				x[i] = (cdf(float64(v)/sigma) - lo) / (hi - lo)
			}
			if d := stattest.KS(x, stattest.UniformCDF(0, 1)); d > stattest.KSLimit {
				t.Errorf("√n·D = %.2f", d)
			}
		})
	}
}

// TestLayers compares each layer's Forward with its formula.
func TestLayers(t *testing.T) {
	ps := NewParams()
	l, plain := NewLinear(ps, "l", 5, 4, true), NewLinear(ps, "plain", 5, 4, false)
	norm := NewLayerNorm(ps, "norm", 5, 0.5)
	for _, p := range ps.All() {
		copy(p.Data, testkit.Normal(p.Name, len(p.Data)))
	}
	const rows = 3
	x, res := tensor.From(testkit.Normal("x", rows*5), rows, 5), tensor.From(testkit.Normal("res", rows*4), rows, 4)
	gelu := func(z float64) float64 { return z * 0.5 * math.Erfc(-z/math.Sqrt2) }
	tape := tensor.NewTape(nil)
	y, noBias, act, add, h := l.Forward(tape, x), plain.Forward(tape, x), l.ForwardGELU(tape, x), l.ForwardAdd(tape, x, res), norm.Forward(tape, x)
	for r := range rows {
		in := x.Data[r*5 : (r+1)*5]
		for j := range 4 {
			sum, without := float64(l.Bias.Data[j]), 0.0
			for k, v := range in {
				sum += float64(v) * float64(l.Weight.Data[j*5+k])
				without += float64(v) * float64(plain.Weight.Data[j*5+k])
			}
			near(t, "linear", y.Data[r*4+j], sum, 60*u)
			near(t, "linear without bias", noBias.Data[r*4+j], without, 60*u)
			near(t, "linear and GELU", act.Data[r*4+j], gelu(sum), 70*u)
			near(t, "linear and sum", add.Data[r*4+j], sum+float64(res.Data[r*4+j]), 70*u)
		}
		mean, variance := 0.0, 0.0
		for _, v := range in {
			mean += float64(v) / 5
		}
		for _, v := range in {
			variance += (float64(v) - mean) * (float64(v) - mean) / 5
		}
		for j, v := range in {
			want := (float64(v)-mean)/math.Sqrt(variance+0.5)*float64(norm.Weight.Data[j]) + float64(norm.Bias.Data[j])
			near(t, "layer norm", h.Data[r*5+j], want, 60*u)
		}
	}
}

// near bounds the error of sums of about five terms of size about 1.
func near(t *testing.T, what string, got float32, want, within float64) {
	t.Helper()
	if d := math.Abs(float64(got) - want); !(d <= within) {
		t.Errorf("%s: got %v, want %v ± %.2g", what, got, want, within)
	}
}

func TestFirstBad(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	ps := NewParams()
	ps.Add("a", Zeros, 2, 3)
	ps.AddFixed("table", Zeros, 2)
	ps.Add("b", Zeros, 4)
	ps.EnableGrad()
	if s := ps.FirstBad() + ps.FirstBadGrad(); s != "" {
		t.Errorf("all zero: %q", s)
	}
	ps.Get("a").Data[0], ps.Get("a").Grad[0] = math.MaxFloat32, -math.MaxFloat32
	if s := ps.FirstBad() + ps.FirstBadGrad(); s != "" {
		t.Errorf("large but finite: %q", s)
	}
	// Each find is earlier than the one before.
	for _, c := range []struct {
		set  func()
		want string
	}{
		{func() { ps.Get("b").Data[3] = nan }, "parameter b, shape [4], element 3 is NaN"},
		{func() { ps.Get("b").Data[1] = inf }, "parameter b, shape [4], element 1 is -Inf"},
		{func() { ps.Get("table").Data[1] = nan }, "parameter table, shape [2], element 1 is NaN"},
		{func() { ps.Get("a").Data[5] = inf }, "parameter a, shape [2 3], element 5 is -Inf"},
	} {
		c.set()
		if got := ps.FirstBad(); got != c.want {
			t.Errorf("FirstBad %q, want %q", got, c.want)
		}
	}
	if s := ps.FirstBadGrad(); s != "" {
		t.Errorf("FirstBadGrad %q for bad values", s)
	}
	ps.Get("b").Grad[2] = -inf
	if got, want := ps.FirstBadGrad(), "gradient of b, shape [4], element 2 is +Inf"; got != want {
		t.Errorf("FirstBadGrad %q, want %q", got, want)
	}
	ps.Get("a").Grad[4] = nan
	if got, want := ps.FirstBadGrad(), "gradient of a, shape [2 3], element 4 is NaN"; got != want {
		t.Errorf("FirstBadGrad %q, want %q", got, want)
	}
}
