package data

import (
	"io/fs"
	"path/filepath"
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
			if err := w.add(name, dir, fs.ModeIrregular); err != nil {
				t.Fatal(err)
			}
			if len(w.problems) != 1 || w.problems[0].File != dir || !strings.Contains(w.problems[0].Message, "junction") || len(w.links)+len(w.others) > 0 {
				t.Errorf("problems %v, links %v, others %v", w.problems, w.links, w.others)
			}
			if err := w.add(name+"/a.png", filepath.Join(dir, "a.png"), fs.ModeIrregular); err != nil {
				t.Fatal(err)
			}
			if len(w.problems) != 1 || w.files[name+"/a"] != name+"/a.png" {
				t.Errorf("problems %v, files %v", w.problems, w.files)
			}
		})
	}
}
