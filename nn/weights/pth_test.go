package weights

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func sorted(list []Tensor) []Tensor {
	slices.SortFunc(list, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// TestPthOfTorch reads what PyTorch 1.13 and 2.13 wrote: all types, views of all kinds, both
// formats.
func TestPthOfTorch(t *testing.T) {
	want := sorted(mustReadAll(t, mustOpen(t, "testdata/expected.safetensors")))
	order := strings.Fields("f32 f64 f16 bf16 i64 i32 i16 i8 u8 bool bn.num_batches_tracked empty parameter whole offset transposed strided expanded shared one half_view")
	files, _ := filepath.Glob("testdata/torch*.pth")
	if len(files) != 11 {
		t.Fatalf("found %v", files)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f := mustOpen(t, path)
			if strings.HasSuffix(path, "_unsigned.pth") {
				sameTensors(t, mustReadAll(t, f), []Tensor{{"u16", []int{2}, []int64{1, 65535}}, {"u32", []int{1}, []int64{1<<32 - 1}}})
				if d := f.DType("u16") + f.DType("u32"); d != "U16U32" {
					t.Errorf("dtypes %s", d)
				}
				return
			}
			if got := f.Names(); !slices.Equal(got, order) {
				t.Errorf("names %s", got)
			}
			if d := f.DType("f16") + f.DType("bf16") + f.DType("bool") + f.DType("i8"); d != "F16BF16BOOLI8" {
				t.Errorf("dtypes %s", d)
			}
			if f.Metadata() != nil {
				t.Errorf("metadata %v", f.Metadata())
			}
			sameTensors(t, sorted(mustReadAll(t, f)), want)
		})
	}
}

func TestPthContents(t *testing.T) {
	const all = `optimizer: dict, 2 entries
epoch: 1599
args: Namespace, 12 entries
  lr=0.0001
  in_domains=['rgb', 'depth']
  output_dir='/tmp/out'
  decay=None
  alphas=1
  device=cuda:1
  betas=(0.9, 0.95)
  big=1208925819614629174706176
  nested=Namespace, 1 entries
  dtype=torch.float16
  standardize=True
  text='it's\n'
scaler: dict, 2 entries
  scale=65536
  _growth_tracker=0
loss: 0.25
best: -1.5
count: -3
tags: ['a']
size: (2, 3)
seed: bytes, 2`
	for _, version := range []string{"1.13", "2.13"} {
		for kind, want := range map[string]string{
			"": all, "_legacy": all, "_protocol5": all,
			"_parallel": "rng_state: tensor, U8 [2]", "_bare": "",
		} {
			path := "testdata/torch" + version + kind + ".pth"
			t.Run(filepath.Base(path), func(t *testing.T) {
				var got []string
				for _, c := range mustOpen(t, path).Contents() {
					got = append(got, c.Key+": "+c.Text)
					for _, e := range c.Entries {
						if c.Key == "args" || c.Key == "scaler" {
							got = append(got, "  "+e)
						}
					}
				}
				if s := strings.Join(got, "\n"); s != want {
					t.Errorf("contents\n%s\nwant\n%s", s, want)
				}
			})
		}
	}
}

// TestPthOfDump reads the weights of one dump in three formats.
func TestPthOfDump(t *testing.T) {
	dir := "../../testdata/parity/vit_linear/"
	want := mustReadAll(t, mustOpen(t, dir+"model.safetensors"))
	if len(want) != 32 {
		t.Fatalf("%d tensors", len(want))
	}
	for _, name := range []string{"model.pth", "model_legacy.pth"} {
		t.Run(name, func(t *testing.T) { sameTensors(t, mustReadAll(t, mustOpen(t, dir+name)), want) })
	}
}

// TestPthProtocol0 reads pickles of text and of Python 2, and parts of storages as old files have
// them.
func TestPthProtocol0(t *testing.T) {
	part := strings.Replace(storageOf("FloatStorage", "0", 4), "tQ", "(S'v'\nI1\nI2\nttQ", 1)
	for name, file := range map[string][]byte{
		"text":        zipOf(t, zip.Store, dictOf("w", goodTensor)+".", two),
		"OrderedDict": zipOf(t, zip.Store, "ccollections\nOrderedDict\n((l(lS'w'\n"+"a"+goodTensor+"aatR.", two),
		"old, with a part of a storage": legacyOf(dictOf("w", tensorOf(part, 0, tupleOf(2), tupleOf(1)))+".", "(lp0\nS'0'\na.",
			"\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"+two+"\x00\x00\x00\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			sameTensors(t, mustReadAll(t, mustOpenBytes(t, file)), []Tensor{{"w", []int{2}, []float32{1, 2}}})
		})
	}
}

