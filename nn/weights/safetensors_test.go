package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomae/gomae/internal/atomicfile"
)

// safeBytes builds a file from a raw header and data, well-formed or not.
func safeBytes(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func openBytes(b []byte) (File, error) {
	return NewReader(bytes.NewReader(b), int64(len(b)))
}

func mustOpen(t *testing.T, b []byte) File {
	t.Helper()
	f, err := openBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSafetensorsRoundTrip(t *testing.T) {
	f32 := make([]float32, 3*chunkSize/4+5) // several chunks and a rest
	for i := range f32 {
		f32[i] = math.Float32frombits(uint32(i) * 2654435761)
	}
	copy(f32, []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), math.MaxFloat32, math.SmallestNonzeroFloat32})
	f32[5], f32[6] = math.Float32frombits(0x7f812345), math.Float32frombits(0xffc54321) // signalling and quiet NaN
	f64 := []float64{math.Pi, math.Float64frombits(0x7ff4000000000123), math.Inf(-1), 1e300}
	i64 := []int64{math.MinInt64, -1, 0, math.MaxInt64}
	u8 := []uint8{0, 1, 255, 7, 9, 3}
	want := []Tensor{
		{"z.weight", []int{len(f32)}, f32},
		{"a", []int{2, 3}, u8},
		{"naïve \"quoted\" <name>", []int{2, 2}, f64},
		{"ids", []int{4, 1}, i64},
		{"scalar", nil, []float32{4}},
		{"empty", []int{0, 7}, []float32{}},
	}
	meta := map[string]string{"format": "pt", "ü": "\n"}
	var out bytes.Buffer
	if err := WriteSafetensors(&out, want, meta); err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint64(out.Bytes()); n%8 != 0 {
		t.Errorf("header length %d is no multiple of 8", n)
	}
	f := mustOpen(t, out.Bytes())
	if !reflect.DeepEqual(f.Metadata(), meta) {
		t.Errorf("metadata %v, want %v", f.Metadata(), meta)
	}
	var names []string
	for _, w := range want {
		names = append(names, w.Name)
		if shape, ok := f.Shape(w.Name); !ok || fmt.Sprint(shape) != fmt.Sprint(w.Shape) {
			t.Errorf("%s: shape %v, want %v", w.Name, shape, w.Shape)
		}
	}
	if !reflect.DeepEqual(f.Names(), names) {
		t.Errorf("names %q, want %q", f.Names(), names)
	}
	got32, err := f.Float32("z.weight")
	if err != nil {
		t.Fatal(err)
	}
	for i := range f32 {
		if g, w := math.Float32bits(got32[i]), math.Float32bits(f32[i]); g != w {
			t.Fatalf("f32[%d] = %#x, want %#x", i, g, w)
		}
	}
	got64, err := f.Float64(want[2].Name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range f64 {
		if g, w := math.Float64bits(got64[i]), math.Float64bits(f64[i]); g != w {
			t.Fatalf("f64[%d] = %#x, want %#x", i, g, w)
		}
	}
	if got, err := f.Int64("ids"); err != nil || !reflect.DeepEqual(got, i64) {
		t.Errorf("ids %v %v", got, err)
	}
	if got, err := f.Int64("a"); err != nil || !reflect.DeepEqual(got, []int64{0, 1, 255, 7, 9, 3}) {
		t.Errorf("a %v %v", got, err)
	}
	if got, err := f.Float32("scalar"); err != nil || len(got) != 1 || got[0] != 4 {
		t.Errorf("scalar %v %v", got, err)
	}
	if got, err := f.Float32("empty"); err != nil || len(got) != 0 {
		t.Errorf("empty %v %v", got, err)
	}
	if d := f.DType("ids") + f.DType("missing"); d != "I64" {
		t.Errorf("DType %q", d)
	}

	var again bytes.Buffer
	if err := WriteSafetensors(&again, want, meta); err != nil || !bytes.Equal(again.Bytes(), out.Bytes()) {
		t.Errorf("the same input gave other bytes (%v)", err)
	}
}

// TestSafetensorsWiden checks all 65536 values of both 16-bit types against their definition.
func TestSafetensorsWiden(t *testing.T) {
	data := make([]byte, 2<<16)
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(data[2*i:], uint16(i))
	}
	for _, dtype := range []string{"F16", "BF16"} {
		f := mustOpen(t, safeBytes(fmt.Sprintf(`{"x":{"dtype":%q,"shape":[65536],"data_offsets":[0,131072]}}`, dtype), data...))
		got, err := f.Float32("x")
		if err != nil {
			t.Fatal(err)
		}
		wide, err := f.Float64("x")
		if err != nil {
			t.Fatal(err)
		}
		expBits, fracBits := 5, 10
		if dtype == "BF16" {
			expBits, fracBits = 8, 7
		}
		bias := 1<<(expBits-1) - 1
		for i := range 1 << 16 {
			frac, exp := i&(1<<fracBits-1), i>>fracBits&(1<<expBits-1)
			var want float64
			switch {
			case exp == 1<<expBits-1 && frac != 0:
				bits := uint32(i>>15)<<31 | 0xff<<23 | uint32(frac)<<(23-fracBits)
				if g := math.Float32bits(got[i]); g != bits || !math.IsNaN(wide[i]) {
					t.Fatalf("%s %#04x: NaN %#x, want %#x", dtype, i, g, bits)
				}
				continue
			case exp == 1<<expBits-1:
				want = math.Inf(1)
			case exp == 0:
				want = math.Ldexp(float64(frac), 1-bias-fracBits)
			default:
				want = math.Ldexp(float64(1<<fracBits+frac), exp-bias-fracBits)
			}
			if i>>15 != 0 {
				want = -want
			}
			if math.Float64bits(float64(got[i])) != math.Float64bits(want) || math.Float64bits(wide[i]) != math.Float64bits(want) {
				t.Fatalf("%s %#04x: got %v and %v, want %v", dtype, i, got[i], wide[i], want)
			}
		}
	}
}

