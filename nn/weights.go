package nn

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// TensorFile is an opened file of named tensors: a *SafeFile or a *PthFile.
// Opening has checked what can be checked without reading values.
type TensorFile interface {
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

// OpenTensors opens a file of tensors: safetensors, or a PyTorch checkpoint of
// the zip format or the one before. Its first bytes tell which, whatever its
// name. The caller must Close it.
func OpenTensors(path string) (TensorFile, error) {
	file, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	return openTensors(file, size, path, file)
}

// OpenTensorsFS is OpenTensors for a file of fsys. A file that cannot be read
// at random is read into memory.
func OpenTensorsFS(fsys fs.FS, name string) (TensorFile, error) {
	r, size, closer, err := openFS(fsys, name)
	if err != nil {
		return nil, err
	}
	return openTensors(r, size, name, closer)
}

// OpenTensorsAt is OpenTensors for size bytes behind r. If r has a method
// Name() string, as *os.File has, errors name the file by it.
func OpenTensorsAt(r io.ReaderAt, size int64) (TensorFile, error) {
	name := ""
	if n, ok := r.(interface{ Name() string }); ok {
		name = n.Name()
	}
	return openTensors(r, size, name, nil)
}

func openTensors(r io.ReaderAt, size int64, name string, closer io.Closer) (f TensorFile, err error) {
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
		var p *PthFile
		if p, err = openPth(r, size, label("pth")); err == nil {
			p.closer, f = closer, p
		}
	case !safe && n > 8 && binary.LittleEndian.Uint64(start) > maxSafeHeader:
		err = fmt.Errorf("%s: neither a safetensors file nor a PyTorch checkpoint; it begins with %q", label("weights"), start)
	default:
		var s *SafeFile
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
func OpenSafetensorsFS(fsys fs.FS, name string) (*SafeFile, error) {
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

// ReadTensors reads all tensors of f in its order, as WriteSafetensors and
// WritePth take them. No value changes: F16 and BF16 become float32, F64 stays
// float64, U8 and booleans uint8, and all other integers become int64.
func ReadTensors(f TensorFile) ([]NamedTensor, error) {
	names := f.Names()
	list := make([]NamedTensor, len(names))
	for i, name := range names {
		shape, _ := f.Shape(name)
		t := NamedTensor{Name: name, Shape: shape}
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

// Tensors returns the parameters as WriteSafetensors and WritePth take them,
// sharing their data.
func (ps *Params) Tensors() []NamedTensor {
	list := make([]NamedTensor, len(ps.list))
	for i, p := range ps.list {
		if p.Data == nil {
			panic("nn: Tensors, got " + p.Name + " without values (Pack, or DeferredParams), want a model that has them")
		}
		list[i] = NamedTensor{p.Name, p.Shape, p.Data}
	}
	for _, a := range ps.aliases {
		p := ps.index[a.of]
		list = append(list, NamedTensor{a.name, p.Shape, p.Data})
	}
	return list
}

// Load reads every parameter from f by its name. Keys and shapes must be
// exactly those of the parameters: the error lists all that are missing,
// unexpected, of another shape or no floats, up to 20, and then nothing has
// been read. LoadWith allows differences.
func (ps *Params) Load(f TensorFile) error {
	ps.mustChange("Load")
	if _, _, err := ps.match(f, LoadOptions{}); err != nil {
		return err
	}
	ps.allocate()
	for _, p := range ps.list {
		if err := f.ReadFloat32(p.Name, p.Data); err != nil {
			return err
		}
	}
	return nil
}

// LoadOptions are differences between a file and the parameters that LoadWith
// allows. A nil function allows none.
type LoadOptions struct {
	// Keep names parameters that keep their values where the file lacks them.
	Keep func(param string) bool
	// Ignore names keys of the file that are not read, also where there is
	// such a parameter: it then is as if the file lacked it.
	Ignore func(key string) bool
	// Adapt returns values of shape want for a parameter that the file has
	// with the shape from, or nil where it cannot.
	Adapt func(name string, from []int, data []float32, want []int) []float32
}

// LoadReport is what LoadWith did not do to the letter.
type LoadReport struct {
	Missing    []string // parameters that kept their values
	Unexpected []string // keys of the file that were ignored
	Adapted    []Adapted
}

// Adapted is a parameter whose shape in the file was another.
type Adapted struct {
	Name     string
	From, To []int
}

// LoadWith is Load with differences allowed and reported. What they do not
// cover is an error that lists everything, as Load's. After an error, one of
// reading included, nothing has been changed; that takes memory for a second
// set of the parameters.
func (ps *Params) LoadWith(f TensorFile, o LoadOptions) (*LoadReport, error) {
	ps.mustChange("LoadWith")
	report, values, err := ps.match(f, o)
	if err != nil {
		return nil, err
	}
	ps.allocate()
	for _, p := range ps.list {
		if values[p.Name] != nil || slices.Contains(report.Missing, p.Name) {
			continue
		}
		v := make([]float32, len(p.Data))
		if err := f.ReadFloat32(p.Name, v); err != nil {
			return nil, err
		}
		values[p.Name] = v
	}
	for _, p := range ps.list {
		copy(p.Data, values[p.Name])
	}
	return report, nil
}

// match compares the file with the parameters and returns the values of those
// that had to be adapted.
func (ps *Params) match(f TensorFile, o LoadOptions) (*LoadReport, map[string][]float32, error) {
	keep := func(name string) bool { return o.Keep != nil && o.Keep(name) }
	ignore := func(name string) bool { return o.Ignore != nil && o.Ignore(name) }
	report, adapted := new(LoadReport), map[string][]float32{}
	var problems []string
	for _, p := range ps.list {
		shape, ok := f.Shape(p.Name)
		switch dtype := f.DType(p.Name); {
		case (!ok || ignore(p.Name)) && keep(p.Name):
			report.Missing = append(report.Missing, p.Name)
		case !ok || ignore(p.Name):
			problems = append(problems, fmt.Sprintf("missing %s %v", p.Name, p.Shape))
		case !slices.Contains(floatDTypes, dtype):
			problems = append(problems, fmt.Sprintf("%s has dtype %s, the model wants one of %v", p.Name, dtype, floatDTypes))
		case !slices.Equal(shape, p.Shape):
			if o.Adapt != nil {
				n, _ := elements(shape)
				data := make([]float32, n)
				if err := f.ReadFloat32(p.Name, data); err != nil {
					return nil, nil, err
				}
				if v := o.Adapt(p.Name, shape, data, p.Shape); v != nil {
					if want, _ := elements(p.Shape); len(v) != want {
						panic(fmt.Sprintf("nn: Adapt of %s, got %d values, want %v", p.Name, len(v), p.Shape))
					}
					adapted[p.Name] = v
					report.Adapted = append(report.Adapted, Adapted{p.Name, shape, slices.Clone(p.Shape)})
					continue
				}
			}
			problems = append(problems, fmt.Sprintf("%s has shape %v, the model wants %v", p.Name, shape, p.Shape))
		}
	}
	for _, name := range f.Names() {
		switch shape, _ := f.Shape(name); {
		case ignore(name):
			report.Unexpected = append(report.Unexpected, name)
		case ps.index[name] == nil && !ps.isAlias[name]:
			problems = append(problems, fmt.Sprintf("unexpected %s %v", clip(name), shape))
		}
	}
	if n := len(problems); n > 0 {
		const most = 20
		rest := ""
		if n > most {
			rest = fmt.Sprintf("\n  … and %d more", n-most)
			problems = problems[:most]
		}
		return nil, nil, fmt.Errorf("%s: %d of its tensors and the model's do not match; use the config.json that belongs to the file:\n  %s%s",
			f.Label(), n, strings.Join(problems, "\n  "), rest)
	}
	return report, adapted, nil
}
