package tensor

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomae/gomae/asm"
)

// Distance is the error of one value in a RegressionLoss.
type Distance int

// The distances.
const (
	L2    Distance = iota // (p−t)²
	L1                    // |p−t|
	berHu                 // of BerHuLoss
)

// lossRows is how many rows make one partial sum of a loss.
const lossRows = 16

// RegressionLoss returns the single number Σ_r weights[r]·mean_f d(pred[r,f],
// target[r,f]) for pred and target [..., F]. Rows of weight 0 are not read.
func RegressionLoss(t *Tape, pred *Tensor, target, weights []float32, d Distance) *Tensor {
	mustBe("RegressionLoss len(target)", len(target), len(pred.Data))
	mustBe("RegressionLoss len(weights)", len(weights), pred.Rows())
	return regression(t, pred, target, weights, d, 0)
}

// BerHuLoss is RegressionLoss with the reversed Huber distance (Laina et al.,
// https://arxiv.org/abs/1606.00373) of errors e = p−t: |e| up to a bound c, and
// (e²+c²)/(2c) beyond it. c is a fifth of the largest |e| in rows whose weight
// is not 0, at least 1e-5, and a constant to the gradient.
func BerHuLoss(t *Tape, pred *Tensor, target, weights []float32) *Tensor {
	rows, f := pred.Rows(), pred.Cols()
	mustBe("BerHuLoss len(target)", len(target), len(pred.Data))
	mustBe("BerHuLoss len(weights)", len(weights), rows)
	largest := t.scratch64(0, ceilDiv(rows, lossRows))
	t.each(rows, lossRows, func(_, from, to int) {
		most := 0.0
		for r := from; r < to; r++ {
			if weights[r] == 0 {
				continue
			}
			p, y := pred.Data[r*f:(r+1)*f], target[r*f:(r+1)*f]
			for i, v := range p {
				most = max(most, math.Abs(float64(v-y[i])))
			}
		}
		largest[from/lossRows] = most
	})
	c := 1e-5
	for _, v := range largest {
		c = max(c, 0.2*v)
	}
	return regression(t, pred, target, weights, berHu, c)
}

// regression is the sum of either loss; c is the bound of berHu.
func regression(t *Tape, pred *Tensor, target, weights []float32, d Distance, c float64) *Tensor {
	rows, f := pred.Rows(), pred.Cols()
	loss := sumRows(t, rows, func(_, r int) float64 {
		if weights[r] == 0 {
			return 0
		}
		sum := 0.0
		p, y := pred.Data[r*f:(r+1)*f], target[r*f:(r+1)*f]
		switch d {
		case L1:
			for i, v := range p {
				sum += math.Abs(float64(v - y[i]))
			}
		case berHu:
			for i, v := range p {
				e := math.Abs(float64(v - y[i]))
				if !(e <= c) {
					e = (e*e + c*c) / (2 * c)
				}
				sum += e
			}
		default:
			for i, v := range p {
				e := float64(v - y[i])
				sum += e * e
			}
		}
		return float64(weights[r]) * sum / float64(f)
	})
	if t.Record("regression loss", loss, pred) {
		t.Back(func() {
			g, fresh := t.rawGrad(pred)
			t.each(rows, lossRows, func(_, from, to int) {
				for r := from; r < to; r++ {
					out := g[r*f : (r+1)*f]
					if fresh {
						clear(out)
					}
					if weights[r] == 0 {
						continue
					}
					p, y := pred.Data[r*f:(r+1)*f], target[r*f:(r+1)*f]
					w := loss.Grad[0] * weights[r] / float32(f)
					if d == L2 {
						w *= 2
					}
					for i, v := range p {
						e := v - y[i]
						switch { // 0 where they are equal, NaN where e is
						case d == L2:
						case d == berHu && math.Abs(float64(e)) > c:
							e /= float32(c)
						case e > 0:
							e = 1
						case e < 0:
							e = -1
						}
						out[i] += w * e
					}
				}
			})
		})
	}
	return loss
}

