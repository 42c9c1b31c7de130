package parity

import (
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
)

func TestCheckRestore(t *testing.T) {
	inputs := []string{"rgb", "depth"}
	// Hidden tokens may stand in any order.
	masks, err := multimae.NewMasks(1, inputs, 3, []int32{3, 0})
	if err != nil {
		t.Fatal(err)
	}
	if err := checkRestore(masks, []int32{1, 5, 3, 0, 2, 4}); err != nil {
		t.Error(err)
	}
	if masks, err = multimae.NewMasks(1, inputs, 2, []int32{1, 2}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want    string
		restore []int32
	}{
		{"got 3 ids", []int32{2, 0, 1}},
		{"got 0 ids", nil},
		{"sample 0 has position 4 for token 3", []int32{2, 0, 1, 4}},
		{"sample 0 has position -1 for token 0", []int32{-1, 0, 1, 3}},
		{"sample 0 has position 2 for token 3", []int32{2, 0, 1, 2}},
		{"sample 0 has token 2 at position 0", []int32{2, 1, 0, 3}},
	} {
		t.Run(c.want, func(t *testing.T) {
			testkit.ErrorNames(t, checkRestore(masks, c.restore), "ids_restore: "+c.want)
		})
	}
}
