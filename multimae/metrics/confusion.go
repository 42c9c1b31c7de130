package metrics

import (
	"fmt"
	"math"
	"slices"
)

// Confusion counts for pixels, or for whole images, which class they have and which one was
// predicted.
//
// The usual void rules hold: a pixel whose true id is one of those to ignore counts nowhere,
// whatever was predicted there. A class that neither the truth nor the predictions have has no IoU,
// and one that the truth lacks has no accuracy; means leave it out, and a class to ignore as well.
type Confusion struct {
	Classes int
	// Counts is [Classes, Classes]: row i has the pixels of class i by their prediction.
	Counts  []int64
	Ignored int64 // pixels left out

	ignore []int32
}

// NewConfusion returns an empty matrix of a number of classes. ignore are the true ids that do not
// count, such as multimae.IDIgnored.
func NewConfusion(classes int, ignore ...int32) *Confusion {
	if classes < 1 {
		panic(fmt.Sprintf("metrics: Confusion, got %d classes, want at least 1", classes))
	}
	return &Confusion{Classes: classes, Counts: make([]int64, classes*classes), ignore: ignore}
}

// Add counts pixels by their true and predicted ids. A true id that is neither a class nor ignored is
// an error, as is a predicted one that is no class where the truth is not ignored. Then nothing is
// counted.
func (c *Confusion) Add(truth, pred []int32) error {
	if len(truth) != len(pred) {
		panic(fmt.Sprintf("metrics: Confusion.Add, got %d true and %d predicted ids, want as many", len(truth), len(pred)))
	}
	for i, id := range truth {
		if slices.Contains(c.ignore, id) {
			continue
		}
		if id < 0 || int(id) >= c.Classes {
			return fmt.Errorf("class id %d at index %d, want 0..%d%s", id, i, c.Classes-1, orIgnored(c.ignore))
		}
		if p := pred[i]; p < 0 || int(p) >= c.Classes {
			return fmt.Errorf("predicted class id %d at index %d, want 0..%d", p, i, c.Classes-1)
		}
	}
	for i, id := range truth {
		if slices.Contains(c.ignore, id) {
			c.Ignored++
			continue
		}
		c.Counts[int(id)*c.Classes+int(pred[i])]++
	}
	return nil
}

func orIgnored(ids []int32) string {
	if len(ids) == 0 {
		return ""
	}
	return fmt.Sprintf(", or one of %v for a pixel to ignore", ids)
}

// Reduce is described in the package.
func (c *Confusion) Reduce(sum func(x []float64) error) error {
	counts := []*int64{&c.Ignored}
	for i := range c.Counts {
		counts = append(counts, &c.Counts[i])
	}
	return reduce(sum, counts)
}

// ClassCounts are the pixels of one class.
type ClassCounts struct {
	Truth     int64 `json:"truth"`     // have the class
	Predicted int64 `json:"predicted"` // were given it
	Correct   int64 `json:"correct"`   // both
}

// Class returns the counts of a class.
func (c *Confusion) Class(id int) (k ClassCounts) {
	for j := range c.Classes {
		k.Truth += c.Counts[id*c.Classes+j]
		k.Predicted += c.Counts[j*c.Classes+id]
	}
	k.Correct = c.Counts[id*c.Classes+id]
	return k
}

// IoU returns the intersection of truth and prediction over their union in percent, or NaN if the
// class is in neither.
func (k ClassCounts) IoU() float64 { return percent(k.Correct, k.Truth+k.Predicted-k.Correct) }

// Accuracy returns the share of the class that was predicted right in percent, or NaN if the truth
// lacks the class.
func (k ClassCounts) Accuracy() float64 { return percent(k.Correct, k.Truth) }

// MeanIoU returns the mean of the IoU over classes, mIoU; NaN if nothing was counted.
func (c *Confusion) MeanIoU() float64 { return c.mean(ClassCounts.IoU) }

// MeanAccuracy returns the mean of the accuracy over classes; NaN if nothing was counted.
func (c *Confusion) MeanAccuracy() float64 { return c.mean(ClassCounts.Accuracy) }

// mean returns the mean over the classes that are not ignored and for which f is a number.
func (c *Confusion) mean(f func(ClassCounts) float64) float64 {
	total, n := 0.0, 0
	for id := range c.Classes {
		if v := f(c.Class(id)); v == v && !slices.Contains(c.ignore, int32(id)) {
			total += v
			n++
		}
	}
	return total / float64(n)
}

// Accuracy returns the share of all counted pixels that were predicted right in percent, also known
// as pixel accuracy; NaN if nothing was counted.
func (c *Confusion) Accuracy() float64 {
	var right int64
	for id := range c.Classes {
		right += c.Counts[id*c.Classes+id]
	}
	return percent(right, c.Counted())
}

// Counted returns the number of pixels that count.
func (c *Confusion) Counted() (n int64) {
	for _, k := range c.Counts {
		n += k
	}
	return n
}

// Absent returns the classes that neither the truth nor the predictions have, which the means leave
// out.
func (c *Confusion) Absent() (ids []int) {
	for id := range c.Classes {
		if c.Class(id) == (ClassCounts{}) {
			ids = append(ids, id)
		}
	}
	return ids
}

// percent returns n of all in percent, or NaN if there is none at all.
func percent(n, all int64) float64 {
	if all == 0 {
		return math.NaN()
	}
	return 100 * float64(n) / float64(all)
}
