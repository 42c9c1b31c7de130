package weights

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// callOf pickles a call of a name with arguments.
func callOf(module, name string, args ...string) string {
	return "c" + module + "\n" + name + "\n(" + strings.Join(args, "") + "tR"
}

// pthObjects are objects of all kinds, and how they are listed.
var pthObjects = []struct{ name, pickle, want string }{
	{"record of a class", "cmy.module\nConfig\n)\x81}(S'lr'\nI1\nub", "Config, 1 entries"},
	{"dictionary of a class", "ceasydict\nEasyDict\n)\x81S'lr'\nI1\nsS'x'\nI2\ns", "EasyDict, 2 entries"},
	{"list of a class", "ccollections\ndeque\n)RI1\na(I2\nI3\ne", "deque, 3 entries"},
	{"counter", callOf("collections", "Counter", "}(I30\nI1\nI60\nI2\nu"), "dict, 2 entries"},
	{"set of a class", "cmy\nSet\n)R(I2\nI3\n\x90", "Set, 2 entries"},
	{"enumeration", callOf("my", "Colour", "I1\n"), "Colour"},
	{"date", callOf("datetime", "datetime", "C\x0a\x07\xe8\x01\x02\x00\x00\x00\x00\x00\x00"), "datetime"},
	{"function with arguments", "cfunctools\npartial\n(ctorch.nn\nLayerNorm\ntR(ctorch.nn\nLayerNorm\n)}Ntb", "partial"},
	{"attribute", callOf("builtins", "getattr", "cmy\nColour\n", "S'RED'\n"), "getattr"},
	{"call of a result", "(" + callOf("builtins", "getattr", "cmy\nColour\n", "S'of'\n") + "I1\no", "getattr"},
	{"function", "cmy.module\nfunction\n", "my.module.function"},
	{"file in memory", "c_io\nBytesIO\n)\x81(C\x01xK\x00Ntb", "BytesIO"},
	{"numpy of protocol 5", callOf("numpy._core.numeric", "_frombuffer", "\x96\x04\x00\x00\x00\x00\x00\x00\x00abcd", callOf("numpy", "dtype", "S'f4'\n"), "(I1\nt", "S'C'\n"), "_frombuffer"},
	{"keywords", "cmy\nPoint\n(I1\nt}(S'y'\nI2\nu\x92", "Point"},
	{"bytes of a storage", callOf("torch.storage", "_load_from_bytes", "C\x01x"), "_load_from_bytes"},
	{"name of a name", "cargparse\n\n", "argparse."},
	{"itself", "cmy\nNode\n)\x81p7\n}(S'next'\ng7\nub", "Node, 1 entries"},
}

// oddTensor is a tensor that cannot be read, or that is more than a view of a storage.
type oddTensor struct {
	name, pickle, dtype string
	shape               []int
	values              []float32 // nil for one that cannot be read
}

