package data

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

// TestPhotos lists a folder: pictures by their names, and what is none.
func TestPhotos(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.png", "a/c.JPG", "a/d.jpeg", "a/d.png", ".hidden.png", "a/notes.txt", "movie.mp4", "e.gif"} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(file), 0o777)
		if err == nil {
			err = os.WriteFile(file, nil, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	names, files, problems, err := Photos(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a/c", "a/d", "b"}; !slices.Equal(names, want) {
		t.Errorf("names %v, want %v", names, want)
	}
	if want := []string{filepath.Join("a", "c.JPG"), filepath.Join("a", "d.jpeg"), "b.png"}; !slices.Equal(files, want) {
		t.Errorf("files %v, want %v", files, want)
	}
	var all strings.Builder
	for _, p := range problems {
		all.WriteString(p.Error())
	}
	for _, word := range []string{"d.png", "gif"} {
		if !strings.Contains(all.String(), word) {
			t.Errorf("problems %v do not name %s", problems, word)
		}
	}
	_, _, _, err = Photos(filepath.Join(dir, "b.png"))
	testkit.ErrorNames(t, err, "b.png")
	_, _, _, err = ReadPhoto(filepath.Join(dir, "b.png"))
	testkit.ErrorNames(t, err, "b.png")
}

// TestPhotoParts looks for the parts of a dataset that have photographs.
func TestPhotoParts(t *testing.T) {
	for folders, want := range map[string][]string{
		"rgb train/rgb":           {""},
		"train/rgb val/rgb":       {"train", "val"},
		"train/rgb Test/rgb":      {"train", "Test"},
		"train/depth valid/depth": nil,
		"val/rgb":                 {"val"},
		"val a":                   nil,
		"a b":                     nil,
	} {
		dir := t.TempDir()
		for folder := range strings.FieldsSeq(folders) {
			if err := os.MkdirAll(filepath.Join(dir, folder), 0o777); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := PhotoParts(dir); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v; want %q", folders, got, err, want)
		}
	}
}
