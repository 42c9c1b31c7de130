package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// The instructions of a pickle, by their names in pickletools.py.
const (
	// The program and the stack.
	opProto   = 0x80
	opFrame   = 0x95 // a hint on reading ahead
	opStop    = '.'
	opMark    = '('
	opPop     = '0'
	opPopMark = '1'
	opDup     = '2'

	// Numbers.
	opNone     = 'N'
	opNewTrue  = 0x88
	opNewFalse = 0x89
	opBinInt   = 'J'
	opBinInt1  = 'K'
	opBinInt2  = 'M'
	opInt      = 'I'
	opLong     = 'L'
	opLong1    = 0x8a
	opLong4    = 0x8b
	opBinFloat = 'G'
	opFloat    = 'F'

	// Strings.
	opBinUnicode      = 'X'
	opShortBinUnicode = 0x8c
	opBinUnicode8     = 0x8d
	opBinString       = 'T' // of Python 2
	opShortBinString  = 'U'
	opBinBytes        = 'B'
	opShortBinBytes   = 'C'
	opBinBytes8       = 0x8e
	opByteArray8      = 0x96
	opString          = 'S' // in quotes
	opUnicode         = 'V'

	// Containers.
	opEmptyTuple = ')'
	opTuple      = 't'
	opTuple1     = 0x85
	opTuple2     = 0x86
	opTuple3     = 0x87
	opEmptyList  = ']'
	opList       = 'l'
	opAppend     = 'a'
	opAppends    = 'e'
	opEmptySet   = 0x8f
	opAddItems   = 0x90
	opFrozenSet  = 0x91
	opEmptyDict  = '}'
	opDict       = 'd'
	opSetItem    = 's'
	opSetItems   = 'u'

	// The memo.
	opPut        = 'p'
	opBinPut     = 'q'
	opLongBinPut = 'r'
	opMemoize    = 0x94
	opGet        = 'g'
	opBinGet     = 'h'
	opLongBinGet = 'j'

	// Names and calls.
	opGlobal      = 'c'
	opStackGlobal = 0x93
	opReduce      = 'R'
	opNewObj      = 0x81
	opNewObjEx    = 0x92 // with keyword arguments, which are dropped
	opInst        = 'i'  // of protocol 0
	opObj         = 'o'
	opBuild       = 'b'
	opBinPersID   = 'Q'
)

const maxProtocol = 5

// step carries out one instruction other than opStop.
func (u *unpickler) step(op byte) error {
	switch op {
	case opProto, opFrame, opMark, opPop, opPopMark, opDup:
		return u.stepStack(op)
	case opNone, opNewTrue, opNewFalse, opBinInt, opBinInt1, opBinInt2, opLong1, opLong4, opBinFloat:
		return u.stepNumber(op)
	case opInt, opLong, opFloat:
		return u.stepNumberLine(op)
	case opBinUnicode, opShortBinUnicode, opBinUnicode8, opBinString, opShortBinString,
		opBinBytes, opShortBinBytes, opBinBytes8, opByteArray8:
		return u.stepString(op)
	case opString, opUnicode:
		return u.stepStringLine(op)
	case opEmptyTuple, opTuple, opTuple1, opTuple2, opTuple3, opEmptyList, opList, opEmptySet,
		opFrozenSet, opEmptyDict, opDict:
		return u.stepContainer(op)
	case opAppend, opAppends, opAddItems, opSetItem, opSetItems:
		return u.stepItems(op)
	case opPut, opBinPut, opLongBinPut, opMemoize, opGet, opBinGet, opLongBinGet:
		return u.stepMemo(op)
	case opGlobal, opStackGlobal:
		return u.stepName(op)
	case opReduce, opNewObj, opNewObjEx, opInst, opObj:
		return u.stepCall(op)
	case opBuild:
		return u.build()
	case opBinPersID:
		return u.persistentID()
	}
	return damaged("unknown instruction")
}

