package pseudolabel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/teacher"
)

// open opens a fine-tuned model as a teacher: these need nothing but Go.
func open(t *testing.T, name string) *teacher.Teacher {
	t.Helper()
	teach, err := teacher.Open([]string{filepath.Join("../../testdata/parity", name)}, teacher.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(teach.Close)
	return teach
}

func both(t *testing.T) []Modality {
	t.Helper()
	return []Modality{{"depth", open(t, "vit_dpt")}, {"semseg", open(t, "vit_segmenter")}}
}

func write(t *testing.T, file string, b []byte) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(file), 0o777)
	if err == nil {
		err = os.WriteFile(file, b, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// shot returns a photograph of w×h pixels as a file of that type.
func shot(t *testing.T, ext string, w, h int) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetNRGBA(x, y, color.NRGBA{uint8(255 * x / w), uint8(255 * y / h), uint8(40 * (x / 9 % 5)), 255})
		}
	}
	var b bytes.Buffer
	err := png.Encode(&b, img)
	if ext == ".jpg" {
		b.Reset()
		err = jpeg.Encode(&b, img, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// turned returns a JPEG file with an EXIF orientation.
func turned(t *testing.T, w, h int, orientation byte) []byte {
	t.Helper()
	b := shot(t, ".jpg", w, h)
	exif := []byte("\xff\xe1\x00\x22Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00" + string(orientation) + "\x00\x00\x00\x00\x00\x00")
	return slices.Concat(b[:2], exif, b[2:])
}

// holiday makes a folder of n good photographs, one of them turned.
func holiday(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		switch ext := []string{".jpg", ".png"}[i%2]; i {
		case 0:
			write(t, filepath.Join(dir, "day 1", "turned.jpg"), turned(t, 60, 40, 6))
		default:
			write(t, filepath.Join(dir, fmt.Sprintf("day %d", 1+i%3), fmt.Sprintf("%d%s", i, ext)), shot(t, ext, 50+i, 40))
		}
	}
	return dir
}

// files returns the content of every file below a folder; of a link what it leads to.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(rel)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func mustRun(t *testing.T, o Options) Report {
	t.Helper()
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var inputs = []multimae.Input{
	{Name: "rgb", Kind: multimae.KindImage, Channels: 3, Stride: 1},
	{Name: "depth", Kind: multimae.KindImage, Channels: 1, Stride: 1},
	{Name: "semseg", Kind: multimae.KindClasses, NumClasses: 7, Stride: 4, ClassEmbDim: 8},
}

// TestRun labels a folder and reads the dataset: sizes, values, and what the lines of depth say.
func TestRun(t *testing.T) {
	in, out := holiday(t, 5), filepath.Join(t.TempDir(), "a", "set")
	mods := both(t)
	if r := mustRun(t, Options{Data: in, Out: out, Modalities: mods}); r.Photos != 5 || r.Made != 5 || r.Before+r.Skipped != 0 {
		t.Errorf("%+v", r)
	}
	ds, err := data.OpenFolder(out, inputs)
	if err != nil {
		t.Fatal(err)
	}
	if ds.Len() != 5 {
		t.Errorf("%d samples", ds.Len())
	}
	depths := map[string]Depth{}
	b, err := os.ReadFile(filepath.Join(out, "depth.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var d Depth
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatal(err)
		}
		depths[d.Name] = d
	}
	for i := range ds.Len() {
		s, err := ds.Sample(i)
		if err != nil {
			t.Fatal(err)
		}
		if s.Name == "day 1/turned" && (s.Maps["depth"].W != 40 || s.Maps["depth"].H != 60) {
			t.Errorf("a turned photograph has depth of %d×%d", s.Maps["depth"].W, s.Maps["depth"].H)
		}
		d, ok := depths[s.Name]
		if !ok || d.Kind != teacher.KindDepth {
			t.Fatalf("%s: no line of depth: %+v", s.Name, d)
		}
		rgb := s.Maps["rgb"]
		job, err := mods[0].Teacher.Prepare(rgb)
		if err == nil {
			err = job.Run(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
		want, err := job.Map(rgb.W, rgb.H)
		if err != nil {
			t.Fatal(err)
		}
		lo, hi := float32(2), float32(-1)
		for k, v := range s.Maps["depth"].Pix {
			lo, hi = min(lo, v), max(hi, v)
			if got := d.Offset + d.Scale*float64(v)*65536; math.Abs(got-float64(want.Pix[k])) > 0.51*d.Scale {
				t.Fatalf("%s: pixel %d is %v, want %v; a step is %v", s.Name, k, got, want.Pix[k], d.Scale)
			}
		}
		if lo*65536 != nearest || hi*65536 != farthest {
			t.Errorf("%s: values from %v to %v", s.Name, lo*65536, hi*65536)
		}
	}
	classes, err := os.ReadFile(filepath.Join(out, data.ClassesFile))
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(classes)), ""), `{"semseg":["0","1","2","3","4","5","6"]}`) {
		t.Errorf("%s: %s, %v", data.ClassesFile, classes, err)
	}

	// Again: nothing changes. Where something is missing or empty, only that is made.
	before := files(t, out)
	if r := mustRun(t, Options{Data: in, Out: out, Modalities: mods}); r.Before != 5 || r.Made != 0 {
		t.Errorf("again: %+v", r)
	}
	lost := filepath.Join(out, "semseg", "day 2", "1.png")
	if err := os.Truncate(lost, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(out, "rgb", "day 1", "turned.jpg")); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(out, "semseg", "day 2", ".1.png.tmp-x7")
	write(t, left, []byte("half a file"))
	if r := mustRun(t, Options{Data: in, Out: out, Modalities: mods}); r.Before != 3 || r.Made != 2 {
		t.Errorf("after a loss: %+v", r)
	}
	if after := files(t, out); !maps.Equal(before, after) {
		t.Errorf("other files after the second run: %v, before %v", slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
	}
}

// TestInPlace labels the parts of a dataset, whose own class maps stay as they are.
func TestInPlace(t *testing.T) {
	dir := t.TempDir()
	for _, part := range []string{"train", "val"} {
		write(t, filepath.Join(dir, part, "rgb", "x", "1.png"), shot(t, ".png", 48, 40))
		write(t, filepath.Join(dir, part, "semseg", "x", "1.png"), shot(t, ".png", 48, 40))
	}
	before := files(t, dir)
	mods := both(t)
	if _, err := Run(context.Background(), Options{Data: dir, Modalities: mods}); err == nil {
		t.Error("the labels of others are overwritten")
	} else {
		testkit.ErrorNames(t, err, filepath.Join(dir, "train", "semseg"))
	}
	if after := files(t, dir); !maps.Equal(before, after) {
		t.Error("a refused run has written")
	}
	mods[1].Name = "pseudo"
	if r := mustRun(t, Options{Data: dir, Modalities: mods}); r.Made != 2 {
		t.Errorf("%+v", r)
	}
	after := files(t, dir)
	for _, name := range []string{"train/depth/x/1.png", "val/pseudo/x/1.png", "train/depth.jsonl", data.ClassesFile, RecordFile} {
		if after[name] == "" {
			t.Errorf("no %s", name)
		}
	}
	for name, content := range before {
		if after[name] != content {
			t.Errorf("%s has changed", name)
		}
	}
}

// TestShards divides a folder: each photograph is in one part, and the parts make what a whole does.
func TestShards(t *testing.T) {
	in := holiday(t, 9)
	mods := []Modality{{"semseg", open(t, "vit_segmenter")}}
	whole, parted := t.TempDir(), t.TempDir()
	mustRun(t, Options{Data: in, Out: whole, Modalities: mods, Workers: 1})
	total := 0
	for i := range 3 {
		r := mustRun(t, Options{Data: in, Out: parted, Modalities: mods, Shard: i, Shards: 3, Workers: 3})
		if r.Made != r.Photos || r.Photos == 9 {
			t.Errorf("part %d: %+v", i, r)
		}
		total += r.Made
	}
	if total != 9 || !maps.Equal(files(t, whole), files(t, parted)) {
		t.Errorf("%d photographs in the parts, or other files", total)
	}
}

// TestSkipped lists what cannot be labelled and goes on.
func TestSkipped(t *testing.T) {
	in, out := holiday(t, 2), t.TempDir()
	good := shot(t, ".jpg", 40, 40)
	write(t, filepath.Join(in, "cut.jpg"), good[:len(good)/2])
	write(t, filepath.Join(in, "empty.png"), nil)
	write(t, filepath.Join(in, "text.jpg"), []byte("a letter"))
	write(t, filepath.Join(in, "other.webp"), []byte("RIFF"))
	write(t, filepath.Join(in, "long.png"), shot(t, ".png", 30000, 2))
	var said []string
	r, err := Run(context.Background(), Options{
		Data: in, Out: out, Modalities: both(t),
		Skipped: func(err error) { said = append(said, err.Error()) },
	})
	if err != nil || r.Made != 2 || r.Skipped != 5 || len(said) != 5 {
		t.Errorf("%+v, %v, %q", r, err, said)
	}
	for _, name := range []string{"cut.jpg", "empty.png", "text.jpg", "other.webp", "long.png"} {
		if !strings.Contains(strings.Join(said, "\n"), name) {
			t.Errorf("%s is not named", name)
		}
	}
	if ds, err := data.OpenFolder(out, inputs); err != nil || ds.Len() != 2 {
		t.Errorf("the dataset: %v", err)
	}
}

// TestFreed wants no photograph to hold anything after a run, whether it was labelled or skipped.
func TestFreed(t *testing.T) {
	in := holiday(t, 2)
	write(t, filepath.Join(in, "long.png"), shot(t, ".png", 30000, 2))
	r := &run{o: Options{Data: in, Out: t.TempDir(), Modalities: both(t), Size: 20}, inRow: map[string]int{}}
	defer r.release()
	err := r.prepare(context.Background())
	if err == nil {
		err = r.label(context.Background())
	}
	if err != nil || r.report.Made != 2 || r.report.Skipped != 1 {
		t.Fatalf("%+v, %v", r.report, err)
	}
	for _, p := range r.todo {
		if p.jobs != nil || p.shrunk != nil {
			t.Errorf("%s holds %d jobs and the photograph %v", p.file, len(p.jobs), p.shrunk != nil)
		}
	}
}

// TestCase labels photographs whose names differ only in case: all of them, or the first where the disk
// would give them the same maps, whatever the shards.
func TestCase(t *testing.T) {
	in := t.TempDir()
	for i, name := range []string{"day/IMG_1.jpg", "day/img_1.png", "day/img_2.png", "other/img_1.png"} {
		write(t, filepath.Join(in, filepath.FromSlash(name)), shot(t, filepath.Ext(name), 40+i, 40))
	}
	defer func(f func(string) bool) { ignoresCase = f }(ignoresCase)
	for _, c := range []struct {
		ignores bool
		shards  int
	}{{false, 1}, {true, 1}, {true, 3}} {
		ignoresCase = func(string) bool { return c.ignores }
		var made int
		var said []string
		out := t.TempDir()
		for shard := range c.shards {
			r := mustRun(t, Options{
				Data: in, Out: out, Modalities: []Modality{{"semseg", open(t, "vit_segmenter")}}, Shard: shard, Shards: c.shards,
				Skipped: func(err error) { said = append(said, err.Error()) },
			})
			made += r.Made
			if r.Photos != r.Made || r.Skipped != r.Unfit {
				t.Errorf("%+v: %+v", c, r)
			}
		}
		want := 4
		if c.ignores {
			want = 3
			if len(said) != 1 || !strings.Contains(said[0], "img_1.png") || !strings.Contains(said[0], "IMG_1.jpg") {
				t.Errorf("%+v: said %q", c, said)
			}
		}
		if made != want {
			t.Errorf("%+v: labelled %d, want %d", c, made, want)
		}
	}
}

// TestCopy copies photographs on demand and where there are no links; otherwise they are links.
func TestCopy(t *testing.T) {
	in := holiday(t, 1)
	links := os.Symlink(in, filepath.Join(t.TempDir(), "link")) == nil
	for _, c := range []struct{ demanded, refused, copied bool }{{false, false, !links}, {true, false, true}, {false, true, true}} {
		if c.refused {
			symlink = func(string, string) error { return errors.ErrUnsupported }
		}
		out := t.TempDir()
		mustRun(t, Options{Data: in, Out: out, Modalities: []Modality{{"semseg", open(t, "vit_segmenter")}}, Copy: c.demanded})
		symlink = os.Symlink
		file := filepath.Join(out, "rgb", "day 1", "turned.jpg")
		info, err := os.Lstat(file)
		if err != nil {
			t.Fatal(err)
		}
		if c.copied != info.Mode().IsRegular() {
			t.Errorf("%+v: %v", c, info.Mode())
		}
		want, err := os.ReadFile(filepath.Join(in, "day 1", "turned.jpg"))
		if got, err2 := os.ReadFile(file); err != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Errorf("%+v: the photograph differs, %v", c, errors.Join(err, err2))
		}
	}

	// Photographs that were linked to and have moved. Null is how some programs write nothing.
	out, moved := t.TempDir(), filepath.Join(t.TempDir(), "moved")
	o := Options{Data: in, Out: out, Modalities: []Modality{{"semseg", open(t, "vit_segmenter")}}}
	write(t, filepath.Join(out, data.ClassesFile), []byte("null"))
	mustRun(t, o)
	if err := os.Rename(in, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(in, "day 1"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(out, "semseg", "day 1", "turned.png")); err != nil {
		t.Fatal(err)
	}
	o.Data, o.Copy = moved, true
	mustRun(t, o)
	if info, err := os.Lstat(filepath.Join(out, "rgb", "day 1", "turned.jpg")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if list := files(t, in); len(list) > 0 {
		t.Errorf("%d files where the photographs were", len(list))
	}
}

// TestSize wants shrunk photographs with maps of their size, and nothing to do in a second run.
func TestSize(t *testing.T) {
	in, out := holiday(t, 1), t.TempDir()
	o := Options{Data: in, Out: out, Modalities: []Modality{{"semseg", open(t, "vit_segmenter")}}, Size: 20}
	mustRun(t, o)
	full, w, h, err := data.ReadPhoto(filepath.Join(in, "day 1", "turned.jpg"))
	if err != nil || min(w, h) <= 20 {
		t.Fatalf("a photograph of %d×%d, %v", w, h, err)
	}
	want := fmt.Sprintf("%.0f×%.0f", math.Round(20*float64(full.W)/float64(min(w, h))), math.Round(20*float64(full.H)/float64(min(w, h))))
	for _, modality := range []string{"rgb", "semseg"} {
		_, w, h, err := data.ReadPhoto(filepath.Join(out, modality, "day 1", "turned.png"))
		if got := fmt.Sprintf("%d×%d", w, h); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", modality, got, err, want)
		}
	}
	if r := mustRun(t, o); r.Made != 0 {
		t.Errorf("the second run made %d", r.Made)
	}
	for _, modality := range []string{"semseg", "other"} {
		o.Size, o.Modalities[0].Name = 0, modality
		if _, err := Run(context.Background(), o); err == nil || !testkit.Mentions(err.Error(), "semseg…size 20, now it is 0…another folder") {
			t.Errorf("another size for %s: %v", modality, err)
		}
	}
	for i, data := range []string{out, filepath.Join(out, "rgb")} { // where the photographs stay what they are
		o.Data, o.Modalities[0].Name = data, fmt.Sprint("own", i)
		mustRun(t, o)
	}
	o.Data, o.Size, o.Modalities[0].Name = in, 20, "semseg" // goes on as before
	mustRun(t, o)
	o.Size, o.Out = 0, t.TempDir()
	mustRun(t, o)
	o.Size, o.Modalities[0].Name = 20, "other"
	if _, err := Run(context.Background(), o); err == nil || !testkit.Mentions(err.Error(), "semseg…size 0, now it is 20") {
		t.Errorf("shrunk after whole: %v", err)
	}
}

// TestBusy starts a run while another one writes to the folder. Only another shard may do that.
func TestBusy(t *testing.T) {
	if slices.Contains([]string{"js", "wasip1", "plan9"}, runtime.GOOS) {
		t.Skip("no locks on " + runtime.GOOS)
	}
	in, mods := holiday(t, 9), both(t)
	for name, c := range map[string]struct {
		first, second Options
		busy          bool
	}{
		"whole":         {Options{}, Options{}, true},
		"one shard":     {Options{Shard: 1, Shards: 2}, Options{Shard: 1, Shards: 2}, true},
		"another shard": {Options{Shard: 1, Shards: 2}, Options{Shards: 2}, false},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			for i, o := range []*Options{&c.first, &c.second} {
				o.Data, o.Out, o.Modalities = in, out, mods[i:i+1]
			}
			var once sync.Once
			c.first.Progress = func(Report) {
				once.Do(func() {
					_, err := Run(context.Background(), c.second)
					if c.busy {
						testkit.ErrorNames(t, err, out, "another process", "again")
					} else if err != nil {
						t.Error(err)
					}
				})
			}
			mustRun(t, c.first)
			mustRun(t, c.second)
			all := files(t, out)
			if s := all[RecordFile]; !strings.Contains(s, `"depth"`) || !strings.Contains(s, `"semseg"`) {
				t.Errorf("%s: %s", RecordFile, s)
			}
			for name := range all {
				if strings.HasSuffix(name, ".lock") {
					t.Errorf("%s is left", name)
				}
			}
		})
	}
}

