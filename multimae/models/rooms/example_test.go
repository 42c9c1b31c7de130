package rooms_test

import (
	"context"
	"fmt"
	"log"

	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/models/rooms"
	"github.com/gomae/gomae/multimae/scenes"
)

// The depth of a room from its colour.
func Example() {
	m, err := rooms.Load()
	if err != nil {
		log.Fatal(err)
	}
	s, err := scenes.Unseen(m.Config.ImageSize, 0).Sample(0)
	if err != nil {
		log.Fatal(err)
	}
	colour := &data.Sample{Maps: map[string]*data.Map{"rgb": s.Maps["rgb"]}}
	b, err := data.Collate([]*data.Sample{colour}, m.Config.Inputs, m.Config.ImageSize)
	if err != nil {
		log.Fatal(err)
	}
	p, err := m.Predict(context.Background(), b, nil)
	if err != nil {
		log.Fatal(err)
	}
	depth := p.Output("depth")
	fmt.Println(depth.Channels, depth.H, depth.W)
	// Output: 1 64 64
}
