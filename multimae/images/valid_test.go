package images

import (
	"image"
	"image/color"
	"math"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
)

// TestInvalid takes images with values that mark holes.
func TestInvalid(t *testing.T) {
	deep := image.NewGray16(image.Rect(0, 0, 3, 1))
	for x, v := range []uint16{0, 500, 65535} {
		deep.SetGray16(x, 0, color.Gray16{Y: v})
	}
	grey := &image.Gray{Pix: []uint8{0, 9, 255}, Stride: 3, Rect: deep.Rect}
	for _, c := range []struct {
		name    string
		img     image.Image
		invalid []float64
		valid   []bool
		pix     []float32
	}{
		{"none listed", deep, nil, nil, []float32{0, 500. / 65536, 65535. / 65536}},
		{"none met", deep, []float64{7, 0.5}, nil, []float32{0, 500. / 65536, 65535. / 65536}},
		{"both ends", deep, []float64{0, 65535}, []bool{false, true, false}, []float32{0, 500. / 65536, 65535. / 65536}},
		{"8 bits", grey, []float64{255}, []bool{true, true, false}, []float32{0, 9. / 255, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := From(c.img, &multimae.Input{Name: "x", Kind: multimae.KindImage, Channels: 1, Stride: 1, Normalize: "none", Invalid: c.invalid})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(m.Valid, c.valid) || !slices.Equal(m.Pix, c.pix) {
				t.Errorf("valid %v, values %v; want %v, %v", m.Valid, m.Pix, c.valid, c.pix)
			}
		})
	}
}

// TestStandardizeValid compares with Standardize of the valid values alone.
func TestStandardizeValid(t *testing.T) {
	for _, c := range []struct {
		name  string
		valid []bool
	}{
		{"all", []bool{true, true, true, true, true, true}},
		{"some", []bool{true, false, true, true, false, true}},
		{"one", []bool{false, false, false, true, false, false}},
		{"none", make([]bool, 6)},
		{"nil", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			pix := []float32{3, 9, -1, 4, 100, 0, 2, 8, -6, 5, 7, 1}
			var want []float32
			for i, v := range pix {
				if c.valid == nil || c.valid[i%6] {
					want = append(want, v)
				}
			}
			Standardize(want, nil)
			Standardize(pix, c.valid)
			var got []float32
			for i, v := range pix {
				if c.valid == nil || c.valid[i%6] {
					got = append(got, v)
				} else if v != 0 {
					t.Errorf("value %d is %v, want 0", i, v)
				}
			}
			testkit.SameBits(t, "values", got, want)
		})
	}
}

// TestPlaceValid resizes a map whose left part has no measurement.
func TestPlaceValid(t *testing.T) {
	in := []multimae.Input{{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1, Normalize: "none"}}
	hole := func(w, h, columns int) *Map {
		m := &Map{C: 1, W: w, H: h, Pix: slices.Repeat([]float32{5}, w*h)}
		m.Hide(func(i int) bool { return i%w < columns })
		for i, v := range m.Valid {
			if !v {
				m.Pix[i] = float32(math.NaN())
			}
		}
		return m
	}
	for _, c := range []struct {
		name string
		m    *Map
		flip bool
		want []bool // of a row of the batch
	}{
		{"same size", hole(4, 4, 2), false, []bool{false, false, true, true}},
		{"mirrored", hole(4, 4, 1), true, []bool{true, true, true, false}},
		{"reduced", hole(16, 16, 4), false, []bool{false, true, true, true}},
		{"reduced, less than half", hole(16, 16, 1), false, []bool{true, true, true, true}},
		{"enlarged", hole(2, 2, 1), false, []bool{false, false, true, true}},
		{"no hole", hole(4, 4, 0), false, []bool{true, true, true, true}},
		{"nothing", hole(4, 4, 4), false, make([]bool, 4)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := new(multimae.Batch)
			Reshape(b, 2, 4, 4, in)
			crop := Square(c.m.W, c.m.H)
			crop.Flip = c.flip
			new(Resizer).Place(b, 1, map[string]*Map{"depth": c.m}, in, crop)
			for i, v := range b.Images["depth"][16:] {
				want := float32(0)
				if c.want[i%4] {
					want = 5
				}
				if math.Abs(float64(v-want)) > 1e-5 {
					t.Errorf("value %d is %v, want %v", i, v, want)
				}
			}
			if c.m.Valid == nil {
				if b.Valid["depth"] != nil {
					t.Error("the batch has Valid without a hole")
				}
				return
			}
			if want := append(slices.Repeat([]bool{true}, 16), slices.Repeat(c.want, 4)...); !slices.Equal(b.Valid["depth"], want) {
				t.Errorf("valid %v, want %v", b.Valid["depth"], want)
			}
			// The next batch in the same memory has no holes.
			Reshape(b, 2, 4, 4, in)
			if slices.Contains(b.Valid["depth"], false) {
				t.Error("holes are left over")
			}
		})
	}
}
