package images

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomae/gomae/multimae"
)

func TestShiftHue(t *testing.T) {
	for _, c := range []struct {
		in      [3]float32
		degrees float64
		want    [3]float32
	}{
		{[3]float32{1, 0, 0}, 0, [3]float32{1, 0, 0}},
		{[3]float32{1, 0, 0}, 120, [3]float32{0, 1, 0}},
		{[3]float32{1, 0, 0}, -120, [3]float32{0, 0, 1}},
		{[3]float32{1, 0, 0}, 60, [3]float32{1, 1, 0}},
		{[3]float32{1, 0, 0}, 180, [3]float32{0, 1, 1}},
		{[3]float32{0.25, 0.5, 0.75}, 120, [3]float32{0.75, 0.25, 0.5}},
		{[3]float32{0.25, 0.5, 0.75}, 720, [3]float32{0.25, 0.5, 0.75}},
		{[3]float32{0.5, 0.5, 0.5}, 77, [3]float32{0.5, 0.5, 0.5}},
		{[3]float32{0, 0, 0}, 77, [3]float32{0, 0, 0}},
	} {
		t.Run(fmt.Sprint(c.in, c.degrees), func(t *testing.T) {
			r, g, b := shiftHue(c.in[0], c.in[1], c.in[2], c.degrees)
			for k, v := range [3]float32{r, g, b} {
				if math.Abs(float64(v-c.want[k])) > 1e-6 {
					t.Fatalf("%v, want %v", [3]float32{r, g, b}, c.want)
				}
			}
		})
	}
	t.Run("there and back", func(t *testing.T) {
		for i := range 1000 {
			c := [3]float32{float32(i%10) / 9, float32(i/10%10) / 9, float32(i/100) / 9}
			r, g, b := shiftHue(c[0], c[1], c[2], 37)
			r, g, b = shiftHue(r, g, b, -37)
			for k, v := range [3]float32{r, g, b} {
				if math.Abs(float64(v-c[k])) > 1e-5 {
					t.Fatalf("%v became %v", c, [3]float32{r, g, b})
				}
			}
		}
	})
}

// TestTurnHue turns one pixel of four to another hue, and leaves the batch that it is given as it is.
func TestTurnHue(t *testing.T) {
	red := []float32{1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	NormalizeRGB(red)
	depth := []float32{1, 2, 3, 4}
	b := &multimae.Batch{Size: 1, H: 2, W: 2, Images: map[string][]float32{"rgb": slices.Clone(red), "depth": depth}}
	got := TurnHue(b, &multimae.Input{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1}, 120, func(i int) bool { return i == 2 })
	if !slices.Equal(b.Images["rgb"], red) || &got.Images["depth"][0] != &depth[0] {
		t.Error("the batch has changed, or depth is a copy")
	}
	pix := slices.Clone(got.Images["rgb"])
	DenormalizeRGB(pix)
	for i, want := range []float32{1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0} {
		if math.Abs(float64(pix[i]-want)) > 1e-6 {
			t.Errorf("value %d is %g, want %g", i, pix[i], want)
		}
	}
}

func TestMeasured(t *testing.T) {
	pix := []float32{1, 2, 3, 4}
	if got := Measured(pix, nil); !slices.Equal(got, pix) {
		t.Errorf("all are valid: got %v", got)
	}
	if got := Measured(pix, []bool{false, true}); !slices.Equal(got, []float32{2, 4}) {
		t.Errorf("got %v, want 2 and 4", got)
	}
}
