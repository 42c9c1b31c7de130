package view

import (
	"bytes"
	"fmt"
	"image"
	"math"
	"slices"
	"testing"

	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/images"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/nn"
	"github.com/gomae/gomae/tensor"
)

// tinyModel returns a model of three modalities and three outputs of rgb, the first of which gives
// no picture.
func tinyModel(t *testing.T) *multimae.Model {
	t.Helper()
	c := tiny.Config()
	c.ImageSize = 32
	c.Outputs = append(multimae.Outputs{
		tiny.Output("norm_rgb", "rgb", multimae.LossNormMSE, 3, 1),
		c.Outputs[0],
		tiny.Output("rgb2", "rgb", multimae.LossL1, 3, 1),
	}, c.Outputs[1:]...)
	c.Optim, c.Train = multimae.Optim{}, multimae.Train{}
	return tiny.Model(t, c, 3)
}

func scene(t *testing.T, modalities ...string) *data.Sample {
	t.Helper()
	s, err := scenes.New(7, 1, 40, 1).Sample(0)
	if err != nil {
		t.Fatal(err)
	}
	for name := range s.Maps {
		if !slices.Contains(modalities, name) {
			delete(s.Maps, name)
		}
	}
	return s
}

func newPainter(t *testing.T, m *multimae.Model, s *data.Sample, o ReconstructOptions) *painter {
	t.Helper()
	b, err := data.Collate([]*data.Sample{s}, m.Config.Inputs, m.Config.ImageSize)
	if err != nil {
		t.Fatal(err)
	}
	return &painter{m: m, b: b, o: o}
}

// patches calls f for each pixel of a picture with whether its patch is masked.
func patches(img image.Image, mask []bool, side int, f func(x, y int, masked bool)) {
	w := img.Bounds().Dx()
	for y := range img.Bounds().Dy() {
		for x := range w {
			f(x, y, mask[y/side*(w/side)+x/side])
		}
	}
}

// TestMaskedSection checks every tile against a computation of its own.
func TestMaskedSection(t *testing.T) {
	m := tinyModel(t)
	for _, given := range [][]string{{"rgb", "depth", "semseg"}, {"rgb"}, {"depth", "semseg"}, {"semseg"}} {
		for _, pasted := range []bool{false, true} {
			t.Run(fmt.Sprint(given, pasted), func(t *testing.T) {
				s := scene(t, given...)
				p := newPainter(t, m, s, ReconstructOptions{Visible: 10, Paste: pasted})
				r := nn.NewRNG(1)
				section, err := p.masked(&r, s.Name)
				if err != nil {
					t.Fatal(err)
				}
				if want := fmt.Sprintf("scene/000007: 10 of %d patches seen", 16*len(given)); section.Title != want ||
					fmt.Sprint(section.Columns) != "[masked input prediction truth]" || len(section.Rows) != 3 {
					t.Fatalf("%q, %v, %d rows", section.Title, section.Columns, len(section.Rows))
				}
				r = nn.NewRNG(1)
				masks, err := multimae.DrawMasks(&r, 1, given, 16, multimae.MaskOptions{Visible: 10, Alphas: []float64{1}})
				if err != nil {
					t.Fatal(err)
				}
				preds, err := m.Forward(tensor.NewTape(nil), p.b, masks, nil)
				if err != nil {
					t.Fatal(err)
				}
				for i, row := range section.Rows {
					in := &m.Config.Inputs[i]
					if row.Title != in.Name || len(row.Tiles) != 3 {
						t.Fatalf("row %d is %s with %d tiles", i, row.Title, len(row.Tiles))
					}
					mask := masks.Task(0, in.Name)
					if mask == nil {
						if row.Tiles[0] != nil || row.Tiles[2] != nil || row.Tiles[1] == nil {
							t.Errorf("%s is not given and has %v", in.Name, row.Tiles)
						}
					}
					pred := row.Tiles[1].(*image.RGBA)
					size := 32 / in.Stride
					if pred.Rect != image.Rect(0, 0, size, size) {
						t.Fatalf("%s is predicted in %v", in.Name, pred.Rect)
					}
					raw := slow(m, p.b, in, preds)
					check := mask
					if check == nil {
						check = slices.Repeat([]bool{true}, 16)
					}
					patches(pred, check, 8/in.Stride, func(x, y int, masked bool) {
						want := raw.RGBAAt(x, y)
						if pasted && !masked {
							want = row.Tiles[2].(*image.RGBA).RGBAAt(x, y)
						}
						if got := at(pred, x, y); got != want {
							t.Fatalf("%s: prediction at (%d,%d) is %v, want %v", in.Name, x, y, got, want)
						}
						if mask == nil {
							return
						}
						got, truth := at(row.Tiles[0].(*image.RGBA), x, y), at(row.Tiles[2].(*image.RGBA), x, y)
						if hidden := got == maskColor || got == maskEdge; hidden != masked || !masked && got != truth {
							t.Fatalf("%s: input at (%d,%d) is %v of %v, masked: %v", in.Name, x, y, got, truth, masked)
						}
					})
				}
			})
		}
	}
}