func TestSafetensorsIntegers(t *testing.T) {
	for _, c := range []struct {
		dtype string
		data  []byte
		want  []int64
	}{
		{"I8", []byte{0x80, 0xff, 1}, []int64{-128, -1, 1}},
		{"U8", []byte{0x80, 0xff}, []int64{128, 255}},
		{"BOOL", []byte{0, 1}, []int64{0, 1}},
		{"BOOL", []byte{0, 2}, nil},
		{"I16", []byte{0, 0x80, 1, 0}, []int64{-32768, 1}},
		{"U16", []byte{0, 0x80}, []int64{32768}},
		{"I32", []byte{0, 0, 0, 0x80}, []int64{math.MinInt32}},
		{"U32", []byte{0, 0, 0, 0x80}, []int64{1 << 31}},
		{"U64", []byte{1, 0, 0, 0, 0, 0, 0, 0x7f}, []int64{0x7f<<56 | 1}},
		{"U64", []byte{0, 0, 0, 0, 0, 0, 0, 0x80}, nil},
		{"F32", []byte{0, 0, 0, 0}, nil},
	} {
		n := len(c.data) / elementSizes[c.dtype]
		f := mustOpen(t, safeBytes(fmt.Sprintf(`{"x":{"dtype":%q,"shape":[%d],"data_offsets":[0,%d]}}`, c.dtype, n, len(c.data)), c.data...))
		got, err := f.Int64("x")
		if c.want == nil {
			if err == nil || !strings.Contains(err.Error(), `"x"`) {
				t.Errorf("%s %v: got %v, error %v", c.dtype, c.data, got, err)
			}
		} else if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v %v, want %v", c.dtype, got, err, c.want)
		}
		if _, err := f.Float32("x"); (err == nil) != (c.dtype == "F32") {
			t.Errorf("%s: Float32: %v", c.dtype, err)
		}
	}
}

