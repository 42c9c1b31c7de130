package data

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

func TestClassNames(t *testing.T) {
	for _, c := range []struct{ what, text, want, err string }{
		{"two modalities", `{"semseg": ["sky", "tree"], "parts": ["arm"]}`, "map[parts:[arm] semseg:[sky tree]]", ""},
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
				if err == nil || !testkit.Mentions(err.Error(), c.err) {
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
