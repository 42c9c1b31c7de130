package weights

import (
	"archive/zip"
	"strings"
	"testing"
)

// TestPickleText pickles a value in every way and reads its description.
func TestPickleText(t *testing.T) {
	scalar := func(kind, order, value string) string {
		return "cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\n(S'" + kind + "'\ntR(I3\nS'" + order + "'\ntb" + bytesOf(value) + "tR"
	}
	for _, c := range []struct{ name, pickle, want string }{
		{"none", "N", "None"},
		{"true", "\x88", "True"},
		{"false of protocol 0", "I00\n", "False"},
		{"true of protocol 0", "I01\n", "True"},
		{"one byte", "K\xff", "255"},
		{"two bytes", "M\x00\x80", "32768"},
		{"four bytes", "J\xff\xff\xff\xff", "-1"},
		{"text", "I-12\n", "-12"},
		{"long text", "L170141183460469231731687303715884105728L\n", "170141183460469231731687303715884105728"},
		{"long of no bytes", "\x8a\x00", "0"},
		{"long of a byte", "\x8a\x01\xff", "-1"},
		{"long of nine bytes", "\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01", "18446744073709551616"},
		{"negative of nine bytes", "\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\xff", "-18446744073709551616"},
		{"long of many bytes", longOf(1000), "int, 7999 bits"},
		{"float", "G\xbf\xf8\x00\x00\x00\x00\x00\x00", "-1.5"},
		{"float as text", "F2.5e-3\n", "0.0025"},
		{"string", textOf("it's \"ü\"\n"), `'it's "ü"\n'`},
		{"long string", textOf(strings.Repeat("ü", 40)), "'" + strings.Repeat("ü", 30) + "…'"},
		{"string that is not UTF-8", "U\x02\xff\xfe", "str, 2 bytes"},
		{"unicode as text", "Vabc\n", "'abc'"},
		{"bytes", "C\x03abc", "bytes, 3"},
		{"bytes of protocol 2", "c_codecs\nencode\n" + textOf("a\u00ff") + "\x85R", "bytes, 2"},
		{"byte array", "\x96\x02\x00\x00\x00\x00\x00\x00\x00ab", "bytes, 2"},
		{"tuple", "K\x01K\x02K\x03\x87", "(1, 2, 3)"},
		{"list", "](K\x01K\x02eNa", "[1, 2, None]"},
		{"list of lists", "(]]l", "list, 2 entries"},
		{"long list", listOf("N", 100), "list, 101 entries"},
		{"list of long strings", "(" + strings.Repeat(textOf(strings.Repeat("x", 60)), 12) + "l", "list, 12 entries"},
		{"set", "\x8f(K\x01\x90", "[1]"},
		{"frozen set", "(K\x01K\x02\x91", "[1, 2]"},
		{"set of Python 2", "c__builtin__\nset\n((K\x01lt\x81", "[1]"},
		{"tuple of a list", "ctorch\nSize\n((K\x02K\x03ltR", "(2, 3)"},
		{"empty set", "cbuiltins\nset\n)R", "[]"},
		{"dictionary", "}(NNNNuNNs", "dict, 3 entries"},
		{"default dictionary", "ccollections\ndefaultdict\n(cbuiltins\nint\ntRNNs", "dict, 1 entries"},
		{"name", "cbuiltins\nint\n", "int"},
		{"dtype", "\x8c\x05torch\x8c\x07float16\x93", "torch.float16"},
		{"device", "ctorch\ndevice\n(S'cuda'\nI1\ntR", "cuda:1"},
		{"device of a terminal", "ctorch\ndevice\n(" + textOf("\x1b[2J") + "tR", `\x1b[2J`},
		{"path", "cpathlib\nPosixPath\n(S'/'\nS'a'\nS'b'\ntR", "'/a/b'"},
		{"relative path", "cpathlib._local\nPosixPath\n(S'a'\nS'b'\ntR", "'a/b'"},
		{"record", "cargparse\nNamespace\n)\x81}(NNub", "Namespace, 1 entries"},
		{"record of protocol 0", "(iargparse\nNamespace\n(NNdb", "Namespace, 1 entries"},
		{"record of protocol 1", "(cargparse\nNamespace\no(NNdb", "Namespace, 1 entries"},
		{"record of keywords", "cargparse\nNamespace\n)}\x92", "Namespace"},
		{"record of Python 2", "ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR", "Namespace"},
		{"record with another state", "cargparse\nNamespace\n)\x81K\x01b", "Namespace"},
		{"duplicate", "K\x012\x86", "(1, 1)"},
		{"values removed", "K\x01(K\x02K\x031", "1"},
		{"a mark removed", "K\x01(0", "1"},
		{"memo", "K\x07q\x000K\x08r\x01\x00\x00\x000K\x09\x940g0\nh\x01j\x02\x00\x00\x00\x87", "(7, 8, 9)"},
		{"numpy float64", scalar("f8", "<", "\x00\x00\x00\x00\x00\x00\xf8\xbf"), "-1.5"},
		{"numpy float32", scalar("f4", "<", "\x00\x00\xc0\xbf"), "-1.5"},
		{"numpy float16", scalar("f2", "<", "\x00\xbe"), "-1.5"},
		{"numpy bool", scalar("b1", "|", "\x01"), "True"},
		{"numpy int16", scalar("i2", "<", "\xfe\xff"), "-2"},
		{"numpy int16, big-endian", scalar("i2", ">", "\xff\xfe"), "-2"},
		{"numpy uint32", scalar("u4", "<", "\xff\xff\xff\xff"), "4294967295"},
		{"numpy scalar of another kind", scalar("c8", "<", "12345678"), "numpy scalar"},
		{"numpy scalar of another length", scalar("f8", "<", "1234"), "numpy scalar"},
		{"numpy scalar without bytes", "cnumpy.core.multiarray\nscalar\n)R", "numpy scalar"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := mustOpenBytes(t, zipOf(t, zip.Store, dictOf("w", goodTensor, "x", c.pickle)+".", two))
			if got := f.Contents(); len(got) != 1 || got[0].Key != "x" || got[0].Text != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestPthCatalog: what many references would make of a few values is counted and not described.
func TestPthCatalog(t *testing.T) {
	pickle := put(1, mapOf("K\x01K\x02", 5000)) + mapOf("K\x01"+get(1), 50000) + "S'w'\n" + goodTensor + "s."
	f := mustOpenBytes(t, zipOf(t, zip.Store, pickle, two))
	list := f.Contents()
	first, last := list[0], list[len(list)-1]
	if first.Text != "dict, 1000 entries" || len(first.Entries) != 1000 || first.Entries[0] != "1=2" {
		t.Errorf("the first is %q of %d", first.Text, len(first.Entries))
	}
	if last.Key != "…" || len(last.Entries) != 0 {
		t.Errorf("the last is %q", last)
	}
}
