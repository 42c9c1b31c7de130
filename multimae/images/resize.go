package images

import (
	"maps"
	"math"
	"slices"

	"github.com/gomae/gomae/multimae"
)

// Crop is a rectangle in pixels of an image of FullW×FullH, perhaps mirrored. Maps of other sizes
// show the same view, so they are cropped in proportion. What lies outside the image is padding:
// normalised pixels of 0 that are not valid, and ids multimae.IDIgnored.
type Crop struct {
	X, Y, W, H   int
	FullW, FullH int
	Flip         bool // left to right
	Color        Color
}

// Color changes the inputs that are multimae.NormalizeImageNet, and no others: each value is a factor,
// and Color{} changes nothing.
type Color struct{ Brightness, Contrast, Saturation float32 }

// apply changes pixels [3, n] in 0..1, in the order of the fields. Contrast is about the mean grey of
// the valid pixels; nil means all.
func (f Color) apply(pix []float32, valid []bool) {
	if f == (Color{}) {
		return
	}
	n := len(pix) / 3
	grey := func(i int) float32 { return 0.299*pix[i] + 0.587*pix[n+i] + 0.114*pix[2*n+i] }
	clamp := func(v float32) float32 { return min(max(v, 0), 1) }
	mean, count := 0.0, 0
	for i, v := range pix {
		pix[i] = clamp(v * f.Brightness)
	}
	for i := range n {
		if valid == nil || valid[i] {
			mean += float64(grey(i))
			count++
		}
	}
	mean /= float64(max(1, count))
	for i, v := range pix {
		pix[i] = clamp(float32(mean) + f.Contrast*(v-float32(mean)))
	}
	for i := range n {
		g := grey(i)
		for k := i; k < len(pix); k += n {
			pix[k] = clamp(g + f.Saturation*(pix[k]-g))
		}
	}
}

// padded reports whether some of the crop lies outside the image.
func (c *Crop) padded() bool {
	return c.X < 0 || c.Y < 0 || c.X+c.W > c.FullW || c.Y+c.H > c.FullH
}

// outside calls f with the number of each pixel of the crop, resized to w×h, whose centre lies
// outside the image.
func (c *Crop) outside(h, w int, f func(i int)) {
	in := func(j, out, at, size, full int) bool {
		centre := float64(at) + (float64(j)+0.5)*float64(size)/float64(out)
		return centre >= 0 && centre < float64(full)
	}
	for y := range h {
		row := in(y, h, c.Y, c.H, c.FullH)
		for x := range w {
			j := x
			if c.Flip {
				j = w - 1 - x
			}
			if !row || !in(j, w, c.X, c.W, c.FullW) {
				f(y*w + x)
			}
		}
	}
}

// Square returns the largest centred square of a w×h image.
func Square(w, h int) Crop {
	s := min(w, h)
	return Crop{X: (w - s) / 2, Y: (h - s) / 2, W: s, H: s, FullW: w, FullH: h}
}

// Resizer makes the samples of batches. It keeps scratch, so each goroutine needs one of its own.
type Resizer struct {
	tmp  []float32
	x, y taps
	mask []float32 // of masked
}

// taps are the weights along one axis of a resize: output j is the sum of weight[j*k+i] ·
// input[first[j]+i] over i < k.
type taps struct {
	k      int
	first  []int
	weight []float32
}

