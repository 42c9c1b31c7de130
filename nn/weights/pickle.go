package weights

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A pickle is a program for a stack machine that builds Python values; pickletools.py of CPython
// documents its instructions. In Python a pickle may name any function and have it called. Here a
// name is looked up in pickleNames, which holds containers, records and what PyTorch needs for
// tensors; any other name ends the reading. Nothing is called: a record is kept as its name, its
// arguments and its state.
//
// Python's None, bool, int, float, str and bytes become nil, bool, int64 (or *big.Int), float64,
// string and []byte. The other values are:
type (
	pyName   string // an allowed name, "module.name", on its own
	pyTuple  struct{ items []any }
	pyList   struct{ items []any } // a list or a set
	pyDict   struct{ keys, values []any }
	pyObject struct { // a record of an allowed class
		class string
		args  []any
		state any
	}
)

// sequence returns the items of a list, set or tuple.
func sequence(v any) []any {
	switch v := v.(type) {
	case *pyList:
		return v.items
	case *pyTuple:
		return v.items
	}
	return nil
}

// get returns the value of a key, the last one as in Python.
func (d *pyDict) get(key string) (any, bool) {
	for i := len(d.keys) - 1; i >= 0; i-- {
		if d.keys[i] == any(key) {
			return d.values[i], true
		}
	}
	return nil, false
}

const (
	// maxPickleStack is more than a pickler leaves on the stack: it builds lists and dictionaries
	// in portions of 1000, and no checkpoint has tuples of more elements than this.
	maxPickleStack = 1 << 17
	// maxPickleLine bounds what protocol 0 writes as a line of text, which nobody uses for more
	// than a name.
	maxPickleLine = 1 << 16
)

// unpickler reads pickles that follow one another. Memory is at most about 50 times the bytes read.
type unpickler struct {
	r      *bufio.Reader
	pos    int64 // bytes read
	size   int64 // bytes there are
	stack  []any
	marks  []int // heights of the stack
	memo   []any
	budget int64 // bytes that may still be allocated beside the stack and the memo
	// names are allowed in addition to pickleNames. persistent returns the value of a persistent
	// id, and extern what calling a nameCall of names returns.
	names      map[string]nameKind
	persistent func(id any) (any, error)
	extern     func(name string, args []any) (any, error)
}

// newUnpickler reads from r, which has size bytes.
func newUnpickler(r io.Reader, size int64) *unpickler {
	return &unpickler{r: bufio.NewReaderSize(r, maxPickleLine), size: size}
}

// next reads one pickle and returns its value.
func (u *unpickler) next() (any, error) {
	start := u.pos
	u.stack, u.marks, u.memo = u.stack[:0], u.marks[:0], nil
	v, err := u.run()
	if err != nil {
		return nil, fmt.Errorf("pickle at byte %d: %w", start, err)
	}
	return v, nil
}

func (u *unpickler) run() (any, error) {
	begin := u.pos
	u.budget = 1 << 16
	for {
		at := u.pos
		op, err := u.byte()
		if err != nil {
			return nil, err
		}
		if op == opStop {
			return u.stop()
		}
		if err := u.step(op); err != nil {
			return nil, fmt.Errorf("instruction %q at byte %d: %w", op, at-begin, err)
		}
		u.budget += 16 * (u.pos - at)
		if u.budget < 0 {
			return nil, fmt.Errorf("makes more values by byte %d than any checkpoint does; the file is damaged", at-begin)
		}
		if len(u.stack)+len(u.marks) > maxPickleStack {
			return nil, fmt.Errorf("a stack of more than %d values at byte %d; the file is damaged", maxPickleStack, at-begin)
		}
	}
}

// stop returns the value of the pickle, which must be the only one left.
func (u *unpickler) stop() (any, error) {
	v, err := u.pop()
	if err == nil && (len(u.stack) != 0 || len(u.marks) != 0) {
		err = fmt.Errorf("leaves %d values on the stack; the file is damaged", len(u.stack))
	}
	return v, err
}

// Reading.