func (u *unpickler) stepStack(op byte) error {
	switch op {
	case opProto:
		p, err := u.byte()
		if err == nil && p > maxProtocol {
			err = fmt.Errorf("protocol %d is %w; save it with protocol 2", p, ErrUnsupported)
		}
		return err
	case opFrame:
		_, err := u.uint(8)
		return err
	case opMark:
		return u.mark()
	case opPop:
		if n := len(u.marks); n > 0 && len(u.stack) == u.floor() {
			u.marks = u.marks[:n-1]
			return nil
		}
		_, err := u.pop()
		return err
	case opPopMark:
		_, err := u.popMark()
		return err
	}
	v, err := u.top() // opDup
	if err != nil {
		return err
	}
	return u.push(v)
}

func (u *unpickler) stepNumber(op byte) error {
	switch op {
	case opNone:
		return u.push(nil)
	case opNewTrue, opNewFalse:
		return u.push(op == opNewTrue)
	case opBinInt1:
		v, err := u.uint(1)
		if err != nil {
			return err
		}
		return u.push(int64(v))
	case opBinInt2:
		v, err := u.uint(2)
		if err != nil {
			return err
		}
		return u.number(int64(v))
	case opBinInt:
		v, err := u.uint(4)
		if err != nil {
			return err
		}
		return u.number(int64(int32(v)))
	case opLong1, opLong4:
		n := 1
		if op == opLong4 {
			n = 4
		}
		size, err := u.uint(n)
		if err != nil {
			return err
		}
		b, err := u.bytes(size)
		if err != nil {
			return err
		}
		if err := u.budget.spend(3 * int64(size)); err != nil {
			return err
		}
		return u.make(pickleLong(b))
	}
	v, err := u.uint(8) // opBinFloat, the only number that is big-endian
	if err != nil {
		return err
	}
	return u.number(math.Float64frombits(bits.ReverseBytes64(v)))
}

// pickleLong returns the number of little-endian two's complement bytes. It may reverse them.
func pickleLong(b []byte) any {
	negative := len(b) > 0 && b[len(b)-1]&0x80 != 0
	if len(b) <= 8 {
		var x [8]byte
		copy(x[:], b)
		if negative {
			for i := len(b); i < 8; i++ {
				x[i] = 0xff
			}
		}
		return int64(binary.LittleEndian.Uint64(x[:]))
	}
	slices.Reverse(b)
	v := new(big.Int).SetBytes(b)
	if negative {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return v
}

// stepNumberLine reads a number that is written as a line of text.
func (u *unpickler) stepNumberLine(op byte) error {
	s, err := u.line()
	if err != nil {
		return err
	}
	if op == opFloat {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return damaged("%s is not a number", Quote(s))
		}
		return u.number(v)
	}
	if op == opInt && (s == "00" || s == "01") { // how protocol 0 writes False and True
		return u.push(s == "01")
	}
	s = strings.TrimSuffix(s, "L")
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		return u.number(v)
	}
	const maxDigits = 1000
	if len(s) < maxDigits {
		if v, ok := new(big.Int).SetString(s, 10); ok {
			return u.make(v)
		}
	}
	return damaged("%s is not a number", Quote(s))
}

// stepString reads text or bytes behind their length.
func (u *unpickler) stepString(op byte) error {
	n := 4
	switch op {
	case opShortBinUnicode, opShortBinString, opShortBinBytes:
		n = 1
	case opBinUnicode8, opBinBytes8, opByteArray8:
		n = 8
	}
	size, err := u.uint(n)
	if err != nil {
		return err
	}
	switch op {
	case opBinBytes, opShortBinBytes, opBinBytes8, opByteArray8:
		b, err := u.bytes(size)
		if err != nil {
			return err
		}
		return u.push(b)
	}
	s, err := u.string(size)
	if err != nil {
		return err
	}
	return u.push(s)
}