// set makes t resize the span [at, at+in) of an axis of limit pixels to out pixels by a triangle
// filter, whose half width is an input pixel or an output pixel, whichever is larger: bilinear when
// enlarging, antialiased when reducing. Pixels outside the span do not count.
func (t *taps) set(at, in float64, out, limit int) {
	scale := in / float64(out)
	support := max(scale, 1)
	lo, hi := int(math.Floor(at+1e-6)), int(math.Ceil(at+in-1e-6))
	lo, hi = max(lo, 0), min(hi, limit)
	if lo >= hi { // a span of less than a pixel at the border
		lo, hi = min(lo, limit-1), min(lo, limit-1)+1
	}
	t.k = min(int(math.Ceil(2*support))+1, hi-lo)
	if scale == 1 && at == float64(lo) && hi-lo == out {
		t.k = 1 // the same pixels
	}
	t.first = resize(t.first, out)
	t.weight = resize(t.weight, out*t.k)
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

// image writes the crop of src, resized to w×h, to dst [C, h, w].
func (z *Resizer) image(dst []float32, src *Map, c Crop, h, w int) {
	sx, sy := float64(src.W)/float64(c.FullW), float64(src.H)/float64(c.FullH)
	z.x.set(float64(c.X)*sx, float64(c.W)*sx, w, src.W)
	z.y.set(float64(c.Y)*sy, float64(c.H)*sy, h, src.H)
	top := z.y.first[0]
	bottom := z.y.first[h-1] + z.y.k
	rows := bottom - top
	z.tmp = resize(z.tmp, rows*w)
	for ch := range src.C {
		plane := src.Pix[ch*src.H*src.W:][:src.H*src.W]
		for y := range rows {
			z.x.row(z.tmp[y*w:][:w], plane[(top+y)*src.W:][:src.W], c.Flip)
		}
		for y := range h {
			o := dst[(ch*h+y)*w:][:w]
			in := z.tmp[(z.y.first[y]-top)*w:]
			clear(o)
			for i, weight := range z.y.weight[y*z.y.k:][:z.y.k] {
				if weight == 0 {
					continue
				}
				for x, v := range in[i*w:][:w] {
					o[x] += weight * v
				}
			}
		}
	}
}

// masked is image for a map with pixels that are not valid, which have no part in the means. A pixel
// of dst is valid, in valid [h, w], if pixels with half of its weight are. Others are 0.
func (z *Resizer) masked(dst []float32, valid []bool, src *Map, c Crop, h, w int) {
	n := src.H * src.W
	z.mask = resize(z.mask, h*w+(1+src.C)*n)
	shares, mask, pix := z.mask[:h*w], z.mask[h*w:][:n], z.mask[h*w+n:]
	clear(mask)
	clear(pix)
	for i, v := range src.Valid {
		if v {
			mask[i] = 1
			for k := i; k < len(pix); k += n {
				pix[k] = src.Pix[k]
			}
		}
	}
	z.image(shares, &Map{C: 1, H: src.H, W: src.W, Pix: mask}, c, h, w)
	z.image(dst, &Map{C: src.C, H: src.H, W: src.W, Pix: pix}, c, h, w)
	for i, share := range shares {
		valid[i] = share >= 0.5
		for k := i; k < len(dst); k += len(shares) {
			switch {
			case !valid[i]:
				dst[k] = 0
			case share < 1:
				dst[k] /= share
			}
		}
	}
}

func (t *taps) row(dst, src []float32, flip bool) {
	if t.k == 1 {
		for j, first := range t.first {
			if flip {
				j = len(dst) - 1 - j
			}
			dst[j] = src[first]
		}
		return
	}
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

// classes is image for class maps. It takes the pixel nearest to the centre of each output pixel.
// Padding becomes ignored.
func (z *Resizer) classes(dst []int32, src *Map, c Crop, h, w int) {
	cols := resize(z.x.first, w)
	z.x.first = cols
	nearest := func(j, out, at, in, full, n int) int {
		p := (float64(at) + (float64(j)+0.5)*float64(in)/float64(out)) * float64(n) / float64(full)
		return min(max(int(p), 0), n-1) // padding takes what is nearest
	}
	for j := range w {
		cols[j] = nearest(j, w, c.X, c.W, c.FullW, src.W)
	}
	if c.Flip {
		for i, j := 0, w-1; i < j; i, j = i+1, j-1 {
			cols[i], cols[j] = cols[j], cols[i]
		}
	}
	for y := range h {
		row := src.IDs[nearest(y, h, c.Y, c.H, c.FullH, src.H)*src.W:][:src.W]
		o := dst[y*w:][:w]
		for x, col := range cols {
			id := int32(row[col])
			if id == multimae.IDPadding {
				id = multimae.IDIgnored
			}
			o[x] = id
		}
	}
}

// Place writes sample number at of a batch that has room for it. For each input that the batch has,
// it resizes the crop to the size of the batch over the stride of the input, and normalises it for
// the model. Pixels are averaged or interpolated linearly, the valid ones where a map has others;
// those become 0 and are noted in b.Valid. Of class ids it takes the nearest, and padding becomes
// ignored. maps must have these inputs, in the right kind.
func (z *Resizer) Place(b *multimae.Batch, at int, maps map[string]*Map, inputs []multimae.Input, c Crop) {
	for i := range inputs {
		m := &inputs[i]
		src := maps[m.Name]
		h, w := b.H/m.Stride, b.W/m.Stride
		if m.Kind == multimae.KindClasses {
			if dst, ok := b.Classes[m.Name]; ok && src.IsLabel() {
				for k := range dst[at*h*w:][:h*w] {
					dst[at*h*w+k] = int32(src.Label)
				}
			} else if ok {
				ids := dst[at*h*w:][:h*w]
				z.classes(ids, src, c, h, w)
				if c.padded() {
					c.outside(h, w, func(i int) { ids[i] = multimae.IDIgnored })
				}
			}
			continue
		}
		all, ok := b.Images[m.Name]
		if !ok {
			continue
		}
		n := m.Channels * h * w
		dst := all[at*n:][:n]
		var valid []bool
		if src.Valid != nil || c.padded() {
			if b.Valid == nil {
				b.Valid = map[string][]bool{}
			}
			if b.Valid[m.Name] == nil {
				b.Valid[m.Name] = slices.Repeat([]bool{true}, b.Size*h*w)
			}
			valid = b.Valid[m.Name][at*h*w:][:h*w]
		}
		if src.Valid != nil {
			z.masked(dst, valid, src, c, h, w)
		} else {
			z.image(dst, src, c, h, w)
		}
		if c.padded() {
			c.outside(h, w, func(i int) { valid[i] = false })
		}
		switch m.Normalization() {
		case "imagenet":
			c.Color.apply(dst, valid)
			NormalizeRGB(dst)
		case "standardize":
			if slices.Contains(valid, false) {
				Standardize(dst, valid)
			} else {
				Standardize(dst, nil) // without a copy
			}
		}
		if c.padded() {
			c.outside(h, w, func(i int) {
				for k := i; k < len(dst); k += h * w {
					dst[k] = 0
				}
			})
		}
	}
}

// Reshape makes b a batch of n samples of these inputs and no others, of h×w pixels. It reuses the
// buffers of b where they are large enough. The values are undefined, and all pixels are valid.
func Reshape(b *multimae.Batch, n, h, w int, inputs []multimae.Input) {
	b.Size, b.H, b.W = n, h, w
	if b.Images == nil {
		b.Images = map[string][]float32{}
	}
	if b.Classes == nil {
		b.Classes = map[string][]int32{}
	}
	has := func(name string, classes bool) bool {
		return slices.ContainsFunc(inputs, func(m multimae.Input) bool {
			return m.Name == name && (m.Kind == multimae.KindClasses) == classes
		})
	}
	maps.DeleteFunc(b.Images, func(name string, _ []float32) bool { return !has(name, false) })
	maps.DeleteFunc(b.Classes, func(name string, _ []int32) bool { return !has(name, true) })
	maps.DeleteFunc(b.Valid, func(name string, _ []bool) bool { return !has(name, false) })
	for i := range inputs {
		m := &inputs[i]
		values := n * (h / m.Stride) * (w / m.Stride)
		if m.Kind == multimae.KindClasses {
			b.Classes[m.Name] = resize(b.Classes[m.Name], values)
		} else {
			b.Images[m.Name] = resize(b.Images[m.Name], m.Channels*values)
		}
		if valid, ok := b.Valid[m.Name]; ok {
			valid = resize(valid, values)
			for i := range valid {
				valid[i] = true
			}
			b.Valid[m.Name] = valid
		}
	}
}

// resize returns n values, in the memory of s if that is large enough.
func resize[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }
