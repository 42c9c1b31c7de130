package weights

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
)

// A safetensors file is: the length of the header as a little-endian uint64, the header as one JSON
// object (tensor name → dtype, shape, data_offsets; "__metadata__" → string map), then the bytes of
// the tensors, little-endian and row-major, back to back. See
// https://github.com/huggingface/safetensors.

// maxSafeHeader is the format's own limit on the JSON header.
const maxSafeHeader = 100_000_000

const metadataKey = "__metadata__"

// readSafetensors parses and checks the header and reads no tensor data.
//
// It refuses, naming the tensor and the value: a truncated file, a header longer than the file or
// than 100 MB, JSON that is not an object of the format, names that are listed twice, unknown dtypes,
// shapes whose size overflows or differs from the bytes given, and data that overlaps, leaves holes
// or does not end with the file.
func readSafetensors(r io.ReaderAt, size int64, label string) (*file, error) {
	if size < 8 {
		return nil, fmt.Errorf("%s: %d bytes is too short for a safetensors file; it may be empty or cut off: fetch or write it again", label, size)
	}
	var prefix [8]byte
	if err := readFullAt(r, prefix[:], 0); err != nil {
		return nil, fmt.Errorf("%s: reading the header length: %w", label, err)
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	switch {
	case n > maxSafeHeader:
		return nil, fmt.Errorf("%s: header length %d exceeds the format's limit of %d bytes; this is not a safetensors file", label, n, maxSafeHeader)
	case int64(n) > size-8:
		return nil, fmt.Errorf("%s: header length %d exceeds the %d bytes that follow; the file is cut off or not a safetensors file: fetch it again", label, n, size-8)
	}
	// A wrong size must not make later reads allocate for bytes that are not there.
	var last [1]byte
	if err := readFullAt(r, last[:], size-1); err != nil {
		return nil, fmt.Errorf("%s: no byte at %d although the size was given as %d: %w", label, size-1, size, err)
	}
	header := make([]byte, n)
	if err := readFullAt(r, header, 8); err != nil {
		return nil, fmt.Errorf("%s: reading the header of %d bytes: %w", label, n, err)
	}
	entries, metadata, err := parseHeader(header)
	if err != nil {
		return nil, fmt.Errorf("%s: header: %w", label, err)
	}
	data := 8 + int64(n)
	if err := checkTiling(entries, size-data); err != nil {
		return nil, fmt.Errorf("%s: %w", label, err)
	}
	f := &file{label: label, views: make(map[string]*view, len(entries)), metadata: metadata}
	all := &storage{at: r}
	for _, e := range entries {
		e.view.storage, e.view.begin = all, data+e.begin
		f.views[e.name] = e.view
		f.names = append(f.names, e.name)
	}
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		f.contents = append(f.contents, Content{Key: key, Text: metadata[key]})
	}
	return f, nil
}

// checkTiling sorts entries by their place and checks that they fill the size bytes of data exactly.
func checkTiling(entries []headerEntry, size int64) error {
	slices.SortStableFunc(entries, func(a, b headerEntry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	next := int64(0)
	for i, e := range entries {
		previous := func() string {
			if i == 0 {
				return "the header"
			}
			return Quote(entries[i-1].name)
		}
		switch {
		case e.end > size:
			return fmt.Errorf("tensor %s ends at byte %d of the data, but only %d bytes are there; the file is cut off: fetch or write it again", Quote(e.name), e.end, size)
		case e.begin < next:
			return fmt.Errorf("tensor %s starts at byte %d of the data, inside %s, which ends at %d; the file is damaged", Quote(e.name), e.begin, previous(), next)
		case e.begin > next:
			return fmt.Errorf("tensor %s starts at byte %d of the data, leaving a hole after %s, which ends at %d; the file is damaged", Quote(e.name), e.begin, previous(), next)
		}
		next = e.end
	}
	if next != size {
		return fmt.Errorf("%d bytes follow the last tensor; the file is damaged or was appended to", size-next)
	}
	return nil
}
