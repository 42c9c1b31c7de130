package data

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomae/gomae/multimae"
)

// write writes a file of a dataset folder.
func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestMaskFolder reads depth beside a folder of masks.
func TestMaskFolder(t *testing.T) {
	holed := depthIn
	holed.Invalid = []float64{0}
	r := image.Rect(0, 0, 4, 2)
	depth, rgb, mask := image.NewGray16(r), image.NewNRGBA(r), image.NewGray(r)
	for i := range 8 {
		depth.SetGray16(i%4, i/4, color.Gray16{Y: uint16(i * 1000)})
		if i != 5 {
			mask.Pix[i] = 1
		}
	}
	mask16, half := image.NewGray16(r), image.NewGray(image.Rect(0, 0, 2, 1))
	half.Pix = []uint8{0, 255}
	for _, c := range []struct {
		name  string
		in    multimae.Input
		mask  image.Image // nil for none
		valid []bool
		bad   bool
	}{
		{"none", depthIn, nil, nil, false},
		{"one pixel", depthIn, mask, []bool{true, true, true, true, true, false, true, true}, false},
		{"with invalid values", holed, mask, []bool{false, true, true, true, true, false, true, true}, false},
		{"16 bits", depthIn, mask16, make([]bool, 8), false},
		{"photographs have no holes", rgbIn, mask, nil, false},
		{"another size", depthIn, half, nil, true},
		{"colour", depthIn, rgb, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "depth/x/a.png"), pngBytes(t, depth))
			write(t, filepath.Join(dir, "rgb/x/a.png"), pngBytes(t, rgb))
			if c.mask != nil {
				write(t, filepath.Join(dir, "mask_valid/x/a.png"), pngBytes(t, c.mask))
			}
			report, err := Check(context.Background(), dir, []multimae.Input{c.in})
			if err != nil {
				t.Fatal(err)
			}
			if (len(report.Problems) > 0) != c.bad {
				t.Errorf("problems %v", report.Problems)
			}
			ds, err := OpenFolder(dir, []multimae.Input{c.in})
			if err != nil {
				t.Fatal(err)
			}
			s, err := ds.Sample(0)
			if c.bad {
				if p := new(Problem); !errors.As(err, &p) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Maps[c.in.Name].Valid; !slices.Equal(got, c.valid) || len(s.Maps) != 1 {
				t.Errorf("valid %v of %d maps, want %v", got, len(s.Maps), c.valid)
			}
			invalid := 0.
			for _, v := range c.valid {
				if !v {
					invalid += 1. / 8
				}
			}
			if got := report.Modalities[0].InvalidPart; got != invalid {
				t.Errorf("%v of the pixels are not valid, want %v", got, invalid)
			}
		})
	}
	t.Run("no partner", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "depth/x/a.png"), pngBytes(t, depth))
		write(t, filepath.Join(dir, "mask_valid/x/b.png"), pngBytes(t, mask))
		if _, err := OpenFolder(dir, []multimae.Input{depthIn}); err == nil {
			t.Error("no error")
		}
	})
}

// TestMaskOfOnePart checks a folder of which one part has masks.
func TestMaskOfOnePart(t *testing.T) {
	depth, mask := image.NewGray16(image.Rect(0, 0, 4, 2)), image.NewGray(image.Rect(0, 0, 4, 2))
	for i := range depth.Pix {
		depth.Pix[i] = uint8(i)
	}
	for _, masked := range []string{"train", "val"} {
		t.Run(masked, func(t *testing.T) {
			dir := t.TempDir()
			for _, part := range []string{"train", "val"} {
				write(t, filepath.Join(dir, part, "depth/x/a.png"), pngBytes(t, depth))
			}
			write(t, filepath.Join(dir, masked, maskFolder, "x/a.png"), pngBytes(t, mask))
			r, err := Check(context.Background(), dir, []multimae.Input{depthIn})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Modalities) != 2 || r.Modalities[1].Name != maskFolder || r.Modalities[1].Files != 1 || len(r.Notes) != 1 || len(r.Problems) > 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestUnder has pixels of a wide map and of a mask that is half as wide.
func TestUnder(t *testing.T) {
	for _, c := range []struct{ i, full, mask, first, end int }{{0, 100000, 100000, 0, 1}, {99999, 100000, 100000, 99999, 100000}, {99998, 100000, 50000, 49999, 50000}} {
		if first, end := under(c.i, c.full, c.full, c.mask, c.mask); first != c.first || end != c.end {
			t.Errorf("%+v: %d to %d", c, first, end)
		}
	}
}

// TestMaskOfReduced reads depth that is reduced to a third, and its mask to a half. Three columns of depth
// of which one is a hole must not become a measurement.
func TestMaskOfReduced(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const side, hole = 4200, 2999
	r := image.Rect(0, 0, side, side)
	depth, mask := image.NewGray16(r), image.NewGray(r)
	for i := range side * side {
		if i%side != hole {
			depth.Pix[2*i], mask.Pix[i] = 100, 255
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, maskFolder), 0o777); err != nil {
		t.Fatal(err)
	}
	for k, in := range withMask(dir, []multimae.Input{depthIn}) {
		var b bytes.Buffer
		fast := png.Encoder{CompressionLevel: png.BestSpeed}
		if err := fast.Encode(&b, []image.Image{depth, mask}[k]); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, in.Name, "x/a.png"), b.Bytes())
		if h, prob := readHead(b.Bytes(), &in); prob != nil || h.plan.reduce != 3-k {
			t.Fatalf("%s: %+v, %v", in.Name, h, prob)
		}
	}
	ds, err := OpenFolder(dir, []multimae.Input{depthIn})
	if err != nil {
		t.Fatal(err)
	}
	m := mustSample(t, ds, 0).Maps["depth"]
	for i, v := range m.Pix {
		if want := i%m.W != hole/3; m.Valid[i] != want || want && v != 25600./65536 {
			t.Fatalf("column %d is %v, valid %v", i%m.W, v*65536, m.Valid[i])
		}
	}
}
