package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"
)

// TestPthNames: a file is refused for the names that only an attack has, by whatever instruction
// they come.
func TestPthNames(t *testing.T) {
	for _, c := range []struct{ name, pickle string }{
		{"os.system", "cos\nsystem\n(S'id'\ntR."},
		{"posix.system", "\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."},
		{"builtins.eval", "\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R."},
		{"builtins.exec", "cbuiltins\nexec\n."},
		{"builtins.__import__", "(S'os'\nibuiltins\n__import__\n."},
		{"subprocess.Popen", "(csubprocess\nPopen\nS'id'\no."},
		{"nt.system", "cnt\nsystem\n)\x81."},
		{"torch.load", "ctorch\nload\n."},
		{"os.path.join", "cos.path\njoin\n."},
		{"__builtin__.eval", "c__builtin__\neval\n."},
	} {
		for format, file := range map[string][]byte{
			"zip":          zipOf(t, zip.Store, c.pickle),
			"old":          legacyOf(c.pickle, "]."),
			"magic number": []byte("\x80\x02" + c.pickle),
		} {
			t.Run(c.name+" in "+format, (&refused{"", ErrRefused, Quote(c.name), file}).test)
		}
	}
	for path, name := range map[string]string{"testdata/call_system.pth": "posix.system", "testdata/call_eval.pth": "__builtin__.eval"} {
		t.Run(path, func(t *testing.T) {
			_, err := Open(path)
			wantError(t, err, ErrRefused, Quote(name))
			wantError(t, err, ErrRefused, "pth: "+path+": ")
		})
	}
}

// pthRefused lists files that must not open. The fuzz tests start from them too.
func pthRefused(t testing.TB) []refused {
	return append(append(pthContainersRefused(t), picklesRefused(t)...), pthTensorsRefused(t)...)
}

// pthContainersRefused are archives and old files.
func pthContainersRefused(t testing.TB) []refused {
	count := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	old := func(keys string, storages ...string) []byte {
		return legacyOf(dictOf("w", goodTensor)+".", keys, storages...)
	}
	return []refused{
		{"empty", ErrDamaged, "", nil},
		{"no zip", ErrDamaged, "", []byte("PK\x03\x04 and no more")},
		{"an empty archive", ErrUnsupported, "data.pkl", append([]byte("PK\x05\x06"), make([]byte, 18)...)},
		{"two pickles", ErrDamaged, `"b/data.pkl"`, archiveOf(t, zip.Store, "a/data.pkl", "}.", "b/data.pkl", "}.")},
		{"TorchScript", ErrUnsupported, "TorchScript", archiveOf(t, zip.Store, "a/data.pkl", "}.", "a/constants.pkl", "")},
		{"big-endian", ErrUnsupported, `"big"`, archiveOf(t, zip.Store, "a/data.pkl", "}.", "a/byteorder", "big")},
		{"another byte order", ErrUnsupported, `"xxxx`, archiveOf(t, zip.Store, "a/data.pkl", "}.", "a/byteorder", strings.Repeat("x", 1<<20))},
		{"another magic", ErrUnsupported, "torch.save", []byte("\x80\x02}.")},
		{"another version", ErrUnsupported, "1002", bytes.Replace(old("]."), []byte("M\xe9\x03"), []byte("M\xea\x03"), 1)},
		{"old, big-endian", ErrUnsupported, "big-endian", bytes.Replace(old("]."), []byte("endian\x88"), []byte("endian\x89"), 1)},
		{"old, no keys", ErrDamaged, "storages", old("}.")},
		{"old, missing storage", ErrDamaged, `"w": its storage "0"`, old("].")},
		{"old, another storage", ErrDamaged, "'7'", old("]S'7'\na.")},
		{"old, a number for a key", ErrDamaged, "storage 7", old("]I7\na.")},
		{"old, listed twice", ErrDamaged, `"0"`, old("]S'0'\naS'0'\na.", count(2)+two, count(2)+two)},
		{"old, no count", ErrDamaged, `"0"`, old("]S'0'\na.", "\x02")},
		{"old, cut off", ErrDamaged, `"0"`, old("]S'0'\na.", count(2)+two[:7])},
		{"old, a huge count", ErrDamaged, `"0"`, old("]S'0'\na.", count(1<<62)+two)},
		{"old, a negative count", ErrDamaged, `"0"`, old("]S'0'\na.", count(1<<63)+two)},
		{"old, another count", ErrDamaged, `"0"`, old("]S'0'\na.", count(1)+two)},
	}
}

