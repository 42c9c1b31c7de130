package weights

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// pthStorages are the storage classes of package torch, and pthDTypes its element types.
var (
	pthStorages = map[string]string{
		"torch.DoubleStorage": "F64", "torch.FloatStorage": "F32",
		"torch.HalfStorage": "F16", "torch.BFloat16Storage": "BF16",
		"torch.LongStorage": "I64", "torch.IntStorage": "I32",
		"torch.ShortStorage": "I16", "torch.CharStorage": "I8",
		"torch.ByteStorage": "U8", "torch.BoolStorage": "BOOL",
		"torch.ComplexFloatStorage": complex64, "torch.ComplexDoubleStorage": complex128,
		"torch.QInt8Storage": quantizedI8, "torch.QUInt8Storage": quantizedU8, "torch.QInt32Storage": quantizedI32,
		"torch.storage.UntypedStorage": "U8", "torch.storage._UntypedStorage": "U8",
		"torch.UntypedStorage": "U8",
	}
	pthDTypes = map[string]string{
		"torch.float64": "F64", "torch.float32": "F32",
		"torch.float16": "F16", "torch.bfloat16": "BF16",
		"torch.float8_e4m3fn": "F8_E4M3", "torch.float8_e5m2": "F8_E5M2",
		"torch.float8_e4m3fnuz": "F8_E4M3FNUZ", "torch.float8_e5m2fnuz": "F8_E5M2FNUZ", "torch.float8_e8m0fnu": "F8_E8M0",
		"torch.complex64": complex64, "torch.complex128": complex128,
		"torch.int64": "I64", "torch.int32": "I32", "torch.int16": "I16", "torch.int8": "I8",
		"torch.uint64": "U64", "torch.uint32": "U32", "torch.uint16": "U16", "torch.uint8": "U8",
		"torch.bool": "BOOL",
	}
	// numpyDTypes are the little-endian element types of arrays that hold a tensor.
	numpyDTypes = map[string]string{
		"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8",
		"u8": "U64", "u4": "U32", "u2": "U16", "u1": "U8", "b1": "BOOL",
	}
)

// isExtern reports whether calling a name makes a tensor: see rebuild.
func isExtern(name string) bool {
	return strings.HasPrefix(name, "torch._utils._rebuild_") || strings.HasPrefix(name, "torch._tensor._rebuild_")
}

// viewSize is more than a view takes in memory with its place in the file, and shape and strides of
// a few axes.
const viewSize = 256

// pthPart is what a persistent id refers to: a storage, or in old files a part of one.
type pthPart struct {
	*storage
	base, count int64 // elements
}

// persistent returns what a persistent id names. The id is ("storage", class, key, device,
// elements) and, in the old format, a view (key, offset, elements) or None.
func (p *pthReader) persistent(id any) (any, error) {
	parts := sequence(id)
	if len(parts) < 5 || parts[0] != any("storage") {
		return nil, damaged("a persistent id that does not name a storage")
	}
	class := nameOf(parts[1])
	dtype := pthStorages[class]
	if dtype == "" && strings.HasPrefix(class, "torch.") && strings.HasSuffix(class, "Storage") {
		dtype = shorten(class) // of a type that cannot be read
	}
	key, ok := parts[2].(string)
	count, ok2 := parts[4].(int64)
	// Keys are numbers, and looked up many times: a key of megabytes would take minutes.
	const maxKey = 128
	if dtype == "" || !ok || len(key) > maxKey || !ok2 || count < 0 || count > math.MaxInt64/16 {
		return nil, damaged("storage %s: %s elements of %s", pickleText(parts[2]), pickleText(parts[4]), pickleText(parts[1]))
	}
	s := p.storages[key]
	if s == nil {
		const storageSize = 256 // with its place in the map
		if err := p.budget.spend(storageSize); err != nil {
			return nil, err
		}
		s = &storage{key: key, dtype: dtype, count: count}
		p.storages[key] = s
	}
	if s.dtype != dtype || s.count != count {
		return nil, damaged("storage %s: %d of %s and also %d of %s", Quote(key), s.count, s.dtype, count, dtype)
	}
	part := pthPart{s, 0, count}
	if len(parts) > 5 && parts[5] != nil {
		view := sequence(parts[5])
		if len(view) != 3 {
			return nil, damaged("storage %s: got %s, want a view of (key, offset, elements)", Quote(key), pickleText(parts[5]))
		}
		from, ok := view[1].(int64)
		n, ok2 := view[2].(int64)
		if !ok || !ok2 || from < 0 || n < 0 || from > count || n > count-from {
			return nil, damaged("storage %s: a view of %s elements at %s leaves its %d", Quote(key), pickleText(view[2]), pickleText(view[1]), count)
		}
		part.base, part.count = from, n
	}
	return part, nil
}

