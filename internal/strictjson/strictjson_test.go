package strictjson

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gomae/gomae/internal/testkit"
)

type common struct {
	Width int `json:"width"`
}

type entry struct {
	Name string `json:"-"`
	Size int    `json:"size"`
}

type entries []entry

func (e *entries) UnmarshalJSON(b []byte) (err error) {
	*e, err = List(b, func(x *entry) *string { return &x.Name })
	return err
}

type config struct {
	common
	List entries    `json:"list"`
	Pair [2]float64 `json:"pair"`
}

func TestUnmarshal(t *testing.T) {
	var c config
	if err := Unmarshal([]byte(`{"list": {"z": {"size": 1}, "a": {"size": 2}}, "width": 3, "pair": [0.5, 2]}`), "m", &c); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c); got != "{{3} [{z 1} {a 2}] [0.5 2]}" {
		t.Errorf("read %s", got)
	}
	if err := Unmarshal([]byte("\xef\xbb\xbf{\"width\": 5}"), "m", &c); err != nil || c.Width != 5 {
		t.Errorf("with a byte order mark: %v, %v", c, err)
	}
	for in, want := range map[string]string{
		" ":                                     "is empty",
		`{"widht": 3}`:                          `widht: unknown key at the top level; did you mean "width"? (line 1, column 11)`,
		`{"list": {"z": {"siz": 1}}}`:           `list.z.siz: unknown key at list.z; did you mean "size"? (line 1, column 24)`,
		`{"colour": 3}`:                         `unknown key at the top level; want one of "list", "pair", "width"`,
		"{\n \"ü\": {},\n \"width\": \"3\"}":    `ü: unknown key at the top level; want one of "list", "pair", "width" (line 2, column 7)`,
		"{\n \"list\": {},\n \"width\": \"3\"}": `width: got the text "3", want a whole number (line 3, column 11)`,
		`{"width": 1e3}`:                        `got 1e3, want a whole number`,
		`{"width": [1]}`:                        `got the list [1], want a whole number`,
		`{"pair": [0.9]}`:                       `pair: got the list [0.9], want a list of 2 numbers (line 1, column 10)`,
		`{"pair": [1, 2, 3]}`:                   `got the list [1, 2, 3], want a list of 2 numbers`,
		`{"pair": []}`:                          `got the list [], want a list of 2 numbers`,
		`{"pair": 1}`:                           `got 1, want a list of 2 numbers`,
		`{"width": {}}`:                         `got an object, want a whole number`,
		`{"list": 7}`:                           `list: got 7, want an object (line 1, column 10)`,
		"{\n \"width\": 1,\n}":                  `line 2, column 12: a comma before "}"`,
		"{\n // width\n}":                       `line 2, column 2: JSON has no comments`,
		"{'width': 1}":                          `line 1, column 2: JSON has its texts in double quotes`,
		"{\"list\": {}\n \"width\": 1}":         `line 2, column 2: a comma is missing`,
		"{\"width\": 1":                         `line 1, column 12: it ends too early`,
		"\xff\xfe{\x00}\x00":                    "UTF-16",
		`{"model_type": "vit_mae", "x": 1}`:     `model_type: it describes a model "vit_mae"`,
		`{"width": 1, "width": 2}`:              `key "width"`,
		`[1]`:                                   "want an object",
		`{"model": "n", "x": 1}`:                `model: got "n", want "m"`,
		`{"width": `:                            "ends too early",
	} {
		t.Run(in, func(t *testing.T) {
			testkit.ErrorNames(t, Unmarshal([]byte(in), "m", new(config)), want)
		})
	}
}

func TestMarshalList(t *testing.T) {
	name := func(x *entry) *string { return &x.Name }
	b, err := MarshalList(entries{{"z", 1}, {"a", 2}}, name)
	if err != nil || string(b) != `{"z":{"size":1},"a":{"size":2}}` {
		t.Errorf("%s, %v", b, err)
	}
	if b, err := MarshalList(entries{}, name); err != nil || string(b) != "{}" {
		t.Errorf("empty: %s, %v", b, err)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"depth", "rgb", "semseg", "norm_rgb"}
	for word, want := range map[string]string{"rbg": "rgb", "Depth": "depth", "sem": "semseg", "semantic": "", "normrgb": "norm_rgb", "rgb": "rgb", "": "", "x": "", "thermal": ""} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
	if got := Nearest("x", nil); got != "" {
		t.Errorf("Nearest of nothing: %q", got)
	}
	// Words of a megabyte, as only a hostile file has them.
	long := strings.Repeat("ab", 1<<19)
	if got := Nearest(long+"x", []string{"rgb", long}); got != long { // all of it would take minutes
		t.Errorf("Nearest of a long word has %d bytes", len(got))
	}
}

func TestDifference(t *testing.T) {
	const a = `{"w": 1, "in": {"x": {"s": 2}, "y": {"s": 3}}}`
	for _, c := range []struct{ b, want string }{
		{`{"w":1,"in":{"x":{"s":2},"y":{"s":3}}}`, "||"},
		{`{"w":1.0,"in":{"x":{"s":2e0},"y":{"s":0.3e1}}}`, "||"},
		{`{"w": 1, "in": {"x": {"s": 2}, "y": {"s": 4}}}`, "in.y.s|3|4"},
		{`{"in": {"x": {"s": 2}, "y": {"s": 3}}}`, "w|1|none"},
		{`{"w": 1, "in": {"x": {"s": 2}, "y": {"s": 3}, "z": {"s": 5}}}`, "in.z.s|none|5"},
		{`{"w": 1, "in": {"y": {"s": 3}, "x": {"s": 2}}}`, "in.y.s|after in.x.s|before it"},
	} {
		t.Run(c.want, func(t *testing.T) {
			if key, x, y := Difference([]byte(a), []byte(c.b)); key+"|"+x+"|"+y != c.want {
				t.Errorf("got %s|%s|%s", key, x, y)
			}
		})
	}
	// Thousands of levels, as only a hostile file has them: each must not hold a copy of the rest.
	for _, level := range []string{`{"a":`, `[`} {
		closed := map[string]string{`{"a":`: "}", `[`: "]"}[level]
		deep := `{"x":` + strings.Repeat(level, 5000) + `"` + strings.Repeat("t", 1<<16) + `"` + strings.Repeat(closed, 5000) + `}`
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		key, _, _ := Difference([]byte(deep), []byte(`{"x":1}`))
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 || !strings.HasPrefix(key, "x") {
			t.Errorf("%s: the difference is %.40s, for %d bytes", level, key, got)
		}
	}
}

// TestShort wants a message to keep its ends and an error its kind.
func TestShort(t *testing.T) {
	kind := errors.New("kind")
	err := fmt.Errorf("key: %s: %w; remedy", strings.Repeat("é", 1<<20), kind)
	got := Short(err)
	if text := got.Error(); !errors.Is(got, kind) || len(text) > 1000 || !utf8.ValidString(text) || !strings.HasPrefix(text, "key: é") || !strings.HasSuffix(text, "é: kind; remedy") {
		t.Errorf("got %q", got)
	}
	if Short(kind) != kind || Short(nil) != nil {
		t.Error("a short error is changed")
	}
}