// picklesRefused are programs for the pickle machine.
func picklesRefused(t testing.TB) []refused {
	list := []struct {
		name   string
		kind   error
		key    string // often the instruction
		pickle string
	}{
		{"no end", ErrDamaged, "data.pkl", "}"},
		{"nothing", ErrDamaged, "data.pkl", ""},
		{"more on the stack", ErrDamaged, "data.pkl", "}}."},
		{"a mark left", ErrDamaged, "data.pkl", "}(0(}."},
		{"an empty stack", ErrDamaged, "data.pkl", "."},
		{"pop of nothing", ErrDamaged, `"0"`, "0."},
		{"no mark", ErrDamaged, `"t"`, "t."},
		{"below the mark", ErrDamaged, `"\x85"`, "}(\x85."},
		{"unknown instruction", ErrDamaged, `"\xff"`, "\xff."},
		{"extension", ErrDamaged, `"\x82"`, "\x82\x01."},
		{"buffer", ErrDamaged, `"\x97"`, "\x97."},
		{"protocol 6", ErrUnsupported, "protocol 6", "\x80\x06}."},
		{"a long string", ErrDamaged, `"X"`, "X\xff\xff\xff\xff"},
		{"a longer string", ErrDamaged, `"\x8d"`, "\x8d\xff\xff\xff\xff\xff\xff\xff\xff"},
		{"long bytes", ErrDamaged, `"\x8e"`, "\x8e\xff\xff\xff\xff\xff\xff\xff\x7f"},
		{"a long number", ErrDamaged, `"\x8b"`, "\x8b\xff\xff\xff\x7f"},
		{"no number", ErrDamaged, `"x"`, "Ix\n."},
		{"a number of many digits", ErrDamaged, `"9999`, "L" + strings.Repeat("9", 5000) + "L\n."},
		{"no float", ErrDamaged, `"x"`, "Fx\n."},
		{"no string", ErrDamaged, `"'x"`, "S'x\n."},
		{"escapes", ErrUnsupported, `"\\x00"`, "S'\\x00'\n."},
		{"a long line", ErrDamaged, `"S"`, "S'" + strings.Repeat("x", 1<<17)},
		{"memo", ErrDamaged, `"h"`, "h\x00."},
		{"memo hole", ErrDamaged, `"h"`, "}r\x02\x00\x00\x00h\x00."},
		{"memo number", ErrDamaged, "4294967295", "}r\xff\xff\xff\xff."},
		{"memo text", ErrDamaged, `"-1"`, "}p-1\n."},
		{"memo of nothing", ErrDamaged, `"q"`, "q\x00."},
		{"append to a dictionary", ErrDamaged, `"a"`, "}Na."},
		{"items of a list", ErrDamaged, `"s"`, "]NNs."},
		{"odd items", ErrDamaged, `"u"`, "}(Nu."},
		{"call of a number", ErrDamaged, `"R"`, "K\x01)R."},
		{"call without a tuple", ErrDamaged, `"R"`, "ccollections\nOrderedDict\n]R."},
		{"state of a number", ErrDamaged, `"b"`, "K\x01}b."},
		{"dictionary of no pairs", ErrDamaged, `"R"`, "ccollections\nOrderedDict\n((lNatR."},
		{"encode", ErrDamaged, "_codecs.encode", "c_codecs\nencode\n)R."},
		{"encode beyond latin1", ErrDamaged, "_codecs.encode", "c_codecs\nencode\n" + textOf("Ā") + "\x85R."},
		{"reconstructor", ErrDamaged, "_reconstructor", "ccopyreg\n_reconstructor\n)R."},
		{"reconstructor of itself", ErrDamaged, "_reconstructor", "ccopyreg\n_reconstructor\np0\n(g0\ntR."},
		{"persistent id", ErrDamaged, `"Q"`, "NQ."},
		{"text persistent id", ErrDamaged, `"P"`, "P0\n."},
		{"a name that is no string", ErrDamaged, `"\x93"`, "NN\x93."},
		{"a list", ErrUnsupported, "[]", "]."},
		{"no tensors", ErrUnsupported, "['epoch']", dictOf("epoch", "I1\n") + "."},
		{"many marks", ErrDamaged, `"("`, strings.Repeat("(", 1<<18)},
		{"many values", ErrDamaged, `"N"`, strings.Repeat("N", 1<<18)},
		{"lists in lists", ErrTooLarge, `"]"`, strings.Repeat("]0", 1<<20)},
	}
	out := make([]refused, len(list))
	for i, c := range list {
		out[i] = refused{c.name, c.kind, c.key, zipOf(t, zip.Store, c.pickle)}
	}
	return out
}

