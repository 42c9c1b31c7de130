package view

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"io"
	"path/filepath"
	"strings"

	"github.com/gomae/gomae/internal/atomicfile"
)

var (
	maskColor = color.RGBA{214, 214, 214, 255}
	maskEdge  = color.RGBA{224, 224, 224, 255}
)

// Masked returns a copy of img in which the masked patches are a quiet grey. mask is the row-major
// grid of patch×patch squares, true where a patch is masked; the size of img must be a multiple of
// patch.
func Masked(img image.Image, mask []bool, patch int) *image.RGBA {
	out := copyOf(img)
	w, h := out.Rect.Dx(), out.Rect.Dy()
	if patch < 1 || w%patch != 0 || h%patch != 0 || len(mask) != (w/patch)*(h/patch) {
		panic(fmt.Sprintf("view: Masked: got %d mask values for %dx%d pixels, want one for each patch of %d pixels", len(mask), w, h, patch))
	}
	for i, hidden := range mask {
		if !hidden {
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

// Write writes img to path, as a JPEG file where the path ends in .jpg or .jpeg and as a PNG file where
// it ends in .png or has no ending. The error for any other ending is that of CheckPath. The file
// appears under path only when it is complete: an earlier file survives any error.
func Write(path string, img image.Image) error {
	if err := CheckPath(path); err != nil {
		return err
	}
	if img == nil || img.Bounds().Empty() {
		return errors.New("view: writing " + path + ": the image has no pixels")
	}
	err := atomicfile.Write(path, func(w io.Writer) error {
		if isJPEG(path) {
			return jpeg.Encode(w, img, &jpeg.Options{Quality: 95})
		}
		return png.Encode(w, img)
	})
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	return nil
}

// CheckPath returns an error that names the endings that Write takes, unless path has one.
func CheckPath(path string) error {
	if ext := strings.ToLower(filepath.Ext(path)); ext != "" && ext != ".png" && !isJPEG(path) {
		return fmt.Errorf("%s: pictures are written as PNG or JPEG; give a name that ends in .png or .jpg", path)
	}
	return nil
}

func isJPEG(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".jpg" || ext == ".jpeg"
}

func fill(img *image.RGBA, r image.Rectangle, c color.Color) {
	draw.Draw(img, r, image.NewUniform(c), image.Point{}, draw.Src)
}

// copyOf returns img as RGBA, its corner moved to the origin.
func copyOf(img image.Image) *image.RGBA {
	b := img.Bounds()
	out := image.NewRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(out, out.Rect, img, b.Min, draw.Src)
	return out
}
