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
	n := 0
	for {
		wrapper, _, ok := strings.Cut(tensors[0].name[n:], ".")
		if !ok || !slices.Contains(wrappers, wrapper) {
			break
		}
		wrapper += "."
		// What stands before n is the same in all names, and comparing it again would take a time that
		// grows with the square of a name's length.
		if slices.ContainsFunc(tensors, func(v *view) bool { return !strings.HasPrefix(v.name[n:], wrapper) || len(v.name) == n+len(wrapper) }) {
			break
		}
		n += len(wrapper)
	}
	prefix = tensors[0].name[:n]
	for _, v := range tensors {
		v.name = v.name[n:]
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
