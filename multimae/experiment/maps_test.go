package experiment

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/heads"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/multimae/teacher"
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

// TestLabelled pre-trains with maps that models make from colour, and looks at those maps.
func TestLabelled(t *testing.T) {
	e := &Experiment{
		Name: "small", Pretrainings: []Pretraining{{Name: "own", Model: "labelled", Change: same, Maps: Labelled}, {Name: "spoilt", Model: "spoilt", Change: same, Maps: Spoilt}},
		Columns: []Column{{[]string{"depth"}, heads.TaskSemseg}},
	}
	data := folder(t)
	for _, c := range []struct {
		name    string
		unit    float64
		classes int
		want    []string // modalities that models make
	}{
		{"both", scenes.DepthUnit, len(scenes.Classes), []string{"depth", "semseg"}},
		{"classes, more than those of the folder", 0, len(scenes.Classes) + 3, []string{"semseg"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := smallOptions(t.TempDir(), data)
			o.Seeds, o.Samples, o.Classes, o.DepthUnit = 1, 2, c.classes, c.unit
			if r, err := Run(context.Background(), e, o); err != nil || len(r.Rows) != 1 { // a folder's maps are not spoilt
				t.Fatalf("%+v, %v", r, err)
			}
			if c.unit > 0 {
				t.Run("other teachers", func(t *testing.T) { refuseTeachers(t, e, o) })
			}
			made := teachers{}
			for _, modality := range []string{"depth", "semseg"} {
				path := filepath.Join(o.Dir, "pretrain", "teacher-"+modality+"-seed0.json")
				if _, err := os.Stat(path); err != nil {
					continue
				}
				x, err := teacher.Open([]string{path}, teacher.Options{}) // as gomae pseudolabel does
				if err != nil {
					t.Fatal(err)
				}
				made[modality] = x
			}
			defer made.close()
			if got := slices.Sorted(maps.Keys(made)); !slices.Equal(got, c.want) {
				t.Fatalf("models make %v, want %v", got, c.want)
			}
			m, err := multimae.LoadDir(filepath.Join(o.Dir, "pretrain", "labelled-seed0"))
			if err != nil {
				t.Fatal(err)
			}
			if n := m.Config.Input("semseg").NumClasses; n != c.classes {
				t.Errorf("pre-trained with %d classes, want the %d of the truth", n, c.classes)
			}
			truth := scenes.New(5, 1, 80, 0) // of another size than the models
			s, err := (&withMaps{truth, made.label}).Sample(0)
			if err != nil {
				t.Fatal(err)
			}
			was, err := truth.Sample(0)
			if err != nil {
				t.Fatal(err)
			}
			ids := s.Maps["semseg"]
			if ids.H != 80 || ids.W != 80 || !slices.Contains(ids.IDs, multimae.IDIgnored) { // after two steps
				t.Errorf("class maps of %d×%d, or sure everywhere", ids.H, ids.W)
			}
			if same := slices.Equal(s.Maps["depth"].Pix, was.Maps["depth"].Pix); same != (c.unit == 0) {
				t.Errorf("depth is the old one: %v", same)
			}
		})
	}
}

// refuseTeachers asks for experiments with the models of a finished one, which hold only where its
// teachers are those that they would train.
func refuseTeachers(t *testing.T, e *Experiment, o Options) {
	models := filepath.Join(o.Dir, "pretrain")
	for _, c := range []struct {
		name   string
		change func(o *Options)
		want   string // in the error; "" for none
	}{
		{"the same", func(*Options) {}, ""},
		{"other labelled data", func(o *Options) { o.Labelled = folder(t) }, "teacher-semseg-seed0…train.data " + strconv.Quote(o.Labelled)},
		{"other ignored ids", func(o *Options) { o.Ignore = []float64{3} }, "teacher-semseg-seed0…outputs.semseg.invalid none…[3]"},
		{"another unit", func(o *Options) { o.DepthUnit = 1 }, "teacher-depth-seed0…outputs.depth.unit"},
		{"other steps", func(o *Options) { o.Steps++ }, "teacher-semseg-seed0…train.steps 2 and not 3…another folder"},
		{"no depth to teach", func(o *Options) { o.DepthUnit = 0 }, "teacher-depth-seed0…" + o.Labelled},
		{"a teacher that was not there", func(o *Options) {
			copied := t.TempDir()
			if err := os.CopyFS(copied, os.DirFS(models)); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(copied, "teacher-depth-seed0")); err != nil {
				t.Fatal(err)
			}
			o.Models = copied
		}, "labelled-seed0…depth…another folder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := o
			other.Dir, other.Models = t.TempDir(), models
			c.change(&other)
			_, err := Run(context.Background(), e, other)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !testkit.Mentions(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
