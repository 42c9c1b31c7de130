// Package strictjson reads configurations: JSON objects in which every key must be known, and some
// of which keep their order.
package strictjson

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Unmarshal reads the JSON object b, whose key "model" must be model, into v, a pointer to a
// struct. An error names an unknown key and the nearest known one.
func Unmarshal(b []byte, model string, v any) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return errors.New("is empty; want a JSON object such as the config.json of a run")
	}
	// The keys of another model must not be reported as misspelled.
	var kind struct{ Model string }
	if json.Unmarshal(b, &kind) == nil && kind.Model != "" {
		if err := CheckModel(kind.Model, model); err != nil {
			return err
		}
	}
	return UnmarshalObject(b, v)
}

// UnmarshalObject is Unmarshal for a JSON object that describes no model.
func UnmarshalObject(b []byte, v any) error {
	if err := checkKeys("", b, reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// CheckModel returns an error unless the key "model" of a configuration has the wanted value.
func CheckModel(got, want string) error {
	if got != want {
		return fmt.Errorf("model: got %q, want %q", got, want)
	}
	return nil
}

// checkKeys compares the keys of a JSON object with the tags of the struct that it will be read
// into, because encoding/json cannot name a near miss.
func checkKeys(path string, b []byte, t reflect.Type) error {
	if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct { // an object that keeps its order
		return Object(b, func(name string, raw []byte) error {
			return checkKeys(path+"."+name, raw, t.Elem())
		})
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	known := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) { // those of embedded structs, too
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "" && tag != "-" {
			known[tag] = f.Type
		}
	}
	at := "the top level"
	if path != "" {
		at = strings.TrimPrefix(path, ".")
	}
	return Object(b, func(name string, raw []byte) error {
		ft, ok := known[name]
		if !ok {
			return fmt.Errorf("unknown key at %s; did you mean %q?", at, Nearest(name, slices.Sorted(maps.Keys(known))))
		}
		return checkKeys(path+"."+name, raw, ft)
	})
}

// Object calls f for each member of a JSON object, in file order.
func Object(b []byte, f func(name string, raw []byte) error) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if tok, err := dec.Token(); err != nil {
		return err
	} else if tok != json.Delim('{') {
		return fmt.Errorf("got %v, want an object", tok)
	}
	for seen := map[string]bool{}; dec.More(); {
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		name := tok.(string)
		if seen[name] {
			return fmt.Errorf("key %q is given twice", name)
		}
		seen[name] = true
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		if err := f(name, raw); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// List reads a JSON object as a list of its members in file order. The key of a member goes where
// name says.
func List[T any](b []byte, name func(*T) *string) ([]T, error) {
	var list []T
	err := Object(b, func(key string, raw []byte) error {
		var x T
		*name(&x) = key
		if err := json.Unmarshal(raw, &x); err != nil {
			return err
		}
		list = append(list, x)
		return nil
	})
	return list, err
}

// MarshalList is the inverse of List.
func MarshalList[T any](list []T, name func(*T) *string) ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteByte('{')
	for i := range list {
		key, err := json.Marshal(*name(&list[i]))
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(list[i])
		if err != nil {
			return nil, err
		}
		if i > 0 {
			buf.WriteByte(',')
		}
		buf.Write(key)
		buf.WriteByte(':')
		buf.Write(value)
	}
	buf.WriteByte('}')
	return buf.Bytes(), nil
}

// Short returns err with a message of at most a thousand bytes, because keys and values of a hostile
// file have as many as the file. The beginning names the key, and the end the remedy.
func Short(err error) error {
	const head, tail = 700, 250
	if err == nil || len(err.Error()) <= head+tail {
		return err
	}
	text := err.Error()
	return &short{strings.ToValidUTF8(text[:head], "") + " … " + strings.ToValidUTF8(text[len(text)-tail:], ""), err}
}

type short struct {
	text string
	err  error
}

func (s *short) Error() string { return s.text }
func (s *short) Unwrap() error { return s.err }

// Difference returns the first key in which two JSON objects differ, as "outer.inner" for an object in
// an object, and its values, "none" for a missing one. All are "" where there is no difference. The
// order of keys counts, as it does for modalities.
func Difference(a, b []byte) (key, x, y string) {
	as, bs := leaves("", a), leaves("", b)
	ofA, ofB := values(as), values(bs)
	for _, e := range as {
		if y := cmp.Or(ofB[e.key], "none"); y != e.value {
			return e.key, e.value, y
		}
	}
	for i, e := range bs {
		if x := cmp.Or(ofA[e.key], "none"); x != e.value {
			return e.key, x, e.value
		}
		if i < len(as) && as[i] != e {
			return e.key, "after " + as[i].key, "before it"
		}
	}
	return "", "", ""
}

func values(list []leaf) map[string]string {
	m := make(map[string]string, len(list))
	for _, e := range list {
		m[e.key] = e.value
	}
	return m
}

type leaf struct{ key, value string }

// leaves lists the values of an object in order, with those of objects in it in their place.
func leaves(prefix string, object []byte) (list []leaf) {
	Object(object, func(name string, raw []byte) error {
		if inner := leaves(prefix+name+".", raw); inner != nil {
			list = append(list, inner...)
			return nil
		}
		var b bytes.Buffer
		json.Compact(&b, raw)
		list = append(list, leaf{prefix + name, b.String()})
		return nil
	})
	return list
}

// Nearest returns the candidate with the smallest edit distance to word, for an error message, or
// "" where there are no candidates. It compares only the first 64 bytes of each, because comparing
// the words of a hostile file could take hours.
func Nearest(word string, candidates []string) string {
	const compared = 64
	word = word[:min(len(word), compared)]
	best, bestDist := "", 1<<30
	for _, candidate := range candidates {
		c := candidate[:min(len(candidate), compared)]
		prev := make([]int, len(c)+1)
		for j := range prev {
			prev[j] = j
		}
		for i := range len(word) {
			diag := prev[0]
			prev[0] = i + 1
			for j := range len(c) {
				cost := 1
				if word[i] == c[j] {
					cost = 0
				}
				diag, prev[j+1] = prev[j+1], min(diag+cost, prev[j]+1, prev[j+1]+1)
			}
		}
		if prev[len(c)] < bestDist {
			best, bestDist = candidate, prev[len(c)]
		}
	}
	return best
}