// stepStringLine reads a string that is written as a line.
func (u *unpickler) stepStringLine(op byte) error {
	s, err := u.line()
	if err != nil {
		return err
	}
	if op == opString {
		if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '\'' && s[0] != '"' {
			return damaged("%s is not a string in quotes", Quote(s))
		}
		s = s[1 : len(s)-1]
	}
	if strings.Contains(s, `\`) {
		return fmt.Errorf("string %s has escapes, which are %w; save it with protocol 2", Quote(s), ErrUnsupported)
	}
	return u.push(s)
}

// stepContainer makes a container.
func (u *unpickler) stepContainer(op byte) error {
	var items []any
	var err error
	switch op {
	case opTuple1, opTuple2, opTuple3:
		items, err = u.popN(1 + int(op-opTuple1))
	case opTuple, opList, opFrozenSet, opDict:
		items, err = u.popMark()
	}
	if err != nil {
		return err
	}
	switch op {
	case opEmptyDict, opDict:
		d := &pyDict{}
		if err := u.setItems(d, items); err != nil {
			return err
		}
		return u.make(d)
	}
	if items, err = u.clone(items); err != nil {
		return err
	}
	switch op {
	case opEmptyTuple, opTuple, opTuple1, opTuple2, opTuple3:
		return u.make(&pyTuple{items})
	}
	return u.make(&pyList{items})
}

// stepItems puts what lies on the stack into the container below it: one item, or all above the
// mark.
func (u *unpickler) stepItems(op byte) error {
	var items []any
	var err error
	switch op {
	case opAppend:
		items, err = u.popN(1)
	case opSetItem:
		items, err = u.popN(2)
	default:
		items, err = u.popMark()
	}
	if err != nil {
		return err
	}
	to, err := u.top()
	if err != nil {
		return err
	}
	if op == opSetItem || op == opSetItems {
		d, ok := to.(*pyDict)
		if o, isObject := to.(*pyObject); isObject {
			if o.dict == nil {
				if err := u.budget.spend(valueSize); err != nil {
					return err
				}
				o.dict = new(pyDict)
			}
			d, ok = o.dict, true
		}
		if !ok {
			return damaged("sets items of %s, which is not a dictionary", pickleText(to))
		}
		return u.setItems(d, items)
	}
	l, ok := to.(*pyList)
	if o, isObject := to.(*pyObject); isObject {
		if o.list == nil {
			if err := u.budget.spend(valueSize); err != nil {
				return err
			}
			o.list = new(pyList)
		}
		l, ok = o.list, true
	}
	if !ok {
		return damaged("appends to %s, which is not a list", pickleText(to))
	}
	if l.items, err = u.extend(l.items, len(items)); err != nil {
		return err
	}
	l.items = append(l.items, items...)
	return nil
}

// clone returns a copy of values that stay.
func (u *unpickler) clone(items []any) ([]any, error) {
	list, err := u.extend(nil, len(items))
	return append(list, items...), err
}

// setItems adds keys and values, which alternate.
func (u *unpickler) setItems(d *pyDict, items []any) error {
	if len(items)%2 != 0 {
		return damaged("a key without a value")
	}
	n := len(items) / 2
	keys, err := u.extend(d.keys, n)
	if err != nil {
		return err
	}
	values, err := u.extend(d.values, n)
	if err != nil {
		return err
	}
	for i := range n {
		keys = append(keys, items[2*i])
		values = append(values, items[2*i+1])
	}
	d.keys, d.values = keys, values
	return nil
}

func (u *unpickler) stepMemo(op byte) error {
	var i uint64
	var err error
	switch op {
	case opMemoize:
		i = uint64(len(u.memo))
	case opBinPut, opBinGet:
		i, err = u.uint(1)
	case opLongBinPut, opLongBinGet:
		i, err = u.uint(4)
	case opPut, opGet:
		i, err = u.memoLine()
	}
	if err != nil {
		return err
	}
	switch op {
	case opGet, opBinGet, opLongBinGet:
		return u.get(i)
	}
	return u.put(i)
}

// memoLine reads a memo number that is written as a line.
func (u *unpickler) memoLine() (uint64, error) {
	s, err := u.line()
	if err != nil {
		return 0, err
	}
	i, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, damaged("memo number %s", Quote(s))
	}
	return i, nil
}
