package data

import (
	"context"
	"errors"
	"image"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/gomae/gomae/multimae"
)

// TestCapitals wants a folder in capitals to be a modality where the file system finds it by its name.
func TestCapitals(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "RGB"), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, whole, err := namedSplits(dir, []multimae.Input{rgbIn}); err != nil || whole != isDir(filepath.Join(dir, "rgb")) {
		t.Errorf("has samples of its own: %v, %v", whole, err)
	}
}

// TestFindSplits opens and checks folders with parts of any name: both agree on what is read.
func TestFindSplits(t *testing.T) {
	for _, c := range []struct {
		name             string
		folders          []string
		train, val, test string
		other            []string
		bad              bool
	}{
		{"plain", []string{"train", "val"}, "train", "val", "", nil, false},
		{"validation", []string{"train", "validation"}, "train", "validation", "", nil, false},
		{"valid in capitals", []string{"Train", "VALID", "Test"}, "Train", "VALID", "Test", nil, false},
		{"only train", []string{"TRAIN", "test"}, "TRAIN", "", "test", nil, false},
		{"not used", []string{"train", "val", "dev", "train2017", "val_unseen", "trained", "notes"}, "train", "val", "", []string{"dev", "train2017", "val_unseen"}, false},
		{"whole and val", []string{".", "val"}, "", "", "", []string{"val"}, false},
		{"whole", []string{"."}, "", "", "", nil, false},
		{"whole and train", []string{".", "train"}, "train", "", "", nil, false},
		{"no train", []string{"val", "test"}, "", "val", "test", nil, true},
		{"two to validate", []string{"train", "val", "validation"}, "", "", "", nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			join := func(name string) string {
				if name == "" {
					return ""
				}
				return filepath.Join(dir, name)
			}
			for i, name := range c.folders {
				if err := WriteFolder(context.Background(), join(name), patterns(10*i, 3, 8, 1), nil); err != nil {
					t.Fatal(err)
				}
			}
			s, err := trainingSplits(dir, all)
			train, val, oerr := OpenSplit(dir, all)
			r, cerr := Check(context.Background(), dir, all)
			if cerr != nil {
				t.Fatal(cerr)
			}
			if c.bad {
				if p := new(Problem); !errors.As(err, &p) || !errors.As(oerr, &p) || len(r.Problems) == 0 || r.Problems[0] != *p {
					t.Errorf("%v; open: %v; check: %v", err, oerr, r.Problems)
				}
				for _, part := range []string{"", "val", "test"} { // what is not for training can be opened
					if ds, err := OpenPart(dir, part, all); c.test != "" && (err != nil || ds.Len() != 3) {
						t.Errorf("part %q: %v, %v", part, ds, err)
					}
				}
				if _, err := OpenPart(dir, "train", all); !errors.As(err, new(*Problem)) {
					t.Errorf("part train: %v", err)
				}
				return
			}
			if err != nil || oerr != nil {
				t.Fatal(err, oerr)
			}
			want := Splits{Train: join(c.train), Val: join(c.val), Test: join(c.test)}
			for _, name := range c.other {
				want.Other = append(want.Other, join(name))
			}
			notes := len(c.other)
			if c.name == "whole and train" {
				want.Beside = dir
				notes++
			}
			if !reflect.DeepEqual(s, want) {
				t.Errorf("got %+v, want %+v", s, want)
			}
			if n := train.Len() + val.Len(); n != r.Samples || len(r.Problems) > 0 {
				t.Errorf("%d samples are opened, %d checked; problems %v", n, r.Samples, r.Problems)
			}
			for part, want := range map[string]int{"train": train.Len(), "val": val.Len(), "": val.Len()} {
				if part == "" && c.train == "" {
					want += train.Len()
				}
				if ds, err := OpenPart(dir, part, all); err != nil || ds.Len() != want {
					t.Errorf("part %q: %v, %v; want %d samples", part, ds, err, want)
				}
			}
			if c.test != "" {
				notes++
			}
			if len(r.Notes) != notes {
				t.Errorf("notes %q", r.Notes)
			}
		})
	}
}

// TestCheckValues checks files that can be read and are hardly meant so.
func TestCheckValues(t *testing.T) {
	depth := func(values ...uint16) image.Image {
		img := image.NewGray16(image.Rect(0, 0, 8, 8))
		for i := range 64 {
			v := values[i%len(values)]
			img.Pix[2*i], img.Pix[2*i+1] = uint8(v>>8), uint8(v)
		}
		return img
	}
	ids := func(values ...uint8) image.Image {
		img := image.NewGray(image.Rect(0, 0, 8, 8))
		for i := range img.Pix {
			img.Pix[i] = values[i%len(values)]
		}
		return img
	}
	holed := depthIn
	holed.Invalid = []float64{0, 65535}
	for _, c := range []struct {
		name  string
		in    multimae.Input
		img   image.Image
		raw   *Raw
		notes int
		bad   bool
	}{
		{"millimetres", depthIn, depth(1000, 2000, 3000, 9000), &Raw{1000, 9000, 0, 0, 0}, 0, false},
		{"whole metres", depthIn, depth(1, 2, 5, 7), &Raw{1, 7, 0, 0, 0}, 1, false},
		{"whole metres with holes", depthIn, depth(0, 65535, 5, 7), &Raw{0, 65535, 0.25, 0.25, 0}, 3, false},
		{"holes", depthIn, depth(0, 0, 1000, 9000), &Raw{0, 9000, 0.5, 0, 0}, 1, false},
		{"holes that are known", holed, depth(0, 65535, 1000, 9000), &Raw{0, 65535, 0.25, 0.25, 0}, 0, false},
		{"one value", depthIn, depth(54321), &Raw{54321, 54321, 0, 0, 0}, 0, false},
		{"mask", semsegIn, ids(0, 255), nil, 0, true},
		{"classes", semsegIn, ids(0, 1, 255), nil, 0, false},
		{"background", semsegIn, ids(0), nil, 0, false},
		{"unlabelled", semsegIn, ids(255), nil, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, c.in.Name), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, c.in.Name, "a.png"), pngBytes(t, c.img), 0o666); err != nil {
				t.Fatal(err)
			}
			r, err := Check(context.Background(), dir, []multimae.Input{c.in})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Modalities[0].Raw; !reflect.DeepEqual(got, c.raw) {
				t.Errorf("raw values %+v, want %+v", got, c.raw)
			}
			if len(r.Notes) != c.notes || (len(r.Problems) > 0) != c.bad {
				t.Errorf("notes %q, problems %v", r.Notes, r.Problems)
			}
		})
	}
}

// TestSplitsBelow has parts below each modality.
func TestSplitsBelow(t *testing.T) {
	for _, c := range []struct {
		name    string
		folders []string
		notes   int
	}{
		{"parts", []string{"train", "val"}, 1},
		{"a class of trains", []string{"train", "car"}, 0},
		{"classes", []string{"cat", "dog"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, folder := range c.folders {
				write(t, filepath.Join(dir, "rgb", folder, "a.png"), pngBytes(t, image.NewGray16(image.Rect(0, 0, 4, 4))))
			}
			r, err := Check(context.Background(), dir, []multimae.Input{rgbIn})
			if err != nil || len(r.Notes) != c.notes || r.Samples != 2 || len(r.Problems) > 0 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}
