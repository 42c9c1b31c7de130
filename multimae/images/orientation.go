package images

import (
	"image"

	"github.com/gomae/gomae/internal/imagehead"
)

// Orientation returns the EXIF orientation of a JPEG, PNG, WebP or TIFF file, 1 to 8, and 1 for bytes
// that have none.
// Cameras store a picture as the sensor lies and note here how it was held; image.Decode drops the
// note. Pass it to Upright. A lossy WebP also needs WidenWebP.
func Orientation(file []byte) int {
	return imagehead.Orientation(file)
}

// Upright returns img as it is meant to be seen under an EXIF orientation: 2 is mirrored, 3 turned
// by half, 4 both; 5 to 8 have width and height exchanged. For any other orientation it returns img
// itself. Call it between image.Decode and From or Batch:
//
//	img, _, err := image.Decode(bytes.NewReader(file))
//	…
//	img = images.Upright(img, images.Orientation(file))
//
// The values of pixels stay as From takes them, and so do grey and paletted images their types.
func Upright(img image.Image, orientation int) image.Image {
	if orientation < 2 || orientation > 8 {
		return img
	}
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	r := image.Rect(0, 0, w, h)
	if orientation > 4 {
		r = image.Rect(0, 0, h, w)
	}
	// each calls set for every pixel of the result, with its place in the source.
	each := func(set func(x, y, sx, sy int)) {
		for y := range r.Max.Y {
			for x := range r.Max.X {
				sx, sy := x, y
				if orientation > 4 {
					sx, sy = y, x
				}
				switch orientation {
				case 2, 7, 3, 8:
					sx = w - 1 - sx
				}
				switch orientation {
				case 3, 4, 6, 7:
					sy = h - 1 - sy
				}
				set(x, y, sx, sy)
			}
		}
	}
	move := func(to []uint8, toStride int, from []uint8, fromStride, size int) {
		each(func(x, y, sx, sy int) {
			copy(to[y*toStride+x*size:][:size], from[sy*fromStride+sx*size:])
		})
	}
	switch img := img.(type) {
	case *image.Gray:
		out := image.NewGray(r)
		move(out.Pix, out.Stride, img.Pix, img.Stride, 1)
		return out
	case *image.Gray16:
		out := image.NewGray16(r)
		move(out.Pix, out.Stride, img.Pix, img.Stride, 2)
		return out
	case *image.Paletted:
		out := image.NewPaletted(r, img.Palette)
		move(out.Pix, out.Stride, img.Pix, img.Stride, 1)
		return out
	case *image.NRGBA:
		out := image.NewNRGBA(r)
		move(out.Pix, out.Stride, img.Pix, img.Stride, 4)
		return out
	case *image.RGBA:
		out := image.NewRGBA(r)
		move(out.Pix, out.Stride, img.Pix, img.Stride, 4)
		return out
	case *image.CMYK:
		out := image.NewCMYK(r)
		move(out.Pix, out.Stride, img.Pix, img.Stride, 4)
		return out
	case *image.YCbCr:
		out := image.NewNRGBA(r)
		each(func(x, y, sx, sy int) {
			out.SetNRGBA(x, y, colourYCC(img, b.Min.X+sx, b.Min.Y+sy, 255))
		})
		return out
	case *image.NYCbCrA:
		out := image.NewNRGBA(r)
		each(func(x, y, sx, sy int) {
			alpha := img.A[img.AOffset(b.Min.X+sx, b.Min.Y+sy)]
			out.SetNRGBA(x, y, colourYCC(&img.YCbCr, b.Min.X+sx, b.Min.Y+sy, alpha))
		})
		return out
	}
	out := image.NewNRGBA64(r)
	each(func(x, y, sx, sy int) {
		out.Set(x, y, img.At(b.Min.X+sx, b.Min.Y+sy))
	})
	return out
}