func oddTensors() []oddTensor {
	utils := func(name string, args ...string) string { return callOf("torch._utils", name, args...) }
	layout := callOf("torch.serialization", "_get_layout", "S'torch.sparse_coo'\n")
	array := func(kind, shape, bytes string) string {
		return "cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR(I1\n" + shape + "cnumpy\ndtype\n(S'" + kind + "'\nI00\nI01\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n" + bytesOf(bytes) + "tb"
	}
	st := storageOf("FloatStorage", "0", 2)
	v2 := func(storage, flags string) string {
		return utils("_rebuild_tensor_v2", storage, "I0\n", tupleOf(2), tupleOf(1), "I00\n", "}", flags)
	}
	return []oddTensor{
		{"sparse", utils("_rebuild_sparse_tensor", layout, "("+goodTensor+goodTensor+tupleOf(3, 4)+"I01\nt"), "sparse", []int{3, 4}, nil},
		{"quantized", utils("_rebuild_qtensor", storageOf("QInt8Storage", "1", 3), "I0\n", tupleOf(3), tupleOf(1), "(ctorch\nper_tensor_affine\nF0.1\nI0\nt", "I00\n", "}"), "quantized", []int{3}, nil},
		{"meta", utils("_rebuild_meta_tensor_no_storage", "ctorch\nfloat32\n", tupleOf(2, 2), tupleOf(2, 1), "I00\n"), "meta", []int{2, 2}, nil},
		{"nested", utils("_rebuild_nested_tensor", goodTensor), "nested", []int{}, nil},
		{"complex", tensorOf(storageOf("ComplexFloatStorage", "1", 1), 0, tupleOf(1), tupleOf(1)), "C64", []int{1}, nil},
		{"a class", callOf("torch._tensor", "_rebuild_from_type_v2", "ctorch._utils\n_rebuild_tensor_v2\n", "cmy\nTensor\n", "("+st+"I0\n"+tupleOf(2)+tupleOf(1)+"I00\n}t", "}"), "my.Tensor", []int{2}, nil},
		{"a parameter of a class", utils("_rebuild_parameter", callOf("my", "Packed"), "I01\n", "}"), "my.Packed", []int{}, nil},
		{"a wrapper", utils("_rebuild_wrapper_subclass", "cmy\nFloat4\n", "ctorch\nfloat32\n", tupleOf(5), tupleOf(1), "I0\n"), "my.Float4", []int{5}, nil},
		{"a function to come", utils("_rebuild_future_tensor"), "_rebuild_future_tensor", []int{}, nil},
		{"an unknown storage", tensorOf(storageOf("Float4Storage", "1", 2), 0, tupleOf(2), tupleOf(1)), "torch.Float4Storage", []int{2}, nil},
		{"an unknown type", utils("_rebuild_tensor_v3", storageOf("UntypedStorage", "1", 8), "I0\n", tupleOf(2), tupleOf(1), "I00\n", "}", "ctorch\nuint4\n"), "torch.uint4", []int{2}, nil},
		{"a flag to come", v2(st, dictOf("new", "I01\n")), "flagged", []int{2}, nil},
		{"conjugated", v2(st, dictOf("conj", "I01\n")), "flagged", []int{2}, nil},
		{"integers with the other sign", v2(storageOf("IntStorage", "1", 2), dictOf("neg", "I01\n")), "flagged", []int{2}, nil},
		{"a shape that is none", utils("_rebuild_meta_tensor_no_storage", "ctorch\nfloat32\n", tupleOf(-2), tupleOf(1)), "meta", []int{}, nil},
		{"numpy, reversed", utils("_rebuild_device_tensor_from_numpy", strings.Replace(array("f4", tupleOf(2), two), "S'<'", "S'>'", 1), "ctorch\nfloat32\n", "S'xla:0'\n", "I00\n"), "numpy", []int{2}, nil},
		{"numpy, too short", utils("_rebuild_device_tensor_from_numpy", array("f4", tupleOf(3), two)), "numpy", []int{3}, nil},

		{"the other sign", v2(st, dictOf("neg", "I01\n")), "F32", []int{2}, []float32{-1, -2}},
		{"no flag is set", v2(st, dictOf("neg", "I00\n", "conj", "I00\n")), "F32", []int{2}, []float32{1, 2}},
		{"no flags", v2(st, "N"), "F32", []int{2}, []float32{1, 2}},
		{"another device", utils("_rebuild_device_tensor_from_cpu_tensor", goodTensor, "ctorch\nfloat32\n", "S'xla:0'\n", "I00\n"), "F32", []int{2}, []float32{1, 2}},
		{"another device by numpy", utils("_rebuild_device_tensor_from_numpy", array("f4", tupleOf(1, 2), two), "ctorch\nfloat32\n", "S'xla:0'\n", "I00\n"), "F32", []int{1, 2}, []float32{1, 2}},
	}
}

// wildPickles are all of these.
var wildPickles = func() (list []string) {
	for _, c := range pthObjects {
		list = append(list, c.pickle)
	}
	for _, c := range oddTensors() {
		list = append(list, c.pickle)
	}
	return list
}()

// TestPthObjects keeps objects of any class beside the weights as records, which nothing is done
// with.
func TestPthObjects(t *testing.T) {
	for _, c := range pthObjects {
		for format, file := range map[string][]byte{
			"zip": zipOf(t, zip.Store, dictOf("x", c.pickle, "model", dictOf("w", goodTensor))+".", two),
			"old": legacyOf(dictOf("x", c.pickle, "model", dictOf("w", goodTensor))+".", "]S'0'\na.", "\x02\x00\x00\x00\x00\x00\x00\x00"+two),
		} {
			t.Run(c.name+" in "+format, func(t *testing.T) {
				f := mustOpenBytes(t, file)
				if got := f.Contents(); len(got) != 1 || got[0].Key != "x" || got[0].Text != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if v, err := f.Float32("w"); err != nil || v[1] != 2 {
					t.Errorf("its neighbour: %v, %v", v, err)
				}
			})
		}
	}
	t.Run("among the weights", func(t *testing.T) {
		f := mustOpenBytes(t, zipOf(t, zip.Store, dictOf("w", goodTensor, "q", callOf("gguf", "Packed"))+".", two))
		if notes := f.Notes(); len(notes) != 1 || !strings.Contains(notes[0], `"q" is a Packed`) {
			t.Errorf("notes %q", notes)
		}
	})
}

