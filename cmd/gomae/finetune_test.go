package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/multimae/heads"
)

// TestFinetune goes from a pre-trained model to one that is evaluated, and takes up a run again.
func TestFinetune(t *testing.T) {
	model := trained(t)
	dir := filepath.Join(t.TempDir(), "fine")
	args := []string{"finetune", "-task", "semseg", "-from", model, "-inputs", "rgb,depth", "-out", dir, "-steps", "2", "-batch", "2", "-samples", "4", "-json"}
	code, stdout, stderr := gomae(args...)
	if code != 0 || !strings.Contains(stderr, "taken from a MultiMAE: ") {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	var r struct {
		Metrics []struct {
			Output, Name string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || len(r.Metrics) == 0 || r.Metrics[0].Name != "miou" {
		t.Errorf("%v: %s", err, stdout)
	}
	m, err := heads.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c := m.Config; strings.Join(c.Inputs.Names(), ",") != "rgb,depth" || c.Train.Samples != 4 || c.Outputs[0].NumClasses != 16 || c.Train.From == "" {
		t.Errorf("configuration %s", c.JSON())
	}
	if code, _, stderr := gomae(append(args, "-resume")...); code != 0 || !strings.Contains(stderr, "all 2 steps had been done") {
		t.Errorf("-resume: exit %d, %s", code, stderr)
	}
	for _, c := range []struct {
		name, flag, value, want string
	}{
		{"steps", "-steps", "3", "-steps 3…2"}, {"task", "-task", "depth", "-task depth…semseg"}, {"head", "-head", "segmenter", "-head segmenter…convnext"},
		{"inputs", "-inputs", "rgb", "-inputs rgb…rgb,depth"}, {"samples", "-samples", "5", "-samples 5…4"}, {"from", "-from", dir, "-from"},
	} {
		t.Run("contradiction of "+c.name, func(t *testing.T) {
			code, _, stderr := gomae("finetune", "-out", dir, "-resume", c.flag, c.value)
			if code != 2 || !testkit.Mentions(stderr, c.want) {
				t.Errorf("exit %d, %s", code, stderr)
			}
		})
	}
}

// TestFinetuneWrong wants a sentence with the remedy, and nothing written.
func TestFinetuneWrong(t *testing.T) {
	labels := t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.MkdirAll(filepath.Join(labels, "rgb", name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, args string
		code       int
		want       string
	}{
		{"no task", "", 2, "-task"},
		{"unknown task", "-task sing", 2, "-task sing…semseg"},
		{"unknown head", "-task semseg -head ear", 2, "-head ear…convnext"},
		{"head of another task", "-task semseg -head linear", 1, "head…linear…semseg"},
		{"classes of scenes", "-task classify", 1, "scenes…CLASS"},
		{"unknown input", "-task semseg -inputs rgb,thermal", 2, "-inputs…thermal"},
		{"target is an input", "-task depth -inputs depth", 1, "target…depth…input"},
		{"patches that dpt cannot use", "-task depth -head dpt", 1, "dpt…patch_size"},
		{"no such folder", "-task semseg -data absent", 1, "absent…-data"},
		{"no such model", "-task semseg -from absent", 1, "absent"},
		{"unit of classes", "-task semseg -unit 2", 2, "-unit 2…depth"},
		{"negative size", "-task semseg -size -1", 2, "-size -1"},
		{"size", "-task semseg -size 63", 1, "image_size"},
		{"no pictures", "-task classify -data " + labels, 1, "rgb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			code, _, stderr := gomae(append([]string{"finetune"}, strings.Fields(c.args)...)...)
			if code != c.code || !testkit.Mentions(stderr, c.want) {
				t.Errorf("exit %d, %s; want %d and a message that mentions %s", code, stderr, c.code, c.want)
			}
			if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
				t.Errorf("left %v, %v", entries, err)
			}
		})
	}
}
