package parity

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// judge compares tensors with those of expected.safetensors.
type judge struct {
	model   string
	f       weights.File
	torch   map[string]float64
	steps   int // that config.json names, 0 if it names none
	results []result
	largest float64 // of the norms of the gradients
	seen    map[string]bool
	err     error
}

// result is the comparison of one tensor.
type result struct {
	group, name string
	diff, norm  float64 // Euclidean norms of the difference and of the expected tensor
	where       string  // of the largest difference
}

// stepKey is the key of the loss of a step.
func stepKey(step int) string { return "step" + strconv.Itoa(step) + ".loss" }

// countSteps returns how many steps the dump has, which are computed: at least one.
func (j *judge) countSteps() int {
	for n := 1; ; n++ {
		if _, more := j.f.Shape(stepKey(n)); !more {
			return n
		}
	}
}

// repeat computes what the dump holds: forward pass, losses, gradients and the optimiser's steps.
func (j *judge) repeat(m *subject, pool *tensor.Pool) error {
	o := m.optim
	m.params.EnableGrad()
	opt := nn.NewAdamW(o.Betas[0], o.Betas[1], o.Eps, m.params)
	t := tensor.NewTape(pool)
	j.seen = map[string]bool{}
	tokens, preds, err := m.predict(tensor.NewInference(pool))
	if err != nil {
		return err
	}
	j.compare("encoder", "encoder", tokens.Data, nil)
	for i, p := range preds {
		j.compare("out", "out."+m.outputs[i], m.image(i, p), nil)
	}
	steps := j.countSteps()
	for step := range steps {
		key := stepKey(step)
		t.Reset()
		m.params.ZeroGrad(t)
		losses, err := m.losses(t)
		if err != nil {
			return err
		}
		total := multimae.Total(t, losses)
		t.Backward(total)
		if step == 0 {
			for i, l := range losses {
				if l != nil {
					j.compare("loss", "loss."+m.outputs[i], l.Data, nil)
				}
			}
			for _, p := range m.params.All() {
				g := p.Grad
				if p.Fixed {
					g = make([]float32, len(p.Data)) // a dump may have the gradient of a parameter on which no output depends
				}
				j.compare("grad", "grad."+p.Name, g, nil)
			}
		}
		j.compare(strings.TrimSuffix(key, ".loss"), key, total.Data, nil)
		opt.Step(t, o.LR, o.WeightDecay, 1)
	}
	for _, p := range m.params.All() {
		j.compare("param", "param."+p.Name, p.Data, j.chance(p.Name, Limit*float64(steps)*o.LR))
	}
	return nil
}

// chance returns a function that reports whether a difference in an element of a trained parameter
// is excused: one up to reach is if the expected gradient of the element is rounding. AdamW divides
// a gradient by its own size, so it turns rounding into steps of ±lr, whose signs agree by chance.
// A gradient of zeros turns into no step.
func (j *judge) chance(parameter string, reach float64) func(i int, difference float64) bool {
	key := "grad." + parameter
	if _, ok := j.f.Shape(key); !ok || j.err != nil {
		return nil
	}
	grad, err := j.f.Float64(key)
	if err != nil {
		j.err = err
		return nil
	}
	if !slices.ContainsFunc(grad, func(g float64) bool { return g != 0 }) {
		return nil
	}
	return func(i int, difference float64) bool {
		return math.Abs(grad[i]) < noise*j.largest && difference <= reach
	}
}

// compare adds the result of one tensor. It leaves out a tensor that the dump lacks, and elements
// whose difference is excused; excused may be nil.
func (j *judge) compare(group, key string, got []float32, excused func(i int, difference float64) bool) {
	if _, ok := j.f.Shape(key); !ok || j.err != nil {
		return
	}
	want, err := j.f.Float64(key)
	if err == nil && len(want) != len(got) {
		err = fmt.Errorf("expected.safetensors: %s has %d values, the model gives %d", key, len(want), len(got))
	}
	if err != nil {
		j.err = err
		return
	}
	j.seen[key] = true
	r := result{group: group, name: key}
	worst := -1.0
	for i, w := range want {
		d := math.Abs(float64(got[i]) - w)
		if d != d {
			d = math.Inf(1)
		}
		if excused != nil && excused(i, d) {
			continue
		}
		r.diff += d * d
		r.norm += w * w
		if d > worst {
			worst = d
			r.where = fmt.Sprintf("%s: element %d is %.8g, want %.8g", key, i, got[i], w)
		}
	}
	r.diff, r.norm = math.Sqrt(r.diff), math.Sqrt(r.norm)
	if group == "grad" {
		j.largest = max(j.largest, r.norm)
	}
	j.results = append(j.results, r)
}

// groups sums up the results. A tensor of the dump that nothing was compared with is an error,
// because a difference would pass unseen.
func (j *judge) groups() ([]Group, error) {
	if j.err != nil {
		return nil, j.err
	}
	for _, name := range j.f.Names() {
		if !j.seen[name] {
			return nil, fmt.Errorf("expected.safetensors: %q is a tensor that this model does not compute", name)
		}
	}
	// Where a dump has no steps but the first, it leaves the others out.
	if n := j.countSteps(); j.steps != 0 && j.steps != n && (n > 1 || j.steps < 1) {
		return nil, fmt.Errorf("case.steps: got %d, but expected.safetensors has %d", j.steps, n)
	}
	if len(j.results) == 0 {
		return nil, fmt.Errorf("expected.safetensors: it has no tensor to compare with")
	}
	var groups []Group
	for _, r := range j.results {
		i := slices.IndexFunc(groups, func(g Group) bool { return g.Name == r.group })
		if i < 0 {
			i = len(groups)
			torch := j.torch[r.group]
			groups = append(groups, Group{Name: r.group, Torch: torch, Pass: true})
		}
		g := &groups[i]
		g.Count++
		norm := r.norm
		if r.group == "grad" && norm < noise*j.largest {
			norm = j.largest
		}
		e := r.diff
		switch {
		case norm > 0:
			e = r.diff / norm
		case r.diff > 0: // of zeros only zeros are right
			e = math.Inf(1)
		}
		if !(e <= beyond) {
			e = beyond
		}
		if e > g.Error || g.Worst == "" {
			g.Error, g.Worst = e, r.name
		}
		if pass := e <= max(Limit*g.Torch, Floor); !pass {
			if g.Pass {
				g.First = r.where
			}
			g.Pass = false
		}
		g.Ratio = g.Error / max(g.Torch, Floor/Limit)
	}
	return groups, nil
}
