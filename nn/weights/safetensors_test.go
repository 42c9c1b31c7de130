package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestSafetensorsRoundTrip(t *testing.T) {
	want := roundTensors()
	meta := map[string]string{"format": "pt", "ü": "\n\"\\ \u2028"}
	var out, again bytes.Buffer
	for _, w := range []io.Writer{&out, &again} {
		if err := WriteSafetensors(w, want, meta); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(again.Bytes(), out.Bytes()) {
		t.Error("the same tensors gave other bytes")
	}
	if n := binary.LittleEndian.Uint64(out.Bytes()); n%8 != 0 {
		t.Errorf("header length %d is not a multiple of 8", n)
	}
	f := mustOpenBytes(t, out.Bytes())
	sameTensors(t, mustReadAll(t, f), want)
	if !reflect.DeepEqual(f.Metadata(), meta) {
		t.Errorf("metadata %q, want %q", f.Metadata(), meta)
	}
	if got, want := f.Contents(), []Content{{Key: "format", Text: "pt"}, {Key: "ü", Text: meta["ü"]}}; !reflect.DeepEqual(got, want) {
		t.Errorf("contents %q, want %q", got, want)
	}
	if got, err := f.Float64("encoder.weight"); err != nil || got[0] != float64(want[0].Data.([]float32)[0]) {
		t.Errorf("floats as Float64: %v, %v", got[0], err)
	}
}

// roundTensors is what both writers can write: all types, bits of all kinds, several chunks, names
// that need escapes, a scalar and an empty tensor.
func roundTensors() []Tensor {
	f32 := make([]float32, 3*chunkSize/4+5)
	for i := range f32 {
		f32[i] = math.Float32frombits(uint32(i) * 2654435761)
	}
	copy(f32, []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), math.MaxFloat32, math.SmallestNonzeroFloat32})
	f32[5], f32[6] = math.Float32frombits(0x7f812345), math.Float32frombits(0xffc54321) // signalling and quiet NaN
	return []Tensor{
		{"encoder.weight", []int{len(f32)}, f32},
		{"a", []int{2, 3}, []uint8{0, 1, 255, 7, 9, 3}},
		{"naïve \"quoted\" 'name' <&>\n\U0001f600", []int{2, 1, 2}, []float64{math.Pi, math.Float64frombits(0x7ff4000000000123), math.Inf(-1), 1e300}},
		{"ids", []int{4, 1}, []int64{math.MinInt64, -1, 0, math.MaxInt64}},
		{"bn.num_batches_tracked", nil, []int64{5}},
		{"empty", []int{0, 7}, []float32{}},
		{"last", []int{1}, []float32{3}},
	}
}

