package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/gomae/gomae/internal/regular"
)

// File is an opened file of named tensors. Opening has checked everything that can be checked
// without reading values, which are read when they are asked for. Its methods may be called from
// several goroutines at once if the reader below allows it, which *os.File does.
type File interface {
	// Label is what errors call the file: its format and its name.
	Label() string
	// Names returns the names of the tensors in the file's order: of a safetensors file that of
	// the data, of a checkpoint that of the state dict. The slice is the caller's.
	Names() []string
	// Shape returns the shape of a tensor, empty for a scalar, and whether the file has the
	// tensor. The slice is the caller's.
	Shape(name string) (shape []int, ok bool)
	// DType returns the element type of a tensor by its name in safetensors ("F32", "I64", …), or
	// "" if the file lacks the tensor. A tensor that can only be listed has the name of its kind:
	// "C64", "sparse", "quantized", "meta", …, or a class.
	DType(name string) string
	// Float32 reads a floating-point tensor in row-major order. F32 keeps every bit, NaN payloads
	// included; F16, BF16 and the 8-bit floats widen exactly; F64 is rounded to nearest even. A
	// tensor of integers is an error: see Int64.
	Float32(name string) ([]float32, error)
	// ReadFloat32 is Float32 into dst, whose length must be the number of elements. After an
	// error dst may be partly written.
	ReadFloat32(name string, dst []float32) error
	// Float64 reads a floating-point tensor in row-major order. F64 keeps every bit; narrower
	// types widen exactly, except that a signalling NaN becomes a quiet one.
	Float64(name string) ([]float64, error)
	// Int64 reads a tensor of integers or booleans (0 and 1) in row-major order. A U64 value
	// above 2^63−1 and a boolean byte that is neither 0 nor 1 are errors.
	Int64(name string) ([]int64, error)
	// Metadata returns the "__metadata__" of a safetensors file, or what a checkpoint has of
	// strings beside its state dict; nil or empty if there are none. The map must not be changed.
	Metadata() map[string]string
	// Notes says on a line each what the reader of these weights should know: a prefix that was
	// removed from all names, or other weights in the file. The slice is the caller's.
	Notes() []string
	// Contents describes what the file holds beside its tensors. The slice is the caller's.
	Contents() []Content
	// Close closes the file if Open or OpenFS opened it, and does nothing otherwise.
	Close() error
}

// Content describes a value that a file holds beside its tensors.
type Content struct {
	Key     string   // such as "epoch", or "model.KEY" for a value in the state dict
	Text    string   // the value of a scalar, otherwise type and size
	Entries []string // of a dictionary or Namespace such as args: "name=value", up to 1000
}

// moreContents stands for n values that are not described.
func moreContents(n int) Content { return Content{Key: "…", Text: fmt.Sprintf("%d more", n)} }

// Options say what is read of a file.
type Options struct {
	// Key is where the weights are: in a checkpoint a path such as "teacher", "model.state_dict" or
	// "0", in any file the prefix that their names have, without its dot. With "" it is found out.
	Key string
}

// Open opens a file of tensors: a safetensors file, a PyTorch checkpoint, of the zip format or of
// the one before it, or the index of one that is stored in several files. The first bytes tell
// which, whatever the file is called. The caller must Close it.
func Open(path string) (File, error) { return Options{}.Open(path) }

// OpenFS is Open for a file of fsys. A file that offers no random access is read into memory.
func OpenFS(fsys fs.FS, name string) (File, error) { return Options{}.OpenFS(fsys, name) }

// NewReader is Open for the size bytes behind r. If r has a method Name() string, as *os.File has,
// errors name the file by it. Close does not close r.
func NewReader(r io.ReaderAt, size int64) (File, error) { return Options{}.NewReader(r, size) }

// Open is the function Open with options.
func (o Options) Open(name string) (File, error) {
	f, err := regular.Open(name)
	return o.openFile(name, f, err, func(shard string) (fs.File, error) {
		return regular.Open(filepath.Join(filepath.Dir(name), shard))
	})
}

// OpenFS is the function OpenFS with options.
func (o Options) OpenFS(fsys fs.FS, name string) (File, error) {
	f, err := regular.OpenFS(fsys, name)
	return o.openFile(name, f, err, func(shard string) (fs.File, error) {
		return regular.OpenFS(fsys, path.Join(path.Dir(name), shard))
	})
}

