package data

import (
	"context"
	"errors"
	"fmt"
	"image"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomae/gomae/multimae"
)

// TestPairs has folders whose names do not pair.
func TestPairs(t *testing.T) {
	grey := pngBytes(t, image.NewGray16(image.Rect(0, 0, 4, 4)))
	many := func(n int, name func(i int) string) (list []string) {
		for i := range n {
			list = append(list, name(i))
		}
		return list
	}
	named := func(format string) []string {
		return many(30, func(i int) string { return fmt.Sprintf(format, i) })
	}
	for _, c := range []struct {
		name       string
		rgb, depth []string
		samples    int
		problems   int
		want       string // part of the first problem
	}{
		{"the same", named("a/%d"), named("a/%d"), 30, 0, ""},
		{"endings", named("a/%d_rgb"), named("a/%d_depth_zbuffer"), 0, 1, `"rgb" against "depth_zbuffer"`},
		{"an ending on one side", named("a/%d"), named("a/%d_depth"), 0, 1, `"" against "_depth"`},
		{"beginnings", named("a/rgb_%05d"), named("a/depth_%05d"), 0, 1, `"rgb" against "depth"`},
		{"letters", named("a/IMG_%d"), named("a/img_%d"), 0, 1, "case of letters"},
		{"one name in other letters", []string{"Photo"}, []string{"photo"}, 0, 1, "case of letters"},
		{"folders", named("rgb_all/%d"), named("depth_all/%d"), 0, 1, "folders"},
		{"composed and not", []string{"caf\u00e9", "b"}, []string{"cafe\u0301", "b"}, 2, 0, ""},
		{"composed folders", []string{"\u00e9/1", "b"}, []string{"e\u0301/1", "b"}, 2, 0, ""},
		{"nothing in common", []string{"a", "b"}, []string{"c", "d"}, 0, 4, "has no partner"},
		{"one is missing", named("%d"), named("%d")[1:], 29, 1, "has no partner in depth"},
		{"many are missing", named("%d"), named("%d")[:1], 1, 11, "has no partner in depth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range c.rgb {
				write(t, filepath.Join(dir, "rgb", name+".png"), grey)
			}
			for _, name := range c.depth {
				write(t, filepath.Join(dir, "depth", name+".png"), grey)
			}
			r, err := Check(context.Background(), dir, []multimae.Input{rgbIn, depthIn})
			if err != nil {
				t.Fatal(err)
			}
			if r.Samples != c.samples || len(r.Problems) != c.problems {
				t.Fatalf("%d samples, %d problems:\n%v", r.Samples, len(r.Problems), problemList(r.Problems))
			}
			if c.problems > 0 && !strings.Contains(r.Problems[0].Error(), c.want) {
				t.Errorf("%v, want %q", r.Problems[0].Error(), c.want)
			}
			if c.samples > 0 {
				ds, err := OpenFolder(dir, []multimae.Input{rgbIn, depthIn})
				if (err != nil) != (c.problems > 0) {
					t.Fatal(err)
				}
				for i := 0; err == nil && i < ds.Len(); i++ {
					mustSample(t, ds, i)
				}
			}
		})
	}
}

// TestOtherFolders looks for a folder that is meant where that of a modality is missing.
func TestOtherFolders(t *testing.T) {
	grey := pngBytes(t, image.NewGray16(image.Rect(0, 0, 4, 4)))
	for _, c := range []struct{ modality, folder string }{
		{"rgb", "images"}, {"rgb", "RGB"}, {"depth", "depth_zbuffer"}, {"semseg", "masks"}, {"semseg", "Labels"}, {"depth", ""},
	} {
		t.Run(c.modality+" "+c.folder, func(t *testing.T) {
			dir := t.TempDir()
			in := multimae.Input{Name: c.modality, Kind: multimae.KindImage, Channels: 1, Stride: 1}
			write(t, filepath.Join(dir, "other", "a.png"), grey)
			if c.folder != "" {
				write(t, filepath.Join(dir, c.folder, "a.png"), grey)
			}
			_, err := OpenFolder(dir, []multimae.Input{in})
			p := new(Problem)
			if isDir(filepath.Join(dir, c.modality)) { // letters do not matter on this system
				t.Skip("the folder is there")
			}
			if !errors.As(err, &p) || p.File != filepath.Join(dir, c.modality) {
				t.Fatalf("error %v", err)
			}
			if named := strings.Contains(p.Message, filepath.Join(dir, c.folder)) && c.folder != ""; named != (c.folder != "") || strings.Contains(p.Message, "other") {
				t.Errorf("message %q", p.Message)
			}
		})
	}
}
