package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image/color"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/internal/tiny"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/demo"
	"github.com/gomae/gomae/multimae/models/photos"
	"github.com/gomae/gomae/multimae/models/rooms"
	"github.com/gomae/gomae/multimae/scenes"
)

// TestBuiltin wants the name of a built-in model to do wherever a model folder does, also for a run
// that goes on in another folder, and a path to mean a folder of the same name.
func TestBuiltin(t *testing.T) {
	files, dir := t.TempDir(), t.TempDir()
	classFolders(t, files, []string{"train", "val"}, map[string]color.RGBA{"red": {200, 0, 0, 255}, "blue": {0, 0, 200, 255}})
	t.Chdir(dir)
	for name, load := range map[string]func() (*multimae.Model, error){"rooms": rooms.Load, "photos": photos.Load} {
		ok(t, "convert", "-bfloat16", name, "copy of "+name) // with the configuration in the weights
		got, err := os.ReadFile(filepath.Join("copy of "+name, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := load()
		if err != nil || !bytes.Equal(got, m.Config.JSON()) {
			t.Errorf("%v; configuration\n%s\nwant\n%s", err, got, m.Config.JSON())
		}
	}
	ok(t, "convert", "rooms", "rooms")
	ok(t, "convert", "-force", "rooms", "rooms")
	ok(t, "reconstruct", "-model", "rooms", "-scene", "1", "-out", "a.png")
	ok(t, "reconstruct", "-model", "copy of rooms", "-scene", "1", "-out", "b.png")
	a, err1 := os.ReadFile("a.png")
	b, err2 := os.ReadFile("b.png")
	if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
		t.Errorf("the copy predicts something else; %v, %v", err1, err2)
	}
	ok(t, "probe", "-from", "rooms", "-data", files, "-cache", "cache")
	fine := []string{"finetune", "-task", "semseg", "-from", "rooms", "-inputs", "rgb", "-out", filepath.Join(dir, "fine"), "-batch", "2", "-samples", "4", "-steps", "1"}
	ok(t, fine...)
	t.Chdir(t.TempDir())
	ok(t, append(fine, "-resume")...)
	refuses(t, 1, "rooms", "reconstruct", "-model", "./rooms", "-scene", "1")
	refuses(t, 1, "rooms", "finetune", "-task", "semseg", "-from", "./rooms", "-out", "x")
}

// TestLookAt wants an error for rendered scenes that lack an input of the model.
func TestLookAt(t *testing.T) {
	c := tiny.Config()
	c.Inputs[0].Name, c.Outputs[0].Name, c.Outputs[0].Task = "photo", "photo", "photo"
	m := tiny.Model(t, c, 1)
	for _, from := range []string{"", scenesData} {
		_, _, err := (&model{Model: m}).lookAt(from)
		testkit.ErrorNames(t, err, "inputs.photo: ", "-data")
	}
}

// TestOtherClasses wants rendered scenes for a model that was not trained on them only where its class ids
// are, or may be, theirs.
func TestOtherClasses(t *testing.T) {
	folder := t.TempDir()
	for _, c := range []struct {
		name    string
		data    string
		classes []string // of the folder
		number  int
		inputs  int
		want    bool
	}{
		{"classes of photographs", folder, []string{"sky", "tree"}, 16, 3, false},
		{"unnamed classes", folder, nil, 16, 3, false},
		{"classes of scenes", folder, scenes.Classes, 16, 3, true},
		{"no classes", folder, nil, 0, 2, true},
		{"as many classes of unknown data", "", nil, 16, 3, true},
		{"more classes of unknown data", "", nil, 133, 3, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := tiny.Config()
			config.Train.Data = c.data
			if c.inputs == 3 {
				config.Inputs[2].NumClasses, config.Outputs[2].Channels = c.number, c.number
			}
			config.Inputs, config.Outputs = config.Inputs[:c.inputs], config.Outputs[:c.inputs]
			os.Remove(filepath.Join(folder, data.ClassesFile))
			if c.classes != nil {
				if err := atomicfile.ReplaceJSON(filepath.Join(config.Train.Data, data.ClassesFile), map[string][]string{"semseg": c.classes}); err != nil {
					t.Fatal(err)
				}
			}
			m := &model{Model: tiny.Model(t, config, 1)}
			_, _, lookErr := m.lookAt("")
			_, sceneErr := m.sampleOf(nil, 0)
			for flag, err := range map[string]error{"-data": lookErr, "-scene": sceneErr} {
				if c.want && err != nil {
					t.Error(err)
				} else if !c.want {
					testkit.ErrorNames(t, err, flag, "inputs.semseg: ", config.Train.Data)
				}
			}
			a := demo.New(m.Model, demo.Options{Classes: m.classNames()})
			b, err := a.Call(context.Background(), "info", []byte("{}"))
			var i demo.Info
			if err := errors.Join(err, json.Unmarshal(b, &i)); err != nil || i.Scenes > 0 != c.want {
				t.Errorf("the demo offers %d scenes, %v", i.Scenes, err)
			}
		})
	}
}