// rebuild makes a tensor as the functions of torch._utils and torch._tensor do.
func (p *pthReader) rebuild(name string, args []any) (any, error) {
	_, name, _ = strings.Cut(name, "._") // of the module _utils or _tensor
	_, name, _ = strings.Cut(name, ".")
	arg := func(i int) any {
		if i < len(args) {
			return args[i]
		}
		return nil
	}
	switch name {
	case "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3":
		return p.rebuildTensor(name, args)
	case "_rebuild_from_type_v2": // function, class, its arguments, state
		f, class := nameOf(arg(0)), nameOf(arg(1))
		inner, ok := arg(2).(*pyTuple)
		if !ok || class == "" || !isExtern(f) || strings.HasSuffix(f, "._rebuild_from_type_v2") {
			return nil, fmt.Errorf("a tensor of a class of its own is %w; save the state_dict", ErrUnsupported)
		}
		v, err := p.rebuild(f, inner.items)
		if err != nil {
			return nil, err
		}
		if t, ok := v.(*view); ok && class != "torch.Tensor" && !strings.HasPrefix(class, "torch.nn.parameter.") {
			return p.odd(class, &pyTuple{items: shapeItems(t.shape)}) // its values may mean something else
		}
		return v, nil
	case "_rebuild_parameter", "_rebuild_parameter_with_state":
		switch t := arg(0).(type) {
		case *view:
			return t, nil
		case *pyObject:
			return p.odd(t.class, nil)
		}
		return nil, damaged("%s without a tensor", name)
	case "_rebuild_device_tensor_from_cpu_tensor", "_rebuild_device_tensor_from_numpy", "_rebuild_xla_tensor":
		switch t := arg(0).(type) {
		case *view:
			return t, nil
		case *pyObject:
			return p.numpyTensor(t)
		}
		return nil, damaged("%s without a tensor", name)
	case "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor": // layout, (indices, values, shape, …)
		for _, v := range sequence(arg(1)) {
			if shape, ok := v.(*pyTuple); ok {
				return p.odd(sparse, shape)
			}
		}
		return p.odd(sparse, nil)
	case "_rebuild_qtensor":
		return p.odd(quantized, arg(2))
	case "_rebuild_meta_tensor_no_storage":
		return p.odd(meta, arg(1))
	case "_rebuild_nested_tensor":
		return p.odd(nested, nil)
	case "_rebuild_wrapper_subclass": // class, dtype, shape, …
		return p.odd(nameOf(arg(0)), arg(2))
	}
	return p.odd(name, nil)
}

// odd returns a tensor that is listed and cannot be read: its dtype says of what kind it is. A
// shape that is none is left out.
func (p *pthReader) odd(kind string, shape any) (*view, error) {
	if kind == "" {
		kind = "unknown"
	}
	if err := p.budget.spend(viewSize + slotSize*int64(len(sequence(shape)))); err != nil {
		return nil, err
	}
	v := &view{dtype: shorten(kind)}
	var ok bool
	var err error
	if v.shape, err = pthInts("shape", shape); err == nil {
		v.count, ok = elements(v.shape)
	}
	if !ok {
		v.shape, v.count = nil, 0
	}
	return v, nil
}

func shapeItems(shape []int) []any {
	items := make([]any, len(shape))
	for i, n := range shape {
		items[i] = int64(n)
	}
	return items
}

// numpyTensor returns the tensor that a numpy array holds, whose state is (version, shape, dtype,
// whether columns come first, bytes).
func (p *pthReader) numpyTensor(o *pyObject) (*view, error) {
	state := sequence(o.state)
	if len(state) != 5 {
		return p.odd("numpy", nil)
	}
	v, err := p.odd("numpy", state[1])
	if err != nil {
		return nil, err
	}
	b, isBytes := state[4].([]byte)
	d, _ := state[2].(*pyObject)
	if d == nil || len(d.args) == 0 || !isBytes || state[3] != any(false) {
		return v, nil
	}
	kind, _ := d.args[0].(string)
	order := sequence(d.state)
	dtype := numpyDTypes[kind]
	width := elementSizes[dtype]
	if dtype == "" || len(order) > 1 && order[1] == any(">") || len(b) != v.count*width || v.shape == nil {
		return v, nil
	}
	v.dtype, v.width, v.storage = dtype, width, &storage{key: "of numpy", dtype: dtype, count: int64(v.count), at: bytes.NewReader(b)}
	return v, nil
}

