package weights

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// The fuzz targets take any bytes: each file is refused or fully readable, within the bound, and
// what was read can be written.

// addFiles adds the files of a pattern as seeds.
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

// seeds returns the refused files and the attacks, those that are small, for one of the fuzzers.
func seeds(f *testing.F, begin string) [][]byte {
	var list [][]byte
	add := func(b []byte) {
		if len(b) < 4096 && bytes.HasPrefix(b, []byte(begin)) {
			list = append(list, b)
		}
	}
	for _, c := range pthRefused(f) {
		add(c.file)
	}
	for _, p := range wildPickles {
		add(zipOf(f, zip.Store, dictOf("x", p, "model", dictOf("w", goodTensor))+".", two, two))
		add(zipOf(f, zip.Store, dictOf("w", goodTensor, "x", p)+".", two, two))
		add(legacyOf(dictOf("x", p, "net", dictOf("w", goodTensor))+".", "]S'0'\na.", "\x02\x00\x00\x00\x00\x00\x00\x00"+two))
	}
	for _, a := range attacks() {
		add(a.make(f, 500))
	}
	return list
}

func FuzzSafetensors(f *testing.F) {
	addFiles(f, "testdata/*.safetensors")
	for _, c := range safetensorsRefused {
		if len(c.file) < 4096 {
			f.Add(c.file)
		}
	}
	for _, a := range attacks() {
		if b := a.make(f, 500); !isPth(b) {
			f.Add(b)
		}
	}
	f.Add(safetensorsOf(`{"__metadata__":null,"h":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"b":{"dtype":"BOOL","shape":[2],"data_offsets":[2,4]}}`, 1, 2, 0, 1))
	f.Fuzz(func(t *testing.T, b []byte) { readAny(t, b) })
}

// FuzzPth starts from archives.
func FuzzPth(f *testing.F) {
	addFiles(f, "testdata/*.pth")
	for _, b := range seeds(f, "PK") {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { readAny(t, b) })
}

// FuzzLegacyPth starts from files of the old format, which it keeps to.
func FuzzLegacyPth(f *testing.F) {
	for _, path := range []string{"testdata/torch1.13_legacy.pth", "testdata/torch2.13_legacy.pth"} {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		_, machine, ok := strings.Cut(string(b), "type_sizes") // the description of the machine
		_, rest, ok2 := strings.Cut(machine, ".")
		if !ok || !ok2 {
			f.Fatal(path)
		}
		f.Add([]byte(rest))
	}
	for _, b := range seeds(f, legacyHead) {
		f.Add(b[len(legacyHead):])
	}
	for _, b := range seeds(f, "PK") { // their pickles without their storages
		if p := pickleOf(b); p != nil {
			f.Add(append(p, "]S'0'\na.\x02\x00\x00\x00\x00\x00\x00\x00"+two...))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { readAny(t, append([]byte(legacyHead), b...)) })
}

// FuzzIndex reads any index of two files.
func FuzzIndex(f *testing.F) {
	for _, s := range []string{
		`{"metadata":{"total_size":8},"weight_map":{"x":"1","w":"2"}}`, `{"weight_map":{"x":"1","x":"2"}}`, `{"weight_map":{"x":"../1"}}`,
		` {"weight_map":{"model.x":"1"},"weight_map":{}}`, `{"weight_map":{"\u0078":"1"}}`, `{"weight_map":7}`,
	} {
		f.Add([]byte(s))
	}
	safe := safetensorsOf(`{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"model.x":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 1, 2, 3)
	pth := zipOf(f, zip.Store, dictOf("w", goodTensor)+".", two)
	f.Fuzz(func(t *testing.T, b []byte) {
		files := fstest.MapFS{"index": {Data: b}, "1": {Data: safe}, "2": {Data: pth}}
		readOpened(t, len(b)+len(safe)+len(pth), func() (File, error) { return OpenFS(files, "index") })
	})
}

// FuzzPickle gives the machine any program.
func FuzzPickle(f *testing.F) {
	for _, path := range []string{"testdata/torch1.13.pth", "testdata/torch2.13.pth", "testdata/torch2.13_protocol5.pth"} {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(pickleOf(b))
	}
	for _, b := range seeds(f, "PK") {
		if p := pickleOf(b); p != nil {
			f.Add(p)
		}
	}
	for _, s := range []string{
		"(dp0\nS'a'\nI1\ns.", "\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01e.", "(I1\nF2.5\nL3L\nlp1\n.",
		"cargparse\nNamespace\n)\x81}b.", "c_codecs\nencode\nX\x02\x00\x00\x00\xc3\xbfU\x06latin1\x86R.", "\x8f(K\x01\x90.",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		within(t, len(b), func() {
			p := &pthReader{size: int64(len(b)), budget: newBudget(int64(len(b))), storages: map[string]*storage{}}
			u := newUnpickler(bytes.NewReader(b), int64(len(b)), p.budget)
			u.persistent, u.extern = p.persistent, p.rebuild
			v, err := u.next()
			if err != nil {
				checkError(t, err)
				return
			}
			if s := pickleText(v); len(s) > 1000 {
				t.Errorf("a description of %d bytes", len(s))
			}
			if _, err := p.file(v, ""); err != nil {
				checkError(t, err)
			}
		})
	})
}

// pickleOf returns the pickle of an archive, nil if it has none.
func pickleOf(b []byte) []byte {
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil
	}
	for _, e := range z.File {
		if strings.HasSuffix(e.Name, "/data.pkl") {
			r, err := e.Open()
			if err != nil {
				return nil
			}
			defer r.Close()
			p, _ := io.ReadAll(io.LimitReader(r, 1<<20))
			return p
		}
	}
	return nil
}
