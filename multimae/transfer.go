package multimae

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/nn/weights"
	"github.com/gomae/gomae/vit"
)

// TransferReport says what Transfer took from a file of weights.
type TransferReport struct {
	Family  string       // of the file's model: "MultiMAE", or that of FromViT
	Taken   []string     // parts of the model with the file's values, such as "encoder", in the model's order
	Adapted []nn.Adapted // parameters in them that the file has with another shape
	Fresh   []FreshPart  // parts that keep their values
	Unused  []string     // keys of the file that belong to no part that was taken
}

// FreshPart is a part of a model that takes no values from a file: an adapter, the global tokens,
// or a single parameter.
type FreshPart struct{ Part, Why string }

// String describes the report on a few lines.
func (r *TransferReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "taken from a %s: %s", r.Family, strings.Join(r.Taken, ", "))
	for _, a := range r.Adapted {
		fmt.Fprintf(&b, "\nadapted: %s from %v to %v", a.Name, a.From, a.To)
	}
	for _, p := range r.Fresh {
		fmt.Fprintf(&b, "\nleft fresh: %s, %s", p.Part, p.Why)
	}
	if len(r.Unused) > 0 {
		fmt.Fprintf(&b, "\nnot used: %s", strings.Join(weights.Groups(r.Unused, 20), ", "))
	}
	return b.String()
}

// Transfer starts the model from another one, whose weights f holds: a MultiMAE, fine-tuned or not,
// or one of the models that FromViT knows. The encoder must fit and is taken. Of the rest, a part
// is taken if all of it fits: the global tokens, each input adapter, and each output adapter, be it
// a decoder or a head. Position tables are resized to the model's grid, and an embedding of classes
// may have fewer of them than the model's. All other parameters keep the values that they have, so
// call Init first. After an error nothing has changed.
func (m *Backbone) Transfer(f weights.File) (*TransferReport, error) {
	r := &TransferReport{Family: cmp.Or(vitFamily(f.Names()), "MultiMAE")}
	otherHeads, err := m.otherHeads(f.Metadata()[modelfolder.MetaConfig])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Label(), err)
	}
	f, dropped, err := asMultiMAE(f, m.config.PositionGrid)
	if err != nil {
		return nil, err
	}
	fresh, err := m.misfits(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Label(), err)
	}
	for part, why := range otherHeads {
		if fresh[part] == "" {
			fresh[part] = why
		}
	}
	lacks := func(name string) bool { return fresh[name] != "" || fresh[partOf(name)] != "" }
	report, err := m.Params.LoadWith(f, nn.LoadOptions{
		Keep:   lacks,
		Ignore: func(key string) bool { return lacks(key) || m.Params.Get(key) == nil },
		Adapt:  m.adapt(&LoadOptions{ResizePositions: true, PadClasses: true}),
	})
	if err != nil {
		return nil, err
	}
	m.PositionsChanged()
	r.Adapted = report.Adapted
	said := map[string]bool{}
	for _, p := range m.Params.All() {
		part := partOf(p.Name)
		if fresh[part] == "" && fresh[p.Name] != "" {
			r.Fresh = append(r.Fresh, FreshPart{p.Name, fresh[p.Name]})
		}
		switch {
		case said[part]:
		case fresh[part] != "":
			r.Fresh = append(r.Fresh, FreshPart{part, fresh[part]})
		default:
			r.Taken = append(r.Taken, part)
		}
		said[part] = true
	}
	for _, key := range report.Unexpected {
		if part := partOf(key); !slices.Contains(r.Taken, part) {
			r.Unused = append(r.Unused, key)
		}
	}
	r.Unused = append(r.Unused, dropped...)
	return r, nil
}

// asMultiMAE returns a file under the names of a MultiMAE, and the keys that have none. The patches
// of a ViT are a square, or else the likely grid, such as that of the model that starts from it.
func asMultiMAE(f weights.File, likely []int) (_ weights.File, dropped []string, err error) {
	if !IsViT(f.Names()) {
		return f, nil, nil
	}
	tensors, err := weights.ReadAll(f)
	if err != nil {
		return nil, nil, err
	}
	if tensors, dropped, err = fromViT(tensors, nil, likely); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.Label(), err)
	}
	f, err = weights.FromTensors(f.Label(), tensors)
	return f, dropped, err
}

// partOf returns the part of a model that a key belongs to.
func partOf(key string) string {
	parts := strings.SplitN(key, ".", 3)
	switch parts[0] {
	case "input_adapters", "output_adapters":
		if len(parts) == 3 {
			return parts[0] + "." + parts[1]
		}
	case "encoder":
		return parts[0]
	}
	return key
}