// CrossEntropy returns the single number Σ weights[r,j]·ce(r,j) over the pixels
// j of the rows r. logits is [..., classes·P] with the P pixels of a class side
// by side; targets and weights are [rows, P]. ce is −log softmax at the target,
// or with smoothing ε that of the mixture of (1−ε) target and ε uniform.
// Pixels of weight 0 are left out whatever their target, which otherwise must
// be below classes.
func CrossEntropy(t *Tape, logits *Tensor, classes int, targets []int32, weights []float32, smoothing float64) *Tensor {
	if classes < 1 {
		panic(fmt.Sprintf("tensor: CrossEntropy classes, got %d, want at least 1", classes))
	}
	rows, p := logits.Rows(), logits.Cols()/classes
	mustBe("CrossEntropy columns", logits.Cols(), classes*p)
	mustBe("CrossEntropy len(targets)", len(targets), rows*p)
	mustBe("CrossEntropy len(weights)", len(weights), rows*p)
	// The log-sum-exp of every pixel that counts, kept for the backward pass.
	var lse []float32
	if t.recording {
		lse = t.Values(rows * p)
	}
	loss := sumRows(t, rows, func(w, r int) float64 {
		sum, row := 0.0, t.Scratch(w, classes)
		for j := range p {
			i := r*p + j
			if weights[i] == 0 {
				continue
			}
			pixel := logits.Data[r*classes*p+j:]
			mean := 0.0
			for c := range row {
				row[c] = pixel[c*p]
				mean += float64(row[c])
			}
			own := float64(row[targets[i]])
			top := asm.Max(row)
			l := float64(top) + math.Log(float64(asm.ExpSum(row, row, 1, top)))
			if lse != nil {
				lse[i] = float32(l)
			}
			mean /= float64(classes)
			sum += float64(weights[i]) * (l - (1-smoothing)*own - smoothing*mean)
		}
		return sum
	})
	if t.Record("cross-entropy", loss, logits) {
		t.Back(func() {
			g, fresh := t.rawGrad(logits)
			t.each(rows, lossRows, func(w, from, to int) {
				row := t.Scratch(w, classes)
				for r := from; r < to; r++ {
					out := g[r*classes*p : (r+1)*classes*p]
					if fresh {
						clear(out)
					}
					for j := range p {
						i := r*p + j
						if weights[i] == 0 {
							continue
						}
						pixel := logits.Data[r*classes*p+j:]
						for c := range row {
							row[c] = pixel[c*p]
						}
						asm.ExpSum(row, row, 1, lse[i])
						scale := loss.Grad[0] * weights[i]
						uniform := float32(smoothing / float64(classes))
						row[targets[i]] -= float32(1 - smoothing)
						for c, v := range row {
							out[c*p+j] += scale * (v - uniform)
						}
					}
				}
			})
		})
	}
	return loss
}

// sumRows adds f(worker, r) over the rows in an order that does not depend on
// the workers.
func sumRows(t *Tape, rows int, f func(worker, r int) float64) *Tensor {
	loss := t.New(1)
	sums := t.scratch64(0, ceilDiv(rows, lossRows)) // f has no use for it
	clear(sums)
	t.each(rows, lossRows, func(w, from, to int) {
		for r := from; r < to; r++ {
			sums[from/lossRows] += f(w, r)
		}
	})
	total := 0.0
	for _, s := range sums {
		total += s
	}
	loss.Data[0] = float32(total)
	return loss
}

// Sum returns the sum of single numbers, such as losses.
func Sum(t *Tape, terms ...*Tensor) *Tensor {
	y := t.New(1)
	sum := 0.0
	for _, x := range terms {
		mustBe("Sum size of a term", len(x.Data), 1)
		sum += float64(x.Data[0])
	}
	y.Data[0] = float32(sum)
	if t.Record("sum", y, terms...) {
		terms = slices.Clone(terms)
		t.Back(func() {
			for _, x := range terms {
				if dx := t.Grad(x); dx != nil {
					dx[0] += y.Grad[0]
				}
			}
		})
	}
	return y
}
