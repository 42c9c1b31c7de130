package teacher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/images"
)

// model is a fine-tuned model of gomae as a network: it computes one output from rgb.
type model struct {
	m      *heads.Model
	output string
}

// openModel opens the folder of a fine-tuned model. What the model knows of itself need not be
// described.
func (l *layer) openModel() error {
	m, err := heads.Load(os.DirFS(l.file))
	if err != nil {
		return err
	}
	l.net = &model{m: m}
	c := m.Config
	for _, o := range c.Outputs {
		for _, task := range o.MainTasks {
			if task != "rgb" {
				return fmt.Errorf("output %s is computed from %s; a teacher sees only rgb", o.Name, strings.Join(o.MainTasks, ", "))
			}
		}
	}
	rgb := c.Input("rgb")
	if rgb == nil || rgb.Kind != multimae.KindImage || rgb.Channels != 3 {
		return fmt.Errorf("the inputs are %s; a teacher sees only rgb", strings.Join(c.Inputs.Names(), ", "))
	}
	d := new(Description)
	if l.d != nil {
		*d = *l.d
	}
	out, err := pick("output", d.Output.Name, l.net.outputs())
	if err != nil {
		return err
	}
	o := &c.Outputs[slices.IndexFunc(c.Outputs, func(o heads.Output) bool { return o.Name == out.name })]
	if o.Head == heads.Linear {
		return fmt.Errorf("output %s is a class of the whole photograph; a teacher returns maps", o.Name)
	}
	if d.Output.Kind == "" {
		d.Output.Kind = KindDepth
		switch {
		case o.Loss == heads.LossCrossEntropy:
			d.Output.Kind = KindLogits
		case o.Unit > 0:
			d.Output.Kind = KindMetres
		}
	}
	// Names that do not tell the classes apart would make others of them.
	if d.ofClasses() && len(d.Classes) == 0 && distinct(o.Classes) {
		if l.table, err = tableOf(o.Classes); err != nil {
			return err
		}
	}
	if len(d.Input.Size) == 0 && d.Input.ShortSide == 0 && d.Input.LongSide == 0 {
		d.Input.ShortSide, d.Input.Multiple = c.ImageSize, c.PatchSize
		if o.Head == heads.DPT {
			d.Input.Multiple *= 2 // it needs an even number of patches
		}
	}
	if rgb.Normalization() == multimae.NormalizeImageNet && len(d.Input.Mean) == 0 && len(d.Input.Std) == 0 {
		for i := range 3 {
			d.Input.Mean = append(d.Input.Mean, float64(images.ImageNetMean[i]))
			d.Input.Std = append(d.Input.Std, float64(images.ImageNetStd[i]))
		}
	}
	l.d = d
	names, err := modelfolder.Files(os.DirFS(l.file))
	if err != nil {
		return err
	}
	for i, name := range names {
		names[i] = filepath.Join(l.file, name)
	}
	l.sum, err = sum(names...)
	return err
}

// distinct reports whether there are names, none of them empty or listed twice.
func distinct(names []string) bool {
	sorted := slices.Sorted(slices.Values(names))
	return len(names) > 0 && sorted[0] != "" && len(slices.Compact(sorted)) == len(names)
}

func (m *model) inputs() []port {
	return []port{{"rgb", elementFloat32, []int{1, 3, -1, -1}}}
}

func (m *model) outputs() (list []port) {
	for _, o := range m.m.Config.Outputs {
		list = append(list, port{o.Name, elementFloat32, []int{1, o.NumClasses, -1, -1}})
	}
	return list
}

func (m *model) choose(_, output string) { m.output = output }

func (m *model) run(ctx context.Context, x []float32, shape []int) (*output, error) {
	if m.m.Config.Input("rgb").Normalization() == multimae.NormalizeStandardize {
		images.Standardize(x, nil) // as images.Batch does; a description cannot say it
	}
	b := &multimae.Batch{Size: 1, H: shape[2], W: shape[3], Images: map[string][]float32{"rgb": x}}
	p, err := m.m.Predict(ctx, b, nil)
	if err != nil {
		return nil, err
	}
	o := p.Output(m.output)
	if o == nil {
		return nil, errors.New("no output " + m.output)
	}
	return &output{shape: []int{1, o.Channels, o.H, o.W}, values: o.Pix}, nil
}

func (m *model) close() {}
