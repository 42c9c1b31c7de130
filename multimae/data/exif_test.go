package data

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomae/gomae/multimae"
)

// withEXIF is img as a JPEG that is to be turned.
func withEXIF(t testing.TB, img image.Image, orientation byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	segment := []byte("\xff\xd8\xff\xe1\x00\x22Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00O\x00\x00\x00\x00\x00\x00\x00")
	return append(bytes.Replace(segment, []byte("O"), []byte{orientation}, 1), b.Bytes()[2:]...)
}

// TestEXIF stores a photograph under every orientation, beside depth that is seen upright.
func TestEXIF(t *testing.T) {
	for orientation := byte(1); orientation <= 8; orientation++ {
		// A bright square stands in the left top corner of what is seen.
		w, h := 48, 32
		left, top := true, true
		switch orientation {
		case 2:
			left = false
		case 3:
			left, top = false, false
		case 4:
			top = false
		case 6:
			top = false // the lowest row of the left column becomes the left top
		case 7:
			left, top = false, false
		case 8:
			left = false
		}
		if orientation > 4 {
			w, h = h, w
		}
		stored := image.NewRGBA(image.Rect(0, 0, w, h))
		for y := range h {
			for x := range w {
				c := color.RGBA{40, 40, 40, 255}
				if (x < 16) == left && (x >= w-16) != left && (y < 16) == top && (y >= h-16) != top {
					c = color.RGBA{220, 220, 220, 255}
				}
				stored.SetRGBA(x, y, c)
			}
		}
		dir := t.TempDir()
		depth := image.NewGray16(image.Rect(0, 0, 48, 32))
		var d bytes.Buffer
		if err := png.Encode(&d, depth); err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{"rgb/a.jpg": withEXIF(t, stored, orientation), "depth/a.png": d.Bytes()} {
			path := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		in := []multimae.Input{rgbIn, depthIn}
		ds, err := OpenFolder(dir, in)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ds.Sample(0)
		if err != nil {
			t.Errorf("orientation %d: %v", orientation, err)
			continue
		}
		m := s.Maps["rgb"]
		for _, c := range []struct {
			x, y int
			want float32
		}{{5, 5, 220}, {40, 5, 40}, {5, 27, 40}, {40, 27, 40}} {
			if got := m.Pix[c.y*m.W+c.x] * 255; abs(got-c.want) > 12 {
				t.Errorf("orientation %d: (%d,%d) is %.0f, want %v", orientation, c.x, c.y, got, c.want)
			}
		}
		turned := 1
		if orientation == 1 {
			turned = 0
		}
		if r, err := Check(context.Background(), dir, in); err != nil || len(r.Problems) > 0 || r.Modalities[0].Turned != turned {
			t.Errorf("orientation %d: check: %+v, %v", orientation, r, err)
		}
	}
}
