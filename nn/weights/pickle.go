package weights

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// A pickle is a program for a stack machine that builds Python values; pickletools.py of CPython
// documents its instructions. In Python a pickle may name any function and have it called. Here
// nothing is called: what containers and tensors need is done by this package for the names in
// pickleNames and pthReader.rebuild, and any other call leaves a record of the name, its arguments,
// state and items. A name that only an attack has ends the reading.
//
// Python's None, bool, int, float, str and bytes become nil, bool, int64 (or *big.Int), float64,
// string and []byte. The other values are:
type (
	pyName   string // "module.name" on its own
	pyTuple  struct{ items []any }
	pyList   struct{ items []any } // a list or a set
	pyDict   struct{ keys, values []any }
	pyObject struct { // a record of a call
		class string // what was called
		args  []any
		state any
		list  *pyList // what was appended, nil if nothing was
		dict  *pyDict // the items that were set, nil if none were
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
	// What values take in memory, or somewhat more: a container, record or string without what is
	// in it; a number; a reference to a value in a container.
	valueSize  = 64
	objectSize = 96 // of a pyObject
	numberSize = 16
	slotSize   = 16

	// maxPickleStack is more than a pickler leaves on the stack: it builds lists and dictionaries
	// in portions of 1000, and no checkpoint has tuples of more elements than this.
	maxPickleStack = 1 << 17
	// maxPickleLine bounds what protocol 0 writes as a line of text, which nobody uses for more
	// than a name.
	maxPickleLine = 1 << 16
)

// unpickler reads pickles that follow one another. What they make is paid for out of a budget.
type unpickler struct {
	r      *bufio.Reader
	pos    int64 // bytes read
	size   int64 // bytes there are
	budget *budget
	stack  []any
	marks  []int // heights of the stack
	memo   []any
	// persistent returns the value of a persistent id, and extern what calling a name that isExtern
	// returns.
	persistent func(id any) (any, error)
	extern     func(name string, args []any) (any, error)
}

// newUnpickler reads from r, which has size bytes.
func newUnpickler(r io.Reader, size int64, b *budget) *unpickler {
	return &unpickler{r: bufio.NewReaderSize(r, maxPickleLine), size: size, budget: b}
}

// next reads one pickle and returns its value.
func (u *unpickler) next() (any, error) {
	begin := u.pos
	u.stack, u.marks, u.memo = u.stack[:0], u.marks[:0], nil
	for {
		at := u.pos
		op, err := u.byte()
		if err != nil {
			return nil, fmt.Errorf("pickle at byte %d: %w", begin, err)
		}
		if op == opStop {
			break
		}
		if err := u.step(op); err != nil {
			return nil, fmt.Errorf("pickle at byte %d: instruction %q at byte %d: %w", begin, []byte{op}, at, err)
		}
	}
	v, err := u.pop()
	if err == nil && len(u.stack)+len(u.marks) != 0 {
		err = damaged("leaves %d values on the stack", len(u.stack))
	}
	if err != nil {
		return nil, fmt.Errorf("pickle at byte %d: %w", begin, err)
	}
	return v, nil
}

// Reading.

func (u *unpickler) byte() (byte, error) {
	b, err := u.r.ReadByte()
	if err != nil {
		return 0, noEOF(err)
	}
	u.pos++
	return b, nil
}

// noEOF returns err, and for an end of the file that it is damaged.
func noEOF(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return damaged("ends too early")
	}
	return err
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

// has returns an error unless n more bytes are there.
func (u *unpickler) has(n uint64) error {
	if n > uint64(u.size-u.pos) {
		return damaged("a length of %d, but only %d bytes follow", n, u.size-u.pos)
	}
	return nil
}

// bytes reads n bytes.
func (u *unpickler) bytes(n uint64) ([]byte, error) {
	if err := u.has(n); err != nil {
		return nil, err
	}
	if err := u.budget.spend(int64(n) + valueSize); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	k, err := io.ReadFull(u.r, b)
	u.pos += int64(k)
	return b, noEOF(err)
}

// string reads n bytes of text.
func (u *unpickler) string(n uint64) (string, error) {
	if n > uint64(u.r.Size()) {
		b, err := u.bytes(n)
		if err == nil {
			err = u.budget.spend(int64(n))
		}
		if err != nil {
			return "", err
		}
		return string(b), nil
	}
	if err := u.has(n); err != nil {
		return "", err
	}
	if err := u.budget.spend(int64(n) + valueSize); err != nil {
		return "", err
	}
	b, err := u.r.Peek(int(n))
	if err != nil {
		return "", noEOF(err)
	}
	s := string(b)
	u.r.Discard(int(n))
	u.pos += int64(n)
	return s, nil
}

// line reads to the end of a line.
func (u *unpickler) line() (string, error) {
	b, err := u.r.ReadSlice('\n')
	u.pos += int64(len(b))
	if err == bufio.ErrBufferFull {
		return "", damaged("a line of more than %d bytes", maxPickleLine)
	}
	if err == nil {
		err = u.budget.spend(int64(len(b)) + valueSize)
	}
	if err != nil {
		return "", noEOF(err)
	}
	return string(b[:len(b)-1]), nil
}

// The stack.

var errPickleStack = damaged("takes more from the stack than is there")

func (u *unpickler) push(v any) (err error) {
	if len(u.stack) == maxPickleStack {
		return damaged("a stack of more than %d values", maxPickleStack)
	}
	if u.stack, err = u.extend(u.stack, 1); err != nil {
		return err
	}
	u.stack = append(u.stack, v)
	return nil
}

// make pushes a value after paying for it: for a container or record without what is in it.
func (u *unpickler) make(v any) error {
	if err := u.budget.spend(valueSize); err != nil {
		return err
	}
	return u.push(v)
}

// object pushes a record after paying for it.
func (u *unpickler) object(o *pyObject) error {
	if err := u.budget.spend(objectSize - valueSize); err != nil {
		return err
	}
	return u.make(o)
}

// number pushes a number after paying for it.
func (u *unpickler) number(v any) error {
	if err := u.budget.spend(numberSize); err != nil {
		return err
	}
	return u.push(v)
}

// extend returns list with room for n more values.
func (u *unpickler) extend(list []any, n int) ([]any, error) {
	if n <= cap(list)-len(list) {
		return list, nil
	}
	room := max(len(list)+n, 2*len(list))
	if err := u.budget.spend(slotSize * int64(room)); err != nil {
		return nil, err
	}
	return append(make([]any, 0, room), list...), nil
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
	u.stack = u.stack[:n]
	return v, nil
}

func (u *unpickler) top() (any, error) {
	if len(u.stack) <= u.floor() {
		return nil, errPickleStack
	}
	return u.stack[len(u.stack)-1], nil
}

// popMark removes the last mark and the values above it, which are there until the next push.
func (u *unpickler) popMark() ([]any, error) {
	if len(u.marks) == 0 {
		return nil, damaged("no mark on the stack")
	}
	at := u.floor()
	u.marks = u.marks[:len(u.marks)-1]
	items := u.stack[at:]
	u.stack = u.stack[:at]
	return items, nil
}

// popN removes n values, which are there until the next push.
func (u *unpickler) popN(n int) ([]any, error) {
	at := len(u.stack) - n
	if at < u.floor() {
		return nil, errPickleStack
	}
	items := u.stack[at:]
	u.stack = u.stack[:at]
	return items, nil
}

func (u *unpickler) mark() error {
	if len(u.marks) == maxPickleStack {
		return damaged("more than %d marks", maxPickleStack)
	}
	u.marks = append(u.marks, len(u.stack))
	return nil
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
		return damaged("memo number %d", i)
	}
	if n := int(i) + 1 - len(u.memo); n > 0 {
		if u.memo, err = u.extend(u.memo, n); err != nil {
			return err
		}
		for range n {
			u.memo = append(u.memo, noMemo{})
		}
	}
	u.memo[i] = v
	return nil
}

func (u *unpickler) get(i uint64) error {
	if i >= uint64(len(u.memo)) || u.memo[i] == (noMemo{}) {
		return damaged("nothing in the memo under number %d", i)
	}
	return u.push(u.memo[i])
}
