package train

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/scenes"
)

// TestSceneRanges wants scenes of each purpose that have no other, however many are trained on.
func TestSceneRanges(t *testing.T) {
	pre, fine := tinyConfig(), fineConfig()
	pre.Train.Seed, fine.Train.Seed, fine.Train.Samples = 0, 0, maxLabelled
	trainSet, val, err := PretrainData(pre)
	if err != nil {
		t.Fatal(err)
	}
	labelled, held, err := FinetuneData(fine)
	if err != nil {
		t.Fatal(err)
	}
	test, err := TestData(fine, ScenesData, "")
	if err != nil {
		t.Fatal(err)
	}
	var ends []string // the names of the first and last scene of each
	for _, ds := range []data.Dataset{trainSet, val, scenes.Unseen(16, 0), labelled, held, test} {
		for _, i := range []int{0, ds.Len() - 1} {
			s, err := ds.Sample(i)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, fmt.Sprintf("%20s", s.Name))
		}
	}
	// The scenes that pre-training is validated with are the first of the unseen ones.
	if ends[2] != ends[4] {
		t.Errorf("validation begins with %s, and unseen scenes with %s", ends[2], ends[4])
	}
	ends = slices.Delete(ends, 4, 5)
	if !slices.IsSorted(ends) || len(slices.Compact(slices.Clone(ends))) != len(ends) {
		t.Errorf("the ranges overlap: %v", ends)
	}
	fine.Train.Samples++
	_, _, err = FinetuneData(fine)
	testkit.ErrorNames(t, err, "train.samples: ")
}
