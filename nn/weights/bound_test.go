package weights

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// What opening, listing and reading a file may take, whatever it says: 50 MB and 20 times its
// bytes, in 2 s and 1 s for each 50 MB.

// within fails the test if f takes more than a file of size bytes may. Memory is counted as all
// that is allocated, of which only a part is there at the same time. A busy machine has ten times
// as long: the attacks below took minutes.
func within(t testing.TB, size int, f func()) {
	t.Helper()
	before, begin := allocated(), time.Now()
	f()
	took, bytes := time.Since(begin), allocated()-before
	if most := int64(50e6) + 20*int64(size); bytes > most {
		t.Errorf("%d bytes were allocated for a file of %d, want at most %d", bytes, size, most)
	}
	if most := 10 * (2*time.Second + time.Duration(size)*time.Second/50e6); took > most {
		t.Errorf("a file of %d bytes took %v, want at most %v", size, took, most)
	}
}

func allocated() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// readAny opens, lists and reads any bytes within the bound: each tensor is read or refused, and
// what is read can be written.
func readAny(t testing.TB, b []byte) {
	t.Helper()
	readOpened(t, len(b), func() (File, error) { return openBytes(b) })
}

// readOpened is readAny for what open opens, of so many bytes.
func readOpened(t testing.TB, size int, open func() (File, error)) {
	t.Helper()
	var list []Tensor
	within(t, size, func() {
		f, err := open()
		if err != nil {
			checkError(t, err)
			return
		}
		listing := 0
		for _, name := range f.Names() {
			shape, ok := f.Shape(name)
			if !ok || f.DType(name) == "" {
				t.Errorf("%s is listed but has no shape or dtype", Quote(name))
			}
			listing += len(name) + len(f.DType(name)) + len(shape)
		}
		for _, c := range f.Contents() {
			listing += len(c.Key) + len(c.Text) + len(strings.Join(c.Entries, ""))
		}
		if listing > 2*size+catalogBase {
			t.Errorf("the listing of a file of %d bytes has %d", size, listing)
		}
		if list, err = ReadAll(f); err != nil {
			checkError(t, err)
			list = nil
		}
	})
	if list == nil {
		return
	}
	for _, write := range []func(io.Writer) error{
		func(w io.Writer) error { return WriteSafetensors(w, list, nil) },
		func(w io.Writer) error { return WritePth(w, list, nil) },
	} {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			continue // a name that is reserved or not UTF-8
		}
		again := mustReadAll(t, mustOpenBytes(t, out.Bytes()))
		if len(again) != len(list) {
			t.Errorf("%d tensors came back as %d", len(list), len(again))
		}
	}
}

func checkError(t testing.TB, err error) {
	t.Helper()
	if n := len(err.Error()); n > 1500 {
		t.Errorf("an error of %d bytes", n)
	}
}

// An attack is a kind of file that asks for much more than its size.
type attack struct {
	name string
	make func(t testing.TB, size int) []byte // of about size bytes
}

func attacks() []attack {
	list := slices.Concat(tensorAttacks, archiveAttacks, headerAttacks)
	for _, c := range pickleAttacks {
		list = append(list, attack{c.name, func(t testing.TB, size int) []byte {
			before, value := c.make(size)
			return zipOf(t, zip.Store, before+dictOf("x", value, "w", goodTensor)+".", two)
		}})
	}
	return list
}

// repeat is strings.Repeat until about size bytes.
func repeat(s string, size int) string { return strings.Repeat(s, max(size/len(s), 1)) }

// The pickles below are written with these: put keeps the value on the stack under a number and
// removes it, and get pushes it again. (In five bytes and not two: a budget by the bytes of the
// pickle alone is larger then.)

func put(n int, value string) string { return fmt.Sprintf("%sp%d\n0", value, n) }
func get(n byte) string              { return "j" + string(n) + "\x00\x00\x00" }

// listOf is a list, and mapOf a dictionary, of about size bytes of items, which a pickler writes in
// portions of 1000.
func listOf(item string, size int) string { return "]" + portions(item, size, "e") }
func mapOf(item string, size int) string  { return "}" + portions(item, size, "u") }

func portions(item string, size int, end string) string {
	return repeat("("+strings.Repeat(item, min(1000, size/len(item)+1))+end, size)
}

