package weights

import (
	"encoding/binary"
	"errors"
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

// pickleNames are the allowed names. Modules have the names of Python 3 and NumPy 1: see pickleModule.
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
		return errors.New("a name that is not a string; the file is damaged")
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
	full := pickleModule(module) + "." + name
	if u.kind(full) == 0 {
		return "", fmt.Errorf("refused %s: a checkpoint may hold tensors and plain values, and nothing in it is ever executed; if you trust it, load it in Python and save its state_dict alone", Quote(module+"."+name))
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
		return u.call(class, args)
	case opObj:
		args, err := u.popMark()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return errPickleStack
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
		return errors.New("arguments that are not a tuple; the file is damaged")
	}
	return u.call(parts[0], args.items)
}

// call pushes what calling an allowed name would return.
func (u *unpickler) call(callee any, args []any) error {
	name, ok := callee.(pyName)
	if !ok {
		return fmt.Errorf("calls %s; the file is damaged", pickleText(callee))
	}
	switch u.kind(string(name)) {
	case nameRecord:
		return u.make(&pyObject{class: string(name), args: args})
	case nameDict:
		return u.callDict(args)
	case nameList:
		return u.make(&pyList{u.firstItems(args)})
	case nameTuple:
		return u.make(&pyTuple{u.firstItems(args)})
	}
	return u.callFunction(string(name), args)
}

// callDict makes a dictionary. Its arguments are none; for a defaultdict its factory; in Python 2 a
// list of pairs.
func (u *unpickler) callDict(args []any) error {
	d := &pyDict{}
	for _, a := range args {
		l, ok := a.(*pyList)
		if !ok {
			continue
		}
		for _, item := range l.items {
			pair := sequence(item)
			if len(pair) != 2 {
				return errors.New("a dictionary of items that are not pairs; the file is damaged")
			}
			if err := u.setItems(d, pair); err != nil {
				return err
			}
		}
	}
	return u.make(d)
}

// firstItems returns a copy of the items of the first argument.
func (u *unpickler) firstItems(args []any) []any {
	if len(args) == 0 {
		return nil
	}
	items := slices.Clone(sequence(args[0]))
	u.budget -= 16 * int64(len(items))
	return items
}

func (u *unpickler) callFunction(name string, args []any) error {
	switch name {
	case "_codecs.encode":
		return u.encode(args)
	case "copyreg._reconstructor": // class, base and the base's state
		if len(args) == 0 {
			return errors.New("copyreg._reconstructor without a class; the file is damaged")
		}
		return u.call(args[0], nil)
	case "numpy.core.multiarray.scalar":
		return u.make(numpyScalar(args))
	}
	if u.extern == nil {
		return fmt.Errorf("calls %s outside a checkpoint; the file is damaged", name)
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
		return errors.New("_codecs.encode without a string; the file is damaged")
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 255 {
			return errors.New("_codecs.encode of a string that is not latin1; the file is damaged")
		}
		b = append(b, byte(r))
	}
	u.budget -= int64(len(b))
	return u.make(b)
}

// numpyScalar returns the number of a numpy scalar's dtype and bytes, or a record if the scalar is of
// another kind.
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
		return fmt.Errorf("sets the state of %s; the file is damaged", pickleText(to))
	}
	return nil
}

func (u *unpickler) persistentID() error {
	id, err := u.pop()
	if err != nil {
		return err
	}
	if u.persistent == nil {
		return errors.New("a persistent id outside a checkpoint; the file is damaged")
	}
	v, err := u.persistent(id)
	if err != nil {
		return err
	}
	return u.make(v)
}
