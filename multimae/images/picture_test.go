package images

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/multimae"
)

func at(img *image.RGBA, x, y int) color.RGBA { return img.RGBAAt(x, y) }

func mustPanic(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		if r := recover(); r == nil || !strings.HasPrefix(fmt.Sprint(r), "images: ") {
			t.Errorf("%s: recovered %v, want a panic by this package", name, r)
		}
	}()
	f()
}

func TestRGB(t *testing.T) {
	nan := float32(math.NaN())
	img := RGB([]float32{0, 1, -3, 0.5, 0, 9, nan, 0.25, 1, float32(math.Inf(1)), 0, 1}, 2, 2)
	for i, want := range []color.RGBA{{0, 0, 255, 255}, {255, 255, 255, 255}, nanColor, {128, 64, 255, 255}} {
		if got := at(img, i%2, i/2); got != want {
			t.Errorf("pixel %d: %v, want %v", i, got, want)
		}
	}
	mustPanic(t, "length", func() { RGB(make([]float32, 4), 2, 2) })
}

// TestDepth compares the colour map with entries of matplotlib's table.
func TestDepth(t *testing.T) {
	img := Depth([]float32{2, 3, 4, 5, 6, -7, float32(math.Inf(1)), float32(math.NaN())}, 1, 8, 2, 6)
	for i, want := range []color.RGBA{{68, 1, 84, 255}, {59, 82, 139, 255}, {33, 145, 140, 255}, {94, 201, 98, 255}, {253, 231, 37, 255}, {68, 1, 84, 255}, {253, 231, 37, 255}} {
		got := at(img, i, 0)
		for k, d := range []int{int(got.R) - int(want.R), int(got.G) - int(want.G), int(got.B) - int(want.B)} {
			if d < -5 || d > 5 {
				t.Errorf("value %d, channel %d: %v, want about %v", i, k, got, want)
			}
		}
	}
	if got := at(img, 7, 0); got != nanColor {
		t.Errorf("NaN: %v", got)
	}
	if flat := Depth([]float32{1, 5}, 1, 2, 3, 3); at(flat, 0, 0) != at(flat, 1, 0) || at(flat, 0, 0) != viridis(0.5) {
		t.Error("an empty range is not drawn in the middle colour")
	}
}

func TestRange(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		pix    []float32
		tail   float64
		lo, hi float32
	}{
		{nil, 0, 0, 1},
		{[]float32{nan, inf, -inf}, 0.1, 0, 1},
		{[]float32{nan, 3, 1, inf, 2}, 0, 1, 3},
		{[]float32{5}, 0.4, 5, 5},
		{[]float32{100, 1, 2, 3, 4, 5, 6, 7, 8, -100}, 0.1, 1, 8},
		{[]float32{1, 2}, 7, 1, 2},
	} {
		if lo, hi := Range(c.pix, c.tail); lo != c.lo || hi != c.hi {
			t.Errorf("%v %v: got %v, %v, want %v, %v", c.pix, c.tail, lo, hi, c.lo, c.hi)
		}
	}
}

func TestClasses(t *testing.T) {
	img := Classes([]int32{0, 254, 255, -1, 300, math.MaxInt32, math.MinInt32, 45}, 2, 4)
	if at(img, 2, 0) != ignoreColor || at(img, 3, 0) != ignoreColor || at(img, 2, 1) != ignoreColor {
		t.Error("ignored ids are not black")
	}
	if at(img, 0, 1) != at(img, 3, 1) {
		t.Error("id 300 does not repeat the colour of 45")
	}
	for id, want := range map[int]string{-1: "class -1", 0: "sky", 1: "class 1"} {
		if got := ClassName([]string{"sky"}, id); got != want {
			t.Errorf("id %d is called %q, want %q", id, got, want)
		}
	}
	// Close ids occur together, so they must differ most; no two may be alike, nor like black or
	// magenta.
	distance := func(a, b color.RGBA) float64 {
		r, g, bl := float64(a.R)-float64(b.R), float64(a.G)-float64(b.G), float64(a.B)-float64(b.B)
		return math.Sqrt(r*r + g*g + bl*bl)
	}
	for i, a := range classPalette {
		for j, b := range classPalette[:i] {
			want := 4.0
			if i-j < 8 {
				want = 30
			}
			if d := distance(a, b); d < want {
				t.Errorf("ids %d and %d: %v and %v differ by %.1f, want %v", j, i, a, b, d, want)
			}
		}
		if distance(a, ignoreColor) < 60 || distance(a, nanColor) < 60 {
			t.Errorf("id %d: %v is too like black or magenta", i, a)
		}
	}
}

