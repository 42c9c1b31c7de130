package weights

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// stateDictKeys are the entries of a checkpoint that may be its state dict, the likeliest first.
var stateDictKeys = []string{"model", "state_dict", "model_state_dict", "module"}

// place is where a value is in a checkpoint.
type place struct {
	path  string // keys, separated by dots; "" is the checkpoint itself
	value any
	outer *place // nil for the checkpoint itself
	key   any    // of value in outer
}

// file returns the tensors of a checkpoint and describes what else it holds.
func (p *pthReader) file(top any, key string) (*file, error) {
	root := &place{value: top}
	var at *place
	var err error
	prefix := ""
	if key == "" {
		at, err = findStateDict(root)
	} else {
		at, prefix, err = resolve(root, key)
	}
	if err != nil {
		return nil, err
	}
	tensors, odd, err := p.tensors(at)
	if err != nil {
		return nil, err
	}
	notes := p.notes(root, at, len(tensors), key)
	if odd != "" {
		notes = append(notes, odd)
	}
	if prefix != "" {
		if tensors, err = under(tensors, prefix); err != nil {
			return nil, err
		}
	}
	if err := p.pay(tensors); err != nil {
		return nil, err
	}
	f := &file{tensors: tensors, contents: p.contents(at), notes: notes}
	if d := asDict(top); d != nil {
		f.metadata = d.strings()
	}
	return f, nil
}

// asDict returns the items of a dictionary, also of one of an unknown class, or nil.
func asDict(v any) *pyDict {
	switch v := v.(type) {
	case *pyDict:
		return v
	case *pyObject:
		return v.dict
	}
	return nil
}

// strings returns the first entries whose keys and values are both strings.
func (d *pyDict) strings() map[string]string {
	const most = 100
	var m map[string]string
	for i, k := range d.keys {
		key, ok1 := k.(string)
		value, ok2 := d.values[i].(string)
		if ok1 && ok2 && len(m) < most {
			if m == nil {
				m = map[string]string{}
			}
			m[key] = value
		}
	}
	return m
}

// tensors returns the tensors of a state dict, and says which of its values are objects of classes
// that are not known, and so may have been tensors.
func (p *pthReader) tensors(at *place) (tensors []*view, odd string, err error) {
	d := asDict(at.value)
	objects, first := 0, ""
	for i, k := range d.keys {
		v, isTensor := d.values[i].(*view)
		if o, isObject := d.values[i].(*pyObject); isObject {
			if objects++; objects == 1 {
				first = fmt.Sprintf("%s is a %s", Quote(keyText(k)), objectText(o))
			}
		}
		if !isTensor {
			continue
		}
		name, ok := k.(string)
		if !ok {
			return nil, "", damaged("key %s of the state dict is not a string", pickleText(k))
		}
		if err := p.budget.spend(viewSize); err != nil {
			return nil, "", fmt.Errorf("tensor %s %w", Quote(name), err)
		}
		named := *v // a tensor may have several names
		named.name = name
		tensors = append(tensors, &named)
	}
	if objects > 0 {
		odd = fmt.Sprintf("%d values among the weights are objects of other classes and were left out; %s", objects, first)
	}
	return tensors, odd, nil
}

// contents describes what a checkpoint holds beside the tensors of its state dict.
func (p *pthReader) contents(at *place) []Content {
	rest := &catalog{room: p.size + catalogBase}
	add := func(in *place, d *pyDict, skip func(i int) bool) {
		prefix := ""
		if in.path != "" {
			prefix = in.path + "."
		}
		for i, k := range d.keys {
			if !skip(i) {
				rest.add(prefix+keyText(k), d.values[i])
			}
		}
	}
	d := asDict(at.value)
	add(at, d, func(i int) bool { _, isTensor := d.values[i].(*view); return isTensor })
	for ; at.outer != nil; at = at.outer {
		if outer, key := asDict(at.outer.value), at.key; outer != nil {
			add(at.outer, outer, func(i int) bool { return outer.keys[i] == key })
		}
	}
	return rest.contents()
}

// notes says which dictionary of tensors was taken, and which others that are as large were not.
func (p *pthReader) notes(root, at *place, tensors int, key string) (notes []string) {
	if key == "" && at.path != "" && !slices.Contains(stateDictKeys, at.path) {
		notes = append(notes, fmt.Sprintf("the weights are those of %s, the only dictionary of tensors", Quote(at.path)))
	}
	var others []string
	for _, c := range candidates(root) {
		if c.value != at.value && 2*c.tensors >= tensors && !strings.HasPrefix(c.path, at.path+".") {
			others = append(others, c.String())
		}
	}
	if len(others) > 0 && key == "" {
		taken := cmp.Or(at.path, "the checkpoint itself")
		notes = append(notes, fmt.Sprintf("the weights are those of %s; passed over: %s", taken, list(others)))
	}
	return notes
}

