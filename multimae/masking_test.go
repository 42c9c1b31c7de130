package multimae

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/stattest"
	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn"
)

// chiSquare tests outcomes, counts by name, against their expected numbers. An outcome that should
// not occur is an error.
func chiSquare[K comparable](t *testing.T, what string, got map[K]int, want map[K]float64) {
	t.Helper()
	x := 0.
	for k, n := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: %v occurs %d times, want never", what, k, n)
		}
	}
	for k, w := range want {
		x += (float64(got[k]) - w) * (float64(got[k]) - w) / w
	}
	if p := stattest.ChiSquareSurvival(x, len(want)-1); !(p >= stattest.PLimit) {
		t.Errorf("%s: p = %.2g; got %v, want %v", what, p, got, want)
	}
}

// equally is the expectation of n draws from k outcomes 0..k−1.
func equally(k, n int) map[int]float64 {
	m := map[int]float64{}
	for i := range k {
		m[i] = float64(n) / float64(k)
	}
	return m
}

var modalities = []string{"rgb", "depth", "semseg", "normal", "edges", "curvature", "thermal", "lidar"}

func mustDraw(t testing.TB, r *nn.RNG, size, inputs, patches int, o MaskOptions) *Masks {
	t.Helper()
	m, err := DrawMasks(r, size, modalities[:inputs], patches, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mustHold checks what is true of all masks.
func mustHold(t testing.TB, m *Masks) {
	t.Helper()
	n := m.Tokens()
	if n != len(m.Inputs)*m.Patches || len(m.Keep) != m.Size*m.Visible || len(m.Masked) != m.Size*n {
		t.Fatalf("lengths %d and %d of %d samples with %d of %d tokens", len(m.Keep), len(m.Masked), m.Size, m.Visible, n)
	}
	for b := range m.Size {
		hidden := slices.Repeat([]bool{true}, n)
		for p, j := range m.visible(b) {
			if j < 0 || int(j) >= n || !hidden[j] {
				t.Fatalf("sample %d: Keep has token %d at %d, out of range or again", b, j, p)
			}
			hidden[j] = false
		}
		if !slices.Equal(m.Masked[b*n:(b+1)*n], hidden) {
			t.Fatalf("sample %d: Masked is %v, Keep %v", b, m.Masked[b*n:(b+1)*n], m.visible(b))
		}
		for i, name := range m.Inputs {
			task := m.Task(b, name)
			if len(task) != m.Patches || cap(task) != m.Patches || &task[0] != &m.Masked[b*n+i*m.Patches] || m.Index(name) != i {
				t.Fatalf("sample %d: Task(%q) is not its part of Masked", b, name)
			}
		}
		if m.Task(b, "none") != nil {
			t.Fatal("Task of an absent modality is not nil")
		}
	}
}

// visibleOf counts the visible tokens of each modality of sample b.
func visibleOf(m *Masks, b int) []int {
	n := make([]int, len(m.Inputs))
	for _, j := range m.visible(b) {
		n[int(j)/m.Patches]++
	}
	return n
}

func shares(n, seed int, alphas ...float64) [][]float64 {
	r := nn.NewRNG(uint64(seed))
	allowed := slices.Repeat([]bool{true}, len(alphas))
	s := make([][]float64, n)
	for i := range s {
		s[i] = make([]float64, len(alphas))
		drawShares(&r, s[i], alphas, allowed)
	}
	return s
}

// meanStdDev returns the mean of x and its standard deviation by the unbiased estimate of the
// variance.
func meanStdDev(x []float64) (mean, sd float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		sd += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return mean, math.Sqrt(sd)
}

// TestShares compares the draws with the moments and the marginals of the Dirichlet distribution.
func TestShares(t *testing.T) {
	const n = 20_000
	for _, alphas := range [][]float64{
		{1, 1, 1}, {0.5, 2, 5}, {0.2, 0.2}, {10, 20, 30, 40}, {1000, 1000, 1000}, {0.7, 1, 1, 1, 1, 1, 1, 3}, {1e9, 2e8}, {0.5, 1e3, 10},
	} {
		t.Run(fmt.Sprint(alphas), func(t *testing.T) {
			draws := shares(n, 1, alphas...)
			total := 0.
			for _, a := range alphas {
				total += a
			}
			column := func(f func(s []float64) float64) []float64 {
				c := make([]float64, n)
				for i := range c {
					c[i] = f(draws[i])
				}
				return c
			}
			// A share is Beta distributed, and so is the sum of any shares.
			marginal := func(x []float64, a float64, what string, args ...any) {
				t.Helper()
				cdf := stattest.BetaCDF(a, total-a)
				if total > 1e6 { // as good as normal
					mean, sd := a/total, math.Sqrt(a*(total-a)/(total+1))/total
					cdf = func(v float64) float64 { return stattest.NormalCDF((v - mean) / sd) }
				}
				if d := stattest.KS(x, cdf); d > stattest.KSLimit {
					t.Errorf("%v: %s against Beta: √n·D = %.2f", alphas, fmt.Sprintf(what, args...), d)
				}
			}
			for i, a := range alphas {
				for j, b := range alphas[:i+1] {
					want := -a * b / (total * total * (total + 1))
					if i == j {
						want = a * (total - a) / (total * total * (total + 1))
					}
					// The mean of these products is the covariance.
					x := column(func(s []float64) float64 { return (s[i] - a/total) * (s[j] - b/total) })
					got, sd := meanStdDev(x)
					if z := (got - want) / sd * math.Sqrt(n); math.Abs(z) > 4.5 {
						t.Errorf("%v: covariance %d, %d is %.4g, want %.4g: %.1f standard errors", alphas, i, j, got, want, z)
					}
				}
				x := column(func(s []float64) float64 { return s[i] })
				got, sd := meanStdDev(x)
				if z := (got - a/total) / sd * math.Sqrt(n); math.Abs(z) > 4 {
					t.Errorf("%v: mean %d is %.4g, want %.4g: %.1f standard errors", alphas, i, got, a/total, z)
				}
				marginal(x, a, "share %d", i)
				if k := (i + 1) % len(alphas); len(alphas) > 2 {
					x = column(func(s []float64) float64 { return s[i] + s[k] })
					marginal(x, a+alphas[k], "shares %d + %d", i, k)
				}
			}
		})
	}
}

// TestSmallShares has concentrations for which all Gamma variates would be 0.
func TestSmallShares(t *testing.T) {
	const n = 20_000
	for _, alphas := range [][]float64{
		{1e-3, 1e-3, 1e-3}, {1e-3, 2e-3, 4e-3}, {1e-6, 2e-6, 3e-6, 4e-6}, {1e-300, 3e-300},
		{math.SmallestNonzeroFloat64, math.SmallestNonzeroFloat64}, {1e-3, 1e3}, {1e-9, 1e9},
	} {
		t.Run(fmt.Sprint(alphas), func(t *testing.T) {
			total := 0.
			for _, a := range alphas {
				total += a
			}
			got, want := map[int]int{}, map[int]float64{}
			below := map[float64]int{}
			for _, s := range shares(n, 2, alphas...) {
				sum := 0.
				for i, l := range s {
					if !(l >= 0 && l <= 1) {
						t.Fatalf("%v: shares %v", alphas, s)
					}
					sum += l
					if l >= 0.5 {
						got[i]++
					}
				}
				if math.Abs(sum-1) > 1e-15 {
					t.Fatalf("%v: shares %v add to 1%+.2g", alphas, s, sum-1)
				}
				for _, x := range []float64{1e-250, 1e-100, 1e-20, 1e-3} {
					if s[0] <= x {
						below[x]++
					}
				}
			}
			if total < 0.1 { // one modality has nearly everything
				for i, a := range alphas {
					want[i] = n * a / total
				}
				few := n
				for _, k := range got {
					few -= k
				}
				if few > 10 {
					t.Errorf("%v: no share is above ½ in %d of %d", alphas, few, n)
				}
				chiSquare(t, fmt.Sprint(alphas), got, want)
			}
			if total < 1e-300 || total > 1e6 {
				return
			}
			for x, k := range below {
				p := stattest.BetaCDF(alphas[0], total-alphas[0])(x)
				if z := (float64(k) - n*p) / math.Sqrt(n*p*(1-p)+1); math.Abs(z) > 4 {
					t.Errorf("%v: %d of %d shares are below %g, want %.0f", alphas, k, n, x, n*p)
				}
			}
		})
	}
}

func TestTokenCounts(t *testing.T) {
	for _, c := range []struct {
		visible int
		lambda  []float64
		want    []int
	}{
		{98, []float64{1}, []int{98}},
		{98, []float64{0.25, 0.75}, []int{24, 74}}, // 24.5 and 73.5
		{5, []float64{0.5, 0.5, 0}, []int{2, 2, 0}},
		{7, []float64{0.5, 0.5}, []int{4, 4}},
		{1, []float64{0.5, 0.25, 0.25}, []int{0, 0, 0}},
		{10, []float64{0.26, 0.34, 0.4}, []int{3, 3, 4}},
	} {
		got := make([]int, len(c.lambda))
		tokenCounts(got, c.lambda, c.visible)
		if !slices.Equal(got, c.want) {
			t.Errorf("%v of %d: %v, want %v", c.lambda, c.visible, got, c.want)
		}
	}
	for _, alphas := range [][]float64{
		{1e-3, 1e-3, 1e-3}, {0.01, 0.01}, {0.1, 0.1, 0.1}, {1, 1, 1}, {10, 10, 10}, {1000, 1000, 1000}, {1e9, 1e9, 1e9, 1e9},
		{0.001, 1, 1000}, {5, 0.5}, {1, 2, 3, 4, 5, 6, 7, 8}, {3},
	} {
		for _, visible := range []int{1, 2, 16, 98, 1000} {
			const n = 500
			sum, total := make([]float64, len(alphas)), 0.
			for _, a := range alphas {
				total += a
			}
			counts := make([]int, len(alphas))
			for _, s := range shares(n, visible, alphas...) {
				tokenCounts(counts, s, visible)
				off := visible
				for m, k := range counts {
					exact := s[m] * float64(visible)
					if d := math.Abs(float64(k) - exact); d > 0.5 || d == 0.5 && k%2 == 1 {
						t.Fatalf("%v of %d: %d for %v tokens", alphas, visible, k, exact)
					}
					sum[m] += float64(k)
					off -= k
				}
				if 2*max(off, -off) > len(alphas) {
					t.Fatalf("%v of %d: counts %v", alphas, visible, counts)
				}
			}
			if visible < 98 { // where rounding is not small
				continue
			}
			for m, a := range alphas {
				share := a / total
				sd := math.Sqrt(share * (1 - share) / (total + 1) / n)
				if got := sum[m] / n / float64(visible); math.Abs(got-share) > 4.5*sd+0.5/float64(visible) {
					t.Errorf("%v of %d: modality %d has a mean share of %.4f, want %.4f", alphas, visible, m, got, share)
				}
			}
		}
	}
}

// TestSelectTokens compares what is chosen, and in which order, with probabilities computed by
// hand. There are 2 patches in each modality: tokens 0 1, 2 3 and 4 5.
func TestSelectTokens(t *testing.T) {
	const n = 30_000
	for _, c := range []struct {
		name    string
		counts  []int
		allowed []bool // nil means all
		visible int
		want    map[string]float64 // chosen tokens, ascending
	}{
		{"exact", []int{1, 1}, nil, 2, map[string]float64{"[0 2]": 1. / 4, "[0 3]": 1. / 4, "[1 2]": 1. / 4, "[1 3]": 1. / 4}},
		{"all", []int{2, 2}, nil, 4, map[string]float64{"[0 1 2 3]": 1}},
		{"none", []int{1, 1}, nil, 0, map[string]float64{"[]": 1}},
		// Token 0 or 1, then any other.
		{"too few", []int{1, 0}, nil, 2, map[string]float64{"[0 1]": 1. / 3, "[0 2]": 1. / 6, "[0 3]": 1. / 6, "[1 2]": 1. / 6, "[1 3]": 1. / 6}},
		{"none yet", []int{0, 0}, nil, 1, map[string]float64{"[0]": 1. / 4, "[1]": 1. / 4, "[2]": 1. / 4, "[3]": 1. / 4}},
		// Of 0, 1 and either 2 or 3 one is taken away.
		{"too many", []int{2, 1}, nil, 2, map[string]float64{"[0 1]": 1. / 3, "[0 2]": 1. / 6, "[0 3]": 1. / 6, "[1 2]": 1. / 6, "[1 3]": 1. / 6}},
		{"too many, all", []int{2, 2}, nil, 1, map[string]float64{"[0]": 1. / 4, "[1]": 1. / 4, "[2]": 1. / 4, "[3]": 1. / 4}},
		{"more than there are", []int{9, 0, 0}, nil, 3, map[string]float64{"[0 1 2]": 1. / 4, "[0 1 3]": 1. / 4, "[0 1 4]": 1. / 4, "[0 1 5]": 1. / 4}},
		{"one left out", []int{0, 0, 1}, []bool{true, false, true}, 2, map[string]float64{
			"[4 5]": 1. / 3, "[0 4]": 1. / 6, "[0 5]": 1. / 6, "[1 4]": 1. / 6, "[1 5]": 1. / 6}},
		{"the left out help", []int{0, 3, 0}, []bool{false, true, false}, 3, map[string]float64{
			"[0 2 3]": 1. / 4, "[1 2 3]": 1. / 4, "[2 3 4]": 1. / 4, "[2 3 5]": 1. / 4}},
		{"all help", []int{0, 1, 0}, []bool{false, true, false}, 6, map[string]float64{"[0 1 2 3 4 5]": 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.allowed == nil {
				c.allowed = slices.Repeat([]bool{true}, len(c.counts))
			}
			r := nn.NewRNG(3, nn.Hash(c.name))
			got, orders := map[string]int{}, map[string]map[string]int{}
			order := make([]int32, 2*len(c.counts))
			need := c.visible
			for _, k := range c.counts {
				need += min(k, 2)
			}
			noise := make([]float64, max(need, 2*c.visible))
			for range n {
				for i := range noise {
					noise[i] = r.Float64()
				}
				keep := selectTokens(order, c.counts, c.allowed, c.visible, noise, func(int, int) bool { return false })
				sorted := slices.Clone(keep)
				slices.Sort(sorted)
				set := fmt.Sprint(sorted)
				got[set]++
				if orders[set] == nil {
					orders[set] = map[string]int{}
				}
				orders[set][fmt.Sprint(keep)]++
			}
			expected := map[string]float64{}
			for set, p := range c.want {
				expected[set] = n * p
			}
			if len(expected) > 1 {
				chiSquare(t, c.name, got, expected)
			} else if !slices.Equal(slices.Collect(maps.Keys(got)), slices.Collect(maps.Keys(expected))) {
				t.Errorf("%s: got %v, want only %v", c.name, got, expected)
			}
			for set, o := range orders {
				permutations := 1
				for k := range c.visible {
					permutations *= k + 1
				}
				if permutations == 1 {
					continue
				}
				equal := map[string]float64{}
				for s := range o {
					equal[s] = float64(got[set]) / float64(permutations)
				}
				if len(equal) != permutations {
					t.Errorf("%s: %s comes in %d orders, want %d", c.name, set, len(equal), permutations)
				}
				chiSquare(t, c.name+" order", o, equal)
			}
		})
	}
}

func TestDrawMasks(t *testing.T) {
	r := nn.NewRNG(4)
	for inputs := 1; inputs <= len(modalities); inputs++ {
		for _, patches := range []int{1, 4, 36, 196} {
			all := inputs * patches
			for _, visible := range []int{1, 2, all / 6, all / 2, all - 1, all} {
				if visible < 1 || visible > all {
					continue
				}
				for _, alpha := range []float64{1e-3, 1, 1e9} {
					m := mustDraw(t, &r, 6, inputs, patches, MaskOptions{Visible: visible, Alphas: []float64{alpha}, UniformTasks: patches == 4})
					mustHold(t, m)
					if m.Visible != visible || m.Size != 6 || m.Patches != patches || !slices.Equal(m.Inputs, modalities[:inputs]) {
						t.Fatalf("%+v", m)
					}
				}
			}
		}
	}
	// The paper's setting.
	m := mustDraw(t, &r, 2000, 3, 196, MaskOptions{Visible: 98, Alphas: []float64{1}})
	mustHold(t, m)
	var x []float64
	for b := range m.Size {
		x = append(x, float64(visibleOf(m, b)[0]))
	}
	// A share of Dirichlet(1, 1, 1) has mean 1/3 and variance 1/18.
	mean, sd := meanStdDev(x)
	if math.Abs(mean-98./3) > 4*sd/math.Sqrt(2000) || math.Abs(sd/98-math.Sqrt(1./18)) > 0.012 {
		t.Errorf("%.2f ± %.2f visible tokens, want %.2f ± %.2f", mean, sd, 98./3, 98*math.Sqrt(1./18))
	}
	// Equal shares for a large concentration; nearly all to one for a small one, up to its patches.
	m = mustDraw(t, &r, 100, 3, 196, MaskOptions{Visible: 99, Alphas: []float64{1e9}})
	for b := range m.Size {
		if v := visibleOf(m, b); !slices.Equal(v, []int{33, 33, 33}) {
			t.Fatalf("α = 1e9: %v visible", v)
		}
	}
	m = mustDraw(t, &r, 300, 3, 196, MaskOptions{Visible: 98, Alphas: []float64{1e-3}})
	whole := 0
	for b := range m.Size {
		if slices.Max(visibleOf(m, b)) == 98 {
			whole++
		}
	}
	if whole < 285 {
		t.Errorf("α = 0.001: one modality has all in %d of 300 samples", whole)
	}
	m = mustDraw(t, &r, 300, 3, 40, MaskOptions{Visible: 98, Alphas: []float64{1e-6, 1e-6, 1e9}})
	for b := range m.Size {
		if v := visibleOf(m, b); v[2] != 40 || v[0]+v[1] != 58 {
			t.Fatalf("more tokens than one modality has: %v visible", v)
		}
	}
}

// TestDrawMasksUniform checks that patches of a modality and orders of Keep have equal
// probabilities, however the counts come about.
func TestDrawMasksUniform(t *testing.T) {
	const n, inputs, patches, visible = 40_000, 3, 3, 4
	for i, alphas := range [][]float64{{1}, {1e-3}, {0.3, 1, 4}} { // a modality often has fewer patches than its share, with the second nearly always
		r := nn.NewRNG(5, uint64(i))
		m := mustDraw(t, &r, n, inputs, patches, MaskOptions{Visible: visible, Alphas: alphas})
		first, orders := [inputs]map[int]int{{}, {}, {}}, map[int]int{}
		modality := [visible]map[int]int{{}, {}, {}, {}}
		var of [inputs]int
		for b := range n {
			k := m.visible(b)
			task := int(k[0]) / patches
			first[task][int(k[0])%patches]++
			of[task]++
			// The number of a permutation: how many smaller tokens stand behind each.
			id := 0
			for p := range k {
				id = id*(visible-p) + len(slices.DeleteFunc(slices.Clone(k[p:]), func(j int32) bool { return j >= k[p] }))
				modality[p][int(k[p])/patches]++
			}
			orders[id]++
		}
		what := fmt.Sprintf("alphas %v", alphas)
		for task := range inputs {
			chiSquare(t, fmt.Sprintf("%s: patches of modality %d", what, task), first[task], equally(patches, of[task]))
		}
		chiSquare(t, what+": orders", orders, equally(24, n))
		for task := range inputs { // as often at each position
			at, all := map[int]int{}, 0
			for p := range visible {
				at[p] = modality[p][task]
				all += at[p]
			}
			// Positions exclude each other, so their spread is at most that of independent draws.
			chiSquare(t, fmt.Sprintf("%s: positions of modality %d", what, task), at, equally(visible, all))
		}
	}
}

func TestUniformTasks(t *testing.T) {
	const n = 20_000
	for inputs := 1; inputs <= 4; inputs++ {
		r := nn.NewRNG(6, uint64(inputs))
		// A large concentration shows each modality of the subset.
		m := mustDraw(t, &r, n, inputs, 24, MaskOptions{Visible: 24, Alphas: []float64{1000}, UniformTasks: true})
		mustHold(t, m)
		got, want := map[int]int{}, map[int]float64{}
		for b := range n {
			subset := 0
			for i, v := range visibleOf(m, b) {
				if v > 0 {
					subset |= 1 << i
				}
			}
			got[subset]++
		}
		for subset := 1; subset < 1<<inputs; subset++ {
			want[subset] = n / float64(int(1)<<inputs-1)
		}
		if inputs > 1 {
			chiSquare(t, fmt.Sprintf("subsets of %d", inputs), got, want)
		}
	}
	// 6 visible tokens of 4 patches each: one modality is too few, and only then do the others
	// help.
	r := nn.NewRNG(7)
	m := mustDraw(t, &r, n, 3, 4, MaskOptions{Visible: 6, Alphas: []float64{1000}, UniformTasks: true})
	mustHold(t, m)
	got := map[string]int{}
	helpers := map[int]int{}
	for b := range n {
		v := visibleOf(m, b)
		slices.Sort(v)
		switch s := fmt.Sprint(v); s {
		case "[0 2 4]", "[1 1 4]":
			got["one"]++
			helpers[v[0]]++
		case "[0 3 3]":
			got["two"]++
		default:
			got[s]++
		}
	}
	chiSquare(t, "modalities of too few patches", got, map[string]float64{"one": n * 3. / 7, "two": n * 3. / 7, "[2 2 2]": n / 7.})
	// Two of eight patches: from one modality (12 of 28 pairs) or from both.
	chiSquare(t, "helpers", helpers, map[int]float64{0: float64(got["one"]) * 12 / 28, 1: float64(got["one"]) * 16 / 28})
	// Each modality takes its own concentration along into the subset.
	m = mustDraw(t, &r, 1000, 3, 100, MaskOptions{Visible: 100, Alphas: []float64{1e6, 1e6, 3e6}, UniformTasks: true})
	for b := range m.Size {
		if v := visibleOf(m, b); v[0] == 0 && v[1] > 0 && v[2] > 0 && !slices.Equal(v, []int{0, 25, 75}) {
			t.Fatalf("concentrations 1e6 and 3e6: %v visible", v)
		}
	}
}

// TestUniformTasksChosen compares the masks of a model with those that are drawn without one.
func TestUniformTasksChosen(t *testing.T) {
	alphas := []float64{1000}
	for _, x := range []struct {
		config bool
		o      MaskOptions
		want   bool
	}{
		{false, MaskOptions{}, false},
		{true, MaskOptions{}, true},
		{false, MaskOptions{UniformTasks: true}, true},
		{false, MaskOptions{Alphas: alphas, UniformTasks: true}, true},
		{true, MaskOptions{Alphas: alphas}, false},
	} {
		t.Run(fmt.Sprintf("%+v", x), func(t *testing.T) {
			c := smallConfig()
			m := newModel(t, c)
			c.Train.NumEncodedTokens, c.Train.Alphas, c.Train.UniformTasks = 4, alphas, x.config
			b := newBatch(c, 30, 16, 16, 1, c.Inputs.Names()...)
			r, same := nn.NewRNG(1), nn.NewRNG(1)
			got := new(Masks)
			if err := m.DrawMasks(got, &r, b, x.o); err != nil {
				t.Fatal(err)
			}
			want, err := DrawMasks(&same, 30, c.Inputs.Names(), 4, MaskOptions{Visible: 4, Alphas: alphas, UniformTasks: x.want})
			if err != nil || !slices.Equal(got.Keep, want.Keep) {
				t.Errorf("%v, uniform tasks are not %v", err, x.want)
			}
		})
	}
}

func TestMasksReproducible(t *testing.T) {
	o := MaskOptions{Visible: 5, Alphas: []float64{1}}
	a, b, c := nn.NewRNG(8, 1), nn.NewRNG(8, 1), nn.NewRNG(8, 2)
	long, short, other := mustDraw(t, &a, 9, 3, 16, o), mustDraw(t, &b, 4, 3, 16, o), mustDraw(t, &c, 9, 3, 16, o)
	if !slices.Equal(long.Keep[:4*5], short.Keep) {
		t.Error("masks depend on the samples after them")
	}
	if slices.Equal(long.Keep, other.Keep) {
		t.Error("another key gives the same masks")
	}
	// Should this change, no earlier training run can be reproduced or resumed.
	if want := []int32{19, 6, 32, 21, 18}; !slices.Equal(long.Keep[:5], want) {
		t.Errorf("the first sample keeps %v, want %v", long.Keep[:5], want)
	}

	// Drawing into used memory, larger or smaller, is the same and allocates only what does not
	// grow with the batch.
	r := nn.NewRNG(9)
	var m Masks
	for _, size := range []int{3, 8, 5} {
		r2 := r
		if err := m.draw(&r, size, modalities[:3], 16, o, nil); err != nil {
			t.Fatal(err)
		}
		if fresh := mustDraw(t, &r2, size, 3, 16, o); !reflect.DeepEqual(&m, fresh) || r != r2 {
			t.Errorf("batch of %d: another result in used memory", size)
		}
	}
	before := m
	if err := m.draw(&r, 2, modalities[:2], 16, MaskOptions{}, nil); err == nil || !reflect.DeepEqual(m, before) {
		t.Errorf("failed draw: %v, and the masks changed", err)
	}
	allocs := func(size int) float64 {
		return testing.AllocsPerRun(5, func() {
			if err := m.draw(&r, size, modalities[:3], 16, o, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
	if one, many := allocs(1), allocs(200); many > one || many > 5 {
		t.Errorf("%v allocations for one sample, %v for 200", one, many)
	}
}

// TestMaskErrors checks that a wrong value is refused and its key named.
func TestMaskErrors(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	one := []float64{1}
	two := modalities[:2]
	for _, c := range []struct {
		key     string
		size    int
		inputs  []string
		patches int
		o       MaskOptions
	}{
		{"num_encoded_tokens", 1, two, 4, MaskOptions{Visible: 0, Alphas: one}},
		{"num_encoded_tokens", 1, two, 4, MaskOptions{Visible: -1, Alphas: one}},
		{"num_encoded_tokens", 1, two, 4, MaskOptions{Visible: 9, Alphas: one}},
		{"num_encoded_tokens", 1, two, 4, MaskOptions{Visible: math.MaxInt, Alphas: one, UniformTasks: true}},
		{"alphas", 1, two, 4, MaskOptions{Visible: 3, Alphas: nil}},
		{"alphas", 1, two, 4, MaskOptions{Visible: 3, Alphas: []float64{1, 1, 1}}},
		{"alphas", 1, two, 4, MaskOptions{Visible: 3, Alphas: []float64{0}}},
		{"alphas", 1, two, 4, MaskOptions{Visible: 3, Alphas: []float64{1, -1}}},
		{"alphas", 1, two, 4, MaskOptions{Visible: 3, Alphas: []float64{nan}}},
		{"alphas", 1, two, 4, MaskOptions{Visible: 3, Alphas: []float64{inf}}},
		{"alphas", 1, two, 4, MaskOptions{Visible: 3, Alphas: []float64{1.1e9}, UniformTasks: true}},
		{"inputs", 1, nil, 4, MaskOptions{Visible: 3, Alphas: one}},
		{"inputs", 1, []string{"rgb", "depth", "rgb"}, 4, MaskOptions{Visible: 3, Alphas: one}},
		{"inputs", 1, two, 0, MaskOptions{Visible: 3, Alphas: one}},
		{"inputs", 1, two, math.MaxInt, MaskOptions{Visible: 3, Alphas: one}},
		{"batch", 1, two, 4, MaskOptions{Visible: 3, Alphas: one, Before: -1}},
		{"batch", 0, two, 4, MaskOptions{Visible: 3, Alphas: one}},
		{"batch", -1, two, 4, MaskOptions{Visible: 3, Alphas: one}},
		{"batch", math.MaxInt, two, 4, MaskOptions{Visible: 3, Alphas: one}},
	} {
		t.Run(c.key, func(t *testing.T) {
			r := nn.NewRNG(1)
			m, err := DrawMasks(&r, c.size, c.inputs, c.patches, c.o)
			if testkit.ErrorNames(t, err, c.key+": "); m != nil {
				t.Error("masks and an error")
			}
		})
	}
	for _, c := range []struct {
		key           string
		size, patches int
		keep          []int32
	}{
		{"ids_keep: ", 0, 2, nil},
		{"ids_keep: ", 1, 2, nil},
		{"ids_keep: ", 2, 2, []int32{0, 1, 2}},
		{"ids_keep: ", 1, 2, []int32{0, 1, 2, 3, 3}},
		{"ids_keep: sample 1 has token 4", 2, 2, []int32{0, 1, 2, 4}},
		{"ids_keep: sample 0 has token -1", 2, 2, []int32{0, -1, 2, 3}},
		{"ids_keep: sample 1 has token 2", 2, 2, []int32{2, 3, 2, 2}},
		{"inputs: ", 1, 0, []int32{0}},
	} {
		t.Run(c.key, func(t *testing.T) {
			m, err := NewMasks(c.size, two, c.patches, c.keep)
			if testkit.ErrorNames(t, err, c.key); m != nil {
				t.Error("masks and an error")
			}
		})
	}
	for _, c := range []struct {
		key           string
		size, patches int
		inputs        []string
	}{{"inputs", 1, 4, nil}, {"inputs", 1, 0, two}, {"batch", 0, 4, two}} {
		m, err := AllVisible(c.size, c.inputs, c.patches)
		if testkit.ErrorNames(t, err, c.key+": "); m != nil {
			t.Error("masks and an error")
		}
	}
}

func TestNewMasks(t *testing.T) {
	r := nn.NewRNG(10)
	m := mustDraw(t, &r, 7, 3, 9, MaskOptions{Visible: 8, Alphas: []float64{1}})
	same, err := NewMasks(m.Size, m.Inputs, m.Patches, m.Keep)
	if err != nil || !reflect.DeepEqual(same, m) {
		t.Errorf("masks of the ids alone: %v, %+v, want %+v", err, same, m)
	}
	if same.Keep[0] = -1; m.Keep[0] < 0 {
		t.Error("the ids are not a copy")
	}
}

func TestAllVisible(t *testing.T) {
	for _, inputs := range []int{1, 3} {
		m, err := AllVisible(2, modalities[:inputs], 5)
		if err != nil {
			t.Fatal(err)
		}
		mustHold(t, m)
		for i, j := range m.Keep {
			if int(j) != i%(5*inputs) || m.Masked[i] {
				t.Fatalf("%+v", m)
			}
		}
	}
}

func FuzzDrawMasks(f *testing.F) {
	f.Add(uint64(1), 3, 3, 9, 5, 1.0, 1.0, false)
	f.Add(uint64(2), 1, 1, 1, 1, 1e-3, 1e9, true)
	f.Add(uint64(3), 2, 8, 4, 32, 5e-324, 1e-300, true)
	f.Add(uint64(4), 0, -1, math.MaxInt, -5, math.NaN(), math.Inf(-1), true)
	f.Fuzz(func(t *testing.T, seed uint64, size, inputs, patches, visible int, alpha, last float64, uniform bool) {
		if size > 64 && size <= math.MaxInt32 || patches > 1<<10 && patches <= math.MaxInt32 {
			return // much work, and nothing new
		}
		inputs = max(0, min(inputs, len(modalities)))
		alphas := slices.Repeat([]float64{alpha}, inputs)
		if inputs > 0 {
			alphas[inputs-1] = last
		}
		r := nn.NewRNG(seed)
		m, err := DrawMasks(&r, size, modalities[:inputs], patches, MaskOptions{Visible: visible, Alphas: alphas, UniformTasks: uniform})
		good := size > 0 && size <= 64 && inputs > 0 && patches > 0 && patches <= 1<<10 && visible > 0 && visible <= inputs*patches
		for _, a := range alphas {
			good = good && a > 0 && a <= 1e9
		}
		if good != (err == nil) || good != (m != nil) {
			t.Fatalf("masks %v, error %v", m, err)
		}
		if good {
			mustHold(t, m)
		}
	})
}

func FuzzNewMasks(f *testing.F) {
	f.Add(1, 2, 3, []byte{3, 0})
	f.Add(2, 1, 3, []byte{0, 1, 2, 0})
	f.Add(2, 1, 3, []byte{0, 1, 3, 255})
	f.Fuzz(func(t *testing.T, size, inputs, patches int, keep []byte) {
		inputs = max(0, min(inputs, len(modalities)))
		if patches > 1<<8 {
			return // much work, and nothing new
		}
		var ids []int32
		for _, v := range keep {
			ids = append(ids, int32(int8(v)))
		}
		m, err := NewMasks(size, modalities[:inputs], patches, ids)
		if err == nil {
			mustHold(t, m)
		} else if m != nil {
			t.Fatalf("masks with error %v", err)
		}
	})
}

func BenchmarkDrawMasks(b *testing.B) {
	for _, c := range []struct{ size, inputs, patches, visible int }{{64, 3, 196, 98}, {2048, 3, 196, 98}, {8, 8, 4096, 2048}} {
		b.Run(fmt.Sprintf("batch=%d/tokens=%d", c.size, c.inputs*c.patches), func(b *testing.B) {
			var m Masks
			r := nn.NewRNG(1)
			b.ReportAllocs()
			for b.Loop() {
				if err := m.draw(&r, c.size, modalities[:c.inputs], c.patches, MaskOptions{Visible: c.visible, Alphas: []float64{1}}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