func (u *unpickler) byte() (byte, error) {
	b, err := u.r.ReadByte()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	u.pos++
	return b, nil
}

// uint reads a little-endian number of n bytes.
func (u *unpickler) uint(n int) (uint64, error) {
	var b [8]byte
	for i := range n {
		var err error
		if b[i], err = u.byte(); err != nil {
			return 0, err
		}
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// bytes reads n bytes. It allocates nothing before it knows that they are there.
func (u *unpickler) bytes(n uint64) ([]byte, error) {
	if int64(n) < 0 || int64(n) > u.size-u.pos {
		return nil, fmt.Errorf("a length of %d, but only %d bytes follow; the file is cut off or damaged", n, u.size-u.pos)
	}
	b := make([]byte, n)
	k, err := io.ReadFull(u.r, b)
	u.pos += int64(k)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// sized reads a length of n bytes and as many bytes as it says.
func (u *unpickler) sized(n int) ([]byte, error) {
	size, err := u.uint(n)
	if err != nil {
		return nil, err
	}
	return u.bytes(size)
}

// line reads to the end of a line.
func (u *unpickler) line() (string, error) {
	b, err := u.r.ReadSlice('\n')
	u.pos += int64(len(b))
	switch err {
	case nil:
		return string(b[:len(b)-1]), nil
	case bufio.ErrBufferFull:
		return "", fmt.Errorf("a line of more than %d bytes", maxPickleLine)
	case io.EOF:
		return "", io.ErrUnexpectedEOF
	}
	return "", err
}

// The stack.

var errPickleStack = errors.New("takes more from the stack than is there; the file is damaged")

func (u *unpickler) push(v any) error {
	u.stack = append(u.stack, v)
	return nil
}

// make pushes a value after accounting for its size.
func (u *unpickler) make(v any) error {
	u.budget -= 64
	return u.push(v)
}

// floor is the height down to which values may be taken.
func (u *unpickler) floor() int {
	if n := len(u.marks); n > 0 {
		return u.marks[n-1]
	}
	return 0
}

func (u *unpickler) pop() (any, error) {
	n := len(u.stack) - 1
	if n < u.floor() {
		return nil, errPickleStack
	}
	v := u.stack[n]
	u.stack[n] = nil
	u.stack = u.stack[:n]
	return v, nil
}

func (u *unpickler) top() (any, error) {
	if len(u.stack) <= u.floor() {
		return nil, errPickleStack
	}
	return u.stack[len(u.stack)-1], nil
}

// popMark removes the last mark and the values above it, of which it returns a copy.
func (u *unpickler) popMark() ([]any, error) {
	if len(u.marks) == 0 {
		return nil, errors.New("no mark on the stack; the file is damaged")
	}
	at := u.floor()
	u.marks = u.marks[:len(u.marks)-1]
	items := slices.Clone(u.stack[at:])
	clear(u.stack[at:])
	u.stack = u.stack[:at]
	u.budget -= 16 * int64(len(items))
	return items, nil
}

// popN removes n values and returns a copy of them.
func (u *unpickler) popN(n int) ([]any, error) {
	if len(u.stack)-n < u.floor() {
		return nil, errPickleStack
	}
	u.marks = append(u.marks, len(u.stack)-n)
	return u.popMark()
}

// The memo, by which a pickle refers to a value a second time.

// noMemo is in the memo where no value is.
type noMemo struct{}

func (u *unpickler) put(i uint64) error {
	v, err := u.top()
	if err != nil {
		return err
	}
	if i >= uint64(u.pos) { // a pickler numbers them one after another
		return fmt.Errorf("memo number %d; the file is damaged", i)
	}
	for uint64(len(u.memo)) <= i {
		u.memo = append(u.memo, noMemo{})
	}
	u.memo[i] = v
	return nil
}

func (u *unpickler) get(i uint64) error {
	if i >= uint64(len(u.memo)) || u.memo[i] == (noMemo{}) {
		return fmt.Errorf("nothing in the memo under number %d; the file is damaged", i)
	}
	return u.push(u.memo[i])
}
