package vit

import (
	"fmt"
	"slices"
	"testing"
)

// TestPatch has pixels that say where they are.
func TestPatch(t *testing.T) {
	for _, c := range []struct{ channels, h, w, p int }{{1, 4, 4, 4}, {3, 4, 6, 2}, {2, 9, 3, 3}, {3, 2, 5, 1}, {1, 32, 16, 8}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			image := make([]int32, c.channels*c.h*c.w)
			for ch := range c.channels {
				for y := range c.h {
					for x := range c.w {
						image[(ch*c.h+y)*c.w+x] = int32(ch*10000 + y*100 + x)
					}
				}
			}
			before := slices.Clone(image)
			f := c.channels * c.p * c.p
			patches := make([]int32, len(image))
			for row := range c.h / c.p {
				for col := range c.w / c.p {
					i := row*(c.w/c.p) + col
					Patch(patches[i*f:(i+1)*f], image, c.channels, c.h, c.w, c.p, i)
					for ch := range c.channels {
						for ph := range c.p {
							for pw := range c.p {
								want := int32(ch*10000 + (row*c.p+ph)*100 + col*c.p + pw)
								if got := patches[i*f+ch*c.p*c.p+ph*c.p+pw]; got != want {
									t.Fatalf("%+v: patch %d, channel %d, row %d, column %d is pixel %d, want %d", c, i, ch, ph, pw, got, want)
								}
							}
						}
					}
				}
			}
			back := make([]int32, len(image))
			Unpatch(back, patches, c.channels, c.h, c.w, c.p)
			if !slices.Equal(back, image) || !slices.Equal(image, before) {
				t.Errorf("%+v: Unpatch is not the inverse of Patch", c)
			}
		})
	}
	for _, c := range []struct{ channels, h, w, p, image, patches int }{{1, 4, 4, 3, 16, 16}, {1, 4, 6, 4, 24, 24}, {2, 4, 4, 2, 16, 32}, {2, 4, 4, 2, 32, 16}} {
		mustPanicWith(t, "vit: Unpatch, got", func() { Unpatch(make([]float32, c.image), make([]float32, c.patches), c.channels, c.h, c.w, c.p) })
	}
}
