package main

import (
	"flag"
	"path/filepath"

	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/models/rooms"
	"github.com/gomae/gomae/multimae/scenes"
)

// modelFlag adds -model, whose value openModel takes.
func modelFlag(fs *flag.FlagSet) *string {
	return fs.String("model", rooms.Name, "use the model in the folder `DIR`, such as the -out of pretrain; rooms stands for the built-in model of rendered rooms, ./rooms for a folder of that name")
}

// dataFlag adds -data, whose value model.lookAt takes.
func dataFlag(fs *flag.FlagSet) *string {
	return fs.String("data", "", "take scenes from the dataset folder `DIR`, of a split its val, or rendered ones with scenes; none means rendered ones, too")
}

// model is a model with what belongs to it.
type model struct {
	*multimae.Model
	name     string              // for people
	examples data.Dataset        // that it was not trained on; nil if it came without any
	classes  map[string][]string // names of theirs by modality
}

// openModel reads a model folder, or returns the built-in model of that name.
func openModel(dir string) (*model, error) {
	m := &model{name: filepath.Base(filepath.Clean(dir))}
	var err error
	switch dir {
	case rooms.Name:
		m.Model, err = rooms.Load()
	default:
		m.Model, err = loadModel(dir)
	}
	return m, err
}

// lookAt returns scenes that the model was not trained on, and the names of their classes by
// modality, from what -data says.
func (m *model) lookAt(from string) (data.Dataset, map[string][]string, error) {
	switch {
	case from == "" && m.examples != nil:
		return m.examples, m.classes, nil
	case from == "" || from == scenesData:
		return unseenRooms(m.Config), map[string][]string{"semseg": scenes.Classes}, nil
	}
	own := *m.Config
	own.Train.Data = from
	_, val, err := datasets(&own, "")
	if err != nil {
		return nil, nil, err
	}
	classes, err := data.ClassNames(from)
	return val, classes, err
}

// unseenRooms returns rendered rooms that no model was trained on.
func unseenRooms(c *multimae.Config) data.Dataset {
	return scenes.New(scenes.HeldOut, 1_000_000, c.ImageSize, c.Train.Seed)
}
