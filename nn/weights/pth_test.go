package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomae/gomae/internal/atomicfile"
)

func mustOpenTensors(t testing.TB, path string) File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func mustReadTensors(t testing.TB, f File) []Tensor {
	t.Helper()
	list, err := ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// sameTensors compares names, shapes, types and every bit.
func sameTensors(t *testing.T, what string, got, want []Tensor) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d tensors, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		g, w := got[i], want[i]
		var a, b bytes.Buffer
		buf := make([]byte, chunkSize)
		if err := errors.Join(writeData(&a, buf, g.Data), writeData(&b, buf, w.Data)); err != nil {
			t.Fatal(err)
		}
		if g.Name != w.Name || !slices.Equal(g.Shape, w.Shape) || reflect.TypeOf(g.Data) != reflect.TypeOf(w.Data) || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s: tensor %d is %s %v %T %.5v, want %s %v %T %.5v", what, i, g.Name, g.Shape, g.Data, g.Data, w.Name, w.Shape, w.Data, w.Data)
		}
	}
}

func sorted(list []Tensor) []Tensor {
	slices.SortFunc(list, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// TestPthOfTorch reads what PyTorch 1.13 and 2.13 wrote: all types, views of all kinds, both formats.
func TestPthOfTorch(t *testing.T) {
	want := sorted(mustReadTensors(t, mustOpenTensors(t, "testdata/expected.safetensors")))
	order := "f32 f64 f16 bf16 i64 i32 i16 i8 u8 bool bn.num_batches_tracked empty parameter whole offset transposed strided expanded shared one half_view"
	files, _ := filepath.Glob("testdata/torch*.pth")
	if len(files) != 11 {
		t.Fatalf("found %v", files)
	}
	for _, path := range files {
		f := mustOpenTensors(t, path)
		if strings.HasSuffix(path, "_unsigned.pth") {
			sameTensors(t, path, mustReadTensors(t, f), []Tensor{{"u16", []int{2}, []int64{1, 65535}}, {"u32", []int{1}, []int64{1<<32 - 1}}})
			if d := f.DType("u16") + f.DType("u32"); d != "U16U32" {
				t.Errorf("%s: %s", path, d)
			}
			continue
		}
		if got := strings.Join(f.Names(), " "); got != order {
			t.Errorf("%s: names %s", path, got)
		}
		if d := f.DType("f16") + f.DType("bf16") + f.DType("bool") + f.DType("i8") + f.DType("none"); d != "F16BF16BOOLI8" {
			t.Errorf("%s: dtypes %s", path, d)
		}
		sameTensors(t, path, sorted(mustReadTensors(t, f)), want)
	}
}

func TestPthContents(t *testing.T) {
	for _, version := range []string{"1.13", "2.13"} {
		for _, kind := range []string{"", "_legacy", "_protocol5"} {
			path := "testdata/torch" + version + kind + ".pth"
			var got []string
			for _, c := range mustOpenTensors(t, path).Contents() {
				got = append(got, c.Key+": "+c.Text)
				for _, e := range c.Entries {
					if c.Key == "args" || c.Key == "scaler" {
						got = append(got, "  "+e)
					}
				}
			}
			want := `optimizer: dict, 2 entries
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
			if s := strings.Join(got, "\n"); s != want {
				t.Errorf("%s: contents\n%s\nwant\n%s", path, s, want)
			}
		}
		c := mustOpenTensors(t, "testdata/torch"+version+"_parallel.pth").Contents()
		if got := fmt.Sprint(c); got != "[{rng_state tensor, U8 [2] []}]" {
			t.Errorf("contents %s", got)
		}
		if c := mustOpenTensors(t, "testdata/torch"+version+"_bare.pth").Contents(); len(c) != 0 {
			t.Errorf("contents %v", c)
		}
	}
}

// TestPthOfDump: one dump in three formats.
func TestPthOfDump(t *testing.T) {
	dir := "../../testdata/parity/vit_linear/"
	want := mustReadTensors(t, mustOpenTensors(t, dir+"model.safetensors"))
	if len(want) != 32 {
		t.Fatalf("%d tensors", len(want))
	}
	for _, name := range []string{"model.pth", "model_legacy.pth"} {
		sameTensors(t, name, mustReadTensors(t, mustOpenTensors(t, dir+name)), want)
	}
}

// zipOf is a checkpoint of the zip format with this pickle and storages 0, 1, ….
func zipOf(t testing.TB, method uint16, pickle string, storages ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	put := func(name, data string) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = io.WriteString(w, data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("a/data.pkl", pickle)
	for i, s := range storages {
		put(fmt.Sprintf("a/data/%d", i), s)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// legacyOf is a checkpoint of the old format. Each storage begins with its count.
func legacyOf(pickle, keys string, storages ...string) []byte {
	return []byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}U\rlittle_endian\x88s." + pickle + keys + strings.Join(storages, ""))
}

// storage and tensor are pickles of protocol 0 words.
func storageOf(class, key string, count int64) string {
	return fmt.Sprintf("(S'storage'\nctorch\n%s\nS'%s'\nS'cpu'\nI%d\ntQ", class, key, count)
}

func tensorOf(storage string, offset int64, shape, strides string) string {
	return fmt.Sprintf("ctorch._utils\n_rebuild_tensor\n(%sI%d\n%s%stR", storage, offset, shape, strides)
}

func tupleOf(n ...int64) string {
	s := "("
	for _, v := range n {
		s += fmt.Sprintf("I%d\n", v)
	}
	return s + "t"
}

func dictOf(items ...string) string {
	s := "("
	for i := 0; i < len(items); i += 2 {
		s += "S'" + items[i] + "'\n" + items[i+1]
	}
	return s + "d"
}

const two = "\x00\x00\x80\x3f\x00\x00\x00\x40" // 1 and 2

var goodTensor = tensorOf(storageOf("FloatStorage", "0", 2), 0, tupleOf(2), tupleOf(1))

// TestPthProtocol0 reads pickles of text and of Python 2, and parts of storages as old files have them.
func TestPthProtocol0(t *testing.T) {
	part := strings.Replace(storageOf("FloatStorage", "0", 4), "tQ", "(S'v'\nI1\nI2\nttQ", 1)
	list := "(lp0\nS'0'\na."
	for what, file := range map[string][]byte{
		"text":          zipOf(t, zip.Store, dictOf("w", goodTensor)+".", two),
		"OrderedDict":   zipOf(t, zip.Store, "ccollections\nOrderedDict\n((l(lS'w'\n"+"a"+goodTensor+"aatR.", two),
		"old, and part": legacyOf(dictOf("w", tensorOf(part, 0, tupleOf(2), tupleOf(1)))+".", list, "\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"+two+"\x00\x00\x00\x00"),
	} {
		f, err := openBytes(file)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		sameTensors(t, what, mustReadTensors(t, f), []Tensor{{"w", []int{2}, []float32{1, 2}}})
	}
}

// TestPthCompressed reads archives that somebody packed anew.
func TestPthCompressed(t *testing.T) {
	var b bytes.Buffer
	z, err := zip.OpenReader("testdata/torch2.13.pth")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out := zip.NewWriter(&b)
	for _, e := range z.File {
		r, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		w, err := out.Create(e.Name)
		if err == nil {
			_, err = io.Copy(w, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out.Close()
	f, err := openBytes(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	sameTensors(t, "compressed", mustReadTensors(t, f), mustReadTensors(t, mustOpenTensors(t, "testdata/torch2.13.pth")))
	for n, want := range map[int64]string{2: "33554432 bytes in a file of", 8 << 20: "8388608 elements of torch.FloatStorage in a file of"} {
		bomb := tensorOf(storageOf("FloatStorage", "0", n), 0, tupleOf(2), tupleOf(1))
		if _, err := openBytes(zipOf(t, zip.Deflate, dictOf("w", bomb)+".", strings.Repeat("\x00", 32<<20))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a bomb: %v, want %s", err, want)
		}
	}
	if _, err := openBytes(zipOf(t, zip.Deflate, "]"+strings.Repeat("N0", 4<<20)+".")); err == nil || !strings.Contains(err.Error(), "bytes in a file of") {
		t.Errorf("a pickle that is a bomb: %v", err)
	}
	damaged := zipOf(t, zip.Deflate, dictOf("w", goodTensor)+".", two)
	damaged[bytes.Index(damaged, []byte("a/data/0"))+8] ^= 0xff
	if f, err := openBytes(damaged); err == nil {
		if _, err := f.Float32("w"); err == nil {
			t.Error("a damaged compressed storage was read")
		}
	}
}

// TestPthRefused: no name is resolved that is not on the list, by whatever instruction it comes.
func TestPthRefused(t *testing.T) {
	for path, want := range map[string]string{"testdata/call_system.pth": `refused "posix.system"`, "testdata/call_eval.pth": `refused "__builtin__.eval"`} {
		if f, err := Open(path); f != nil || err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "pth: "+path+": ") {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	for name, pickle := range map[string]string{
		"os.system":                    "cos\nsystem\n(S'id'\ntR.",
		"posix.system":                 "\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
		"builtins.eval":                "\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
		"builtins.getattr":             "cbuiltins\ngetattr\n.",
		"builtins.__import__":          "(S'os'\nibuiltins\n__import__\n.",
		"subprocess.Popen":             "(csubprocess\nPopen\nS'id'\no.",
		"nt.system":                    "cnt\nsystem\n)\x81.",
		"torch.nn.modules.linear.X":    "ctorch.nn.modules.linear\nX\n)\x81}b.",
		"torch.storage.TypedStorage.x": "\x80\x04\x8c\x0dtorch.storage\x8c\x0eTypedStorage.x\x93.",
		"argparse.":                    "cargparse\n\n.",
		"collections.OrderedDict.get":  "ccollections\nOrderedDict.get\n.",
		"torch.load":                   "ctorch\nload\n.",
		"torch.storage._load_from_bytes": "ctorch.storage\n_load_from_bytes\n" +
			"(tR.",
	} {
		for format, file := range map[string][]byte{"zip": zipOf(t, zip.Store, pickle), "old": legacyOf(pickle, "]."), "magic": []byte("\x80\x02" + pickle)} {
			_, err := NewReader(bytes.NewReader(file), int64(len(file)))
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("refused %q", name)) {
				t.Errorf("%s in %s: %v", name, format, err)
			}
		}
	}
}

// pthMalformed lists files that must be refused, with a part of the error. The fuzz tests start from them too.
func pthMalformed(t testing.TB) []struct {
	name, want string
	file       []byte
} {
	st := storageOf("FloatStorage", "0", 2)
	in := func(tensor string) []byte { return zipOf(t, zip.Store, dictOf("w", tensor)+".", two) }
	pickle := func(s string) []byte { return zipOf(t, zip.Store, s) }
	count := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	old := func(keys string, storages ...string) []byte {
		return legacyOf(dictOf("w", goodTensor)+".", keys, storages...)
	}
	twoPickles := func() []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for _, n := range []string{"a/data.pkl", "b/data.pkl"} {
			z.Create(n)
		}
		z.Close()
		return b.Bytes()
	}
	extra := func(name, data string) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for n, d := range map[string]string{"a/data.pkl": "}.", name: data} {
			w, _ := z.CreateHeader(&zip.FileHeader{Name: n})
			io.WriteString(w, d)
		}
		z.Close()
		return b.Bytes()
	}
	return []struct {
		name, want string
		file       []byte
	}{
		{"empty", "too short", nil},
		{"no zip", "cut off", []byte("PK\x03\x04 and no more")},
		{"an empty archive", "without NAME/data.pkl", append([]byte("PK\x05\x06"), make([]byte, 18)...)},
		{"two pickles", "one data.pkl", twoPickles()},
		{"TorchScript", "torch.jit.load", extra("a/constants.pkl", "")},
		{"big-endian", `byte order "big"`, extra("a/byteorder", "big")},
		{"another magic", "not one of torch.save", []byte("\x80\x02}.")},
		{"another version", "protocol version 1002", bytes.Replace(old("]."), []byte("M\xe9\x03"), []byte("M\xea\x03"), 1)},
		{"old, big-endian", "big-endian", bytes.Replace(old("]."), []byte("endian\x88"), []byte("endian\x89"), 1)},
		{"old, no keys", "list of storages", old("}.")},
		{"old, missing storage", `tensor "w": its storage "0" is not in the file`, old("].")},
		{"old, another storage", "belongs to no tensor", old("]S'7'\na.")},
		{"old, a number for a key", "belongs to no tensor", old("]I7\na.")},
		{"old, listed twice", "listed twice", old("]S'0'\naS'0'\na.", count(2)+two, count(2)+two)},
		{"old, no count", "ends before it", old("]S'0'\na.", "\x02")},
		{"old, cut off", "only 7 bytes follow", old("]S'0'\na.", count(2)+two[:7])},
		{"old, a huge count", "only 8 bytes follow", old("]S'0'\na.", count(1<<62)+two)},
		{"old, a negative count", "only 8 bytes follow", old("]S'0'\na.", count(1<<63)+two)},
		{"old, another count", "1 values, but the checkpoint says 2", old("]S'0'\na.", count(1)+two)},

		{"no end", "unexpected EOF", pickle("}")},
		{"nothing", "unexpected EOF", pickle("")},
		{"more on the stack", "leaves 1 values", pickle("}}.")},
		{"a mark left", "leaves", pickle("}(0(}.")},
		{"an empty stack", "more from the stack", pickle(".")},
		{"pop of nothing", "more from the stack", pickle("0.")},
		{"no mark", "no mark", pickle("t.")},
		{"below the mark", "more from the stack", pickle("}(\x85.")},
		{"unknown instruction", "unknown instruction", pickle("\xff.")},
		{"extension", "unknown instruction", pickle("\x82\x01.")},
		{"buffer", "unknown instruction", pickle("\x97.")},
		{"protocol 6", "protocol 6", pickle("\x80\x06}.")},
		{"a long string", "only", pickle("X\xff\xff\xff\xff")},
		{"a longer string", "only", pickle("\x8d\xff\xff\xff\xff\xff\xff\xff\xff")},
		{"long bytes", "only", pickle("\x8e\xff\xff\xff\xff\xff\xff\xff\x7f")},
		{"a long number", "only", pickle("\x8b\xff\xff\xff\x7f")},
		{"no number", "is not a number", pickle("Ix\n.")},
		{"a number of many digits", "is not a number", pickle("L" + strings.Repeat("9", 5000) + "L\n.")},
		{"no float", "is not a number", pickle("Fx\n.")},
		{"no string", "is not a string in quotes", pickle("S'x\n.")},
		{"escapes", "protocol 2", pickle("S'\\x00'\n.")},
		{"a long line", "a line of more", pickle("S'" + strings.Repeat("x", 1<<17))},
		{"memo", "nothing in the memo", pickle("h\x00.")},
		{"memo hole", "nothing in the memo", pickle("}r\x02\x00\x00\x00h\x00.")},
		{"memo number", "memo number 4294967295", pickle("}r\xff\xff\xff\xff.")},
		{"memo text", "memo number", pickle("}p-1\n.")},
		{"memo of nothing", "more from the stack", pickle("q\x00.")},
		{"append to a dictionary", "appends to dict", pickle("}Na.")},
		{"items of a list", "sets items of []", pickle("]NNs.")},
		{"odd items", "without a value", pickle("}(Nu.")},
		{"call of a number", "calls 1", pickle("K\x01)R.")},
		{"call without a tuple", "not a tuple", pickle("ccollections\nOrderedDict\n]R.")},
		{"state of a number", "sets the state of 1", pickle("K\x01}b.")},
		{"dictionary of no pairs", "not pairs", pickle("ccollections\nOrderedDict\n((lNatR.")},
		{"encode", "_codecs.encode", pickle("c_codecs\nencode\n)R.")},
		{"reconstructor", "without a class", pickle("ccopyreg\n_reconstructor\n)R.")},
		{"reconstructor of itself", "without a class", pickle("ccopyreg\n_reconstructor\np0\n(g0\ntR.")},
		{"persistent id", "does not name a storage", pickle("NQ.")},
		{"text persistent id", "unknown instruction", pickle("P0\n.")},
		{"a list", "got []", pickle("].")},
		{"no tensors", "no state dict among its keys ['epoch']", pickle(dictOf("epoch", "I1\n") + ".")},
		{"number for a key", "is not a string", zipOf(t, zip.Store, "(I1\n"+goodTensor+"d.", two)},
		{"given twice", `tensor "w" is listed twice`, zipOf(t, zip.Store, dictOf("w", goodTensor, "w", goodTensor)+".", two)},

		{"storage missing", `its storage "0" is not in the file`, zipOf(t, zip.Store, dictOf("w", goodTensor)+".")},
		{"storage short", "has 4 bytes, but the checkpoint says 2 of F32", zipOf(t, zip.Store, dictOf("w", goodTensor)+".", two[:4])},
		{"storage huge", "elements of torch.FloatStorage in a file of", in(tensorOf(storageOf("FloatStorage", "0", 1<<40), 0, tupleOf(2), tupleOf(1)))},
		{"storage negative", "elements of torch.FloatStorage", in(tensorOf(storageOf("FloatStorage", "0", -2), 0, tupleOf(2), tupleOf(1)))},
		{"storage of a class", "elements of argparse.Namespace", in(tensorOf(strings.Replace(st, "torch\nFloatStorage", "argparse\nNamespace", 1), 0, tupleOf(2), tupleOf(1)))},
		{"complex numbers", `refused "torch.ComplexFloatStorage"`, in(tensorOf(storageOf("ComplexFloatStorage", "0", 1), 0, tupleOf(1), tupleOf(1)))},
		{"two types", "also 1 of F64", zipOf(t, zip.Store, dictOf("w", goodTensor, "v", tensorOf(storageOf("DoubleStorage", "0", 1), 0, tupleOf(1), tupleOf(1)))+".", two)},
		{"offset", "leaves its storage", in(tensorOf(st, 1, tupleOf(2), tupleOf(1)))},
		{"offset far", "leaves its storage", in(tensorOf(st, math.MaxInt64, tupleOf(2), tupleOf(1)))},
		{"offset negative", "at -1", in(tensorOf(st, -1, tupleOf(1), tupleOf(1)))},
		{"shape", "leaves its storage", in(tensorOf(st, 0, tupleOf(3), tupleOf(1)))},
		{"strides", "leaves its storage", in(tensorOf(st, 0, tupleOf(2), tupleOf(2)))},
		{"strides overflow", "leaves its storage", in(tensorOf(st, 0, tupleOf(3, 3), tupleOf(1<<62, 1<<62)))},
		{"strides negative", "0 or more", in(tensorOf(st, 0, tupleOf(2), tupleOf(-1)))},
		{"shape negative", "0 or more", in(tensorOf(st, 0, tupleOf(-2), tupleOf(1)))},
		{"shape overflows", "overflows", in(tensorOf(st, 0, tupleOf(1<<32, 1<<32), tupleOf(0, 0)))},
		{"rank", "at most 32", in(tensorOf(st, 0, tupleOf(make([]int64, 33)...), tupleOf(make([]int64, 33)...)))},
		{"ranks differ", "with strides", in(tensorOf(st, 0, tupleOf(2), tupleOf(1, 1)))},
		{"shape of text", "numbers of 0 or more", in(tensorOf(st, 0, "(S'2'\nt", tupleOf(1)))},
		{"shape is a number", "want a tuple", in(tensorOf(st, 0, "I2\n", tupleOf(1)))},
		{"expanded", "times as large as the file", in(tensorOf(st, 0, tupleOf(1<<40), tupleOf(0)))},
		{"no storage", "_rebuild_tensor of 7", in(tensorOf("I7\n", 0, tupleOf(1), tupleOf(1)))},
		{"few arguments", "_rebuild_tensor of 0 arguments", in("ctorch._utils\n_rebuild_tensor\n)R")},
		{"parameter of no tensor", "without a tensor", in("ctorch._utils\n_rebuild_parameter\n(NtR")},
		{"type of no tensor", "without a tensor", in("ctorch._tensor\n_rebuild_from_type_v2\n(NNNNtR")},
		{"v3 of no type", "tensors of None", in("ctorch._utils\n_rebuild_tensor_v3\n(" + st + "I0\n" + tupleOf(1) + tupleOf(1) + "I00\nNNtR")},

		{"lists in lists", "more values", pickle(strings.Repeat("]", 1<<15))},
		{"many marks", "a stack of more", pickle(strings.Repeat("(", 1<<18))},
		{"many values", "a stack of more", pickle(strings.Repeat("N", 1<<18))},
	}
}

func TestPthMalformed(t *testing.T) {
	for _, c := range pthMalformed(t) {
		f, err := openBytes(c.file)
		if strconv.IntSize == 32 && err != nil && strings.Contains(err.Error(), "want numbers of 0 or more") {
			continue // no int holds these
		}
		if f != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		} else if len(err.Error()) > 700 {
			t.Errorf("%s: an error of %d bytes", c.name, len(err.Error()))
		}
	}
}

// TestPthSelf: values that contain themselves are read once and described in short.
func TestPthSelf(t *testing.T) {
	for _, pickle := range []string{
		"}q\x00(S'w'\n" + goodTensor + "S'model'\nh\x00S'x'\n]q\x01h\x01aS'y'\n]q\x02(h\x02tau.",
		"}q\x00(S'w'\n" + goodTensor + "S'args'\ncargparse\nNamespace\n)\x81h\x00bu.",
	} {
		f, err := openBytes(zipOf(t, zip.Store, pickle, two))
		if err != nil {
			t.Error(err)
			continue
		}
		if v, err := f.Float32("w"); err != nil || v[1] != 2 {
			t.Errorf("%v %v", v, err)
		}
		if s := fmt.Sprint(f.Contents()); len(s) > 500 {
			t.Errorf("contents %s", s)
		}
	}
}

// TestPthCutOff: a file that ends too early is refused, and one with a byte changed does no harm.
func TestPthCutOff(t *testing.T) {
	for _, path := range []string{"testdata/torch2.13.pth", "testdata/torch1.13_legacy.pth"} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(b); n += 3 {
			if _, err := openBytes(b[:n]); err == nil {
				t.Errorf("%s: %d of its %d bytes were accepted", path, n, len(b))
			}
			if n%7 == 0 {
				c := slices.Clone(b)
				c[n] ^= 0x55
				readAll(t, c)
			}
		}
	}
}

// TestPthMemory has files that ask for far more memory than they have bytes.
func TestPthMemory(t *testing.T) {
	many := strings.Builder{}
	many.WriteString("(")
	for i := range 2000 {
		fmt.Fprintf(&many, "S'w%d'\n%s", i, tensorOf(storageOf("FloatStorage", "0", 2), 0, tupleOf(1<<20), tupleOf(0)))
	}
	for _, c := range []struct {
		what string
		file []byte
	}{
		{"tuples of tuples", zipOf(t, zip.Store, ")"+strings.Repeat("q\x00h\x00h\x00\x86", 100000)+".")},
		{"empty lists", zipOf(t, zip.Store, "]("+strings.Repeat("]", 500)+strings.Repeat("]", 1000000)+"e.")},
		{"dictionaries", zipOf(t, zip.Store, strings.Repeat("}0", 500000)+"}.")},
		{"a memo", zipOf(t, zip.Store, "}"+strings.Repeat("\x94", 1000000)+".")},
		{"storages", zipOf(t, zip.Store, dictOf("w", goodTensor)+strings.Repeat("(S'storage'\nctorch\nByteStorage\nVk\nNI9\ntQ0", 20000)+".")},
		{"expanded tensors", zipOf(t, zip.Store, many.String()+"d.", two)},
		{"a size that is not", legacyOf(dictOf("w", goodTensor)+".", "]S'0'\na.", "\xff\xff\xff\xff\xff\xff\xff\x0f")},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := openBytes(c.file)
		runtime.ReadMemStats(&after)
		if n := int(after.TotalAlloc - before.TotalAlloc); n > 100*len(c.file)+8<<20 {
			t.Errorf("%s: %d bytes for a file of %d, error %v", c.what, n, len(c.file), err)
		}
		if f != nil && len(f.Names()) != 0 {
			t.Errorf("%s: accepted", c.what)
		}
	}
	// Many small views of a large storage must not each read all of it.
	const n = 1 << 20
	many.Reset()
	many.WriteString("(")
	for i := range 3000 {
		fmt.Fprintf(&many, "S'w%d'\n%s", i, tensorOf(storageOf("ByteStorage", "0", n), 0, tupleOf(2), tupleOf(n-1)))
	}
	f, err := openBytes(zipOf(t, zip.Store, many.String()+"d.", strings.Repeat("\x00", n-1)+"\x07"))
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, name := range f.Names() {
		if v, err := f.Int64(name); err != nil || v[0] != 0 || v[1] != 7 {
			t.Fatal(v, err)
		}
	}
	runtime.ReadMemStats(&after)
	if b := after.TotalAlloc - before.TotalAlloc; b > 8<<20 {
		t.Errorf("small views took %d bytes", b)
	}
}

func TestPthFalseSize(t *testing.T) {
	b := zipOf(t, zip.Store, dictOf("w", goodTensor)+".", two)
	if _, err := NewReader(bytes.NewReader(b), int64(len(b))+1<<40); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

func TestPthReadErrors(t *testing.T) {
	f := mustOpenTensors(t, "testdata/torch2.13.pth")
	for what, err := range map[string]error{
		"missing": f.ReadFloat32("none", nil),
		"length":  f.ReadFloat32("f32", make([]float32, 2)),
		"integer": f.ReadFloat32("i64", make([]float32, 2)),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "pth: testdata/torch2.13.pth: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := f.Int64("f32"); err == nil {
		t.Error("Int64 of floats: no error")
	}
	f.Close()
	if _, err := f.Float32("f32"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}

// TestOpenTensors tells files by their content, whatever they are called.
func TestOpenTensors(t *testing.T) {
	safe, err := os.ReadFile("testdata/expected.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	zipped, old := zipOf(t, zip.Store, dictOf("w", goodTensor)+".", two), legacyOf(dictOf("w", goodTensor)+".", "]S'0'\na.", "\x02\x00\x00\x00\x00\x00\x00\x00"+two)
	files := fstest.MapFS{"a.pth": {Data: safe}, "b.safetensors": {Data: zipped}, "c": {Data: old}, "d/x": {}, "e": {}, "f": {Data: []byte("<!DOCTYPE html><html>")}, "g": {Data: []byte("short")},
		"h": {Data: append([]byte("\x80\x02\x02\x00\x00\x00\x00\x00{}"), make([]byte, 0x20280-2)...)}}
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a.pth": "safetensors 21", "b.safetensors": "pth 1", "c": "pth 1", "d": "not a regular file", "none": "none: ", "e": "safetensors: NAME: 0 bytes is too short",
		"f": "weights: NAME: neither a safetensors file nor a PyTorch checkpoint; it begins with \"<!DOCTYPE html><\"", "g": "safetensors: NAME: 5 bytes is too short", "h": "safetensors: NAME: header",
	} {
		path := filepath.Join(dir, name)
		f1, err1 := Open(path)
		f2, err2 := OpenFS(files, name)
		f3, err3 := OpenFS(streams{files}, name)
		for i, f := range []File{f1, f2, f3} {
			got := fmt.Sprint([]error{err1, err2, err3}[i])
			if f != nil {
				format, _, _ := strings.Cut(f.Label(), ":")
				got = fmt.Sprintf("%s %d", format, len(f.Names()))
				f.Close()
			}
			w := strings.ReplaceAll(want, "NAME", []string{path, name, name}[i])
			if !strings.Contains(got, w) {
				t.Errorf("%s: got %s, want %s", name, got, w)
			}
		}
	}
	file, err := os.Open(filepath.Join(dir, "b.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f, err := NewReader(file, int64(len(zipped)))
	if err != nil || f.Label() != "pth: "+file.Name() {
		t.Errorf("%v %v", f, err)
	}
}

// roundTensors is what both writers can write.
func roundTensors() []Tensor {
	f32 := make([]float32, 3*chunkSize/4+5)
	for i := range f32 {
		f32[i] = math.Float32frombits(uint32(i) * 2654435761)
	}
	return []Tensor{
		{"encoder.weight", []int{len(f32)}, f32},
		{"a", []int{2, 3}, []uint8{0, 1, 255, 7, 9, 3}},
		{"naïve \"quoted\" 'name'\n", []int{2, 1, 2}, []float64{math.Pi, math.Float64frombits(0x7ff4000000000123), math.Inf(-1), 1e300}},
		{"bn.num_batches_tracked", nil, []int64{math.MinInt64}},
		{"empty", []int{0, 7}, []float32{}},
		{"last", []int{1}, []float32{3}},
	}
}

func TestWritePth(t *testing.T) {
	want := roundTensors()
	var pth, again, safe, back bytes.Buffer
	for _, w := range []io.Writer{&pth, &again} {
		if err := WritePth(w, want); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(pth.Bytes(), again.Bytes()) {
		t.Error("the same tensors gave other bytes")
	}
	f, err := openBytes(pth.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got := mustReadTensors(t, f)
	sameTensors(t, "read back", got, want)
	if err := WriteSafetensors(&safe, got, nil); err != nil {
		t.Fatal(err)
	}
	if err := WritePth(&back, mustReadTensors(t, mustOpen(t, safe.Bytes()))); err != nil || !bytes.Equal(back.Bytes(), pth.Bytes()) {
		t.Errorf("pth → safetensors → pth gave other bytes (%v)", err)
	}
	z, err := zip.NewReader(bytes.NewReader(pth.Bytes()), int64(pth.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range z.File {
		if off, err := e.DataOffset(); err != nil || off%64 != 0 || e.Method != zip.Store || e.Flags&8 != 0 {
			t.Errorf("%s lies at %d, method %d, flags %#x, %v", e.Name, off, e.Method, e.Flags, err)
		}
		r, err := e.Open()
		if err == nil {
			_, err = io.Copy(io.Discard, r) // compares the checksum
		}
		if err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
	for n := 0; n < pth.Len(); n += max(1, pth.Len()/7) {
		if err := WritePth(&limitedWriter{n}, want); !errors.Is(err, errFull) {
			t.Errorf("room for %d bytes: %v", n, err)
		}
	}
	var none bytes.Buffer
	if err := WritePth(&none, []Tensor{{"x", []int{3}, []float32{1}}}); err == nil || none.Len() > 0 {
		t.Errorf("a wrong shape: %v, %d bytes written", err, none.Len())
	}
	if err := WritePth(&none, nil); err != nil {
		t.Fatal(err)
	}
	if f, err := openBytes(none.Bytes()); err != nil || len(f.Names()) != 0 {
		t.Errorf("no tensors: %v", err)
	}
}

// TestWritePthTorch has PyTorch load what WritePth writes.
func TestWritePthTorch(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Python")
	}
	if out, err := exec.Command("python3", "-c", "import torch").CombinedOutput(); err != nil {
		t.Skipf("no PyTorch for python3 (%v); install it with: pip install torch, or apt install python3-torch\n%s", err, out)
	}
	path := filepath.Join(t.TempDir(), "w.pth")
	if err := atomicfile.Write(path, func(w io.Writer) error { return WritePth(w, roundTensors()) }); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("python3", "-c", `
import sys, torch
d = torch.load(sys.argv[1], weights_only=True)
for k, v in d["model"].items():
    print(repr(k), v.dtype, list(v.shape), v.is_contiguous(), v.numpy().tobytes()[-4:].hex())
`, path).CombinedOutput()
	want := `'encoder.weight' torch.float32 [98309] True HASH
'a' torch.uint8 [2, 3] True ff070903
'naïve "quoted" \'name\'\n' torch.float64 [2, 1, 2] True 9c00 7e37
'bn.num_batches_tracked' torch.int64 [] True 00000080
'empty' torch.float32 [0, 7] True 
'last' torch.float32 [1] True 00004040
`
	data := roundTensors()
	last := data[0].Data.([]float32)
	bits := binary.LittleEndian.AppendUint32(nil, math.Float32bits(last[len(last)-1]))
	big := binary.LittleEndian.AppendUint64(nil, math.Float64bits(1e300))
	want = strings.Replace(strings.Replace(want, "HASH", fmt.Sprintf("%x", bits), 1), "9c00 7e37", fmt.Sprintf("%x", big[4:]), 1)
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}

// readAll opens and reads any bytes: each tensor is read or refused, and what is read can be written.
func readAll(t *testing.T, b []byte) {
	f, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		if len(err.Error()) > 2000 {
			t.Fatalf("an error of %d bytes", len(err.Error()))
		}
		return
	}
	if n := len(fmt.Sprint(f.Contents())); n > 1<<20 {
		t.Fatalf("contents of %d bytes", n)
	}
	list, err := ReadAll(f)
	if err != nil {
		return
	}
	var out bytes.Buffer
	if err := WritePth(&out, list); err != nil {
		return // names that are reserved or no UTF-8
	}
	again, err := openBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	sameTensors(t, "written and read", mustReadTensors(t, again), list)
}

func addFiles(f *testing.F, pattern string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		f.Fatal(pattern, err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// FuzzPth starts from archives.
func FuzzPth(f *testing.F) {
	addFiles(f, "testdata/*.pth")
	for _, c := range pthMalformed(f) {
		if bytes.HasPrefix(c.file, []byte("PK")) && len(c.file) < 4096 {
			f.Add(c.file)
		}
	}
	f.Fuzz(readAll)
}

// FuzzLegacyPth starts from files of the old format, which it keeps to.
func FuzzLegacyPth(f *testing.F) {
	head := len(legacyOf("", ""))
	for _, path := range []string{"testdata/torch1.13_legacy.pth", "testdata/torch2.13_legacy.pth"} {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		// The machine's description is longer there.
		f.Add(b[bytes.Index(b, []byte("type_sizes")):][bytes.IndexByte(b[bytes.Index(b, []byte("type_sizes")):], '.')+1:])
	}
	for _, c := range pthMalformed(f) {
		if !bytes.HasPrefix(c.file, []byte("PK")) && len(c.file) > head && len(c.file) < 4096 {
			f.Add(c.file[head:])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { readAll(t, append(legacyOf("", ""), b...)) })
}

// FuzzPickle gives the interpreter any program.
func FuzzPickle(f *testing.F) {
	for _, path := range []string{"testdata/torch1.13.pth", "testdata/torch2.13.pth", "testdata/torch2.13_protocol5.pth"} {
		z, err := zip.OpenReader(path)
		if err != nil {
			f.Fatal(err)
		}
		r, err := z.File[0].Open()
		if err != nil {
			f.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		z.Close()
	}
	for _, s := range []string{"(dp0\nS'a'\nI1\ns.", "\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01e.", "(I1\nF2.5\nL3L\nlp1\n.", "cargparse\nNamespace\n)\x81}b.",
		"c_codecs\nencode\nX\x02\x00\x00\x00\xc3\xbfU\x06latin1\x86R.", "\x8f(K\x01\x90.", dictOf("w", goodTensor) + "."} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		u := newUnpickler(bytes.NewReader(b), int64(len(b)))
		p := &pthReader{size: int64(len(b)), storages: map[string]*storage{}}
		u.names, u.persistent, u.extern = pthNames, p.persistent, rebuild
		v, err := u.next()
		if err != nil {
			return
		}
		if s := pickleText(v); len(s) > 4096 {
			t.Fatalf("a description of %d bytes", len(s))
		}
		describe("x", v)
		stateDict(v)
	})
}
