package figure

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/scenes"
)

// newModel returns an untrained model of 16 patches of 8×8 pixels.
func newModel(t *testing.T, seed uint64) Model {
	t.Helper()
	c := tiny.Config()
	c.ImageSize = 32
	return Model{Model: tiny.Model(t, c, seed)}
}

func samples(t *testing.T, n int) (list []*data.Sample) {
	t.Helper()
	ds := scenes.New(0, n, 32, 0)
	for i := range n {
		s, err := ds.Sample(i)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// elements counts the elements of a drawing's SVG, which must be well formed.
func elements(t *testing.T, d *Drawing) map[string]int {
	t.Helper()
	n := map[string]int{}
	for dec := xml.NewDecoder(bytes.NewReader(d.SVG())); ; {
		token, err := dec.Token()
		if err == io.EOF {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok {
			n[e.Name.Local]++
		}
	}
}

func TestDrawing(t *testing.T) {
	d := &Drawing{Width: 100, Height: 60}
	red, blue := color.RGBA{255, 0, 0, 255}, color.RGBA{0, 0, 255, 255}
	d.rect(10, 10, 20, 20, red)
	d.dot(60, 20, 5, blue)
	d.line(0, 50, 100, 50, 4, red)
	d.text(50, 40, 10, "middle", ink, `a<b & "c"`)
	tileOf := image.NewRGBA(image.Rect(0, 0, 2, 1))
	tileOf.SetRGBA(0, 0, blue)
	tileOf.SetRGBA(1, 0, red)
	d.picture(tileOf, 80, 0, 20, 10)
	img := d.Image(2)
	if img.Bounds() != image.Rect(0, 0, 200, 120) {
		t.Fatalf("%v", img.Bounds())
	}
	white := color.RGBA{255, 255, 255, 255}
	for p, want := range map[image.Point]color.RGBA{
		{40, 40}: red, {120, 40}: blue, {100, 100}: red, {100, 110}: white, {18, 40}: white, {163, 5}: blue, {197, 5}: red,
	} {
		if got := img.RGBAAt(p.X, p.Y); got != want {
			t.Errorf("pixel %v is %v, want %v", p, got, want)
		}
	}
	dark := 0 // of the text
	for y := 62; y < 84; y++ {
		for x := 60; x < 140; x++ {
			if img.RGBAAt(x, y).G < 128 {
				dark++
			}
		}
	}
	if dark < 20 {
		t.Errorf("the text has %d dark pixels", dark)
	}
	if n := elements(t, d); n["rect"] != 2 || n["circle"] != 1 || n["path"] != 1 || n["text"] != 1 || n["image"] != 1 {
		t.Errorf("%v", n)
	}
	dir := t.TempDir()
	for _, name := range []string{"a.png", "a.SVG"} {
		if err := d.Write(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	f, err := os.Open(filepath.Join(dir, "a.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if back, err := png.Decode(f); err != nil || back.Bounds() != img.Bounds() {
		t.Error(err)
	}
	if err := d.Write(filepath.Join(dir, "a.gif")); err == nil || !strings.Contains(err.Error(), ".svg") {
		t.Error(err)
	}
}

// TestFigures counts the pictures of each figure.
func TestFigures(t *testing.T) {
	ctx := context.Background()
	m := newModel(t, 1)
	two := samples(t, 2)
	t.Run("single modality", func(t *testing.T) {
		d, err := SingleModality(ctx, m, two)
		if err != nil {
			t.Fatal(err)
		}
		if n := elements(t, d)["image"]; n != 2*(9+3) {
			t.Errorf("%d pictures", n)
		}
		named := m
		named.Classes = map[string][]string{"semseg": {"wall", "a floor"}, "lidar": {"x"}} // others by number
		l, err := SingleModality(ctx, named, two)
		if err != nil {
			t.Fatal(err)
		}
		swatches := elements(t, l)["rect"] - elements(t, d)["rect"]
		if swatches < 4 || elements(t, l)["text"]-elements(t, d)["text"] != swatches || l.Width != d.Width || l.Height <= d.Height {
			t.Errorf("a legend of %d classes in %v×%v, without it %v×%v", swatches, l.Width, l.Height, d.Width, d.Height)
		}
		if svg := string(l.SVG()); !strings.Contains(svg, ">a floor<") || !strings.Contains(svg, ">class ") {
			t.Error("the names of classes are missing")
		}
		only := &data.Sample{Maps: map[string]*data.Map{"rgb": two[0].Maps["rgb"]}}
		if d, err = SingleModality(ctx, m, []*data.Sample{only}); err != nil {
			t.Fatal(err)
		}
		if n := elements(t, d)["image"]; n != 3+1 {
			t.Errorf("of colour alone: %d pictures", n)
		}
	})
	t.Run("progress", func(t *testing.T) {
		d, err := Progress(ctx, []Step{{1, m}, {2, newModel(t, 2)}}, two, 7, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := elements(t, d)["image"]; n != 2*3*(2+2) {
			t.Errorf("%d pictures", n)
		}
	})
	for inputs, dots := range map[int]int{3: 5 * 500, 2: 0} {
		t.Run(fmt.Sprint("alpha of ", inputs), func(t *testing.T) {
			c := *m.Config
			c.Inputs = c.Inputs[:inputs]
			d, err := Alpha(&c, []float64{0.2, 0.5, 1, 5, 20}, 7, 0)
			if err != nil {
				t.Fatal(err)
			}
			if n := elements(t, d)["circle"]; n != dots {
				t.Errorf("%d dots, want %d", n, dots)
			}
		})
	}
}

// TestUnmeasured wants pixels without a measurement to be drawn black.
func TestUnmeasured(t *testing.T) {
	m := newModel(t, 1)
	black := func(valid []bool) (n int) {
		s := samples(t, 1)[0]
		depth := *s.Maps["depth"]
		depth.Valid = valid
		s = &data.Sample{Maps: map[string]*data.Map{"depth": &depth}}
		for _, draw := range []func() (*Drawing, error){
			func() (*Drawing, error) { return SingleModality(context.Background(), m, []*data.Sample{s}) },
			func() (*Drawing, error) {
				return Progress(context.Background(), []Step{{1, m}}, []*data.Sample{s}, 16, 0)
			},
		} {
			d, err := draw()
			if err != nil {
				t.Fatal(err)
			}
			img := d.Image(1)
			for y := range img.Rect.Dy() {
				for x := range img.Rect.Dx() {
					if img.RGBAAt(x, y) == images.ClassColor(multimae.IDIgnored) {
						n++
					}
				}
			}
		}
		return n
	}
	hole := make([]bool, 32*32)
	for i := range hole {
		hole[i] = i >= 16*32 // the lower half is measured
	}
	// Half of two tiles of the first figure, and of the truth in the other, which never shows a patch
	// without a measurement.
	if n, all := black(hole)-black(nil), 3*tile*tile/2; math.Abs(float64(n)/all-1) > 0.05 {
		t.Errorf("%d black pixels of unmeasured depth, want about %g", n, all)
	}

	// Half of the patches have a measurement. If as many are visible, the masked input shows them all.
	s := samples(t, 1)[0]
	depth := *s.Maps["depth"]
	depth.Valid = hole
	s = &data.Sample{Maps: map[string]*data.Map{"depth": &depth}}
	d, err := Progress(context.Background(), []Step{{1, m}}, []*data.Sample{s}, 8, 0)
	if err != nil {
		t.Fatal(err)
	}
	img := d.Image(1)
	input, truth := int(margin+76), int(margin+76+2*(tile+gap)) // columns
	row := int(margin + 26 + tile + gap)                        // that of depth
	for y := row + tile/2 + 2; y < row+tile-2; y++ {
		for x := 2; x < tile-2; x++ {
			if img.RGBAAt(input+x, y) != img.RGBAAt(truth+x, y) {
				t.Fatalf("a patch at %d, %d that was measured is hidden", x, y-row)
			}
		}
	}
}

// TestHueTarget wants the patch that an object covers, and one off it, and changes to count on their side of
// the object's edge.
func TestHueTarget(t *testing.T) {
	e := &hueExperiment{m: newModel(t, 1), o: HueOptions{Background: []int32{0}, Degrees: 120}}
	if err := e.prepare(); err != nil {
		t.Fatal(err)
	}
	if e.colour.Name != "rgb" || e.classes.Name != "semseg" || e.output != "rgb" || fmt.Sprint(e.context) != "[depth]" {
		t.Fatalf("%v", e)
	}
	// An object of class 5 over the patches 5, 6, 9 and 10 of a 4×4 grid, and a single pixel of 5
	// elsewhere, on a class map of 16×16.
	scene := func(colours int) *multimae.Batch {
		b := &multimae.Batch{Size: 1, H: 32, W: 32, Images: map[string][]float32{"rgb": make([]float32, 3*1024), "depth": make([]float32, 1024)},
			Classes: map[string][]int32{"semseg": make([]int32, 256)}}
		for y := 4; y < 12; y++ {
			for x := 4; x < 12; x++ {
				b.Classes["semseg"][y*16+x] = 5
			}
		}
		b.Classes["semseg"][15] = 5
		for i := range 1024 {
			b.Images["rgb"][i] = 0.5
			for c := range 2 {
				b.Images["rgb"][(c+1)*1024+i] = 0.5 - 0.4*float32(colours)
			}
		}
		images.NormalizeRGB(b.Images["rgb"])
		return b
	}
	target := e.target(scene(1), 0)
	if target == nil || target.patch != 5 {
		t.Fatalf("%+v", target)
	}
	n := 0
	for i, on := range target.region {
		if y, x := i/16, i%16; on {
			n++
			if y < 4 || y >= 12 || x < 4 || x >= 12 {
				t.Fatalf("pixel %d,%d is not of the object", x, y)
			}
		}
	}
	if n != 64 || target.other == 5 || target.other == 6 || target.other == 9 || target.other == 10 {
		t.Errorf("%d pixels, other patch %d", n, target.other)
	}
	if e.target(scene(0), 0) != nil {
		t.Error("a grey object is taken")
	}
	e.o.Background = append(e.o.Background, 5)
	if e.target(scene(1), 0) != nil {
		t.Error("the background is taken")
	}
	// What changes is the patch, and only within it.
	pix, shown, masks, err := e.predict(context.Background(), scene(1), target, 120)
	if err != nil || len(pix) != 3*1024 || masks.Visible != 2+16 {
		t.Fatal(masks, err)
	}
	for i, v := range shown.Images["rgb"] {
		y, x := i%1024/32, i%32
		if in := y >= 8 && y < 16 && x >= 8 && x < 16; !in && math.Abs(float64(v-scene(1).Images["rgb"][i])) > 1e-5 {
			t.Fatalf("pixel %d,%d has changed", x, y)
		}
	}
	for _, everywhere := range []bool{true, false} {
		target.region = slices.Repeat([]bool{everywhere}, 256)
		inside, outside, err := e.measure(context.Background(), scene(1), target)
		if err != nil || inside > 0 != everywhere || outside > 0 == everywhere {
			t.Errorf("object everywhere %v: change of %g inside, %g outside, %v", everywhere, inside, outside, err)
		}
	}
}

// TestBackground wants the background of the class map that objects are taken from, by the names of rooms
// and of COCO.
func TestBackground(t *testing.T) {
	m := newModel(t, 1)
	m.Config.Inputs[2].Name = "labels"
	for _, c := range []struct {
		names []string
		want  []int32
	}{
		{scenes.Classes, []int32{0, 1, 2}},
		{[]string{"person", "floor-wood", "sky-other-merged", "skyscraper", "wall-brick", "ceiling-merged"}, []int32{1, 2, 4, 5}},
		{nil, nil},
	} {
		m.Classes = map[string][]string{"labels": c.names, "semseg": {"wall"}}
		if got := Background(m); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %v, want %v", c.names, got, c.want)
		}
	}
}

func TestHue(t *testing.T) {
	m := newModel(t, 1)
	ds := scenes.New(0, 300, 32, 0)
	o := HueOptions{Scenes: 6, Degrees: 120, Background: []int32{0, 1, 2}, Examples: 2}
	r, d, err := Hue(context.Background(), m, ds, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Scenes != 6 || r.Looked < 6 || r.Inside.Mean <= 0 || r.Inside.Low > r.Inside.Mean || r.Inside.High < r.Inside.Mean ||
		math.Abs(r.Difference.Mean-r.Inside.Mean+r.Outside.Mean) > 1e-12 {
		t.Errorf("%+v", r)
	}
	if n := elements(t, d)["image"]; n != 2*8 {
		t.Errorf("%d pictures", n)
	}
	e := &hueExperiment{m: m, o: o}
	if err := e.prepare(); err != nil {
		t.Fatal(err)
	}
	var inside, outside, follows float64
	for i := range r.Looked {
		s, err := ds.Sample(i)
		if err != nil {
			t.Fatal(err)
		}
		b, err := m.batch(s)
		if err != nil {
			t.Fatal(err)
		}
		target := e.target(b, uint64(i))
		if target == nil {
			continue
		}
		in, out, err := e.measure(context.Background(), b, target)
		if err != nil {
			t.Fatal(err)
		}
		inside, outside = inside+in/6, outside+out/6
		if in > out {
			follows += 1. / 6
		}
	}
	if math.Abs(r.Inside.Mean-inside) > 1e-9 || math.Abs(r.Outside.Mean-outside) > 1e-9 || math.Abs(r.Follows-follows) > 1e-9 {
		t.Errorf("got %+v, want %g inside, %g outside, %g of the scenes follow", r, inside, outside, follows)
	}
	if again, _, err := Hue(context.Background(), m, ds, HueOptions{Scenes: 6, Degrees: 120, Background: []int32{0, 1, 2}}); err != nil || *again != *r {
		t.Errorf("the second time %+v, %v", again, err)
	}
	if still, _, err := Hue(context.Background(), m, ds, HueOptions{Scenes: 6, Degrees: 0, Background: []int32{0, 1, 2}}); err != nil || still.Inside.Mean != 0 {
		t.Errorf("without a turn %+v, %v", still, err)
	}
	var all []int32
	for id := range scenes.Classes {
		all = append(all, int32(id))
	}
	if _, _, err := Hue(context.Background(), m, scenes.New(0, 3, 32, 0), HueOptions{Scenes: 2, Background: all}); !errors.Is(err, ErrNoObjects) {
		t.Error(err)
	}
	c := tiny.Config()
	c.Inputs[0].Name, c.Outputs[0].Name, c.Outputs[0].Task = "photo", "photo", "photo"
	_, _, err = Hue(context.Background(), Model{Model: tiny.Model(t, c, 1)}, ds, HueOptions{Scenes: 2, Background: []int32{0, 1, 2}})
	testkit.ErrorNames(t, err, "scene/000000", "photo")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Hue(ctx, m, ds, HueOptions{Scenes: 2, Background: []int32{0, 1, 2}}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestInterval wants the bootstrap to agree with the normal approximation for many values.
func TestInterval(t *testing.T) {
	x := make([]float64, 400)
	for i := range x {
		x[i] = float64(i % 2) // mean ½, deviation ½
	}
	got := interval(x, 1)
	half := 1.96 * 0.5 / math.Sqrt(400)
	if got.Mean != 0.5 || math.Abs(got.Low-(0.5-half)) > 0.01 || math.Abs(got.High-(0.5+half)) > 0.01 {
		t.Errorf("%+v, want ±%.3f", got, half)
	}
}
