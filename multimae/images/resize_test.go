package images

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
)

func abs(v float32) float32 { return float32(math.Abs(float64(v))) }

func TestStandardize(t *testing.T) {
	reference := func(pix []float32) []float64 {
		s := make([]float64, len(pix))
		for i, v := range pix {
			s[i] = float64(v)
		}
		x := slices.Clone(s)
		slices.Sort(s)
		s = s[int(.1*float64(len(s))):int(.9*float64(len(s)))]
		var mean, variance float64
		for _, v := range s {
			mean += v / float64(len(s))
		}
		for _, v := range s {
			variance += (v - mean) * (v - mean) / float64(len(s)-1)
		}
		for i, v := range x {
			x[i] = (v - mean) / math.Sqrt(variance+1e-6)
		}
		return x
	}
	r := nn.NewRNG(9)
	for _, n := range []int{3, 4, 9, 10, 11, 100, 1000, 4096, 50176} {
		for name, draw := range map[string]func() float32{
			"uniform":  func() float32 { return r.Float32(0, 1) },
			"signed":   func() float32 { return r.Float32(-1e4, 1e4) },
			"steps":    func() float32 { return float32(r.Intn(4)) / 4 },
			"constant": func() float32 { return 0.25 },
		} {
			pix := make([]float32, n)
			for i := range pix {
				pix[i] = draw()
			}
			want := reference(pix)
			Standardize(pix, nil)
			for i, w := range want {
				if math.Abs(float64(pix[i])-w) > 2e-5*max(1, math.Abs(w)) {
					t.Fatalf("%s, n = %d: [%d] = %v, want %v", name, n, i, pix[i], w)
				}
			}
		}
	}
	for _, few := range [][]float32{{}, {3}, {1, 2}} {
		Standardize(few, nil)
		for _, v := range few {
			if v != v || math.IsInf(float64(v), 0) {
				t.Errorf("few values give %v", few)
			}
		}
	}
	keys := []float32{float32(math.Inf(-1)), -2, -1e-40, 0, 1e-40, 2, float32(math.Inf(1))}
	for i, v := range keys {
		if unkey(key(v)) != v || i > 0 && key(v) <= key(keys[i-1]) {
			t.Errorf("key(%v) = %#x is out of order or does not go back", v, key(v))
		}
	}
}

func TestNormalizeRGB(t *testing.T) {
	pix := []float32{0, 1, 0.5, 0.25, 1, 0}
	orig := slices.Clone(pix)
	NormalizeRGB(pix)
	if want := (1 - ImageNetMean[0]) / ImageNetStd[0]; abs(pix[1]-want) > 1e-6 {
		t.Errorf("red 1 → %v, want %v", pix[1], want)
	}
	DenormalizeRGB(pix)
	for i := range pix {
		if abs(pix[i]-orig[i]) > 1e-6 {
			t.Errorf("there and back: %v → %v", orig[i], pix[i])
		}
	}
}

func TestResize(t *testing.T) {
	var z Resizer
	ramp := func(w, h int) *Map {
		m := &Map{C: 1, H: h, W: w, Pix: make([]float32, w*h)}
		for i := range m.Pix {
			m.Pix[i] = (float32(i%w)+0.5)/float32(w) + 10*(float32(i/w)+0.5)/float32(h)
		}
		return m
	}
	// A linear function survives any resize away from the border, but for the sampling of the
	// triangle where the ratio is no integer.
	for _, sz := range [][3]int{{64, 64, 32}, {100, 60, 16}, {30, 20, 64}, {640, 480, 224}} {
		m := ramp(sz[0], sz[1])
		out := sz[2]
		dst := make([]float32, out*out)
		z.image(dst, m, Crop{W: m.W, H: m.H, FullW: m.W, FullH: m.H}, out, out)
		edge := 1 + out/min(m.W, m.H)
		for y := edge; y < out-edge; y++ {
			for x := edge; x < out-edge; x++ {
				want := (float32(x)+0.5)/float32(out) + 10*(float32(y)+0.5)/float32(out)
				if abs(dst[y*out+x]-want) > 5e-3 {
					t.Fatalf("%v: (%d,%d) = %v, want %v", sz, x, y, dst[y*out+x], want)
				}
			}
		}
	}
	// Without a change of size nothing changes, to the bit.
	m := ramp(40, 40)
	dst := make([]float32, 16*16)
	z.image(dst, m, Crop{X: 5, Y: 9, W: 16, H: 16, FullW: 40, FullH: 40}, 16, 16)
	for i, v := range dst {
		if want := m.Pix[(9+i/16)*40+5+i%16]; v != want {
			t.Fatalf("crop [%d] = %v, want %v", i, v, want)
		}
	}
	// Antialiasing: a fine checker becomes grey.
	for i := range m.Pix {
		m.Pix[i] = float32((i%40 + i/40) & 1)
	}
	z.image(dst[:100], m, Square(40, 40), 10, 10)
	for i, v := range dst[:100] {
		if abs(v-0.5) > 0.07 {
			t.Fatalf("reduced checker [%d] = %v", i, v)
		}
	}
	// Reducing [0 1 2 3 4 5 6 7] to 4 by a triangle of half width 2.
	row := &Map{C: 1, H: 1, W: 8, Pix: []float32{0, 1, 2, 3, 4, 5, 6, 7}}
	var x taps
	x.set(0, 8, 4, 8)
	got := make([]float32, 4)
	x.row(got, row.Pix, false)
	for i, w := range []float32{5. / 7, 2.5, 4.5, 44. / 7} {
		if abs(got[i]-w) > 1e-6 {
			t.Errorf("triangle: %v at %d, want %v", got[i], i, w)
		}
	}
}

func BenchmarkStandardize(b *testing.B) {
	for _, side := range []int{64, 224} {
		b.Run(fmt.Sprintf("side=%d", side), func(b *testing.B) {
			depth := make([]float32, side*side)
			r := nn.NewRNG(1)
			for i := range depth {
				depth[i] = float32(r.Intn(1<<16)) / (1 << 16)
			}
			pix := make([]float32, len(depth))
			for b.Loop() {
				copy(pix, depth)
				Standardize(pix, nil)
			}
		})
	}
}

// TestReshape makes one batch into others: it has what they ask for and nothing of the batch before.
func TestReshape(t *testing.T) {
	depthIDs := multimae.Input{Name: "depth", Kind: multimae.KindClasses, NumClasses: 4, Stride: 1, ClassEmbDim: 1}
	b := &multimae.Batch{Images: map[string][]float32{"rgb": nil}}
	for _, inputs := range [][]multimae.Input{{rgbIn, depthIn, semsegIn}, {depthIn}, {depthIDs}, {rgbIn, depthIDs}, {depthIn, semsegIn}} {
		Reshape(b, 1, 4, 4, inputs)
		images, classes := 0, 0
		for _, in := range inputs {
			_, image := b.Images[in.Name]
			if _, ids := b.Classes[in.Name]; image == ids || ids != (in.Kind == multimae.KindClasses) {
				t.Errorf("%s is among the images: %v, among the class maps: %v", in.Name, image, ids)
			}
			if image {
				images++
			} else {
				classes++
			}
		}
		_, valid := b.Valid["depth"]
		if len(b.Images) != images || len(b.Classes) != classes || valid && b.Images["depth"] == nil {
			t.Errorf("%d images, %d class maps and valid %v for %v", len(b.Images), len(b.Classes), b.Valid, inputs)
		}
		if b.Images["depth"] != nil {
			b.Valid = map[string][]bool{"depth": make([]bool, 16)}
		}
	}
}