// slow computes the picture of a prediction value by value.
func slow(m *multimae.Model, b *multimae.Batch, in *multimae.Input, preds []*tensor.Tensor) *image.RGBA {
	i := map[string]int{"rgb": 1, "depth": 3, "semseg": 4}[in.Name]
	pix := m.Unpatch(i, preds[i], b.H, b.W)
	switch side := 32 / in.Stride; in.Name {
	case "rgb":
		for c := range 3 {
			for k := range 32 * 32 {
				pix[c*1024+k] = pix[c*1024+k]*images.ImageNetStd[c] + images.ImageNetMean[c]
			}
		}
		return images.RGB(pix, side, side)
	case "depth":
		scale := b.Images["depth"] // the range of the truth, if there is one
		if scale == nil {
			scale = pix
		}
		lo, hi := images.Range(scale, 0.01)
		return images.Depth(pix, side, side, lo, hi)
	default:
		ids := make([]int32, side*side)
		for k := range ids {
			best := float32(math.Inf(-1))
			for c := range m.Config.Inputs[2].NumClasses {
				if v := pix[c*len(ids)+k]; v > best {
					best, ids[k] = v, int32(c)
				}
			}
		}
		return images.Classes(ids, side, side)
	}
}

// TestSingleSection wants a row for each modality of the sample.
func TestSingleSection(t *testing.T) {
	m := tinyModel(t)
	s := scene(t, "rgb", "depth")
	p := newPainter(t, m, s, ReconstructOptions{})
	section, err := p.single(s.Name)
	if err != nil {
		t.Fatal(err)
	}
	if len(section.Rows) != 2 || fmt.Sprint(section.Columns) != "[rgb depth semseg]" {
		t.Fatalf("%d rows, columns %v", len(section.Rows), section.Columns)
	}
	for k, from := range []string{"rgb", "depth"} {
		row := section.Rows[k]
		masks, err := multimae.AllVisible(1, []string{from}, 16)
		if err != nil {
			t.Fatal(err)
		}
		preds, err := m.Forward(tensor.NewTape(nil), p.b, masks, nil)
		if err != nil {
			t.Fatal(err)
		}
		if row.Title != from+" only in" || len(row.Tiles) != 3 {
			t.Fatalf("%s with %d tiles", row.Title, len(row.Tiles))
		}
		for i := range m.Config.Inputs {
			in := &m.Config.Inputs[i]
			want := slow(m, p.b, in, preds)
			if in.Name == from {
				want = p.truth(in)
			}
			if !bytes.Equal(row.Tiles[i].(*image.RGBA).Pix, want.Pix) {
				t.Errorf("%s: %s is another picture", row.Title, in.Name)
			}
		}
	}
}

// TestReconstructions checks the sheet as a whole.
func TestReconstructions(t *testing.T) {
	m := tinyModel(t)
	all := []*data.Sample{scene(t, "rgb", "depth", "semseg"), scene(t, "rgb"), scene(t, "depth")}
	draw := func(samples []*data.Sample, o ReconstructOptions, pool *tensor.Pool) *image.RGBA {
		t.Helper()
		img, err := Reconstructions(m, samples, o, pool)
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	first := draw(all, ReconstructOptions{Visible: 8, Seed: 1, Single: true}, nil)
	pool := tensor.NewPool(2)
	defer pool.Close()
	if again := draw(all, ReconstructOptions{Visible: 8, Seed: 1, Single: true}, pool); !bytes.Equal(again.Pix, first.Pix) {
		t.Error("not the same twice")
	}
	if other := draw(all, ReconstructOptions{Visible: 8, Seed: 2, Single: true}, nil); bytes.Equal(other.Pix, first.Pix) {
		t.Error("the seed does not matter")
	}
	// Sections are drawn in two columns; one alone has the whole width.
	one := draw(all[:1], ReconstructOptions{Visible: 8}, nil)
	two := draw(all[:2], ReconstructOptions{Visible: 8}, nil)
	more := draw(all[:1], ReconstructOptions{Visible: 8, Single: true}, nil)
	if a, b, c := one.Rect.Size(), two.Rect.Size(), more.Rect.Size(); b.X < 2*a.X-2*margin || a.Y != b.Y || c.X < a.X || c.Y < 2*a.Y-3*margin {
		t.Errorf("sizes %v, %v, %v", a, b, c)
	}
	// Small images are enlarged by a whole factor, unless a size is given.
	if side := one.Rect.Dy(); side < 3*96 || side > 3*96+100 {
		t.Errorf("a sheet of %v for three rows of 96 pixels", one.Rect)
	}
	if big := draw(all[:1], ReconstructOptions{Visible: 8, Tile: 200}, nil); big.Rect.Dy()-one.Rect.Dy() != 3*104 {
		t.Errorf("tiles of 200: %v, of 96: %v", big.Rect, one.Rect)
	}
	// Names of classes stand below, where the model has such a modality.
	named := draw(all[:1], ReconstructOptions{Visible: 8, Classes: scenes.ClassNames()}, nil)
	if top := named.SubImage(one.Rect).(*image.RGBA); named.Rect.Dy() < one.Rect.Dy()+lineHeight || named.Rect.Dx() != one.Rect.Dx() || !bytes.Equal(top.Pix[:len(one.Pix)], one.Pix) {
		t.Errorf("with names %v, without %v", named.Rect, one.Rect)
	}
	if other := draw(all[:1], ReconstructOptions{Visible: 8, Classes: map[string][]string{"depth": {"near"}, "lidar": {"x"}}}, nil); other.Rect != one.Rect {
		t.Errorf("names of what has no classes: %v, want %v", other.Rect, one.Rect)
	}
	// More visible patches than there are means all of them.
	draw(all[1:2], ReconstructOptions{Visible: 1000}, nil)
	for _, s := range []*data.Sample{{Name: "x"}, {Name: "x", Maps: map[string]*data.Map{"depth": {C: 3, H: 2, W: 2, Pix: make([]float32, 12)}}}} {
		if _, err := Reconstructions(m, []*data.Sample{s}, ReconstructOptions{Visible: 8}, nil); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
	if _, err := Reconstructions(m, all, ReconstructOptions{}, nil); err == nil {
		t.Error("no visible patch: no error")
	}
}
