package images

import (
	"math"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

// TestFilter compares the filter with the resize of a picture, and looks at its weights.
func TestFilter(t *testing.T) {
	for _, c := range [][2]int{{1, 5}, {7, 7}, {10, 3}, {5, 12}, {100, 99}} {
		in, out := c[0], c[1]
		src := &Map{C: 1, H: in, W: in, Pix: testkit.Normal("filter", in*in)}
		want := make([]float32, out*out)
		new(Resizer).image(want, src, Square(in, in), out, out)
		f := NewFilter(in, out)
		for y := range out {
			firstY, weightY := f.At(y)
			for x := range out {
				firstX, weightX := f.At(x)
				got, sum := 0.0, 0.0
				for j, wy := range weightY {
					for i, wx := range weightX {
						got += float64(wy) * float64(wx) * float64(src.Pix[(firstY+j)*in+firstX+i])
						sum += float64(wy) * float64(wx)
					}
				}
				if math.Abs(sum-1) > 1e-5 || math.Abs(got-float64(want[y*out+x])) > 1e-5 {
					t.Fatalf("%d to %d: pixel (%d,%d) is %v, want %v; the weights add up to %v", in, out, x, y, got, want[y*out+x], sum)
				}
			}
		}
	}
}
