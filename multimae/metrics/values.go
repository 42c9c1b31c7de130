package metrics

import (
	"fmt"
	"math"
)

// Values collects the differences of predicted and true values of any kind, such as normals.
type Values struct {
	count    int64
	abs, sqr float64 // sums
}

// Add counts the values of one image, [C, H, W] both, at the pixels of valid [H, W]; nil counts all
// of them.
func (v *Values) Add(pred, truth []float32, valid []bool) {
	plane := len(valid)
	if len(pred) != len(truth) || valid != nil && (plane == 0 || len(pred)%plane != 0) {
		panic(fmt.Sprintf("metrics: Values.Add, got %d predicted and %d true values at %d pixels", len(pred), len(truth), plane))
	}
	var abs, sqr float64
	for i, p := range pred {
		if valid != nil && !valid[i%plane] {
			continue
		}
		d := float64(p) - float64(truth[i])
		abs += math.Abs(d)
		sqr += d * d
		v.count++
	}
	v.abs += abs
	v.sqr += sqr
}

// Reduce is described in the package.
func (v *Values) Reduce(sum func(x []float64) error) error {
	return reduce(sum, []*int64{&v.count}, &v.abs, &v.sqr)
}

// Count returns the number of values.
func (v *Values) Count() int64 { return v.count }

// L1 returns the mean absolute difference, NaN without values.
func (v *Values) L1() float64 { return v.abs / float64(v.count) }

// RMSE returns the root of the mean squared difference, NaN without values.
func (v *Values) RMSE() float64 { return math.Sqrt(v.sqr / float64(v.count)) }
