package images

import (
	"math/rand/v2"
	"testing"

	"github.com/gomae/gomae/multimae"
)

// TestPlaceRectangle places a view into a batch that is wider than high, and the view on its side
// into one that is higher than wide: the results must be each other's transposes.
func TestPlaceRectangle(t *testing.T) {
	const w, h = 31, 20
	r := rand.New(rand.NewPCG(1, 2))
	inputs := []multimae.Input{
		{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1},
		{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 2, Normalize: multimae.NormalizeNone},
		{Name: "semseg", Kind: multimae.KindClasses, NumClasses: 9, Stride: 4},
	}
	maps, turned := map[string]*Map{}, map[string]*Map{}
	for _, in := range inputs {
		m, u := &Map{C: in.Channels, H: h, W: w}, &Map{C: in.Channels, H: w, W: h}
		if in.Kind == multimae.KindClasses {
			m.IDs, u.IDs = make([]uint8, h*w), make([]uint8, h*w)
			for i := range m.IDs {
				m.IDs[i] = uint8(r.IntN(9))
			}
			transpose(u.IDs, m.IDs, h, w)
		} else {
			m.Pix, u.Pix = make([]float32, in.Channels*h*w), make([]float32, in.Channels*h*w)
			for i := range m.Pix {
				m.Pix[i] = r.Float32()
			}
			for c := range in.Channels {
				transpose(u.Pix[c*h*w:][:h*w], m.Pix[c*h*w:][:h*w], h, w)
			}
		}
		maps[in.Name], turned[in.Name] = m, u
	}
	for _, m := range []*Map{maps["depth"], turned["depth"]} {
		m.Hide(func(i int) bool { return i%m.W < 2 || i/m.W < 2 })
	}
	place := func(maps map[string]*Map, bh, bw, h, w int) *multimae.Batch {
		b := &multimae.Batch{
			Size: 2, H: bh, W: bw,
			Images:  map[string][]float32{"rgb": make([]float32, 2*3*bh*bw), "depth": make([]float32, 2*bh*bw/4)},
			Classes: map[string][]int32{"semseg": make([]int32, 2*bh*bw/16)},
		}
		new(Resizer).Place(b, 1, maps, inputs, Crop{W: w, H: h, FullW: w, FullH: h})
		return b
	}
	b, u := place(maps, 16, 24, h, w), place(turned, 24, 16, w, h)
	for c := range 3 {
		for i := range 16 * 24 {
			got, want := b.Images["rgb"][(3+c)*16*24+i], u.Images["rgb"][(3+c)*16*24+i%24*16+i/24]
			if abs(got-want) > 1e-5 { // rows and columns are summed in another order
				t.Fatalf("rgb, channel %d, pixel %d: %v, and on its side %v", c, i, got, want)
			}
		}
	}
	for i := range 8 * 12 {
		at, side := 8*12+i, 8*12+i%12*8+i/12
		if got, want := b.Images["depth"][at], u.Images["depth"][side]; abs(got-want) > 1e-5 || b.Valid["depth"][at] != u.Valid["depth"][side] {
			t.Fatalf("depth, pixel %d: %v, and on its side %v", i, got, want)
		}
	}
	for i := range 4 * 6 {
		if got, want := b.Classes["semseg"][4*6+i], u.Classes["semseg"][4*6+i%6*4+i/6]; got != want {
			t.Fatalf("class of pixel %d: %v, and on its side %v", i, got, want)
		}
	}
}

// transpose writes src [h, w] to dst [w, h].
func transpose[T any](dst, src []T, h, w int) {
	for i, v := range src {
		dst[i%w*h+i/w] = v
	}
}
