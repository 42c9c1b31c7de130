package weights

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"testing"
)

// TestWiden checks all 65536 values of both 16-bit types against their definition.
func TestWiden(t *testing.T) {
	data := make([]byte, 2<<16)
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(data[2*i:], uint16(i))
	}
	for _, c := range []struct {
		dtype             string
		expBits, fracBits int
	}{{"F16", 5, 10}, {"BF16", 8, 7}} {
		t.Run(c.dtype, func(t *testing.T) {
			f := mustOpenBytes(t, safetensorsOf(fmt.Sprintf(`{"x":{"dtype":%q,"shape":[65536],"data_offsets":[0,131072]}}`, c.dtype), data...))
			got, err := f.Float32("x")
			if err != nil {
				t.Fatal(err)
			}
			wide, err := f.Float64("x")
			if err != nil {
				t.Fatal(err)
			}
			bias := 1<<(c.expBits-1) - 1
			for i := range 1 << 16 {
				frac, exp := i&(1<<c.fracBits-1), i>>c.fracBits&(1<<c.expBits-1)
				var want float64
				switch {
				case exp == 1<<c.expBits-1 && frac != 0:
					bits := uint32(i>>15)<<31 | 0xff<<23 | uint32(frac)<<(23-c.fracBits)
					if g := math.Float32bits(got[i]); g != bits || !math.IsNaN(wide[i]) {
						t.Fatalf("%#04x: NaN %#x, want %#x", i, g, bits)
					}
					continue
				case exp == 1<<c.expBits-1:
					want = math.Inf(1)
				case exp == 0:
					want = math.Ldexp(float64(frac), 1-bias-c.fracBits)
				default:
					want = math.Ldexp(float64(1<<c.fracBits+frac), exp-bias-c.fracBits)
				}
				if i>>15 != 0 {
					want = -want
				}
				if math.Float64bits(float64(got[i])) != math.Float64bits(want) || math.Float64bits(wide[i]) != math.Float64bits(want) {
					t.Fatalf("%#04x: got %v and %v, want %v", i, got[i], wide[i], want)
				}
			}
		})
	}
}

// TestBFloat16 writes values as bfloat16 and reads them back: each becomes the nearest of the two
// around it, the even one of equally near ones.
func TestBFloat16(t *testing.T) {
	bits := func(b uint32) float32 { return math.Float32frombits(b) }
	for _, c := range []struct {
		name     string
		in, want float32
	}{
		{"zero", 0, 0}, {"minus zero", bits(0x80000000), bits(0x80000000)}, {"one", 1, 1},
		{"below the middle", bits(0x3f807fff), bits(0x3f800000)}, {"above the middle", bits(0x3f808001), bits(0x3f810000)},
		{"middle, even below", bits(0x3f808000), bits(0x3f800000)}, {"middle, even above", bits(0xbf818000), bits(0xbf820000)},
		{"subnormal", bits(0x00008001), bits(0x00010000)}, {"infinity", bits(0xff800000), bits(0xff800000)},
		{"beyond the largest", math.MaxFloat32, bits(0x7f800000)},
		{"NaN", bits(0x7fc12345), bits(0x7fc10000)}, {"NaN of low bits", bits(0x7f800001), bits(0x7fc00000)},
	} {
		for format, write := range map[string]func(io.Writer, []Tensor, map[string]string) error{
			"pth": WritePth, "safetensors": WriteSafetensors,
		} {
			t.Run(c.name+"/"+format, func(t *testing.T) {
				var file bytes.Buffer
				if err := write(&file, []Tensor{{"x", []int{1, 2}, BFloat16{c.in, 1}}}, nil); err != nil {
					t.Fatal(err)
				}
				f := mustOpenBytes(t, file.Bytes())
				got, err := f.Float32("x")
				if err != nil || f.DType("x") != "BF16" || len(got) != 2 || math.Float32bits(got[0]) != math.Float32bits(c.want) || got[1] != 1 {
					t.Errorf("%#08x as %s became %v, %v, want %#08x and 1", math.Float32bits(c.in), f.DType("x"), got, err, math.Float32bits(c.want))
				}
			})
		}
	}
}

