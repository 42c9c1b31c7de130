package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
)

// nameKind is what calling a name makes.
type nameKind int

const (
	nameRecord nameKind = iota // a pyObject
	nameDict
	nameList
	nameTuple
	nameCall // see unpickler.callFunction
)

// pickleNames are the names that make something else than a record. Modules have the names of
// Python 3 and NumPy 1: see pickleModule.
var pickleNames = map[string]nameKind{
	"collections.OrderedDict": nameDict, "collections.defaultdict": nameDict,
	"collections.Counter": nameDict, "builtins.dict": nameDict,
	"builtins.list": nameList, "builtins.set": nameList, "builtins.frozenset": nameList,
	"builtins.tuple": nameTuple, "torch.Size": nameTuple,

	"_codecs.encode": nameCall, "copyreg._reconstructor": nameCall,
	"numpy.core.multiarray.scalar": nameCall,
}

// harmful reports whether a name has no use in a checkpoint but to run a command in whoever loads
// it with Python. Here it would be a record as any other, but a file with it is an attack, and its
// owner should know.
func harmful(module, name string) bool {
	top, _, _ := strings.Cut(module, ".")
	switch top {
	case "os", "posix", "nt", "subprocess", "commands", "pty", "shutil", "socket", "runpy", "importlib", "ctypes", "webbrowser", "pip":
		return true
	case "builtins":
		switch name {
		case "eval", "exec", "execfile", "compile", "open", "__import__", "input", "breakpoint":
			return true
		}
	case "pickle", "_pickle", "torch":
		return name == "load" || name == "loads"
	}
	return false
}

// pickleModule returns the name that pickleNames has for a module of Python 2, NumPy 2 or Python
// 3.13.
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

// stepName pushes a name.
func (u *unpickler) stepName(op byte) error {
	if op == opGlobal {
		name, err := u.nameLines()
		if err != nil {
			return err
		}
		return u.make(name)
	}
	parts, err := u.popN(2)
	if err != nil {
		return err
	}
	module, ok1 := parts[0].(string)
	name, ok2 := parts[1].(string)
	if !ok1 || !ok2 {
		return damaged("a name that is not a string")
	}
	full, err := u.allowed(module, name)
	if err != nil {
		return err
	}
	return u.make(full)
}

// nameLines reads a module and a name in it, each a line.
func (u *unpickler) nameLines() (pyName, error) {
	module, err := u.line()
	if err != nil {
		return "", err
	}
	name, err := u.line()
	if err != nil {
		return "", err
	}
	return u.allowed(module, name)
}

// allowed is where everything that would do harm in Python is refused.
func (u *unpickler) allowed(module, name string) (pyName, error) {
	if n := len(module) + len(name); n > maxPickleLine {
		return "", damaged("a name of %d bytes", n)
	}
	known := pickleModule(module)
	full := known + "." + name
	if err := u.budget.spend(int64(len(full))); err != nil {
		return "", err
	}
	if harmful(known, name) {
		return "", fmt.Errorf("refused %s: %w", Quote(module+"."+name), ErrRefused)
	}
	return pyName(full), nil
}

// stepCall takes a name and its arguments from the stack and pushes what calling it would return.
func (u *unpickler) stepCall(op byte) error {
	switch op {
	case opInst:
		class, err := u.nameLines()
		if err != nil {
			return err
		}
		args, err := u.popMark()
		if err != nil {
			return err
		}
		if args, err = u.clone(args); err != nil {
			return err
		}
		return u.call(class, args)
	case opObj:
		args, err := u.popMark()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return errPickleStack
		}
		if args, err = u.clone(args); err != nil {
			return err
		}
		return u.call(args[0], args[1:])
	}
	n := 2
	if op == opNewObjEx {
		n = 3
	}
	parts, err := u.popN(n)
	if err != nil {
		return err
	}
	args, ok := parts[1].(*pyTuple)
	if !ok {
		return damaged("arguments that are not a tuple")
	}
	return u.call(parts[0], args.items)
}

