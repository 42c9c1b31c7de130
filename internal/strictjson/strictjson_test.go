package strictjson

import (
	"fmt"
	"strings"
	"testing"
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
	List entries `json:"list"`
}

func TestUnmarshal(t *testing.T) {
	var c config
	if err := Unmarshal([]byte(`{"list": {"z": {"size": 1}, "a": {"size": 2}}, "width": 3}`), "m", &c); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c); got != "{{3} [{z 1} {a 2}]}" {
		t.Errorf("read %s", got)
	}
	for in, want := range map[string]string{
		" ":                          "is empty",
		`{"widht": 3}`:               `widht: unknown key at the top level; did you mean "width"?`,
		`{"list": {"z": {"sz": 1}}}`: `list: z: sz: unknown key at list.z; did you mean "size"?`,
		`{"width": 1, "width": 2}`:   `key "width" stands twice`,
		`[1]`:                        "want an object",
		`{"model": "n", "x": 1}`:     `model: got "n", want "m"`,
		`{"width": `:                 "EOF",
	} {
		if err := Unmarshal([]byte(in), "m", new(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", in, err, want)
		}
	}
}

func TestMarshalObject(t *testing.T) {
	names := []string{"z", "a"}
	b, err := MarshalObject(2, func(i int) (string, any) { return names[i], i })
	if err != nil || string(b) != `{"z":0,"a":1}` {
		t.Errorf("%s, %v", b, err)
	}
	if b, err := MarshalObject(0, nil); err != nil || string(b) != "{}" {
		t.Errorf("empty: %s, %v", b, err)
	}
}
