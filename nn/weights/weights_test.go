package weights

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// streams hides that files can be read at random and looked at before they are opened.
type streams struct{ fs.FS }

func (s streams) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return struct{ fs.File }{f}, nil
}

// TestOpen tells files by their content, whatever they are called.
func TestOpen(t *testing.T) {
	safe, err := os.ReadFile("testdata/expected.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	dict := dictOf("w", goodTensor) + "."
	files := fstest.MapFS{
		"a.pth":         {Data: safe},
		"b.safetensors": {Data: zipOf(t, zip.Store, dict, two)},
		"old":           {Data: legacyOf(dict, "]S'0'\na.", "\x02\x00\x00\x00\x00\x00\x00\x00"+two)},
		"folder/x":      {},
		"empty":         {},
		"short":         {Data: []byte("short")},
		"page":          {Data: []byte("<!DOCTYPE html><html>")},
		// The length of this header begins as a pickle does.
		"like a pickle": {Data: safetensorsOf("{}" + strings.Repeat(" ", 0x280-2))},
		"cut off":       {Data: safe[:len(safe)-1]},
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	openers := []struct {
		name string
		open func(name string) (File, error)
	}{
		{"Open", func(name string) (File, error) { return Open(filepath.Join(dir, name)) }},
		{"OpenFS", func(name string) (File, error) { return OpenFS(files, name) }},
		{"OpenFS of a folder", func(name string) (File, error) { return OpenFS(os.DirFS(dir), name) }},
		{"OpenFS of streams", func(name string) (File, error) { return OpenFS(streams{files}, name) }},
	}
	for _, o := range openers {
		for _, c := range []struct {
			name    string
			label   string // of the file or of the error
			tensors int
			kind    error
		}{
			{"a.pth", "safetensors: ", 21, nil},
			{"b.safetensors", "pth: ", 1, nil},
			{"old", "pth: ", 1, nil},
			{"like a pickle", "safetensors: ", 0, nil},
			{"folder", "", 0, ErrUnsupported},
			{"missing", "", 0, fs.ErrNotExist},
			{"empty", "safetensors: ", 0, ErrDamaged},
			{"short", "safetensors: ", 0, ErrDamaged},
			{"page", "weights: ", 0, ErrUnsupported},
			{"cut off", "safetensors: ", 0, ErrDamaged},
		} {
			t.Run(o.name+"/"+c.name, func(t *testing.T) {
				f, err := o.open(c.name)
				if c.kind != nil {
					if f != nil {
						t.Error("the file was opened")
					}
					wantError(t, err, c.kind, c.name)
					if !strings.HasPrefix(err.Error(), c.label) {
						t.Errorf("the error begins %.30q, want %q", err, c.label)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if l := f.Label(); !strings.HasPrefix(l, c.label) || !strings.HasSuffix(l, c.name) {
					t.Errorf("label %q, want %q and the name", l, c.label)
				}
				list := mustReadAll(t, f)
				if len(list) != c.tensors {
					t.Errorf("%d tensors, want %d", len(list), c.tensors)
				}
				_, err = f.Float32("missing")
				if err == nil || !strings.HasPrefix(err.Error(), f.Label()+": ") {
					t.Errorf("reading a tensor that is not there: %v", err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestOpenFSInvalidPath(t *testing.T) {
	if _, err := OpenFS(os.DirFS(t.TempDir()), "../x"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("got error %v", err)
	}
}

func TestNewReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	b := zipOf(t, zip.Store, dictOf("w", goodTensor)+".", two)
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f, err := NewReader(file, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if l := f.Label(); l != "pth: "+path {
		t.Errorf("label %q", l)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if v, err := f.Float32("w"); err != nil || v[1] != 2 {
		t.Errorf("after Close, which leaves the reader open: %v, %v", v, err)
	}
	if f, err := openBytes(b); err != nil || f.Label() != "pth" {
		t.Errorf("a reader without a name: %v", err)
	}
}

// TestClose: a file that was opened by its path cannot be read afterwards.
func TestClose(t *testing.T) {
	for _, path := range []string{"testdata/expected.safetensors", "testdata/torch2.13.pth"} {
		t.Run(path, func(t *testing.T) {
			f := mustOpen(t, path)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Float32("f32"); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestFalseSize: a size that the reader does not have must fail at once and not be allocated.
func TestFalseSize(t *testing.T) {
	for name, b := range map[string][]byte{
		"safetensors": safetensorsOf(`{"x":{"dtype":"U8","shape":[4611686018427387904],"data_offsets":[0,4611686018427387904]}}`),
		"zip":         zipOf(t, zip.Store, dictOf("w", goodTensor)+".", two),
		"old":         legacyOf(dictOf("w", goodTensor)+".", "]."),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewReader(bytes.NewReader(b), int64(len(b))+1<<62); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestReadErrors: a tensor that is missing or of another type, and a destination of another length.
func TestReadErrors(t *testing.T) {
	for _, path := range []string{"testdata/expected.safetensors", "testdata/torch2.13.pth"} {
		f := mustOpen(t, path)
		for name, read := range map[string]func() error{
			"none":   func() error { return f.ReadFloat32("none", nil) },
			"f32":    func() error { return f.ReadFloat32("f32", make([]float32, 2)) },
			"i64":    func() error { return f.ReadFloat32("i64", make([]float32, 2)) },
			"i32":    func() error { _, err := f.Float32("i32"); return err },
			"i8":     func() error { _, err := f.Float64("i8"); return err },
			"f16":    func() error { _, err := f.Int64("f16"); return err },
			"absent": func() error { _, err := f.Float64("absent"); return err },
			"gone":   func() error { _, err := f.Int64("gone"); return err },
		} {
			t.Run(path+"/"+name, func(t *testing.T) {
				if err := read(); err == nil || !strings.HasPrefix(err.Error(), f.Label()+": ") || !strings.Contains(err.Error(), Quote(name)) {
					t.Errorf("got error %v, want one that names %s and %s", err, f.Label(), name)
				}
			})
		}
		if _, ok := f.Shape("none"); ok {
			t.Errorf("%s has the shape of a tensor that is not there", path)
		}
		if d := f.DType("none"); d != "" {
			t.Errorf("%s: a tensor that is not there has dtype %s", path, d)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", `""`},
		{"blocks.0", `"blocks.0"`},
		{"\x1b[2J\n", `"\x1b[2J\n"`},
		{strings.Repeat("x", 60), `"` + strings.Repeat("x", 60) + `"`},
		{strings.Repeat("x", 61), `"` + strings.Repeat("x", 60) + `…"`},
		{strings.Repeat("x", 59) + "ü", `"` + strings.Repeat("x", 59) + `…"`},
		{strings.Repeat("\xbf", 99), `"` + strings.Repeat(`\xbf`, 56) + `…"`},
	} {
		if got := Quote(c.in); got != c.want {
			t.Errorf("Quote(%q) = %s, want %s", c.in, got, c.want)
		}
	}
}
