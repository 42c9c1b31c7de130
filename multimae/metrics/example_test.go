package metrics_test

import (
	"fmt"

	"github.com/gomae/gomae/multimae/metrics"
)

// Pixels of two images, one of which has an unlabelled pixel.
func ExampleConfusion() {
	const ignored = 255
	c := metrics.NewConfusion(3, ignored)
	for _, image := range []struct{ truth, pred []int32 }{
		{[]int32{0, 0, 1, 1}, []int32{0, 1, 1, 1}},
		{[]int32{1, ignored}, []int32{1, 2}},
	} {
		if err := c.Add(image.truth, image.pred); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Printf("mIoU %.1f %%, pixel accuracy %.1f %%, classes that are nowhere: %v\n", c.MeanIoU(), c.Accuracy(), c.Absent())
	// Output: mIoU 62.5 %, pixel accuracy 80.0 %, classes that are nowhere: [2]
}

func ExampleDepth() {
	d := metrics.NewDepth(metrics.AlignNone, 0.001) // metres
	d.Add([]float32{1.1, 2, 9}, []float32{1, 2, 3}, []bool{true, true, false})
	e := d.Errors()
	fmt.Printf("RMSE %.3f m, AbsRel %.3f, δ1 %.0f %%\n", e.RMSE, e.AbsRel, e.Delta[0])
	// Output: RMSE 0.071 m, AbsRel 0.050, δ1 100 %
}