// NewReader is the function NewReader with options.
func (o Options) NewReader(r io.ReaderAt, size int64) (File, error) {
	name := ""
	if n, ok := r.(interface{ Name() string }); ok {
		name = n.Name()
	}
	f, err := read(r, size, name, o.Key, newBudget(size))
	if err == nil {
		err = f.index()
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openFile reads what package regular has opened, or says more about why it has not. sibling opens
// another file of the same folder.
func (o Options) openFile(name string, opened fs.File, err error, sibling func(name string) (fs.File, error)) (File, error) {
	if errors.Is(err, regular.ErrNotRegular) {
		err = fmt.Errorf("%w, which is %w; give the path of a file of weights", err, ErrUnsupported)
	}
	if err != nil {
		return nil, err
	}
	f, err := o.readFile(name, opened, sibling)
	if err != nil {
		opened.Close()
		return nil, err
	}
	if err := f.index(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readFile reads a file or, if it is an index, those that it names.
func (o Options) readFile(name string, opened fs.File, sibling func(name string) (fs.File, error)) (*file, error) {
	r, size, err := randomAccess(name, opened)
	if err != nil {
		return nil, err
	}
	if isIndex(r, size) {
		f, err := readShards(name, r, size, sibling)
		if err == nil && o.Key != "" {
			if f.tensors, err = under(f.tensors, o.Key); err != nil {
				f.Close()
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		f.closers = append(f.closers, opened)
		return f, nil
	}
	f, err := read(r, size, name, o.Key, newBudget(size))
	if err != nil {
		return nil, err
	}
	f.closers = []io.Closer{opened}
	return f, nil
}

// randomAccess returns the bytes of a file and their number. A file that offers no random access is
// read into memory.
func randomAccess(name string, opened fs.File) (io.ReaderAt, int64, error) {
	info, err := opened.Stat()
	if err != nil {
		return nil, 0, err
	}
	if r, ok := opened.(io.ReaderAt); ok {
		return r, info.Size(), nil
	}
	b, err := io.ReadAll(io.LimitReader(opened, info.Size()))
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	return bytes.NewReader(b), int64(len(b)), nil
}

// read tells the format of a file by its first bytes and reads everything but values.
func read(r io.ReaderAt, size int64, name, key string, b *budget) (*file, error) {
	label := func(format string) string {
		if name == "" {
			return format
		}
		return format + ": " + name
	}
	var head [512]byte
	start := head[:min(max(size, 0), int64(len(head)))]
	if err := readFullAt(r, start, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", label("weights"), err)
	}
	var headerLength uint64
	if len(start) > 8 {
		headerLength = binary.LittleEndian.Uint64(start)
	}
	isSafetensors := len(start) > 8 && headerLength <= maxHeader && strings.IndexByte("{ \t\r\n", start[8]) >= 0
	switch {
	case !isSafetensors && isPth(start):
		return readPth(r, size, label("pth"), key, b)
	case foreign(start) != "" && !isSafetensors:
		return nil, fmt.Errorf("%s: %s; as a file of weights it is %w", label("weights"), foreign(start), ErrUnsupported)
	case headerLength > maxHeader:
		return nil, fmt.Errorf("%s: neither a safetensors file nor a PyTorch checkpoint; it begins with %q, which is %w",
			label("weights"), start[:min(16, len(start))], ErrUnsupported)
	}
	return readSafetensors(r, size, label("safetensors"), key)
}

// foreign says what a file is that people take for weights, by its first bytes; "" for none of
// these.
func foreign(start []byte) string {
	text := strings.ToLower(string(bytes.TrimLeft(start, "\xef\xbb\xbf \t\r\n")))
	for _, f := range []struct{ begin, what string }{
		{"version https://git-lfs", "a pointer of Git LFS and not the file itself; fetch it with \"git lfs pull\""},
		{"<!doctype html", "a web page and not the file itself; download it again from its direct address"},
		{"<html", "a web page and not the file itself; download it again from its direct address"},
		{"<?xml", "an XML document, such as the error of a server, and not the file itself; download it again"},
		{"{", "a JSON document; give the file of weights, or the path of the index of several"},
		{"\x1f\x8b", "compressed with gzip; unpack it"},
		{"\x89HDF", "an HDF5 file, of Keras or TensorFlow; save the weights as safetensors"},
		{"\x93NUMPY", "a NumPy array; save the weights as safetensors"},
		{"GGUF", "a GGUF file; convert it to safetensors"},
		{"7z\xbc\xaf", "a 7z archive; unpack it"},
		{"Rar!", "a RAR archive; unpack it"},
	} {
		if strings.HasPrefix(text, f.begin) || strings.HasPrefix(string(start), f.begin) {
			return f.what
		}
	}
	return ""
}