// TestAnotherPhotograph refuses photographs whose names others have in the dataset, before any map is
// written, and goes on with the same ones.
func TestAnotherPhotograph(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	write(t, filepath.Join(first, "1.png"), shot(t, ".png", 60, 40))
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 60, 40))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(second, "1.png"), file.Bytes())
	mods := both(t)
	for name, o := range map[string]Options{"links": {}, "copies": {Copy: true}, "shrunk": {Size: 30}, "not shrunk": {Size: 90}} {
		t.Run(name, func(t *testing.T) {
			o.Data, o.Out, o.Modalities = first, t.TempDir(), mods[:1]
			mustRun(t, o)
			before := files(t, o.Out)
			o.Data = second
			for _, o.Modalities = range [][]Modality{mods[:1], mods} { // complete, but of another; and not
				_, err := Run(context.Background(), o)
				testkit.ErrorNames(t, err, filepath.Join(o.Out, "rgb", "1.png"), filepath.Join(second, "1.png"))
			}
			for name := range files(t, o.Out) {
				if before[name] == "" && strings.HasSuffix(name, ".png") {
					t.Errorf("%s was written", name)
				}
			}
			o.Data, o.Modalities = first, mods
			if r := mustRun(t, o); r.Made != 1 {
				t.Errorf("%+v", r)
			}
			if r := mustRun(t, o); r.Before != 1 {
				t.Errorf("again: %+v", r)
			}
		})
	}
	t.Run("copies after links", func(t *testing.T) {
		o := Options{Data: first, Out: t.TempDir(), Modalities: mods[:1], Copy: true}
		mustRun(t, o)
		o.Copy, o.Modalities = false, mods
		mustRun(t, o)
		o.Data = filepath.Join(o.Out, "rgb") // where the photographs are placed
		if r := mustRun(t, o); r.Before != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// TestLeft wants files that cannot be photographs to count for nothing in what is left to do.
func TestLeft(t *testing.T) {
	in := holiday(t, 2)
	for _, name := range []string{"a.heic", "b.gif", "c.avif"} {
		write(t, filepath.Join(in, name), shot(t, ".png", 9, 9))
	}
	write(t, filepath.Join(in, "text.jpg"), []byte("a letter"))
	var reports []Report
	r := mustRun(t, Options{Data: in, Out: t.TempDir(), Modalities: both(t), Workers: 1, Progress: func(r Report) { reports = append(reports, r) }})
	if r.Done() != r.Photos || r.Left() != 0 || r.Skipped != r.Unfit+1 || r.Unfit != 3 {
		t.Errorf("%+v", r)
	}
	for i, r := range reports {
		if want := time.Duration(float64(r.Elapsed) / float64(i+1) * float64(len(reports)-i-1)); r.Left() != want {
			t.Errorf("%v left after %d of %d in %v", r.Left(), i+1, len(reports), r.Elapsed)
		}
	}
}

// TestErrors judges what is refused before anything is written.
func TestErrors(t *testing.T) {
	in := holiday(t, 1)
	mods := []Modality{{"semseg", open(t, "vit_segmenter")}}
	made, plain := t.TempDir(), t.TempDir()
	write(t, filepath.Join(plain, "rgb", "1.png"), shot(t, ".png", 48, 40))
	if r := mustRun(t, Options{Data: in, Out: made, Modalities: mods, Workers: 64}); r.Workers != r.Photos {
		t.Errorf("%d workers for %d photographs", r.Workers, r.Photos)
	}
	file := filepath.Join(in, "day 1", "turned.jpg")
	for name, c := range map[string]struct {
		o    Options
		want []string
	}{
		"missing":          {Options{Data: filepath.Join(in, "absent"), Out: "x"}, []string{"absent"}},
		"a file":           {Options{Data: file, Out: "x"}, []string{"turned.jpg"}},
		"no photographs":   {Options{Data: t.TempDir(), Out: "x"}, []string{"no photographs"}},
		"no out":           {Options{Data: in}, []string{in}},
		"out inside":       {Options{Data: in, Out: filepath.Join(in, "set")}, []string{"set"}},
		"out is in":        {Options{Data: in, Out: in}, []string{in}},
		"size where it is": {Options{Data: filepath.Join(plain, "rgb"), Out: plain, Size: 9}, []string{filepath.Join(plain, "rgb"), "another folder"}},
		"size in place":    {Options{Data: made, Size: 9}, []string{made, "another folder"}},
		"no modality":      {Options{Data: in, Out: "x", Modalities: []Modality{}}, []string{"modality"}},
		"rgb":              {Options{Data: in, Out: "x", Modalities: []Modality{{"rgb", mods[0].Teacher}}}, []string{"rgb"}},
		"RGB":              {Options{Data: in, Out: "x", Modalities: []Modality{{"RGB", mods[0].Teacher}}}, []string{"RGB"}},
		"path":             {Options{Data: in, Out: "x", Modalities: []Modality{{"../x", mods[0].Teacher}}}, []string{"../x"}},
		"twice":            {Options{Data: in, Out: "x", Modalities: append(mods, mods...)}, []string{"semseg", "twice"}},
		"twice but case":   {Options{Data: in, Out: "x", Modalities: append(mods, Modality{"SemSeg", mods[0].Teacher})}, []string{"SemSeg", "twice"}},
		"no teacher":       {Options{Data: in, Out: "x", Modalities: []Modality{{"semseg", nil}}}, []string{"semseg", "teacher.Open"}},
		"no network":       {Options{Data: in, Out: "x", Modalities: []Modality{{"semseg", new(teacher.Teacher)}}}, []string{"semseg", "teacher.Open"}},
		"shard":            {Options{Data: in, Out: "x", Shard: 2, Shards: 2}, []string{"shard 2 of 2"}},
		"another teacher":  {Options{Data: in, Out: made, Modalities: []Modality{{"semseg", open(t, "vit_convnext")}}}, []string{"semseg", "vit_convnext", "vit_segmenter"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.o.Modalities == nil {
				c.o.Modalities = mods
			}
			if c.o.Out == "x" {
				c.o.Out = filepath.Join(t.TempDir(), "x")
			}
			before := files(t, in)
			_, err := Run(context.Background(), c.o)
			testkit.ErrorNames(t, err, c.want...)
			if _, err := os.Stat(filepath.Join(c.o.Out)); !strings.HasPrefix(name, "size where") && name != "another teacher" && name != "out is in" && name != "no out" && !errors.Is(err, fs.ErrNotExist) {
				t.Error("a folder was written")
			}
			if !maps.Equal(before, files(t, in)) {
				t.Error("the photographs have changed")
			}
		})
	}
}

// TestOtherName gives folders by other names than those of the photographs, as a system that ignores
// the case of letters does.
func TestOtherName(t *testing.T) {
	photos := t.TempDir()
	other := filepath.Join(t.TempDir(), "other")
	if err := os.Symlink(photos, other); err != nil {
		t.Skip(err)
	}
	for _, to := range []string{other, filepath.Join(other, "set"), filepath.Join(other, "set", "train")} {
		if err := apart(photos, to, []string{""}, false); err == nil {
			t.Errorf("%s is taken for outside of %s", to, photos)
		}
	}
	if err := apart(photos, other+"2", []string{""}, false); err != nil {
		t.Error(err)
	}
	if !regular.Same(photos, other) || regular.Same(photos, filepath.Dir(other)) || regular.Same(photos, filepath.Join(photos, "absent")) {
		t.Error("folders are compared by their names")
	}
}

// TestSameNetwork goes on with a network that is described in other words, and not with one that is fed
// otherwise.
func TestSameNetwork(t *testing.T) {
	in, out := holiday(t, 1), t.TempDir()
	for _, c := range []struct{ description, want string }{
		{`{"about": "a", "output": {"kind": "depth"}}`, ""},
		{`{"about": "b", "untested": true, "output": {"kind": "depth"}}`, ""},
		{`{"input": {"size": [64, 64]}, "output": {"kind": "depth"}}`, "input"},
		{`{"output": {"kind": "metres"}}`, "metres"},
	} {
		file := filepath.Join(t.TempDir(), "d.json")
		write(t, file, []byte(c.description))
		teach, err := teacher.Open([]string{"../../testdata/parity/vit_dpt@" + file}, teacher.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer teach.Close()
		_, err = Run(context.Background(), Options{Data: in, Out: out, Modalities: []Modality{{"depth", teach}}})
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", c.description, err)
		} else if c.want != "" {
			testkit.ErrorNames(t, err, c.want)
		}
	}
}

// TestRenamedNetwork goes on with a network whose folder has another name.
func TestRenamedNetwork(t *testing.T) {
	in, out, name := holiday(t, 1), t.TempDir(), filepath.Join(t.TempDir(), "renamed")
	if err := os.CopyFS(name, os.DirFS("../../testdata/parity/vit_dpt")); err != nil {
		t.Fatal(err)
	}
	teach, err := teacher.Open([]string{name}, teacher.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer teach.Close()
	mustRun(t, Options{Data: in, Out: out, Modalities: both(t)[:1]})
	if r := mustRun(t, Options{Data: in, Out: out, Modalities: []Modality{{"depth", teach}}}); r.Before != 1 {
		t.Errorf("%+v", r)
	}
}

// TestUnwritable ends a run at a file that cannot be written, and leaves none that is not complete.
func TestUnwritable(t *testing.T) {
	in, out := holiday(t, 3), t.TempDir()
	mods := []Modality{{"semseg", open(t, "vit_segmenter")}}
	write(t, filepath.Join(out, RecordFile), nil)
	_, err := Run(context.Background(), Options{Data: in, Out: out, Modalities: mods})
	testkit.ErrorNames(t, err, RecordFile)
	if err := os.Remove(filepath.Join(out, RecordFile)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(out, "rgb"), []byte("no folder"))
	r, err := Run(context.Background(), Options{Data: in, Out: out, Modalities: mods})
	if testkit.ErrorNames(t, err, "rgb"); r.Made != 0 {
		t.Errorf("%+v", r)
	}
	for name := range files(t, out) {
		if strings.Contains(name, ".tmp-") {
			t.Errorf("%s is left", name)
		}
	}
}

// TestInterrupted ends a run from outside: what was begun is complete, and the next run goes on.
func TestInterrupted(t *testing.T) {
	in, out := holiday(t, 8), t.TempDir()
	mods := both(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := Run(ctx, Options{Data: in, Out: out, Modalities: mods, Workers: 1, Progress: func(r Report) {
		if r.Made == 2 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || r.Made < 2 || r.Made == 8 {
		t.Errorf("%+v, %v", r, err)
	}
	ds, err := data.OpenFolder(out, inputs)
	if err != nil || ds.Len() != r.Made {
		t.Errorf("the dataset: %v", err)
	}
	if again := mustRun(t, Options{Data: in, Out: out, Modalities: mods}); again.Before != r.Made || again.Made != 8-r.Made {
		t.Errorf("again: %+v after %+v", again, r)
	}
	out = filepath.Join(t.TempDir(), "new") // ctx has ended before what is to be done is known
	if r, err := Run(ctx, Options{Data: in, Out: out, Modalities: mods}); !errors.Is(err, context.Canceled) || r.Elapsed != 0 || isThere(out) {
		t.Errorf("%+v, %v, or a folder", r, err)
	}
}

// TestFailures ends a run whose network fails again and again, and not one that fails now and then.
func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		reset int // after how many failures there is a success
		want  bool
	}{"always": {1000, true}, "often": {failuresInARow - 1, false}} {
		t.Run(name, func(t *testing.T) {
			_, stop := context.WithCancel(context.Background())
			r := &run{o: Options{Modalities: []Modality{{"depth", nil}}}, inRow: map[string]int{}, stop: stop, inPlace: true}
			for i := range 3 * failuresInARow {
				if i%c.reset == c.reset-1 {
					r.write(&photo{lacks: []int{0}}) // a success with nothing to write
				}
				r.failed(&photo{file: "a.jpg"}, 0, teacher.ErrNotFinite)
			}
			if (r.failure != nil) != c.want || r.report.Skipped != 3*failuresInARow {
				t.Errorf("%v, %+v", r.failure, r.report)
			}
			if c.want && !errors.Is(r.failure, teacher.ErrNotFinite) {
				t.Error(r.failure)
			}
		})
	}
}

// TestLines appends to a file whose last line was cut off.
func TestLines(t *testing.T) {
	for content, want := range map[string]string{
		"":                                     "",
		"{\"name\":\"a\"}\n":                   "{\"name\":\"a\"}\n",
		"{\"name\":\"a\"}\n{\"nam":             "{\"name\":\"a\"}\n",
		"{\"nam":                               "",
		strings.Repeat("x", 9000):              "",
		"a\n" + strings.Repeat("x", 9000):      "a\n",
		strings.Repeat("x\n", 4000) + "broken": strings.Repeat("x\n", 4000),
	} {
		file := filepath.Join(t.TempDir(), "depth.jsonl")
		write(t, file, []byte(content))
		l, err := openLines(file)
		if err == nil {
			err = l.add(1)
		}
		if err == nil {
			err = l.close()
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want+"1\n" {
			t.Errorf("%.20q: got %d bytes, %v", content, len(got), err)
		}
	}
}

// TestStandardise stretches inverse depth the other way round, and leaves a flat map flat.
func TestStandardise(t *testing.T) {
	pix := []float32{0.5, 2, 1}
	scale, offset := standardise(pix, true)
	for i, want := range []float64{0.5, 2, 1} {
		if got := offset + scale*float64(pix[i])*65536; math.Abs(got-want) > math.Abs(scale) {
			t.Errorf("value %d: %v, want %v", i, got, want)
		}
	}
	if !(pix[0] > pix[2] && pix[2] > pix[1]) {
		t.Errorf("nearer is not smaller: %v", pix)
	}
	flat := []float32{3, 3}
	if scale, offset := standardise(flat, false); scale != 0 || offset != 3 || flat[0] != flat[1] {
		t.Errorf("flat: %v + %v k, %v", offset, scale, flat)
	}
}
