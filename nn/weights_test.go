package nn

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// model is a small set of parameters with values of their own.
func model(prefix string) *Params {
	ps := NewParams()
	NewLinear(ps, prefix+"fc", 3, 2, true)
	ps.AddFixed(prefix+"pos_emb", Ones, 1, 2, 2)
	ps.Init(7)
	return ps
}

func safetensorsOf(t *testing.T, tensors ...NamedTensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteSafetensors(&b, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLoad(t *testing.T) {
	want := model("")
	want.Get("fc.bias").Data[0] = float32(math.Inf(1)) // any bits are carried
	want.Get("fc.bias").Data[1] = math.Float32frombits(0x7fc12345)
	file := safetensorsOf(t, want.Tensors()...)
	var zipped bytes.Buffer
	z := zip.NewWriter(&zipped)
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("m%d.safetensors", method), Method: method})
		if err != nil {
			t.Fatal(err)
		}
		w.Write(file)
	}
	z.Close()
	archive, err := zip.NewReader(bytes.NewReader(zipped.Bytes()), int64(zipped.Len()))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "m.safetensors"), file, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		fsys fs.FS
		name string
	}{
		{"os.DirFS", os.DirFS(dir), "m.safetensors"},
		{"a file in memory", fstest.MapFS{"a/m.safetensors": {Data: file}}, "a/m.safetensors"},
		{"no io.ReaderAt", archive, "m0.safetensors"},
		{"a compressed file", archive, "m8.safetensors"},
	} {
		f, err := OpenSafetensorsFS(c.fsys, c.name)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		got := model("")
		for _, p := range got.All() {
			clear(p.Data)
		}
		if err := got.Load(f); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		for _, p := range got.All() {
			sameBits(t, c.what+": "+p.Name, p.Data, want.Get(p.Name).Data)
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: close: %v", c.what, err)
		}
	}
}

// TestLoadConverted checks that other floating-point types and orders are read.
func TestLoadConverted(t *testing.T) {
	ps := model("")
	f := mustOpen(t, safetensorsOf(t,
		NamedTensor{"pos_emb", []int{1, 2, 2}, []float32{1, 2, 3, 4}},
		NamedTensor{"fc.bias", []int{2}, []float64{0.1, -2}},
		NamedTensor{"fc.weight", []int{2, 3}, []float64{1, 2, 3, 4, 5, 6}},
	))
	if err := ps.Load(f); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(ps.Get("fc.weight").Data, ps.Get("fc.bias").Data, ps.Get("pos_emb").Data); got != "[1 2 3 4 5 6] [0.1 -2] [1 2 3 4]" {
		t.Errorf("read %s", got)
	}
}

// TestLoadStrict checks that every difference is named, and then nothing read.
func TestLoadStrict(t *testing.T) {
	weight, bias, table := NamedTensor{"fc.weight", []int{2, 3}, make([]float32, 6)}, NamedTensor{"fc.bias", []int{2}, make([]float32, 2)}, NamedTensor{"pos_emb", []int{1, 2, 2}, make([]float32, 4)}
	long := strings.Repeat("x", 5000)
	for _, c := range []struct {
		what    string
		tensors []NamedTensor
		lines   []string // of the error, after the first
	}{
		{"missing", []NamedTensor{weight}, []string{"missing fc.bias [2]", "missing pos_emb [1 2 2]"}},
		{"unexpected", []NamedTensor{weight, bias, table, {"fc.scale", []int{4}, make([]float32, 4)}, {"ids", []int{1}, []int64{1}}}, []string{`unexpected "fc.scale" [4]`, `unexpected "ids" [1]`}},
		{"shapes", []NamedTensor{{"fc.weight", []int{3, 2}, make([]float32, 6)}, {"fc.bias", []int{2, 1}, make([]float32, 2)}, table},
			[]string{"fc.weight has shape [3 2], the model wants [2 3]", "fc.bias has shape [2 1], the model wants [2]"}},
		{"integers", []NamedTensor{weight, {"fc.bias", []int{2}, make([]int64, 2)}, table}, []string{"fc.bias has dtype I64, the model wants one of [F32 F16 BF16 F64]"}},
		{"all at once", []NamedTensor{{"pos_emb", []int{4}, make([]float32, 4)}, bias, {"more", nil, make([]float32, 1)}},
			[]string{"missing fc.weight [2 3]", "pos_emb has shape [4], the model wants [1 2 2]", `unexpected "more" []`}},
		{"a long name", []NamedTensor{weight, bias, table, {long, nil, make([]float32, 1)}}, nil},
	} {
		ps := model("")
		err := ps.Load(mustOpen(t, safetensorsOf(t, c.tensors...)))
		if err == nil {
			t.Errorf("%s: no error", c.what)
			continue
		}
		for _, p := range model("").All() {
			sameBits(t, c.what+": "+p.Name, ps.Get(p.Name).Data, p.Data)
		}
		lines := strings.Split(err.Error(), "\n  ")
		if first := fmt.Sprintf("safetensors: %d of its tensors and the model's do not match; use the config.json that belongs to the file:", len(lines)-1); lines[0] != first {
			t.Errorf("%s: error begins %q, want %q", c.what, lines[0], first)
		}
		if c.lines != nil && fmt.Sprint(lines[1:]) != fmt.Sprint(c.lines) {
			t.Errorf("%s: error lists %q, want %q", c.what, lines[1:], c.lines)
		}
		if len(err.Error()) > 1000 {
			t.Errorf("%s: an error of %d bytes", c.what, len(err.Error()))
		}
	}
	// A list that nobody would read is cut short.
	ps := NewParams()
	for i := range 50 {
		ps.Add(fmt.Sprint("p", i), Zeros, 1)
	}
	err := ps.Load(mustOpen(t, safetensorsOf(t, weight)))
	if s := fmt.Sprint(err); !strings.Contains(s, "safetensors: 51 of its tensors") || !strings.HasSuffix(s, "missing p19 [1]\n  … and 31 more") {
		t.Errorf("51 problems: %v", err)
	}
}

func TestOpenSafetensorsFSErrors(t *testing.T) {
	good := safetensorsOf(t, NamedTensor{"a", []int{2}, make([]float32, 2)})
	fsys := fstest.MapFS{"cut.safetensors": {Data: good[:len(good)-1]}, "empty.safetensors": {}, "folder/x": {}, "good.safetensors": {Data: good}}
	for _, wrap := range []func(fs.FS) fs.FS{func(f fs.FS) fs.FS { return f }, func(f fs.FS) fs.FS { return streams{f} }} {
		for name, want := range map[string]string{
			"cut.safetensors":   "safetensors: cut.safetensors: ",
			"empty.safetensors": "safetensors: empty.safetensors: 0 bytes is too short",
			"none.safetensors":  "open none.safetensors: ",
			"folder":            "folder: not a regular file",
			"../x":              "open ../x: ",
		} {
			if f, err := OpenSafetensorsFS(wrap(fsys), name); f != nil || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		f, err := OpenSafetensorsFS(wrap(fsys), "good.safetensors")
		if err != nil {
			t.Fatal(err)
		}
		if v, err := f.Float32("a"); err != nil || len(v) != 2 {
			t.Errorf("%v %v", v, err)
		}
		if _, err := f.Float32("b"); err == nil || !strings.HasPrefix(err.Error(), "safetensors: good.safetensors: ") {
			t.Errorf("a tensor that is not there: %v", err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// streams hides that files can be read at random.
type streams struct{ fs.FS }

func (s streams) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return struct{ fs.File }{f}, nil
}
