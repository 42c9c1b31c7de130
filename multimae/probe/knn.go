package probe

import (
	"context"
	"math"

	"github.com/gomae/gomae/tensor"
)

// The vote of the nearest neighbours as Caron et al. have it, "Emerging Properties in
// Self-Supervised Vision Transformers" (2021).
const (
	Neighbours  = 20
	Temperature = 0.07
)

// Vote returns a score [N, classes] of each class for images, from the training images that are
// nearest by the cosine of their features: each of the Neighbours adds exp(cosine/Temperature) to
// its class. Of training images as near, the first comes first.
func Vote(ctx context.Context, images, train *Features, labels []int32, classes int, pool *tensor.Pool) ([]float32, error) {
	t := tensor.NewInference(pool)
	scores := make([]float32, len(images.Names)*classes)
	n, dim := len(train.Names), train.Dim
	err := t.Until(ctx, func() error {
		known := tensor.From(append([]float32(nil), train.X...), n, dim)
		normalize(t, known)
		known.Freeze()
		for from := 0; from < len(images.Names); from += chunk(n) {
			to := min(len(images.Names), from+chunk(n))
			t.Reset()
			x := tensor.From(append([]float32(nil), images.X[from*dim:to*dim]...), to-from, dim)
			normalize(t, x)
			cosines := tensor.Linear(t, x, known, nil)
			t.Parallel(to-from, func(_, i int) {
				vote(scores[(from+i)*classes:][:classes], cosines.Data[i*n:][:n], labels)
			})
		}
		return nil
	})
	return scores, err
}

// normalize divides each row by its length, in place. A row of zeros stays.
func normalize(t *tensor.Tape, x *tensor.Tensor) {
	dim := x.Cols()
	t.Parallel(x.Rows(), func(_, r int) {
		row, sum := x.Data[r*dim:][:dim], 0.0
		for _, v := range row {
			sum += float64(v) * float64(v)
		}
		if sum == 0 {
			return
		}
		inv := float32(1 / math.Sqrt(sum))
		for k := range row {
			row[k] *= inv
		}
	})
}

// withoutVote makes the score of a true class NaN if no neighbour has it, so that metrics.TopK ranks
// it last. Among the classes without a vote, all of which have a score of 0, it would go by their
// order, and count as one of the five most probable if its name is early in the alphabet.
func withoutVote(scores []float32, classes int, truth []int32) {
	for i, id := range truth {
		if own := &scores[i*classes+int(id)]; *own == 0 {
			*own = float32(math.NaN())
		}
	}
}

// vote adds up the votes of the nearest.
func vote(scores, cosines []float32, labels []int32) {
	nearest := make([]int, 0, Neighbours+1) // descending
	for i, v := range cosines {
		at := len(nearest)
		for at > 0 && v > cosines[nearest[at-1]] {
			at--
		}
		if at == Neighbours {
			continue
		}
		nearest = append(nearest, 0)
		copy(nearest[at+1:], nearest[at:])
		nearest[at] = i
		nearest = nearest[:min(len(nearest), Neighbours)]
	}
	for _, i := range nearest {
		scores[labels[i]] += float32(math.Exp(float64(cosines[i]) / Temperature))
	}
}
