package probe_test

import (
	"context"
	"fmt"

	"github.com/gomae/gomae/multimae/metrics"
	"github.com/gomae/gomae/multimae/probe"
)

// A linear classifier of features that are already there, such as those that an Extractor returns.
func ExampleFitLinear() {
	ctx := context.Background()
	train := &probe.Features{Names: []string{"cat/1", "dog/1", "cat/2", "dog/2"}, Dim: 2, X: []float32{1, 9, -1, 9, 2, 7, -2, 8}}
	labels := []int32{0, 1, 0, 1}
	l, err := probe.FitLinear(ctx, train, labels, 2, 0.01, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	logits, err := l.Logits(ctx, &probe.Features{Names: []string{"cat/3", "dog/3"}, Dim: 2, X: []float32{3, 8, -1, 8}}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	var top metrics.TopK
	if err := top.Add(logits, 2, []int32{0, 1}); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.0f %% are right\n", top.Top1())
	// Output: 100 % are right
}