// TestPthOddTensors lists tensors that cannot be read, without hiding their neighbour.
func TestPthOddTensors(t *testing.T) {
	for _, c := range oddTensors() {
		t.Run(c.name, func(t *testing.T) {
			f := mustOpenBytes(t, zipOf(t, zip.Store, dictOf("w", goodTensor, "x", c.pickle)+".", two, two))
			if v, err := f.Float32("w"); err != nil || v[1] != 2 {
				t.Errorf("its neighbour: %v, %v", v, err)
			}
			shape, ok := f.Shape("x")
			if !ok || f.DType("x") != c.dtype || !slices.Equal(shape, c.shape) {
				t.Errorf("got %s %v, want %s %v", f.DType("x"), shape, c.dtype, c.shape)
			}
			v, err := f.Float32("x")
			if c.values == nil {
				wantError(t, err, ErrUnsupported, `"x"`)
				return
			}
			if err != nil || !slices.Equal(v, c.values) {
				t.Errorf("got %v, %v, want %v", v, err, c.values)
			}
			double, err := f.Float64("x")
			if err != nil || float32(double[1]) != c.values[1] {
				t.Errorf("got %v, %v, want %v", double, err, c.values)
			}
		})
	}
}

// TestSafetensorsOddTensors lists tensors of dtypes that cannot be read.
func TestSafetensorsOddTensors(t *testing.T) {
	for dtype, bytes := range map[string]int{"C64": 16, "F4": 1, "F6_E2M3": 2, "Q4": 7, strings.Repeat("x", 5000): 3} {
		t.Run(dtype[:2], func(t *testing.T) {
			data := append(make([]byte, bytes), two...)
			f := mustOpenBytes(t, safetensorsOf(fmt.Sprintf(`{"q":{"dtype":%q,"shape":[2],"data_offsets":[0,%d]},"w":{"dtype":"F32","shape":[2],"data_offsets":[%[2]d,%d]}}`, dtype, bytes, bytes+8), data...))
			if v, err := f.Float32("w"); err != nil || v[1] != 2 {
				t.Errorf("its neighbour: %v, %v", v, err)
			}
			if IsFloat(f.DType("q")) || f.DType("q") == "" || len(f.DType("q")) > 100 {
				t.Errorf("dtype %q", f.DType("q"))
			}
			_, err := f.Float32("q")
			wantError(t, err, ErrUnsupported, `"q"`)
		})
	}
}

