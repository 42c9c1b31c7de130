package teacher

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gomae/gomae/internal/strictjson"
	"github.com/gomae/gomae/multimae"
)

//go:embed known
var known embed.FS

// ClassLists returns the names of the lists of classes that a description may use: "ade20k" as
// "@ade20k".
func ClassLists() (names []string) { return embedded(".txt") }

// Known returns the names of the descriptions that come with the package, for KnownDescription.
func Known() (names []string) { return embedded(".json") }

func embedded(ext string) (names []string) {
	entries, err := known.ReadDir("known")
	if err != nil {
		panic("teacher: " + err.Error()) // they are part of the program
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ext); ok {
			names = append(names, name)
		}
	}
	return names
}

// KnownDescription returns the JSON of a description by its name.
func KnownDescription(name string) ([]byte, error) {
	b, err := known.ReadFile("known/" + name + ".json")
	if err != nil {
		return nil, fmt.Errorf("no description %q; there are %s", name, strings.Join(Known(), ", "))
	}
	return b, nil
}

// table says which label each class of a network becomes.
type table struct {
	names    []string // of the labels, by id
	ids      []uint8  // of each class; multimae.IDIgnored for none
	numbered bool     // names are only numbers
}

// table makes the table that Classes, Labels and Rest describe. Without Classes it is nil: the output
// then says how many there are.
func (d *Description) table() (*table, error) {
	classes, err := expand(d.Classes)
	if err != nil {
		return nil, err
	}
	if len(classes) == 0 {
		if len(d.Labels) > 0 || d.Rest != "" {
			return nil, errors.New("classes: missing, but labels or rest refer to them")
		}
		return nil, nil
	}
	if !oneOf(d.Rest, "", "ignore", "keep") {
		return nil, fmt.Errorf(`rest: got %q, want "ignore" or "keep"`, d.Rest)
	}
	if len(d.Labels) == 0 && d.Rest != "" {
		return nil, errors.New("rest: not used without labels; remove it")
	}
	if len(d.Labels) == 0 {
		return tableOf(classes)
	}
	t := &table{ids: slices.Repeat([]uint8{multimae.IDIgnored}, len(classes))}
	if err := strictjson.Object(d.Labels, func(label string, raw []byte) error { return t.add(label, raw, classes) }); err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	if len(t.names) == 0 && d.Rest == "ignore" {
		return nil, errors.New(`labels: got {} and rest "ignore", which leave no class; add a label, or remove both`)
	}
	if d.Rest == "keep" {
		return t, t.keep(classes)
	}
	if missing := t.missing(classes); d.Rest == "" && len(missing) > 0 {
		return nil, fmt.Errorf(`labels: no label for %s; add them, or set rest to "ignore" or "keep"`, list(missing))
	}
	return t, nil
}

// tableOf returns the table of classes that stay what they are.
func tableOf(classes []string) (*table, error) {
	t := &table{ids: slices.Repeat([]uint8{multimae.IDIgnored}, len(classes))}
	return t, t.keep(classes)
}

// expand replaces the names of lists by their classes.
func expand(names []string) (classes []string, err error) {
	for _, name := range names {
		listName, ok := strings.CutPrefix(name, "@")
		if !ok {
			classes = append(classes, name)
			continue
		}
		b, err := known.ReadFile("known/" + listName + ".txt")
		if err != nil {
			return nil, fmt.Errorf("classes: no list %q; there are @%s", name, strings.Join(ClassLists(), ", @"))
		}
		for line := range strings.Lines(string(b)) {
			classes = append(classes, strings.TrimSpace(line))
		}
	}
	if len(classes) > maxClasses {
		return nil, fmt.Errorf("classes: got %d, want at most %d", len(classes), maxClasses)
	}
	if i := slices.Index(classes, ""); i >= 0 {
		return nil, fmt.Errorf("classes: number %d has no name", i)
	}
	return classes, nil
}

// add makes the classes that raw lists, by name or number, a label.
func (t *table) add(label string, raw []byte, classes []string) error {
	id, err := t.id(label)
	if err != nil {
		return err
	}
	var members []json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return errors.New("want a list of classes, by name or number")
	}
	for _, m := range members {
		var name string
		var number int
		switch {
		case json.Unmarshal(m, &number) == nil:
			if !inside(number, 0, len(classes)-1) {
				return fmt.Errorf("class %d: want 0..%d", number, len(classes)-1)
			}
		case json.Unmarshal(m, &name) == nil:
			number = slices.Index(classes, name)
			if number < 0 {
				return fmt.Errorf("%q is not among the classes%s", name, strictjson.Hint(name, classes))
			}
			if again := slices.Index(classes[number+1:], name); again >= 0 {
				return fmt.Errorf("several classes are called %q; give the number: %d or %d", name, number, number+1+again)
			}
		default:
			return errors.New("want a list of classes, by name or number")
		}
		if t.ids[number] != multimae.IDIgnored {
			return fmt.Errorf("class %d (%s) has the label %q already", number, classes[number], t.names[t.ids[number]])
		}
		t.ids[number] = id
	}
	return nil
}

// keep makes every class that has no label a label of its own name. Classes of one name share it.
func (t *table) keep(classes []string) error {
	for i, name := range classes {
		if t.ids[i] != multimae.IDIgnored {
			continue
		}
		id, err := t.id(name)
		if err != nil {
			return err
		}
		t.ids[i] = id
	}
	return nil
}

// id returns the id of a label, which is added if it is new.
func (t *table) id(label string) (uint8, error) {
	if i := slices.Index(t.names, label); i >= 0 {
		return uint8(i), nil
	}
	if label == "" {
		return 0, errors.New("a label has no name")
	}
	if len(t.names) == maxLabels {
		return 0, fmt.Errorf("labels: more than %d; merge some, so that an id fits 8 bits", maxLabels)
	}
	t.names = append(t.names, label)
	return uint8(len(t.names) - 1), nil
}

// missing lists the classes that have no label.
func (t *table) missing(classes []string) (names []string) {
	for i, id := range t.ids {
		if id == multimae.IDIgnored {
			names = append(names, fmt.Sprintf("%d (%s)", i, classes[i]))
		}
	}
	return names
}

// list joins words, of which it names five.
func list(words []string) string {
	const shown = 5
	if n := len(words) - shown; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:shown], ", "), n)
	}
	return strings.Join(words, ", ")
}

// joinTables gives the labels of several tables common ids: those of the last table as they are, and
// then, going up, those that are new. Labels of one name are one label.
func joinTables(tables []*table) (names []string, err error) {
	all := new(table)
	for _, t := range slices.Backward(tables) {
		to := make(map[uint8]uint8, len(t.names))
		for i, name := range t.names {
			if to[uint8(i)], err = all.id(name); err != nil {
				return nil, err
			}
		}
		t.names = nil
		for i, id := range t.ids {
			if id != multimae.IDIgnored {
				t.ids[i] = to[id]
			}
		}
	}
	return slices.Clone(all.names), nil
}

// numbered returns the table of n classes without names.
func numbered(n int) (*table, error) {
	if n > maxLabels {
		return nil, fmt.Errorf("classes: the network has %d, too many for ids of 8 bits; name them and merge some by labels", n)
	}
	t := &table{ids: make([]uint8, n), numbered: true}
	for i := range n {
		t.names = append(t.names, fmt.Sprint(i))
		t.ids[i] = uint8(i)
	}
	return t, nil
}
