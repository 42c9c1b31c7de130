package teacher

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomae/gomae/internal/testkit"
)

func TestDescriptionErrors(t *testing.T) {
	for name, c := range map[string]struct{ description, want string }{
		"empty":               {``, "empty"},
		"no object":           {`[]`, "object"},
		"unknown key":         {`{"output": {"knid": "depth"}}`, `"kind"`},
		"no kind":             {`{"model": "a.onnx"}`, "output.kind"},
		"kind":                {`{"output": {"kind": "disparity"}}`, `"inverse_depth"`},
		"layout":              {`{"input": {"layout": "HWC"}, "output": {"kind": "depth"}}`, "input.layout"},
		"channels":            {`{"input": {"channels": "GBR"}, "output": {"kind": "depth"}}`, "input.channels"},
		"two sizes":           {`{"input": {"size": [2, 2], "short_side": 4}, "output": {"kind": "depth"}}`, "short_side"},
		"multiple of size":    {`{"input": {"size": [2, 2], "multiple": 4}, "output": {"kind": "depth"}}`, "input.multiple"},
		"one side":            {`{"input": {"size": [2]}, "output": {"kind": "depth"}}`, "input.size"},
		"huge":                {`{"input": {"size": [2, 1000000000000]}, "output": {"kind": "depth"}}`, "input.size"},
		"negative":            {`{"input": {"short_side": -2}, "output": {"kind": "depth"}}`, "input.short_side"},
		"range":               {`{"input": {"range": [1, 1]}, "output": {"kind": "depth"}}`, "input.range"},
		"mean":                {`{"input": {"mean": [1]}, "output": {"kind": "depth"}}`, "input.mean"},
		"std":                 {`{"input": {"std": [1, 0, 1]}, "output": {"kind": "depth"}}`, "input.std"},
		"output layout":       {`{"output": {"kind": "logits", "layout": "CHW"}}`, "output.layout"},
		"confidence":          {`{"output": {"kind": "logits"}, "confidence": 2}`, "confidence"},
		"confidence of ids":   {`{"output": {"kind": "ids"}, "confidence": 0.5}`, "confidence"},
		"classes of depth":    {`{"output": {"kind": "depth"}, "classes": ["a"]}`, "classes"},
		"no such list":        {`{"output": {"kind": "ids"}, "classes": ["@ade"]}`, "@ade20k"},
		"class without name":  {`{"output": {"kind": "ids"}, "classes": ["a", ""]}`, "number 1"},
		"gap":                 {`{"output": {"kind": "ids"}, "classes": ["a", "b", "c"], "labels": {"x": ["a"]}}`, "1 (b), 2 (c)"},
		"wide gap":            {`{"output": {"kind": "ids"}, "classes": ["@voc"], "labels": {"x": [0]}}`, "15 more"},
		"labels of nothing":   {`{"output": {"kind": "ids"}, "labels": {"x": ["a"]}}`, "classes"},
		"no class":            {`{"output": {"kind": "ids"}, "classes": ["cat"], "labels": {"x": ["cta"]}}`, `"cat"`},
		"number":              {`{"output": {"kind": "ids"}, "classes": ["cat"], "labels": {"x": [1]}}`, "0..0"},
		"no list":             {`{"output": {"kind": "ids"}, "classes": ["cat"], "labels": {"x": "cat"}}`, "labels"},
		"labels are no table": {`{"output": {"kind": "ids"}, "classes": ["cat"], "labels": ["cat"]}`, "labels"},
		"half a class":        {`{"output": {"kind": "ids"}, "classes": ["cat"], "labels": {"x": [0.5]}}`, "number"},
		"two labels":          {`{"output": {"kind": "ids"}, "classes": ["cat"], "labels": {"x": [0], "y": [0]}}`, `"x"`},
		"two classes":         {`{"output": {"kind": "ids"}, "classes": ["a", "b", "a"], "labels": {"x": ["a"]}}`, "0 or 2"},
		"label without name":  {`{"output": {"kind": "ids"}, "classes": ["a"], "labels": {"": ["a"]}}`, "name"},
		"label twice":         {`{"output": {"kind": "ids"}, "classes": ["a"], "labels": {"x": [], "x": [0]}}`, "twice"},
		"rest":                {`{"output": {"kind": "ids"}, "classes": ["a"], "labels": {"x": []}, "rest": "drop"}`, "rest"},
		"nothing is left":     {`{"output": {"kind": "ids"}, "classes": ["a"], "labels": {}, "rest": "ignore"}`, "labels"},
		"rest of nothing":     {`{"output": {"kind": "ids"}, "classes": ["a"], "rest": "keep"}`, "rest"},
		"too many labels":     {`{"output": {"kind": "ids"}, "classes": [` + strings.Repeat(`"@ade20k", `, 2) + `"x"], "labels": {` + numbers(255) + `}}`, "254"},
		"too many classes":    {`{"output": {"kind": "ids"}, "classes": [` + strings.Repeat(`"@ade20k", `, 30) + `"x"]}`, "4096"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseDescription([]byte(c.description))
			testkit.ErrorNames(t, err, c.want)
		})
	}
}

