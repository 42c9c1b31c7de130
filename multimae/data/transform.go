package data

import (
	"fmt"
	"math"
	"sync"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
)

// ImageNetMean and ImageNetStd are the mean and deviation of colour, in R, G,
// B order, that "imagenet" normalisation subtracts and divides by.
var (
	ImageNetMean = [3]float32{0.485, 0.456, 0.406}
	ImageNetStd  = [3]float32{0.229, 0.224, 0.225}
)

// NormalizeRGB turns colour 0..1, [3, H, W], into what the model expects, in
// place.
func NormalizeRGB(pix []float32) {
	plane := len(pix) / 3
	for c := range 3 {
		mean, inv := ImageNetMean[c], 1/ImageNetStd[c]
		for i, v := range pix[c*plane:][:plane] {
			pix[c*plane+i] = (v - mean) * inv
		}
	}
}

// DenormalizeRGB undoes NormalizeRGB on [3, H, W], in place. Predictions may
// leave 0..1; they are not clamped.
func DenormalizeRGB(pix []float32) {
	plane := len(pix) / 3
	for c := range 3 {
		mean, std := ImageNetMean[c], ImageNetStd[c]
		for i, v := range pix[c*plane:][:plane] {
			pix[c*plane+i] = v*std + mean
		}
	}
}

