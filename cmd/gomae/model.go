package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gomae/gomae/internal/modelfolder"
	"github.com/gomae/gomae/multimae"
	"github.com/gomae/gomae/multimae/data"
	"github.com/gomae/gomae/multimae/models/photos"
	"github.com/gomae/gomae/multimae/models/rooms"
	"github.com/gomae/gomae/multimae/scenes"
	"github.com/gomae/gomae/nn/weights"
)

// builtinUsage ends the usage of a flag that takes a model.
const builtinUsage = "rooms and photos stand for the built-in models of rendered rooms and of photographs, ./photos for a folder of that name"

// modelFlag adds -model, whose value openModel takes.
func modelFlag(flags *flag.FlagSet) *string {
	return flags.String("model", rooms.Name, "use the model in the folder `DIR`, such as the -out of pretrain; "+builtinUsage)
}

// dataFlag adds -data, whose value model.lookAt takes.
func dataFlag(flags *flag.FlagSet) *string {
	return flags.String("data", "", "take scenes from the dataset folder `DIR`, of a split its val, or rendered "+scenesUsage+"; none means the photographs that the built-in model photos has, and rendered ones for other models")
}

// model is a model with what belongs to it.
type model struct {
	*multimae.Model
	name     string              // for people
	examples data.Dataset        // that it was not trained on; nil if it came without any
	classes  map[string][]string // names of theirs by modality
}

// builtin returns the folder of the built-in model of that name, nil if there is none.
func builtin(name string) fs.FS {
	switch name {
	case rooms.Name:
		return rooms.Files()
	case photos.Name:
		return photos.Files()
	}
	return nil
}

// folder returns what is in the folder at a path, or in that of the built-in model of that name.
func folder(path string) fs.FS {
	if dir := builtin(path); dir != nil {
		return dir
	}
	return os.DirFS(path)
}

// openWeights opens the weights of a built-in model, or those that modelfolder.Open finds at a path.
func openWeights(path, key string) (weights.File, error) {
	if dir := builtin(path); dir != nil {
		return modelfolder.OpenWeights(dir)
	}
	return modelfolder.Open(path, key)
}

// absolute returns a path that means the same in any folder: the name of a built-in model, or an
// absolute path.
func absolute(path string) (string, error) {
	if builtin(path) != nil {
		return path, nil
	}
	return filepath.Abs(path)
}

// openModel reads a model folder, or returns the built-in model of that name.
func openModel(dir string) (*model, error) {
	m := &model{name: filepath.Base(filepath.Clean(dir))}
	var err error
	files := builtin(dir)
	if files == nil {
		m.Model, err = loadModel(dir)
		return m, err
	}
	if m.Model, err = multimae.Load(files); err == nil {
		m.examples, m.classes, err = data.Examples(files, m.Config.Inputs)
	}
	if err != nil {
		return nil, fmt.Errorf("built-in model %s: %w", dir, err)
	}
	return m, nil
}

// lookAt returns scenes that the model was not trained on, and the names of their classes by
// modality, from what -data says.
func (m *model) lookAt(from string) (data.Dataset, map[string][]string, error) {
	switch {
	case from == "" && m.examples != nil:
		return m.examples, m.classes, nil
	case from == "" || from == scenesData:
		ds, err := m.rendered()
		if err != nil {
			return nil, nil, fmt.Errorf("-data: %w", err)
		}
		return ds, scenes.ClassNames(), nil
	}
	val, err := data.OpenPart(from, "val", m.Config.Inputs)
	if err != nil {
		return nil, nil, noFolder(err, from, "")
	}
	classes, err := data.ClassNames(from)
	return val, classes, err
}

// rendered returns rendered scenes that the model was not trained on.
func (m *model) rendered() (data.Dataset, error) {
	if err := scenes.CheckModel(m.Config, m.classNames()); err != nil {
		return nil, fmt.Errorf("inputs.%w", err)
	}
	return scenes.Unseen(m.Config.ImageSize, m.Config.Train.Seed), nil
}

// classNames returns the names of the model's classes by modality, nil if they are not known: those
// of the data that it was trained on.
func (m *model) classNames() map[string][]string {
	switch {
	case m.classes != nil:
		return m.classes
	case m.Config.Train.Data == scenesData:
		return scenes.ClassNames()
	case m.Config.Train.Data == "":
		return nil
	}
	names, _ := data.ClassNames(m.Config.Train.Data) // pictures do without
	return names
}
