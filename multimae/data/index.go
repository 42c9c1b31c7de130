package data

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomae/gomae/multimae"
)

// index lists the samples of which every modality has a file, the samples of which any modality has
// one, and what is wrong with the latter.
func index(dir string, inputs []multimae.Input) (complete, some *folder, problems []Problem, err error) {
	if len(inputs) == 0 {
		return nil, nil, nil, errors.New("data: no input modality given")
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, nil, nil, err
	}
	given := len(inputs)
	inputs = withMask(dir, inputs)
	masked := len(inputs) > given
	complete = &folder{dir: dir, inputs: inputs, masked: masked, exts: make([][]string, len(inputs))}
	some = &folder{dir: dir, inputs: inputs, masked: masked, exts: make([][]string, len(inputs))}
	files := make([]map[string]string, len(inputs)) // relative name → extension
	union := map[string]bool{}
	for k, m := range inputs {
		root := filepath.Join(dir, m.Name)
		if !isDir(root) {
			problems = append(problems, *problem(root, "create it with the files of modality "+m.Name+", or leave the modality out of the configuration", "no such folder"))
			continue
		}
		files[k] = map[string]string{}
		bad, err := walk(root, files[k])
		if err != nil {
			return nil, nil, nil, err
		}
		problems = append(problems, bad...)
		if len(files[k]) == 0 {
			problems = append(problems, *problem(root, "put files at "+filepath.Join(root, "CLASS", "NAME.png"), "no PNG or JPEG file"))
		}
		for name := range files[k] {
			union[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(union)) {
		all := true
		for k, m := range inputs {
			// The folder of a modality without files has been reported above.
			if _, ok := files[k][name]; !ok {
				all = false
				if len(files[k]) > 0 {
					have := slices.IndexFunc(files, func(f map[string]string) bool { _, ok := f[name]; return ok })
					partner := filepath.Join(dir, inputs[have].Name, filepath.FromSlash(name)+files[have][name])
					problems = append(problems, *problem(partner,
						fmt.Sprintf("add %s, or remove this file", filepath.Join(dir, m.Name, filepath.FromSlash(name)+".png")),
						"has no partner in %s", m.Name))
				}
			}
		}
		for _, f := range []*folder{some, complete} {
			if f == complete && !all {
				continue
			}
			f.names = append(f.names, name)
			for k := range inputs {
				f.exts[k] = append(f.exts[k], files[k][name])
			}
		}
	}
	return complete, some, problems, nil
}

// maxDepth bounds the depth of folders below a modality.
const maxDepth = 8

// walk adds the images below root to files, which maps a relative name to its extension. Real
// folders come first; then each link to a folder that has not been walked, so that a circle of links
// ends.
func walk(root string, files map[string]string) ([]Problem, error) {
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, err
	}
	w := walker{root: root, files: files, walked: map[string]bool{}}
	w.links = []link{{"", real}}
	for len(w.links) > 0 {
		l := w.links[0]
		w.links = w.links[1:]
		if !w.walked[l.real] {
			if err := w.walk(l.rel, l.real, 0); err != nil {
				return nil, err
			}
		}
	}
	return w.problems, nil
}

type walker struct {
	root     string
	files    map[string]string
	walked   map[string]bool // folders by their path without links
	links    []link          // to folders, that are to be walked
	problems []Problem
}

type link struct{ rel, real string } // a folder by its name below root, and by its path without links

// systemFolders hold what file servers and systems keep for themselves, such as previews.
var systemFolders = []string{"@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found"}

func (w *walker) walk(rel, real string, depth int) error {
	here := filepath.Join(w.root, filepath.FromSlash(rel))
	if depth > maxDepth {
		w.problems = append(w.problems, *problem(here, "move the files up", "more than %d folders deep", maxDepth))
		return nil
	}
	w.walked[real] = true
	entries, err := os.ReadDir(here)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || slices.Contains(systemFolders, e.Name()) {
			continue
		}
		name, file := path.Join(rel, e.Name()), filepath.Join(here, e.Name())
		if e.IsDir() {
			if below := filepath.Join(real, e.Name()); !w.walked[below] {
				if err := w.walk(name, below, depth+1); err != nil {
					return err
				}
			}
			continue
		}
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			info, err := os.Stat(file)
			if err != nil {
				w.problems = append(w.problems, *problem(file, "remove it, or restore its target", "a link to nothing"))
				continue
			}
			if info.IsDir() {
				target, err := filepath.EvalSymlinks(file)
				if err != nil {
					return err
				}
				w.links = append(w.links, link{name, target})
				continue
			}
			mode = info.Mode()
		}
		ext := path.Ext(name)
		switch strings.ToLower(ext) {
		case ".png", ".jpg", ".jpeg":
		case ".tif", ".tiff", ".bmp", ".gif", ".webp", ".exr", ".npy", ".npz":
			w.problems = append(w.problems, *problem(file, "convert it to PNG", "files of this type are not read"))
			continue
		default:
			continue
		}
		if p := checkFile(file, mode); p != nil {
			w.problems = append(w.problems, *p)
			continue
		}
		stem := strings.TrimSuffix(name, ext)
		if other, ok := w.files[stem]; ok {
			w.problems = append(w.problems, *problem(file, "remove or rename one of them", "same name as %s%s", path.Base(stem), other))
			continue
		}
		w.files[stem] = ext
	}
	return nil
}
