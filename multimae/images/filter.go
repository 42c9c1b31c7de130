package images

// Filter is the weights along one axis of a resize by a triangle filter, whose half width is an input
// pixel or an output pixel, whichever is larger: bilinear when enlarging, antialiased when reducing.
// It is how Resizer resizes, for values of which no Map can hold a whole picture.
type Filter struct{ t taps }

// NewFilter returns the filter that makes out pixels of in.
func NewFilter(in, out int) *Filter {
	f := new(Filter)
	f.t.set(0, float64(in), out, in)
	return f
}

// At returns what output pixel j, below the out of NewFilter, is made of: the sum of weight[i] times
// input pixel first+i. weight is part of the filter: read it only.
func (f *Filter) At(j int) (first int, weight []float32) {
	return f.t.first[j], f.t.weight[j*f.t.k:][:f.t.k]
}
