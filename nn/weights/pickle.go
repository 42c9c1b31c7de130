package weights

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A pickle is a program for a stack machine that builds Python values; see pickletools.py of CPython for its
// instructions. In Python a pickle may name any function and have it called. Here a name is looked up in
// pickleNames, which holds containers, records and what PyTorch needs for tensors; any other ends the reading.
// Nothing is called: a record is kept as its name, its arguments and its state.
//
// Python's None, bool, int, float, str and bytes are nil, bool, int64 (or *big.Int), float64, string and []byte.

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
	pyMark struct{}
)

// The kinds of names that a pickle may hold.
const (
	nameRecord = 1 + iota // kept as pyObject
	nameDict
	nameList
	nameTuple
	nameCall // handled by unpickler.call or the unpickler's extern
)

// pickleNames are the allowed names. Modules have the names of Python 3 and NumPy 1: see pickleModule.
var pickleNames = map[string]int{
	"collections.OrderedDict": nameDict, "collections.defaultdict": nameDict, "collections.Counter": nameDict, "builtins.dict": nameDict,
	"builtins.list": nameList, "builtins.set": nameList, "builtins.frozenset": nameList,
	"builtins.tuple": nameTuple, "torch.Size": nameTuple,
	"_codecs.encode": nameCall, "copyreg._reconstructor": nameCall, "numpy.core.multiarray.scalar": nameCall,

	"argparse.Namespace": nameRecord, "types.SimpleNamespace": nameRecord,
	"builtins.object": nameRecord, "builtins.bytearray": nameRecord, "builtins.complex": nameRecord, "builtins.slice": nameRecord,
	"builtins.range": nameRecord, "builtins.int": nameRecord, "builtins.float": nameRecord, "builtins.bool": nameRecord, "builtins.str": nameRecord,
	"pathlib.Path": nameRecord, "pathlib.PosixPath": nameRecord, "pathlib.WindowsPath": nameRecord,
	"pathlib.PurePath": nameRecord, "pathlib.PurePosixPath": nameRecord, "pathlib.PureWindowsPath": nameRecord,
	"numpy.dtype": nameRecord, "numpy.ndarray": nameRecord, "numpy.core.multiarray._reconstruct": nameRecord,
	"torch.device": nameRecord, "torch.Tensor": nameRecord, "torch.nn.parameter.Parameter": nameRecord,
}

// pickleModule is the present name of a module: of Python 2, of NumPy 2, of Python 3.13.
func pickleModule(module string) string {
	switch module {
	case "__builtin__":
		return "builtins"
	case "copy_reg":
		return "copyreg"
	case "pathlib._local":
		return "pathlib"
	case "numpy._core.multiarray":
		return "numpy.core.multiarray"
	}
	return module
}

const (
	// maxPickleStack is more than a pickler leaves on the stack: it builds lists and dictionaries in portions
	// of 1000, and tuples of more elements than this are no part of a checkpoint.
	maxPickleStack = 1 << 17
	// maxPickleLine bounds what protocol 0 writes as a line of text, which nobody uses for more than a name.
	maxPickleLine = 1 << 16
)

// unpickler reads pickles that stand one after another. Memory is at most about 50 times the bytes read.
type unpickler struct {
	r      *bufio.Reader
	pos    int64 // bytes read
	size   int64 // bytes there are
	stack  []any
	marks  []int // heights of the stack
	memo   []any
	budget int64 // bytes that may still be allocated beside the stack and the memo
	// names are further allowed names. persistent returns the value of a persistent id, and extern that of a
	// nameCall of theirs.
	names      map[string]int
	persistent func(id any) (any, error)
	extern     func(name string, args []any) (any, error)
}

// newUnpickler reads from r, where size bytes are.
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

var errPickleStack = errors.New("takes more from the stack than is there; the file is damaged")

