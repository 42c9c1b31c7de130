package data

import (
	"image"
	"slices"

	"github.com/gomae/gomae/internal/imagehead"
	"github.com/gomae/gomae/multimae"
)

// Decoding a picture takes at most budgetBase bytes of memory and budgetPerByte for each byte of its
// file, and a JPEG or WebP twice that, since these have the most pixels for their bytes. A
// photograph stays far below; a few kilobytes that unfold to gigabytes do not.
const (
	budgetBase    = 48_000_000
	budgetPerByte = 20
	keptPixels    = 1 << 24 // of a map; a larger picture is reduced, where it can be, before its values become floats
	maxReduction  = 8
	maxScans      = 100 // of a JPEG; each costs time for the whole picture, however few its bytes
)

// plan says what decoding takes, from the head of the file alone.
type plan struct {
	present bool  // false if the file cannot hold so many pixels
	bytes   int64 // of memory that decoding would take
	limit   int64 // for bytes
	reduce  int   // divisor of both sides, at least 1; 0 if the limit does not allow the picture
}

// limit returns how much memory decoding may take for a file of b.
func limit(b []byte) int64 { return budgetBase + budgetPerByte*int64(len(b)) }

// planJPEG and planPNG look at a picture of w×h pixels of modality m in the bytes b. planPixels does
// so for one of any format, whose decoder takes so many bytes for pixels of size bytes each.
func planJPEG(b []byte, h *imagehead.JPEG, m *multimae.Input) plan {
	blocks := h.Blocks()
	decoded := blocks * 64
	if h.Progressive {
		decoded += blocks * 64 * 4
	}
	pixels := int64(h.W) * int64(h.H)
	if len(h.Components) == 4 || h.RGB || h.Components[0] != [2]int{1, 1} && h.Components[0] == h.Components[len(h.Components)-1] {
		decoded += 4 * pixels // converted as a whole
	}
	turned := int64(0)
	if h.Orientation > 1 {
		turned = 4 * pixels
	}
	// No code is shorter than a bit, and every block has at least one.
	p := plan{present: blocks <= 8*int64(len(b)), limit: 2 * limit(b)}
	p.fit(h.W, h.H, decoded, turned, m)
	return p
}

func planPNG(b []byte, w, h, orientation int, m *multimae.Input) plan {
	head := pngHeader(b)
	bits := int64(head.bits)
	samples := map[byte]int64{2: 3, 4: 2, 6: 4}[head.color]
	if samples == 0 {
		samples = 1
	}
	row := 1 + (int64(w)*bits*samples+7)/8
	size := int64(1)
	if _, transparent := imagehead.PNGChunk(b, "tRNS"); samples > 1 || transparent && head.color != pngPalette {
		size = 4
	}
	if bits == 16 {
		size *= 2
	}
	pixels := int64(w) * int64(h)
	decoded := pixels*size + 2*row
	if len(b) > 28 && b[28] != 0 { // interlaced: the passes, and what is put together of them
		decoded += pixels * size
	}
	// Deflate makes at most 1032 bytes of one.
	p := plan{present: row*int64(h) <= 1032*int64(len(b)), limit: limit(b)}
	turned := int64(0)
	if orientation > 1 {
		turned = size * pixels
	}
	p.fit(w, h, decoded, turned, m)
	return p
}

func planPixels(limit int64, w, h, orientation int, present bool, size, decoded int64, m *multimae.Input) plan {
	p := plan{present: present, limit: limit}
	turned := int64(0)
	if orientation > 1 {
		turned = size * int64(w) * int64(h)
	}
	p.fit(w, h, decoded, turned, m)
	return p
}

// fit chooses the least reduction of w×h pixels with which everything fits. Ids have no mean and are
// not reduced, and no side becomes less than a pixel.
func (p *plan) fit(w, h int, decoded, turned int64, m *multimae.Input) {
	pixels := int64(w) * int64(h)
	values := turned + pixels
	last := 1
	if m.Kind != multimae.KindClasses {
		values = turned + 4*pixels*int64(m.Channels)
		if len(m.Invalid) > 0 {
			values += pixels
		}
		last = min(maxReduction, w, h)
	}
	p.bytes = decoded + values
	for k := 1; k <= last; k++ {
		kk := int64(k * k)
		if decoded+values/kk <= p.limit && (pixels/kk <= keptPixels || last == 1) {
			p.reduce = k
			return
		}
	}
}

// holes are the values of one channel that stand for no measurement, and have no part in a mean.
type holes struct {
	values []float64
	spread bool // one of them makes its whole square a hole; otherwise only a square of nothing else is
}

// holesOf returns the holes of a modality. In a mask they must not become smaller.
func holesOf(m *multimae.Input) holes {
	if m.Name == maskFolder {
		return holes{[]float64{0}, true}
	}
	return holes{values: m.Invalid}
}

// has reports whether v is a hole.
func (h *holes) has(v int) bool { return len(h.values) > 0 && slices.Contains(h.values, float64(v)) }

// value returns what a square becomes, of which n values of this sum are none of the holes. hole is
// the last hole in it, −1 if it has none.
func (h *holes) value(sum, n, hole int) int {
	if n == 0 || h.spread && hole >= 0 {
		return hole
	}
	return (sum + n/2) / n
}

