// Package modelfolder reads and writes what the folders of all models have in common: config.json,
// in which every key must be known, and the weights that belong to it.
package modelfolder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"strings"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/nn/weights"
)

// The files of a model folder.
const (
	ConfigFile  = "config.json"
	WeightsFile = "model.safetensors"
)

// MetaConfig is the key under which the metadata of a file of weights has the content of the
// config.json of its model.
const MetaConfig = "gomae_config"

// weightsFiles are the names that the weights of a folder may have. The first that is there counts.
// An index names the files of weights that are stored in several.
var weightsFiles = []string{WeightsFile, WeightsFile + ".index.json", "pytorch_model.bin", "pytorch_model.bin.index.json", "model.pth"}

// Load reads a model folder: its configuration by config, and the model from that and its weights by
// from.
func Load[C, M any](fsys fs.FS, config func(fs.FS, string) (C, error), from func(C, weights.File) (M, error)) (m M, err error) {
	c, err := config(fsys, ConfigFile)
	if err != nil {
		return m, err
	}
	f, err := OpenWeights(fsys)
	if err != nil {
		return m, err
	}
	defer f.Close()
	return from(c, f)
}

// OpenWeights opens the weights of a model folder: model.safetensors, or where that is missing its
// index, pytorch_model.bin, its index, or model.pth.
func OpenWeights(fsys fs.FS) (weights.File, error) { return openIn(fsys, ".", weights.Options{}) }

// openIn is OpenWeights for a sub-folder.
func openIn(fsys fs.FS, dir string, o weights.Options) (weights.File, error) {
	var missing error
	for _, name := range weightsFiles {
		f, err := o.OpenFS(fsys, path.Join(dir, name))
		if !errors.Is(err, fs.ErrNotExist) || present(fsys, path.Join(dir, name)) {
			return f, err
		}
		if missing == nil {
			missing = err
		}
	}
	return nil, fmt.Errorf("%w, nor is there %s", missing, strings.Join(weightsFiles[1:], ", "))
}

// Files returns the files that Load reads: the configuration and the weights, an index before the files
// that it names.
func Files(fsys fs.FS) ([]string, error) {
	name := chosen(fsys, ".")
	if name == "" {
		name = WeightsFile // reading it says what is missing
	}
	files := []string{ConfigFile, name}
	if !strings.HasSuffix(name, ".index.json") {
		return files, nil
	}
	shards, err := weights.IndexFiles(fsys, name)
	return append(files, shards...), err
}

// chosen returns the name of the weights that count in a folder, "" if there are none.
func chosen(fsys fs.FS, dir string) string {
	for _, name := range weightsFiles {
		if present(fsys, path.Join(dir, name)) {
			return name
		}
	}
	return ""
}

func present(fsys fs.FS, name string) bool { _, err := fs.Stat(fsys, name); return err == nil }

// CheckTensors returns an error if a file has fewer tensors than least, a lower bound for what the
// configuration describes. A few lines of configuration may describe a model of any size. The
// parameters of nn.DeferredParams take memory only once the file is known to hold all of them;
// CheckTensors bounds how many of them there are.
func CheckTensors(f weights.File, least int) error {
	if n := len(f.Names()); n < least {
		return fmt.Errorf("%s: describes a model of %d tensors or more, but %s has only %d; use the files that belong together", ConfigFile, least, f.Label(), n)
	}
	return nil
}

// Save writes a model folder, creating it if need be. Each file appears under its name only when it
// is complete, and an error leaves an earlier file as it was. The weights come first: an error after
// them leaves an earlier config.json beside them, and their metadata have the configuration that is
// theirs. A link in the place of a file is replaced.
func Save(dir string, config []byte, tensors []weights.Tensor) error {
	if err := atomicfile.MkdirAll(dir); err != nil {
		return err
	}
	if err := SaveWeights(dir, tensors, map[string]string{MetaConfig: string(config)}); err != nil {
		return err
	}
	return SaveConfig(dir, config)
}

// SaveConfig writes the config.json of a model folder, which must exist.
func SaveConfig(dir string, config []byte) error {
	return atomicfile.ReplaceBytes(filepath.Join(dir, ConfigFile), config)
}

// SaveWeights writes the weights of a model folder, which must exist, with further metadata.
func SaveWeights(dir string, tensors []weights.Tensor, metadata map[string]string) error {
	all := map[string]string{"format": "pt"} // Python's loaders refuse a file without it
	maps.Copy(all, metadata)
	return atomicfile.Replace(filepath.Join(dir, WeightsFile), func(w io.Writer) error {
		return weights.WriteSafetensors(w, tensors, all)
	})
}