// TestPicture compares pictures of predictions with the functions that draw values whose meaning is
// known.
func TestPicture(t *testing.T) {
	colour := []float32{0, 0.25, 0.5, 0.75, 1, 0}
	normal := slices.Clone(colour)
	NormalizeRGB(normal)
	patches := make([]float32, 6)
	for i, v := range colour {
		patches[i] = (v - 0.5) * 4
	}
	for _, x := range []struct {
		name, normalization string
		channels            int
		pix                 []float32 // of 1×2 pixels
		want                *image.RGBA
	}{
		{"rgb", multimae.NormalizeImageNet, 3, normal, RGB(colour, 1, 2)},
		{"raw", multimae.NormalizeNone, 3, colour, RGB(colour, 1, 2)},
		{"norm_rgb", multimae.NormalizePatches, 3, patches, RGB(colour, 1, 2)},
		{"depth", multimae.NormalizeStandardize, 1, []float32{-3, 5}, Depth([]float32{0, 1}, 1, 2, 0, 1)},
		{"flow", multimae.NormalizeStandardize, 2, []float32{7, 3, 100, -100}, Depth([]float32{1, 0}, 1, 2, 0, 1)},
		{"norm_depth", multimae.NormalizePatches, 1, []float32{-3, 5}, Depth([]float32{0, 1}, 1, 2, 0, 1)},
		{"semseg", "", 2, []float32{1, 2, 0, 3}, Classes([]int32{0, 1}, 1, 2)},
	} {
		t.Run(x.name, func(t *testing.T) {
			// The second of two samples, the first being of something else.
			two := append(make([]float32, len(x.pix)), x.pix...)
			before := slices.Clone(two)
			p := &multimae.Predicted{Name: x.name, Channels: x.channels, H: 1, W: 2, Pix: two, Kind: multimae.KindImage, Normalization: x.normalization}
			if x.normalization == "" {
				p.Kind = multimae.KindClasses
			}
			got := Picture(p, 1)
			for i, v := range x.want.Pix {
				if d := int(v) - int(got.Pix[i]); got.Rect != x.want.Rect || d < -1 || d > 1 {
					t.Errorf("%s: %v, want %v", x.name, got.Pix, x.want.Pix)
					break
				}
			}
			if !slices.Equal(two, before) {
				t.Errorf("%s: drawing changes the prediction", x.name)
			}
		})
	}
	if got := Pixels([]float32{1, 2}, 1, 2, multimae.NormalizeStandardize, []float32{0, 4}); at(got, 1, 0) != viridis(0.5) {
		t.Error("the scale given does not matter")
	}
}

// TestPictureMistakes wants mistakes of the caller to panic.
func TestPictureMistakes(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"too few valid", func() { Blacken(image.NewRGBA(image.Rect(0, 0, 2, 2)), make([]bool, 3)) }},
		{"too many valid", func() { Blacken(image.NewRGBA(image.Rect(0, 0, 2, 2)), make([]bool, 5)) }},
		{"image not in the batch", func() {
			Input(&multimae.Input{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1}, &multimae.Batch{Size: 1, H: 2, W: 2})
		}},
		{"classes not in the batch", func() {
			Input(&multimae.Input{Name: "semseg", Kind: multimae.KindClasses, Stride: 1}, &multimae.Batch{Size: 1, H: 2, W: 2})
		}},
	} {
		t.Run(c.name, func(t *testing.T) { mustPanic(t, c.name, c.f) })
	}
}