// pthTensorsRefused are tensors and storages that do not fit together.
func pthTensorsRefused(t testing.TB) []refused {
	st := storageOf("FloatStorage", "0", 2)
	in := func(tensor string) []byte { return zipOf(t, zip.Store, dictOf("w", tensor)+".", two) }
	double := tensorOf(storageOf("DoubleStorage", "0", 1), 0, tupleOf(1), tupleOf(1))
	return []refused{
		{"number for a key", ErrDamaged, "key 1", zipOf(t, zip.Store, "(I1\n"+goodTensor+"d.", two)},
		{"listed twice", ErrDamaged, `"w"`, zipOf(t, zip.Store, dictOf("w", goodTensor, "w", goodTensor)+".", two)},
		{"storage missing", ErrDamaged, `"w": its storage "0"`, zipOf(t, zip.Store, dictOf("w", goodTensor)+".")},
		{"storage short", ErrDamaged, `"a/data/0"`, zipOf(t, zip.Store, dictOf("w", goodTensor)+".", two[:4])},
		{"storage huge", ErrDamaged, `"a/data/0"`, in(tensorOf(storageOf("FloatStorage", "0", 1<<40), 0, tupleOf(2), tupleOf(1)))},
		{"storage huger", ErrDamaged, "storage '0'", in(tensorOf(storageOf("FloatStorage", "0", 1<<62), 0, tupleOf(2), tupleOf(1)))},
		{"storage negative", ErrDamaged, "storage '0'", in(tensorOf(storageOf("FloatStorage", "0", -2), 0, tupleOf(2), tupleOf(1)))},
		{"storage of a class", ErrDamaged, "argparse.Namespace", in(tensorOf(strings.Replace(st, "torch\nFloatStorage", "argparse\nNamespace", 1), 0, tupleOf(2), tupleOf(1)))},
		{"storage of a long key", ErrDamaged, "storage 'xxx", in(tensorOf(storageOf("FloatStorage", strings.Repeat("x", 1000), 2), 0, tupleOf(2), tupleOf(1)))},
		{"two types", ErrDamaged, `"0"`, zipOf(t, zip.Store, dictOf("w", goodTensor, "v", double)+".", two)},
		{"view of a storage", ErrDamaged, `"0"`, in(tensorOf(strings.Replace(st, "tQ", "I7\ntQ", 1), 0, tupleOf(2), tupleOf(1)))},
		{"view beyond a storage", ErrDamaged, `"0"`, in(tensorOf(strings.Replace(st, "tQ", "(S'v'\nI1\nI2\nttQ", 1), 0, tupleOf(2), tupleOf(1)))},
		{"offset", ErrDamaged, `"0"`, in(tensorOf(st, 1, tupleOf(2), tupleOf(1)))},
		{"offset far", ErrDamaged, `"0"`, in(tensorOf(st, math.MaxInt64, tupleOf(2), tupleOf(1)))},
		{"offset negative", ErrDamaged, "-1", in(tensorOf(st, -1, tupleOf(1), tupleOf(1)))},
		{"shape", ErrDamaged, `"0"`, in(tensorOf(st, 0, tupleOf(3), tupleOf(1)))},
		{"strides", ErrDamaged, `"0"`, in(tensorOf(st, 0, tupleOf(2), tupleOf(2)))},
		{"strides overflow", ErrDamaged, "", in(tensorOf(st, 0, tupleOf(3, 3), tupleOf(1<<62, 1<<62)))},
		{"strides negative", ErrDamaged, "(-1)", in(tensorOf(st, 0, tupleOf(2), tupleOf(-1)))},
		{"shape negative", ErrDamaged, "(-2)", in(tensorOf(st, 0, tupleOf(-2), tupleOf(1)))},
		{"shape overflows", ErrDamaged, "", in(tensorOf(st, 0, tupleOf(1<<32, 1<<32), tupleOf(0, 0)))},
		{"rank", ErrDamaged, "33", in(tensorOf(st, 0, tupleOf(make([]int64, 33)...), tupleOf(make([]int64, 33)...)))},
		{"ranks differ", ErrDamaged, "[1 1]", in(tensorOf(st, 0, tupleOf(2), tupleOf(1, 1)))},
		{"shape of text", ErrDamaged, "('2')", in(tensorOf(st, 0, "(S'2'\nt", tupleOf(1)))},
		{"shape is a number", ErrDamaged, "shape 2", in(tensorOf(st, 0, "I2\n", tupleOf(1)))},
		{"no storage", ErrDamaged, "_rebuild_tensor", in(tensorOf("I7\n", 0, tupleOf(1), tupleOf(1)))},
		{"few arguments", ErrDamaged, "_rebuild_tensor", in("ctorch._utils\n_rebuild_tensor\n)R")},
		{"parameter of no tensor", ErrDamaged, "_rebuild_parameter", in("ctorch._utils\n_rebuild_parameter\n(NtR")},
		{"type of no tensor", ErrUnsupported, "", in("ctorch._tensor\n_rebuild_from_type_v2\n(NNNNtR")},
		{"v3 of no type", ErrUnsupported, "None", in("ctorch._utils\n_rebuild_tensor_v3\n(" + st + "I0\n" + tupleOf(1) + tupleOf(1) + "I00\nNNtR")},
		{"expanded", ErrTooLarge, `"w"`, in(tensorOf(st, 0, tupleOf(1<<30), tupleOf(0)))},
	}
}

func TestPthRefused(t *testing.T) {
	for _, c := range pthRefused(t) {
		t.Run(c.name, c.test)
	}
}