// TestPthViews reads views of all kinds against an index computed for each element.
func TestPthViews(t *testing.T) {
	for _, c := range []struct {
		name, class   string
		count         int64 // elements of the storage
		offset        int64
		shape, stride []int64
	}{
		{"whole", "ByteStorage", 12, 0, []int64{3, 4}, []int64{4, 1}},
		{"transposed", "ShortStorage", 12, 0, []int64{4, 3}, []int64{1, 4}},
		{"part", "IntStorage", 12, 5, []int64{2, 2}, []int64{4, 1}},
		{"column", "LongStorage", 12, 3, []int64{3}, []int64{4}},
		{"expanded", "CharStorage", 3, 1, []int64{2, 3, 2}, []int64{1, 0, 0}},
		{"overlapping", "IntStorage", 11, 0, []int64{3, 3, 3}, []int64{2, 1, 2}},
		{"axes of one", "ByteStorage", 12, 1, []int64{1, 3, 1, 2, 1}, []int64{7, 4, 9, 2, 5}},
		{"far apart", "LongStorage", 20000, 7, []int64{2, 2}, []int64{9991, 9000}},
		{"many pieces", "ByteStorage", 300 * 1000, 0, []int64{1000, 300}, []int64{1, 1000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dtype := pthStorages["torch."+c.class]
			width := elementSizes[dtype]
			data := make([]byte, int(c.count)*width)
			for i := range c.count {
				data[int(i)*width] = byte(i % 127)
				if width > 1 {
					data[int(i)*width+1] = byte(i / 127)
				}
			}
			f := mustOpenBytes(t, zipOf(t, zip.Store, dictOf("w", tensorOf(storageOf(c.class, "0", c.count), c.offset, tupleOf(c.shape...), tupleOf(c.stride...)))+".", string(data)))
			got, err := f.Int64("w")
			if err != nil {
				t.Fatal(err)
			}
			want := []int64{c.offset}
			for i, d := range c.shape {
				var next []int64
				for _, at := range want {
					for k := range d {
						next = append(next, at+k*c.stride[i])
					}
				}
				want = next
			}
			for i, at := range want {
				want[i] = at % 127
				if width > 1 {
					want[i] += at / 127 << 8
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %.60v, want %.60v", got, want)
			}
		})
	}
}

// TestPthCompressed reads an archive that somebody packed anew.
func TestPthCompressed(t *testing.T) {
	z, err := zip.OpenReader("testdata/torch2.13.pth")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var entries []string
	for _, e := range z.File {
		r, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e.Name, string(b))
	}
	f := mustOpenBytes(t, archiveOf(t, zip.Deflate, entries...))
	sameTensors(t, mustReadAll(t, f), mustReadAll(t, mustOpen(t, "testdata/torch2.13.pth")))

	t.Run("damaged", func(t *testing.T) {
		b := zipOf(t, zip.Deflate, dictOf("w", goodTensor)+".", two)
		b[bytes.Index(b, []byte("a/data/0"))+8] ^= 0xff
		f := mustOpenBytes(t, b)
		_, err := f.Float32("w")
		wantError(t, err, ErrDamaged, `"w": storage "0"`)
	})
}

// TestPthSelf: values that contain themselves are read once and described in short.
func TestPthSelf(t *testing.T) {
	for name, pickle := range map[string]string{
		"containers": "}q\x00(S'w'\n" + goodTensor + "S'model'\nh\x00S'x'\n]q\x01h\x01aS'y'\n]q\x02(h\x02tau.",
		"a record":   "}q\x00(S'w'\n" + goodTensor + "S'args'\ncargparse\nNamespace\n)\x81h\x00bu.",
	} {
		t.Run(name, func(t *testing.T) {
			f := mustOpenBytes(t, zipOf(t, zip.Store, pickle, two))
			if v, err := f.Float32("w"); err != nil || v[1] != 2 {
				t.Errorf("%v %v", v, err)
			}
			if s := fmt.Sprint(f.Contents()); len(s) > 500 {
				t.Errorf("contents %s", s)
			}
		})
	}
}

// TestPthCutOff: a file that ends too early is refused, and one with a byte changed does no harm.
func TestPthCutOff(t *testing.T) {
	for _, path := range []string{"testdata/torch2.13.pth", "testdata/torch1.13_legacy.pth"} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for n := 0; n < len(b); n += 3 {
				if _, err := openBytes(b[:n]); err == nil {
					t.Errorf("%d of %d bytes were accepted", n, len(b))
				}
				if n%7 == 0 {
					c := slices.Clone(b)
					c[n] ^= 0x55
					readAny(t, c)
				}
			}
		})
	}
}