func (u *unpickler) run() (any, error) {
	begin := u.pos
	u.budget = 1 << 16
	for {
		at := u.pos
		op, err := u.byte()
		if err != nil {
			return nil, err
		}
		u.budget += 16 * (u.pos - at)
		if op == '.' { // STOP
			v, err := u.pop()
			if err == nil && (len(u.stack) != 0 || len(u.marks) != 0) {
				err = fmt.Errorf("leaves %d values on the stack; the file is damaged", len(u.stack))
			}
			return v, err
		}
		before := u.pos
		if err := u.step(op); err != nil {
			return nil, fmt.Errorf("instruction %q at byte %d: %w", op, at-begin, err)
		}
		u.budget += 16 * (u.pos - before)
		if u.budget < 0 {
			return nil, fmt.Errorf("makes more values by byte %d than any checkpoint does; the file is damaged", at-begin)
		}
		if len(u.stack)+len(u.marks) > maxPickleStack {
			return nil, fmt.Errorf("a stack of more than %d values at byte %d; the file is damaged", maxPickleStack, at-begin)
		}
	}
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

// bytes reads n bytes, none of which are asked for before they are known to be there.
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

// sized reads a length of n bytes and as many bytes.
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

func (u *unpickler) push(v any) error {
	u.stack = append(u.stack, v)
	return nil
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

// popMark returns a copy of the values above the last mark, which it removes.
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

func (u *unpickler) popN(n int) ([]any, error) {
	if len(u.stack)-n < u.floor() {
		return nil, errPickleStack
	}
	u.marks = append(u.marks, len(u.stack)-n)
	return u.popMark()
}

// make pushes a value after accounting for its size.
func (u *unpickler) make(v any) error {
	u.budget -= 64
	return u.push(v)
}

// put and get are the memo, by which a pickle refers to a value a second time.
func (u *unpickler) put(i uint64) error {
	v, err := u.top()
	if err != nil {
		return err
	}
	if i >= uint64(u.pos) { // a pickler numbers them one after another
		return fmt.Errorf("memo number %d; the file is damaged", i)
	}
	for uint64(len(u.memo)) <= i {
		u.memo = append(u.memo, pyMark{})
	}
	u.memo[i] = v
	return nil
}

func (u *unpickler) get(i uint64) error {
	if i >= uint64(len(u.memo)) || u.memo[i] == (pyMark{}) {
		return fmt.Errorf("nothing in the memo under number %d; the file is damaged", i)
	}
	return u.push(u.memo[i])
}

// step carries out one instruction.
func (u *unpickler) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		if p, err := u.byte(); err != nil || p > 5 {
			return cmpErr(err, "protocol %d; save it with protocol 2", p)
		}
		return nil
	case 0x95: // FRAME: a hint on reading ahead
		_, err := u.uint(8)
		return err
	case '(': // MARK
		u.marks = append(u.marks, len(u.stack))
		return nil
	case '0': // POP
		if n := len(u.marks); n > 0 && len(u.stack) == u.floor() {
			u.marks = u.marks[:n-1]
			return nil
		}
		_, err := u.pop()
		return err
	case '1': // POP_MARK
		_, err := u.popMark()
		return err
	case '2': // DUP
		v, err := u.top()
		if err != nil {
			return err
		}
		return u.push(v)

	case 'N':
		return u.push(nil)
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		return u.push(op == 0x88)
	case 'K', 'M': // BININT1, BININT2
		v, err := u.uint(1 + int(op-'K')/2)
		if err != nil {
			return err
		}
		return u.push(int64(v))
	case 'J': // BININT
		v, err := u.uint(4)
		if err != nil {
			return err
		}
		return u.push(int64(int32(v)))
	case 0x8a, 0x8b: // LONG1, LONG4
		b, err := u.sized(1 + 3*int(op-0x8a))
		if err != nil {
			return err
		}
		return u.push(pickleLong(b))
	case 'I', 'L': // INT, LONG
		s, err := u.line()
		if err != nil {
			return err
		}
		if op == 'I' && (s == "00" || s == "01") {
			return u.push(s == "01")
		}
		s = strings.TrimSuffix(s, "L")
		if v, err := strconv.ParseInt(s, 10, 64); err == nil {
			return u.push(v)
		}
		v, ok := new(big.Int), len(s) < 1000
		if ok {
			v, ok = v.SetString(s, 10)
		}
		if !ok {
			return fmt.Errorf("%s is no number", Quote(s))
		}
		return u.make(v)
	case 'G': // BINFLOAT, the one that is big-endian
		b, err := u.bytes(8)
		if err != nil {
			return err
		}
		return u.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	case 'F': // FLOAT
		s, err := u.line()
		if err != nil {
			return err
		}
		v, err := strconv.ParseFloat(s, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("%s is no number", Quote(s))
		}
		return u.push(v)

	case 'X', 0x8c, 0x8d, 'U', 'T': // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8; Python 2's SHORT_BINSTRING, BINSTRING
		b, err := u.sized(map[byte]int{'X': 4, 0x8c: 1, 0x8d: 8, 'U': 1, 'T': 4}[op])
		if err != nil {
			return err
		}
		u.budget -= int64(len(b))
		return u.push(string(b))
	case 'B', 'C', 0x8e, 0x96: // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
		b, err := u.sized(map[byte]int{'B': 4, 'C': 1, 0x8e: 8, 0x96: 8}[op])
		if err != nil {
			return err
		}
		return u.push(b)
	case 'S', 'V': // STRING in quotes, UNICODE
		s, err := u.line()
		if err != nil {
			return err
		}
		if op == 'S' {
			if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '\'' && s[0] != '"' {
				return fmt.Errorf("%s is no string", Quote(s))
			}
			s = s[1 : len(s)-1]
		}
		if strings.Contains(s, `\`) {
			return fmt.Errorf("string %s has escapes; save it with protocol 2", Quote(s))
		}
		return u.push(s)

	case ']', 0x8f: // EMPTY_LIST, EMPTY_SET
		return u.make(&pyList{})
	case '}': // EMPTY_DICT
		return u.make(&pyDict{})
	case ')': // EMPTY_TUPLE
		return u.make(&pyTuple{})
	case 0x85, 0x86, 0x87: // TUPLE1 to 3
		items, err := u.popN(int(op - 0x84))
		if err != nil {
			return err
		}
		return u.make(&pyTuple{items})
	case 't', 'l', 'd', 0x91: // TUPLE, LIST, DICT, FROZENSET
		items, err := u.popMark()
		if err != nil {
			return err
		}
		switch op {
		case 't':
			return u.make(&pyTuple{items})
		case 'd':
			d := &pyDict{}
			if err := u.setItems(d, items); err != nil {
				return err
			}
			return u.make(d)
		}
		return u.make(&pyList{items})
	case 'a', 'e', 0x90: // APPEND, APPENDS, ADDITEMS
		return u.into(op == 'a', 1, func(to any, items []any) error {
			l, ok := to.(*pyList)
			if !ok {
				return fmt.Errorf("appends to a %s", pickleText(to))
			}
			l.items = append(l.items, items...)
			u.budget -= 32 * int64(len(items))
			return nil
		})
	case 's', 'u': // SETITEM, SETITEMS
		return u.into(op == 's', 2, func(to any, items []any) error {
			d, ok := to.(*pyDict)
			if !ok {
				return fmt.Errorf("sets items of a %s", pickleText(to))
			}
			return u.setItems(d, items)
		})

	case 'q', 'r', 'p', 0x94: // BINPUT, LONG_BINPUT, PUT, MEMOIZE
		i, err := uint64(len(u.memo)), error(nil)
		if op != 0x94 {
			i, err = u.index(op, 'q', 'r')
		}
		if err != nil {
			return err
		}
		return u.put(i)
	case 'h', 'j', 'g': // BINGET, LONG_BINGET, GET
		i, err := u.index(op, 'h', 'j')
		if err != nil {
			return err
		}
		return u.get(i)

	case 'c': // GLOBAL
		name, err := u.globalLines()
		if err != nil {
			return err
		}
		return u.make(name)
	case 0x93: // STACK_GLOBAL
		parts, err := u.popN(2)
		if err != nil {
			return err
		}
		module, ok1 := parts[0].(string)
		name, ok2 := parts[1].(string)
		if !ok1 || !ok2 {
			return errors.New("a name that is no string; the file is damaged")
		}
		g, err := u.global(module, name)
		if err != nil {
			return err
		}
		return u.make(g)
	case 'i', 'o': // INST, OBJ: protocol 0's records
		var class any
		var err error
		if op == 'i' {
			class, err = u.globalLines()
		}
		if err != nil {
			return err
		}
		args, err := u.popMark()
		if err != nil {
			return err
		}
		if op == 'o' {
			if len(args) == 0 {
				return errPickleStack
			}
			class, args = args[0], args[1:]
		}
		return u.call(class, args)
	case 'R', 0x81, 0x92: // REDUCE, NEWOBJ, NEWOBJ_EX
		n := 2
		if op == 0x92 {
			n = 3 // keyword arguments, of which no allowed class has any
		}
		parts, err := u.popN(n)
		if err != nil {
			return err
		}
		args, ok := parts[1].(*pyTuple)
		if !ok {
			return errors.New("arguments that are no tuple; the file is damaged")
		}
		return u.call(parts[0], args.items)
	case 'b': // BUILD
		state, err := u.pop()
		if err != nil {
			return err
		}
		to, err := u.top()
		if err != nil {
			return err
		}
		switch v := to.(type) {
		case *pyObject:
			v.state = state
		case *pyDict, *pyList, *pthTensor: // attributes of a state dict such as _metadata
		default:
			return fmt.Errorf("sets the state of a %s", pickleText(to))
		}
		return nil
	case 'Q': // BINPERSID
		id, err := u.pop()
		if err != nil {
			return err
		}
		if u.persistent == nil {
			return errors.New("a persistent id where none may be; the file is damaged")
		}
		v, err := u.persistent(id)
		if err != nil {
			return err
		}
		return u.make(v)
	}
	return errors.New("is not known; the file is damaged, or no PyTorch checkpoint")
}

// cmpErr is err, or where that is nil a new error.
func cmpErr(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf(format, args...)
}

// index reads a memo number: of one byte, of four bytes, or a line.
func (u *unpickler) index(op, one, four byte) (uint64, error) {
	switch op {
	case one:
		return u.uint(1)
	case four:
		return u.uint(4)
	}
	s, err := u.line()
	if err != nil {
		return 0, err
	}
	i, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("memo number %s", Quote(s))
	}
	return i, nil
}

// into calls f for the container on the stack and what lies above it: n values if one, else all above the mark.
func (u *unpickler) into(one bool, n int, f func(to any, items []any) error) error {
	var items []any
	var err error
	if one {
		items, err = u.popN(n)
	} else {
		items, err = u.popMark()
	}
	if err != nil {
		return err
	}
	to, err := u.top()
	if err != nil {
		return err
	}
	return f(to, items)
}

func (u *unpickler) setItems(d *pyDict, items []any) error {
	if len(items)%2 != 0 {
		return errors.New("a key without a value; the file is damaged")
	}
	for i := 0; i < len(items); i += 2 {
		d.keys = append(d.keys, items[i])
		d.values = append(d.values, items[i+1])
	}
	u.budget -= 32 * int64(len(items))
	return nil
}

// globalLines reads a module and a name in it.
func (u *unpickler) globalLines() (pyName, error) {
	module, err := u.line()
	if err != nil {
		return "", err
	}
	name, err := u.line()
	if err != nil {
		return "", err
	}
	return u.global(module, name)
}

// global is where everything that could do harm is refused.
func (u *unpickler) global(module, name string) (pyName, error) {
	full := pickleModule(module) + "." + name
	if pickleNames[full] == 0 && u.names[full] == 0 {
		return "", fmt.Errorf("refused %s: a checkpoint may hold tensors and plain values, and nothing of it is ever executed; if you trust it, load it in Python and save its state_dict alone", Quote(module+"."+name))
	}
	return pyName(full), nil
}

// call pushes what calling an allowed name would make.
func (u *unpickler) call(callee any, args []any) error {
	name, ok := callee.(pyName)
	if !ok {
		return fmt.Errorf("calls a %s", pickleText(callee))
	}
	kind := pickleNames[string(name)]
	if kind == 0 {
		kind = u.names[string(name)]
	}
	switch kind {
	case nameDict:
		d := &pyDict{}
		for _, a := range args { // none; for a defaultdict its factory; in Python 2 pairs
			l, ok := a.(*pyList)
			if !ok {
				continue
			}
			for _, item := range l.items {
				pair := sequence(item)
				if len(pair) != 2 {
					return errors.New("a dictionary of items that are no pairs")
				}
				if err := u.setItems(d, pair); err != nil {
					return err
				}
			}
		}
		return u.make(d)
	case nameList, nameTuple:
		var items []any
		if len(args) > 0 {
			items = slices.Clone(sequence(args[0]))
			u.budget -= 16 * int64(len(items))
		}
		if kind == nameTuple {
			return u.make(&pyTuple{items})
		}
		return u.make(&pyList{items})
	case nameRecord:
		return u.make(&pyObject{class: string(name), args: args})
	}
	switch name {
	case "_codecs.encode": // how protocol 2 writes bytes
		s, ok := "", false
		if len(args) > 0 {
			s, ok = args[0].(string)
		}
		if !ok {
			return errors.New("_codecs.encode of no string")
		}
		b := make([]byte, 0, len(s))
		for _, r := range s {
			if r > 255 {
				return errors.New("_codecs.encode of what is not latin1")
			}
			b = append(b, byte(r))
		}
		u.budget -= int64(len(b))
		return u.make(b)
	case "copyreg._reconstructor": // class, base and the base's state
		if len(args) == 0 {
			return errors.New("copyreg._reconstructor without a class")
		}
		return u.call(args[0], nil)
	case "numpy.core.multiarray.scalar":
		return u.make(numpyScalar(args))
	}
	if u.extern == nil {
		return fmt.Errorf("calls %s", name)
	}
	v, err := u.extern(string(name), args)
	if err != nil {
		return err
	}
	return u.make(v)
}

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

// pickleLong is the number of little-endian two's complement bytes.
func pickleLong(b []byte) any {
	if len(b) <= 8 {
		var x [8]byte
		copy(x[:], b)
		if len(b) > 0 && b[len(b)-1]&0x80 != 0 {
			for i := len(b); i < 8; i++ {
				x[i] = 0xff
			}
		}
		return int64(binary.LittleEndian.Uint64(x[:]))
	}
	slices.Reverse(b)
	v := new(big.Int).SetBytes(b)
	if b[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return v
}

// numpyScalar is the number of a numpy scalar's dtype and bytes, or a record where it is of another kind.
func numpyScalar(args []any) any {
	scalar := &pyObject{class: "numpy scalar", args: args}
	if len(args) != 2 {
		return scalar
	}
	dtype, ok1 := args[0].(*pyObject)
	b, ok2 := args[1].([]byte)
	if !ok1 || !ok2 || len(dtype.args) == 0 {
		return scalar
	}
	if state := sequence(dtype.state); len(state) > 1 && state[1] == any(">") {
		b = slices.Clone(b)
		slices.Reverse(b)
	}
	kind, _ := dtype.args[0].(string)
	if len(kind) != 2 || len(b) != int(kind[1]-'0') {
		return scalar
	}
	var x [8]byte
	copy(x[:], b)
	bits := binary.LittleEndian.Uint64(x[:])
	switch kind {
	case "f8":
		return math.Float64frombits(bits)
	case "f4":
		return float64(math.Float32frombits(uint32(bits)))
	case "f2":
		return float64(math.Float32frombits(widenF16(uint16(bits))))
	case "b1":
		return bits != 0
	case "i1", "i2", "i4", "i8":
		return pickleLong(b)
	case "u1", "u2", "u4":
		return int64(bits)
	}
	return scalar
}

// pickleText is a short description of a value, on one line: scalars and short lists of them as Python writes them,
// anything else by its type and size.
func pickleText(v any) string {
	const most = 60
	short := func(s string) string {
		if len(s) > most {
			s = s[:most] + "…"
		}
		return s
	}
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		if !utf8.ValidString(v) {
			return fmt.Sprintf("str, %d bytes", len(v))
		}
		q := strconv.Quote(short(v))
		return "'" + strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`) + "'"
	case []byte:
		return fmt.Sprintf("bytes, %d", len(v))
	case *big.Int:
		if v.BitLen() > 256 {
			return fmt.Sprintf("int, %d bits", v.BitLen())
		}
		return v.String()
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case pyName:
		return strings.TrimPrefix(string(v), "builtins.")
	case *pyTuple:
		return sequenceText("tuple", "(", v.items, ")")
	case *pyList:
		return sequenceText("list", "[", v.items, "]")
	case *pyDict:
		return fmt.Sprintf("dict, %d entries", len(v.keys))
	case *pyObject:
		switch {
		case strings.HasPrefix(v.class, "pathlib."):
			parts := make([]string, 0, len(v.args))
			for _, a := range v.args[:min(len(v.args), most)] {
				s, _ := a.(string)
				parts = append(parts, s)
			}
			return pickleText(strings.ReplaceAll(strings.Join(parts, "/"), "//", "/"))
		case v.class == "torch.device":
			parts := make([]string, 0, 2)
			for _, a := range v.args[:min(len(v.args), 2)] {
				switch a := a.(type) {
				case string:
					parts = append(parts, short(a))
				case int64:
					parts = append(parts, strconv.FormatInt(a, 10))
				}
			}
			return strings.Join(parts, ":")
		}
		name := v.class[strings.LastIndexByte(v.class, '.')+1:]
		if d, ok := v.state.(*pyDict); ok {
			return fmt.Sprintf("%s, %d entries", name, len(d.keys))
		}
		return name
	case *pthTensor:
		return fmt.Sprintf("tensor, %s %v", v.dtype, v.shape)
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return "value"
}

func sequenceText(kind, left string, items []any, right string) string {
	const most = 12
	if len(items) > most {
		return fmt.Sprintf("%s, %d entries", kind, len(items))
	}
	parts := make([]string, len(items))
	for i, item := range items {
		switch item.(type) {
		case *pyTuple, *pyList:
			return fmt.Sprintf("%s, %d entries", kind, len(items)) // a value may contain itself
		}
		parts[i] = pickleText(item)
	}
	return left + strings.Join(parts, ", ") + right
}
