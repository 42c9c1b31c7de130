package weights

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// File is an opened file of named tensors: a *Safetensors or a *Pth.
// Opening has checked what can be checked without reading values.
type File interface {
	// Label is how errors call the file: its format and name.
	Label() string
	// Names are the tensors in the file's order. The slice is the caller's.
	Names() []string
	// Shape is empty for a scalar; ok is false where the file lacks the
	// tensor. The slice is the caller's.
	Shape(name string) (shape []int, ok bool)
	// DType is the element type by its name in safetensors ("F32", "I64", …),
	// "" where the file lacks the tensor.
	DType(name string) string
	// ReadFloat32 reads a floating-point tensor in row-major order into dst of
	// its length. F16 and BF16 widen exactly, F64 is rounded to nearest even.
	ReadFloat32(name string, dst []float32) error
	// Float64 reads a floating-point tensor, exactly.
	Float64(name string) ([]float64, error)
	// Int64 reads a tensor of integers or booleans.
	Int64(name string) ([]int64, error)
	Close() error
}

// Open opens a file of tensors: safetensors, or a PyTorch checkpoint of
// the zip format or the one before. Its first bytes tell which, whatever its
// name. The caller must Close it.
func Open(path string) (File, error) {
	file, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	return openTensors(file, size, path, file)
}

// OpenFS is Open for a file of fsys. A file that cannot be read
// at random is read into memory.
func OpenFS(fsys fs.FS, name string) (File, error) {
	r, size, closer, err := openFS(fsys, name)
	if err != nil {
		return nil, err
	}
	return openTensors(r, size, name, closer)
}

// NewReader is Open for size bytes behind r. If r has a method
// Name() string, as *os.File has, errors name the file by it.
func NewReader(r io.ReaderAt, size int64) (File, error) {
	name := ""
	if n, ok := r.(interface{ Name() string }); ok {
		name = n.Name()
	}
	return openTensors(r, size, name, nil)
}

func openTensors(r io.ReaderAt, size int64, name string, closer io.Closer) (f File, err error) {
	label := func(format string) string {
		if name == "" {
			return format
		}
		return format + ": " + name
	}
	var head [16]byte
	n := int(min(size, int64(len(head))))
	err = readFullAt(r, head[:n], 0)
	start := head[:n]
	safe := n > 8 && start[8] == '{' && binary.LittleEndian.Uint64(start) <= maxSafeHeader
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", label("weights"), err)
	case !safe && isPth(start):
		var p *Pth
		if p, err = openPth(r, size, label("pth")); err == nil {
			p.closer, f = closer, p
		}
	case !safe && n > 8 && binary.LittleEndian.Uint64(start) > maxSafeHeader:
		err = fmt.Errorf("%s: neither a safetensors file nor a PyTorch checkpoint; it begins with %q", label("weights"), start)
	default:
		var s *Safetensors
		if s, err = openSafetensors(r, size, label("safetensors")); err == nil {
			s.closer, f = closer, s
		}
	}
	if err != nil {
		if closer != nil {
			closer.Close()
		}
		return nil, err
	}
	return f, nil
}

// OpenSafetensorsFS is OpenSafetensorsFile for a file of fsys. A file that
// cannot be read at random is read into memory.
func OpenSafetensorsFS(fsys fs.FS, name string) (*Safetensors, error) {
	r, size, closer, err := openFS(fsys, name)
	if err != nil {
		return nil, err
	}
	f, err := openSafetensors(r, size, "safetensors: "+name)
	if err != nil {
		closer.Close()
		return nil, err
	}
	f.closer = closer
	return f, nil
}

// openRegular opens a file on disk.
func openRegular(path string) (*os.File, int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file; give the path of a file of weights", path)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// openFS opens a file of fsys for reading at random.
func openFS(fsys fs.FS, name string) (io.ReaderAt, int64, io.Closer, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, 0, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", name)
	}
	if err != nil {
		file.Close()
		return nil, 0, nil, err
	}
	if r, ok := file.(io.ReaderAt); ok {
		return r, info.Size(), file, nil
	}
	b, err := io.ReadAll(file)
	if err != nil {
		file.Close()
		return nil, 0, nil, fmt.Errorf("%s: %w", name, err)
	}
	return bytes.NewReader(b), int64(len(b)), file, nil
}

// ReadAll reads all tensors of f in its order, as WriteSafetensors and
// WritePth take them. No value changes: F16 and BF16 become float32, F64 stays
// float64, U8 and booleans uint8, and all other integers become int64.
func ReadAll(f File) ([]Tensor, error) {
	names := f.Names()
	list := make([]Tensor, len(names))
	for i, name := range names {
		shape, _ := f.Shape(name)
		t := Tensor{Name: name, Shape: shape}
		switch dtype := f.DType(name); {
		case dtype == "F64":
			v, err := f.Float64(name)
			if err != nil {
				return nil, err
			}
			t.Data = v
		case slices.Contains(intDTypes, dtype):
			v, err := f.Int64(name)
			if err != nil {
				return nil, err
			}
			t.Data = v
			if dtype == "U8" || dtype == "BOOL" {
				b := make([]uint8, len(v))
				for k, n := range v {
					b[k] = uint8(n)
				}
				t.Data = b
			}
		default:
			n, ok := elements(shape)
			if !ok || !slices.Contains(floatDTypes, dtype) {
				n = 0 // ReadFloat32 says what is wrong
			}
			v := make([]float32, n)
			if err := f.ReadFloat32(name, v); err != nil {
				return nil, err
			}
			t.Data = v
		}
		list[i] = t
	}
	return list, nil
}
