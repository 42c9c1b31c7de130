package weights

import (
	"fmt"
	"slices"

	"github.com/gomae/gomae/internal/bfloat16"
)

// FromTensors returns tensors in memory as a File, which shares their values. Names must differ.
// label is what errors call it. BFloat16 is read as from a file to which it was written: rounded.
func FromTensors(label string, tensors []Tensor) (File, error) {
	if err := checkTensors(tensors); err != nil {
		return nil, fmt.Errorf("%s: %w", label, err)
	}
	m := &memory{label: label, tensors: tensors, byName: make(map[string]*Tensor, len(tensors))}
	for i := range tensors {
		m.byName[tensors[i].Name] = &tensors[i]
	}
	return m, nil
}

// memory is a File of tensors in memory.
type memory struct {
	label   string
	tensors []Tensor
	byName  map[string]*Tensor
}

func (m *memory) Label() string               { return m.label }
func (m *memory) Metadata() map[string]string { return nil }
func (m *memory) Contents() []Content         { return nil }
func (m *memory) Notes() []string             { return nil }
func (m *memory) Close() error                { return nil }

func (m *memory) Names() []string {
	names := make([]string, len(m.tensors))
	for i := range m.tensors {
		names[i] = m.tensors[i].Name
	}
	return names
}

func (m *memory) Shape(name string) ([]int, bool) {
	t := m.byName[name]
	if t == nil {
		return nil, false
	}
	return append([]int{}, t.Shape...), true
}

func (m *memory) DType(name string) string {
	if t := m.byName[name]; t != nil {
		dtype, _ := dataType(t.Data)
		return dtype
	}
	return ""
}

func (m *memory) Float32(name string) ([]float32, error) {
	t, err := m.find(name, floatDTypes)
	if err != nil {
		return nil, err
	}
	_, n := dataType(t.Data)
	dst := make([]float32, n)
	return dst, m.ReadFloat32(name, dst)
}

func (m *memory) ReadFloat32(name string, dst []float32) error {
	t, err := m.find(name, floatDTypes)
	if err != nil {
		return err
	}
	if _, n := dataType(t.Data); len(dst) != n {
		return badLength(m.label, name, t.Shape, n, len(dst))
	}
	switch d := t.Data.(type) {
	case []float32:
		copy(dst, d)
	case []float64:
		for i, v := range d {
			dst[i] = float32(v)
		}
	case BFloat16:
		for i, v := range d {
			dst[i] = bfloat16.Float(bfloat16.Bits(v))
		}
	}
	return nil
}

func (m *memory) Float64(name string) ([]float64, error) {
	t, err := m.find(name, floatDTypes)
	if err != nil {
		return nil, err
	}
	if d, ok := t.Data.([]float64); ok {
		return slices.Clone(d), nil
	}
	d, err := m.Float32(name)
	return widen[float64](d), err
}

func (m *memory) Int64(name string) ([]int64, error) {
	t, err := m.find(name, intDTypes)
	if err != nil {
		return nil, err
	}
	if d, ok := t.Data.([]int64); ok {
		return slices.Clone(d), nil
	}
	return widen[int64](t.Data.([]uint8)), nil
}

func widen[To, From float32 | float64 | int64 | uint8](from []From) []To {
	to := make([]To, len(from))
	for i, v := range from {
		to[i] = To(v)
	}
	return to
}

// find returns a tensor whose element type is one of allowed.
func (m *memory) find(name string, allowed []string) (*Tensor, error) {
	t := m.byName[name]
	if t == nil {
		return nil, noTensor(m.label, name)
	}
	if dtype, _ := dataType(t.Data); !slices.Contains(allowed, dtype) {
		return nil, otherDType(m.label, name, dtype, allowed)
	}
	return t, nil
}
