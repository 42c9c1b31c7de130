package images

import (
	"fmt"
	"maps"
	"slices"
)

// Misfit returns an error if a map cannot show the same view as the largest one, because the ratio of
// its sides is different. called says what the error calls a modality; nil stands for its name.
func Misfit(views map[string]*Map, called func(modality string) string) error {
	if called == nil {
		called = func(modality string) string { return modality }
	}
	names := slices.Sorted(maps.Keys(views))
	largest := ""
	for _, n := range names {
		if l := views[largest]; l == nil || views[n].W*views[n].H > l.W*l.H {
			largest = n
		}
	}
	for _, n := range names {
		if v, l := views[n], views[largest]; !v.sameShape(l) {
			return fmt.Errorf("%s has %d×%d pixels, but %s has %d×%d; give images of the same view, whose sides have the same ratio",
				called(n), v.W, v.H, called(largest), l.W, l.H)
		}
	}
	return nil
}
