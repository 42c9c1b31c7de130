package images

import (
	"slices"
	"testing"

	"github.com/gomae/gomae/multimae"
)

// TestPadding places crops that reach beyond the image on each side: pixels of it are where they
// are without padding, and the rest is normalised 0, not valid and of no class.
func TestPadding(t *testing.T) {
	inputs := []multimae.Input{
		{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1},
		{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1, Normalize: multimae.NormalizeNone},
		{Name: "semseg", Kind: multimae.KindClasses, NumClasses: 64, Stride: 1},
	}
	const w, h, side = 6, 4, 8
	maps := map[string]*Map{
		"rgb":    {C: 3, W: w, H: h, Pix: make([]float32, 3*w*h)},
		"depth":  {C: 1, W: w, H: h, Pix: make([]float32, w*h)},
		"semseg": {W: w, H: h, IDs: make([]uint8, w*h)},
	}
	for i := range w * h {
		maps["depth"].Pix[i], maps["semseg"].IDs[i] = float32(i+1)/64, uint8(i)
		for k := range 3 {
			maps["rgb"].Pix[k*w*h+i] = float32(i+k) / 64
		}
	}
	for _, c := range []struct {
		name string
		x, y int
		flip bool
	}{{"left, above", -2, -3, false}, {"right, below", 0, 0, false}, {"all sides", -1, -2, true}, {"wide", -1, 0, true}} {
		t.Run(c.name, func(t *testing.T) {
			var b multimae.Batch
			Reshape(&b, 1, side, side, inputs)
			var z Resizer
			z.Place(&b, 0, maps, inputs, Crop{X: c.x, Y: c.y, W: side, H: side, FullW: w, FullH: h, Flip: c.flip})
			for y := range side {
				for x := range side {
					sx := x
					if c.flip {
						sx = side - 1 - x
					}
					sx, sy, at := sx+c.x, y+c.y, y*side+x
					if sx < 0 || sy < 0 || sx >= w || sy >= h {
						if b.Images["rgb"][at] != 0 || b.Images["depth"][at] != 0 || b.Valid["rgb"][at] || b.Valid["depth"][at] || b.Classes["semseg"][at] != multimae.IDIgnored {
							t.Errorf("(%d, %d) is not padding", x, y)
						}
						continue
					}
					i := sy*w + sx
					if got := b.Images["depth"][at]; got != maps["depth"].Pix[i] || !b.Valid["depth"][at] || b.Classes["semseg"][at] != int32(i) {
						t.Errorf("(%d, %d): depth %g, id %d, want those of pixel %d", x, y, got, b.Classes["semseg"][at], i)
					}
				}
			}
		})
	}
}

// TestColor checks each factor against its definition.
func TestColor(t *testing.T) {
	pix := []float32{0.2, 0.6, 0.4, 0.4, 0.1, 0.3} // two pixels
	grey := func(p []float32, i int) float32 { return 0.299*p[i] + 0.587*p[2+i] + 0.114*p[4+i] }
	near := func(a, b float32) bool { return a-b < 1e-6 && b-a < 1e-6 }
	apply := func(c Color) []float32 {
		out := append([]float32(nil), pix...)
		c.apply(out, nil)
		return out
	}
	for i, v := range apply(Color{Brightness: 0.5, Contrast: 1, Saturation: 1}) {
		if !near(v, pix[i]/2) {
			t.Errorf("brightness: value %d is %g, want %g", i, v, pix[i]/2)
		}
	}
	flat := apply(Color{Brightness: 1, Saturation: 1})
	mean := (grey(pix, 0) + grey(pix, 1)) / 2
	for i, v := range flat {
		if !near(v, mean) {
			t.Errorf("no contrast: value %d is %g, want the mean grey %g", i, v, mean)
		}
	}
	padded := slices.Clone(pix)
	Color{Brightness: 1, Saturation: 1}.apply(padded, []bool{false, true})
	if !near(padded[1], grey(pix, 1)) {
		t.Errorf("no contrast: the valid pixel is %g, want the mean grey %g of valid pixels", padded[1], grey(pix, 1))
	}
	for i, v := range apply(Color{Brightness: 1, Contrast: 1}) {
		if !near(v, grey(pix, i%2)) {
			t.Errorf("no saturation: value %d is %g, want the pixel's grey %g", i, v, grey(pix, i%2))
		}
	}
	for i, v := range apply(Color{}) {
		if v != pix[i] {
			t.Errorf("no change: value %d is %g, want %g", i, v, pix[i])
		}
	}
}

// TestPlaceColor wants a crop's factors to change colour before it is normalised, and nothing else.
func TestPlaceColor(t *testing.T) {
	inputs := []multimae.Input{
		{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1},
		{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1},
	}
	const side = 4
	maps := map[string]*Map{
		"rgb":   {C: 3, W: side, H: side, Pix: make([]float32, 3*side*side)},
		"depth": {C: 1, W: side, H: side, Pix: make([]float32, side*side)},
	}
	for _, m := range maps {
		for i := range m.Pix {
			m.Pix[i] = float32(i*i%37) / 37
		}
	}
	place := func(c Color) map[string][]float32 {
		var b multimae.Batch
		Reshape(&b, 1, side, side, inputs)
		crop := Square(side, side)
		crop.Color = c
		new(Resizer).Place(&b, 0, maps, inputs, crop)
		return b.Images
	}
	factors := Color{Brightness: 0.8, Contrast: 1.2, Saturation: 0.7}
	got, plain := place(factors), place(Color{})
	want := slices.Clone(maps["rgb"].Pix)
	factors.apply(want, nil)
	NormalizeRGB(want)
	for i, v := range got["rgb"] {
		if d := v - want[i]; d > 1e-5 || d < -1e-5 {
			t.Errorf("colour: value %d is %g, want %g", i, v, want[i])
		}
	}
	if !slices.Equal(got["depth"], plain["depth"]) {
		t.Errorf("depth: got %v, want %v", got["depth"], plain["depth"])
	}
}