// rebuildTensor makes a tensor of (storage, offset, shape, strides, whether it needs a gradient,
// hooks, flags). With v3 the storage is of bytes and the dtype is in the place of the flags, which
// follow it.
func (p *pthReader) rebuildTensor(name string, args []any) (*view, error) {
	if len(args) < 4 {
		return nil, damaged("%s of %d arguments", name, len(args))
	}
	part, ok := args[0].(pthPart)
	if o, isObject := args[0].(*pyObject); isObject { // a storage of a kind that is not known
		return p.odd(o.class, args[2])
	}
	offset, ok2 := args[1].(int64)
	if !ok || !ok2 || offset < 0 {
		return nil, damaged("%s of %s at %s", name, pickleText(args[0]), pickleText(args[1]))
	}
	if elementSizes[part.dtype] == 0 {
		return p.odd(part.dtype, args[2])
	}
	if err := p.budget.spend(viewSize + slotSize*int64(len(sequence(args[2])))); err != nil {
		return nil, err
	}
	width := int64(elementSizes[part.dtype])
	v := &view{storage: part.storage, dtype: part.dtype, width: int(width)}
	available := part.count
	flags := 6
	if name == "_rebuild_tensor_v3" && len(args) > 6 {
		flags = 7
		dtype := nameOf(args[6])
		if dtype == "" {
			return nil, fmt.Errorf("a tensor of %s is %w; save it as torch.float32", pickleText(args[6]), ErrUnsupported)
		}
		if v.dtype = pthDTypes[dtype]; v.dtype == "" {
			return p.odd(dtype, args[2])
		}
		v.width = elementSizes[v.dtype]
		available = available * width / int64(v.width)
	}
	if len(args) > flags && !v.flag(args[flags]) {
		return p.odd(flagged, args[2])
	}
	var err error
	if v.shape, err = pthInts("shape", args[2]); err != nil {
		return nil, err
	}
	if v.stride, err = pthInts("strides", args[3]); err != nil {
		return nil, err
	}
	if len(v.shape) != len(v.stride) {
		return nil, damaged("shape %v with strides %v", v.shape, v.stride)
	}
	if v.count, ok = elements(v.shape); !ok || int64(v.count) > math.MaxInt64/8 {
		return nil, damaged("the size of shape %v overflows", v.shape)
	}
	if v.count == 0 {
		return v, nil
	}
	if !fits(v.shape, v.stride, offset, available) {
		return nil, damaged("shape %v with strides %v at %d leaves its storage %s of %d elements", v.shape, v.stride, offset, Quote(part.key), available)
	}
	v.begin = part.base*width + offset*int64(v.width)
	return v, nil
}

// flag takes over the flags of a tensor and reports whether it can: a tensor that PyTorch negates
// only when it is used is written with its old values and the flag "neg".
func (v *view) flag(flags any) bool {
	d, _ := flags.(*pyDict)
	if d == nil {
		return flags == nil
	}
	for i, k := range d.keys {
		switch on := d.values[i] != any(false); {
		case !on:
		case k == any("neg") && IsFloat(v.dtype):
			v.negative = true
		case k == any("conj") && (v.dtype == complex64 || v.dtype == complex128): // is not read in any case
		default:
			return false
		}
	}
	return true
}

// fits reports whether a tensor without an empty axis that begins at element offset lies within the
// first n elements.
func fits(shape, stride []int, offset, n int64) bool {
	last := offset
	for i, d := range shape {
		if s := int64(stride[i]); d > 1 && s > 0 {
			if last >= n || int64(d-1) > (n-last)/s {
				return false
			}
			last += int64(d-1) * s
		}
	}
	return last < n
}

// pthInts returns a shape or strides.
func pthInts(what string, v any) ([]int, error) {
	items := sequence(v)
	if _, ok := v.(*pyTuple); !ok || len(items) > maxRank {
		return nil, damaged("%s %s, want a tuple of at most %d numbers", what, pickleText(v), maxRank)
	}
	list := make([]int, len(items))
	for i, item := range items {
		n, ok := item.(int64)
		if !ok || n < 0 || n > math.MaxInt {
			return nil, damaged("%s %s, want numbers of 0 or more", what, pickleText(v))
		}
		list[i] = int(n)
	}
	return list, nil
}
