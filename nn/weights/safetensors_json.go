package weights

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// headerScanner reads the few JSON shapes that the format knows. encoding/json would keep the last
// of two equal keys in silence, and a header of a hundred megabytes would take it many seconds.
type headerScanner struct {
	b  []byte // valid UTF-8
	at int

	// Of the entry that is being read.
	shape   [maxRank]int64
	offsets [2]int64

	unescaped []byte // is used again for each string with escapes
}

func (s *headerScanner) space() {
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// next returns the byte that the next token begins with, 0 at the end.
func (s *headerScanner) next() byte {
	s.space()
	if s.at == len(s.b) {
		return 0
	}
	return s.b[s.at]
}

// take skips a byte if the next token is it.
func (s *headerScanner) take(c byte) bool {
	if s.next() != c {
		return false
	}
	s.at++
	return true
}

// null skips a null.
func (s *headerScanner) null() bool {
	s.space()
	if !bytes.HasPrefix(s.b[s.at:], []byte("null")) {
		return false
	}
	s.at += len("null")
	return true
}

// expected returns the error for a token that what cannot be.
func (s *headerScanner) expected(what, want string) error {
	s.space()
	if s.at == len(s.b) {
		return damaged("malformed JSON: %s: the header ends, want %s", what, want)
	}
	got := s.b[s.at:min(s.at+64, len(s.b))]
	if n := bytes.IndexAny(got[1:], " \t\r\n,:]}"); n >= 0 {
		got = got[:1+n]
	}
	return damaged("malformed JSON at byte %d: %s: got %s, want %s", s.at, what, Quote(string(got)), want)
}

// object reads a JSON object and calls member for each key, which must consume the value.
func (s *headerScanner) object(what string, member func(key string) error) error {
	if !s.take('{') {
		return s.expected(what, "{")
	}
	if s.take('}') {
		return nil
	}
	for {
		key, err := s.string(what)
		if err != nil {
			return err
		}
		if !s.take(':') {
			return s.expected(what, ":")
		}
		if err := member(key); err != nil {
			return err
		}
		if s.take('}') {
			return nil
		}
		if !s.take(',') {
			return s.expected(what, ", or }")
		}
	}
}

// string reads a string.
func (s *headerScanner) string(what string) (string, error) {
	if !s.take('"') {
		return "", s.expected(what, "a string")
	}
	begin := s.at
	for i, c := range s.b[begin:] {
		switch {
		case c == '"':
			s.at += i + 1
			return string(s.b[begin : begin+i]), nil
		case c == '\\':
			s.at += i
			return s.escaped(what, begin)
		case c < ' ':
			s.at += i
			return "", s.expected(what, "a string")
		}
	}
	s.at = len(s.b)
	return "", s.expected(what, "the end of a string")
}

// escaped goes on with a string that began at a byte, from the first escape in it.
func (s *headerScanner) escaped(what string, begin int) (string, error) {
	out := append(s.unescaped[:0], s.b[begin:s.at]...)
	defer func() { s.unescaped = out }()
	for s.at < len(s.b) {
		c := s.b[s.at]
		switch {
		case c == '"':
			s.at++
			return string(out), nil
		case c == '\\':
			r, n := unescape(s.b[s.at:])
			if n == 0 {
				return "", s.expected(what, "an escape of JSON")
			}
			out = utf8.AppendRune(out, r)
			s.at += n
		case c < ' ':
			return "", s.expected(what, "a string")
		default:
			out = append(out, c)
			s.at++
		}
	}
	return "", s.expected(what, "the end of a string")
}

// unescape returns the character of the escape that b begins with, and its length in b, which is 0
// if it is not one of JSON.
func unescape(b []byte) (rune, int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	r, ok := unescapeHex(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := unescapeHex(b[6:]) // characters beyond 16 bits are two escapes
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// unescapeHex returns the value of the escape \uXXXX that b begins with.
func unescapeHex(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(n), err == nil
}

// ints reads an array of non-negative integers into list and returns their number.
func (s *headerScanner) ints(what string, list []int64) (int, error) {
	if !s.take('[') {
		return 0, s.expected(what, "[")
	}
	if s.take(']') {
		return 0, nil
	}
	for n := 0; ; {
		v, err := s.int(what)
		if err != nil {
			return 0, err
		}
		if n == len(list) {
			return 0, damaged("%s: more than %d numbers", what, len(list))
		}
		list[n] = v
		n++
		if s.take(']') {
			return n, nil
		}
		if !s.take(',') {
			return 0, s.expected(what, ", or ]")
		}
	}
}

// int reads an integer in [0, 2^63).
func (s *headerScanner) int(what string) (int64, error) {
	const want = "an integer in [0, 2^63)"
	s.space()
	begin, v := s.at, int64(0)
	for ; s.at < len(s.b); s.at++ {
		c := s.b[s.at]
		if c < '0' || c > '9' {
			break
		}
		d := int64(c - '0')
		if v > (math.MaxInt64-d)/10 || s.at > begin && s.b[begin] == '0' {
			s.at = begin
			return 0, s.expected(what, want)
		}
		v = 10*v + d
	}
	if n := s.next(); s.at == begin || n != ',' && n != ']' {
		s.at = begin
		return 0, s.expected(what, want)
	}
	return v, nil
}

// skip reads a value of any kind. Containers may be in one another 100 times.
func (s *headerScanner) skip(what string, depth int) error {
	if depth > 100 {
		return damaged("%s: too many containers in one another", what)
	}
	switch s.next() {
	case '{':
		return s.object(what, func(string) error { return s.skip(what, depth+1) })
	case '"':
		_, err := s.string(what)
		return err
	case '[':
		s.at++
		for first := true; !s.take(']'); first = false {
			if !first && !s.take(',') {
				return s.expected(what, ", or ]")
			}
			if err := s.skip(what, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	begin := s.at
	for s.at < len(s.b) && bytes.IndexByte([]byte(" \t\r\n,:]}"), s.b[s.at]) < 0 {
		s.at++
	}
	if json.Valid(s.b[begin:s.at]) {
		return nil
	}
	s.at = begin
	return s.expected(what, "a value")
}
