package parity

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/tensor"
)

// A group of tensors passes with an error of at most Limit times PyTorch's own float32 error. An
// error of at most Floor always passes: float32 itself rounds there.
const (
	Limit = 2.0
	Floor = 5e-7
)

// noise is the share of the largest gradient norm below which a gradient, or an element of one, is
// rounding and nothing else: softmax does not see the biases of the keys, for example.
const noise = 1e-7

// beyond stands for all larger errors, and for infinities and NaN, which JSON does not have.
const beyond = 1e9

// Group is the result of the tensors of one kind.
type Group struct {
	Name  string  `json:"name"`  // encoder, out, loss, grad, step0, …, param
	Count int     `json:"count"` // tensors
	Error float64 `json:"error"` // the largest ‖ours − expected‖/‖expected‖
	Torch float64 `json:"torch"` // the largest error of PyTorch's float32
	Ratio float64 `json:"ratio"` // Error / max(Torch, Floor/Limit), at most Limit to pass
	Pass  bool    `json:"pass"`
	Worst string  `json:"worst"` // the tensor with the largest error
	// First is where the first failed tensor of a failed group, in the order of computation,
	// differs most.
	First string `json:"first,omitempty"`
}

// MeetsAim reports whether the error is within the aim of the project: at most that of PyTorch's
// own float32, or Floor. To pass takes less.
func (g *Group) MeetsAim() bool { return g.Error <= max(g.Torch, Floor) }

// Report is the result of a dump folder.
type Report struct {
	Dir    string  `json:"dir"`
	Model  string  `json:"model"`
	Groups []Group `json:"groups"`
}

// Pass reports whether every group passed.
func (r *Report) Pass() bool {
	return !slices.ContainsFunc(r.Groups, func(g Group) bool { return !g.Pass })
}

// caseJSON is the object "case" in the config.json of a dump.
type caseJSON struct {
	Batch            int                `json:"batch"`
	NumEncodedTokens int                `json:"num_encoded_tokens"`
	ImageSize        [2]int             `json:"image_size"`
	Steps            int                `json:"steps"`
	TorchError       map[string]float64 `json:"torch_fp32_rel_err"`
}

// Run reads a dump folder, repeats its computation with the workers of pool and compares the
// results. The error is one of reading the folder; differences are in the report. dir is the name
// of the folder for errors and the report.
func Run(fsys fs.FS, dir string, pool *tensor.Pool) (*Report, error) {
	r, err := run(fsys, dir, pool)
	if err != nil {
		return nil, fmt.Errorf("dump %s: %w", dir, strictjson.Short(err))
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

// judgeDump repeats the computation of a dump and compares every tensor.
func judgeDump(fsys fs.FS, pool *tensor.Pool) (*judge, error) {
	var head struct {
		Model string          `json:"model"`
		Case  json.RawMessage `json:"case"`
	}
	b, err := regular.ReadFileFS(fsys, multimae.ConfigFile, regular.ConfigLimit)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%s: %w", multimae.ConfigFile, err)
	}
	open, ok := map[string]func(fs.FS, *caseJSON, weights.File) (*subject, error){"multimae": openMultiMAE, "multivit": openMultiViT}[head.Model]
	if !ok {
		return nil, fmt.Errorf("%s: model: got %q, want \"multimae\" or \"multivit\"", multimae.ConfigFile, head.Model)
	}
	if head.Case == nil {
		return nil, fmt.Errorf("%s: no key \"case\": this is a model folder, not a dump", multimae.ConfigFile)
	}
	var c caseJSON
	if err := json.Unmarshal(head.Case, &c); err != nil {
		return nil, fmt.Errorf("%s: case: %w", multimae.ConfigFile, err)
	}
	inputs, err := weights.OpenFS(fsys, "inputs.safetensors")
	if err != nil {
		return nil, err
	}
	defer inputs.Close()
	m, err := open(fsys, &c, inputs)
	if err != nil {
		return nil, err
	}
	expected, err := weights.OpenFS(fsys, "expected.safetensors")
	if err != nil {
		return nil, err
	}
	defer expected.Close()

	j := &judge{model: head.Model, f: expected, torch: c.TorchError, steps: c.Steps}
	size, err := folderSize(fsys)
	if err != nil {
		return nil, err
	}
	if err := m.checkCost(j.countSteps(), size); err != nil {
		return nil, err
	}
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
	tokens  int     // of the encoder and the decoders in a forward pass, at most
	samples int     // that they belong to
	values  float64 // of the maps that heads compute on, at most
	// predict returns the encoder's tokens and the prediction of each output.
	predict func(t *tensor.Tape) (tokens *tensor.Tensor, preds []*tensor.Tensor, err error)
	// losses returns the loss of each output as a training step has it; one may be nil.
	losses func(t *tensor.Tape) ([]*tensor.Tensor, error)
	// image returns a prediction in the order of the dump, channels first.
	image func(output int, pred *tensor.Tensor) []float32
}

// folderSize returns the bytes of the files of a dump.
func folderSize(fsys fs.FS) (size int64, err error) {
	files, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			return 0, err
		}
		if info.Mode().IsRegular() {
			size += info.Size()
		}
	}
	return size, nil
}

// checkCost returns an error if a dump of so many bytes asks for much more work or memory than an
// honest one: a modality of one byte for each patch, for example, has activations of megabytes for
// each. The costs are rough and too high rather than too low.
func (s *subject) checkCost(steps int, size int64) error {
	const maxWork, workPerByte = 2e11, 2e4    // multiplications; a minute, and an hour for a gigabyte
	const maxMemory, memoryPerByte = 1e9, 100 // bytes
	var params, width, attention float64
	for _, p := range s.params.All() {
		n := 1.
		for _, d := range p.Shape {
			n *= float64(d)
		}
		if !p.Fixed {
			params += n
			width += float64(p.Shape[0]) // of the result
		}
		if strings.HasSuffix(p.Name, ".attn.qkv.weight") {
			attention += 2 * float64(p.Shape[1])
		}
	}
	tokens := float64(s.tokens)
	work := 3 * float64(steps) * (tokens*(params+tokens/float64(s.samples)*attention) + s.values)
	memory := 3 * 4 * (tokens*width + s.values)
	if work > maxWork+workPerByte*float64(size) || memory > maxMemory+memoryPerByte*float64(size) {
		return fmt.Errorf("%s: case: %d samples with %d tokens in all, in %d steps, take some %.0e multiplications and %.0e bytes, more than a dump of %d bytes is worth; make it of fewer samples, pixels or steps",
			multimae.ConfigFile, s.samples, s.tokens, steps, work, memory, size)
	}
	return nil
}

// readInput adds an input to a batch.
func readInput(b *multimae.Batch, in *multimae.Input, f weights.File, key string) error {
	if in.Kind == multimae.KindClasses {
		classes, err := f.Int64(key)
		if err != nil {
			return err
		}
		out := make([]int32, len(classes))
		for i, id := range classes {
			out[i] = int32(min(max(id, -1), 1<<30)) // Check refuses ids out of range
		}
		b.Classes[in.Name] = out
		return nil
	}
	pix, err := f.Float32(key)
	b.Images[in.Name] = pix
	return err
}

// readPresent makes a batch of the inputs that a dump has, and returns their names.
func readPresent(inputs multimae.Inputs, c *caseJSON, f weights.File) (*multimae.Batch, []string, error) {
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

func ids(f weights.File, key string) ([]int32, error) {
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
