package asm

import "math"

// LayerNorm normalises one row and applies an affine map (Ba et al.,
// https://arxiv.org/abs/1607.06450):
//
//	y[i] = (x[i]-mean)*rstd*w[i] + b[i]
//
// where mean is the mean of the row and rstd = 1/sqrt(variance+eps), with the biased variance. It
// returns both for the backward pass. All slices have the same length, at least 1; y must not overlap
// x.
func LayerNorm(y, x, w, b []float32, eps float32) (mean, rstd float32) {
	mustHold("LayerNorm len(x)", len(x), 1)
	mustLen("LayerNorm len(y)", len(y), len(x))
	mustLen("LayerNorm len(w)", len(w), len(x))
	mustLen("LayerNorm len(b)", len(b), len(x))
	mean, rstd = layerNorm(y, x, w, b, eps)
	if !(rstd > 0) { // the assembly sums in float32, which the squares of large numbers overflow
		return layerNormGeneric(y, x, w, b, eps)
	}
	return mean, rstd
}

func layerNormGeneric(y, x, w, b []float32, eps float32) (mean, rstd float32) {
	n := float64(len(x))
	var sum, sq float64
	for _, v := range x {
		sum += float64(v)
	}
	m := sum / n
	for _, v := range x {
		d := float64(v) - m
		sq += d * d
	}
	r := 1 / math.Sqrt(sq/n+float64(eps))
	for i, v := range x {
		y[i] = float32((float64(v)-m)*r*float64(w[i]) + float64(b[i]))
	}
	return float32(m), float32(r)
}

// LayerNormBackward is the backward pass of [LayerNorm] for one row. With xhat = (x-mean)*rstd, g =
// w*dy and mean(·) the mean over the row,
//
//	dx (+)= rstd*(g - mean(g) - xhat*mean(g*xhat))
//	dw  += dy*xhat
//	db  += dy
//
// where dx is added to if accumulate is true and overwritten otherwise. All slices have the same
// length, at least 1. dx may be dy when accumulate is false; otherwise the destinations must not
// overlap anything.
func LayerNormBackward(dx, dw, db, dy, x, w []float32, mean, rstd float32, accumulate bool) {
	mustHold("LayerNormBackward len(x)", len(x), 1)
	mustLen("LayerNormBackward len(dx)", len(dx), len(x))
	mustLen("LayerNormBackward len(dw)", len(dw), len(x))
	mustLen("LayerNormBackward len(db)", len(db), len(x))
	mustLen("LayerNormBackward len(dy)", len(dy), len(x))
	mustLen("LayerNormBackward len(w)", len(w), len(x))
	layerNormBackward(dx, dw, db, dy, x, w, mean, rstd, accumulate)
}

func layerNormBackwardGeneric(dx, dw, db, dy, x, w []float32, mean, rstd float32, accumulate bool) {
	var sumG, sumGX float64
	for i, d := range dy {
		xhat := (x[i] - mean) * rstd
		g := w[i] * d
		sumG += float64(g)
		sumGX += float64(g) * float64(xhat)
		dw[i] += d * xhat
		db[i] += d
	}
	n := float64(len(x))
	meanG, meanGX := float32(sumG/n), float32(sumGX/n)
	for i, d := range dy {
		xhat := (x[i] - mean) * rstd
		v := rstd * (w[i]*d - meanG - xhat*meanGX)
		if accumulate {
			v += dx[i]
		}
		dx[i] = v
	}
}