// argsOf is a tuple of about size bytes of items, as many as a stack holds.
func argsOf(item string, size int) string {
	return "(" + strings.Repeat(item, min(size/len(item), 1e5)) + "t"
}

// longOf is a number of so many bytes.
func longOf(size int) string { return "\x8b" + textOf(strings.Repeat("\x77", size))[1:] }

// pickleAttacks return what a pickle begins with, and the pickle of a value.
var pickleAttacks = []struct {
	name string
	make func(size int) (before, value string)
}{
	// A list or a string that many arguments or calls refer to.
	{"a dictionary of many lists", func(size int) (string, string) {
		return put(3, "NN\x86") + put(1, listOf(get(3), size/2)), "ccollections\nOrderedDict\n" + argsOf(get(1), size/2) + "R"
	}},
	{"many dictionaries of a list", func(size int) (string, string) {
		before, value := calls("ccollections\nOrderedDict\n", listOf(get(3), size/2), size)
		return put(3, "NN\x86") + before, value
	}},
	{"many copies of a list", func(size int) (string, string) {
		return calls("cbuiltins\nlist\n", listOf("M\xff\xff", size/2), size)
	}},
	{"many copies of a tuple", func(size int) (string, string) {
		return calls("ctorch\nSize\n", argsOf("M\xff\xff", size/2), size)
	}},
	{"many encodings of a string", func(size int) (string, string) {
		return calls("c_codecs\nencode\n", textOf(repeat("x", size/2)), size)
	}},
	{"many numpy scalars of the same bytes", func(size int) (string, string) {
		scalar := "cnumpy\ndtype\n(S'f9'\ntR(I3\nS'>'\ntb" + bytesOf(repeat("x", size/2)) + "\x86"
		return put(1, scalar) + put(2, "cnumpy.core.multiarray\nscalar\n"), listOf(get(2)+get(1)+"R", size/2)
	}},
	{"many records", func(size int) (string, string) {
		return put(1, "ca\nb\n"), listOf(get(1)+")\x81", size)
	}},
	{"many records with items", func(size int) (string, string) {
		return put(1, "ca\nb\n"), listOf(get(1)+")\x81NNsNa", size)
	}},
	{"many records of a long name", func(size int) (string, string) {
		return put(1, "ca\n"+repeat("b", min(size/2, 60000))+"\n"), listOf(get(1)+")\x81}b", size/2)
	}},
	{"many tensors that cannot be read", func(size int) (string, string) {
		return put(1, "ctorch._utils\n_rebuild_qtensor\n") + put(2, "(NN"+tupleOf(1, 2, 3, 4, 5, 6, 7, 8)+"t"), listOf(get(1)+get(2)+"R", size)
	}},
	{"dictionaries of tensors in one another", func(size int) (string, string) {
		var b strings.Builder
		for i := range size / 200 {
			fmt.Fprintf(&b, "S'%d'\n(S'w'\n%sd", i, goodTensor)
		}
		return "", "(" + b.String() + "d"
	}},
	{"tuples of tuples", func(size int) (string, string) {
		return "", ")" + repeat("q\x00h\x00\x86", min(size, 6e5))
	}},

	// Many small values.
	{"lists", func(size int) (string, string) { return "", listOf("]", size) }},
	{"dictionaries", func(size int) (string, string) { return "", repeat("}0", size) + "N" }},
	{"small numbers", func(size int) (string, string) { return "", listOf("K\x01", size) }},
	{"numbers", func(size int) (string, string) { return "", listOf("M\xff\xff", size) }},
	{"names", func(size int) (string, string) { return "", listOf("cbuiltins\nint\n", size) }},
	{"one by one", func(size int) (string, string) { return "", "]" + repeat("Na", size) }},
	{"keys one by one", func(size int) (string, string) { return "", "}" + repeat("NNs", size) }},
	{"a memo", func(size int) (string, string) { return "", "]" + repeat("\x94", size) }},
	{"a memo with holes", func(size int) (string, string) {
		return "", textOf(repeat("x", size)) + fmt.Sprintf("p%d\n", size)
	}},
	{"a stack", func(size int) (string, string) { return "", repeat("N", size) }},
	{"marks", func(size int) (string, string) { return "", repeat("(0", size) + "N" }},
	{"instructions that do nothing", func(size int) (string, string) { return "", repeat("N0", size) + "N" }},

	// Numbers of megabytes.
	{"a huge number", func(size int) (string, string) { return "", longOf(size) }},
	{"huge numbers", func(size int) (string, string) {
		return put(1, longOf(size/2)), listOf(argsOf(get(1), 60), size/2)
	}},
	{"numbers of many digits", func(size int) (string, string) {
		return "", listOf("L"+strings.Repeat("9", 990)+"\n", size)
	}},

	// Values that are described many times.
	{"a key of many values", func(size int) (string, string) {
		return put(1, textOf(repeat("x", size/2))), mapOf(get(1)+"N", size/2)
	}},
	{"a dictionary under many keys", func(size int) (string, string) {
		return put(1, mapOf("M\x01\x01J\x01\x00\x00\x00", size/2)), mapOf("K\x01"+get(1), size/2)
	}},
	{"records of a dictionary", func(size int) (string, string) {
		return put(1, mapOf("M\x01\x01J\x01\x00\x00\x00", size/2)) + put(2, "cargparse\nNamespace\n"), mapOf("K\x01"+get(2)+")\x81"+get(1)+"b", size/2)
	}},
	{"paths of a string", func(size int) (string, string) {
		return put(1, textOf(repeat("x", size/2))), mapOf("K\x01cpathlib\nPosixPath\n"+argsOf(get(1), 300)+"R", size/2)
	}},
	{"paths of a string that is not UTF-8", func(size int) (string, string) {
		return put(1, textOf(repeat("\xff", size/2))), mapOf("K\x01cpathlib\nPosixPath\n"+argsOf(get(1), 300)+"R", size/2)
	}},
	{"devices of a string", func(size int) (string, string) {
		return put(1, textOf(repeat("x", size/2))), mapOf("K\x01ctorch\ndevice\n"+argsOf(get(1), 10)+"R", size/2)
	}},
	{"lists of a string", func(size int) (string, string) {
		return put(1, textOf(repeat("x", size/2))), mapOf("K\x01"+argsOf(get(1), 60), size/2)
	}},
	{"lists of a string to escape", func(size int) (string, string) {
		return put(1, textOf(repeat("\x01", size/2))), mapOf("K\x01"+argsOf(get(1), 60), size/2)
	}},

	// Keys and names.
	{"a name of a string", func(size int) (string, string) {
		return put(1, textOf(repeat("x", size))), get(1) + get(1) + "\x93"
	}},
	{"storages of a long key", func(size int) (string, string) {
		id := "(S'storage'\nctorch\nFloatStorage\n" + textOf(repeat("x", size/2)) + "S'cpu'\nI2\nt"
		return put(1, id), repeat(get(1)+"Q0", size/2) + "N"
	}},
	{"storages of a short key", func(size int) (string, string) {
		id := "(S'storage'\nctorch\nFloatStorage\n" + textOf(strings.Repeat("x", 128)) + "S'cpu'\nI2\nt"
		return put(1, id), repeat(get(1)+"Q0", size/2) + "N"
	}},
	{"many storages", func(size int) (string, string) {
		var s strings.Builder
		for i := 0; s.Len() < size; i++ {
			s.WriteString("(S'storage'\nctorch\nByteStorage\nV" + fmt.Sprint(i) + "\nNI9\ntQ0")
		}
		return s.String(), "N"
	}},
}

