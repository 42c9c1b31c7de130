package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"
)

// headerEntry is one tensor of a safetensors header. Its place counts from the start of the data.
type headerEntry struct {
	name       string
	view       *view
	begin, end int64
}

// parseHeader returns the tensors of a header in its order and the metadata. It walks tokens instead
// of unmarshalling, since encoding/json silently keeps the last of two equal keys.
func parseHeader(header []byte) (entries []headerEntry, metadata map[string]string, err error) {
	if !utf8.Valid(header) {
		return nil, nil, errors.New("not valid UTF-8; this is not a safetensors file")
	}
	if len(header) == 0 || header[0] != '{' {
		return nil, nil, errors.New("does not start with '{'; this is not a safetensors file")
	}
	dec := json.NewDecoder(bytes.NewReader(header))
	dec.UseNumber()
	p := headerParser{dec}
	seen := map[string]bool{}
	err = p.object("top level", func(name string) error {
		if name == metadataKey {
			if metadata != nil {
				return fmt.Errorf("key %s is listed twice", Quote(name))
			}
			metadata, err = p.strings(name)
			return err
		}
		if seen[name] {
			return fmt.Errorf("tensor %s is listed twice", Quote(name))
		}
		seen[name] = true
		e, err := p.entry()
		if err != nil {
			return fmt.Errorf("tensor %s: %w", Quote(name), err)
		}
		e.name = name
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if rest := bytes.Trim(header[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, nil, fmt.Errorf("%d bytes follow the closing brace; only spaces may", len(rest))
	}
	return entries, metadata, nil
}

// headerParser reads the few JSON shapes the format knows from a stream of tokens.
type headerParser struct{ dec *json.Decoder }

func (p headerParser) token() (json.Token, error) {
	t, err := p.dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = fmt.Errorf("malformed JSON near byte %d: %w", p.dec.InputOffset(), err)
	}
	return t, err
}

func (p headerParser) delim(want json.Delim, what string) error {
	t, err := p.token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("%s: got %s, want %q", what, Quote(t), want.String())
	}
	return nil
}

// object reads a JSON object and calls member for each key, which must consume the value.
func (p headerParser) object(what string, member func(key string) error) error {
	if err := p.delim('{', what); err != nil {
		return err
	}
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return fmt.Errorf("%s: got key %s, want a string", what, Quote(t))
		}
		if err := member(key); err != nil {
			return err
		}
	}
	return p.delim('}', what)
}

func (p headerParser) str(what string) (string, error) {
	t, err := p.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%s: got %s, want a string", what, Quote(t))
	}
	return s, nil
}

// strings reads an object whose values are strings.
func (p headerParser) strings(what string) (map[string]string, error) {
	m := make(map[string]string)
	err := p.object(what, func(key string) error {
		if _, dup := m[key]; dup {
			return fmt.Errorf("%s: key %s is listed twice", what, Quote(key))
		}
		value, err := p.str(fmt.Sprintf("%s[%s]", what, Quote(key)))
		m[key] = value
		return err
	})
	return m, err
}

// ints reads an array of at most limit non-negative integers.
func (p headerParser) ints(what string, limit int) ([]int64, error) {
	if err := p.delim('[', what); err != nil {
		return nil, err
	}
	list := []int64{}
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		num, ok := t.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%s: got %s, want a number", what, Quote(t))
		}
		v, err := strconv.ParseInt(num.String(), 10, 64)
		if err != nil || v < 0 {
			return nil, fmt.Errorf("%s: got %s, want an integer in [0, 2^63)", what, Quote(t))
		}
		if len(list) == limit {
			return nil, fmt.Errorf("%s: more than %d numbers", what, limit)
		}
		list = append(list, v)
	}
	return list, p.delim(']', what)
}

// entry reads and checks the description of one tensor.
func (p headerParser) entry() (headerEntry, error) {
	var dtype string
	var dims, offsets []int64
	var dtypeSeen bool
	err := p.object("entry", func(key string) (err error) {
		twice := false
		switch key {
		case "dtype":
			twice, dtypeSeen = dtypeSeen, true
			dtype, err = p.str(key)
		case "shape":
			twice = dims != nil
			dims, err = p.ints(key, maxRank)
		case "data_offsets":
			twice = offsets != nil
			offsets, err = p.ints(key, 2)
		default:
			return fmt.Errorf("unknown key %s; an entry has dtype, shape and data_offsets", Quote(key))
		}
		if err == nil && twice {
			err = fmt.Errorf("key %q is listed twice", key)
		}
		return err
	})
	if err != nil {
		return headerEntry{}, err
	}
	if !dtypeSeen || dims == nil || len(offsets) != 2 {
		return headerEntry{}, errors.New("needs dtype, shape and data_offsets [begin, end]")
	}
	return newHeaderEntry(dtype, dims, offsets[0], offsets[1])
}

// newHeaderEntry checks that what a header says of a tensor fits together.
func newHeaderEntry(dtype string, dims []int64, begin, end int64) (headerEntry, error) {
	size, ok := elementSizes[dtype]
	if !ok {
		return headerEntry{}, fmt.Errorf("unknown dtype %s; save it as F32", Quote(dtype))
	}
	shape := make([]int, len(dims))
	for i, d := range dims {
		if d > math.MaxInt {
			return headerEntry{}, fmt.Errorf("shape %v is too large for this machine", dims)
		}
		shape[i] = int(d)
	}
	count, ok := elements(shape)
	if !ok || int64(count) > math.MaxInt64/int64(size) {
		return headerEntry{}, fmt.Errorf("shape %v: its size overflows", dims)
	}
	if begin > end {
		return headerEntry{}, fmt.Errorf("data_offsets [%d, %d] run backwards", begin, end)
	}
	if want := int64(count) * int64(size); end-begin != want {
		return headerEntry{}, fmt.Errorf("data_offsets [%d, %d] give %d bytes, but shape %v of %s takes %d; the file is damaged", begin, end, end-begin, dims, dtype, want)
	}
	return headerEntry{view: &view{dtype: dtype, shape: shape, count: count}, begin: begin, end: end}, nil
}
