package experiment

import (
	"fmt"
	"slices"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/heads"
)

// Names are the experiments that New knows.
var Names = []string{"transfer", "tasks", "alpha", "labels"}

// trueMaps is the row that is pre-trained with the maps as they are, where these are the truth.
const trueMaps = "true maps"

// segmentation are the columns of the paper's table on NYUv2.
var segmentation = []Column{
	{[]string{"rgb"}, heads.TaskSemseg}, {[]string{"depth"}, heads.TaskSemseg}, {[]string{"rgb", "depth"}, heads.TaskSemseg},
}

// New returns an experiment by name.
func New(name string) (*Experiment, error) {
	switch name {
	case "transfer":
		return &Experiment{
			Name: name, About: "What does pre-training on several modalities transfer to a task with few labels?",
			Pretrainings: []Pretraining{{Name: "scratch"}, {Name: "MAE", Model: "mae", Change: mae}, {Name: "MultiMAE", Model: "multimae", Change: same}},
			Columns:      append(slices.Clone(segmentation), Column{[]string{"rgb"}, heads.TaskDepth}),
		}, nil
	case "tasks":
		return &Experiment{
			Name: name, About: "Which modalities should pre-training reconstruct?",
			Pretrainings: []Pretraining{
				{Name: "RGB", Model: "mae", Change: mae}, {Name: "RGB-D", Model: "rgb-d", Change: modalities("rgb", "depth")},
				{Name: "RGB-S", Model: "rgb-s", Change: modalities("rgb", "semseg")}, {Name: "RGB-D-S", Model: "multimae", Change: same},
			},
			Columns: segmentation,
		}, nil
	case "alpha":
		e := &Experiment{Name: name, About: "How should the visible tokens be shared among the modalities?", Columns: segmentation}
		for _, a := range []float64{0.2, 0.5, 1, 2} {
			p := Pretraining{
				Name: fmt.Sprintf("α = %g", a), Model: fmt.Sprintf("alpha-%g", a),
				Change: func(c *multimae.Config) { c.Train.Alphas = multimae.Alphas{a} },
			}
			if a == 1 {
				p.Model = "multimae"
			}
			e.Pretrainings = append(e.Pretrainings, p)
		}
		// The spread of shares falls with the root of α: at 10⁴ it is less than a token.
		e.Pretrainings = append(e.Pretrainings,
			Pretraining{Name: "equal shares", Model: "equal-shares", Change: func(c *multimae.Config) { c.Train.Alphas = multimae.Alphas{1e4} }},
			Pretraining{Name: "uniform tasks", Model: "uniform-tasks", Change: func(c *multimae.Config) { c.Train.UniformTasks = true }})
		return e, nil
	case "labels":
		return &Experiment{
			Name: name, About: "How good must the depth and class maps be that a MultiMAE is pre-trained with, and can a model make its own?",
			Pretrainings: []Pretraining{
				{Name: "MAE, no maps", Model: "mae", Change: mae}, {Name: "spoilt maps", Model: "spoilt", Change: same, Maps: Spoilt},
				{Name: "maps of a fine-tuned MAE", Model: "labelled", Change: same, Maps: Labelled}, {Name: trueMaps, Model: "multimae", Change: same},
			},
			Columns: segmentation,
		}, nil
	}
	return nil, fmt.Errorf("there is no experiment %q; there are %v", name, Names)
}

// same leaves the MultiMAE as it is.
func same(*multimae.Config) {}

// modalities keeps the inputs of these names, and the outputs that reconstruct them.
func modalities(names ...string) func(c *multimae.Config) {
	return func(c *multimae.Config) {
		c.Inputs = slices.DeleteFunc(c.Inputs, func(in multimae.Input) bool { return !slices.Contains(names, in.Name) })
		c.Outputs = slices.DeleteFunc(c.Outputs, func(o multimae.Output) bool { return !slices.Contains(names, o.Task) })
	}
}

// mae is a plain masked autoencoder, which sees a quarter of the patches: He et al. (2022).
func mae(c *multimae.Config) {
	modalities("rgb")(c)
	nh, nw := c.Grid(c.ImageSize, c.ImageSize)
	c.Train.NumEncodedTokens = nh * nw / 4
}
