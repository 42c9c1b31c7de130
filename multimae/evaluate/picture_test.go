package evaluate

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/metrics"
	"github.com/gomae/gomae/multimae/view"
	"github.com/gomae/gomae/tensor"
)

func TestSteps(t *testing.T) {
	for _, c := range []struct {
		n, side, patch int
		want           []int
	}{
		{16, 16, 8, []int{0}},
		{24, 16, 8, []int{0, 8}},
		{512, 192, 16, []int{0, 128, 256, 320}},
		{448, 192, 16, []int{0, 128, 256}},
		{64, 32, 32, []int{0, 32}}, // no step is less than a patch
		{96, 64, 16, []int{0, 32}},
	} {
		if got := steps(c.n, c.side, c.patch); !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

// section returns what Picture draws of a sample that the model sees as it is.
func section(t *testing.T, m *heads.Model, s data.Samples) (view.Section, []*tensor.Tensor) {
	t.Helper()
	f, err := newFrame(m.Config, &Options{})
	if err != nil {
		t.Fatal(err)
	}
	h, w, crop, err := f.fit(s[0])
	if err != nil {
		t.Fatal(err)
	}
	g := f.group(s, h, w, []images.Crop{crop})
	tape := tensor.NewInference(nil)
	preds, err := g.predict(tape, m, &Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := painter{config: m.Config, shown: view.Pixels{}}
	return p.section(tape, g, preds), preds
}

// TestSections checks each tile of maps of classes and of depth against a computation of its own.
func TestSections(t *testing.T) {
	m, all := model(t, "semseg", "depth"), random(1, 16, 16)
	s, preds := section(t, m, all)
	if s.Title != "x/0" || fmt.Sprint(s.Columns) != "[rgb prediction truth error]" || len(s.Rows) != 2 || s.Rows[0].Title != "semseg" {
		t.Fatalf("%q, %v, %d rows", s.Title, s.Columns, len(s.Rows))
	}
	at := func(row, tile, i int) color.RGBA { return s.Rows[row].Tiles[tile].(*image.RGBA).RGBAAt(i%16, i/16) }
	wrong, void := 0, 0
	for i, id := range all[0].Maps["semseg"].IDs {
		given := best(preds[0].Data[i*5:][:5])
		if at(0, 1, i) != images.ClassColor(given) || at(0, 2, i) != images.ClassColor(int32(id)) {
			t.Fatalf("pixel %d is of class %d and predicted as %d; got colours %v and %v", i, id, given, at(0, 2, i), at(0, 1, i))
		}
		switch c := at(0, 3, i); {
		case id == 255:
			void++
			if c != (color.RGBA{0, 0, 0, 255}) {
				t.Fatalf("pixel %d has no label and is %v", i, c)
			}
		case int32(id) != given:
			wrong++
			if c.R < c.B+100 {
				t.Fatalf("pixel %d is wrong and %v", i, c)
			}
		default:
			if c.R < 200 || c.G < 200 || c.B < 200 {
				t.Fatalf("pixel %d is right and %v", i, c)
			}
		}
	}
	if wrong == 0 || void == 0 {
		t.Errorf("%d wrong and %d void pixels", wrong, void)
	}
	truth := all[0].Maps["depth"]
	hole := at(1, 2, slices.Index(truth.Valid, false))
	for i, valid := range truth.Valid {
		if !valid != (at(1, 2, i) == hole) || !valid != (at(1, 3, i) == hole) || at(1, 1, i) == hole {
			t.Fatalf("pixel %d is valid: %v; truth %v, error %v, hole %v", i, valid, at(1, 2, i), at(1, 3, i), hole)
		}
	}
}

// TestInputHoles wants pixels of an input without a measurement black.
func TestInputHoles(t *testing.T) {
	c := &heads.Config{BackboneConfig: tiny.Config().BackboneConfig}
	o := outputs["semseg"]
	o.Name, o.MainTasks = "semseg", []string{"rgb"}
	c.Model, c.Outputs = "multivit", heads.Outputs{o}
	c.Inputs = slices.DeleteFunc(c.Inputs, func(in multimae.Input) bool { return in.Kind == multimae.KindClasses })
	m, err := heads.NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(5)
	all := random(1, 16, 16)
	s, _ := section(t, m, all)
	tile := s.Rows[0].Tiles[slices.Index(s.Columns, "depth")].(*image.RGBA)
	for i, valid := range all[0].Maps["depth"].Valid {
		if got := tile.RGBAAt(i%16, i/16); !valid != (got == color.RGBA{0, 0, 0, 255}) {
			t.Fatalf("pixel %d is valid: %v, and drawn as %v", i, valid, got)
		}
	}
}

// TestRelative wants relative depth drawn as it fits the truth.
func TestRelative(t *testing.T) {
	m, all := model(t, "relative"), random(1, 16, 16)
	_, preds := section(t, m, all)
	truth := all[0].Maps["relative"]
	for i, v := range preds[0].Data { // a truth that fits exactly
		truth.Pix[i] = 0.3 + 0.01*v
	}
	s, _ := section(t, m, all)
	given, drawn := s.Rows[0].Tiles[1].(*image.RGBA), s.Rows[0].Tiles[2].(*image.RGBA)
	for i := range drawn.Pix {
		if d := int(given.Pix[i]) - int(drawn.Pix[i]); max(d, -d) > 1 {
			t.Fatalf("byte %d: prediction %d, truth %d", i, given.Pix[i], drawn.Pix[i])
		}
	}
}

func TestLabelNotes(t *testing.T) {
	o := &heads.Output{Classes: []string{"cat", "dog", "owl"}}
	got := labelNotes(o, []float32{1, 0, 3, 1}, 0)
	if want := []string{"truth: cat", "  76 % owl", "* 10 % cat", "  10 % class 3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestPicture draws each kind of model, and wants the legend below maps of classes only.
func TestPicture(t *testing.T) {
	for _, c := range []struct {
		outputs []string
		n       int
		o       Options
		w, h    int
	}{
		{[]string{"semseg"}, 1, Options{}, 16 + 4*160 + 3*6 + 16, 16 + 24 + 18 + 160 + 16 + 18 + 16},
		{[]string{"depth"}, 3, Options{Slide: true}, 16 + 2*(4*160+3*6) + 28 + 16, 16 + 2*(24+18+160) + 28 + 16},
		{[]string{"normals"}, 1, Options{}, 16 + 4*160 + 3*6 + 16, 16 + 24 + 18 + 160 + 16},
		{[]string{"class"}, 4, Options{}, 16 + 4*160 + 3*28 + 16, 16 + 24 + 18 + 160 + 4*18 + 16},
	} {
		t.Run(fmt.Sprint(c.outputs, c.n), func(t *testing.T) {
			img, err := Picture(context.Background(), model(t, c.outputs...), random(c.n, 20, 20), c.o, nil)
			if err != nil {
				t.Fatal(err)
			}
			if s := img.Bounds().Size(); s != image.Pt(c.w, c.h) {
				t.Errorf("%v, want %d×%d", s, c.w, c.h)
			}
		})
	}
	if _, err := Picture(context.Background(), model(t, "semseg"), without(t, "semseg"), Options{}, nil); err == nil || !testkit.Mentions(err.Error(), "no semseg") {
		t.Errorf("without truth: %v", err)
	}
}

func without(t *testing.T, name string) data.Samples {
	t.Helper()
	all := random(1, 16, 16)
	delete(all[0].Maps, name)
	return all
}

// TestIgnored wants pixels of padding to count as those without a label do.
func TestIgnored(t *testing.T) {
	s := newScorer(&heads.Output{Name: "semseg", Head: heads.ConvNeXt, NumClasses: 2, Loss: heads.LossCrossEntropy})
	logits := tensor.From([]float32{1, 0, 1, 0, 1, 0, 1, 0}, 1, 2, 2, 2)
	if err := s.add(tensor.NewInference(nil), logits, 0, &images.Map{H: 2, W: 2, IDs: []uint8{0, 1, multimae.IDPadding, multimae.IDIgnored}}); err != nil {
		t.Fatal(err)
	}
	if out, err := s.result(); err != nil || out.Pixels != 2 || out.Confusion.Ignored != 2 || out.Metrics[1] != (Metric{Name: PixelAccuracy, Value: 50, More: true}) {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestFit(t *testing.T) {
	inf := float32(math.Inf(1))
	scale, shift := metrics.Fit([]float32{1, 2, 9, 9, 9, 9}, []float32{5, 7, 8, 0, inf, inf - inf}, []bool{true, true, false, true, true, true})
	if scale != 2 || shift != 3 {
		t.Errorf("got %v and %v, want 2 and 3", scale, shift)
	}
}
