package view

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"

	"github.com/gomae/gomae/internal/atomicfile"
)

var (
	maskColor = color.RGBA{214, 214, 214, 255}
	maskEdge  = color.RGBA{224, 224, 224, 255}
)

// Masked returns a copy of img in which the masked patches, those with a non-zero or true mask value,
// are a quiet grey. The mask is the row-major grid of patch×patch squares; img's size must be a multiple
// of patch.
func Masked[M ~bool | ~uint8 | ~int32 | ~int64 | ~float32](img image.Image, mask []M, patch int) *image.RGBA {
	out := copyOf(img)
	w, h := out.Rect.Dx(), out.Rect.Dy()
	if patch < 1 || w%patch != 0 || h%patch != 0 || len(mask) != (w/patch)*(h/patch) {
		panic(fmt.Sprintf("view: Masked: got %d mask values for a %dx%d image, want one for each patch of %d pixels", len(mask), w, h, patch))
	}
	var visible M
	for i, m := range mask {
		if m == visible {
			continue
		}
		x, y := i%(w/patch)*patch, i/(w/patch)*patch
		r := image.Rect(x, y, x+patch, y+patch)
		fill(out, r, maskColor)
		if patch >= 8 { // on smaller patches an edge would be half the patch
			fill(out, image.Rect(r.Min.X, r.Max.Y-1, r.Max.X, r.Max.Y), maskEdge)
			fill(out, image.Rect(r.Max.X-1, r.Min.Y, r.Max.X, r.Max.Y), maskEdge)
		}
	}
	return out
}

// Scale returns img enlarged by a whole factor ≥ 1, each pixel becoming a square.
func Scale(img image.Image, factor int) *image.RGBA {
	if factor < 1 {
		panic(fmt.Sprintf("view: Scale: got factor %d, want at least 1", factor))
	}
	src := copyOf(img)
	w, h := src.Rect.Dx(), src.Rect.Dy()
	dst := image.NewRGBA(image.Rect(0, 0, w*factor, h*factor))
	for y := range h {
		row := dst.Pix[y*factor*dst.Stride:][:dst.Stride]
		for x := range w {
			p := src.Pix[y*src.Stride+4*x:][:4]
			for k := range factor {
				copy(row[4*(x*factor+k):], p)
			}
		}
		for k := 1; k < factor; k++ {
			copy(dst.Pix[(y*factor+k)*dst.Stride:], row)
		}
	}
	return dst
}

// WritePNG writes img to path as a PNG file. It appears under path only when complete: an earlier file
// survives any error.
func WritePNG(path string, img image.Image) error {
	if img == nil || img.Bounds().Empty() {
		return errors.New("view: writing " + path + ": the image has no pixels")
	}
	err := atomicfile.Write(path, func(w io.Writer) error { return png.Encode(w, img) })
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	return nil
}

func fill(img *image.RGBA, r image.Rectangle, c color.Color) {
	draw.Draw(img, r, image.NewUniform(c), image.Point{}, draw.Src)
}

// copyOf returns img as RGBA with its corner at the origin.
func copyOf(img image.Image) *image.RGBA {
	b := img.Bounds()
	out := image.NewRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(out, out.Rect, img, b.Min, draw.Src)
	return out
}
