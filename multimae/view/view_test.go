package view

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae/images"
)

func at(img *image.RGBA, x, y int) color.RGBA { return img.RGBAAt(x, y) }

func TestMasked(t *testing.T) {
	src := image.NewRGBA(image.Rect(3, 5, 7, 9)) // an image whose corner is not the origin
	fill(src, src.Rect, color.RGBA{10, 20, 30, 255})
	masked := Masked(src, []bool{true, false, false, true}, 2)
	for y := range 4 {
		for x := range 4 {
			want := color.RGBA{10, 20, 30, 255}
			if x/2 == y/2 {
				want = maskColor
			}
			if got := at(masked, x, y); got != want {
				t.Fatalf("pixel %d,%d: %v, want %v", x, y, got, want)
			}
		}
	}
	if at(src, 3, 5) != (color.RGBA{10, 20, 30, 255}) {
		t.Error("the input was changed")
	}
	const message = "view: Masked: got %d mask values for 4x4 pixels, want one for each patch of %d pixels"
	for _, c := range []struct{ values, patch int }{{1, 2}, {0, 0}, {1, 3}} {
		t.Run(fmt.Sprintf("%d values for patches of %d", c.values, c.patch), func(t *testing.T) {
			testkit.MustPanic(t, fmt.Sprintf(message, c.values, c.patch), func() { Masked(src, make([]bool, c.values), c.patch) })
		})
	}
}

// TestGrid counts the pixels of the colour of each tile: it must be drawn at its full size, and
// nowhere else.
func TestGrid(t *testing.T) {
	const tile = 40
	var sections []Section
	id := int32(0)
	for s := range 3 {
		section := Section{Title: fmt.Sprintf("scene %d with a title that is far too long to fit", s), Columns: []string{"masked input", "prediction"}}
		for _, name := range []string{"rgb", "a modality with a name of much more than the room"} {
			row := Row{Title: name}
			for range 2 {
				row.Tiles = append(row.Tiles, images.Classes([]int32{id, id, id, id}, 2, 2))
				id++
			}
			section.Rows = append(section.Rows, row)
		}
		sections = append(sections, section)
	}
	sections[2].Rows[1].Tiles = sections[2].Rows[1].Tiles[:1] // a missing tile
	sections[2].Rows[0].Tiles[1] = nil
	for _, perLine := range []int{-1, 1, 2, 3, 100} {
		t.Run(fmt.Sprint(perLine), func(t *testing.T) {
			img := Grid(sections, perLine, tile)
			count := map[color.RGBA]int{}
			for i := 0; i < len(img.Pix); i += 4 {
				count[color.RGBA{img.Pix[i], img.Pix[i+1], img.Pix[i+2], img.Pix[i+3]}]++
			}
			for k := range id {
				want := tile * tile
				if k == 9 || k == 11 {
					want = 0
				}
				if got := count[images.ClassColor(k)]; got != want {
					t.Errorf("tile %d covers %d pixels, want %d", k, got, want)
				}
			}
			for x := range img.Rect.Dx() { // the margins stay white
				if at(img, x, 0) != (color.RGBA{255, 255, 255, 255}) || at(img, x, img.Rect.Dy()-margin/2) != at(img, 0, 0) {
					t.Fatalf("something is drawn in the margin at x=%d", x)
				}
			}
		})
	}
	// Without anything to show it is a small white picture.
	for _, s := range [][]Section{nil, {{}}, {{Title: "t"}}, {{Rows: []Row{{}}}}, {{Columns: []string{"c"}}}} {
		if b := Grid(s, 2, 8).Rect; b.Empty() || b.Dx() > 200 || b.Dy() > 200 {
			t.Errorf("%v: bounds %v", s, b)
		}
	}
	testkit.MustPanic(t, "view: Grid: got tile 0, want at least 1", func() { Grid(sections, 1, 0) })
}

// TestGridShape checks that an oblong image keeps its shape and that a large one is shrunk.
func TestGridShape(t *testing.T) {
	count := func(img *image.RGBA) (n int) {
		for y := range img.Rect.Dy() {
			for x := range img.Rect.Dx() {
				if at(img, x, y) == images.ClassColor(3) {
					n++
				}
			}
		}
		return n
	}
	for _, c := range []struct{ h, w, want int }{{1, 2, 30 * 15}, {4, 1, 30 * 7}, {120, 60, 30 * 15}, {1, 1000, 30}} {
		ids := make([]int32, c.h*c.w)
		for i := range ids {
			ids[i] = 3
		}
		t.Run(fmt.Sprintf("%dx%d", c.h, c.w), func(t *testing.T) {
			picture := images.Classes(ids, c.h, c.w)
			if got := count(Grid([]Section{{Rows: []Row{{Tiles: []image.Image{picture}}}}}, 1, 30)); got != c.want {
				t.Errorf("covers %d pixels, want %d", got, c.want)
			}
		})
	}
}

func TestClipText(t *testing.T) {
	for _, c := range []struct {
		s     string
		width int
		want  string
	}{{"prediction", 70, "prediction"}, {"prediction", 69, "predict.."}, {"ab", 7, "."}, {"ab", 6, ""}, {"äöü", 21, "äöü"}, {"", 0, ""}} {
		t.Run(fmt.Sprintf("%q in %d", c.s, c.width), func(t *testing.T) {
			if got := clipText(c.s, c.width); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.png")
	img := images.Classes([]int32{1, 2, 3, 255}, 2, 2)
	if err := Write(path, img); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if color.RGBAModel.Convert(got.At(i%2, i/2)) != at(img, i%2, i/2) {
			t.Errorf("pixel %d differs", i)
		}
	}
	for name, err := range map[string]error{
		"nil":    Write(path, nil),
		"empty":  Write(path, image.NewRGBA(image.Rectangle{})),
		"ending": Write(filepath.Join(filepath.Dir(path), "a.gif"), img),
		"folder": Write(filepath.Join(filepath.Dir(path), "none", "a.png"), img),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func ExampleGrid() {
	// A 4×4 class map of which three of the four 2×2 patches were masked, and a prediction for it.
	truth := images.Classes([]int32{7, 7, 1, 1, 7, 7, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2}, 4, 4)
	guess := images.Classes([]int32{7, 7, 1, 1, 7, 7, 7, 1, 2, 2, 2, 2, 2, 2, 2, 2}, 4, 4)
	scene := Section{
		Title:   "scene 1",
		Columns: []string{"masked input", "prediction", "truth"},
		Rows: []Row{
			{Title: "semseg", Tiles: []image.Image{Masked(truth, []bool{false, true, true, true}, 2), guess, truth}},
			{Title: "depth", Tiles: []image.Image{nil, images.Depth(make([]float32, 16), 4, 4, -1, 1)}},
		},
	}
	img := Grid([]Section{scene}, 1, 96)
	fmt.Println(img.Bounds())
	// Output: (0,0)-(384,272)
}
