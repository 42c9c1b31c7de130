package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	// DType returns the element type of a tensor by its name in safetensors ("F32", "I64", …),
	// or "" if the file lacks the tensor.
	DType(name string) string
	// Float32 reads a floating-point tensor in row-major order. F32 keeps every bit, NaN payloads
	// included; F16 and BF16 widen exactly; F64 is rounded to nearest even. A tensor of integers
	// is an error: see Int64.
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
	// Metadata returns the "__metadata__" of a safetensors file, nil if the file has none. The
	// map must not be changed.
	Metadata() map[string]string
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

// Open opens a file of tensors: a safetensors file or a PyTorch checkpoint, of the zip format or of
// the one before it. The first bytes tell which, whatever the file is called. The caller must Close
// it.
func Open(path string) (File, error) {
	f, err := regular.Open(path)
	return openFile(path, f, err)
}

// OpenFS is Open for a file of fsys. A file that offers no random access is read into memory.
func OpenFS(fsys fs.FS, name string) (File, error) {
	f, err := regular.OpenFS(fsys, name)
	return openFile(name, f, err)
}

// NewReader is Open for the size bytes behind r. If r has a method Name() string, as *os.File has,
// errors name the file by it. Close does not close r.
func NewReader(r io.ReaderAt, size int64) (File, error) {
	name := ""
	if n, ok := r.(interface{ Name() string }); ok {
		name = n.Name()
	}
	f, err := read(r, size, name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openFile reads what package regular has opened, or says more about why it has not.
func openFile(name string, opened fs.File, err error) (File, error) {
	if errors.Is(err, regular.ErrNotRegular) {
		err = fmt.Errorf("%w, which is %w; give the path of a file of weights", err, ErrUnsupported)
	}
	if err != nil {
		return nil, err
	}
	f, err := readFile(name, opened)
	if err != nil {
		opened.Close()
		return nil, err
	}
	f.closer = opened
	return f, nil
}

func readFile(name string, opened fs.File) (*file, error) {
	info, err := opened.Stat()
	if err != nil {
		return nil, err
	}
	if r, ok := opened.(io.ReaderAt); ok {
		return read(r, info.Size(), name)
	}
	b, err := io.ReadAll(io.LimitReader(opened, info.Size()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return read(bytes.NewReader(b), int64(len(b)), name)
}

// read tells the format of a file by its first bytes and reads everything but values.
func read(r io.ReaderAt, size int64, name string) (*file, error) {
	label := func(format string) string {
		if name == "" {
			return format
		}
		return format + ": " + name
	}
	var head [16]byte
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
		return readPth(r, size, label("pth"))
	case headerLength > maxHeader:
		return nil, fmt.Errorf("%s: neither a safetensors file nor a PyTorch checkpoint; it begins with %q, which is %w", label("weights"), start, ErrUnsupported)
	}
	return readSafetensors(r, size, label("safetensors"))
}
