package data_test

import (
	"context"
	"fmt"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
)

func ExampleLoader() {
	inputs := []multimae.Input{
		{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1},
		{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1},
		{Name: "semseg", Kind: multimae.KindClasses, NumClasses: len(scenes.Classes), Stride: 4},
	}
	l := data.NewLoader(context.Background(), scenes.New(0, 100, 64, 1), data.LoaderConfig{
		Inputs: inputs, Size: 64, Batch: 8, Shuffle: true, Workers: 2,
		Augment: data.Augment{Crop: true, Flip: true},
	})
	defer l.Close()
	for range 2 {
		b, err := l.Next()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(b.Size, len(b.Images["rgb"]), len(b.Images["depth"]), len(b.Classes["semseg"]))
		l.Release(b)
	}
	// Output:
	// 8 98304 32768 2048
	// 8 98304 32768 2048
}
