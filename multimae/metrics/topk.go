package metrics

import "fmt"

// TopK counts how often the true class of an image is the most probable one, and how often it is
// among the five most probable. Of classes with equal logits, the first is the more probable.
type TopK struct {
	Images, First, FirstFive int64
}

// Add counts images by their logits [B, classes] and true classes [B]. It returns an error, and
// counts nothing, if a true class is outside of 0..classes−1.
func (k *TopK) Add(logits []float32, classes int, truth []int32) error {
	if len(logits) != classes*len(truth) {
		panic(fmt.Sprintf("metrics: TopK.Add, got %d logits, want %d of each of %d images", len(logits), classes, len(truth)))
	}
	for i, id := range truth {
		if id < 0 || int(id) >= classes {
			return fmt.Errorf("class %d of image %d, want 0..%d", id, i, classes-1)
		}
	}
	for i, id := range truth {
		before := rank(logits[i*classes:][:classes], int(id))
		k.Images++
		if before < 1 {
			k.First++
		}
		if before < 5 {
			k.FirstFive++
		}
	}
	return nil
}

// Reduce is described in the package.
func (k *TopK) Reduce(sum func(x []float64) error) error {
	return reduce(sum, []*int64{&k.Images, &k.First, &k.FirstFive})
}

// rank returns how many classes are more probable than id. NaN is never beaten, so that a model
// that has diverged is wrong.
func rank(logits []float32, id int) (n int) {
	own := logits[id]
	for j, v := range logits {
		if j != id && !(own > v) && !(own == v && id < j) {
			n++
		}
	}
	return n
}

// Top1 and Top5 return the shares in percent, NaN without images. With five classes or fewer Top5
// is 100.
func (k *TopK) Top1() float64 { return percent(k.First, k.Images) }

// Top5 is described with Top1.
func (k *TopK) Top5() float64 { return percent(k.FirstFive, k.Images) }