// call pushes what calling a name would return. What a record would return is a record, too.
func (u *unpickler) call(callee any, args []any) error {
	name, ok := callee.(pyName)
	if o, isObject := callee.(*pyObject); isObject {
		return u.object(&pyObject{class: o.class, args: args})
	}
	if !ok {
		return damaged("calls %s", pickleText(callee))
	}
	kind := pickleNames[string(name)]
	switch kind {
	case nameDict:
		return u.callDict(args)
	case nameList, nameTuple:
		var items []any
		if len(args) > 0 {
			var err error
			if items, err = u.clone(sequence(args[0])); err != nil {
				return err
			}
		}
		if kind == nameTuple {
			return u.make(&pyTuple{items})
		}
		return u.make(&pyList{items})
	case nameCall:
		return u.callFunction(string(name), args)
	}
	if u.extern != nil && isExtern(string(name)) {
		v, err := u.extern(string(name), args)
		if err != nil {
			return err
		}
		return u.make(v)
	}
	return u.object(&pyObject{class: string(name), args: args})
}

// callDict makes a dictionary. Its arguments are none; for a defaultdict its factory; for a Counter a
// dictionary; in Python 2 a list of pairs.
func (u *unpickler) callDict(args []any) error {
	d := &pyDict{}
	if len(args) > 0 {
		if from := asDict(args[0]); from != nil {
			for i, key := range from.keys {
				if err := u.setItems(d, []any{key, from.values[i]}); err != nil {
					return err
				}
			}
		}
		for _, item := range sequence(args[0]) {
			pair := sequence(item)
			if len(pair) != 2 {
				return damaged("a dictionary of items that are not pairs")
			}
			if err := u.setItems(d, pair); err != nil {
				return err
			}
		}
	}
	return u.make(d)
}

func (u *unpickler) callFunction(name string, args []any) error {
	switch name {
	case "_codecs.encode":
		return u.encode(args)
	case "copyreg._reconstructor": // class, base and the base's state
		if len(args) == 0 {
			return damaged("copyreg._reconstructor without a class")
		}
		if pickleNames[nameOf(args[0])] == nameCall {
			return damaged("copyreg._reconstructor of %s", pickleText(args[0]))
		}
		return u.call(args[0], nil)
	}
	return u.make(numpyScalar(args)) // numpy.core.multiarray.scalar
}

// nameOf returns a value that is a name, "" for another one.
func nameOf(v any) string {
	name, _ := v.(pyName)
	return string(name)
}

// encode makes bytes of a string whose characters are their values, as protocol 2 writes them.
func (u *unpickler) encode(args []any) error {
	s, ok := "", false
	if len(args) > 0 {
		s, ok = args[0].(string)
	}
	if !ok {
		return damaged("_codecs.encode without a string")
	}
	if err := u.budget.spend(int64(len(s))); err != nil {
		return err
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 255 {
			return damaged("_codecs.encode of a string that is not latin1")
		}
		b = append(b, byte(r))
	}
	return u.make(b)
}

// numpyScalar returns the number of a numpy scalar's dtype and bytes, or a record if the scalar is
// of another kind.
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
	kind, _ := dtype.args[0].(string)
	if len(kind) != 2 || len(b) > 8 || len(b) != int(kind[1]-'0') {
		return scalar
	}
	if state := sequence(dtype.state); len(state) > 1 && state[1] == any(">") {
		b = slices.Clone(b)
		slices.Reverse(b)
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

// build sets the state of the record on the stack. Attributes of a container or a tensor, such as
// _metadata of a state dict, are dropped.
func (u *unpickler) build() error {
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
	case *pyDict, *pyList, *pyTuple, *view:
	default:
		return damaged("sets the state of %s", pickleText(to))
	}
	return nil
}

func (u *unpickler) persistentID() error {
	id, err := u.pop()
	if err != nil {
		return err
	}
	if u.persistent == nil {
		return damaged("a persistent id outside a checkpoint")
	}
	v, err := u.persistent(id)
	if err != nil {
		return err
	}
	return u.make(v)
}
