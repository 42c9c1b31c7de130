package vit

import "fmt"

// Patch copies patch number i (row by row) of an image [channels, h, w] with square patches of p
// pixels to dst, in the order channel, row, column: that of the weight of a convolution.
func Patch[T any](dst, image []T, channels, h, w, p, i int) {
	y, x := i/(w/p)*p, i%(w/p)*p
	for c := range channels {
		for r := range p {
			copy(dst[(c*p+r)*p:][:p], image[(c*h+y+r)*w+x:][:p])
		}
	}
}

// Unpatch is the inverse of Patch for all patches of an image: patches is [nh·nw, channels·p·p],
// image [channels, nh·p, nw·p].
func Unpatch[T any](image, patches []T, channels, h, w, p int) {
	if h%p != 0 || w%p != 0 || len(image) != channels*h*w || len(patches) != len(image) {
		panic(fmt.Sprintf("vit: Unpatch, got %d values and %d in patches of %d, want %d×%d×%d", len(image), len(patches), p, channels, h, w))
	}
	for row := range h / p {
		UnpatchRow(image, patches, channels, h, w, p, row)
	}
}

// UnpatchRow is the part of Unpatch for one row of patches, so that several workers can share an
// image.
func UnpatchRow[T any](image, patches []T, channels, h, w, p, row int) {
	f := channels * p * p
	for i := row * (w / p); i < (row+1)*(w/p); i++ {
		y, x := row*p, i%(w/p)*p
		for c := range channels {
			for r := range p {
				copy(image[(c*h+y+r)*w+x:][:p], patches[i*f+(c*p+r)*p:][:p])
			}
		}
	}
}
