package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"sync"
)

// chunkSize is how many bytes are converted at a time: large enough to make a read call cheap,
// small enough to stay in the second-level cache. It is a multiple of every element size.
const chunkSize = 1 << 17

// view is a tensor in a file: the elements of a storage that lie at regular distances.
type view struct {
	name    string
	storage *storage
	begin   int64 // of the first element, in bytes of the storage
	dtype   string
	width   int // bytes per element
	shape   []int
	stride  []int // in elements; nil if they lie in row-major order without gaps
	count   int   // elements: the product of shape

	negative bool  // the tensor has the opposite signs: see view.flag
	unread   int64 // bytes in a safetensors file, of a dtype whose elements have no known size; then width is 0
}

// storage is the bytes that views refer to: all of a safetensors file, or a vector of numbers in a
// PyTorch checkpoint.
type storage struct {
	// What a checkpoint says of it.
	key   string
	dtype string
	count int64 // elements

	// One of these is set once the place in the file is known.
	at     io.ReaderAt
	packed *zip.File // compressed

	inflating sync.Mutex
}

// open returns the bytes of a storage. Where they are compressed, the first call inflates them.
func (s *storage) open() (io.ReaderAt, error) {
	s.inflating.Lock()
	defer s.inflating.Unlock()
	if s.at != nil {
		return s.at, nil
	}
	rc, err := s.packed.Open()
	if err != nil {
		return nil, damaged("storage %s: %w", Quote(s.key), err)
	}
	defer rc.Close()
	b, err := readExactly(rc, s.packed.UncompressedSize64)
	if err != nil {
		return nil, damaged("storage %s: %w", Quote(s.key), err)
	}
	s.at = bytes.NewReader(b)
	return s.at, nil
}

// read calls convert for the bytes of the tensor in row-major order, piece by piece; first is the
// index of the first element in b.
func (v *view) read(convert func(first int, b []byte) error) error {
	if v.count == 0 {
		return nil
	}
	r, err := v.storage.open()
	if err != nil {
		return err
	}
	if v.isContiguous() {
		return v.readContiguous(r, convert)
	}
	return v.readStrided(r, convert)
}

// isContiguous reports whether the elements lie in row-major order without gaps.
func (v *view) isContiguous() bool {
	if v.stride == nil {
		return true
	}
	step := 1
	for i := len(v.shape) - 1; i >= 0; i-- {
		if v.shape[i] > 1 {
			if v.stride[i] != step {
				return false
			}
			step *= v.shape[i]
		}
	}
	return true
}

func (v *view) readContiguous(r io.ReaderAt, convert func(first int, b []byte) error) error {
	length := v.bytes()
	buf := make([]byte, min(chunkSize, length))
	for off := int64(0); off < length; {
		b := buf[:min(int64(len(buf)), length-off)]
		if err := readFullAt(r, b, v.begin+off); err != nil {
			return err
		}
		if err := convert(int(off/int64(v.width)), b); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// readStrided gathers elements that lie apart, all at once if they are near one another, and else
// one by one.
func (v *view) readStrided(r io.ReaderAt, convert func(first int, b []byte) error) error {
	width := v.width
	fetch := func(dst []byte, at int64, stride, n int) error {
		for i := range n {
			off := (at + int64(i)*int64(stride)) * int64(width)
			if err := readFullAt(r, dst[i*width:][:width], v.begin+off); err != nil {
				return err
			}
		}
		return nil
	}
	if span := v.span(); span <= min(v.seeks(), math.MaxInt) {
		all := make([]byte, span)
		if err := readFullAt(r, all, v.begin); err != nil {
			return err
		}
		fetch = func(dst []byte, at int64, stride, n int) error {
			gather(dst, all[at*int64(width):], width, stride, n)
			return nil
		}
	}
	buf := make([]byte, min(int64(chunkSize), v.bytes()))
	index, last := make([]int, len(v.shape)), len(v.shape)-1
	at := int64(0) // the element of index, counted from the first
	for first := 0; first < v.count; {
		room, n := min(len(buf)/width, v.count-first), 0
		for n < room {
			run := min(room-n, v.shape[last]-index[last])
			if err := fetch(buf[n*width:], at, v.stride[last], run); err != nil {
				return err
			}
			n += run
			index[last] += run
			at += int64(run) * int64(v.stride[last])
			for k := last; k > 0 && index[k] == v.shape[k]; k-- { // the next row
				at += int64(v.stride[k-1]) - int64(v.shape[k])*int64(v.stride[k])
				index[k] = 0
				index[k-1]++
			}
		}
		if err := convert(first, buf[:n*width]); err != nil {
			return err
		}
		first += n
	}
	return nil
}

// gather copies n elements of width bytes that lie stride elements apart.
func gather(dst, src []byte, width, stride, n int) {
	le := binary.LittleEndian
	switch step := stride * width; width {
	case 1:
		for i := range n {
			dst[i] = src[i*step]
		}
	case 2:
		for i := range n {
			le.PutUint16(dst[2*i:], le.Uint16(src[i*step:]))
		}
	case 4:
		for i := range n {
			le.PutUint32(dst[4*i:], le.Uint32(src[i*step:]))
		}
	case 8:
		for i := range n {
			le.PutUint64(dst[8*i:], le.Uint64(src[i*step:]))
		}
	}
}

// bytes returns the size of the elements in the file.
func (v *view) bytes() int64 { return int64(v.count)*int64(v.width) + v.unread }

// span returns the number of bytes from the first element to the end of the last.
func (v *view) span() int64 {
	n := int64(1)
	for i, d := range v.shape {
		n += int64(d-1) * int64(v.stride[i])
	}
	return n * int64(v.width)
}

// seeks returns how many bytes can be read in the time that reading each element on its own takes.
func (v *view) seeks() int64 { return int64(v.count) * 4096 }

// cost returns what reading the tensor takes of a budget: the bytes that it becomes, those that are
// read, and some for the time that elements far apart take.
func (v *view) cost() int64 {
	if int64(v.count) > 1<<48 {
		return math.MaxInt64
	}
	n := viewSize + int64(v.count)*int64(readSizes[v.dtype]) + min(chunkSize, v.bytes())
	if !v.isContiguous() {
		n += 4*int64(v.count) + min(v.span(), v.seeks())
	}
	return n
}

// readFullAt fills p from offset off. A short read is an error. An io.EOF that comes together with
// the last byte of the file, as io.ReaderAt allows, is not.
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

// readExactly reads n bytes, after which r must end. That is also where an archive compares the
// checksum.
func readExactly(r io.Reader, n uint64) ([]byte, error) {
	if n > math.MaxInt {
		return nil, ErrTooLarge
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	switch _, err := io.ReadFull(r, make([]byte, 1)); err {
	case io.EOF:
		return b, nil
	case nil:
		return nil, fmt.Errorf("longer than the %d bytes it says", n)
	default:
		return nil, err
	}
}
