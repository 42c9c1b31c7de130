package experiment

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
)

// TestSpoil wants squares of one value, about a third of them of another class, and the same maps at
// every visit.
func TestSpoil(t *testing.T) {
	truth := scenes.New(0, 40, 60, 1) // a size that is no multiple of the squares
	d := &withMaps{truth, spoil(len(scenes.Classes))}
	squareCount, wrong := 0, 0
	for i := range d.Len() {
		s, err := d.Sample(i)
		if err != nil {
			t.Fatal(err)
		}
		again, err := d.Sample(i)
		if err != nil {
			t.Fatal(err)
		}
		was, err := truth.Sample(i)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.Maps["depth"].Pix, again.Maps["depth"].Pix) || !slices.Equal(s.Maps["semseg"].IDs, again.Maps["semseg"].IDs) {
			t.Fatal("another visit, other maps")
		}
		if !slices.Equal(s.Maps["rgb"].Pix, was.Maps["rgb"].Pix) {
			t.Fatal("colour was changed")
		}
		ids, old := s.Maps["semseg"], was.Maps["semseg"]
		squares(ids.W, ids.H, 8, func(x0, y0, x1, y1 int) {
			squareCount++
			at := (y0+y1)/2*ids.W + (x0+x1)/2
			if ids.IDs[at] != old.IDs[at] {
				wrong++
			}
			for y := y0; y < y1; y++ {
				for x := x0; x < x1; x++ {
					if ids.IDs[y*ids.W+x] != ids.IDs[at] {
						t.Fatalf("the square at %d, %d has several classes", x0, y0)
					}
				}
			}
		})
	}
	if share := float64(wrong) / float64(squareCount); share < 0.23 || share > 0.33 { // 0.3 · 15/16 in the mean
		t.Errorf("%.3f of the squares have another class", share)
	}
}

// TestLabelled pre-trains with maps that a model makes, and looks at those maps.
func TestLabelled(t *testing.T) {
	e := &Experiment{
		Name: "small", Pretrainings: []Pretraining{{Name: "own", Model: "labelled", Change: same, Maps: Labelled}},
		Columns: []Column{{[]string{"depth"}, heads.TaskSemseg}},
	}
	o := smallOptions(t.TempDir(), folder(t))
	o.Seeds, o.Samples = 1, 2
	if r, err := Run(context.Background(), e, o); err != nil || len(r.Rows) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	var teachers []*heads.Model
	for _, name := range []string{"mae-seed0", "teacher-semseg-seed0", "teacher-depth-seed0", "labelled-seed0"} {
		dir := filepath.Join(o.Dir, "pretrain", name)
		if _, err := os.Stat(filepath.Join(dir, multimae.WeightsFile)); err != nil {
			t.Error(err)
		}
		if m, err := heads.LoadDir(dir); err == nil {
			teachers = append(teachers, m)
		}
	}
	if len(teachers) != 2 {
		t.Fatalf("%d teachers", len(teachers))
	}
	c, err := multimae.Preset("tiny", len(scenes.Classes))
	if err != nil {
		t.Fatal(err)
	}
	s, err := (&withMaps{scenes.New(5, 1, c.ImageSize, 0), relabel(teachers[0], teachers[1])}).Sample(0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := data.Collate([]*data.Sample{s}, c.Inputs, c.ImageSize)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Images["depth"]) != c.ImageSize*c.ImageSize {
		t.Errorf("%d values of depth", len(b.Images["depth"]))
	}
	if unsure := slices.Index(s.Maps["semseg"].IDs, multimae.IDIgnored); unsure < 0 { // after two steps
		t.Error("the teacher is sure everywhere")
	}
}
