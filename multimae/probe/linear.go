package probe

import (
	"context"
	"math"

	"github.com/gomae/gomae/multimae/metrics"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// Linear is a linear classifier of features: each is standardised with mean and variance of the
// training images, as a batch norm without affine parameters does, and then softmax regression.
type Linear struct {
	Dim, Classes int
	Mean, Scale  []float32 // [Dim]: what is subtracted, and the factor after it
	Weight       []float32 // [Classes, Dim]
	Bias         []float32 // [Classes]
	L2           float64   // weight decay that it was fitted with
	Iterations   int
}

// decays are the weight decays that ChooseLinear tries, the strongest first: each fit starts from
// the one before.
var decays = []float64{1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6}

// tolerance is the largest component of the gradient of a fit that has ended. Smaller ones drown in
// the rounding of float32.
const tolerance = 1e-5

// ChooseLinear fits a classifier with the weight decay that does best on images set apart: the tenth
// of the training images that a hash of their names picks. With that decay it is fitted to all of
// them.
func ChooseLinear(ctx context.Context, f *Features, labels []int32, classes int, pool *tensor.Pool) (*Linear, error) {
	fit, apart := f.divide(labels)
	best, bestTop, bestLoss := decays[0], -1.0, math.Inf(1)
	if len(fit.labels) > 0 && len(apart.labels) > 0 {
		var l *Linear
		for _, l2 := range decays {
			var err error
			if l, err = fitLinear(ctx, &fit.Features, fit.labels, classes, l2, l, pool); err != nil {
				return nil, err
			}
			logits, err := l.Logits(ctx, &apart.Features, pool)
			if err != nil {
				return nil, err
			}
			var top metrics.TopK
			if err := top.Add(logits, classes, apart.labels); err != nil {
				return nil, err
			}
			loss := 0.0
			for i, label := range apart.labels {
				loss += crossEntropy(logits[i*classes:][:classes], label)
			}
			// Of few images, many decays get the same number right.
			if t := top.Top1(); t > bestTop || t == bestTop && loss < bestLoss {
				best, bestTop, bestLoss = l2, t, loss
			}
		}
	}
	return FitLinear(ctx, f, labels, classes, best, pool)
}

// labelled are features with the classes of their images.
type labelled struct {
	Features
	labels []int32
}

// divide sets a tenth of the images apart.
func (f *Features) divide(labels []int32) (fit, apart labelled) {
	fit.Dim, apart.Dim = f.Dim, f.Dim
	for i, name := range f.Names {
		part := &fit
		if nn.Hash(name)%10 == 0 {
			part = &apart
		}
		part.Names = append(part.Names, name)
		part.X = append(part.X, f.Row(i)...)
		part.labels = append(part.labels, labels[i])
	}
	return fit, apart
}

// FitLinear returns the classifier with the least mean cross-entropy plus l2/2 times the sum of the
// squared weights; the bias is free. labels are below classes.
func FitLinear(ctx context.Context, f *Features, labels []int32, classes int, l2 float64, pool *tensor.Pool) (*Linear, error) {
	return fitLinear(ctx, f, labels, classes, l2, nil, pool)
}

func fitLinear(ctx context.Context, f *Features, labels []int32, classes int, l2 float64, from *Linear, pool *tensor.Pool) (*Linear, error) {
	l := &Linear{Dim: f.Dim, Classes: classes, L2: l2}
	l.Mean, l.Scale = f.moments()
	l.Weight, l.Bias = make([]float32, classes*f.Dim), make([]float32, classes)
	if from != nil {
		copy(l.Weight, from.Weight)
		copy(l.Bias, from.Bias)
	}
	o := &objective{
		Linear: l, x: l.standardize(f.X), labels: labels,
		tape: tensor.NewTape(pool), weight: tensor.From(l.Weight, classes, f.Dim).WithGrad(), bias: tensor.From(l.Bias, classes).WithGrad(),
	}
	params := make([]float64, len(l.Weight)+classes)
	widen(params, l.Weight, l.Bias)
	var err error
	l.Iterations, err = lbfgs(params, func(x, grad []float64) (value float64, err error) {
		err = o.tape.Until(ctx, func() error { value = o.at(x, grad); return nil })
		return value, err
	}, tolerance, 1000)
	narrow(l.Weight, l.Bias, params)
	return l, err
}

// moments returns the mean of each feature, and 1 over its deviation.
func (f *Features) moments() (mean, scale []float32) {
	n := float64(len(f.Names))
	means, variances := make([]float64, f.Dim), make([]float64, f.Dim)
	for i := range f.Names {
		for k, v := range f.Row(i) {
			means[k] += float64(v) / n
		}
	}
	for i := range f.Names {
		for k, v := range f.Row(i) {
			d := float64(v) - means[k]
			variances[k] += d * d / n
		}
	}
	mean, scale = make([]float32, f.Dim), make([]float32, f.Dim)
	for k := range mean {
		mean[k], scale[k] = float32(means[k]), float32(1/math.Sqrt(variances[k]+1e-6))
	}
	return mean, scale
}

func (l *Linear) standardize(x []float32) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = (v - l.Mean[i%l.Dim]) * l.Scale[i%l.Dim]
	}
	return out
}

