package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
)

func TestClassNames(t *testing.T) {
	for _, c := range []struct{ what, text, want, err string }{
		{"two modalities", `{"semseg": ["sky", "tree"], "parts": ["arm"]}`, "map[parts:[arm] semseg:[sky tree]]", ""},
		{"with a byte order mark", "\xef\xbb\xbf" + `{"semseg": ["sky"]}`, "map[semseg:[sky]]", ""},
		{"no file", "", "map[]", ""},
		{"a list", `["sky"]`, "", ClassesFile + "…names of classes"},
		{"numbers", `{"semseg": [1]}`, "", ClassesFile + "…names of classes"},
		{"no class", `{"semseg": []}`, "", ClassesFile + "…semseg has 0 classes"},
		{"more than ids", `{"semseg": ["a"` + strings.Repeat(`,"a"`, 254) + "]}", "", ClassesFile + "…semseg has 255 classes"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			if c.text != "" {
				if err := os.WriteFile(filepath.Join(dir, ClassesFile), []byte(c.text), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			got, err := ClassNames(dir)
			if c.err != "" {
				if p := new(Problem); !errors.As(err, &p) || p.File != filepath.Join(dir, ClassesFile) || !testkit.Mentions(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || fmt.Sprint(got) != c.want {
				t.Errorf("got %v, %v, want %s", got, err, c.want)
			}
		})
	}
}

// FuzzClassNames reads any bytes. What is accepted has as many names as there are ids, and can be written.
func FuzzClassNames(f *testing.F) {
	for _, text := range []string{`{"semseg": ["sky", "tree"], "parts": ["arm"]}`, `["sky"]`, `{"semseg": []}`, `{"semseg": null}`, "null", "{"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		names, err := ParseClassNames(ClassesFile, b)
		if err != nil {
			testkit.ErrorNames(t, err, ClassesFile)
			return
		}
		for modality, list := range names {
			if len(list) < 1 || len(list) > multimae.IDPadding {
				t.Fatalf("%d classes of %q", len(list), modality)
			}
		}
		again, err := json.Marshal(names)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseClassNames(ClassesFile, again); err != nil || !reflect.DeepEqual(got, names) {
			t.Fatalf("%s is %v, %v, want %v", again, got, err, names)
		}
	})
}

func TestSemanticClasses(t *testing.T) {
	dir := t.TempDir()
	if n, names, err := SemanticClasses(dir); n != 133 || names != nil || err != nil {
		t.Errorf("no file: %d, %v, %v", n, names, err)
	}
	if err := os.WriteFile(filepath.Join(dir, ClassesFile), []byte(`{"semseg": ["sky", "tree"]}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if n, names, err := SemanticClasses(dir); n != 2 || fmt.Sprint(names) != "[sky tree]" || err != nil {
		t.Errorf("two classes: %d, %v, %v", n, names, err)
	}
}

// seeded says itself what it is.
type seeded struct {
	numbered
	seed int
}

func (s seeded) Fingerprint() string { return fmt.Sprint("seed ", s.seed) }

func TestFingerprint(t *testing.T) {
	unnamed, one, other := numbered{n: 4}, seeded{numbered{n: 4}, 1}, seeded{numbered{n: 4}, 2}
	names := Samples{{Name: "a"}, {Name: "b"}}
	label := func(ds Dataset) Dataset { return Labelled(ds, "class", nil) }
	likes := map[string]int{"": 0} // by fingerprint
	for _, c := range []struct {
		what string
		ds   Dataset
		like int // what is told apart has different numbers; 0 is what cannot be told
	}{
		{"unnamed", unnamed, 0},
		{"part of unnamed", Subset(unnamed, []int{0, 1}), 0},
		{"unnamed with labels", label(unnamed), 0},
		{"a sample without a name", Samples{{Name: "a"}, {}}, 0},
		{"names", names, 1},
		{"all of the names", Subset(label(names), []int{0, 1}), 1},
		{"some of the names", Subset(names, []int{1}), 2},
		{"a seed", one, 3},
		{"a seed with labels", label(one), 3},
		{"another seed", other, 4},
		{"part of a seed", Subset(one, []int{0, 1}), 5},
		{"part of a seed with labels", label(Subset(label(one), []int{0, 1})), 5},
		{"another part", Subset(one, []int{0, 2}), 6},
		{"part of another seed", Subset(other, []int{0, 1}), 7},
	} {
		got := Fingerprint(c.ds)
		_, known := likes[got]
		if !known && !slices.Contains(slices.Collect(maps.Values(likes)), c.like) {
			likes[got] = c.like
		} else if !known || likes[got] != c.like {
			t.Errorf("%s: %q, among %v", c.what, got, likes)
		}
		if both := Fingerprint(names, c.ds); (both == "") != (c.like == 0) {
			t.Errorf("%s beside others: %q", c.what, both)
		}
	}
}

// TestLabelProblems wants errors about labels to be of type Problem.
func TestLabelProblems(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		if err := WriteImage(filepath.Join(dir, "semseg", fmt.Sprint(i, ".png")), &Map{H: 1, W: 2, IDs: make([]uint8, 2)}); err != nil {
			t.Fatal(err)
		}
	}
	loose := Samples{{Name: "a"}}
	_, noFolder := Classes(loose)
	_, oneClass := CountClasses(dir, "semseg", nil)
	_, unknown := Labelled(loose, "class", []string{"cat"}).Sample(0)
	for _, c := range []struct {
		err        error
		file, want string
	}{
		{noFolder, "", "sample a is in no folder"},
		{oneClass, filepath.Join(dir, "semseg"), "1 class"},
		{unknown, "", `sample a is of class ""…cat`},
	} {
		if p := new(Problem); !errors.As(c.err, &p) || p.File != c.file || p.Remedy == "" || !testkit.Mentions(p.Message, c.want) {
			t.Errorf("error %v, want %q", c.err, c.want)
		}
	}
}

func TestExamples(t *testing.T) {
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray16(image.Rect(0, 0, 2, 2))); err != nil {
		t.Fatal(err)
	}
	file := &fstest.MapFile{Data: picture.Bytes()}
	inputs := []multimae.Input{{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1}, {Name: "far", Kind: multimae.KindImage, Channels: 1, Stride: 1}}
	for _, c := range []struct {
		what        string
		files       fstest.MapFS
		samples, by string
		err         string
	}{
		{"none", fstest.MapFS{"config.json": file}, "", "map[]", ""},
		{"two", fstest.MapFS{"examples/depth/a.png": file, "examples/depth/b.png": file, "examples/far/a.png": file, "examples/far/b.x": file,
			"examples/" + ClassesFile: &fstest.MapFile{Data: []byte(`{"semseg": ["sky", "tree"]}`)}}, "ab", "map[semseg:[sky tree]]", ""},
		{"no names", fstest.MapFS{"examples/depth/a.png": file, "examples/far/a.png": file}, "a", "map[]", ""},
		{"no partner", fstest.MapFS{"examples/depth/a.png": file}, "", "", "examples/far/a.*…0 files"},
		{"two partners", fstest.MapFS{"examples/depth/a.png": file, "examples/far/a.png": file, "examples/far/a.x": file}, "", "", "examples/far/a.*…2 files"},
		{"no picture", fstest.MapFS{"examples/depth/a.png": {}}, "", "", "examples/depth/a.png…empty file"},
		{"no modality", fstest.MapFS{"examples/other/a.png": file}, "", "", "examples/depth"},
	} {
		t.Run(c.what, func(t *testing.T) {
			ds, names, err := Examples(c.files, inputs)
			if c.err != "" {
				if err == nil || !testkit.Mentions(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			got := ""
			for i := 0; ds != nil && i < ds.Len(); i++ {
				s, err := ds.Sample(i)
				if err != nil || s.Maps["depth"] == nil || s.Maps["far"] == nil {
					t.Fatalf("sample %d: %v, %v", i, s, err)
				}
				got += s.Name
			}
			if err != nil || got != c.samples || fmt.Sprint(names) != c.by {
				t.Errorf("got samples %q and names %v, %v, want %q and %s", got, names, err, c.samples, c.by)
			}
		})
	}
}
