package images

import (
	"errors"
	"image"
	"image/color"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/nn"
)

var (
	rgbIn    = multimae.Input{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1}
	depthIn  = multimae.Input{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1}
	greyIn   = multimae.Input{Name: "grey", Kind: multimae.KindImage, Channels: 1, Stride: 1, Normalize: "none"}
	rgbaIn   = multimae.Input{Name: "rgba", Kind: multimae.KindImage, Channels: 4, Stride: 1}
	semsegIn = multimae.Input{Name: "semseg", Kind: multimae.KindClasses, NumClasses: 16, Stride: 2, ClassEmbDim: 2}
)

// TestFromColour takes one picture in every kind of image, with its corner anywhere, and compares
// with what the color package says.
func TestFromColour(t *testing.T) {
	full := image.Rect(-3, 5, 6, 12)
	part := image.Rect(-1, 6, 5, 11)
	palette := color.Palette{color.Black, color.NRGBA{200, 100, 50, 255}, color.NRGBA{9, 200, 80, 128}, color.White}
	type settable interface {
		image.Image
		Set(x, y int, c color.Color)
		SubImage(r image.Rectangle) image.Image
	}
	ycc := image.NewYCbCr(full, image.YCbCrSubsampleRatio420)
	r := nn.NewRNG(1)
	for _, pix := range [][]uint8{ycc.Y, ycc.Cb, ycc.Cr} {
		for i := range pix {
			pix[i] = uint8(r.Intn(256))
		}
	}
	nycca := image.NewNYCbCrA(full, ycc.SubsampleRatio)
	nycca.YCbCr = *ycc
	for i := range nycca.A {
		nycca.A[i] = uint8(i % 4 * 85)
	}
	all := map[string]image.Image{"YCbCr": ycc.SubImage(part), "NYCbCrA": nycca.SubImage(part)}
	for name, img := range map[string]settable{
		"NRGBA": image.NewNRGBA(full), "RGBA": image.NewRGBA(full), "NRGBA64": image.NewNRGBA64(full), "RGBA64": image.NewRGBA64(full),
		"Gray": image.NewGray(full), "Gray16": image.NewGray16(full), "CMYK": image.NewCMYK(full), "Paletted": image.NewPaletted(full, palette),
		"opaque RGBA": image.NewRGBA(full),
	} {
		for y := full.Min.Y; y < full.Max.Y; y++ {
			for x := full.Min.X; x < full.Max.X; x++ {
				c := color.NRGBA{uint8(r.Intn(256)), uint8(r.Intn(256)), uint8(r.Intn(256)), uint8(64 + r.Intn(192))}
				switch name {
				case "opaque RGBA":
					c.A = 255
				case "Paletted":
					img.Set(x, y, palette[r.Intn(4)])
					continue
				}
				img.Set(x, y, c)
			}
		}
		all[name] = img.SubImage(part)
	}
	for name, img := range all {
		within := float32(1e-4) // what is multiplied by alpha and divided again loses digits
		withAlpha, _ := img.(*image.NYCbCrA)
		if name == "YCbCr" || withAlpha != nil {
			within = 1. / 255 // color.YCbCr keeps more than the 8 bits that its conversion is defined by
		}
		for _, in := range []*multimae.Input{&rgbIn, &rgbaIn} {
			m, err := From(img, in)
			if err != nil {
				t.Fatal(name, err)
			}
			if m.C != in.Channels || m.W != 6 || m.H != 5 || m.IDs != nil || len(m.Pix) != m.C*30 {
				t.Fatalf("%s: [%d,%d,%d]", name, m.C, m.H, m.W)
			}
			for i := range 30 {
				x, y := part.Min.X+i%6, part.Min.Y+i/6
				c := color.NRGBA64Model.Convert(img.At(x, y)).(color.NRGBA64)
				if withAlpha != nil { // its At loses the colours where alpha is 0
					c = color.NRGBA64Model.Convert(withAlpha.YCbCrAt(x, y)).(color.NRGBA64)
					c.A = 257 * uint16(withAlpha.NYCbCrAAt(x, y).A)
				}
				for k, v := range []uint16{c.R, c.G, c.B, c.A}[:m.C] {
					if got, want := m.Pix[k*30+i], float32(v)/65535; abs(got-want) > within {
						t.Fatalf("%s: channel %d of pixel %d is %v, want %v", name, k, i, got, want)
					}
				}
			}
		}
	}
}