// TestKey finds the weights of a checkpoint, alone or by a key.
func TestKey(t *testing.T) {
	one := dictOf("a.w", goodTensor)
	second := dictOf("b.w", goodTensor)
	wrapped := dictOf("module.backbone.a.w", goodTensor, "module.backbone.b.w", goodTensor)
	optimizer := dictOf("state", "(I0\n"+dictOf("exp_avg", goodTensor)+"d", "param_groups", "]")
	for _, c := range []struct {
		name, pickle, key, want string
		notes                   int
		kind                    error
		names                   string // in the error
	}{
		{"model", dictOf("model", one, "optimizer", optimizer), "", "a.w", 0, nil, ""},
		{"model before ema", dictOf("model_ema", second, "model", one), "", "a.w", 1, nil, ""},
		{"the only one", dictOf("net", one, "iter", "I1\n", "optim_g", optimizer), "", "a.w", 1, nil, ""},
		{"by numbers of an optimiser", dictOf("net", one, "opt", optimizer), "", "a.w", 1, nil, ""},
		{"nested", dictOf("model", dictOf("state_dict", one), "epoch", "I1\n"), "", "a.w", 1, nil, ""},
		{"in a list", "(" + one + "l", "", "a.w", 1, nil, ""},
		{"of a class", dictOf("net", "ceasydict\nEasyDict\n)\x81S'a.w'\n"+goodTensor+"s"), "", "a.w", 1, nil, ""},
		{"two", dictOf("teacher", one, "student", second), "", "", 0, ErrKey, `"teacher" (1 tensors), "student" (1 tensors)`},
		{"wrapped", wrapped, "", "a.w b.w", 1, nil, ""},
		{"not all wrapped", dictOf("module.a.w", goodTensor, "w", goodTensor), "", "module.a.w w", 0, nil, ""},
		{"nothing but wrappers", dictOf("module.model", goodTensor), "", "model", 1, nil, ""},
		{"a whole model", dictOf("model", "cmy\nNet\n)\x81}(S'_parameters'\n"+one+"ub"), "", "", 0, ErrUnsupported, "Net"},

		{"by key", dictOf("teacher", one, "student", second), "student", "b.w", 0, nil, ""},
		{"by a path", dictOf("model", dictOf("state_dict", one), "ema", dictOf("state_dict", second)), "ema.state_dict", "b.w", 0, nil, ""},
		{"by an index", "(" + one + second + "l", "1", "b.w", 0, nil, ""},
		{"by a number", "(I3\n" + second + "d", "3", "b.w", 0, nil, ""},
		{"by a key with dots", dictOf("a.b", second, "a", one), "a.b", "b.w", 0, nil, ""},
		{"by a prefix", dictOf("model", dictOf("enc.w", goodTensor, "dec.w", goodTensor)), "model.enc", "w", 0, nil, ""},
		{"by a prefix alone", dictOf("enc.w", goodTensor, "dec.w", goodTensor), "dec", "w", 0, nil, ""},
		{"by half a word", dictOf("enc.w", goodTensor), "en", "", 0, ErrKey, "enc.w"},
		{"by no key", dictOf("teacher", one), "pupil", "", 0, ErrKey, `"pupil" is not there; the dictionaries of tensors are "teacher"`},
		{"by a number's key", dictOf("model", one, "epoch", "I1\n"), "epoch", "", 0, ErrKey, `"epoch" is 1 without tensors`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := zipOf(t, zip.Store, c.pickle+".", two)
			f, err := Options{Key: c.key}.NewReader(strings.NewReader(string(b)), int64(len(b)))
			if c.kind != nil {
				wantError(t, err, c.kind, c.names)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(f.Names(), " "); got != c.want || len(f.Notes()) != c.notes {
				t.Errorf("got %s with the notes %q, want %s", got, f.Notes(), c.want)
			}
			for _, name := range f.Names() {
				if v, err := f.Float32(name); err != nil || v[1] != 2 {
					t.Errorf("%s: %v, %v", name, v, err)
				}
			}
		})
	}
	entry := func(name string, at int) string {
		return fmt.Sprintf(`%q:{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}`, name, at, at+1)
	}
	for _, c := range []struct {
		names []string
		key   string
		want  string // "" for an error
	}{
		{[]string{"module.a", "module.b"}, "", "a b"},
		{[]string{"_orig_mod.module.a.w", "_orig_mod.module.b"}, "", "a.w b"},
		{[]string{"model.a", "ema.a"}, "", "model.a ema.a"},
		{[]string{"model.a", "ema.a"}, "ema", "a"},
		{[]string{"model.a", "ema.a"}, "other", ""},
		{[]string{"encoder.a", "encoder.b"}, "", "encoder.a encoder.b"},
	} {
		t.Run(fmt.Sprintf("safetensors of %v by %q", c.names, c.key), func(t *testing.T) {
			var list []string
			for i, name := range c.names {
				list = append(list, entry(name, i))
			}
			b := safetensorsOf("{"+strings.Join(list, ",")+"}", make([]byte, len(list))...)
			f, err := Options{Key: c.key}.NewReader(strings.NewReader(string(b)), int64(len(b)))
			if c.want == "" {
				wantError(t, err, ErrKey, `"other."`)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(f.Names(), " "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// counting is a file system in memory that counts its open files.
type counting struct {
	fs.FS
	open *int
}

func (c counting) Open(name string) (fs.File, error) {
	f, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	*c.open++
	return counted{f, f.(io.ReaderAt), c.open}, nil
}

type counted struct {
	fs.File
	io.ReaderAt
	open *int
}

func (c counted) Close() error { *c.open--; return c.File.Close() }

// TestShards reads weights that are stored in several files, and closes them all.
func TestShards(t *testing.T) {
	safe := func(names ...string) []byte {
		var list []string
		for i, name := range names {
			list = append(list, fmt.Sprintf(`%q:{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}`, name, i, i+1))
		}
		return safetensorsOf("{"+strings.Join(list, ",")+"}", []byte("abcdefgh")[:len(names)]...)
	}
	index := func(pairs ...string) []byte {
		var list []string
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, fmt.Sprintf("%q:%q", pairs[i], pairs[i+1]))
		}
		return []byte(`{"metadata":{"total_size":3},"weight_map":{` + strings.Join(list, ",") + "}}")
	}
	for _, c := range []struct {
		name  string
		index []byte
		key   string
		want  string
		kind  error
		names string // in the error, or in the only note
	}{
		{"two files", index("b", "2.st", "a", "1.st", "c", "2.st"), "", "a b c", nil, ""},
		{"of PyTorch", index("w", "1.bin", "a", "1.st"), "", "w a", nil, ""},
		{"one of two places", index("a", "3.st", "d", "3.st", "b", "2.st"), "", "b c a d", nil, ""},
		{"with an object among them", index("w", "2.bin", "a", "1.st"), "", "a w", nil, `"2.bin": `},
		{"with a prefix", index("model.x", "4.st", "model.y", "4.st"), "", "x y", nil, "model."},
		{"by key", index("model.x", "4.st", "a", "1.st"), "model", "x y", nil, ""},
		{"a file missing", index("a", "9.st"), "", "", fs.ErrNotExist, "9.st"},
		{"a tensor missing", index("a", "1.st", "z", "1.st"), "", "", ErrDamaged, `"z"`},
		{"in the wrong file", index("a", "2.st"), "", "", ErrDamaged, `"a"`},
		{"a path", index("a", "../1.st"), "", "", ErrDamaged, "../1.st"},
		{"a folder", index("a", "."), "", "", ErrDamaged, `"."`},
		{"a name twice", []byte(`{"weight_map":{"a":"1.st","a":"1.st"}}`), "", "", ErrDamaged, `"a"`},
		{"no map", []byte(`{"a":1}`), "", "", ErrUnsupported, "weight_map"},
		{"no text", []byte(`{"weight_map":{"a":7}}`), "", "", ErrDamaged, "weight_map"},
		{"cut off", []byte(`{"weight_map":{"a":"1.st"`), "", "", ErrDamaged, "weight_map"},
		{"an unlisted tensor in two files", index("b", "2.st", "e", "5.st"), "", "", ErrDamaged, `"c"`},
		{"by a key that is not there", index("a", "1.st"), "model", "", ErrKey, "model"},
		{"an index of an index", index("a", "index"), "", "", ErrUnsupported, "index"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := fstest.MapFS{
				"m/index": {Data: c.index}, "m/1.st": {Data: safe("a")}, "m/2.st": {Data: safe("b", "c")}, "m/3.st": {Data: safe("a", "d")},
				"m/4.st": {Data: safe("model.x", "model.y")}, "m/5.st": {Data: safe("e", "c")}, "m/1.bin": {Data: zipOf(t, zip.Store, dictOf("w", goodTensor)+".", two)},
				"m/2.bin": {Data: zipOf(t, zip.Store, dictOf("w", goodTensor, "q", callOf("gguf", "Packed"))+".", two)},
			}
			open := 0
			defer func() {
				if open != 0 {
					t.Errorf("%d files are still open", open)
				}
			}()
			f, err := Options{Key: c.key}.OpenFS(counting{files, &open}, "m/index")
			if c.kind != nil {
				if f != nil || !errors.Is(err, c.kind) {
					t.Errorf("opened %v", f != nil)
				}
				wantError(t, err, c.kind, c.names)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(f.Names(), " "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if notes := f.Notes(); (len(notes) == 1) != (c.names != "") || !strings.Contains(strings.Join(notes, ""), c.names) {
				t.Errorf("got the notes %q, want %s", notes, c.names)
			}
			mustReadAll(t, f)
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestForeign says what a file is that is no file of weights.
func TestForeign(t *testing.T) {
	for begin, want := range map[string]string{
		"version https://git-lfs.github.com/spec/v1\noid sha256:0\n": "Git LFS",
		"<!DOCTYPE html>\n<html>":                                    "web page",
		"\ufeff\n<HTML lang=en>":                                     "web page",
		"<?xml version=\"1.0\"?><Error>":                             "XML",
		"{\"error\": \"Repository not found\"}    ":                  "weight_map",
		"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00":                       "gzip",
		"\x89HDF\r\n\x1a\n\x00\x00\x00\x00":                          "HDF5",
		"GGUF\x03\x00\x00\x00\x00\x00\x00":                           "GGUF",
		"\x93NUMPY\x01\x00v\x00{'descr'":                             "NumPy",
	} {
		t.Run(want, func(t *testing.T) {
			_, err := OpenFS(fstest.MapFS{"x": {Data: []byte(begin)}}, "x")
			wantError(t, err, ErrUnsupported, want)
		})
	}
}
