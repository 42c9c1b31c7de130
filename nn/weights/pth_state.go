package weights

import (
	"fmt"
	"slices"
	"strings"
)

// stateDictKeys are the entries of a checkpoint that may be its state dict.
var stateDictKeys = []string{"model", "state_dict", "model_state_dict", "module"}

// stateDict returns the tensors of a checkpoint, and describes what else it holds. The tensors are
// those of the first of stateDictKeys that is a dictionary of tensors, or of the checkpoint itself.
// A prefix "module." that all names have is removed: torch.nn.DataParallel adds it.
func (p *pthReader) stateDict(top any) ([]*view, []Content, error) {
	all, ok := top.(*pyDict)
	if !ok {
		return nil, nil, fmt.Errorf("a checkpoint that is %s is %w; want a dictionary of tensors, or one with such a dictionary as %q",
			pickleText(top), ErrUnsupported, stateDictKeys[0])
	}
	model, key := findStateDict(all)
	if model == nil {
		return nil, nil, fmt.Errorf("a checkpoint without a state dict is %w; its keys are %s, want one of %q",
			ErrUnsupported, pickleText(&pyList{all.keys}), stateDictKeys)
	}
	var tensors []*view
	rest := &catalog{room: p.size + catalogBase}
	for i, k := range model.keys {
		v, isTensor := model.values[i].(*view)
		if !isTensor {
			prefix := ""
			if key != "" {
				prefix = key + "."
			}
			rest.add(prefix+keyText(k), model.values[i])
			continue
		}
		name, ok := k.(string)
		if !ok {
			return nil, nil, damaged("key %s of the state dict is not a string", pickleText(k))
		}
		if err := p.budget.spend(viewSize); err != nil {
			return nil, nil, fmt.Errorf("tensor %s %w", Quote(name), err)
		}
		named := *v // a tensor may have several names
		named.name = name
		tensors = append(tensors, &named)
	}
	if model != all {
		for i, k := range all.keys {
			if k != any(key) {
				rest.add(keyText(k), all.values[i])
			}
		}
	}
	trimPrefix(tensors, "module.")
	return tensors, rest.contents(), nil
}

// findStateDict returns the state dict of a checkpoint and its key, which is "" if the checkpoint
// is one itself.
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
func trimPrefix(tensors []*view, prefix string) {
	for _, v := range tensors {
		if !strings.HasPrefix(v.name, prefix) {
			return
		}
	}
	for _, v := range tensors {
		v.name = v.name[len(prefix):]
	}
}

// catalogBase is how much a catalog may take beside the size of the file.
const catalogBase = 256 << 10

// catalog describes what a checkpoint holds beside its tensors. A few bytes can refer to one value
// many times, so the catalog has room for about as much as the file has bytes, and then only
// counts.
type catalog struct {
	list []Content
	room int64
	more int
}

func (c *catalog) add(key string, v any) {
	const contentSize, entrySize, most = 512, 256, 1000
	if c.room <= 0 {
		c.more++
		return
	}
	content := Content{Key: key, Text: pickleText(v)}
	c.room -= contentSize + int64(len(content.Key)+len(content.Text))
	if o, ok := v.(*pyObject); ok {
		v = o.state
	}
	if d, ok := v.(*pyDict); ok {
		for i := range d.keys[:min(len(d.keys), most)] {
			if c.room <= 0 {
				break
			}
			entry := keyText(d.keys[i]) + "=" + pickleText(d.values[i])
			c.room -= entrySize + int64(len(entry))
			content.Entries = append(content.Entries, entry)
		}
	}
	c.list = append(c.list, content)
}

func (c *catalog) contents() []Content {
	if c.more > 0 {
		return append(c.list, moreContents(c.more))
	}
	return c.list
}
