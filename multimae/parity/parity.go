package parity

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// Limit is how many times PyTorch's own float32 error a group may be off, and
// Floor the relative error below which float32 itself rounds and a group
// passes whatever the ratio.
const (
	Limit = 2.0
	Floor = 5e-7
)

// noise is the share of the largest gradient norm below which a gradient is
// pure rounding, such as that of key biases, which softmax does not see.
const noise = 1e-7

// beyond stands for any larger error, infinities and NaN included, which JSON
// does not have.
const beyond = 1e9

// Group is the result for the tensors of one kind.
type Group struct {
	Name  string  `json:"name"`  // encoder, out, loss, grad, step0, …, param
	Count int     `json:"count"` // tensors
	Error float64 `json:"error"` // the largest ‖ours − expected‖/‖expected‖
	Torch float64 `json:"torch"` // the largest of PyTorch's float32
	Ratio float64 `json:"ratio"` // Error / max(Torch, Floor/Limit): passes up to Limit
	Pass  bool    `json:"pass"`
	Worst string  `json:"worst"` // the tensor with the largest error
	// First says for a failed group where its first failed tensor, in the
	// order of computation, differs most.
	First string `json:"first,omitempty"`
}

// MeetsAim says whether the error is what the project aims at: at most that of
// PyTorch's own float32, or Floor. Passing takes less.
func (g *Group) MeetsAim() bool { return g.Error <= max(g.Torch, Floor) }

// Report is the result for a dump folder.
type Report struct {
	Dir    string  `json:"dir"`
	Model  string  `json:"model"`
	Groups []Group `json:"groups"`
}

// Pass says whether every group passed.
func (r *Report) Pass() bool {
	return !slices.ContainsFunc(r.Groups, func(g Group) bool { return !g.Pass })
}

// caseJSON is the "case" object of a dump's config.json.
type caseJSON struct {
	Batch            int                `json:"batch"`
	NumEncodedTokens int                `json:"num_encoded_tokens"`
	ImageSize        [2]int             `json:"image_size"`
	Steps            int                `json:"steps"`
	TorchVersion     string             `json:"torch_version"`
	TorchError       map[string]float64 `json:"torch_fp32_rel_err"`
}

// Run reads a dump folder, repeats its computation with the workers of pool
// and compares. The error is one of reading the folder; what does not agree is
// in the report.
func Run(fsys fs.FS, dir string, pool *tensor.Pool) (*Report, error) {
	r, err := run(fsys, dir, pool)
	if err != nil {
		return nil, fmt.Errorf("dump %s: %w", dir, err)
	}
	return r, nil
}

func run(fsys fs.FS, dir string, pool *tensor.Pool) (*Report, error) {
	j, err := judgeDump(fsys, pool)
	if err != nil {
		return nil, err
	}
	groups, err := j.groups()
	if err != nil {
		return nil, err
	}
	return &Report{Dir: dir, Model: j.model, Groups: groups}, nil
}

// judgeDump repeats a dump and compares every tensor.
func judgeDump(fsys fs.FS, pool *tensor.Pool) (*judge, error) {
	var head struct {
		Model string          `json:"model"`
		Case  json.RawMessage `json:"case"`
	}
	b, err := fs.ReadFile(fsys, multimae.ConfigFile)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%s: %w", multimae.ConfigFile, err)
	}
	open, ok := map[string]func(fs.FS, *caseJSON, *weights.Safetensors) (*subject, error){"multimae": openMultiMAE, "multivit": openMultiViT}[head.Model]
	if !ok {
		return nil, fmt.Errorf("%s: model: got %q, want \"multimae\" or \"multivit\"", multimae.ConfigFile, head.Model)
	}
	if head.Case == nil {
		return nil, fmt.Errorf("%s: no \"case\": this is a model folder, not a dump", multimae.ConfigFile)
	}
	var c caseJSON
	if err := json.Unmarshal(head.Case, &c); err != nil {
		return nil, fmt.Errorf("%s: case: %w", multimae.ConfigFile, err)
	}
	inputs, err := weights.OpenSafetensorsFS(fsys, "inputs.safetensors")
	if err != nil {
		return nil, err
	}
	defer inputs.Close()
	m, err := open(fsys, &c, inputs)
	if err != nil {
		return nil, err
	}
	expected, err := weights.OpenSafetensorsFS(fsys, "expected.safetensors")
	if err != nil {
		return nil, err
	}
	defer expected.Close()

	j := &judge{model: head.Model, f: expected, torch: c.TorchError}
	if err := j.repeat(m, pool); err != nil {
		return nil, err
	}
	return j, nil
}

// subject is the model of a dump with its batch.
type subject struct {
	params  *nn.Params
	optim   multimae.Optim
	outputs []string
	// forward returns the encoder's tokens, and the prediction and loss of each
	// output; a loss may be nil.
	forward func(t *tensor.Tape) (tokens *tensor.Tensor, preds, losses []*tensor.Tensor, err error)
	// image returns a prediction in the order of the dump, channels first.
	image func(output int, pred *tensor.Tensor) []float32
}

