package data

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestJunction wants a junction of Windows, whatever its name, to be a problem that says so, and not
// files that are missing. An irregular file is what it leads to.
func TestJunction(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"class", "class.png"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(root, name)
			if err := WriteImage(filepath.Join(dir, "a.png"), &Map{C: 1, H: 1, W: 1, Pix: []float32{0}}); err != nil {
				t.Fatal(err)
			}
			w := walker{root: root, listing: newListing(), walked: map[string]bool{}}
			add := func(name, file string) {
				t.Helper()
				info, err := os.Stat(file)
				if err := w.add(name, file, fs.ModeIrregular, target{info, err}); err != nil {
					t.Fatal(err)
				}
			}
			add(name, dir)
			if len(w.problems) != 1 || w.problems[0].File != dir || !strings.Contains(w.problems[0].Message, "junction") || len(w.links)+len(w.others) > 0 {
				t.Errorf("problems %v, links %v, others %v", w.problems, w.links, w.others)
			}
			add(name+"/a.png", filepath.Join(dir, "a.png"))
			if len(w.problems) != 1 || w.files[name+"/a"] != name+"/a.png" {
				t.Errorf("problems %v, files %v", w.problems, w.files)
			}
		})
	}
}

// TestLinkedFiles wants links, which are looked at together, to be listed in the order of names: every
// third leads to nothing, and a file lies beside each of the others.
func TestLinkedFiles(t *testing.T) {
	root := t.TempDir()
	var want []string
	for i := range 100 {
		name := filepath.Join(root, fmt.Sprintf("%02d", i))
		to := name + ".png"
		if i%3 == 0 {
			to = name + ".absent"
		} else if err := os.WriteFile(to, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, name+".jpg"); err != nil {
			t.Skip(err)
		}
		want = append(want, name+map[bool]string{true: ".jpg", false: ".png"}[i%3 == 0])
	}
	l := newListing()
	problems, err := walk(root, l)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, p.File)
	}
	if !slices.Equal(got, want) || len(l.files) != 66 || l.files["01"] != "01.jpg" {
		t.Errorf("problems with %v, want %v; files %v", got, want, l.files)
	}
}
