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
	m, err := multimae.Load(fsys)
	if err != nil {
		return nil, err
	}
	var c caseJSON
	if m.Config.Case == nil {
		return nil, fmt.Errorf("%s: no \"case\": this is a model folder, not a dump", multimae.ConfigFile)
	}
	if err := json.Unmarshal(m.Config.Case, &c); err != nil {
		return nil, fmt.Errorf("%s: case: %w", multimae.ConfigFile, err)
	}
	inputs, err := nn.OpenSafetensorsFS(fsys, "inputs.safetensors")
	if err != nil {
		return nil, err
	}
	defer inputs.Close()
	b, masks, err := readInputs(m, &c, inputs)
	if err != nil {
		return nil, err
	}
	expected, err := nn.OpenSafetensorsFS(fsys, "expected.safetensors")
	if err != nil {
		return nil, err
	}
	defer expected.Close()

	j := &judge{f: expected, torch: c.TorchError}
	if err := j.repeat(m, b, masks, pool); err != nil {
		return nil, err
	}
	groups, err := j.groups()
	if err != nil {
		return nil, err
	}
	return &Report{Dir: dir, Model: m.Config.Model, Groups: groups}, nil
}

// readInputs makes a batch of the inputs and targets of a dump.
func readInputs(m *multimae.Model, c *caseJSON, f *nn.SafeFile) (*multimae.Batch, *multimae.Masks, error) {
	h, w := c.ImageSize[0], c.ImageSize[1]
	if err := m.Config.CheckImageSize(h, w); err != nil {
		return nil, nil, fmt.Errorf("case.%w", err)
	}
	b := &multimae.Batch{Size: c.Batch, H: h, W: w, Images: map[string][]float32{}, Classes: map[string][]int32{}}
	read := func(modality, key string) error {
		in := m.Config.Input(modality)
		if in == nil {
			return fmt.Errorf("%s: no such input in the configuration", key)
		}
		if in.Kind == multimae.KindClasses {
			ids, err := f.Int64(key)
			if err != nil {
				return err
			}
			out := make([]int32, len(ids))
			for i, id := range ids {
				out[i] = int32(min(max(id, -1), 1<<30)) // Model.Check refuses what is out of range
			}
			b.Classes[modality] = out
			return nil
		}
		pix, err := f.Float32(key)
		b.Images[modality] = pix
		return err
	}
	var names []string
	for i := range m.Config.Inputs {
		name := m.Config.Inputs[i].Name
		if _, ok := f.Shape("in." + name); ok {
			if err := read(name, "in."+name); err != nil {
				return nil, nil, err
			}
			names = append(names, name)
		}
	}
	for i := range m.Config.Outputs {
		o := &m.Config.Outputs[i]
		key := "target." + o.Name
		if _, ok := f.Shape(key); !ok {
			continue
		}
		pix, image := b.Images[o.Task]
		ids, classes := b.Classes[o.Task]
		if err := read(o.Task, key); err != nil {
			return nil, nil, err
		}
		if image && !slices.Equal(pix, b.Images[o.Task]) || classes && !slices.Equal(ids, b.Classes[o.Task]) {
			return nil, nil, fmt.Errorf("%s differs from the input, or from another target, of the same task %q", key, o.Task)
		}
	}
	if err := m.Check(b); err != nil {
		return nil, nil, err
	}
	keep, err := ids(f, "ids_keep")
	if err != nil {
		return nil, nil, err
	}
	restore, err := ids(f, "ids_restore")
	if err != nil {
		return nil, nil, err
	}
	nh, nw := m.Config.Grid(h, w)
	masks, err := multimae.NewMasks(c.Batch, names, nh*nw, keep, restore)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names { // the masks are implied by the ids: a dump that disagrees with itself is no use
		key := "mask." + name
		mask, err := f.Int64(key)
		if err != nil {
			return nil, nil, err
		}
		if len(mask) != c.Batch*nh*nw {
			return nil, nil, fmt.Errorf("%s has %d values, want %d×%d", key, len(mask), c.Batch, nh*nw)
		}
		for i, v := range mask {
			if (v != 0) != masks.Task(i/(nh*nw), name)[i%(nh*nw)] {
				return nil, nil, fmt.Errorf("%s: value %d disagrees with ids_keep", key, i)
			}
		}
	}
	return b, masks, nil
}

func ids(f *nn.SafeFile, key string) ([]int32, error) {
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
	f       *nn.SafeFile
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
func (j *judge) repeat(m *multimae.Model, b *multimae.Batch, masks *multimae.Masks, pool *tensor.Pool) error {
	c := m.Config
	o := c.Optim
	m.Params.EnableGrad()
	opt := nn.NewAdamW(o.Betas[0], o.Betas[1], o.Eps, m.Params)
	t := tensor.NewTape(pool)
	j.seen = map[string]bool{}
	for step := 0; ; step++ {
		key := "step" + strconv.Itoa(step) + ".loss"
		if _, more := j.f.Shape(key); !more && step > 0 {
			break
		}
		t.Reset()
		m.Params.ZeroGrad(t)
		tokens, err := m.Encode(t, b, masks, nil)
		if err != nil {
			return err
		}
		preds, err := m.Decode(t, tokens, b.H, b.W, masks)
		if err != nil {
			return err
		}
		losses, err := m.Losses(t, preds, b, masks)
		if err != nil {
			return err
		}
		total := multimae.Total(t, losses)
		t.Backward(total)
		if step == 0 {
			j.compare("encoder", "encoder", tokens.Data)
			for i, p := range preds {
				j.compare("out", "out."+c.Outputs[i].Name, m.Unpatch(i, p, b.H, b.W))
			}
			for i, l := range losses {
				if l != nil {
					j.compare("loss", "loss."+c.Outputs[i].Name, l.Data)
				}
			}
			for _, p := range m.Params.All() {
				if !p.Fixed {
					j.compare("grad", "grad."+p.Name, p.Grad)
				}
			}
		}
		j.compare(strings.TrimSuffix(key, ".loss"), key, total.Data)
		opt.Step(t, o.LR, o.WeightDecay, 1)
	}
	for _, p := range m.Params.All() {
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
