package images

import (
	"math"
	"sync"
)

// ImageNetMean and ImageNetStd are the mean and deviation of colour in ImageNet, in the order R, G,
// B.
var (
	ImageNetMean = [3]float32{0.485, 0.456, 0.406}
	ImageNetStd  = [3]float32{0.229, 0.224, 0.225}
)

// NormalizeRGB normalises colour in 0..1, [3, H, W], in place, as multimae.NormalizeImageNet says.
func NormalizeRGB(pix []float32) {
	plane := len(pix) / 3
	for c := range 3 {
		mean, inv := ImageNetMean[c], 1/ImageNetStd[c]
		for i, v := range pix[c*plane:][:plane] {
			pix[c*plane+i] = (v - mean) * inv
		}
	}
}

// DenormalizeRGB is the inverse of NormalizeRGB. Predictions may be outside of 0..1; they are not
// clamped.
func DenormalizeRGB(pix []float32) {
	plane := len(pix) / 3
	for c := range 3 {
		mean, std := ImageNetMean[c], ImageNetStd[c]
		for i, v := range pix[c*plane:][:plane] {
			pix[c*plane+i] = v*std + mean
		}
	}
}

// Standardize subtracts from the valid pixels of pix [C, n], by valid [n], the mean of their middle four
// fifths and divides by their deviation, in place. The others become 0. A nil valid means that all are.
//
// Of the k sorted values those at [int(0.1k), int(0.9k)) count; the variance is the unbiased one plus
// 1e-6. So the model sees neither a few far outliers nor the unit of depth. If fewer than two values
// count (k ≤ 2), the mean is that of all values and the variance is 0.
func Standardize(pix []float32, valid []bool) {
	var m, inv float32
	if measured := Measured(pix, valid); len(measured) > 0 {
		m, inv = robust(measured)
	}
	for i, v := range pix {
		pix[i] = 0
		if valid == nil || valid[i%len(valid)] {
			pix[i] = (v - m) * inv
		}
	}
}

// Measured returns the values of pix [C, n] at the valid pixels [n]; a nil valid means all.
func Measured(pix []float32, valid []bool) []float32 {
	if valid == nil {
		return pix
	}
	values := make([]float32, 0, len(pix))
	for i, v := range pix {
		if valid[i%len(valid)] {
			values = append(values, v)
		}
	}
	return values
}

// robust returns what Standardize subtracts and then multiplies by.
func robust(pix []float32) (mean, inv float32) {
	m, variance := trimmedMoments(pix)
	return float32(m), float32(1 / math.Sqrt(variance+1e-6))
}

func trimmedMoments(pix []float32) (mean, variance float64) {
	n := len(pix)
	lo, hi := int(0.1*float64(n)), int(0.9*float64(n))
	if hi-lo < 2 {
		for _, v := range pix {
			mean += float64(v)
		}
		return mean / float64(n), 0
	}
	s := sortPool.Get().(*sortScratch)
	defer sortPool.Put(s)
	keys := s.sort(pix)[lo:hi]
	for _, k := range keys {
		mean += float64(unkey(k))
	}
	mean /= float64(len(keys))
	for _, k := range keys {
		d := float64(unkey(k)) - mean
		variance += d * d
	}
	return mean, variance / float64(len(keys)-1)
}

// sortScratch sorts floats by a radix sort of three digits of 11 bits. It takes linear time, also
// for the long runs of equal values in depth maps, and is several times faster than a sort by
// comparison.
type sortScratch struct {
	a, b []uint32
	hist [3][2048]uint32
}

var sortPool = sync.Pool{New: func() any { return new(sortScratch) }}

// sort returns the keys of pix in ascending order. The slice is part of the scratch.
func (s *sortScratch) sort(pix []float32) []uint32 {
	n := len(pix)
	if cap(s.a) < n {
		s.a, s.b = make([]uint32, n), make([]uint32, n)
	}
	src, dst := s.a[:n], s.b[:n]
	for d := range s.hist {
		clear(s.hist[d][:])
	}
	for i, v := range pix {
		k := key(v)
		src[i] = k
		s.hist[0][k&2047]++
		s.hist[1][k>>11&2047]++
		s.hist[2][k>>22]++
	}
	for d := range s.hist {
		h := &s.hist[d]
		shift := uint(11 * d)
		if h[src[0]>>shift&2047] == uint32(n) {
			continue // all keys share this digit
		}
		sum := uint32(0)
		for i, c := range h {
			h[i] = sum
			sum += c
		}
		for _, k := range src {
			digit := k >> shift & 2047
			dst[h[digit]] = k
			h[digit]++
		}
		src, dst = dst, src
	}
	return src
}

// key maps floats to integers in the same order.
func key(v float32) uint32 {
	b := math.Float32bits(v)
	return b ^ (uint32(int32(b)>>31) | 1<<31)
}

func unkey(k uint32) float32 {
	return math.Float32frombits(k ^ (^uint32(int32(k)>>31) | 1<<31))
}
