package nn

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomae/gomae/internal/testkit"
	"github.com/gomae/gomae/nn/weights"
)

// model is a small set of parameters with values of their own.
func model(prefix string) *Params {
	ps := NewParams()
	NewLinear(ps, prefix+"fc", 3, 2, true)
	ps.AddFixed(prefix+"pos_emb", Ones, 1, 2, 2)
	ps.Init(7)
	return ps
}

func safetensorsOf(t *testing.T, tensors ...weights.Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := weights.WriteSafetensors(&b, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tensorOf(name string, shape []int, data any) weights.Tensor {
	return weights.Tensor{Name: name, Shape: shape, Data: data}
}

func mustOpen(t *testing.T, b []byte) weights.File {
	t.Helper()
	f, err := weights.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
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
		t.Run(c.what, func(t *testing.T) {
			f, err := weights.OpenFS(c.fsys, c.name)
			if err != nil {
				t.Fatal(err)
			}
			got := model("")
			for _, p := range got.All() {
				clear(p.Data)
			}
			if err := got.Load(f); err != nil {
				t.Error(err)
			}
			for _, p := range got.All() {
				testkit.SameBits(t, p.Name, p.Data, want.Get(p.Name).Data)
			}
			if err := f.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// TestLoadConverted checks that other floating-point types and orders are read.
func TestLoadConverted(t *testing.T) {
	ps := model("")
	f := mustOpen(t, safetensorsOf(t,
		tensorOf("pos_emb", []int{1, 2, 2}, []float32{1, 2, 3, 4}),
		tensorOf("fc.bias", []int{2}, []float64{0.1, -2}),
		tensorOf("fc.weight", []int{2, 3}, []float64{1, 2, 3, 4, 5, 6}),
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
	weight, bias, table := tensorOf("fc.weight", []int{2, 3}, make([]float32, 6)), tensorOf("fc.bias", []int{2}, make([]float32, 2)), tensorOf("pos_emb", []int{1, 2, 2}, make([]float32, 4))
	long := strings.Repeat("x", 5000)
	for _, c := range []struct {
		what    string
		tensors []weights.Tensor
		lines   []string // of the error, after the first
	}{
		{"missing", []weights.Tensor{weight}, []string{"missing fc.bias [2]", "missing pos_emb [1 2 2]"}},
		{"unexpected", []weights.Tensor{weight, bias, table, tensorOf("fc.scale", []int{4}, make([]float32, 4)), tensorOf("ids", []int{1}, []int64{1})}, []string{`unexpected "fc.scale" [4]`, `unexpected "ids" [1]`}},
		{"shapes", []weights.Tensor{tensorOf("fc.weight", []int{3, 2}, make([]float32, 6)), tensorOf("fc.bias", []int{2, 1}, make([]float32, 2)), table},
			[]string{"fc.weight has shape [3 2], the model wants [2 3]", "fc.bias has shape [2 1], the model wants [2]"}},
		{"integers", []weights.Tensor{weight, tensorOf("fc.bias", []int{2}, make([]int64, 2)), table}, []string{"fc.bias has dtype I64, the model wants floating-point numbers"}},
		{"all at once", []weights.Tensor{tensorOf("pos_emb", []int{4}, make([]float32, 4)), bias, tensorOf("more", nil, make([]float32, 1))},
			[]string{"missing fc.weight [2 3]", "pos_emb has shape [4], the model wants [1 2 2]", `unexpected "more" []`}},
		{"a long name", []weights.Tensor{weight, bias, table, tensorOf(long, nil, make([]float32, 1))}, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			ps := model("")
			err := ps.Load(mustOpen(t, safetensorsOf(t, c.tensors...)))
			if err == nil {
				t.Fatal("no error")
			}
			for _, p := range model("").All() {
				testkit.SameBits(t, p.Name, ps.Get(p.Name).Data, p.Data)
			}
			lines := strings.Split(err.Error(), "\n  ")
			if number := fmt.Sprintf("safetensors: %d of", len(lines)-1); !strings.HasPrefix(lines[0], number) || !strings.Contains(lines[0], "config.json") {
				t.Errorf("error begins %q, want the file, the number of problems and the remedy", lines[0])
			}
			if c.lines != nil && fmt.Sprint(lines[1:]) != fmt.Sprint(c.lines) {
				t.Errorf("error lists %q, want %q", lines[1:], c.lines)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
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

func TestLoadWith(t *testing.T) {
	file := func(tensors ...weights.Tensor) weights.File { return mustOpen(t, safetensorsOf(t, tensors...)) }
	weight := tensorOf("fc.weight", []int{2, 3}, []float32{1, 2, 3, 4, 5, 6})
	all := LoadOptions{
		Keep:   func(name string) bool { return name == "fc.bias" },
		Ignore: func(key string) bool { return strings.HasPrefix(key, "head.") },
		Adapt: func(name string, from []int, data []float32, want []int) []float32 {
			if name != "pos_emb" || len(from) != 1 {
				return nil
			}
			return []float32{data[0], data[0], data[1], data[1]}
		},
	}
	ps := model("")
	bias := slices.Clone(ps.Get("fc.bias").Data)
	r, err := ps.LoadWith(file(weight, tensorOf("pos_emb", []int{2}, []float32{8, 9}), tensorOf("head.w", nil, []int64{1})), all)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%+v", *r); got != "{Missing:[fc.bias] Unexpected:[head.w] Adapted:[{Name:pos_emb From:[2] To:[1 2 2]}]}" {
		t.Errorf("report %s", got)
	}
	if got := fmt.Sprint(ps.Get("fc.weight").Data, ps.Get("pos_emb").Data); got != "[1 2 3 4 5 6] [8 8 9 9]" {
		t.Errorf("read %s", got)
	}
	testkit.SameBits(t, "kept", ps.Get("fc.bias").Data, bias)

	// Ignored keys count as missing.
	ignored := LoadOptions{Ignore: func(string) bool { return true }, Keep: func(string) bool { return true }}
	if r, err := model("").LoadWith(file(weight), ignored); err != nil || fmt.Sprint(*r) != "{[fc.weight fc.bias pos_emb] [fc.weight] []}" {
		t.Errorf("%+v %v", r, err)
	}
	table := tensorOf("pos_emb", []int{1, 2, 2}, make([]float32, 4))
	for what, c := range map[string]struct {
		file weights.File
		o    LoadOptions
		want string
	}{
		"not covered": {file(tensorOf("fc.weight", []int{6}, make([]float32, 6)), tensorOf("tail", nil, []float32{1})), all,
			"\n  fc.weight has shape [6], the model wants [2 3]\n  missing pos_emb [1 2 2]\n  unexpected \"tail\" []"},
		"strict":                      {file(weight, table), LoadOptions{}, "missing fc.bias [2]"},
		"read error":                  {broken{file(weight, table, tensorOf("fc.bias", []int{2}, make([]float32, 2)))}, LoadOptions{}, "broken"},
		"read error of another shape": {broken{file(weight, tensorOf("pos_emb", []int{2}, make([]float32, 2)), tensorOf("fc.bias", []int{2}, make([]float32, 2)))}, all, "broken"},
	} {
		t.Run(what, func(t *testing.T) {
			ps := model("")
			if _, err := ps.LoadWith(c.file, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			for _, p := range model("").All() {
				testkit.SameBits(t, p.Name, ps.Get(p.Name).Data, p.Data)
			}
		})
	}
}

// TestLoadWithDeferred wants parameters without values to have none after an error of reading.
func TestLoadWithDeferred(t *testing.T) {
	ps := DeferredParams()
	NewLinear(ps, "fc", 3, 2, true)
	ps.AddFixed("pos_emb", Ones, 1, 2, 2)
	if _, err := ps.LoadWith(broken{mustOpen(t, safetensorsOf(t, model("").Tensors()...))}, LoadOptions{}); err == nil {
		t.Fatal("no error")
	}
	for _, p := range ps.All() {
		if p.Data != nil {
			t.Errorf("%s has values: %v", p.Name, p.Data)
		}
	}
}

// broken cannot read the position table.
type broken struct{ weights.File }

func (b broken) ReadFloat32(name string, dst []float32) error {
	if name == "pos_emb" {
		return errors.New("broken")
	}
	return b.File.ReadFloat32(name, dst)
}

func (b broken) Float32(name string) ([]float32, error) {
	if name == "pos_emb" {
		return nil, errors.New("broken")
	}
	return b.File.Float32(name)
}
