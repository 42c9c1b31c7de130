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

// RegressionLoss returns the single number Σ_r weights[r]·mean_f d(pred[r,f], target[r,f]) for pred
// and target [..., F]. Rows of weight 0 are not read.
func RegressionLoss(t *Tape, pred *Tensor, target, weights []float32, d Distance) *Tensor {
	mustBe("RegressionLoss len(target)", len(target), len(pred.Data))
	mustBe("RegressionLoss len(weights)", len(weights), pred.Rows())
	r := &regression{pred, target, weights, d, 0}
	return r.loss(t)
}

// BerHuLoss is RegressionLoss with the reversed Huber distance (Laina et al.,
// https://arxiv.org/abs/1606.00373) of errors e = p−t: |e| up to a bound c, and (e²+c²)/(2c) beyond
// it. c is that of BerHuBound, a constant to the gradient.
func BerHuLoss(t *Tape, pred *Tensor, target, weights []float32, c float64) *Tensor {
	mustBe("BerHuLoss len(target)", len(target), len(pred.Data))
	mustBe("BerHuLoss len(weights)", len(weights), pred.Rows())
	r := &regression{pred, target, weights, berHu, c}
	return r.loss(t)
}

// BerHuBound returns the c of BerHuLoss: a fifth of the largest |p−t| in rows whose weight is not 0, at
// least 1e-5. Where the rows are parts of a whole, it is the largest of the parts.
func BerHuBound(t *Tape, pred *Tensor, target, weights []float32) float64 {
	rows, f := pred.Rows(), pred.Cols()
	mustBe("BerHuBound len(target)", len(target), len(pred.Data))
	mustBe("BerHuBound len(weights)", len(weights), rows)
	largest := t.scratch64(0, ceilDiv(rows, lossRows)) // of each part
	t.each(rows, lossRows, func(_, from, to int) {
		e := 0.0
		for r := from; r < to; r++ {
			if weights[r] == 0 {
				continue
			}
			p, y := pred.Data[r*f:(r+1)*f], target[r*f:(r+1)*f]
			for i, v := range p {
				e = max(e, math.Abs(float64(v-y[i])))
			}
		}
		largest[from/lossRows] = e
	})
	c := 1e-5
	for _, e := range largest {
		c = max(c, 0.2*e)
	}
	return c
}

// regression is a call of either loss.
type regression struct {
	pred            *Tensor
	target, weights []float32
	distance        Distance
	bound           float64 // c of berHu
}

func (g *regression) loss(t *Tape) *Tensor {
	f := g.pred.Cols()
	loss := sumRows(t, g.pred.Rows(), func(_, r int) float64 {
		if g.weights[r] == 0 {
			return 0
		}
		return float64(g.weights[r]) * g.sum(g.pred.Data[r*f:(r+1)*f], g.target[r*f:(r+1)*f]) / float64(f)
	})
	if t.Record("regression loss", loss, g.pred) {
		t.Back(func() { g.backward(t, loss.Grad[0]) })
	}
	return loss
}

