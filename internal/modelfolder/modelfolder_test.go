package modelfolder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn/weights"
)

type config struct {
	Model string `json:"model"`
	Width int    `json:"width"`
}

func (c *config) Check() error {
	if c.Width < 1 {
		return errors.New("width: got too little")
	}
	return nil
}

// TestSave writes a folder over an earlier one and reads both files.
func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	c := &config{"m", 3}
	tensors := []weights.Tensor{{Name: "x", Shape: []int{2}, Data: []float32{1, 2}}}
	for range 2 {
		if err := Save(dir, FormatConfig(c), tensors); err != nil {
			t.Fatal(err)
		}
	}
	got, err := LoadConfig[config](os.DirFS(dir), ConfigFile, "m")
	if err != nil || *got != *c {
		t.Errorf("read %+v, %v, want %+v", got, err, c)
	}
	if err := SaveWeights(dir, tensors, map[string]string{"step": "7"}); err != nil {
		t.Fatal(err)
	}
	f, err := OpenWeights(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x := make([]float32, 2)
	if err := f.ReadFloat32("x", x); err != nil || !slices.Equal(x, []float32{1, 2}) {
		t.Errorf("read %v, %v", x, err)
	}
	if m := f.Metadata(); m["format"] != "pt" || m["step"] != "7" {
		t.Errorf("metadata %v", m)
	}
	if err := CheckTensors(f, 1); err != nil {
		t.Error(err)
	}
	testkit.ErrorNames(t, CheckTensors(f, 2), ConfigFile, WeightsFile)
}

func TestConfigErrors(t *testing.T) {
	_, err := LoadConfig[config](fstest.MapFS{}, "a/config.json", "m")
	if testkit.ErrorNames(t, err, "a/config.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for content, want := range map[string]string{
		`{"model": "m", "width": 0}`: "c.json: width: ",
		`{"model": "m", "widht": 3}`: `"width"`,
		`{"model": "n", "width": 3}`: "c.json: model: ",
		``:                           "c.json",
	} {
		t.Run(content, func(t *testing.T) {
			_, err := LoadConfig[config](fstest.MapFS{"c.json": {Data: []byte(content)}}, "c.json", "m")
			testkit.ErrorNames(t, err, want)
		})
	}
	_, err = OpenWeights(fstest.MapFS{})
	if testkit.ErrorNames(t, err, WeightsFile, "pytorch_model.bin", "model.pth"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no weights: %v", err)
	}
}

func TestCheckNames(t *testing.T) {
	many := make([]string, MaxNames)
	for i := range many {
		many[i] = string(rune('a'+i%26)) + string(rune('a'+i/26))
	}
	if err := CheckNames("inputs", many); err != nil {
		t.Error(err)
	}
	for _, names := range [][]string{nil, append(many, "more"), {"a", "b", "a"}, {""}, {"a.b"}, {"a/b"}, {`a\b`}, {"a b"}} {
		testkit.ErrorNames(t, CheckNames("inputs", names), "inputs")
	}
}
