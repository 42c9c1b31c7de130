package train_test

import (
	"fmt"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/train"
)

// A loop of your own: a small model begins to learn two scenes by heart.
func ExampleTrainer() {
	c, err := multimae.Preset("tiny", len(scenes.Classes))
	if err != nil {
		fmt.Println(err)
		return
	}
	c.ImageSize, c.Encoder.Dim, c.Encoder.Heads, c.Encoder.Depth = 32, 48, 3, 1
	c.Optim.LR, c.Train.Steps, c.Train.WarmupSteps, c.Train.NumEncodedTokens = 2e-3, 15, 3, 12
	m, err := multimae.NewModel(c)
	if err != nil {
		fmt.Println(err)
		return
	}
	m.Init(1)
	tr, err := train.NewTrainer(train.NewPretraining(m), nil) // nil: one worker
	if err != nil {
		fmt.Println(err)
		return
	}

	var samples []*data.Sample
	rooms := scenes.New(0, 2, c.ImageSize, 1)
	for i := range rooms.Len() {
		s, err := rooms.Sample(i)
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
		if x.Step%5 == 0 {
			fmt.Printf("step %d of %d, learning rate %.1e, loss below the first: %v\n", x.Step, c.Train.Steps, x.LR, x.Loss < first)
		}
	}
	// Output:
	// step 5 of 15, learning rate 2.0e-03, loss below the first: true
	// step 10 of 15, learning rate 1.0e-03, loss below the first: true
	// step 15 of 15, learning rate 3.4e-05, loss below the first: true
}
