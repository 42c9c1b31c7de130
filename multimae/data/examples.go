package data

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/multimae"
)

// examplesFolder is the dataset folder in a model folder that Examples reads.
const examplesFolder = "examples"

// Examples reads the few samples that a model folder has in its dataset folder examples, with a file
// of each modality directly below examples/<modality>. names are those that its ClassesFile has for
// the classes, by modality. A model folder without examples has none of both.
func Examples(fsys fs.FS, inputs []multimae.Input) (ds Dataset, names map[string][]string, err error) {
	if len(inputs) == 0 {
		return nil, nil, errors.New("data: no input modality is given")
	}
	if _, err := fs.Stat(fsys, examplesFolder); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	list, err := fs.ReadDir(fsys, path.Join(examplesFolder, inputs[0].Name))
	if err != nil {
		return nil, nil, err
	}
	var samples Samples
	for _, f := range list {
		s := &Sample{Name: strings.TrimSuffix(f.Name(), path.Ext(f.Name())), Maps: map[string]*Map{}}
		for _, in := range inputs {
			if s.Maps[in.Name], err = example(fsys, s.Name, in); err != nil {
				return nil, nil, err
			}
		}
		samples = append(samples, s)
	}
	file := path.Join(examplesFolder, ClassesFile)
	b, err := regular.ReadFileFS(fsys, file, regular.ConfigLimit)
	names, err = readClassNames(file, b, err)
	return samples, names, err
}

// example reads the file that the sample of that name has of a modality.
func example(fsys fs.FS, name string, in multimae.Input) (*Map, error) {
	pattern := path.Join(examplesFolder, in.Name, name+".*")
	found, err := fs.Glob(fsys, pattern)
	if err != nil || len(found) != 1 {
		return nil, problem(pattern, "keep one file of each modality", "%d files of the example, want 1", len(found))
	}
	b, err := regular.ReadFileFS(fsys, found[0], maxFileBytes)
	if err != nil {
		return nil, err
	}
	m, err := DecodeImage(b, in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", found[0], err)
	}
	return m, nil
}
