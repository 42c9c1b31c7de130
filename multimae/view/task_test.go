package view

import (
	"image"
	"image/color"
	"math"
	"slices"
	"testing"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/metrics"
)

// count returns how many pixels of a picture have a colour.
func count(img *image.RGBA, c color.RGBA) (n int) {
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			if img.RGBAAt(x, y) == c {
				n++
			}
		}
	}
	return n
}

func TestWrongClasses(t *testing.T) {
	img := WrongClasses([]int32{1, 2, 3, 4}, []int32{1, 7, 255, 254}, 2, 2)
	for i, want := range []color.RGBA{rightColor, wrongColor, voidColor, voidColor} {
		if got := img.RGBAAt(i%2, i/2); got != want {
			t.Errorf("pixel %d: got %v, want %v", i, got, want)
		}
	}
}

func TestMeasured(t *testing.T) {
	pix := []float32{0, 1, float32(math.NaN()), 1}
	img, all := Measured(pix, []bool{true, true, false, false}, 2, 2, 0, 1), images.Depth(pix, 2, 2, 0, 1)
	for i := range 4 {
		want := all.RGBAAt(i%2, i/2)
		if i >= 2 {
			want = holeColor
		}
		if got := img.RGBAAt(i%2, i/2); got != want {
			t.Errorf("pixel %d: got %v, want %v", i, got, want)
		}
	}
}

// TestLegend wants a square of each colour, in as many lines as the width needs.
func TestLegend(t *testing.T) {
	names := []string{"sky", "a building with a long name"}
	wide, narrow := Legend([]int32{0, 1, 5}, names, 500), Legend([]int32{0, 1, 5}, names, 120)
	for _, img := range []*image.RGBA{wide, narrow} {
		for _, id := range []int32{0, 1, 5} {
			if n := count(img, images.ClassColor(id)); n != 13*13 {
				t.Errorf("%v: %d pixels of class %d, want 169", img.Rect, n, id)
			}
		}
		if n := count(img, textInk); n < 100 {
			t.Errorf("%v: %d pixels of text", img.Rect, n)
		}
	}
	if wide.Rect.Dy() != lineHeight+margin || narrow.Rect.Dy() != 3*lineHeight+margin {
		t.Errorf("heights %d and %d", wide.Rect.Dy(), narrow.Rect.Dy())
	}
}

// TestPixels wants the most frequent classes first, and no pixel without a class.
func TestPixels(t *testing.T) {
	p := Pixels{3: 1}
	p.Add([]int32{3, multimae.IDIgnored, multimae.IDIgnored, 7, 7, 7, 5, multimae.IDPadding, 5, -1, -1})
	if ids := p.Frequent(); !slices.Equal(ids, []int32{7, 3, 5}) {
		t.Errorf("classes in the order %v", ids)
	}
	for id := range int32(200) {
		p.Add([]int32{id})
	}
	if ids := p.Frequent(); len(ids) != 24 || ids[0] != 7 || ids[3] != 0 {
		t.Errorf("of 200 classes %v", ids)
	}
}

func TestBelow(t *testing.T) {
	top, bottom := image.NewRGBA(image.Rect(0, 0, 3, 2)), image.NewRGBA(image.Rect(5, 5, 10, 6))
	fill(bottom, bottom.Rect, wrongColor)
	img := Below(top, bottom)
	if img.Rect != image.Rect(0, 0, 5, 3) || count(img, wrongColor) != 5 || img.RGBAAt(4, 2) != wrongColor || img.RGBAAt(4, 0) != (color.RGBA{255, 255, 255, 255}) {
		t.Errorf("%v, %d pixels of the lower picture", img.Rect, count(img, wrongColor))
	}
}

// TestConfusion wants darker cells for larger shares, and a class without pixels left blank.
func TestConfusion(t *testing.T) {
	c := metrics.NewConfusion(3)
	if err := c.Add([]int32{0, 0, 0, 0, 1}, []int32{0, 0, 0, 1, 1}); err != nil {
		t.Fatal(err)
	}
	img := Confusion(c, []string{"sky", "road", "car"})
	left, top := margin+textWidth("road")+labelGap, margin+lineHeight+textWidth("road")+labelGap
	cell := func(row, column int) color.RGBA { return img.RGBAAt(left+column*30+1, top+row*30+1) }
	for _, x := range []struct {
		row, column int
		want        color.RGBA
	}{{0, 0, shade(0.75)}, {0, 1, shade(0.25)}, {0, 2, shade(0)}, {1, 1, shade(1)}, {1, 0, shade(0)}, {2, 2, blankInk}} {
		if got := cell(x.row, x.column); got != x.want {
			t.Errorf("row %d, column %d: got %v, want %v", x.row, x.column, got, x.want)
		}
	}
	if s := shade(0); s != (color.RGBA{255, 255, 255, 255}) || shade(1).R >= shade(0.5).R {
		t.Errorf("shades %v, %v, %v", s, shade(0.5), shade(1))
	}
	if many := Confusion(metrics.NewConfusion(1000), nil); many.Rect.Dx() > 3000 || many.Rect.Dy() > 3000 {
		t.Errorf("1000 classes take %v", many.Rect)
	}
}

// TestNotes wants lines of text below the tiles of a row, and the next row below them.
func TestNotes(t *testing.T) {
	tile := image.NewRGBA(image.Rect(0, 0, 40, 40))
	fill(tile, tile.Rect, wrongColor)
	rows := []Row{{Tiles: []image.Image{tile}}, {Tiles: []image.Image{tile}}}
	plain := Grid([]Section{{Rows: rows}}, 1, 40)
	rows[0].Notes = []string{"one", "two"}
	noted := Grid([]Section{{Rows: rows}}, 1, 40)
	if d := noted.Rect.Dy() - plain.Rect.Dy(); d != 2*lineHeight || count(noted, wrongColor) != 2*40*40 || count(noted, textInk) == 0 || count(plain, textInk) != 0 {
		t.Errorf("%d more pixels of height, %d of tiles, %d of text", d, count(noted, wrongColor), count(noted, textInk))
	}
}
