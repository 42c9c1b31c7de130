package train_test

import (
	"fmt"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/train"
)

// A loop of one's own: a small model learns four scenes by heart.
func ExampleTrainer() {
	c, err := multimae.Preset("tiny", len(data.SceneClasses))
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Encoder.Dim, c.Encoder.Heads, c.Encoder.Depth = 48, 3, 2
	c.Optim.LR, c.Train.Steps, c.Train.WarmupSteps = 2e-3, 30, 5
	m, err := multimae.NewModel(c)
	if err != nil {
		fmt.Println(err)
		return
	}
	m.Init(1)
	tr, err := train.NewTrainer(m, nil) // nil: one worker
	if err != nil {
		fmt.Println(err)
		return
	}

	var samples []*data.Sample
	scenes := data.Scenes(0, 4, c.ImageSize, 1)
	for i := range scenes.Len() {
		s, err := scenes.Sample(i)
		if err != nil {
			fmt.Println(err)
			return
		}
		samples = append(samples, s)
	}
	batch, err := data.Collate(samples, c.Inputs, c.ImageSize)
	if err != nil {
		fmt.Println(err)
		return
	}

	first := 0.0
	for range c.Train.Steps {
		x, err := tr.Step(batch)
		if err != nil {
			fmt.Println(err)
			return
		}
		if x.Step == 1 {
			first = x.Loss
		}
		if x.Step%10 == 0 {
			fmt.Printf("step %d of %d, learning rate %.1e, loss below the first: %v\n", x.Step, c.Train.Steps, x.LR, x.Loss < first)
		}
	}
	// Output:
	// step 10 of 30, learning rate 1.9e-03, loss below the first: true
	// step 20 of 30, learning rate 8.1e-04, loss below the first: true
	// step 30 of 30, learning rate 7.9e-06, loss below the first: true
}
