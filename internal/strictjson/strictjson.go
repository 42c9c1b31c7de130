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
	"strconv"
	"strings"
	"unicode/utf8"
)

// Unmarshal reads the JSON object b, whose key "model" must be model, into v, a pointer to a
// struct. A byte order mark is skipped. An error names the key, the line and the column, what is
// there and what is wanted, and for an unknown key a near one that is known.
func Unmarshal(b []byte, model string, v any) error {
	b, err := Text(b)
	if err != nil {
		return err
	}
	// The keys of another model must not be reported as misspelled.
	var kind struct {
		Model string
		HF    string `json:"model_type"`
	}
	json.Unmarshal(b, &kind) // a key of another type is reported below
	switch {
	case kind.Model != "":
		if err := CheckModel(kind.Model, model); err != nil {
			return err
		}
	case kind.HF != "":
		return fmt.Errorf("model_type: it describes a model %q of Hugging Face's transformers, want the config.json of a model %q; only the weights of such a model can be converted", kind.HF, model)
	}
	return readObject(b, v)
}

// UnmarshalObject is Unmarshal for a JSON object that describes no model.
func UnmarshalObject(b []byte, v any) error {
	b, err := Text(b)
	if err != nil {
		return err
	}
	return readObject(b, v)
}

// Text returns JSON without its byte order mark. An error says where it stops to be JSON.
func Text(b []byte) ([]byte, error) {
	if bytes.HasPrefix(b, []byte("\xff\xfe")) || bytes.HasPrefix(b, []byte("\xfe\xff")) {
		return nil, errors.New("is text in UTF-16; save it as UTF-8")
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, errors.New("is empty; want a JSON object such as the config.json of a run")
	}
	return b, checkSyntax(b)
}

func readObject(b []byte, v any) error {
	err := checkKeys("", b, reflect.TypeOf(v).Elem())
	if k := new(keyError); errors.As(err, &k) {
		k.where = position(b, k.at)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// keyError is an error about the value of a key.
type keyError struct {
	key   string // from the outermost object: "train.steps"
	at    int64  // where the value begins
	where string // the same as line and column, once it is known
	err   error
}

func (e *keyError) Error() string {
	text := e.key + ": " + e.err.Error()
	if e.where != "" {
		text += " (" + e.where + ")"
	}
	return text
}

func (e *keyError) Unwrap() error { return e.err }

// position returns the line and the column of a byte.
func position(b []byte, at int64) string {
	before := b[:min(max(at, 0), int64(len(b)))]
	line := bytes.Count(before, []byte("\n"))
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return fmt.Sprintf("line %d, column %d", line+1, column+1)
}

// checkSyntax returns an error that says where b stops to be JSON.
func checkSyntax(b []byte) error {
	var raw json.RawMessage
	wrong := new(json.SyntaxError)
	if err := json.Unmarshal(b, &raw); err == nil || !errors.As(err, &wrong) {
		return err
	}
	at := wrong.Offset
	if at > 0 && at <= int64(len(b)) && !strings.HasPrefix(wrong.Error(), "unexpected end") {
		at-- // Offset counts the wrong byte
	}
	before := bytes.TrimRight(b[:at], " \t\r\n")
	rest := b[at:]
	what := "this is not JSON: " + wrong.Error()
	switch {
	case len(rest) == 0:
		what = "it ends too early; a bracket or quote is not closed"
	case bytes.HasSuffix(before, []byte(",")) && (rest[0] == '}' || rest[0] == ']'):
		at = int64(len(before)) - 1
		what = fmt.Sprintf("a comma before %q; remove it", rest[:1])
	case rest[0] == '/' || rest[0] == '#':
		what = "JSON has no comments; remove it"
	case rest[0] == '\'':
		what = "JSON has its texts in double quotes"
	case rest[0] == '"' && len(before) > 0 && before[len(before)-1] != ',':
		what = "a comma is missing before it"
	}
	return fmt.Errorf("%s: %s", position(b, at), what)
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
		return checkType(b, t)
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
			return fmt.Errorf("unknown key at %s%s", at, Hint(name, slices.Sorted(maps.Keys(known))))
		}
		return checkKeys(path+"."+name, raw, ft)
	})
}

// checkType returns an error unless a value can be read into a type.
func checkType(b []byte, t reflect.Type) error {
	err := json.Unmarshal(b, reflect.New(t).Interface())
	if err == nil && t.Kind() == reflect.Array && b[0] == '[' {
		return checkLength(b, t)
	}
	if wrong := new(json.UnmarshalTypeError); err == nil || !errors.As(err, &wrong) {
		return err
	}
	want := "another type"
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		want = "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		want = "a whole number, 0 or more"
	case reflect.Float32, reflect.Float64:
		want = "a number"
	case reflect.String:
		want = "a text"
	case reflect.Bool:
		want = "true or false"
	case reflect.Slice, reflect.Array:
		want = listOf(t)
	}
	return fmt.Errorf("got %s, want %s", describe(b), want)
}

