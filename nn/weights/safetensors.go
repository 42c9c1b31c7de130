package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"unicode/utf8"
)

// A safetensors file is: the header's length as a little-endian uint64, the header as one JSON object
// (tensor name → dtype, shape, data_offsets; "__metadata__" → string map), then the tensors' bytes,
// little-endian and row-major, back to back. See https://github.com/huggingface/safetensors.

const (
	// maxSafeHeader is the format's own limit on the JSON header.
	maxSafeHeader = 100_000_000
	// maxSafeRank bounds the shape of one tensor. Real tensors have at most 5 axes; without a bound a
	// header of ones would cost four times its size in memory.
	maxSafeRank = 32
	// safeChunk is how many bytes are converted at a time: large enough to make a read call cheap,
	// small enough to stay in the second-level cache. A multiple of every element size.
	safeChunk = 1 << 17

	safeMetadataKey = "__metadata__"
)

// safeSizes holds the bytes per element of every dtype a file may contain. The 8-bit floats can be
// listed but not converted: a file that merely contains one stays readable.
var safeSizes = map[string]int{
	"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
	"I64": 8, "I32": 4, "I16": 2, "I8": 1,
	"U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}

// Safetensors is an opened safetensors file. The header has been parsed and checked in full; tensor data
// is read on demand, straight into the caller's slice. Its methods may be called from several
// goroutines at once if the underlying reader allows it, which *os.File does.
type Safetensors struct {
	r        io.ReaderAt
	closer   io.Closer // nil unless OpenSafetensorsFile opened the file
	label    string    // how errors call this file
	names    []string  // by data offset
	entries  map[string]safeEntry
	metadata map[string]string
}

// safeEntry is one tensor of the header. begin counts from the start of the file.
type safeEntry struct {
	dtype string
	shape []int
	count int // elements: the product of shape
	begin int64
	end   int64
}

// OpenSafetensorsFile opens and checks the safetensors file at path. The caller must Close it.
func OpenSafetensorsFile(path string) (*Safetensors, error) {
	file, size, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	f, err := OpenSafetensors(file, size)
	if err != nil {
		file.Close()
		return nil, err
	}
	f.closer = file
	return f, nil
}

// OpenSafetensors parses and checks the header of the safetensors file of size bytes behind r, and
// reads no tensor data. If r has a method Name() string, as *os.File has, errors name the file by it.
//
// It refuses, naming the tensor and the value: a truncated file, a header longer than the file or
// than 100 MB, JSON that is not an object of the format, names given twice, unknown dtypes, shapes
// whose size overflows or differs from the bytes given, and data that overlaps, leaves holes, or does
// not end with the file. Memory use is bounded by a small multiple of the header actually present.
func OpenSafetensors(r io.ReaderAt, size int64) (*Safetensors, error) {
	label := "safetensors"
	if n, ok := r.(interface{ Name() string }); ok {
		label = "safetensors: " + n.Name()
	}
	return openSafetensors(r, size, label)
}

func openSafetensors(r io.ReaderAt, size int64, label string) (*Safetensors, error) {
	f := &Safetensors{r: r, label: label}
	if size < 8 {
		return nil, fmt.Errorf("%s: %d bytes is too short for a safetensors file; it may be empty or cut off: fetch or write it again", f.label, size)
	}
	var prefix [8]byte
	if err := readFullAt(r, prefix[:], 0); err != nil {
		return nil, fmt.Errorf("%s: reading the header length: %w", f.label, err)
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	switch {
	case n > maxSafeHeader:
		return nil, fmt.Errorf("%s: header length %d exceeds the format's limit of %d bytes; this is not a safetensors file", f.label, n, maxSafeHeader)
	case int64(n) > size-8:
		return nil, fmt.Errorf("%s: header length %d exceeds the %d bytes that follow; the file is cut off or no safetensors file: fetch it again", f.label, n, size-8)
	}
	// A wrong size must not make later reads allocate for bytes that are not there.
	var last [1]byte
	if err := readFullAt(r, last[:], size-1); err != nil {
		return nil, fmt.Errorf("%s: no byte at %d although the size was given as %d: %w", f.label, size-1, size, err)
	}
	header := make([]byte, n)
	if err := readFullAt(r, header, 8); err != nil {
		return nil, fmt.Errorf("%s: reading the header of %d bytes: %w", f.label, n, err)
	}
	if err := f.parseHeader(header); err != nil {
		return nil, fmt.Errorf("%s: header: %w", f.label, err)
	}
	if err := f.place(8+int64(n), size); err != nil {
		return nil, fmt.Errorf("%s: %w", f.label, err)
	}
	return f, nil
}

// readFullAt fills p from offset off, taking a short read for an error as io.ReaderAt promises, and
// forgiving the io.EOF that a reader may return together with the file's last byte.
func readFullAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseHeader fills entries (offsets still relative to the data), names (in header order) and metadata.
// It walks tokens instead of unmarshalling, since encoding/json silently keeps the last of two equal keys.
func (f *Safetensors) parseHeader(header []byte) error {
	if !utf8.Valid(header) {
		return errors.New("not valid UTF-8; this is not a safetensors file")
	}
	if len(header) == 0 || header[0] != '{' {
		return errors.New("does not start with '{'; this is not a safetensors file")
	}
	f.entries = make(map[string]safeEntry)
	dec := json.NewDecoder(bytes.NewReader(header))
	dec.UseNumber()
	p := safeParser{dec}
	err := p.object("top level", func(name string) error {
		if name == safeMetadataKey {
			if f.metadata != nil {
				return fmt.Errorf("key %q is given twice", name)
			}
			f.metadata = make(map[string]string)
			return p.object(name, func(key string) error {
				if _, dup := f.metadata[key]; dup {
					return fmt.Errorf("%s: key %q is given twice", safeMetadataKey, key)
				}
				value, err := p.str(fmt.Sprintf("%s[%q]", safeMetadataKey, key))
				f.metadata[key] = value
				return err
			})
		}
		if _, dup := f.entries[name]; dup {
			return fmt.Errorf("tensor %q is given twice", name)
		}
		e, err := p.entry()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		f.entries[name] = e
		f.names = append(f.names, name)
		return nil
	})
	if err != nil {
		return err
	}
	if rest := bytes.Trim(header[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("%d bytes follow the closing brace; only spaces may", len(rest))
	}
	return nil
}

// safeParser reads the few JSON shapes the format knows from a stream of tokens.
type safeParser struct{ dec *json.Decoder }

func (p safeParser) token() (json.Token, error) {
	t, err := p.dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = fmt.Errorf("malformed JSON near byte %d: %w", p.dec.InputOffset(), err)
	}
	return t, err
}

func (p safeParser) delim(want json.Delim, what string) error {
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
func (p safeParser) object(what string, member func(key string) error) error {
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

func (p safeParser) str(what string) (string, error) {
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

// ints reads an array of at most limit non-negative integers.
func (p safeParser) ints(what string, limit int) ([]int64, error) {
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

// entry reads and checks one tensor's description, its offsets relative to the start of the data.
func (p safeParser) entry() (safeEntry, error) {
	var e safeEntry
	var dims, offsets []int64
	var dtypeSeen bool
	err := p.object("entry", func(key string) (err error) {
		twice := false
		switch key {
		case "dtype":
			twice, dtypeSeen = dtypeSeen, true
			e.dtype, err = p.str(key)
		case "shape":
			twice = dims != nil
			dims, err = p.ints(key, maxSafeRank)
		case "data_offsets":
			twice = offsets != nil
			offsets, err = p.ints(key, 2)
		default:
			return fmt.Errorf("unknown key %s; an entry has dtype, shape and data_offsets", Quote(key))
		}
		if err == nil && twice {
			err = fmt.Errorf("key %q is given twice", key)
		}
		return err
	})
	if err != nil {
		return e, err
	}
	if !dtypeSeen || dims == nil || len(offsets) != 2 {
		return e, errors.New("needs dtype, shape and data_offsets [begin, end]")
	}
	size, ok := safeSizes[e.dtype]
	if !ok {
		return e, fmt.Errorf("unknown dtype %s; save it as F32", Quote(e.dtype))
	}
	e.shape = make([]int, len(dims))
	for i, d := range dims {
		if d > math.MaxInt {
			return e, fmt.Errorf("shape %v is too large for this machine", dims)
		}
		e.shape[i] = int(d)
	}
	if e.count, ok = elements(e.shape); !ok || int64(e.count) > math.MaxInt64/int64(size) {
		return e, fmt.Errorf("shape %v: its size overflows", dims)
	}
	e.begin, e.end = offsets[0], offsets[1]
	if e.begin > e.end {
		return e, fmt.Errorf("data_offsets %v run backwards", offsets)
	}
	if want := int64(e.count) * int64(size); e.end-e.begin != want {
		return e, fmt.Errorf("data_offsets %v give %d bytes, but shape %v of %s takes %d; the file is damaged", offsets, e.end-e.begin, dims, e.dtype, want)
	}
	return e, nil
}

// elements returns the product of shape. Zeros are left out of the overflow check's product, so that
// no partial product of an accepted shape can overflow either.
func elements(shape []int) (int, bool) {
	product, zero := 1, false
	for _, d := range shape {
		switch {
		case d < 0:
			return 0, false
		case d == 0:
			zero = true
		case product > math.MaxInt/d:
			return 0, false
		default:
			product *= d
		}
	}
	if zero {
		return 0, true
	}
	return product, true
}

// Quote returns a value that came out of a file, such as the name of a tensor, for an error message: quoted and
// shortened, so that a hostile file cannot flood a terminal.
func Quote(v any) string {
	s := fmt.Sprint(v)
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return strconv.Quote(s)
}

// place turns relative offsets into absolute ones, sorts names by them, and checks that the tensors
// tile the bytes from data to size exactly.
func (f *Safetensors) place(data, size int64) error {
	sort.SliceStable(f.names, func(i, j int) bool {
		a, b := f.entries[f.names[i]], f.entries[f.names[j]]
		if a.begin != b.begin {
			return a.begin < b.begin
		}
		return a.end < b.end
	})
	next, previous := int64(0), "the header"
	for _, name := range f.names {
		e := f.entries[name]
		switch {
		case e.end > size-data:
			return fmt.Errorf("tensor %q ends at byte %d of the data, but only %d bytes are there; the file is cut off: fetch or write it again", name, e.end, size-data)
		case e.begin < next:
			return fmt.Errorf("tensor %q starts at byte %d of the data, inside %q which ends at %d; the file is damaged", name, e.begin, previous, next)
		case e.begin > next:
			return fmt.Errorf("tensor %q starts at byte %d of the data, leaving a hole after %s which ends at %d; the file is damaged", name, e.begin, Quote(previous), next)
		}
		next, previous = e.end, name
		e.begin += data
		e.end += data
		f.entries[name] = e
	}
	if next != size-data {
		return fmt.Errorf("%d bytes follow the last tensor; the file is damaged or was appended to", size-data-next)
	}
	return nil
}

// Close closes the file if OpenSafetensorsFile opened it, and does nothing otherwise.
func (f *Safetensors) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// Label is how errors call the file: "safetensors: " and its name.
func (f *Safetensors) Label() string { return f.label }

// Names returns the tensors' names in the order of their data, which is the order they were written in.
// The slice is the caller's.
func (f *Safetensors) Names() []string { return slices.Clone(f.names) }

// Metadata returns the file's "__metadata__" entries; nil if the file has none. The map must not be changed.
func (f *Safetensors) Metadata() map[string]string { return f.metadata }

// Shape returns the shape of a tensor, empty for a scalar, and whether the file has the tensor.
// The slice is the caller's.
func (f *Safetensors) Shape(name string) ([]int, bool) {
	e, ok := f.entries[name]
	if !ok {
		return nil, false
	}
	return append([]int{}, e.shape...), true
}

// DType returns the format's name for a tensor's element type ("F32", "I64", …), "" if the file lacks the tensor.
func (f *Safetensors) DType(name string) string { return f.entries[name].dtype }

// Float32 reads a floating-point tensor in row-major order. F32 keeps every bit, NaN payloads included;
// F16 and BF16 widen exactly; F64 is rounded to nearest even. Integer tensors are an error: see Int64.
func (f *Safetensors) Float32(name string) ([]float32, error) { return f.values(name).newFloat32() }

// ReadFloat32 is Float32 into dst, whose length must be the tensor's element count. After an error dst may be partly written.
func (f *Safetensors) ReadFloat32(name string, dst []float32) error {
	return f.values(name).float32(dst)
}

// Float64 reads a floating-point tensor in row-major order. F64 keeps every bit; narrower types widen
// exactly, except that a signalling NaN becomes a quiet one. Integer tensors are an error: see Int64.
func (f *Safetensors) Float64(name string) ([]float64, error) { return f.values(name).float64() }

// Int64 reads an integer or boolean tensor (0 and 1) in row-major order. A U64 value above 2^63−1 and a
// boolean byte that is neither 0 nor 1 are errors. Floating-point tensors are an error: see Float32.
func (f *Safetensors) Int64(name string) ([]int64, error) { return f.values(name).int64() }

// values is what reading a tensor's values takes.
func (f *Safetensors) values(name string) tensorValues {
	e := f.entries[name]
	return tensorValues{f.label, name, e.dtype, e.shape, e.count, func(convert func(i int, b []byte) error) error {
		return chunks(f.r, e.begin, e.end, safeSizes[e.dtype], convert)
	}}
}

// tensorValues converts the values of a tensor of any file: bytes calls convert for its bytes, little-endian and
// row-major, piece by piece; i is the index of the first element in b. dtype is "" where the file lacks the tensor.
type tensorValues struct {
	label, name, dtype string
	shape              []int
	count              int
	bytes              func(convert func(i int, b []byte) error) error
}

// read checks that the dtype is one of allowed and converts; other names the method for the remaining dtypes.
func (v tensorValues) read(allowed []string, other string, convert func(i int, b []byte) error) error {
	if v.dtype == "" {
		return fmt.Errorf("%s: no tensor %q in this file", v.label, v.name)
	}
	if !slices.Contains(allowed, v.dtype) {
		return fmt.Errorf("%s: tensor %q has dtype %s, want one of %v; other types are read with %s", v.label, v.name, v.dtype, allowed, other)
	}
	if err := v.bytes(convert); err != nil {
		return fmt.Errorf("%s: tensor %q: %w", v.label, v.name, err)
	}
	return nil
}

func (v tensorValues) newFloat32() ([]float32, error) {
	if !slices.Contains(floatDTypes, v.dtype) {
		return nil, v.read(floatDTypes, "Int64", nil)
	}
	dst := make([]float32, v.count)
	return dst, v.float32(dst)
}

func (v tensorValues) float32(dst []float32) error {
	if slices.Contains(floatDTypes, v.dtype) && len(dst) != v.count {
		return fmt.Errorf("%s: tensor %q has shape %v, %d values; the destination holds %d", v.label, v.name, v.shape, v.count, len(dst))
	}
	le := binary.LittleEndian
	return v.read(floatDTypes, "Int64", func(i int, b []byte) error {
		switch v.dtype {
		case "F32":
			out := dst[i:][:len(b)/4]
			for k := range out {
				out[k] = math.Float32frombits(le.Uint32(b[4*k:]))
			}
		case "F16":
			out := dst[i:][:len(b)/2]
			for k := range out {
				out[k] = math.Float32frombits(widenF16(le.Uint16(b[2*k:])))
			}
		case "BF16":
			out := dst[i:][:len(b)/2]
			for k := range out {
				out[k] = math.Float32frombits(uint32(le.Uint16(b[2*k:])) << 16)
			}
		case "F64":
			out := dst[i:][:len(b)/8]
			for k := range out {
				out[k] = float32(math.Float64frombits(le.Uint64(b[8*k:])))
			}
		}
		return nil
	})
}

func (v tensorValues) float64() ([]float64, error) {
	if !slices.Contains(floatDTypes, v.dtype) {
		return nil, v.read(floatDTypes, "Int64", nil)
	}
	dst := make([]float64, v.count)
	le := binary.LittleEndian
	err := v.read(floatDTypes, "Int64", func(i int, b []byte) error {
		switch v.dtype {
		case "F64":
			for k := range len(b) / 8 {
				dst[i+k] = math.Float64frombits(le.Uint64(b[8*k:]))
			}
		case "F32":
			for k := range len(b) / 4 {
				dst[i+k] = float64(math.Float32frombits(le.Uint32(b[4*k:])))
			}
		case "F16":
			for k := range len(b) / 2 {
				dst[i+k] = float64(math.Float32frombits(widenF16(le.Uint16(b[2*k:]))))
			}
		case "BF16":
			for k := range len(b) / 2 {
				dst[i+k] = float64(math.Float32frombits(uint32(le.Uint16(b[2*k:])) << 16))
			}
		}
		return nil
	})
	return dst, err
}

func (v tensorValues) int64() ([]int64, error) {
	if !slices.Contains(intDTypes, v.dtype) {
		return nil, v.read(intDTypes, "Float32 or Float64", nil)
	}
	dst := make([]int64, v.count)
	le := binary.LittleEndian
	err := v.read(intDTypes, "Float32 or Float64", func(i int, b []byte) error {
		switch v.dtype {
		case "I64", "U64":
			for k := range len(b) / 8 {
				n := int64(le.Uint64(b[8*k:]))
				if n < 0 && v.dtype == "U64" {
					return fmt.Errorf("value %d at index %d exceeds 2^63-1", uint64(n), i+k)
				}
				dst[i+k] = n
			}
		case "I32":
			for k := range len(b) / 4 {
				dst[i+k] = int64(int32(le.Uint32(b[4*k:])))
			}
		case "U32":
			for k := range len(b) / 4 {
				dst[i+k] = int64(le.Uint32(b[4*k:]))
			}
		case "I16":
			for k := range len(b) / 2 {
				dst[i+k] = int64(int16(le.Uint16(b[2*k:])))
			}
		case "U16":
			for k := range len(b) / 2 {
				dst[i+k] = int64(le.Uint16(b[2*k:]))
			}
		case "I8":
			for k, n := range b {
				dst[i+k] = int64(int8(n))
			}
		case "U8":
			for k, n := range b {
				dst[i+k] = int64(n)
			}
		case "BOOL":
			for k, n := range b {
				if n > 1 {
					return fmt.Errorf("boolean byte %d at index %d is neither 0 nor 1", n, i+k)
				}
				dst[i+k] = int64(n)
			}
		}
		return nil
	})
	return dst, err
}

var (
	floatDTypes = []string{"F32", "F16", "BF16", "F64"}
	intDTypes   = []string{"I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
)

// IsFloat reports whether ReadFloat32 and Float64 of a File read tensors of that dtype.
func IsFloat(dtype string) bool { return slices.Contains(floatDTypes, dtype) }

// chunks reads the bytes of a contiguous tensor of elements of size bytes piece by piece; i is the index of the first
// element in b.
func chunks(r io.ReaderAt, begin, end int64, size int, convert func(i int, b []byte) error) error {
	buf := make([]byte, min(int64(safeChunk), end-begin))
	for off := begin; off < end; {
		b := buf[:min(int64(len(buf)), end-off)]
		if err := readFullAt(r, b, off); err != nil {
			return err
		}
		if err := convert(int((off-begin)/int64(size)), b); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// widenF16 returns the float32 bits of an IEEE binary16 value. Every value, subnormals and NaN payloads
// included, has an exact float32.
func widenF16(h uint16) uint32 {
	sign := uint32(h>>15) << 31
	exp := uint32(h>>10) & 31
	frac := uint32(h) & 0x3ff
	switch {
	case exp == 31: // Inf, NaN
		return sign | 0xff<<23 | frac<<13
	case exp != 0:
		return sign | (exp+127-15)<<23 | frac<<13
	case frac == 0:
		return sign
	}
	// A subnormal, frac·2⁻²⁴: shift its leading bit into the implicit place.
	exp = 127 - 15 + 1
	for frac&0x400 == 0 {
		frac <<= 1
		exp--
	}
	return sign | exp<<23 | (frac&0x3ff)<<13
}

// Tensor is one tensor to write.
type Tensor struct {
	Name  string
	Shape []int // row-major; empty for a scalar
	// Data holds the product of Shape values as []float32 (F32), []float64 (F64), []int64 (I64) or []uint8 (U8).
	Data any
}

// WriteSafetensors streams tensors to w as a safetensors file, in the order given, with metadata (nil
// for none) in the header. The header is padded with spaces so that the data starts at a multiple of 8
// bytes. Nothing is written before every name, shape and type has been checked; memory use is the
// header and one buffer, whatever the tensors' size.
//
// Use it inside WriteFileAtomic to write a file.
func WriteSafetensors(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	header, err := safeHeader(tensors, metadata)
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	var prefix [8]byte
	binary.LittleEndian.PutUint64(prefix[:], uint64(len(header)))
	if _, err := w.Write(append(prefix[:], header...)); err != nil {
		return fmt.Errorf("safetensors: writing the header: %w", err)
	}
	buf := make([]byte, safeChunk)
	for _, t := range tensors {
		if err := writeSafeData(w, buf, t.Data); err != nil {
			return fmt.Errorf("safetensors: writing tensor %q: %w", t.Name, err)
		}
	}
	return nil
}

// safeHeader checks the tensors and returns the padded JSON header.
func safeHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	header := []byte{'{'}
	if len(metadata) > 0 {
		for key, value := range metadata {
			if !utf8.ValidString(key) || !utf8.ValidString(value) {
				return nil, fmt.Errorf("metadata %q: %q is not valid UTF-8", key, value)
			}
		}
		list, err := json.Marshal(metadata) // sorted by key: the same input gives the same bytes
		if err != nil {
			return nil, err
		}
		header = append(append(header, `"`+safeMetadataKey+`":`...), list...)
	}
	if err := checkTensors(tensors); err != nil {
		return nil, err
	}
	offset := int64(0)
	for _, t := range tensors {
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		dtype, n := safeTypeOf(t.Data)
		shape, err := json.Marshal(append([]int{}, t.Shape...)) // [] and not null for a scalar
		if err != nil {
			return nil, err
		}
		end := offset + int64(n)*int64(safeSizes[dtype])
		if len(header) > 1 {
			header = append(header, ',')
		}
		header = fmt.Appendf(header, `%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, dtype, shape, offset, end)
		offset = end
	}
	header = append(header, '}')
	for len(header)%8 != 0 {
		header = append(header, ' ')
	}
	if len(header) > maxSafeHeader {
		return nil, fmt.Errorf("header of %d bytes exceeds the format's limit of %d; write fewer tensors a file", len(header), maxSafeHeader)
	}
	return header, nil
}

// checkTensors returns an error unless names, shapes and types can be written.
func checkTensors(tensors []Tensor) error {
	seen := make(map[string]bool, len(tensors))
	for _, t := range tensors {
		if t.Name == safeMetadataKey || seen[t.Name] {
			return fmt.Errorf("tensor name %q is reserved or used twice; names must be unique", t.Name)
		}
		seen[t.Name] = true
		if !utf8.ValidString(t.Name) {
			return fmt.Errorf("tensor name %q is not valid UTF-8", t.Name)
		}
		dtype, n := safeTypeOf(t.Data)
		if dtype == "" {
			return fmt.Errorf("tensor %q: cannot write data of type %T, want []float32, []float64, []int64 or []uint8", t.Name, t.Data)
		}
		if count, ok := elements(t.Shape); !ok || count != n || len(t.Shape) > maxSafeRank {
			return fmt.Errorf("tensor %q: shape %v does not describe %d values", t.Name, t.Shape, n)
		}
	}
	return nil
}

// safeTypeOf returns the dtype and length of data, "" if it is of no writable type.
func safeTypeOf(data any) (string, int) {
	switch d := data.(type) {
	case []float32:
		return "F32", len(d)
	case []float64:
		return "F64", len(d)
	case []int64:
		return "I64", len(d)
	case []uint8:
		return "U8", len(d)
	}
	return "", 0
}

// writeSafeData writes data little-endian through buf.
func writeSafeData(w io.Writer, buf []byte, data any) error {
	le := binary.LittleEndian
	switch d := data.(type) {
	case []float32:
		return writeChunks(w, buf, d, 4, func(b []byte, v float32) { le.PutUint32(b, math.Float32bits(v)) })
	case []float64:
		return writeChunks(w, buf, d, 8, func(b []byte, v float64) { le.PutUint64(b, math.Float64bits(v)) })
	case []int64:
		return writeChunks(w, buf, d, 8, func(b []byte, v int64) { le.PutUint64(b, uint64(v)) })
	case []uint8:
		_, err := w.Write(d)
		return err
	}
	return nil // excluded by safeHeader
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
