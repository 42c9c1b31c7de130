package evaluate_test

import (
	"context"
	"fmt"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/evaluate"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
)

// A model that has learnt nothing yet, on rendered scenes. heads.LoadDir reads one that has.
func ExampleEvaluate() {
	base, err := multimae.Preset("tiny", len(scenes.Classes))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := heads.SetInputs(&base.BackboneConfig, []string{"rgb"}, 0); err != nil {
		fmt.Println(err)
		return
	}
	c, err := heads.NewConfig(heads.TaskSemseg, heads.ConvNeXt, base.BackboneConfig, len(scenes.Classes))
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := heads.NewModel(c)
	if err != nil {
		fmt.Println(err)
		return
	}
	m.Init(1)
	r, err := evaluate.Evaluate(context.Background(), m, scenes.New(0, 2, 64, 1), evaluate.Options{}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, x := range r.Metrics() {
		fmt.Println(x.Output, x.Name, x.Value >= 0 && x.Value <= 100)
	}
	fmt.Println(r.Outputs[0].Pixels, "pixels of", r.Samples, "scenes have a label")
	// Output:
	// semseg miou true
	// semseg pixel_accuracy true
	// semseg mean_accuracy true
	// 8192 pixels of 2 scenes have a label
}
