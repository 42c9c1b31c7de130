package teacher_test

import (
	"context"
	"fmt"

	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/teacher"
)

// A fine-tuned model labels a photograph: it returns an id for each of its pixels.
func Example() {
	t, err := teacher.Open([]string{"../../testdata/parity/vit_segmenter"}, teacher.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	photo := &images.Map{C: 3, H: 90, W: 120, Pix: make([]float32, 3*90*120)} // data.ReadPhoto reads one
	job, err := t.Prepare(photo)
	if err == nil {
		err = job.Run(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	labels, err := job.Map(photo.W, photo.H)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(t.Classes()), "classes,", len(labels.IDs), "pixels")
	// Output: 7 classes, 10800 pixels
}