// Standardize subtracts from pix the mean of its middle four fifths and
// divides by their deviation, in place: of the n sorted values those at
// [int(0.1n), int(0.9n)) count, the variance is the unbiased one, and 1e-6 is
// added to it under the root. So neither a few far outliers nor the unit of
// depth reach the model. Where fewer than two values count (n ≤ 2), the
// variance is 0 and the mean that of all values.
func Standardize(pix []float32) {
	n := len(pix)
	if n == 0 {
		return
	}
	mean, variance := trimmedMoments(pix)
	m, inv := float32(mean), float32(1/math.Sqrt(variance+1e-6))
	for i, v := range pix {
		pix[i] = (v - m) * inv
	}
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

// sortScratch sorts floats by a radix sort of three digits of 11 bits: linear
// whatever the values (depth maps have long runs of equal ones), and several
// times faster than comparing.
type sortScratch struct {
	a, b []uint32
	hist [3][2048]uint32
}

var sortPool = sync.Pool{New: func() any { return new(sortScratch) }}

// sort returns the keys of pix in ascending order. The slice is the scratch's.
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

// key maps floats to integers of the same order.
func key(v float32) uint32 {
	b := math.Float32bits(v)
	return b ^ (uint32(int32(b)>>31) | 1<<31)
}

func unkey(k uint32) float32 {
	return math.Float32frombits(k ^ (^uint32(int32(k)>>31) | 1<<31))
}

// Augment says how training samples are varied. One draw is shared by all
// modalities of a sample, so they stay aligned to the pixel.
type Augment struct {
	// Crop takes a random rectangle whose area is a share CropScale of the
	// image and whose width:height is within CropRatio, and resizes it to the
	// square the model sees. Zero values mean the paper's [0.2, 1] and
	// [3/4, 4/3]. Without Crop the largest centred square is taken.
	Crop                 bool
	CropScale, CropRatio [2]float64
	Flip                 bool // mirror left to right with probability ½
}

// rect is a crop in pixels of the largest map of a sample.
type rect struct{ x, y, w, h int }

func centreSquare(w, h int) rect {
	s := min(w, h)
	return rect{(w - s) / 2, (h - s) / 2, s, s}
}

// draw picks the crop of a w×h image and whether it is mirrored.
func (a *Augment) draw(r *nn.RNG, w, h int) (rect, bool) {
	c := centreSquare(w, h)
	if a.Crop {
		c = a.crop(r, w, h)
	}
	return c, a.Flip && r.Chance(0.5)
}

// crop draws up to ten rectangles and takes the first that fits. Failing that,
// it takes the largest centred one within the aspect ratios.
func (a *Augment) crop(r *nn.RNG, w, h int) rect {
	scale, ratio := a.CropScale, a.CropRatio
	if scale == ([2]float64{}) {
		scale = [2]float64{0.2, 1}
	}
	if ratio == ([2]float64{}) {
		ratio = [2]float64{3. / 4, 4. / 3}
	}
	logLo, logHi := math.Log(ratio[0]), math.Log(ratio[1])
	for range 10 {
		area := float64(w) * float64(h) * r.Uniform(scale[0], scale[1])
		aspect := math.Exp(r.Uniform(logLo, logHi))
		cw, ch := int(math.RoundToEven(math.Sqrt(area*aspect))), int(math.RoundToEven(math.Sqrt(area/aspect)))
		if cw > 0 && cw <= w && ch > 0 && ch <= h {
			y := r.Intn(h - ch + 1)
			return rect{r.Intn(w - cw + 1), y, cw, ch}
		}
	}
	cw, ch := w, h
	switch in := float64(w) / float64(h); {
	case in < ratio[0]:
		ch = min(h, max(1, int(math.RoundToEven(float64(w)/ratio[0]))))
	case in > ratio[1]:
		cw = min(w, max(1, int(math.RoundToEven(float64(h)*ratio[1]))))
	}
	return rect{(w - cw) / 2, (h - ch) / 2, cw, ch}
}

// resizer holds the scratch of one worker.
type resizer struct {
	tmp  []float32
	x, y taps
}

// taps are the weights of one axis of a resize: output j is the sum of
// weight[j*k+i] · input[first[j]+i] over i < k.
type taps struct {
	k      int
	first  []int
	weight []float32
}

// set fills t for resizing the span [at, at+in) of an axis of limit pixels to
// out pixels by a triangle filter as wide as the output pixel where that is
// the larger: bilinear when enlarging, antialiased when reducing. Pixels
// outside the span take no part.
func (t *taps) set(at, in float64, out, limit int) {
	scale := in / float64(out)
	support := max(scale, 1)
	lo, hi := int(math.Floor(at+1e-6)), int(math.Ceil(at+in-1e-6))
	lo, hi = max(lo, 0), min(hi, limit)
	if lo >= hi { // a span of less than a pixel at the border
		lo, hi = min(lo, limit-1), min(lo, limit-1)+1
	}
	t.k = min(int(math.Ceil(2*support))+1, hi-lo)
	t.first = grow(t.first, out)
	t.weight = grow(t.weight, out*t.k)
	for j := range out {
		centre := at + (float64(j)+0.5)*scale
		first := min(max(int(math.Floor(centre-support+0.5)), lo), hi-t.k)
		t.first[j] = first
		row := t.weight[j*t.k:][:t.k]
		sum := 0.0
		for i := range row {
			w := max(0, 1-math.Abs(float64(first+i)+0.5-centre)/support)
			row[i] = float32(w)
			sum += w
		}
		if sum == 0 { // centre outside all pixel triangles: nearest pixel
			i := min(max(int(centre)-first, 0), t.k-1)
			row[i], sum = 1, 1
		}
		for i := range row {
			row[i] /= float32(sum)
		}
	}
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// image writes the crop of src, resized to out×out and mirrored if asked, to
// dst [C, out, out]. c counts pixels of a fullW×fullH image.
func (z *resizer) image(dst []float32, src *Map, c rect, fullW, fullH, out int, flip bool) {
	sx, sy := float64(src.W)/float64(fullW), float64(src.H)/float64(fullH)
	z.x.set(float64(c.x)*sx, float64(c.w)*sx, out, src.W)
	z.y.set(float64(c.y)*sy, float64(c.h)*sy, out, src.H)
	top := z.y.first[0]
	bottom := z.y.first[out-1] + z.y.k
	rows := bottom - top
	z.tmp = grow(z.tmp, rows*out)
	for ch := range src.C {
		plane := src.Pix[ch*src.H*src.W:][:src.H*src.W]
		for y := range rows {
			z.x.row(z.tmp[y*out:][:out], plane[(top+y)*src.W:][:src.W], flip)
		}
		for y := range out {
			o := dst[(ch*out+y)*out:][:out]
			in := z.tmp[(z.y.first[y]-top)*out:]
			clear(o)
			for i, w := range z.y.weight[y*z.y.k:][:z.y.k] {
				if w == 0 {
					continue
				}
				for x, v := range in[i*out:][:out] {
					o[x] += w * v
				}
			}
		}
	}
}

func (t *taps) row(dst, src []float32, flip bool) {
	for j, first := range t.first {
		sum := float32(0)
		in := src[first:][:t.k]
		for i, w := range t.weight[j*t.k:][:t.k] {
			sum += w * in[i]
		}
		if flip {
			j = len(dst) - 1 - j
		}
		dst[j] = sum
	}
}

// classes is image for class maps: the nearest pixel to the centre of each
// output pixel. Padding becomes ignore, the one id that losses know.
func (z *resizer) classes(dst []int32, src *Map, c rect, fullW, fullH, out int, flip bool) {
	cols := grow(z.x.first, out)
	z.x.first = cols
	nearest := func(j, at, in, full, n int) int {
		p := (float64(at) + (float64(j)+0.5)*float64(in)/float64(out)) * float64(n) / float64(full)
		return min(int(p), n-1)
	}
	for j := range out {
		cols[j] = nearest(j, c.x, c.w, fullW, src.W)
	}
	if flip {
		for i, j := 0, out-1; i < j; i, j = i+1, j-1 {
			cols[i], cols[j] = cols[j], cols[i]
		}
	}
	for y := range out {
		row := src.IDs[nearest(y, c.y, c.h, fullH, src.H)*src.W:][:src.W]
		o := dst[y*out:][:out]
		for x, col := range cols {
			id := int32(row[col])
			if id == idPadding {
				id = idIgnore
			}
			o[x] = id
		}
	}
}

// place writes sample number at of a batch.
func (z *resizer) place(b *multimae.Batch, at int, s *Sample, inputs []multimae.Input, c rect, flip bool) {
	fullW, fullH := s.size()
	for i := range inputs {
		m := &inputs[i]
		src := s.Maps[m.Name]
		out := b.W / m.Stride
		if m.Kind == multimae.KindClasses {
			if dst, ok := b.Classes[m.Name]; ok {
				z.classes(dst[at*out*out:][:out*out], src, c, fullW, fullH, out, flip)
			}
			continue
		}
		all, ok := b.Images[m.Name]
		if !ok {
			continue
		}
		n := m.Channels * out * out
		dst := all[at*n:][:n]
		z.image(dst, src, c, fullW, fullH, out, flip)
		switch m.Normalization() {
		case "imagenet":
			NormalizeRGB(dst)
		case "standardize":
			Standardize(dst)
		}
	}
}

// size is that of the largest map, to which crops refer.
func (s *Sample) size() (w, h int) {
	for _, m := range s.Maps {
		w, h = max(w, m.W), max(h, m.H)
	}
	return w, h
}

// check returns an error unless the modality's map is there, well formed and
// of the kind that it should be.
func (s *Sample) check(m *multimae.Input) error {
	p := s.Maps[m.Name]
	switch {
	case p == nil:
		return fmt.Errorf("data: sample %s has no %s", s.Name, m.Name)
	case p.W < 1 || p.H < 1:
	case m.Kind == multimae.KindClasses && len(p.IDs) == p.W*p.H:
		return nil
	case m.Kind == multimae.KindImage && p.C == m.Channels && len(p.Pix) == p.C*p.W*p.H:
		return nil
	}
	return fmt.Errorf("data: sample %s: %s is [%d,%d,%d] with %d values and %d ids, which does not fit kind %q of %d channels",
		s.Name, m.Name, p.C, p.H, p.W, len(p.Pix), len(p.IDs), m.Kind, m.Channels)
}

// shape makes b a batch of n samples of these inputs, keeping its buffers
// where they are large enough.
func shape(b *multimae.Batch, n, size int, inputs []multimae.Input) {
	b.Size, b.H, b.W = n, size, size
	if b.Images == nil {
		b.Images, b.Classes = map[string][]float32{}, map[string][]int32{}
	}
	for i := range inputs {
		m := &inputs[i]
		side := size / m.Stride
		if m.Kind == multimae.KindClasses {
			b.Classes[m.Name] = grow(b.Classes[m.Name], n*side*side)
		} else {
			b.Images[m.Name] = grow(b.Images[m.Name], n*m.Channels*side*side)
		}
	}
}

// Collate makes one batch of samples without augmentation: the largest centred
// square of each, resized to size×size pixels and normalised as the model
// expects. A modality that no sample has is absent from the batch; one that
// only some have is an error.
func Collate(samples []*Sample, inputs []multimae.Input, size int) (*multimae.Batch, error) {
	if len(samples) == 0 {
		return nil, fmt.Errorf("data: no samples to collate")
	}
	if err := checkInputs(inputs, size); err != nil {
		return nil, err
	}
	var present []multimae.Input
	for _, m := range inputs {
		have := 0
		for _, s := range samples {
			if s.Maps[m.Name] == nil {
				continue
			}
			have++
			if err := s.check(&m); err != nil {
				return nil, err
			}
		}
		switch have {
		case 0:
		case len(samples):
			present = append(present, m)
		default:
			return nil, fmt.Errorf("data: %d of %d samples have no %s; a batch needs it in all or none", len(samples)-have, len(samples), m.Name)
		}
	}
	b := new(multimae.Batch)
	shape(b, len(samples), size, present)
	var z resizer
	for i, s := range samples {
		z.place(b, i, s, present, centreSquare(s.size()), false)
	}
	return b, nil
}
