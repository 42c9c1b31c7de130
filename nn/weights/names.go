package weights

import (
	"fmt"
	"slices"
	"strings"
)

// wrappers are the prefixes that training programs put before all names of a model: those of
// DataParallel, torch.compile, Lightning and DeepSpeed, and the attribute that holds the model.
var wrappers = []string{"module", "_orig_mod", "_forward_module", "model", "backbone", "net", "network", "student", "teacher"}

// trimWrappers removes the wrappers that all names begin with, however many, and returns them.
func trimWrappers(tensors []*view) (prefix string) {
	if len(tensors) == 0 {
		return ""
	}
	for {
		wrapper, _, ok := strings.Cut(tensors[0].name[len(prefix):], ".")
		if !ok || !slices.Contains(wrappers, wrapper) {
			break
		}
		longer := prefix + wrapper + "."
		if slices.ContainsFunc(tensors, func(v *view) bool { return !strings.HasPrefix(v.name, longer) || len(v.name) == len(longer) }) {
			break
		}
		prefix = longer
	}
	for _, v := range tensors {
		v.name = v.name[len(prefix):]
	}
	return prefix
}

// under returns the tensors whose names begin with a path and a dot, without it.
func under(tensors []*view, path string) ([]*view, error) {
	path = strings.TrimSuffix(path, ".") + "."
	var list []*view
	names := make([]string, len(tensors))
	for i, v := range tensors {
		names[i] = v.name
		if name, ok := strings.CutPrefix(v.name, path); ok && name != "" {
			v.name = name
			list = append(list, v)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no name of a tensor begins with %s; they are %s; %w", Quote(path), strings.Join(Groups(names, 8), ", "), ErrKey)
	}
	return list, nil
}
