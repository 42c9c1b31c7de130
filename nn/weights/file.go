package weights

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// file is an opened file of either format.
type file struct {
	label    string
	closers  []io.Closer // none if NewReader opened it
	tensors  []*view     // in the file's order
	byName   map[string]*view
	metadata map[string]string
	contents []Content
	notes    []string
}

// index makes the tensors known by their names, without the wrappers that all of them have.
func (f *file) index() error {
	if prefix := trimWrappers(f.tensors); prefix != "" {
		f.notes = append(f.notes, fmt.Sprintf("all names begin with %s, which was removed", Quote(prefix)))
	}
	f.byName = make(map[string]*view, len(f.tensors))
	for _, v := range f.tensors {
		if f.byName[v.name] != nil {
			return damaged("%s: tensor %s is listed twice", f.label, Quote(v.name))
		}
		f.byName[v.name] = v
	}
	return nil
}

func (f *file) Label() string               { return f.label }
func (f *file) Metadata() map[string]string { return f.metadata }
func (f *file) Contents() []Content         { return slices.Clone(f.contents) }
func (f *file) Notes() []string             { return slices.Clone(f.notes) }

func (f *file) Names() []string {
	names := make([]string, len(f.tensors))
	for i, v := range f.tensors {
		names[i] = v.name
	}
	return names
}

func (f *file) Shape(name string) ([]int, bool) {
	v := f.byName[name]
	if v == nil {
		return nil, false
	}
	return append([]int{}, v.shape...), true
}

func (f *file) DType(name string) string {
	if v := f.byName[name]; v != nil {
		return v.dtype
	}
	return ""
}

func (f *file) Close() error {
	var errs []error
	for _, c := range f.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func (f *file) Float32(name string) ([]float32, error) {
	v, err := f.find(name, floatDTypes)
	if err != nil {
		return nil, err
	}
	dst := make([]float32, v.count)
	return dst, f.ReadFloat32(name, dst)
}

func (f *file) ReadFloat32(name string, dst []float32) error {
	v, err := f.find(name, floatDTypes)
	if err != nil {
		return err
	}
	if len(dst) != v.count {
		return badLength(f.label, name, v.shape, v.count, len(dst))
	}
	return f.convert(name, v, func(first int, b []byte) error {
		toFloat32(v.dtype, dst[first:], b)
		if v.negative {
			for i := range dst[first:][:len(b)/v.width] {
				dst[first+i] = -dst[first+i]
			}
		}
		return nil
	})
}

func (f *file) Float64(name string) ([]float64, error) {
	v, err := f.find(name, floatDTypes)
	if err != nil {
		return nil, err
	}
	dst := make([]float64, v.count)
	return dst, f.convert(name, v, func(first int, b []byte) error {
		toFloat64(v.dtype, dst[first:], b)
		if v.negative {
			for i := range dst[first:][:len(b)/v.width] {
				dst[first+i] = -dst[first+i]
			}
		}
		return nil
	})
}

func (f *file) Int64(name string) ([]int64, error) {
	v, err := f.find(name, intDTypes)
	if err != nil {
		return nil, err
	}
	dst := make([]int64, v.count)
	return dst, f.convert(name, v, func(first int, b []byte) error {
		if i, err := toInt64(v.dtype, dst[first:], b); err != nil {
			return fmt.Errorf("element %d: %w", first+i, err)
		}
		return nil
	})
}

// uint8 reads a tensor of U8 or BOOL without making it larger.
func (f *file) uint8(name string) ([]uint8, error) {
	v := f.byName[name]
	dst := make([]uint8, v.count)
	return dst, f.convert(name, v, func(first int, b []byte) error {
		copy(dst[first:], b)
		if i := slices.IndexFunc(b, func(c byte) bool { return c > 1 }); v.dtype == "BOOL" && i >= 0 {
			return fmt.Errorf("element %d: %w", first+i, badBool(b[i]))
		}
		return nil
	})
}

// find returns a tensor whose element type is one of allowed.
func (f *file) find(name string, allowed []string) (*view, error) {
	v := f.byName[name]
	switch {
	case v == nil:
		return nil, noTensor(f.label, name)
	case readSizes[v.dtype] == 0:
		return nil, fmt.Errorf("%s: reading tensor %s of the kind %s is %w; %s", f.label, Quote(name), Quote(v.dtype), ErrUnsupported, unreadable(v.dtype))
	case !slices.Contains(allowed, v.dtype):
		return nil, otherDType(f.label, name, v.dtype, allowed)
	case v.count > math.MaxInt/8: // which only systems of 32 bits can meet: make would panic
		return nil, fmt.Errorf("%s: reading tensor %s of %d values %w", f.label, Quote(name), v.count, ErrTooLarge)
	}
	return v, nil
}

// convert calls f for the tensor's bytes: see view.read.
func (f *file) convert(name string, v *view, convert func(first int, b []byte) error) error {
	if err := v.read(convert); err != nil {
		return fmt.Errorf("%s: tensor %s: %w", f.label, Quote(name), err)
	}
	return nil
}

// The errors about a tensor that is asked for in a way it cannot be read.

func noTensor(label, name string) error {
	return fmt.Errorf("%s: no tensor %s in this file", label, Quote(name))
}

func otherDType(label, name, dtype string, want []string) error {
	other := "Int64"
	if IsFloat(dtype) {
		other = "Float32 or Float64"
	}
	return fmt.Errorf("%s: tensor %s has dtype %s, want one of %v; this one is read with %s", label, Quote(name), dtype, want, other)
}

func badLength(label, name string, shape []int, count, got int) error {
	return fmt.Errorf("%s: tensor %s has shape %v, %d values; the destination holds %d", label, Quote(name), shape, count, got)
}
