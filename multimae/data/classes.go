package data

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/internal/regular"
	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
)

// ClassesFile is the name of a file in a dataset folder that names the classes of its maps: a JSON
// object with a list for each modality that has classes, in the order of the ids.
const ClassesFile = "classes.json"

// ClassNames returns what the ClassesFile of a dataset folder says, by modality; nothing if there is
// no such file.
func ClassNames(dir string) (map[string][]string, error) {
	file := filepath.Join(dir, ClassesFile)
	b, err := regular.ReadFile(file, regular.ConfigLimit)
	return readClassNames(file, b, err)
}

// readClassNames is ParseClassNames for what reading a file returned. One that is not there has no names.
func readClassNames(file string, b []byte, err error) (map[string][]string, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseClassNames(file, b)
}

// ParseClassNames reads the content of a ClassesFile, which errors call by the given name.
func ParseClassNames(file string, b []byte) (map[string][]string, error) {
	var names map[string][]string
	b, err := strictjson.Text(b)
	if err == nil {
		err = json.Unmarshal(b, &names)
	}
	if err != nil {
		return nil, problem(file, "write an object such as {\"semseg\": [\"sky\", \"tree\"]}, or remove the file", "does not list names of classes: %v", err)
	}
	for modality, list := range names {
		if n := len(list); n < 1 || n > multimae.IDPadding {
			return nil, problem(file, "list the names of its classes, or remove the modality from the file", "%s has %d classes, want 1 to %d", modality, n, multimae.IDPadding)
		}
	}
	return names, nil
}

// WriteClassNames writes the ClassesFile of a dataset folder, in the place of one that is there.
func WriteClassNames(dir string, names map[string][]string) error {
	return atomicfile.ReplaceJSON(filepath.Join(dir, ClassesFile), names)
}

// SemanticClasses returns the number of classes of the semantic maps of a dataset folder, and their
// names: those that its ClassesFile lists, otherwise the 133 of COCO, as in the paper, without names.
func SemanticClasses(dir string) (n int, names []string, err error) {
	all, err := ClassNames(dir)
	if err != nil {
		return 0, nil, err
	}
	if names = all["semseg"]; names == nil {
		return 133, nil, nil
	}
	return len(names), names, nil
}