// numbers returns the members of an object that makes each of n classes a label.
func numbers(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"l%d": [%d]`, i, i)
	}
	return strings.Join(list, ", ")
}

func TestTable(t *testing.T) {
	for name, c := range map[string]struct {
		description string
		names       []string
		ids         []uint8
	}{
		"as they are": {`{"output": {"kind": "ids"}, "classes": ["a", "b", "a"]}`, []string{"a", "b"}, []uint8{0, 1, 0}},
		"merged":      {`{"output": {"kind": "ids"}, "classes": ["a", "b", "c"], "labels": {"none": [], "x": [2, "a"], "y": ["b"]}}`, []string{"none", "x", "y"}, []uint8{1, 2, 1}},
		"ignored":     {`{"output": {"kind": "ids"}, "classes": ["a", "b", "c"], "labels": {"x": ["b"]}, "rest": "ignore"}`, []string{"x"}, []uint8{255, 0, 255}},
		"kept":        {`{"output": {"kind": "ids"}, "classes": ["a", "b", "c"], "labels": {"c": ["b"]}, "rest": "keep"}`, []string{"c", "a"}, []uint8{1, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := ParseDescription([]byte(c.description))
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.table()
			if err != nil || !slices.Equal(got.names, c.names) || !slices.Equal(got.ids, c.ids) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// TestKnown reads every description of the package, and looks at the number of classes in its lists.
func TestKnown(t *testing.T) {
	for name, want := range map[string]int{"ade20k": 150, "cityscapes": 19, "coco-panoptic": 133, "voc": 21} {
		if got, err := expand([]string{"@" + name}); err != nil || len(got) != want {
			t.Errorf("%s: %d classes, %v; want %d", name, len(got), err, want)
		}
	}
	if len(ClassLists()) != 4 || len(Known()) < 10 {
		t.Errorf("lists %v, descriptions %v", ClassLists(), Known())
	}
	for _, name := range Known() {
		b, err := KnownDescription(name)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := ParseDescription(b); err != nil || d.About == "" {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	_, err := KnownDescription("midsa")
	testkit.ErrorNames(t, err, "midas-small")
}

// TestDecide judges confidence: the probabilities of classes with one label add up.
func TestDecide(t *testing.T) {
	log := func(p ...float64) (l []float32) {
		for _, v := range p {
			l = append(l, float32(math.Log(v)+3))
		}
		return l
	}
	for name, c := range map[string]struct {
		kind       string
		confidence float64
		scores     []float32
		want       uint8
		finite     bool
	}{
		"largest":           {KindLogits, 0, []float32{1, 2, 1.5}, 1, true},
		"first of equals":   {KindLogits, 0, []float32{1, 1, 1}, 0, true},
		"sure":              {KindLogits, 0.5, log(0.2, 0.6, 0.2), 1, true},
		"not sure":          {KindLogits, 0.7, log(0.2, 0.6, 0.2), 255, true},
		"merged":            {KindLogits, 0.7, log(0.4, 0.25, 0.35), 0, true},
		"probabilities":     {KindProbabilities, 0.7, []float32{4, 2.5, 3.5}, 0, true},
		"of small numbers":  {KindProbabilities, 0.8, []float32{4, 2.5, 3.5}, 255, true},
		"far below":         {KindLogits, 1, []float32{-1000, 1000, -1000}, 1, true},
		"not a number":      {KindLogits, 0.5, []float32{1, float32(math.NaN()), 0}, 0, false},
		"minus infinity":    {KindLogits, 0.5, []float32{1, float32(math.Inf(-1)), 0}, 0, false},
		"only zero chances": {KindProbabilities, 0.5, []float32{0, 0, 0}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := &layer{d: &Description{Output: OutputSpec{Kind: c.kind}, Confidence: c.confidence}, table: &table{ids: []uint8{0, 1, 0}}}
			if got, ok := l.decide(c.scores); ok != c.finite || ok && got != c.want {
				t.Errorf("got %d, %v", got, ok)
			}
		})
	}
}

// TestSize chooses the network's input for photographs of several ratios.
func TestSize(t *testing.T) {
	for _, c := range []struct {
		in         InputSpec
		w, h, x, y int // of the photograph and of the input; 0 for one that is refused
	}{
		{InputSpec{ShortSide: 518, Multiple: 14}, 640, 480, 686, 518},
		{InputSpec{ShortSide: 518, Multiple: 14}, 480, 640, 518, 686},
		{InputSpec{LongSide: 384, Multiple: 32}, 640, 480, 384, 288},
		{InputSpec{LongSide: 100}, 200, 100, 100, 50},
		{InputSpec{LongSide: 384, Multiple: 32}, 5000, 2, 384, 32},
		{InputSpec{ShortSide: 518, Multiple: 14}, 20000, 10, 0, 0},
	} {
		t.Run(fmt.Sprintf("%d×%d", c.w, c.h), func(t *testing.T) {
			x, y, err := (&layer{d: &Description{Input: c.in}}).size(c.w, c.h)
			if x != c.x || y != c.y || (err != nil) != (c.x == 0) {
				t.Errorf("%+v: got %d×%d, %v; want %d×%d", c.in, x, y, err, c.x, c.y)
			}
		})
	}
}

// FuzzDescription reads any bytes. What is accepted has a table that fits it.
func FuzzDescription(f *testing.F) {
	for _, name := range Known() {
		b, err := KnownDescription(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"output": {"kind": "ids"}, "classes": ["a", "b"], "labels": {"x": [0, "b"]}, "rest": "keep"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDescription(b)
		if err != nil {
			if len(err.Error()) > 2000 || d != nil {
				t.Errorf("%d bytes of error, %v", len(err.Error()), d)
			}
			return
		}
		if !d.ofClasses() {
			return
		}
		table, err := d.table()
		if err != nil {
			t.Fatal(err)
		}
		if table != nil {
			for i, id := range table.ids {
				if id != ignored && int(id) >= len(table.names) {
					t.Errorf("class %d has the id %d of %d", i, id, len(table.names))
				}
			}
		}
		again, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseDescription(again); err != nil && !strings.Contains(err.Error(), "UTF") {
			t.Errorf("%s: %v", again, err)
		}
	})
}