// checkLength returns an error unless a list has as many values as a type of fixed length:
// encoding/json fills up with zeros and drops what is too much.
func checkLength(b []byte, t reflect.Type) error {
	var values []json.RawMessage
	if err := json.Unmarshal(b, &values); err != nil {
		return err
	}
	if len(values) != t.Len() {
		return fmt.Errorf("got %s, want %s", describe(b), listOf(t))
	}
	return nil
}

// listOf says what a list of a type is.
func listOf(t reflect.Type) string {
	of := "numbers"
	if t.Elem().Kind() == reflect.String {
		of = "texts"
	}
	if t.Kind() == reflect.Array {
		return fmt.Sprintf("a list of %d %s", t.Len(), of)
	}
	return "a list of " + of
}

// describe says what a JSON value is.
func describe(b []byte) string {
	const most = 60
	short := string(b[:min(len(b), most)])
	if len(b) > most {
		short = strings.ToValidUTF8(short, "") + "…"
	}
	switch b[0] {
	case '"':
		return "the text " + short
	case '{':
		return "an object"
	case '[':
		return "the list " + short
	}
	return short
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
			e := &keyError{key: name, at: dec.InputOffset() - int64(len(raw)), err: err}
			if inner, ok := err.(*keyError); ok {
				e = &keyError{key: name + "." + inner.key, at: e.at + inner.at, err: inner.err}
			}
			return e
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

// Short returns err with a message of at most a thousand bytes, because keys and values of a
// hostile file have as many as the file. The beginning names the key, and the end the remedy.
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

// Difference returns the first key in which two JSON objects differ, as "outer.inner" for an object
// in an object, and its values, "none" for a missing one. All are "" where there is no difference.
// The order of keys counts, as it does for modalities.
func Difference(a, b []byte) (key, x, y string) {
	as, bs := leaves("", a, nested), leaves("", b, nested)
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

// nested is how deep in objects and lists values are compared one by one. What lies deeper is one
// value: each level holds a copy of its text, and a hostile file has thousands.
const nested = 16

// spelled returns a value in one spelling: 1e-6 and 0.000001 are the same.
func spelled(raw []byte, depth int) string {
	var list []json.RawMessage
	if raw[0] == '[' && depth > 0 && json.Unmarshal(raw, &list) == nil {
		values := make([]string, len(list))
		for i, v := range list {
			values[i] = spelled(v, depth-1)
		}
		return "[" + strings.Join(values, ",") + "]"
	}
	if bytes.ContainsAny(raw, ".eE") { // whole numbers may have more digits than a float64
		if v, err := strconv.ParseFloat(string(raw), 64); err == nil {
			return strconv.FormatFloat(v, 'g', -1, 64)
		}
	}
	var b bytes.Buffer
	json.Compact(&b, raw)
	return b.String()
}

// leaves lists the values of an object in order, with those of objects in it in their place.
func leaves(prefix string, object []byte, depth int) (list []leaf) {
	if depth == 0 {
		return nil
	}
	Object(object, func(name string, raw []byte) error {
		if inner := leaves(prefix+name+".", raw, depth-1); inner != nil {
			list = append(list, inner...)
			return nil
		}
		list = append(list, leaf{prefix + name, spelled(raw, depth-1)})
		return nil
	})
	return list
}

// Hint returns what an error message says of a word that is not among the candidates: "; did you
// mean …?" where one is near, else "; want one of …" where they are few, else "".
func Hint(word string, candidates []string) string {
	const few = 8
	if near := Nearest(word, candidates); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	if n := len(candidates); n == 0 || n > few {
		return ""
	}
	quoted := make([]string, len(candidates))
	for i, c := range candidates {
		quoted[i] = strconv.Quote(c[:min(len(c), compared)])
	}
	return "; want one of " + strings.Join(quoted, ", ")
}

// compared is how many bytes of words are compared, because comparing the words of a hostile file
// could take hours.
const compared = 64

// Nearest returns the candidate with the smallest edit distance to word, or "" where none is near:
// a third of the letters may differ, but for their case, or one is a part of the other.
func Nearest(word string, candidates []string) string {
	word = strings.ToLower(word[:min(len(word), compared)])
	best, bestDist := "", 2*compared
	for _, candidate := range candidates {
		c := strings.ToLower(candidate[:min(len(candidate), compared)])
		dist := distance(word, c)
		part := min(len(word), len(c)) >= 3 && (strings.Contains(word, c) || strings.Contains(c, word))
		if near := part || len(word) > 1 && 3*dist <= len(word); near && dist < bestDist {
			best, bestDist = candidate, dist
		}
	}
	return best
}

// distance is the edit distance of two words; two letters in each other's place are one edit.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, row[j]+1, last[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
