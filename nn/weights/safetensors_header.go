package weights

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// safeHeader is the header of a safetensors file.
type safeHeader struct {
	tensors  []*view // in the order of the header, their places counted from the start of the data
	metadata map[string]string
	contents []Content // describes the first of the metadata
}

// parseHeader takes what the official reader takes: spaces anywhere, metadata of null, and keys of
// an entry that it does not know. It refuses what one reader would understand in one way and another
// in another: a name or a key that is listed twice.
func parseHeader(b []byte) (*safeHeader, error) {
	if !utf8.Valid(b) {
		return nil, damaged("not valid UTF-8")
	}
	h := &safeHeader{}
	s := &headerScanner{b: b}
	seenMetadata := false
	err := s.object("header", func(name string) error {
		if name == metadataKey {
			if seenMetadata {
				return damaged("%s is listed twice", name)
			}
			seenMetadata = true
			return h.parseMetadata(s)
		}
		v, err := s.entry()
		if err != nil {
			return fmt.Errorf("tensor %s: %w", Quote(name), err)
		}
		v.name = name
		h.tensors = append(h.tensors, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.space()
	if n := len(b) - s.at; n > 0 {
		return nil, damaged("%d bytes follow the closing brace; only spaces may", n)
	}
	return h, nil
}

// parseMetadata reads an object whose values are strings, or null.
func (h *safeHeader) parseMetadata(s *headerScanner) error {
	const described, most = 1000, 100_000 // keys
	if s.null() {
		return nil
	}
	h.metadata = make(map[string]string)
	err := s.object(metadataKey, func(key string) error {
		value, err := s.string(metadataKey)
		if err != nil {
			return fmt.Errorf("key %s: %w", Quote(key), err)
		}
		before := len(h.metadata)
		if h.metadata[key] = value; len(h.metadata) == before {
			return damaged("%s: key %s is listed twice", metadataKey, Quote(key))
		}
		if before == most {
			return fmt.Errorf("%s of more than %d keys is %w", metadataKey, most, ErrUnsupported)
		}
		if before < described {
			h.contents = append(h.contents, Content{Key: key, Text: value})
		}
		return nil
	})
	if n := len(h.metadata) - described; n > 0 {
		h.contents = append(h.contents, moreContents(n))
	}
	return err
}

// entryKeys are the keys of an entry that say something here.
var entryKeys = []string{"dtype", "shape", "data_offsets"}

// entry reads and checks the description of one tensor.
func (s *headerScanner) entry() (*view, error) {
	var dtype string
	var rank, ends int
	var seen [3]bool
	err := s.object("entry", func(key string) (err error) {
		i := slices.Index(entryKeys, key)
		if i >= 0 && seen[i] {
			return damaged("key %q is listed twice", key)
		}
		switch i {
		case 0:
			dtype, err = s.string(key)
		case 1:
			rank, err = s.ints(key, s.shape[:])
		case 2:
			ends, err = s.ints(key, s.offsets[:])
		default:
			return s.skip("entry", 0)
		}
		seen[i] = true
		return err
	})
	if err != nil {
		return nil, err
	}
	if seen != [3]bool{true, true, true} || ends != 2 {
		return nil, damaged("want dtype, shape and data_offsets [begin, end]")
	}
	return newView(dtype, s.shape[:rank], s.offsets[0], s.offsets[1])
}

// newView checks that what a header says of a tensor fits together.
func newView(dtype string, dims []int64, begin, end int64) (*view, error) {
	shape := make([]int, len(dims))
	for i, d := range dims {
		if d > math.MaxInt {
			return nil, fmt.Errorf("an axis of %d elements on this machine is %w", d, ErrUnsupported)
		}
		shape[i] = int(d)
	}
	width := elementSizes[dtype]
	count, ok := elements(shape)
	if !ok || int64(count) > math.MaxInt64/int64(max(1, width)) {
		return nil, damaged("the size of shape %v overflows", shape)
	}
	if begin > end {
		return nil, damaged("data_offsets [%d, %d] run backwards", begin, end)
	}
	if width == 0 { // a dtype of a later version, or one of less than a byte
		return &view{begin: begin, dtype: shorten(dtype), shape: shape, count: count, unread: end - begin}, nil
	}
	if want := int64(count) * int64(width); end-begin != want {
		return nil, damaged("data_offsets [%d, %d] give %d bytes, but shape %v of %s takes %d", begin, end, end-begin, shape, dtype, want)
	}
	return &view{begin: begin, dtype: dtype, width: width, shape: shape, count: count}, nil
}
