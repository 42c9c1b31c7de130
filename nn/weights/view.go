package weights

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"sync"
)

// chunkSize is how many bytes are converted at a time: large enough to make a read call cheap, small
// enough to stay in the second-level cache. It is a multiple of every element size.
const chunkSize = 1 << 17

// view is a tensor in a file: the elements of a storage that lie at regular distances.
type view struct {
	storage *storage
	begin   int64 // of the first element, in bytes of the storage
	dtype   string
	shape   []int
	stride  []int // in elements; nil if they lie in row-major order without gaps
	count   int   // elements: the product of shape
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
		return nil, err
	}
	defer rc.Close()
	b, err := readExactly(rc, s.packed.UncompressedSize64)
	if err != nil {
		return nil, err
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
	size := elementSizes[v.dtype]
	length := int64(v.count) * int64(size)
	buf := make([]byte, min(chunkSize, length))
	for off := int64(0); off < length; {
		b := buf[:min(int64(len(buf)), length-off)]
		if err := readFullAt(r, b, v.begin+off); err != nil {
			return err
		}
		if err := convert(int(off/int64(size)), b); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

func (v *view) readStrided(r io.ReaderAt, convert func(first int, b []byte) error) error {
	width := elementSizes[v.dtype]
	last := int64(0) // element, counted from the first
	for i, d := range v.shape {
		if d > 1 {
			last += int64(d-1) * int64(v.stride[i])
		}
	}
	// Read all that lies between its values at once, unless that is most of what would be read.
	var span []byte
	if n := (last + 1) * int64(width); n <= 16*int64(v.count)*int64(width)+1<<16 {
		span = make([]byte, n)
		if err := readFullAt(r, span, v.begin); err != nil {
			return err
		}
	}
	at, index := int64(0), make([]int, len(v.shape))
	buf := make([]byte, 0, min(chunkSize, v.count*width))
	for i := 0; i < v.count; {
		buf = buf[:0]
		first := i
		for ; i < v.count && len(buf)+width <= cap(buf); i++ {
			n := len(buf)
			buf = buf[:n+width]
			if span != nil {
				copy(buf[n:], span[at*int64(width):][:width])
			} else if err := readFullAt(r, buf[n:], v.begin+at*int64(width)); err != nil {
				return err
			}
			for k := len(index) - 1; k >= 0; k-- { // the next in row-major order
				index[k]++
				at += int64(v.stride[k])
				if index[k] < v.shape[k] {
					break
				}
				at -= int64(index[k]) * int64(v.stride[k])
				index[k] = 0
			}
		}
		if err := convert(first, buf); err != nil {
			return err
		}
	}
	return nil
}

// readFullAt fills p from offset off. A short read is an error, as io.ReaderAt promises; an io.EOF
// that comes together with the last byte of the file is none.
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
