package images

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"testing"
)

// exif is an APP1 segment with one tag, in either order of bytes.
func exif(orientation byte, big bool) []byte {
	b := []byte("\xff\xe1\x00\x22Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00O\x00\x00\x00\x00\x00\x00\x00")
	if big {
		b = []byte("\xff\xe1\x00\x22Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00O\x00\x00\x00\x00\x00\x00")
	}
	return bytes.Replace(b, []byte("O"), []byte{orientation}, 1)
}

func TestOrientation(t *testing.T) {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 8)), nil); err != nil {
		t.Fatal(err)
	}
	file := b.Bytes()
	with := func(segment []byte) []byte {
		return append(append([]byte{0xff, 0xd8}, segment...), file[2:]...)
	}
	for o := byte(0); o < 11; o++ {
		want := int(o)
		if o < 1 || o > 8 {
			want = 1
		}
		for _, big := range []bool{false, true} {
			if got := Orientation(with(exif(o, big))); got != want {
				t.Errorf("orientation %d (big-endian: %v) is read as %d", o, big, got)
			}
		}
	}
	whole := with(exif(6, true))
	for n := range whole {
		Orientation(whole[:n])
	}
	for name, b := range map[string][]byte{
		"none":           file,
		"no file":        nil,
		"not a JPEG":     []byte("GIF89a"),
		"far directory":  with([]byte("\xff\xe1\x00\x10Exif\x00\x00II*\x00\xff\xff\xff\xff")),
		"short exif":     with([]byte("\xff\xe1\x00\x0cExif\x00\x00II*\x00")),
		"many and short": with([]byte("\xff\xe1\x00\x12Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff")),
	} {
		if got := Orientation(b); got != 1 {
			t.Errorf("%s: %d", name, got)
		}
	}
}

// TestUpright turns, for every orientation and type of image, the picture
//
//	1 2 3
//	4 5 6
func TestUpright(t *testing.T) {
	want := map[int][][]uint8{
		0: {{1, 2, 3}, {4, 5, 6}},
		1: {{1, 2, 3}, {4, 5, 6}},
		2: {{3, 2, 1}, {6, 5, 4}},
		3: {{6, 5, 4}, {3, 2, 1}},
		4: {{4, 5, 6}, {1, 2, 3}},
		5: {{1, 4}, {2, 5}, {3, 6}},
		6: {{4, 1}, {5, 2}, {6, 3}},
		7: {{6, 3}, {5, 2}, {4, 1}},
		8: {{3, 6}, {2, 5}, {1, 4}},
		9: {{1, 2, 3}, {4, 5, 6}},
	}
	r := image.Rect(10, 20, 13, 22)
	var palette color.Palette
	for v := range 7 {
		palette = append(palette, color.Gray{uint8(v)})
	}
	ycc := image.NewYCbCr(r, image.YCbCrSubsampleRatio420)
	for i := range ycc.Cb {
		ycc.Cb[i], ycc.Cr[i] = 128, 128
	}
	transparent := image.NewNYCbCrA(r, ycc.SubsampleRatio)
	transparent.YCbCr = *ycc
	list := []image.Image{image.NewGray(r), image.NewGray16(r), image.NewNRGBA(r), image.NewRGBA(r), image.NewNRGBA64(r), image.NewCMYK(r), image.NewPaletted(r, palette), ycc, transparent}
	for _, img := range list {
		for i := range 6 {
			x, y, v := 10+i%3, 20+i/3, color.Gray{uint8(i + 1)}
			ycc.Y[ycc.YOffset(x, y)] = v.Y
			if img, ok := img.(interface{ Set(x, y int, c color.Color) }); ok {
				img.Set(x, y, v)
			}
		}
		for o, rows := range want {
			t.Run(fmt.Sprintf("%T/%d", img, o), func(t *testing.T) {
				out := Upright(img, o)
				b := out.Bounds()
				if b.Dx() != len(rows[0]) || b.Dy() != len(rows) {
					t.Fatalf("%d×%d", b.Dx(), b.Dy())
				}
				m, err := From(out, &rgbaIn)
				if err != nil {
					t.Fatal(err)
				}
				for y, row := range rows {
					for x, v := range row {
						i := y*m.W + x
						if red := uint8(m.Pix[i]*255 + 0.5); red != v {
							t.Errorf("(%d,%d) is %d, want %d", x, y, red, v)
						}
						if opaque := m.Pix[3*m.W*m.H+i] == 1; opaque == (img == image.Image(transparent)) {
							t.Errorf("(%d,%d) is opaque: %v", x, y, opaque)
						}
					}
				}
			})
		}
	}
}
