package weights

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// A safetensors file is: the length of the header as a little-endian uint64, the header as one JSON
// object (tensor name → dtype, shape, data_offsets; "__metadata__" → string map), then the bytes of
// the tensors, little-endian and row-major, back to back. See
// https://github.com/huggingface/safetensors.

// maxHeader is the format's own limit on the JSON header.
const maxHeader = 100_000_000

const metadataKey = "__metadata__"

// readSafetensors parses and checks the header and reads no tensor data.
//
// It refuses, naming the tensor and the value: a truncated file, a header longer than the file or
// than 100 MB, JSON that is not an object of the format, names that are listed twice, shapes whose
// size overflows or differs from the bytes given, and data that overlaps, leaves holes or does not
// end with the file.
func readSafetensors(r io.ReaderAt, size int64, label, key string) (*file, error) {
	if size < 8 {
		return nil, damaged("%s: %d bytes is too short for a safetensors file", label, size)
	}
	var prefix [8]byte
	if err := readFullAt(r, prefix[:], 0); err != nil {
		return nil, fmt.Errorf("%s: reading the header length: %w", label, err)
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, damaged("%s: header length %d, but %d bytes follow, and %d are the format's limit", label, n, size-8, maxHeader)
	}
	// A wrong size must not make later reads allocate for bytes that are not there.
	var last [1]byte
	if err := readFullAt(r, last[:], size-1); err != nil {
		return nil, fmt.Errorf("%s: reading the last of %d bytes: %w", label, size, err)
	}
	header := make([]byte, n)
	if err := readFullAt(r, header, 8); err != nil {
		return nil, fmt.Errorf("%s: reading the header of %d bytes: %w", label, n, err)
	}
	h, err := parseHeader(header)
	if err != nil {
		return nil, fmt.Errorf("%s: header: %w", label, err)
	}
	data := 8 + int64(n)
	if err := checkTiling(h.tensors, size-data); err != nil {
		return nil, fmt.Errorf("%s: %w", label, err)
	}
	f := &file{label: label, tensors: h.tensors, metadata: h.metadata, contents: h.contents}
	all := &storage{at: r}
	for _, v := range f.tensors {
		v.storage = all
		v.begin += data
	}
	if key != "" {
		if f.tensors, err = under(f.tensors, key); err != nil {
			return nil, fmt.Errorf("%s: %w", label, err)
		}
	}
	return f, nil
}

// checkTiling sorts tensors by their place and checks that they fill the size bytes of data
// exactly.
func checkTiling(tensors []*view, size int64) error {
	// Empty tensors keep the order of the header, if that is the order of the data.
	byPlace := func(a, b *view) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.bytes(), b.bytes()))
	}
	if !slices.IsSortedFunc(tensors, byPlace) {
		slices.SortFunc(tensors, func(a, b *view) int {
			return cmp.Or(byPlace(a, b), cmp.Compare(a.name, b.name))
		})
	}
	next := int64(0)
	for i, v := range tensors {
		previous := func() string {
			if i == 0 {
				return "the header"
			}
			return Quote(tensors[i-1].name)
		}
		end := v.begin + v.bytes()
		switch {
		case end > size:
			return damaged("tensor %s ends at byte %d of the data, but only %d bytes are there", Quote(v.name), end, size)
		case v.begin < next:
			return damaged("tensor %s starts at byte %d of the data, inside %s, which ends at %d", Quote(v.name), v.begin, previous(), next)
		case v.begin > next:
			return damaged("tensor %s starts at byte %d of the data, leaving a hole after %s, which ends at %d", Quote(v.name), v.begin, previous(), next)
		}
		next = end
	}
	if next != size {
		return damaged("%d bytes follow the last tensor", size-next)
	}
	return nil
}