// safetensorsRefused lists files that must not open. The fuzz test starts from them too.
var safetensorsRefused = []refused{
	{"empty", ErrDamaged, "", nil},
	{"short", ErrDamaged, "", []byte{1, 2, 3}},
	{"header beyond file", ErrDamaged, "", append(binary.LittleEndian.AppendUint64(nil, 2), '{')},
	{"huge header", ErrUnsupported, "", append(binary.LittleEndian.AppendUint64(nil, 1<<63+5), "{}"...)},
	{"header over the limit", ErrUnsupported, "", append(binary.LittleEndian.AppendUint64(nil, maxHeader+1), "{}"...)},
	{"no header", ErrDamaged, "", append(make([]byte, 8), 1)},
	{"not an object", ErrDamaged, "", safetensorsOf(`["x"]`)},
	{"not UTF-8", ErrDamaged, "", safetensorsOf("{\"\xff\":{}}")},
	{"only spaces", ErrDamaged, "", safetensorsOf("      ")},
	{"null", ErrDamaged, "", safetensorsOf("null")},
	{"cut JSON", ErrDamaged, "", safetensorsOf(`{"x":{"dtype":"F32"`)},
	{"cut string", ErrDamaged, "", safetensorsOf(`{"x`)},
	{"cut escape", ErrDamaged, "", safetensorsOf(`{"x\u00`)},
	{"unknown escape", ErrDamaged, "", safetensorsOf(`{"\x41":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`)},
	{"half a character", ErrDamaged, "", safetensorsOf(`{"\ud83d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`)},
	{"newline in a string", ErrDamaged, "", safetensorsOf("{\"a\nb\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}")},
	{"no colon", ErrDamaged, "", safetensorsOf(`{"x" "y"}`)},
	{"trailing comma", ErrDamaged, "", safetensorsOf(`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},}`)},
	{"comma in a shape", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[0,],"data_offsets":[0,0]}}`)},
	{"text after", ErrDamaged, "", safetensorsOf(`{}{}`)},
	{"entry no object", ErrDamaged, `"x"`, safetensorsOf(`{"x":7}`)},
	{"unknown key of no value", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"stride":nil}}`)},
	{"unknown key too deep", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"y":` + strings.Repeat("[", 100000))},
	{"missing key", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":"F32","shape":[]}}`)},
	{"dtype twice", ErrDamaged, `"x": key "dtype"`, safetensorsOf(`{"x":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 0)},
	{"shape twice", ErrDamaged, `"x": key "shape"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[],"shape":[],"data_offsets":[0,1]}}`, 0)},
	{"offsets twice", ErrDamaged, `"x": key "data_offsets"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[],"data_offsets":[0,1],"data_offsets":[0,1]}}`, 0)},
	{"name twice", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0078":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`)},
	{"metadata twice", ErrDamaged, "__metadata__", safetensorsOf(`{"__metadata__":{},"__metadata__":{}}`)},
	{"metadata null twice", ErrDamaged, "__metadata__", safetensorsOf(`{"__metadata__":null,"__metadata__":null}`)},
	{"metadata key twice", ErrDamaged, `"a"`, safetensorsOf(`{"__metadata__":{"a":"1","a":"2"}}`)},
	{"metadata no object", ErrDamaged, "__metadata__", safetensorsOf(`{"__metadata__":7}`)},
	{"metadata no string", ErrDamaged, `"a"`, safetensorsOf(`{"__metadata__":{"a":1}}`)},
	{"unknown dtype beyond end", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":"Q4","shape":[],"data_offsets":[0,2]}}`, 0)},
	{"dtype number", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":4,"shape":[],"data_offsets":[0,1]}}`, 0)},
	{"negative dim", ErrDamaged, `"-1"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 0)},
	{"fractional dim", ErrDamaged, `"1.5"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, 0)},
	{"exponent dim", ErrDamaged, `"1e0"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}`, 0)},
	{"octal dim", ErrDamaged, `"01"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}}`, 0)},
	{"string dim", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}`, 0)},
	{"dim beyond int64", ErrDamaged, `"9223372036854775808"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}}`, 0)},
	{"product overflow", nil, `"x"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[4294967296,4294967297],"data_offsets":[0,1]}}`, 0)},
	{"product overflow to 0", nil, `"x"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}`)},
	{"bytes overflow", nil, `"x"`, safetensorsOf(`{"x":{"dtype":"F64","shape":[1152921504606846976,2],"data_offsets":[0,0]}}`)},
	{"rank", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[` + strings.Repeat("1,", maxRank) + `1],"data_offsets":[0,1]}}`)},
	{"one offset", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[],"data_offsets":[0]}}`, 0)},
	{"three offsets", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[],"data_offsets":[0,1,2]}}`, 0)},
	{"backwards", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, 0)},
	{"size against shape", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 0, 0, 0, 0)},
	{"beyond end", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 0, 0, 0)},
	{"far beyond end", nil, `"x"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`)},
	{"overlap", ErrDamaged, `"y"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 0, 0, 0)},
	{"hole", ErrDamaged, `"y"`, safetensorsOf(`{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 0, 0, 0)},
	{"bytes after", ErrDamaged, "", safetensorsOf(`{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 0, 0)},
	{"deep nesting", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"shape":` + strings.Repeat("[", 100000))},
	{"a name of megabytes", ErrDamaged, strings.Repeat("x", 60), safetensorsOf(`{"` + strings.Repeat("x", 4<<20) + `":7}`)},
	{"a number of megabytes", ErrDamaged, `"x"`, safetensorsOf(`{"x":{"shape":[` + strings.Repeat("7", 4<<20) + `]}}`)},
}

func TestSafetensorsRefused(t *testing.T) {
	for _, c := range safetensorsRefused {
		t.Run(c.name, c.test)
	}
}

