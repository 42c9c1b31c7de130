package images

import (
	"maps"
	"slices"
)

// Misfit looks for a map that cannot show the same view as the largest one, because the ratio of
// its sides is different. It returns the names of both, or "" if all maps fit.
func Misfit(views map[string]*Map) (name, largest string) {
	names := slices.Sorted(maps.Keys(views))
	for _, n := range names {
		if l := views[largest]; l == nil || views[n].W*views[n].H > l.W*l.H {
			largest = n
		}
	}
	for _, n := range names {
		if !views[n].sameShape(views[largest]) {
			return n, largest
		}
	}
	return "", ""
}