// calls makes many calls of a name with the same argument.
func calls(name, arg string, size int) (before, value string) {
	return put(1, arg+"\x85") + put(2, name), listOf(get(2)+get(1)+"R", size/2)
}

// state is a checkpoint of names and tensors that alternate, and of storages.
func state(t testing.TB, method uint16, items, storage string) []byte {
	return zipOf(t, method, "}"+items+".", storage)
}

// shared is a checkpoint of a storage of half the bytes, of which many tensors are views.
func shared(t testing.TB, size int, class string, view func(n int64) (shape, stride string)) []byte {
	n := int64(size / 2)
	shape, stride := view(n)
	count := n / int64(elementSizes[pthStorages["torch."+class]])
	var s strings.Builder
	s.WriteString(put(1, "ctorch._utils\n_rebuild_tensor\n"))
	s.WriteString(put(2, "("+storageOf(class, "0", count)+"K\x00"+shape+stride+"t"))
	for i := 0; s.Len() < size/2; i++ {
		fmt.Fprintf(&s, "S'%x'\n%s%sRs", i, get(1), get(2))
	}
	return state(t, zip.Store, s.String(), repeat("x", int(n)))
}

// tensorAttacks are tensors that become much more than their storage.
var tensorAttacks = []attack{
	{"stride 0", func(t testing.TB, size int) []byte {
		n := int64(size)
		return state(t, zip.Store, "S'w'\n"+tensorOf(storageOf("ByteStorage", "0", n), 0, tupleOf(1000*n), tupleOf(0))+"s", repeat("x", size))
	}},
	{"as large as may be", func(t testing.TB, size int) []byte {
		n := int64(size)
		return state(t, zip.Store, "S'w'\n"+tensorOf(storageOf("CharStorage", "0", n), 0, tupleOf(n+2e6), tupleOf(0))+"s", repeat("x", size))
	}},
	{"many tensors of bytes", func(t testing.TB, size int) []byte {
		return shared(t, size, "ByteStorage", func(n int64) (string, string) { return tupleOf(n), tupleOf(1) })
	}},
	{"many tensors of halves", func(t testing.TB, size int) []byte {
		return shared(t, size, "HalfStorage", func(n int64) (string, string) { return tupleOf(n/2 - 1), tupleOf(1) })
	}},
	{"few elements far apart", func(t testing.TB, size int) []byte {
		return shared(t, size, "ByteStorage", func(n int64) (string, string) { return tupleOf(2), tupleOf(n - 1) })
	}},
	{"every sixteenth element", func(t testing.TB, size int) []byte {
		return shared(t, size, "ByteStorage", func(n int64) (string, string) { return tupleOf(n / 16), tupleOf(16) })
	}},
	{"every five thousandth element", func(t testing.TB, size int) []byte {
		return shared(t, size, "ByteStorage", func(n int64) (string, string) { return tupleOf(max(n/5000, 1)), tupleOf(5000) })
	}},
	{"overlapping rows", func(t testing.TB, size int) []byte {
		return shared(t, size, "ByteStorage", func(n int64) (string, string) { return tupleOf(n/2, 2), tupleOf(1, n/2) })
	}},
	{"many empty tensors", func(t testing.TB, size int) []byte {
		return shared(t, size, "ByteStorage", func(n int64) (string, string) { return tupleOf(0, 1<<40), tupleOf(1, 1) })
	}},
	{"many names of a tensor", func(t testing.TB, size int) []byte {
		var s strings.Builder
		s.WriteString(put(1, goodTensor))
		for i := 0; s.Len() < size; i++ {
			fmt.Fprintf(&s, "S'%d'\n%ss", i, get(1))
		}
		return state(t, zip.Store, s.String(), two)
	}},
	{"a tensor of a long name", func(t testing.TB, size int) []byte {
		missing := tensorOf(storageOf("FloatStorage", "1", 2), 0, tupleOf(2), tupleOf(1))
		return state(t, zip.Store, textOf(repeat("x", size))+missing+"s", two)
	}},
	{"a key that is not one of a state dict", func(t testing.TB, size int) []byte {
		return state(t, zip.Store, textOf(repeat("x", size))+"Ns", two)
	}},
	{"values of a long key", func(t testing.TB, size int) []byte {
		return state(t, zip.Store, "S'w'\n"+goodTensor+"s"+put(1, textOf(repeat("x", size/2)))+portions(get(1)+"N", size/2, "u"), two)
	}},
	{"an entry of many dictionaries", func(t testing.TB, size int) []byte {
		dict := put(1, "("+textOf(repeat("x", size/4))+textOf(repeat("y", size/4))+"d")
		return state(t, zip.Store, "S'w'\n"+goodTensor+"s"+dict+portions("K\x01"+get(1), size/2, "u"), two)
	}},
}

