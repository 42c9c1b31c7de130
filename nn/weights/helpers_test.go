package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func openBytes(b []byte) (File, error) { return NewReader(bytes.NewReader(b), int64(len(b))) }

func mustOpenBytes(t testing.TB, b []byte) File {
	t.Helper()
	f, err := openBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustOpen(t testing.TB, path string) File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func mustReadAll(t testing.TB, f File) []Tensor {
	t.Helper()
	list, err := ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// sameTensors compares names, shapes, types and every bit.
func sameTensors(t *testing.T, got, want []Tensor) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d tensors, want %d", len(got), len(want))
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
			t.Errorf("tensor %d is %s %v %T %.5v, want %s %v %T %.5v", i, g.Name, g.Shape, g.Data, g.Data, w.Name, w.Shape, w.Data, w.Data)
		}
	}
}

// wantError wants an error of a kind that names a key, and is short enough for a terminal whatever
// the file says. A kind of nil stands for any.
func wantError(t *testing.T, err, kind error, key string) {
	t.Helper()
	switch {
	case err == nil || kind != nil && !errors.Is(err, kind):
		t.Errorf("got error %v, want one of the kind %v", err, kind)
	case !strings.Contains(err.Error(), key):
		t.Errorf("got error %v, want one that names %s", err, key)
	case len(err.Error()) > 1500:
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

// refused is a file that must not open: the kind of the error, and the key that it names.
type refused struct {
	name string
	kind error
	key  string
	file []byte
}

func (c *refused) test(t *testing.T) {
	f, err := openBytes(c.file)
	if f != nil {
		t.Error("the file was opened")
	}
	wantError(t, err, c.kind, c.key)
}

// safetensorsOf builds a safetensors file of a header and data, well-formed or not.
func safetensorsOf(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

// zipOf builds a checkpoint of the zip format: a pickle and the storages 0, 1, ….
func zipOf(t testing.TB, method uint16, pickle string, storages ...string) []byte {
	entries := []string{"a/data.pkl", pickle}
	for i, s := range storages {
		entries = append(entries, fmt.Sprintf("a/data/%d", i), s)
	}
	return archiveOf(t, method, entries...)
}

// archiveOf builds a zip archive of names and contents, which alternate.
func archiveOf(t testing.TB, method uint16, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: entries[i], Method: method})
		if err == nil {
			_, err = io.WriteString(w, entries[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// legacyHead is the magic number, the version and the machine of the format before zip.
const legacyHead = "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}U\rlittle_endian\x88s."

// legacyOf builds a checkpoint of the old format: a pickle, one of the keys of the storages, and
// the storages, each beginning with its count.
func legacyOf(pickle, keys string, storages ...string) []byte {
	return []byte(legacyHead + pickle + keys + strings.Join(storages, ""))
}

// The functions below write parts of a pickle, mostly in the words of protocol 0.

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

// dictOf takes keys and pickles of values, which alternate.
func dictOf(items ...string) string {
	var s strings.Builder
	s.WriteString("(")
	for i := 0; i < len(items); i += 2 {
		s.WriteString("S'" + items[i] + "'\n" + items[i+1])
	}
	return s.String() + "d"
}

// textOf is a string of any length and content, bytesOf the same as bytes.
func textOf(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func bytesOf(s string) string {
	return "B" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

const two = "\x00\x00\x80\x3f\x00\x00\x00\x40" // 1 and 2 as F32

// goodTensor is a tensor of both values of storage 0, which is two.
var goodTensor = tensorOf(storageOf("FloatStorage", "0", 2), 0, tupleOf(2), tupleOf(1))

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
