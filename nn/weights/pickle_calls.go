package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// nameKind is what the machine does with a name that a pickle may hold.
type nameKind int

const (
	nameRecord nameKind = 1 + iota // kept as a pyObject
	nameDict
	nameList
	nameTuple
	nameCall // handled by unpickler.callFunction or the unpickler's extern
)

// pickleNames are the allowed names. Modules have the names of Python 3 and NumPy 1: see
// pickleModule.
var pickleNames = map[string]nameKind{
	"collections.OrderedDict": nameDict, "collections.defaultdict": nameDict,
	"collections.Counter": nameDict, "builtins.dict": nameDict,
	"builtins.list": nameList, "builtins.set": nameList, "builtins.frozenset": nameList,
	"builtins.tuple": nameTuple, "torch.Size": nameTuple,
	"_codecs.encode": nameCall, "copyreg._reconstructor": nameCall,
	"numpy.core.multiarray.scalar": nameCall,

	"argparse.Namespace": nameRecord, "types.SimpleNamespace": nameRecord,
	"builtins.object": nameRecord, "builtins.bytearray": nameRecord,
	"builtins.complex": nameRecord, "builtins.slice": nameRecord, "builtins.range": nameRecord,
	"builtins.int": nameRecord, "builtins.float": nameRecord, "builtins.bool": nameRecord,
	"builtins.str": nameRecord,
	"pathlib.Path": nameRecord, "pathlib.PosixPath": nameRecord, "pathlib.WindowsPath": nameRecord,
	"pathlib.PurePath": nameRecord, "pathlib.PurePosixPath": nameRecord,
	"pathlib.PureWindowsPath": nameRecord,
	"numpy.dtype":             nameRecord, "numpy.ndarray": nameRecord,
	"numpy.core.multiarray._reconstruct": nameRecord,
	"torch.device":                       nameRecord, "torch.Tensor": nameRecord,
	"torch.nn.parameter.Parameter": nameRecord,
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

// allowed is where everything that could do harm is refused.
func (u *unpickler) allowed(module, name string) (pyName, error) {
	if n := len(module) + len(name); n > maxPickleLine {
		return "", damaged("a name of %d bytes", n)
	}
	full := pickleModule(module) + "." + name
	if err := u.budget.spend(int64(len(full))); err != nil {
		return "", err
	}
	if u.kind(full) == 0 {
		return "", fmt.Errorf("refused %s: %w", Quote(module+"."+name), ErrRefused)
	}
	return pyName(full), nil
}

// kind is 0 for a name that is not allowed.
func (u *unpickler) kind(name string) nameKind {
	if kind := pickleNames[name]; kind != 0 {
		return kind
	}
	return u.names[name]
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

// call pushes what calling an allowed name would return.
func (u *unpickler) call(callee any, args []any) error {
	name, ok := callee.(pyName)
	if !ok {
		return damaged("calls %s", pickleText(callee))
	}
	switch u.kind(string(name)) {
	case nameRecord:
		return u.make(&pyObject{class: string(name), args: args})
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
		if u.kind(string(name)) == nameTuple {
			return u.make(&pyTuple{items})
		}
		return u.make(&pyList{items})
	}
	return u.callFunction(string(name), args)
}

// callDict makes a dictionary. Its arguments are none; for a defaultdict its factory; in Python 2 a
// list of pairs.
func (u *unpickler) callDict(args []any) error {
	d := &pyDict{}
	if len(args) > 0 {
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
		return u.call(args[0], nil)
	case "numpy.core.multiarray.scalar":
		return u.make(numpyScalar(args))
	}
	if u.extern == nil {
		return damaged("calls %s outside a checkpoint", name)
	}
	v, err := u.extern(name, args)
	if err != nil {
		return err
	}
	return u.make(v)
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
	case *pyDict, *pyList, *view:
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