// inflated is what size bytes may inflate to, or enough of it.
func inflated(size int) int { return min(1000*size, 64<<20) }

var archiveAttacks = []attack{
	{"a pickle that inflates", func(t testing.TB, size int) []byte {
		return state(t, zip.Deflate, repeat("N0", inflated(size)), two)
	}},
	{"a pickle that inflates and makes lists", func(t testing.TB, size int) []byte {
		return state(t, zip.Deflate, "S'x'\n"+listOf("]", inflated(size)/10)+"s", two)
	}},
	{"a storage that inflates", func(t testing.TB, size int) []byte {
		n := int64(inflated(size))
		return state(t, zip.Deflate, "S'w'\n"+tensorOf(storageOf("ByteStorage", "0", n), 0, tupleOf(n), tupleOf(1))+"s", strings.Repeat("\x00", int(n)))
	}},
	{"an element of a storage that inflates", func(t testing.TB, size int) []byte {
		n := int64(inflated(size))
		return state(t, zip.Deflate, "S'w'\n"+tensorOf(storageOf("ByteStorage", "0", n), 0, tupleOf(1), tupleOf(1))+"s", strings.Repeat("\x00", int(n)))
	}},
	{"a storage that inflates tenfold", func(t testing.TB, size int) []byte {
		data := make([]byte, 10*size)
		r := rand.New(rand.NewPCG(1, 1))
		for i := range data {
			if i%16 == 0 {
				data[i] = byte(r.Uint32())
			}
		}
		n := int64(len(data))
		return state(t, zip.Deflate, "S'w'\n"+tensorOf(storageOf("CharStorage", "0", n), 0, tupleOf(n), tupleOf(1))+"s", string(data))
	}},
	{"a byte order that inflates", func(t testing.TB, size int) []byte {
		return archiveOf(t, zip.Deflate, "a/data.pkl", "}.", "a/byteorder", strings.Repeat("\x00", inflated(size)))
	}},
	{"entries of nothing", func(t testing.TB, size int) []byte {
		entries := []string{"a/data.pkl", dictOf("w", goodTensor) + ".", "a/data/0", two}
		for i := 0; 100*i < size; i++ {
			entries = append(entries, fmt.Sprint(i), "")
		}
		return archiveOf(t, zip.Store, entries...)
	}},
	{"a long name before many storages", func(t testing.TB, size int) []byte {
		var s strings.Builder
		for i := 0; s.Len() < size; i++ {
			s.WriteString(storageOf("FloatStorage", fmt.Sprint(i), 2) + "0")
		}
		return archiveOf(t, zip.Store, strings.Repeat("x", 1<<16-100)+"/data.pkl", s.String()+"}.")
	}},
	{"a huge magic number", func(t testing.TB, size int) []byte { return []byte("\x80\x02" + longOf(size) + ".") }},
	{"a huge version", func(t testing.TB, size int) []byte {
		return []byte(strings.SplitAfter(legacyHead, ".")[0] + longOf(size) + ".")
	}},
	{"many keys of storages", func(t testing.TB, size int) []byte {
		return legacyOf(dictOf("w", goodTensor)+".", listOf("S'0'\n", size)+".")
	}},
}

