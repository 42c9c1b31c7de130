package modelfolder

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// TestOpen opens what a path means.
func TestOpen(t *testing.T) {
	config := []byte(`{"model": "multimae", "encoder": {"dim": 2, "depth": 1}}`)
	file := func(metadata map[string]string, names ...string) []byte {
		var list []weights.Tensor
		for _, name := range names {
			list = append(list, weights.Tensor{Name: name, Shape: []int{2}, Data: []float32{1, 2}})
		}
		var b bytes.Buffer
		if err := weights.WriteSafetensors(&b, list, metadata); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	const norm, norm2 = "encoder.0.norm1.weight", "encoder.1.norm1.weight"
	plain := file(nil, norm)
	trained := map[string]string{MetaConfig: "{}", "gomae_optimizer_steps": "3"}
	for _, c := range []struct {
		name, path, key string
		files           fstest.MapFS
		names           string
		config          string
		notes           int
		err             string
	}{
		{"a file", "x.st", "", fstest.MapFS{"x.st": {Data: plain}}, norm, "", 0, ""},
		{"a configuration beside it", "x.st", "", fstest.MapFS{"x.st": {Data: plain}, ConfigFile: {Data: config}}, norm, string(config), 1, ""},
		{"another configuration beside it", "x.st", "", fstest.MapFS{"x.st": {Data: file(nil, norm, norm2)}, ConfigFile: {Data: config}}, norm + " " + norm2, "", 0, ""},
		{"its own configuration", "x.st", "", fstest.MapFS{"x.st": {Data: file(map[string]string{MetaConfig: "{}"}, norm)}, ConfigFile: {Data: config}}, norm, "{}", 0, ""},
		{"a folder", ".", "", fstest.MapFS{WeightsFile: {Data: plain}, ConfigFile: {Data: config}}, norm, string(config), 1, ""},
		{"a folder with another configuration in the file", ".", "", fstest.MapFS{WeightsFile: {Data: file(map[string]string{MetaConfig: "{}"}, norm)}, ConfigFile: {Data: config}}, norm, string(config), 1, ""},
		{"a folder with the same configuration in the file", ".", "", fstest.MapFS{WeightsFile: {Data: file(map[string]string{MetaConfig: string(config)}, norm)}, ConfigFile: {Data: append([]byte("\n"), config...)}}, norm, "\n" + string(config), 0, ""},
		{"a byte order mark", ".", "", fstest.MapFS{WeightsFile: {Data: plain}, ConfigFile: {Data: append([]byte("\xef\xbb\xbf"), config...)}}, norm, string(config), 1, ""},
		{"no JSON in a folder", ".", "", fstest.MapFS{WeightsFile: {Data: plain}, ConfigFile: {Data: append([]byte(","), config...)}}, "", "", 0, ConfigFile + ": line 1, column 1"},
		{"no JSON beside a file", "x.st", "", fstest.MapFS{"x.st": {Data: plain}, ConfigFile: {Data: append([]byte(","), config...)}}, norm, "", 0, ""},
		{"the configuration of something else", ".", "", fstest.MapFS{WeightsFile: {Data: plain}, ConfigFile: {Data: []byte(`{"model_type": "vit"}`)}}, norm, "", 0, ""},
		{"a folder of parts", ".", "", fstest.MapFS{WeightsFile + ".index.json": {Data: []byte(`{"weight_map":{"` + norm + `":"1.st"}}`)}, "1.st": {Data: plain}}, norm, "", 0, ""},
		{"a folder in a folder", ".", "", fstest.MapFS{"snapshots/0123/model.safetensors": {Data: plain}, "snapshots/0123/config.json": {Data: config}}, norm, string(config), 2, ""},
		{"two folders in a folder", ".", "", fstest.MapFS{"a/model.safetensors": {Data: plain}, "b/model.pth": {Data: plain}}, "", "", 0, "a, b"},
		{"a model without weights", ".", "", fstest.MapFS{"best/model.safetensors": {Data: plain}, ConfigFile: {Data: config}}, "", "", 0, WeightsFile},
		{"nothing", ".", "", fstest.MapFS{"x": {}}, "", "", 0, WeightsFile},
		{"a checkpoint of training", "x.st", "", fstest.MapFS{"x.st": {Data: file(trained, "model.a", "optimizer.m.a")}}, "a", "{}", 1, ""},
		{"its optimiser", "x.st", "optimizer.m", fstest.MapFS{"x.st": {Data: file(trained, "model.a", "optimizer.m.b")}}, "b", "{}", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, c.files); err != nil {
				t.Fatal(err)
			}
			f, err := Open(filepath.Join(dir, c.path), c.key)
			if c.err != "" {
				testkit.ErrorNames(t, err, c.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got := strings.Join(f.Names(), " "); got != c.names || f.Metadata()[MetaConfig] != c.config || len(f.Notes()) != c.notes {
				t.Errorf("got %s with %q and the notes %q", got, f.Metadata()[MetaConfig], f.Notes())
			}
			if v, err := f.Float32(f.Names()[0]); err != nil || v[1] != 2 {
				t.Errorf("read %v, %v", v, err)
			}
		})
	}
}

func TestDir(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, fstest.MapFS{"m/model.safetensors": {}, "m/config.json": {}, "m/other": {}, "model.pth/x": {}}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"m": "m", "m/model.safetensors": "m", "m/config.json": "m", "m/other": "m/other", "model.pth": "model.pth", "m/model.pth": "m/model.pth",
	} {
		t.Run(name, func(t *testing.T) {
			if got := Dir(filepath.Join(dir, name)); got != filepath.Join(dir, want) {
				t.Errorf("got %s", got)
			}
		})
	}
	if got := Dir(ConfigFile); got != ConfigFile { // there is none here
		t.Errorf("got %s", got)
	}
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