// reduce makes of each k×k pixels their mean, in the memory of img, where that is one of the types
// that the decoders make. Pixels beyond the last whole square are left out. Of one channel, holes
// stay holes.
func reduce(img image.Image, k int, of holes) image.Image {
	b := img.Bounds()
	w, h := b.Dx()/k, b.Dy()/k
	if k == 1 || w < 1 || h < 1 {
		return img
	}
	r := image.Rect(0, 0, w, h)
	switch img := img.(type) {
	case *image.Gray:
		shrink(img.Pix, img.Stride, b.Dx(), b.Dy(), w, h, k, 1, of)
		return &image.Gray{Pix: img.Pix, Stride: w, Rect: r}
	case *image.NRGBA:
		shrink(img.Pix, img.Stride, b.Dx(), b.Dy(), w, h, k, 4, holes{})
		return &image.NRGBA{Pix: img.Pix, Stride: 4 * w, Rect: r}
	case *image.RGBA:
		shrink(img.Pix, img.Stride, b.Dx(), b.Dy(), w, h, k, 4, holes{})
		return &image.RGBA{Pix: img.Pix, Stride: 4 * w, Rect: r}
	case *image.CMYK:
		shrink(img.Pix, img.Stride, b.Dx(), b.Dy(), w, h, k, 4, holes{})
		return &image.CMYK{Pix: img.Pix, Stride: 4 * w, Rect: r}
	case *image.Gray16:
		shrink16(img.Pix, img.Stride, w, h, k, 1, of)
		return &image.Gray16{Pix: img.Pix, Stride: 2 * w, Rect: r}
	case *image.NRGBA64:
		shrink16(img.Pix, img.Stride, w, h, k, 4, holes{})
		return &image.NRGBA64{Pix: img.Pix, Stride: 8 * w, Rect: r}
	case *image.RGBA64:
		shrink16(img.Pix, img.Stride, w, h, k, 4, holes{})
		return &image.RGBA64{Pix: img.Pix, Stride: 8 * w, Rect: r}
	case *image.YCbCr:
		across, down := subsampling(img.SubsampleRatio)
		ceil := func(n, d int) int { return (n + d - 1) / d }
		out := &image.YCbCr{Y: img.Y, Cb: img.Cb, Cr: img.Cr, SubsampleRatio: img.SubsampleRatio, Rect: r, YStride: w, CStride: ceil(w, across)}
		shrink(img.Y, img.YStride, b.Dx(), b.Dy(), w, h, k, 1, holes{})
		for _, plane := range [][]uint8{img.Cb, img.Cr} {
			shrink(plane, img.CStride, ceil(b.Dx(), across), ceil(b.Dy(), down), out.CStride, ceil(h, down), k, 1, holes{})
		}
		return out
	case *image.Paletted: // colours of a palette have no mean that is in it
		for y := range h {
			for x := range w {
				img.Pix[y*w+x] = img.Pix[(y*k+k/2)*img.Stride+x*k+k/2]
			}
		}
		return &image.Paletted{Pix: img.Pix, Stride: w, Rect: r, Palette: img.Palette}
	}
	return img
}

func subsampling(r image.YCbCrSubsampleRatio) (across, down int) {
	switch r {
	case image.YCbCrSubsampleRatio422:
		return 2, 1
	case image.YCbCrSubsampleRatio420:
		return 2, 2
	case image.YCbCrSubsampleRatio440:
		return 1, 2
	case image.YCbCrSubsampleRatio411:
		return 4, 1
	case image.YCbCrSubsampleRatio410:
		return 4, 2
	}
	return 1, 1
}

// shrink writes the means of squares of a plane of fullW×fullH pixels of n bytes to its beginning,
// which has always been read by then. The squares at the edge may be smaller.
func shrink(pix []uint8, stride, fullW, fullH, w, h, k, n int, of holes) {
	for y := range h {
		y0, y1 := y*k, min(y*k+k, fullH)
		for x := range w {
			x0, x1 := x*k, min(x*k+k, fullW)
			for c := range n {
				sum, count, hole := 0, 0, -1
				for j := y0; j < y1; j++ {
					for i := x0; i < x1; i++ {
						v := int(pix[j*stride+i*n+c])
						if of.has(v) {
							hole = v
							continue
						}
						sum, count = sum+v, count+1
					}
				}
				pix[(y*w+x)*n+c] = uint8(of.value(sum, count, hole))
			}
		}
	}
}

// shrink16 is shrink for n big-endian values of 16 bits and whole squares.
func shrink16(pix []uint8, stride, w, h, k, n int, of holes) {
	for y := range h {
		for x := range w {
			for c := range n {
				sum, count, hole := 0, 0, -1
				for j := y * k; j < y*k+k; j++ {
					for i := x * k; i < x*k+k; i++ {
						at := j*stride + 2*(i*n+c)
						v := int(pix[at])<<8 | int(pix[at+1])
						if of.has(v) {
							hole = v
							continue
						}
						sum, count = sum+v, count+1
					}
				}
				v := of.value(sum, count, hole)
				at := 2 * ((y*w+x)*n + c)
				pix[at], pix[at+1] = uint8(v>>8), uint8(v)
			}
		}
	}
}