func TestInt64(t *testing.T) {
	for _, c := range []struct {
		name, dtype string
		data        []byte
		want        []int64
		kind        error
	}{
		{"I8", "I8", []byte{0x80, 0xff, 1}, []int64{-128, -1, 1}, nil},
		{"U8", "U8", []byte{0x80, 0xff}, []int64{128, 255}, nil},
		{"BOOL", "BOOL", []byte{0, 1}, []int64{0, 1}, nil},
		{"BOOL of 2", "BOOL", []byte{0, 2}, nil, ErrDamaged},
		{"I16", "I16", []byte{0, 0x80, 1, 0}, []int64{-32768, 1}, nil},
		{"U16", "U16", []byte{0, 0x80}, []int64{32768}, nil},
		{"I32", "I32", []byte{0, 0, 0, 0x80}, []int64{math.MinInt32}, nil},
		{"U32", "U32", []byte{0, 0, 0, 0x80}, []int64{1 << 31}, nil},
		{"I64", "I64", []byte{0, 0, 0, 0, 0, 0, 0, 0x80}, []int64{math.MinInt64}, nil},
		{"U64", "U64", []byte{1, 0, 0, 0, 0, 0, 0, 0x7f}, []int64{0x7f<<56 | 1}, nil},
		{"U64 beyond int64", "U64", []byte{0, 0, 0, 0, 0, 0, 0, 0x80}, nil, ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := len(c.data) / elementSizes[c.dtype]
			f := mustOpenBytes(t, safetensorsOf(fmt.Sprintf(`{"x":{"dtype":%q,"shape":[%d],"data_offsets":[0,%d]}}`, c.dtype, n, len(c.data)), c.data...))
			got, err := f.Int64("x")
			if c.kind != nil {
				wantError(t, err, c.kind, `"x"`)
			} else if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %v %v, want %v", got, err, c.want)
			}
		})
	}
}

// TestFloat8 reads every 8-bit float of every format, and compares some with the tables of their
// specifications.
func TestFloat8(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		dtype  string
		values map[byte]float64
		nans   int
	}{
		{"F8_E4M3", map[byte]float64{0: 0, 1: 1.0 / 512, 7: 7.0 / 512, 8: 1.0 / 64, 0x38: 1, 0x39: 1.125, 0x7e: 448, 0x7f: nan, 0xb8: -1, 0xff: nan, 0xfe: -448}, 2},
		{"F8_E5M2", map[byte]float64{0: 0, 1: 1.0 / 65536, 3: 3.0 / 65536, 0x3c: 1, 0x3d: 1.25, 0x7b: 57344, 0x7c: math.Inf(1), 0x7d: nan, 0xfc: math.Inf(-1)}, 6},
		{"F8_E4M3FNUZ", map[byte]float64{1: 1.0 / 1024, 0x40: 1, 0x7f: 240, 0x80: nan, 0xff: -240}, 1},
		{"F8_E5M2FNUZ", map[byte]float64{1: 1.0 / 131072, 0x40: 1, 0x7f: 57344, 0x80: nan, 0xff: -57344}, 1},
		{"F8_E8M0", map[byte]float64{0: math.Ldexp(1, -127), 126: 0.5, 127: 1, 128: 2, 254: math.Ldexp(1, 127), 255: nan}, 1},
	} {
		t.Run(c.dtype, func(t *testing.T) {
			data := make([]byte, 256)
			for i := range data {
				data[i] = byte(i)
			}
			f := mustOpenBytes(t, safetensorsOf(`{"q":{"dtype":"`+c.dtype+`","shape":[16,16],"data_offsets":[0,256]}}`, data...))
			if !IsFloat(f.DType("q")) {
				t.Error("is not said to be read as floats")
			}
			single, err := f.Float32("q")
			if err != nil {
				t.Fatal(err)
			}
			double, err := f.Float64("q")
			if err != nil {
				t.Fatal(err)
			}
			nans := 0
			for i, v := range double {
				if math.IsNaN(v) {
					nans++
				} else if float64(single[i]) != v {
					t.Errorf("byte %#x: %g and %g", i, single[i], v)
				}
				if want, ok := c.values[byte(i)]; ok && v != want && !(math.IsNaN(v) && math.IsNaN(want)) {
					t.Errorf("byte %#x: got %g, want %g", i, v, want)
				}
			}
			if nans != c.nans {
				t.Errorf("%d NaN, want %d", nans, c.nans)
			}
		})
	}
}

// TestFromTensors reads tensors in memory like those of the file to which they are written.
func TestFromTensors(t *testing.T) {
	list := []Tensor{
		{"f32", []int{2}, []float32{1.003, -2}},
		{"f64", []int{2}, []float64{1.003, -2}},
		{"bf16", []int{2}, BFloat16{1.003, -2}},
		{"i64", []int{2}, []int64{3, -4}},
		{"u8", []int{2}, []uint8{5, 6}},
	}
	f, err := FromTensors("here", list)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteSafetensors(&b, list, nil); err != nil {
		t.Fatal(err)
	}
	written := mustOpenBytes(t, b.Bytes())
	for _, x := range list {
		t.Run(x.Name, func(t *testing.T) {
			if got, want := f.DType(x.Name), written.DType(x.Name); got != want {
				t.Errorf("dtype %s, want %s", got, want)
			}
			for kind, read := range map[string]func(File) (any, error){
				"Float32": func(f File) (any, error) { return f.Float32(x.Name) },
				"Float64": func(f File) (any, error) { return f.Float64(x.Name) },
				"Int64":   func(f File) (any, error) { return f.Int64(x.Name) },
			} {
				got, err := read(f)
				want, wantErr := read(written)
				if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %v, %v, want %v, %v", kind, got, err, want, wantErr)
				}
			}
		})
	}
}
