package weights

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/gomae/gomae/internal/bfloat16"
)

// Tensor is a tensor in memory, as ReadAll returns it and as WriteSafetensors and WritePth take it.
type Tensor struct {
	Name  string
	Shape []int // row-major; empty for a scalar
	// Data holds the product of Shape values as []float32 (F32), []float64 (F64), []int64 (I64),
	// []uint8 (U8) or, to be written in half the space of F32, BFloat16 (BF16).
	Data any
}

// BFloat16 are values that are written as bfloat16, rounded to nearest even: float32's range with
// 8 bits of precision, which suits the weights of a model that is trained. Readers widen them
// exactly.
type BFloat16 []float32

// ReadAll reads all tensors of f in its order. No value changes: F16 and BF16 become float32, F64
// stays float64, U8 and booleans become uint8, and all other integers int64.
func ReadAll(f File) ([]Tensor, error) {
	names := f.Names()
	list := make([]Tensor, len(names))
	for i, name := range names {
		shape, _ := f.Shape(name)
		data, err := readData(f, name)
		if err != nil {
			return nil, err
		}
		list[i] = Tensor{name, shape, data}
	}
	return list, nil
}

// readData returns the values of a tensor as a Tensor has them.
func readData(f File, name string) (any, error) {
	dtype := f.DType(name)
	switch {
	case dtype == "F64":
		return f.Float64(name)
	case !slices.Contains(intDTypes, dtype):
		return f.Float32(name)
	}
	if dtype != "U8" && dtype != "BOOL" {
		return f.Int64(name)
	}
	if f, ok := f.(*file); ok {
		return f.uint8(name)
	}
	wide, err := f.Int64(name)
	if err != nil {
		return nil, err
	}
	data := make([]uint8, len(wide))
	for i, n := range wide {
		data[i] = uint8(n)
	}
	return data, nil
}

// checkTensors returns an error unless the names, shapes and types can be written.
func checkTensors(tensors []Tensor) error {
	seen := make(map[string]bool, len(tensors))
	for _, t := range tensors {
		if t.Name == metadataKey || seen[t.Name] {
			return fmt.Errorf("tensor name %s is reserved or used twice; names must be unique", Quote(t.Name))
		}
		seen[t.Name] = true
		if !utf8.ValidString(t.Name) {
			return fmt.Errorf("tensor name %s is not valid UTF-8", Quote(t.Name))
		}
		dtype, n := dataType(t.Data)
		if dtype == "" {
			return fmt.Errorf("tensor %s: cannot write data of type %T, want []float32, BFloat16, []float64, []int64 or []uint8", Quote(t.Name), t.Data)
		}
		if count, ok := elements(t.Shape); !ok || count != n || len(t.Shape) > maxRank {
			return fmt.Errorf("tensor %s: shape %v does not describe %d values", Quote(t.Name), t.Shape, n)
		}
	}
	return nil
}

// checkMetadata returns an error unless keys and values can be written.
func checkMetadata(metadata map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if value := metadata[key]; !utf8.ValidString(key) || !utf8.ValidString(value) {
			return fmt.Errorf("metadata %s: %s is not valid UTF-8", Quote(key), Quote(value))
		}
	}
	return nil
}

// dataType returns the dtype that data is written as and its length. The dtype is "" if data cannot
// be written.
func dataType(data any) (string, int) {
	switch d := data.(type) {
	case []float32:
		return "F32", len(d)
	case BFloat16:
		return "BF16", len(d)
	case []float64:
		return "F64", len(d)
	case []int64:
		return "I64", len(d)
	case []uint8:
		return "U8", len(d)
	}
	return "", 0
}

// writeData writes the values of a tensor that checkTensors has passed, little-endian, through buf.
func writeData(w io.Writer, buf []byte, data any) error {
	le := binary.LittleEndian
	switch d := data.(type) {
	case []float32:
		return writeChunks(w, buf, d, 4, func(b []byte, v float32) { le.PutUint32(b, math.Float32bits(v)) })
	case BFloat16:
		return writeChunks(w, buf, d, 2, func(b []byte, v float32) { le.PutUint16(b, bfloat16.Bits(v)) })
	case []float64:
		return writeChunks(w, buf, d, 8, func(b []byte, v float64) { le.PutUint64(b, math.Float64bits(v)) })
	case []int64:
		return writeChunks(w, buf, d, 8, func(b []byte, v int64) { le.PutUint64(b, uint64(v)) })
	}
	_, err := w.Write(data.([]uint8))
	return err
}

func writeChunks[T any](w io.Writer, buf []byte, data []T, size int, put func([]byte, T)) error {
	for len(data) > 0 {
		n := min(len(data), len(buf)/size)
		for i, v := range data[:n] {
			put(buf[i*size:], v)
		}
		if _, err := w.Write(buf[:n*size]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
