package weights

import (
	"fmt"
	"slices"
	"strings"
)

// stateDictKeys are the entries of a checkpoint that may be its state dict.
var stateDictKeys = []string{"model", "state_dict", "model_state_dict", "module"}

// stateDict returns the tensors of a checkpoint, and describes what else it holds. The tensors are
// those of the first of stateDictKeys that is a dictionary of tensors, or of the checkpoint itself. A
// prefix "module." that all keys have is removed: torch.nn.DataParallel adds it.
func stateDict(top any) (*file, error) {
	all, ok := top.(*pyDict)
	if !ok {
		return nil, fmt.Errorf("got %s, want a dictionary of tensors, or one with such a dictionary as \"model\"", pickleText(top))
	}
	model, key := findStateDict(all)
	if model == nil {
		return nil, fmt.Errorf("no state dict among its keys %s; want \"model\", \"state_dict\", \"model_state_dict\" or \"module\"", pickleText(&pyList{all.keys}))
	}
	f := &file{views: map[string]*view{}}
	for i, k := range model.keys {
		v, isTensor := model.values[i].(*view)
		name, isString := k.(string)
		switch {
		case !isTensor:
			if !isString {
				name = pickleText(k)
			}
			if key != "" {
				name = key + "." + name
			}
			f.contents = append(f.contents, describe(name, model.values[i]))
		case !isString:
			return nil, fmt.Errorf("key %s of the state dict is not a string, so this is not a state dict", pickleText(k))
		case f.views[name] != nil:
			return nil, fmt.Errorf("tensor %s is listed twice; the file is damaged", Quote(name))
		default:
			f.names = append(f.names, name)
			f.views[name] = v
		}
	}
	if model != all {
		for i, k := range all.keys {
			if k != any(key) {
				name, ok := k.(string)
				if !ok {
					name = pickleText(k)
				}
				f.contents = append(f.contents, describe(name, all.values[i]))
			}
		}
	}
	f.trimPrefix("module.")
	return f, nil
}

// findStateDict returns the state dict of a checkpoint and its key, which is "" if the checkpoint is
// one itself.
func findStateDict(all *pyDict) (*pyDict, string) {
	for _, key := range stateDictKeys {
		v, _ := all.get(key)
		if d, ok := v.(*pyDict); ok && (d.hasTensor() || len(d.keys) == 0 && !all.hasTensor()) {
			return d, key
		}
	}
	if all.hasTensor() || len(all.keys) == 0 {
		return all, ""
	}
	return nil, ""
}

func (d *pyDict) hasTensor() bool {
	return slices.ContainsFunc(d.values, func(v any) bool { _, ok := v.(*view); return ok })
}

// trimPrefix removes a prefix that all names have.
func (f *file) trimPrefix(prefix string) {
	if slices.ContainsFunc(f.names, func(s string) bool { return !strings.HasPrefix(s, prefix) }) {
		return
	}
	views := make(map[string]*view, len(f.names))
	for i, name := range f.names {
		f.names[i] = name[len(prefix):]
		views[f.names[i]] = f.views[name]
	}
	f.views = views
}

// describe returns a value as Contents lists it.
func describe(key string, v any) Content {
	c := Content{Key: key, Text: pickleText(v)}
	if o, ok := v.(*pyObject); ok {
		v = o.state
	}
	if d, ok := v.(*pyDict); ok {
		const most = 1000
		for i := range d.keys[:min(len(d.keys), most)] {
			name, ok := d.keys[i].(string)
			if !ok {
				name = pickleText(d.keys[i])
			}
			c.Entries = append(c.Entries, name+"="+pickleText(d.values[i]))
		}
	}
	return c
}