// chunkValues bounds the logits that are in memory at a time.
const chunkValues = 1 << 24

// chunk returns how many images of so many values each are looked at together.
func chunk(values int) int { return max(1, chunkValues/values) }

// objective is the function that is minimised.
type objective struct {
	*Linear
	x            []float32 // standardised
	labels       []int32
	tape         *tensor.Tape
	weight, bias *tensor.Tensor // share the memory of Linear
}

// at returns the value at some parameters, weight before bias, and writes the gradient. Products are
// computed in float32. The value is summed in float64, because the search along a direction compares
// values that differ by less than float32 resolves.
func (o *objective) at(params, grad []float64) float64 {
	narrow(o.Weight, o.Bias, params)
	n, c := len(o.labels), o.Classes
	clear(grad)
	value := 0.0
	for from := 0; from < n; from += chunk(c) {
		to := min(n, from+chunk(c))
		t := o.tape
		t.Reset()
		t.ZeroGrad(o.weight)
		t.ZeroGrad(o.bias)
		x := tensor.From(o.x[from*o.Dim:to*o.Dim], to-from, o.Dim)
		logits := tensor.Linear(t, x, o.weight, o.bias)
		losses := make([]float64, to-from)
		t.Parallel(to-from, func(_, i int) { losses[i] = crossEntropy(logits.Data[i*c:][:c], o.labels[from+i]) })
		for _, v := range losses {
			value += v / float64(n)
		}
		weights := t.Values(to - from)
		for i := range weights {
			weights[i] = 1
		}
		t.Backward(tensor.CrossEntropy(t, logits, c, o.labels[from:to], weights, 0))
		for i, v := range o.weight.Grad {
			grad[i] += float64(v) / float64(n)
		}
		for i, v := range o.bias.Grad {
			grad[len(o.Weight)+i] += float64(v) / float64(n)
		}
	}
	w := params[:len(o.Weight)]
	addScaled(grad[:len(w)], o.L2, w)
	return value + o.L2/2*dot(w, w)
}

// crossEntropy returns −log softmax at the label.
func crossEntropy(logits []float32, label int32) float64 {
	top := logits[0]
	for _, v := range logits {
		top = max(top, v)
	}
	sum := 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v - top))
	}
	return math.Log(sum) - float64(logits[label]-top)
}

// Logits returns the logits [N, Classes] of images.
func (l *Linear) Logits(ctx context.Context, f *Features, pool *tensor.Pool) ([]float32, error) {
	t := tensor.NewInference(pool)
	logits := make([]float32, 0, len(f.Names)*l.Classes)
	weight, bias := tensor.From(l.Weight, l.Classes, l.Dim), tensor.From(l.Bias, l.Classes)
	err := t.Until(ctx, func() error {
		for from := 0; from < len(f.Names); from += chunk(max(l.Classes, l.Dim)) {
			to := min(len(f.Names), from+chunk(max(l.Classes, l.Dim)))
			t.Reset()
			x := tensor.From(l.standardize(f.X[from*l.Dim:to*l.Dim]), to-from, l.Dim)
			logits = append(logits, tensor.Linear(t, x, weight, bias).Data...)
		}
		return nil
	})
	return logits, err
}

// widen and narrow copy the parameters between float32 and float64.
func widen(params []float64, weight, bias []float32) {
	for i, v := range weight {
		params[i] = float64(v)
	}
	for i, v := range bias {
		params[len(weight)+i] = float64(v)
	}
}

func narrow(weight, bias []float32, params []float64) {
	for i := range weight {
		weight[i] = float32(params[i])
	}
	for i := range bias {
		bias[i] = float32(params[len(weight)+i])
	}
}