// readInput adds an input to a batch.
func readInput(b *multimae.Batch, in *multimae.Input, f *weights.Safetensors, key string) error {
	if in.Kind == multimae.KindClasses {
		classes, err := f.Int64(key)
		if err != nil {
			return err
		}
		out := make([]int32, len(classes))
		for i, id := range classes {
			out[i] = int32(min(max(id, -1), 1<<30)) // Check refuses what is out of range
		}
		b.Classes[in.Name] = out
		return nil
	}
	pix, err := f.Float32(key)
	b.Images[in.Name] = pix
	return err
}

// readPresent makes a batch of the inputs of a dump and returns their names.
func readPresent(inputs multimae.Inputs, c *caseJSON, f *weights.Safetensors) (*multimae.Batch, []string, error) {
	b := &multimae.Batch{Size: c.Batch, H: c.ImageSize[0], W: c.ImageSize[1], Images: map[string][]float32{}, Classes: map[string][]int32{}}
	var names []string
	for i := range inputs {
		key := "in." + inputs[i].Name
		if _, ok := f.Shape(key); ok {
			if err := readInput(b, &inputs[i], f, key); err != nil {
				return nil, nil, err
			}
			names = append(names, inputs[i].Name)
		}
	}
	return b, names, nil
}

func ids(f *weights.Safetensors, key string) ([]int32, error) {
	wide, err := f.Int64(key)
	if err != nil {
		return nil, err
	}
	out := make([]int32, len(wide))
	for i, v := range wide {
		if v < 0 || v > math.MaxInt32 {
			return nil, fmt.Errorf("%s: id %d at index %d is out of range", key, v, i)
		}
		out[i] = int32(v)
	}
	return out, nil
}

// judge compares tensors with those of expected.safetensors.
type judge struct {
	model   string
	f       *weights.Safetensors
	torch   map[string]float64
	results []result
	seen    map[string]bool
	err     error
}

// result is the comparison of one tensor.
type result struct {
	group, name string
	diff, norm  float64 // Euclidean norms of the difference and of what is expected
	where       string  // the largest difference
}

// repeat does what the dump did: forward, losses, gradients, and the
// optimiser's steps.
func (j *judge) repeat(m *subject, pool *tensor.Pool) error {
	o := m.optim
	m.params.EnableGrad()
	opt := nn.NewAdamW(o.Betas[0], o.Betas[1], o.Eps, m.params)
	t := tensor.NewTape(pool)
	j.seen = map[string]bool{}
	for step := 0; ; step++ {
		key := "step" + strconv.Itoa(step) + ".loss"
		if _, more := j.f.Shape(key); !more && step > 0 {
			break
		}
		t.Reset()
		m.params.ZeroGrad(t)
		tokens, preds, losses, err := m.forward(t)
		if err != nil {
			return err
		}
		total := multimae.Total(t, losses)
		t.Backward(total)
		if step == 0 {
			j.compare("encoder", "encoder", tokens.Data)
			for i, p := range preds {
				j.compare("out", "out."+m.outputs[i], m.image(i, p))
			}
			for i, l := range losses {
				if l != nil {
					j.compare("loss", "loss."+m.outputs[i], l.Data)
				}
			}
			for _, p := range m.params.All() {
				g := p.Grad
				if p.Fixed {
					g = make([]float32, len(p.Data)) // a dump may have the gradient of what no output depends on
				}
				j.compare("grad", "grad."+p.Name, g)
			}
		}
		j.compare(strings.TrimSuffix(key, ".loss"), key, total.Data)
		opt.Step(t, o.LR, o.WeightDecay, 1)
	}
	for _, p := range m.params.All() {
		j.compare("param", "param."+p.Name, p.Data)
	}
	return nil
}

// compare adds a result; a tensor that the dump lacks is left out.
func (j *judge) compare(group, key string, got []float32) {
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
		r.diff += d * d
		r.norm += w * w
		if d > worst {
			worst = d
			r.where = fmt.Sprintf("%s: element %d is %.8g, want %.8g", key, i, got[i], w)
		}
	}
	r.diff, r.norm = math.Sqrt(r.diff), math.Sqrt(r.norm)
	j.results = append(j.results, r)
}

// groups sums the results up. What the dump holds and nothing was compared
// with is an error: it would pass unseen.
func (j *judge) groups() ([]Group, error) {
	if j.err != nil {
		return nil, j.err
	}
	for _, name := range j.f.Names() {
		if !j.seen[name] {
			return nil, fmt.Errorf("expected.safetensors: nothing here computes %q", name)
		}
	}
	if len(j.results) == 0 {
		return nil, fmt.Errorf("expected.safetensors: holds no tensor, so nothing was compared")
	}
	largest := 0.0
	for _, r := range j.results {
		if r.group == "grad" {
			largest = max(largest, r.norm)
		}
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
		if r.group == "grad" && norm < noise*largest {
			norm = largest
		}
		e := r.diff
		switch {
		case norm > 0:
			e = r.diff / norm
		case r.diff > 0: // expected is all zeros: only zeros agree
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
