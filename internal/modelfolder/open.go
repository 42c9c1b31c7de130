package modelfolder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/nn/weights"
)

// Open opens the weights that a person means by a path: a file, the index of several files, a model
// folder, or a folder with one model folder somewhere in it. key is that of weights.Options. Of a
// checkpoint of package train the parameters are read. Where a folder is opened, or the file itself
// does not carry the configuration of its model, its metadata get that of the config.json beside it,
// under MetaConfig, if it describes such an encoder. The notes of the file say what was chosen.
func Open(name, key string) (weights.File, error) {
	o := weights.Options{Key: key}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	s := &source{}
	dir := name
	if info.IsDir() {
		var sub string
		if s.File, sub, err = openFolder(name, o); err != nil {
			return nil, fmt.Errorf("model folder %s: %w", name, err)
		}
		if sub != "." {
			dir = filepath.Join(name, filepath.FromSlash(sub))
			s.notes = append(s.notes, fmt.Sprintf("the model is in the folder %s", sub))
		}
	} else {
		dir = filepath.Dir(name)
		if s.File, err = o.Open(name); err != nil {
			return nil, err
		}
		if key == "" && isTraining(s.File) {
			s.File.Close()
			if s.File, err = (weights.Options{Key: trainedPrefix}).Open(name); err != nil {
				return nil, err
			}
			s.notes = append(s.notes, "a checkpoint of training: the weights are read, and the state of the optimiser is not")
		}
	}
	if err := s.configure(dir, info.IsDir()); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// trainedPrefix is what the names of parameters begin with in a checkpoint of package train.
const trainedPrefix = "model"

// isTraining reports whether a file is a checkpoint of package train.
func isTraining(f weights.File) bool {
	return f.Metadata()[MetaConfig] != "" && f.Metadata()["gomae_optimizer_steps"] != ""
}

// source is an opened file with what its folder says of it.
type source struct {
	weights.File
	metadata map[string]string
	notes    []string
}

func (s *source) Notes() []string { return append(s.File.Notes(), s.notes...) }

func (s *source) Metadata() map[string]string {
	if s.metadata != nil {
		return s.metadata
	}
	return s.File.Metadata()
}

// configure adds the config.json of a folder to the metadata, if it is that of the file's model. It
// counts for more than what the file says where the folder was asked for, and for less otherwise.
func (s *source) configure(dir string, folder bool) error {
	own := s.File.Metadata()[MetaConfig]
	if !folder && own != "" {
		return nil
	}
	name := filepath.Join(dir, ConfigFile)
	b, err := regular.ReadFile(name, regular.ConfigLimit)
	if folder && err != nil && isThere(name) {
		return err
	}
	if err != nil {
		return nil
	}
	if b, err = strictjson.Text(b); err != nil && folder {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err != nil || !s.describedBy(b) {
		return nil
	}
	s.metadata = map[string]string{}
	maps.Copy(s.metadata, s.File.Metadata())
	s.metadata[MetaConfig] = string(b)
	const chosen = "the configuration is that of the " + ConfigFile + " beside the weights"
	if own == "" {
		s.notes = append(s.notes, chosen)
	} else if key, _, _ := strictjson.Difference([]byte(own), b); key != "" {
		s.notes = append(s.notes, fmt.Sprintf("%s, which differs in %s from that in the file", chosen, weights.Quote(key)))
	}
	return nil
}

// isThere reports whether there is anything at path, even a link to nothing.
func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// describedBy reports whether a config.json is of a model with this encoder. A folder of downloads
// may have the configuration of something else.
func (s *source) describedBy(config []byte) bool {
	var c struct {
		Model   string
		Encoder struct{ Dim, Depth int }
	}
	if json.Unmarshal(config, &c) != nil || c.Model == "" || c.Encoder.Depth < 1 {
		return false
	}
	norm := func(block int) []int {
		shape, _ := s.Shape(fmt.Sprintf("encoder.%d.norm1.weight", block))
		return shape
	}
	last := norm(c.Encoder.Depth - 1)
	return len(last) == 1 && last[0] == c.Encoder.Dim && norm(c.Encoder.Depth) == nil
}

// openFolder opens the weights of a model folder or of the only one below it, and returns which.
func openFolder(dir string, o weights.Options) (f weights.File, sub string, err error) {
	fsys := os.DirFS(dir)
	f, err = openIn(fsys, ".", o)
	if err == nil || !errors.Is(err, fs.ErrNotExist) || isModel(dir) {
		return f, ".", err
	}
	found := modelFolders(fsys)
	switch len(found) {
	case 0:
		return nil, "", err
	case 1:
		f, err = openIn(fsys, found[0], o)
		return f, found[0], err
	}
	return nil, "", fmt.Errorf("it holds several models, %s; give the path of one", strings.Join(found, ", "))
}

// isModel reports whether a folder was meant to be a model's: it has a configuration, or a link of
// that name that leads nowhere.
func isModel(dir string) bool {
	for _, name := range append([]string{ConfigFile}, weightsFiles...) {
		if isThere(filepath.Join(dir, name)) {
			return true
		}
	}
	return false
}

// Dir returns the folder of a path that is one of the files of a model folder, and any other path
// as it is.
func Dir(name string) string {
	dir, base := filepath.Split(name)
	if base != ConfigFile && !slices.Contains(weightsFiles, base) {
		return name
	}
	if info, err := os.Stat(name); err != nil || info.IsDir() {
		return name
	}
	return filepath.Clean(dir)
}

// modelFolders returns up to ten folders with weights below a folder, among its first thousand
// entries and at most four levels deep: Hugging Face's cache has them in snapshots/COMMIT.
func modelFolders(fsys fs.FS) (found []string) {
	const most, entries, deepest = 10, 1000, 4
	seen := 0
	fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if seen++; seen > entries || len(found) == most {
			return fs.SkipAll
		}
		if err != nil || !d.IsDir() {
			return nil
		}
		if chosen(fsys, name) != "" {
			found = append(found, name)
		}
		if strings.Count(name, "/") >= deepest-1 {
			return fs.SkipDir
		}
		return nil
	})
	return found
}
