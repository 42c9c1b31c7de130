package scenes_test

import (
	"fmt"

	"github.com/gomae/gomae/multimae/scenes"
)

func ExampleNew() {
	rooms := scenes.New(0, 1000, 64, 1)
	s, err := rooms.Sample(17)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Name, len(s.Maps["rgb"].Pix), len(s.Maps["depth"].Pix), len(s.Maps["semseg"].IDs))
	// Output: scene/000017 12288 4096 4096
}