// TestSafetensorsTaken lists corner cases that the official reader takes.
func TestSafetensorsTaken(t *testing.T) {
	const x = `"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}`
	for _, c := range []struct {
		name, header string
		data         int      // bytes
		want         []string // names
	}{
		{"no tensors", `{}`, 0, nil},
		{"spaces behind", `{}   `, 0, nil},
		{"spaces before", " \t\r\n{" + x + "}", 1, []string{"x"}},
		{"spaces between", "{ \"x\" :\n{ \"dtype\" : \"U8\" , \"shape\" : [ 1 ] , \"data_offsets\" : [ 0 , 1 ] } }\n", 1, []string{"x"}},
		{"metadata of nothing", `{"__metadata__":{}}`, 0, nil},
		{"metadata of null", `{"__metadata__":null,` + x + `}`, 1, []string{"x"}},
		{"metadata last", `{` + x + `,"__metadata__":{"a":"b"}}`, 1, []string{"x"}},
		{"unknown keys", `{"x":{"a":null,"b":[],"c":[1,-2.5e3,[{}]],"dtype":"U8","d":{"e":"f","g":true},"shape":[1],"data_offsets":[0,1],"h":false}}`, 1, []string{"x"}},
		{"empty name", `{"":{"shape":[0,9000],"data_offsets":[0,0],"dtype":"F16"}}`, 0, []string{""}},
		{"a scalar", `{"x":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1, []string{"x"}},
		{"tensors of nothing", `{"y":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0, []string{"y", "x"}},
		{"another order", `{"y":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},` + x + `}`, 2, []string{"x", "y"}},
		{"escapes", `{"\"\\\/\b\f\n\r\t\u00fc\ud83d\ude00":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0, []string{"\"\\/\b\f\n\r\tü\U0001f600"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := openBytes(safetensorsOf(c.header, make([]byte, c.data)...))
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Names(); !slices.Equal(got, c.want) {
				t.Errorf("names %q, want %q", got, c.want)
			}
			mustReadAll(t, f)
		})
	}
}

// unwritable lists what neither writer takes.
var unwritable = map[string][]Tensor{
	"name twice":   {{"x", nil, []uint8{1}}, {"x", nil, []uint8{1}}},
	"reserved":     {{"__metadata__", nil, []uint8{1}}},
	"not UTF-8":    {{"\xff", nil, []uint8{1}}},
	"shape":        {{"x", []int{3}, []float32{1, 2}}},
	"negative":     {{"x", []int{-1, -2}, []float32{1, 2}}},
	"type":         {{"x", nil, []int{1}}},
	"nil":          {{"x", nil, nil}},
	"second of it": {{"w", nil, []uint8{1}}, {"x", nil, "text"}},
}

// testWriter tests what both writers promise: nothing is written before everything has been
// checked, and a full disk is an error.
func testWriter(t *testing.T, write func(w io.Writer, tensors []Tensor) error) {
	for name, list := range unwritable {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := write(&out, list)
			if err == nil || !strings.Contains(err.Error(), Quote(list[len(list)-1].Name)) {
				t.Errorf("got error %v, want one that names the tensor", err)
			}
			if out.Len() > 0 {
				t.Errorf("%d bytes were written", out.Len())
			}
		})
	}
	var out bytes.Buffer
	list := roundTensors()
	if err := write(&out, list); err != nil {
		t.Fatal(err)
	}
	for _, room := range []int{0, 7, 100, 200, out.Len() / 2, out.Len() - 1, out.Len()} {
		t.Run(fmt.Sprintf("room for %d bytes", room), func(t *testing.T) {
			err := write(&limitedWriter{room}, list)
			if room == out.Len() && err != nil || room < out.Len() && !errors.Is(err, errFull) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWriteSafetensors(t *testing.T) {
	testWriter(t, func(w io.Writer, tensors []Tensor) error { return WriteSafetensors(w, tensors, nil) })
	t.Run("metadata", func(t *testing.T) {
		err := WriteSafetensors(io.Discard, nil, map[string]string{"a": "\xff"})
		if err == nil || !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("metadata that is not UTF-8: %v", err)
		}
	})
}

func BenchmarkSafetensorsRead(b *testing.B) {
	n := 4 << 20
	var out bytes.Buffer
	if err := WriteSafetensors(&out, []Tensor{{"x", []int{n}, make([]float32, n)}}, nil); err != nil {
		b.Fatal(err)
	}
	f := mustOpenBytes(b, out.Bytes())
	dst := make([]float32, n)
	b.SetBytes(int64(4 * n))
	for b.Loop() {
		if err := f.ReadFloat32("x", dst); err != nil {
			b.Fatal(err)
		}
	}
}