// header is a safetensors file of a header of many members.
func header(size int, member func(i int) string) []byte {
	var s strings.Builder
	for i := 0; s.Len() < size; i++ {
		s.WriteString("," + member(i))
	}
	return safetensorsOf("{" + s.String()[1:] + "}")
}

var headerAttacks = []attack{
	{"a header in any order", func(t testing.TB, size int) []byte {
		var entries []string
		for i := 0; 64*i < size; i++ {
			entries = append(entries, fmt.Sprintf(`"%d":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}`, i, i, i+1))
		}
		rand.New(rand.NewPCG(1, 1)).Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		return safetensorsOf("{"+strings.Join(entries, ",")+"}", make([]byte, len(entries))...)
	}},
	{"a header of empty tensors", func(t testing.TB, size int) []byte {
		return header(size, func(i int) string { return fmt.Sprintf(`"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, i) })
	}},
	{"a header of axes", func(t testing.TB, size int) []byte {
		return header(size, func(i int) string {
			return fmt.Sprintf(`"%x":{"dtype":"U8","shape":[0%s],"data_offsets":[0,0]}`, i, strings.Repeat(",1", maxRank-1))
		})
	}},
	{"a header of long names", func(t testing.TB, size int) []byte {
		name := repeat("x", size/8)
		return header(size, func(i int) string {
			return fmt.Sprintf(`"%s%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, name, i)
		})
	}},
	{"a name of wrappers", func(t testing.TB, size int) []byte {
		return safetensorsOf(`{"` + repeat("net.", size) + `w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`)
	}},
	{"a header of escapes", func(t testing.TB, size int) []byte {
		return safetensorsOf(`{"__metadata__":{"x":"` + repeat(`\n`, size) + `"}}`)
	}},
	{"metadata of escapes", func(t testing.TB, size int) []byte {
		var s strings.Builder
		for i := 0; s.Len() < size; i++ {
			fmt.Fprintf(&s, `,"\n%x":"\n"`, i)
		}
		return safetensorsOf(`{"__metadata__":{` + s.String()[1:] + `}}`)
	}},
	{"a header of spaces", func(t testing.TB, size int) []byte { return safetensorsOf(repeat(" ", size) + "{}") }},
	{"a header of unknown keys", func(t testing.TB, size int) []byte {
		return safetensorsOf(`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"y":[` + repeat("[],", size) + `0]}}`)
	}},
	{"a header of a number", func(t testing.TB, size int) []byte {
		return safetensorsOf(`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"y":` + repeat("1", size) + `}}`)
	}},
}

func TestBound(t *testing.T) {
	sizes := []int{6 << 10, 400 << 10, 8 << 20}
	if testing.Short() {
		sizes = sizes[:2]
	}
	for _, a := range attacks() {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s/%d", a.name, size), func(t *testing.T) { readAny(t, a.make(t, size)) })
		}
	}
}