// findStateDict returns the state dict of a checkpoint: the first of stateDictKeys that is a
// dictionary of tensors, or else the checkpoint itself, or else the only dictionary of tensors in
// it.
func findStateDict(root *place) (*place, error) {
	all := asDict(root.value)
	if all != nil {
		for _, key := range stateDictKeys {
			v, _ := all.get(key)
			if d := asDict(v); d != nil && (d.tensors() > 0 || len(d.keys) == 0 && all.tensors() == 0) {
				return root.inner(key, v), nil
			}
		}
		if all.tensors() > 0 || len(all.keys) == 0 {
			return root, nil
		}
	}
	found := candidates(root)
	switch {
	case len(found) == 1:
		return found[0].place, nil
	case len(found) > 1:
		return nil, whichOf(found)
	}
	remedy := fmt.Sprintf("want a dictionary of tensors, or one with such a dictionary as %q", stateDictKeys[0])
	if all == nil {
		return nil, fmt.Errorf("a checkpoint that is %s is %w; %s", pickleText(root.value), ErrUnsupported, remedy)
	}
	for i, v := range all.values {
		if o, ok := v.(*pyObject); ok && o.state != nil && slices.Contains(stateDictKeys, keyText(all.keys[i])) {
			return nil, fmt.Errorf("a checkpoint whose %q is a %s, a pickled model, is %w; load it in Python and save its state_dict()",
				keyText(all.keys[i]), objectText(o), ErrUnsupported)
		}
	}
	return nil, fmt.Errorf("a checkpoint without a state dict is %w; its keys are %s, %s", ErrUnsupported, pickleText(&pyList{all.keys}), remedy)
}

// candidate is a dictionary of tensors.
type candidate struct {
	*place
	tensors int
}

func (c candidate) String() string {
	return fmt.Sprintf("%s (%d tensors)", Quote(c.path), c.tensors)
}

func whichOf(found []candidate) error {
	all := make([]string, len(found))
	for i, c := range found {
		all[i] = c.String()
	}
	return fmt.Errorf("it has several dictionaries of tensors, %s; %w", list(all), ErrKey)
}

// list joins the first of a list.
func list(all []string) string {
	const most = 10
	if n := len(all) - most; n > 0 {
		all = append(slices.Clone(all[:most]), fmt.Sprintf("and %d more", n))
	}
	return strings.Join(all, ", ")
}

// candidates returns the dictionaries of tensors of a checkpoint. It looks at a thousand containers
// and four levels deep, and not into what belongs to an optimiser: its state, whose keys are
// numbers, or that is called so.
func candidates(root *place) (found []candidate) {
	const most, deepest, longest = 1000, 4, 60
	seen := map[any]bool{}
	type level struct {
		*place
		depth int
	}
	queue := []level{{root, 0}}
	for ; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		add := func(key, v any) {
			switch v.(type) {
			case *pyDict, *pyList, *pyTuple, *pyObject:
				if !seen[v] && len(seen) < most && at.depth < deepest {
					seen[v] = true
					queue = append(queue, level{at.inner(key, v), at.depth + 1})
				}
			}
		}
		if d := asDict(at.value); d != nil {
			if n := d.tensors(); n > 0 {
				found = append(found, candidate{at.place, n})
			}
			for i, k := range d.keys {
				if key, ok := k.(string); ok && len(key) <= longest && !strings.HasPrefix(key, "optim") {
					add(k, d.values[i])
				}
			}
			continue
		}
		for i, v := range sequence(at.value) {
			if i < most {
				add(int64(i), v)
			}
		}
	}
	return found
}

// inner returns the place of a value in the one at at.
func (at *place) inner(key, value any) *place {
	path := keyText(key)
	if at.path != "" {
		path = at.path + "." + path
	}
	return &place{path: path, value: value, outer: at, key: key}
}

// tensors counts the values that are tensors.
func (d *pyDict) tensors() (n int) {
	for _, v := range d.values {
		if _, ok := v.(*view); ok {
			n++
		}
	}
	return n
}

// resolve returns the state dict at a path of keys and indices that are separated by dots, which
// keys may have in them, too. What is left of the path is a prefix of the names of tensors there.
func resolve(root *place, path string) (at *place, prefix string, err error) {
	at = root
	for rest := path; rest != ""; {
		inner, left, ok := at.step(rest)
		if !ok {
			if d := asDict(at.value); d != nil && d.tensors() > 0 {
				return at, rest, nil
			}
			return nil, "", noKey(root, path, "is not there")
		}
		at, rest = inner, left
	}
	if d := asDict(at.value); d == nil || d.tensors() == 0 {
		return nil, "", noKey(root, path, "is "+pickleText(at.value)+" without tensors")
	}
	return at, "", nil
}

// step follows the longest key that a path begins with.
func (at *place) step(path string) (inner *place, rest string, ok bool) {
	try := func(key, v any, text string) {
		left, found := strings.CutPrefix(path, text)
		if found && left != "" {
			left, found = strings.CutPrefix(left, ".")
		}
		if _, isTensor := v.(*view); !found || isTensor || ok && len(left) > len(rest) {
			return
		}
		inner, rest, ok = at.inner(key, v), left, true
	}
	if d := asDict(at.value); d != nil {
		for i, k := range d.keys {
			switch k := k.(type) {
			case string:
				try(k, d.values[i], k)
			case int64:
				try(k, d.values[i], strconv.FormatInt(k, 10))
			}
		}
		return inner, rest, ok
	}
	for i, v := range sequence(at.value) {
		try(int64(i), v, strconv.Itoa(i))
	}
	return inner, rest, ok
}

// noKey is the error of a path that leads nowhere.
func noKey(root *place, path, why string) error {
	found := candidates(root)
	all := make([]string, len(found))
	for i, c := range found {
		all[i] = c.String()
	}
	return fmt.Errorf("key %s %s; the dictionaries of tensors are %s; %w", Quote(path), why, list(all), ErrKey)
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
		if v = o.state; o.dict != nil {
			v = o.dict
		}
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
