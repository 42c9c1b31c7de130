package metrics

import (
	"fmt"
	"math"
)

// Alignment says what Depth does to the predictions of an image before it compares them.
type Alignment int

const (
	// AlignNone compares predictions with the truth as they are.
	AlignNone Alignment = iota
	// AlignDepth is for predictions that are depth up to an unknown scale and shift in each image:
	// it compares scale·p + shift, the least-squares fit to the true depth.
	AlignDepth
	// AlignDisparity is for predictions that are inverse depth up to an unknown scale and shift: it
	// compares 1/(scale·p + shift), fitted to the inverse of the true depth. Ranftl et al., "Towards
	// Robust Monocular Depth Estimation" (2020).
	AlignDisparity
)

// Depth collects the errors of predicted depth as Eigen et al. define them ("Depth Map Prediction
// from a Single Image using a Multi-Scale Deep Network", 2014), over the valid pixels of all
// images: each pixel counts the same, and not each image.
type Depth struct {
	align      Alignment
	near       float64
	images     int64
	pixels     int64
	within     [3]int64 // pixels whose ratio is below 1.25, 1.25² and 1.25³
	sqr, rel   float64  // sums over pixels
	log        float64
	nearPixels int64
}

// NewDepth returns an empty collector. Predictions nearer than near, which must be above 0, are
// taken to be that near, because neither a logarithm nor a ratio exists at 0: 0.001 m is common.
func NewDepth(align Alignment, near float64) *Depth {
	if !(near > 0) {
		panic(fmt.Sprintf("metrics: Depth, got nearest depth %g, want more than 0", near))
	}
	return &Depth{align: align, near: near}
}

// Add counts one image: predicted and true depth of each pixel in the same unit, and which pixels
// have a true depth; nil means all. A true depth that is not a positive number never counts.
func (d *Depth) Add(pred, truth []float32, valid []bool) {
	if len(pred) != len(truth) || valid != nil && len(valid) != len(truth) {
		panic(fmt.Sprintf("metrics: Depth.Add, got %d predicted and %d true depths at %d pixels", len(pred), len(truth), len(valid)))
	}
	counts := counting(truth, valid)
	scale, shift := 1.0, 0.0
	switch d.align {
	case AlignDepth:
		scale, shift = fit(pred, counts, func(i int) float64 { return float64(truth[i]) })
	case AlignDisparity:
		scale, shift = fit(pred, counts, func(i int) float64 { return 1 / float64(truth[i]) })
	}
	pixels := d.pixels
	var sqr, rel, log float64
	for i, t32 := range truth {
		if !counts(i) {
			continue
		}
		p, t := scale*float64(pred[i])+shift, float64(t32)
		if d.align == AlignDisparity {
			// A disparity of 0 and less is infinitely far; 1e6 times the nearest is as good.
			p = 1 / max(p, 1e-6/d.near)
		}
		if p < d.near {
			p = d.near
			d.nearPixels++
		}
		e := p - t
		sqr += e * e
		rel += math.Abs(e) / t
		log += math.Abs(math.Log10(p) - math.Log10(t))
		for k, bound := range [3]float64{1.25, 1.25 * 1.25, 1.25 * 1.25 * 1.25} {
			if max(p/t, t/p) < bound { // false for NaN
				d.within[k]++
			}
		}
		d.pixels++
	}
	if d.pixels > pixels {
		d.images++
	}
	d.sqr += sqr
	d.rel += rel
	d.log += log
}

// counting returns which pixels count.
func counting(truth []float32, valid []bool) func(i int) bool {
	return func(i int) bool {
		return (valid == nil || valid[i]) && truth[i] > 0 && truth[i] <= math.MaxFloat32
	}
}

// Fit returns the scale and shift of AlignDepth, which bring predictions closest to the truth of one
// image. valid is that of Depth.Add, and the same pixels count.
func Fit(pred, truth []float32, valid []bool) (scale, shift float64) {
	return fit(pred, counting(truth, valid), func(i int) float64 { return float64(truth[i]) })
}

// fit returns the scale and shift with the least mean square error over the pixels that count.
// Predictions that are all the same are shifted only.
func fit(pred []float32, counts func(i int) bool, target func(i int) float64) (scale, shift float64) {
	var n, meanP, meanT float64
	for i := range pred {
		if counts(i) {
			n++
			meanP += float64(pred[i])
			meanT += target(i)
		}
	}
	if n == 0 {
		return 1, 0
	}
	meanP, meanT = meanP/n, meanT/n
	var variance, covariance float64
	for i := range pred {
		if counts(i) {
			dp := float64(pred[i]) - meanP
			variance += dp * dp
			covariance += dp * (target(i) - meanT)
		}
	}
	if variance != 0 {
		scale = covariance / variance
	}
	return scale, meanT - scale*meanP
}

// DepthErrors are the figures of a Depth. They are NaN without any valid pixel. If a prediction at one
// is NaN, so are RMSE, AbsRel and Log10; Delta counts it as outside of every bound, and with an alignment
// the other predictions of its image, too.
type DepthErrors struct {
	RMSE   float64 // root of the mean squared error, in the unit of the truth
	AbsRel float64 // mean of |p − t|/t
	Log10  float64 // mean of |log10 p − log10 t|
	// Delta are the percentages of pixels with max(p/t, t/p) below 1.25, 1.25² and 1.25³.
	Delta  [3]float64
	Images int64 // with a valid pixel
	Pixels int64 // valid ones
	Near   int64 // those of them whose prediction was raised to the nearest depth
}

// Reduce is described in the package.
func (d *Depth) Reduce(sum func(x []float64) error) error {
	counts := []*int64{&d.images, &d.pixels, &d.within[0], &d.within[1], &d.within[2], &d.nearPixels}
	return reduce(sum, counts, &d.sqr, &d.rel, &d.log)
}

// Errors returns the figures of all that has been added.
func (d *Depth) Errors() DepthErrors {
	n := float64(d.pixels)
	e := DepthErrors{
		RMSE: math.Sqrt(d.sqr / n), AbsRel: d.rel / n, Log10: d.log / n,
		Images: d.images, Pixels: d.pixels, Near: d.nearPixels,
	}
	for k, hits := range d.within {
		e.Delta[k] = percent(hits, d.pixels)
	}
	return e
}