// TestBoundOfShards reads many small files and indices that say much.
func TestBoundOfShards(t *testing.T) {
	inflates := zipOf(t, zip.Deflate, dictOf("w", tensorOf(storageOf("FloatStorage", "0", 1<<21), 0, tupleOf(1<<21), tupleOf(1)))+".", strings.Repeat("\x00", 8<<20))
	for name, files := range map[string]func() map[string][]byte{
		"many files": func() map[string][]byte {
			m, index := map[string][]byte{}, []string{}
			for i := range maxShards {
				name := fmt.Sprintf("%d.bin", i)
				m[name] = zipOf(t, zip.Store, put(1, mapOf("K\x01K\x02", 2000))+dictOf(fmt.Sprint("w", i), goodTensor)+".", two)
				index = append(index, fmt.Sprintf(`"w%d":%q`, i, name))
			}
			m["index"] = []byte(`{"weight_map":{` + strings.Join(index, ",") + "}}")
			return m
		},
		"files that inflate": func() map[string][]byte {
			m, index := map[string][]byte{}, []string{}
			for i := range 100 {
				name := fmt.Sprintf("%d.bin", i)
				m[name], index = inflates, append(index, fmt.Sprintf(`"w":%q`, name)[:3]+fmt.Sprintf(`%d":%q`, i, name))
			}
			m["index"] = []byte(`{"weight_map":{` + strings.Join(index, ",") + "}}")
			return m
		},
		"many names": func() map[string][]byte {
			var index strings.Builder
			for i := range 100_000 {
				fmt.Fprintf(&index, `,"%x":"1"`, i)
			}
			return map[string][]byte{"1": safetensorsOf("{}"), "index": []byte(`{"weight_map":{` + index.String()[1:] + "}}")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, size := fstest.MapFS{}, 0
			for name, b := range files() {
				fsys[name] = &fstest.MapFile{Data: b}
				size += len(b)
			}
			readOpened(t, size, func() (File, error) { return OpenFS(fsys, "index") })
		})
	}
}

// TestLongestSlice refuses what no slice holds, which a system of 32 bits meets in ordinary files.
func TestLongestSlice(t *testing.T) {
	f := &file{byName: map[string]*view{}}
	for dtype := range readSizes {
		f.byName[dtype] = &view{name: dtype, dtype: dtype, width: elementSizes[dtype], count: math.MaxInt/8 + 1}
	}
	for dtype := range readSizes {
		var err error
		if IsFloat(dtype) {
			_, err = f.Float32(dtype)
			wantError(t, err, ErrTooLarge, dtype)
			_, err = f.Float64(dtype)
		} else {
			_, err = f.Int64(dtype)
		}
		wantError(t, err, ErrTooLarge, dtype)
	}
	if _, err := readExactly(nil, math.MaxInt+1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}
