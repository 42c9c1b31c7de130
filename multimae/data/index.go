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
	complete = &folder{dir: dir, inputs: inputs, exts: make([][]string, len(inputs))}
	some = &folder{dir: dir, inputs: inputs, exts: make([][]string, len(inputs))}
	files := make([]map[string]string, len(inputs)) // relative name → extension
	union := map[string]bool{}
	for k, m := range inputs {
		root := filepath.Join(dir, m.Name)
		if !isDir(root) {
			problems = append(problems, *problem(root, "create it with the files of modality "+m.Name+", or leave the modality out of the configuration", "no such folder"))
			continue
		}
		files[k] = map[string]string{}
		bad, err := walk(root, "", 0, files[k])
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

// maxDepth bounds the depth of folders below a modality: links may lead in a circle.
const maxDepth = 8

// walk adds the images below root/rel to files, which maps a relative name to its extension.
func walk(root, rel string, depth int, files map[string]string) (problems []Problem, err error) {
	here := filepath.Join(root, filepath.FromSlash(rel))
	if depth > maxDepth {
		return []Problem{*problem(here, "move the files up, or remove the link that leads in a circle", "more than %d folders deep", maxDepth)}, nil
	}
	entries, err := os.ReadDir(here)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name := path.Join(rel, e.Name())
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			st, err := os.Stat(filepath.Join(here, e.Name()))
			if err != nil {
				problems = append(problems, *problem(filepath.Join(here, e.Name()), "remove it, or restore its target", "a link to nothing"))
				continue
			}
			mode = st.Mode()
		}
		if mode.IsDir() {
			more, err := walk(root, name, depth+1, files)
			if err != nil {
				return nil, err
			}
			problems = append(problems, more...)
			continue
		}
		ext := path.Ext(name)
		switch strings.ToLower(ext) {
		case ".png", ".jpg", ".jpeg":
		case ".tif", ".tiff", ".bmp", ".gif", ".webp", ".exr", ".npy", ".npz":
			problems = append(problems, *problem(filepath.Join(here, e.Name()), "convert it to PNG", "files of this type are not read"))
			continue
		default:
			continue
		}
		stem := strings.TrimSuffix(name, ext)
		if other, ok := files[stem]; ok {
			problems = append(problems, *problem(filepath.Join(here, e.Name()), "remove or rename one of them", "same name as %s%s", path.Base(stem), other))
			continue
		}
		files[stem] = ext
	}
	return problems, nil
}