func TestSafetensorsReadErrors(t *testing.T) {
	f := mustOpen(t, safeBytes(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"q":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[4,5]}}`, 0, 0, 0, 0, 0))
	for what, err := range map[string]error{
		"missing": f.ReadFloat32("y", nil),
		"length":  f.ReadFloat32("x", make([]float32, 2)),
		"float8":  f.ReadFloat32("q", make([]float32, 1)),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if _, err := f.Float64("y"); err == nil {
		t.Error("Float64 of a missing tensor: no error")
	}
	if _, ok := f.Shape("y"); ok {
		t.Error("Shape of a missing tensor: ok")
	}
}

// safeMalformed lists files that must be refused, with a part of the error. The fuzz test starts from them too.
var safeMalformed = []struct {
	name, want string
	file       []byte
}{
	{"empty", "too short", nil},
	{"short", "too short", []byte{1, 2, 3}},
	{"header beyond file", "exceeds the 1 bytes", append(binary.LittleEndian.AppendUint64(nil, 2), '{')},
	{"huge header", "neither a safetensors file nor", append(binary.LittleEndian.AppendUint64(nil, 1<<63+5), "{}"...)},
	{"header over the limit", "neither a safetensors file nor", append(binary.LittleEndian.AppendUint64(nil, maxSafeHeader+1), "{}"...)},
	{"no header", "'{'", append(make([]byte, 8), 1)},
	{"not an object", "'{'", safeBytes(`["x"]`)},
	{"leading space", "'{'", safeBytes(` {}`)},
	{"not UTF-8", "UTF-8", safeBytes("{\"\xff\":{}}")},
	{"cut JSON", "JSON", safeBytes(`{"x":{"dtype":"F32"`)},
	{"bad JSON", "JSON", safeBytes(`{"x" "y"}`)},
	{"trailing comma", "JSON", safeBytes(`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},}`)},
	{"text after", "closing brace", safeBytes(`{}{}`)},
	{"entry no object", `"x": entry: got "7"`, safeBytes(`{"x":7}`)},
	{"unknown key", `unknown key "stride"`, safeBytes(`{"x":{"stride":1}}`)},
	{"missing key", "needs dtype", safeBytes(`{"x":{"dtype":"F32","shape":[]}}`)},
	{"dtype twice", `"dtype" is listed twice`, safeBytes(`{"x":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 0)},
	{"shape twice", `"shape" is listed twice`, safeBytes(`{"x":{"dtype":"U8","shape":[],"shape":[],"data_offsets":[0,1]}}`, 0)},
	{"offsets twice", `"data_offsets" is listed twice`, safeBytes(`{"x":{"dtype":"U8","shape":[],"data_offsets":[0,1],"data_offsets":[0,1]}}`, 0)},
	{"name twice", `tensor "x" is listed twice`, safeBytes(`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0078":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`)},
	{"metadata twice", `"__metadata__" is listed twice`, safeBytes(`{"__metadata__":{},"__metadata__":{}}`)},
	{"metadata key twice", `"a" is listed twice`, safeBytes(`{"__metadata__":{"a":"1","a":"2"}}`)},
	{"metadata no object", "__metadata__", safeBytes(`{"__metadata__":null}`)},
	{"metadata no string", "want a string", safeBytes(`{"__metadata__":{"a":1}}`)},
	{"unknown dtype", `"Q4"`, safeBytes(`{"x":{"dtype":"Q4","shape":[],"data_offsets":[0,1]}}`, 0)},
	{"dtype number", "want a string", safeBytes(`{"x":{"dtype":4,"shape":[],"data_offsets":[0,1]}}`, 0)},
	{"negative dim", `"-1"`, safeBytes(`{"x":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 0)},
	{"fractional dim", `"1.5"`, safeBytes(`{"x":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, 0)},
	{"exponent dim", `"1e0"`, safeBytes(`{"x":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}`, 0)},
	{"string dim", "want a number", safeBytes(`{"x":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}`, 0)},
	{"dim beyond int64", "[0, 2^63)", safeBytes(`{"x":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}}`, 0)},
	{"product overflow", "", safeBytes(`{"x":{"dtype":"U8","shape":[4294967296,4294967297],"data_offsets":[0,1]}}`, 0)},
	{"product overflow to 0", "", safeBytes(`{"x":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}`)},
	{"bytes overflow", "", safeBytes(`{"x":{"dtype":"F64","shape":[1152921504606846976,2],"data_offsets":[0,0]}}`)},
	{"rank", "more than", safeBytes(`{"x":{"dtype":"U8","shape":[` + strings.Repeat("1,", maxRank) + `1],"data_offsets":[0,1]}}`)},
	{"one offset", "needs", safeBytes(`{"x":{"dtype":"U8","shape":[],"data_offsets":[0]}}`, 0)},
	{"three offsets", "more than 2", safeBytes(`{"x":{"dtype":"U8","shape":[],"data_offsets":[0,1,2]}}`, 0)},
	{"backwards", "backwards", safeBytes(`{"x":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, 0)},
	{"size against shape", "takes 8", safeBytes(`{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 0, 0, 0, 0)},
	{"beyond end", "cut off", safeBytes(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 0, 0, 0)},
	{"far beyond end", "", safeBytes(`{"x":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`)},
	{"overlap", "inside", safeBytes(`{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 0, 0, 0)},
	{"hole", "hole", safeBytes(`{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 0, 0, 0)},
	{"bytes after", "follow the last tensor", safeBytes(`{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 0, 0)},
	{"deep nesting", "", safeBytes(`{"x":{"shape":` + strings.Repeat("[", 100000))},
}

func TestSafetensorsMalformed(t *testing.T) {
	for _, c := range safeMalformed {
		_, err := openBytes(c.file)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		} else if len(err.Error()) > 400 {
			t.Errorf("%s: an error of %d bytes", c.name, len(err.Error()))
		}
	}
	// Valid corner cases that strictness must not refuse.
	for _, s := range []string{`{}`, `{}   `, `{"__metadata__":{}}`,
		`{"":{"shape":[0,9000],"data_offsets":[0,0],"dtype":"F16"}}`,
		`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"y":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`} {
		if _, err := openBytes(safeBytes(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// TestSafetensorsFalseSize: a size the reader cannot back must fail early and not allocate by it.
func TestSafetensorsFalseSize(t *testing.T) {
	b := safeBytes(`{"x":{"dtype":"U8","shape":[4611686018427387904],"data_offsets":[0,4611686018427387904]}}`)
	_, err := NewReader(bytes.NewReader(b), int64(len(b))+1<<62)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want an unexpected EOF", err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.safetensors")
	err := atomicfile.Write(path, func(w io.Writer) error {
		return WriteSafetensors(w, []Tensor{{"x", []int{2}, []float32{1, 2}}}, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Float32("nope"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("the error does not name the file: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Float32("x"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
	for _, bad := range []string{dir, filepath.Join(dir, "missing")} {
		if _, err := Open(bad); err == nil {
			t.Errorf("%s: opened", bad)
		}
	}
}

func TestWriteSafetensorsRefuses(t *testing.T) {
	for name, list := range map[string][]Tensor{
		"name twice":   {{"x", nil, []uint8{1}}, {"x", nil, []uint8{1}}},
		"reserved":     {{"__metadata__", nil, []uint8{1}}},
		"not UTF-8":    {{"\xff", nil, []uint8{1}}},
		"shape":        {{"x", []int{3}, []float32{1, 2}}},
		"negative":     {{"x", []int{-1, -2}, []float32{1, 2}}},
		"type":         {{"x", nil, []int{1}}},
		"nil":          {{"x", nil, nil}},
		"second of it": {{"w", nil, []uint8{1}}, {"x", nil, "text"}},
	} {
		var out bytes.Buffer
		if err := WriteSafetensors(&out, list, nil); err == nil || out.Len() > 0 {
			t.Errorf("%s: error %v, %d bytes written", name, err, out.Len())
		}
	}
	if err := WriteSafetensors(io.Discard, nil, map[string]string{"a": "\xff"}); err == nil {
		t.Error("metadata that is not UTF-8 was written")
	}
}

// limitedWriter fails like a full disk after n bytes.
type limitedWriter struct{ n int }

var errFull = errors.New("no space left on device")

func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > w.n {
		return w.n, errFull
	}
	w.n -= len(p)
	return len(p), nil
}

func TestWriteSafetensorsFullDisk(t *testing.T) {
	list := []Tensor{{"x", []int{100000}, make([]float32, 100000)}, {"y", []int{9}, make([]uint8, 9)}}
	var out bytes.Buffer
	if err := WriteSafetensors(&out, list, nil); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 7, 100, 200, 200000, out.Len() - 1} {
		if err := WriteSafetensors(&limitedWriter{n}, list, nil); !errors.Is(err, errFull) {
			t.Errorf("room for %d bytes: %v", n, err)
		}
	}
	if err := WriteSafetensors(&limitedWriter{out.Len()}, list, nil); err != nil {
		t.Errorf("room for all: %v", err)
	}
}

// FuzzSafetensors: any bytes are refused or fully readable, and what is readable survives a round trip.
func FuzzSafetensors(f *testing.F) {
	for _, c := range safeMalformed {
		if len(c.file) < 4096 {
			f.Add(c.file)
		}
	}
	var good bytes.Buffer
	err := WriteSafetensors(&good, []Tensor{{"x", []int{1, 2}, []float32{1, 2}}, {"n", []int{1}, []int64{-3}}, {"b", nil, []uint8{7}}}, map[string]string{"k": "v"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(safeBytes(`{"h":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"b":{"dtype":"BOOL","shape":[2],"data_offsets":[2,4]}}`, 1, 2, 0, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := openBytes(b)
		if err != nil {
			return
		}
		var list []Tensor
		for _, name := range file.Names() {
			shape, ok := file.Shape(name)
			if !ok {
				t.Fatalf("%q is listed but has no shape", name)
			}
			nt := Tensor{Name: name, Shape: shape}
			if v, err := file.Float32(name); err == nil {
				nt.Data = v
				if _, err := file.Float64(name); err != nil {
					t.Fatal(err)
				}
			} else if v, err := file.Int64(name); err == nil {
				nt.Data = v
			} else {
				continue
			}
			list = append(list, nt)
		}
		var out bytes.Buffer
		if err := WriteSafetensors(&out, list, file.Metadata()); err != nil {
			t.Fatal(err)
		}
		again := mustOpen(t, out.Bytes())
		if len(again.Names()) != len(list) {
			t.Fatalf("%d tensors came back as %d", len(list), len(again.Names()))
		}
	})
}

func BenchmarkSafetensorsRead(b *testing.B) {
	n := 4 << 20
	var out bytes.Buffer
	if err := WriteSafetensors(&out, []Tensor{{"x", []int{n}, make([]float32, n)}}, nil); err != nil {
		b.Fatal(err)
	}
	f, err := openBytes(out.Bytes())
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]float32, n)
	b.SetBytes(int64(4 * n))
	for b.Loop() {
		if err := f.ReadFloat32("x", dst); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleWriteSafetensors() {
	var file bytes.Buffer
	err := WriteSafetensors(&file, []Tensor{
		{Name: "fc.weight", Shape: []int{2, 2}, Data: []float32{1, 2, 3, 4}},
	}, map[string]string{"format": "pt"})
	if err != nil {
		fmt.Println(err)
		return
	}
	f, err := NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range f.Names() {
		shape, _ := f.Shape(name)
		values, err := f.Float32(name)
		fmt.Println(name, f.DType(name), shape, values, err)
	}
	// Output: fc.weight F32 [2 2] [1 2 3 4] <nil>
}

func safetensorsOf(t *testing.T, tensors ...Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteSafetensors(&b, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOpenSafetensorsFSErrors(t *testing.T) {
	good := safetensorsOf(t, Tensor{"a", []int{2}, make([]float32, 2)})
	fsys := fstest.MapFS{"cut.safetensors": {Data: good[:len(good)-1]}, "empty.safetensors": {}, "folder/x": {}, "good.safetensors": {Data: good}}
	for _, wrap := range []func(fs.FS) fs.FS{func(f fs.FS) fs.FS { return f }, func(f fs.FS) fs.FS { return streams{f} }} {
		for name, want := range map[string]string{
			"cut.safetensors":   "safetensors: cut.safetensors: ",
			"empty.safetensors": "safetensors: empty.safetensors: 0 bytes is too short",
			"none.safetensors":  "open none.safetensors: ",
			"folder":            "folder: not a regular file",
			"../x":              "open ../x: ",
		} {
			if f, err := OpenFS(wrap(fsys), name); f != nil || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		f, err := OpenFS(wrap(fsys), "good.safetensors")
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