// misfits returns why parts and single parameters of the model cannot take their values from a
// file. An encoder that does not fit is an error.
func (m *Backbone) misfits(f weights.File) (fresh map[string]string, err error) {
	inFile := map[string]bool{} // parts
	blocks := 0
	for _, key := range f.Names() {
		inFile[partOf(key)] = true
		if strings.HasPrefix(key, "encoder.") && strings.HasSuffix(key, ".norm1.weight") {
			blocks++
		}
	}
	switch {
	case !inFile["encoder"]:
		return nil, errors.New("it has no encoder: its names are not those of a MultiMAE or of a ViT; they begin with " +
			strings.Join(weights.Groups(f.Names(), 8), ", "))
	case blocks != m.config.Encoder.Depth:
		return nil, fmt.Errorf("encoder.depth: its encoder has %d blocks and the model's %d; %s", blocks, m.config.Encoder.Depth, fittingEncoder(f, blocks))
	}
	fresh = map[string]string{}
	// A part with more parameters than the model's computes something else.
	for _, key := range f.Names() {
		part := partOf(key)
		switch {
		case m.Params.Has(key) || strings.Contains(key, ".task_embeddings."):
		case part == "encoder":
			return nil, fmt.Errorf("%s is no parameter of the model's encoder, which would compute something else without it", weights.Quote(key))
		case fresh[part] == "":
			fresh[part] = "the file has " + weights.Quote(key) + " in it"
		}
	}
	for _, p := range m.Params.All() {
		part := partOf(p.Name)
		why := m.misfit(f, p)
		switch {
		case why == "" || fresh[part] != "":
		case part == "encoder":
			return nil, fmt.Errorf("%s %s; %s", p.Name, why, fittingEncoder(f, blocks))
		case !inFile[part]:
			fresh[part] = "which the file lacks"
		case strings.Contains(p.Name, ".task_embeddings.") && !has(f, p.Name): // of an input that the other model lacks
			fresh[p.Name] = "which the file lacks"
		default:
			fresh[part] = strings.TrimPrefix(strings.TrimPrefix(p.Name, part), ".") + " " + why
		}
	}
	return fresh, nil
}

// fittingEncoder says which configuration fits the encoder of a file.
func fittingEncoder(f weights.File, blocks int) string {
	if shape, ok := f.Shape("encoder.0.norm1.weight"); ok && len(shape) == 1 {
		return fmt.Sprintf("use a configuration with its encoder.dim %d and encoder.depth %d", shape[0], blocks)
	}
	return "use a configuration with the same encoder"
}

// misfit says why a parameter cannot take its values from a file, "" if it can.
func (m *Backbone) misfit(f weights.File, p *nn.Param) string {
	shape, ok := f.Shape(p.Name)
	pads := strings.HasSuffix(p.Name, ".class_emb.weight") && len(shape) == 2 && shape[0] < p.Shape[0] && shape[1] == p.Shape[1]
	switch dtype := f.DType(p.Name); {
	case !ok:
		return "is not in the file"
	case !weights.IsFloat(dtype):
		return "has the type " + dtype + " in the file"
	case slices.Equal(shape, p.Shape), pads:
		return ""
	case strings.HasSuffix(p.Name, ".pos_emb") && resizable(shape, p.Shape):
		return ""
	}
	return fmt.Sprintf("has shape %v in the file and %v in the model", shape, p.Shape)
}

// otherHeads compares the numbers of attention heads, which the shapes of weights do not show, with
// those of the configuration that a file carries. Output adapters with other heads are returned with
// the reason; other heads in the encoder are an error. An empty configuration says nothing.
func (m *Backbone) otherHeads(config string) (fresh map[string]string, err error) {
	var c struct {
		Encoder vit.Config
		Outputs map[string]struct{ Heads int }
	}
	if config == "" || json.Unmarshal([]byte(config), &c) != nil {
		return nil, nil
	}
	if a, b := c.Encoder.Heads, m.config.Encoder.Heads; a > 0 && a != b && c.Encoder.Dim == m.config.Encoder.Dim {
		return nil, fmt.Errorf("encoder.heads: its model has %d and this one %d; use a configuration with the same encoder", a, b)
	}
	fresh = map[string]string{}
	for name, b := range m.OutputHeads {
		if a := c.Outputs[name].Heads; a > 0 && a != b {
			fresh["output_adapters."+name] = fmt.Sprintf("which has %d attention heads in the file and %d in the model", a, b)
		}
	}
	return fresh, nil
}