// sum adds up the distances of p from y.
func (g *regression) sum(p, y []float32) (sum float64) {
	switch c := g.bound; g.distance {
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
	return sum
}

func (g *regression) backward(t *Tape, dloss float32) {
	dpred, fresh := t.rawGrad(g.pred)
	rows, f := g.pred.Rows(), g.pred.Cols()
	t.each(rows, lossRows, func(_, from, to int) {
		for r := from; r < to; r++ {
			out := dpred[r*f : (r+1)*f]
			if fresh {
				clear(out)
			}
			if g.weights[r] == 0 {
				continue
			}
			p, y := g.pred.Data[r*f:(r+1)*f], g.target[r*f:(r+1)*f]
			w := dloss * g.weights[r] / float32(f)
			if g.distance == L2 {
				w *= 2
			}
			for i, v := range p {
				e := v - y[i]
				switch { // 0 where they are equal, NaN where e is
				case g.distance == L2:
				case g.distance == berHu && math.Abs(float64(e)) > g.bound:
					e /= float32(g.bound)
				case e > 0:
					e = 1
				case e < 0:
					e = -1
				}
				out[i] += w * e
			}
		}
	})
}

// CrossEntropy returns the single number Σ weights[r,j]·ce(r,j) over the pixels j of the rows r.
// logits is [..., classes·P] with the P pixels of a class side by side; targets and weights are
// [rows, P]. ce is −log softmax at the target, or with smoothing ε that of the mixture of (1−ε)
// target and ε uniform. Pixels of weight 0 are left out whatever their target, which otherwise must
// be below classes.
func CrossEntropy(t *Tape, logits *Tensor, classes int, targets []int32, weights []float32, smoothing float64) *Tensor {
	if classes < 1 {
		panic(fmt.Sprintf("tensor: CrossEntropy classes, got %d, want at least 1", classes))
	}
	rows, p := logits.Rows(), logits.Cols()/classes
	mustBe("CrossEntropy columns", logits.Cols(), classes*p)
	mustBe("CrossEntropy len(targets)", len(targets), rows*p)
	mustBe("CrossEntropy len(weights)", len(weights), rows*p)
	c := &crossEntropy{logits, classes, p, targets, weights, smoothing, nil}
	if t.recording {
		c.lse = t.Values(rows * p)
	}
	loss := sumRows(t, rows, func(w, r int) float64 {
		sum, pixel := 0.0, t.Scratch(w, classes)
		for i := r * p; i < (r+1)*p; i++ {
			if weights[i] != 0 {
				sum += float64(weights[i]) * c.pixel(pixel, i)
			}
		}
		return sum
	})
	if t.Record("cross-entropy", loss, logits) {
		t.Back(func() { c.backward(t, loss.Grad[0]) })
	}
	return loss
}

// crossEntropy is a call of CrossEntropy. Pixels are numbered through all rows.
type crossEntropy struct {
	logits    *Tensor
	classes   int
	p         int // pixels of a row
	targets   []int32
	weights   []float32
	smoothing float64
	lse       []float32 // the log-sum-exp of every pixel that counts, for the backward pass
}

// at is where the first of pixel i's logits is; the others follow at a distance of p.
func (c *crossEntropy) at(i int) int { return i/c.p*c.classes*c.p + i%c.p }

// read copies the logits of pixel i.
func (c *crossEntropy) read(pixel []float32, i int) {
	from := c.logits.Data[c.at(i):]
	for k := range pixel {
		pixel[k] = from[k*c.p]
	}
}

// pixel returns the cross-entropy of pixel i. It uses the memory of pixel.
func (c *crossEntropy) pixel(pixel []float32, i int) float64 {
	c.read(pixel, i)
	mean := 0.0
	if c.smoothing != 0 { // or 0 times a logit of −Inf, which rules a class out, would be NaN
		for _, v := range pixel {
			mean += float64(v)
		}
		mean /= float64(c.classes)
	}
	own := float64(pixel[c.targets[i]])
	top := asm.Max(pixel)
	lse := float64(top) + math.Log(float64(asm.ExpSum(pixel, pixel, 1, top)))
	if c.lse != nil {
		c.lse[i] = float32(lse)
	}
	return lse - (1-c.smoothing)*own - c.smoothing*mean
}

// backward adds the gradient of the logits, weight·(softmax − mixture of target and uniform).
func (c *crossEntropy) backward(t *Tape, dloss float32) {
	dlogits, fresh := t.rawGrad(c.logits)
	uniform := float32(c.smoothing / float64(c.classes))
	cols := c.classes * c.p
	t.each(c.logits.Rows(), lossRows, func(w, from, to int) {
		pixel := t.Scratch(w, c.classes)
		if fresh {
			clear(dlogits[from*cols : to*cols])
		}
		for i := from * c.p; i < to*c.p; i++ {
			if c.weights[i] == 0 {
				continue
			}
			c.read(pixel, i)
			asm.ExpSum(pixel, pixel, 1, c.lse[i])
			pixel[c.targets[i]] -= float32(1 - c.smoothing)
			scale, out := dloss*c.weights[i], dlogits[c.at(i):]
			for k, v := range pixel {
				out[k*c.p] += scale * (v - uniform)
			}
		}
	})
}

// sumRows returns the sum of f(worker, r) over the rows, in an order that does not depend on the
// workers.
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