// TestWidenWebP wants the ends and the middle of a lossy WebP at the ends and the middle of 8 bits.
func TestWidenWebP(t *testing.T) {
	r := image.Rect(0, 0, 4, 1)
	ycc := func() *image.YCbCr {
		img := image.NewYCbCr(r, image.YCbCrSubsampleRatio444)
		copy(img.Y, []uint8{16, 235, 126, 3})
		copy(img.Cb, []uint8{16, 240, 128, 255})
		copy(img.Cr, []uint8{240, 16, 128, 0})
		return img
	}
	opaque, alpha := ycc(), &image.NYCbCrA{YCbCr: *ycc(), A: []uint8{0, 1, 2, 3}, AStride: 4}
	WidenWebP(opaque)
	WidenWebP(alpha)
	for _, img := range []*image.YCbCr{opaque, &alpha.YCbCr} {
		got := slices.Concat(img.Y, img.Cb, img.Cr)
		if want := []uint8{0, 255, 128, 0, 1, 255, 128, 255, 255, 1, 128, 0}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	lossless := image.NewNRGBA(r)
	if WidenWebP(lossless); !slices.Equal(alpha.A, []uint8{0, 1, 2, 3}) || !slices.Equal(lossless.Pix, make([]uint8, 16)) {
		t.Errorf("alpha %v, lossless %v", alpha.A, lossless.Pix)
	}
}

// TestFromGrey takes depth, other single channels and class ids, and turns them back into images.
func TestFromGrey(t *testing.T) {
	full := image.Rect(2, 3, 7, 8)
	part := image.Rect(3, 4, 6, 6)
	grey, grey16 := image.NewGray(full), image.NewGray16(full)
	ids := image.NewPaletted(full, color.Palette{color.White, color.Black})
	for i := range grey.Pix {
		grey.Pix[i] = uint8(i) % 16
		ids.Pix[i] = uint8(i) % 16 // beyond the palette too
		grey16.Pix[2*i], grey16.Pix[2*i+1] = uint8(i), 7
	}
	grey.SetGray(4, 5, color.Gray{multimae.IDPadding})
	for _, c := range []struct {
		what string
		img  image.Image
		in   *multimae.Input
		want func(i int) float32 // of the value with number i in the whole image
	}{
		{"depth", grey16.SubImage(part), &depthIn, func(i int) float32 { return float32(i*256+7) / 65536 }},
		{"16-bit grey", grey16.SubImage(part), &greyIn, func(i int) float32 { return float32(i*256+7) / 65536 }},
		{"grey", grey.SubImage(part), &greyIn, func(i int) float32 { return float32(grey.Pix[i]) / 255 }},
		{"grey ids", grey.SubImage(part), &semsegIn, func(i int) float32 { return float32(grey.Pix[i]) }},
		{"palette ids", ids.SubImage(part), &semsegIn, func(i int) float32 { return float32(ids.Pix[i]) }},
	} {
		t.Run(c.what, func(t *testing.T) {
			m, err := From(c.img, c.in)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 6 {
				var got float32
				if c.in.Kind == multimae.KindClasses {
					got = float32(m.IDs[i])
				} else {
					got = m.Pix[i]
				}
				if want := c.want((1+i/3)*5 + 1 + i%3); got != want {
					t.Errorf("value %d is %v, want %v", i, got, want)
				}
			}
			// And back, in memory of its own.
			back, err := m.Image()
			if err != nil {
				t.Fatal(err)
			}
			again, err := From(back, c.in)
			if g, ok := back.(*image.Gray); ok && &g.Pix[0] == &m.IDs[0] {
				t.Error("the image shares the ids of the map")
			}
			if err != nil || !slices.Equal(again.IDs, m.IDs) || c.what != "grey" && !slices.Equal(again.Pix, m.Pix) { // v/255 is no v/65536
				t.Errorf("%s: there and back: %v, %v, want %v", c.what, again, err, m)
			}
		})
	}
	if _, err := (&Map{C: 2, H: 1, W: 1, Pix: make([]float32, 2)}).Image(); err == nil {
		t.Error("two channels as an image: no error")
	}
}

func TestFromErrors(t *testing.T) {
	r := image.Rect(0, 0, 4, 3)
	wrong := image.NewGray(r)
	wrong.Pix[6], wrong.Pix[9], wrong.Pix[0], wrong.Pix[1] = 77, 78, multimae.IDPadding, multimae.IDIgnored
	five := rgbIn
	five.Channels = 5
	metres := greyIn
	metres.HasUnit = true
	for _, c := range []struct {
		img  image.Image
		in   *multimae.Input
		want string
	}{
		{image.NewGray(image.Rectangle{}), &rgbIn, "0×0 pixels"},
		{image.NewNRGBA(r), &semsegIn, "*image.NRGBA"},
		{image.NewGray16(r), &semsegIn, "*image.Gray16"},
		{wrong, &semsegIn, "pixel (2,1) has class id 77"},
		{image.NewGray(r), &depthIn, "8-bit grey"},
		{image.NewGray(r), &metres, "8-bit grey"},
		{image.NewNRGBA(r), &depthIn, "*image.NRGBA"},
		{image.NewNRGBA(r), &five, "modality rgb has 5 channels"},
	} {
		t.Run(c.want, func(t *testing.T) {
			m, err := From(c.img, c.in)
			var p *Problem
			if testkit.ErrorNames(t, err, c.want); m != nil || !errors.As(err, &p) || p.Remedy == "" {
				t.Errorf("%T for %s: %v, %v, want a Problem with a remedy", c.img, c.in.Name, m, err)
			}
		})
	}
}
