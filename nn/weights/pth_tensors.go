package weights

import (
	"fmt"
	"math"
	"strings"
)

// pthStorages are the storage classes of package torch, pthDTypes its element types, and pthNames
// all names that a checkpoint may have beside pickleNames.
var (
	pthStorages = map[string]string{
		"torch.DoubleStorage": "F64", "torch.FloatStorage": "F32",
		"torch.HalfStorage": "F16", "torch.BFloat16Storage": "BF16",
		"torch.LongStorage": "I64", "torch.IntStorage": "I32",
		"torch.ShortStorage": "I16", "torch.CharStorage": "I8",
		"torch.ByteStorage": "U8", "torch.BoolStorage": "BOOL",
		"torch.storage.UntypedStorage": "U8", "torch.storage._UntypedStorage": "U8",
		"torch.UntypedStorage": "U8",
	}
	pthDTypes = map[string]string{
		"torch.float64": "F64", "torch.float32": "F32",
		"torch.float16": "F16", "torch.bfloat16": "BF16",
		"torch.float8_e4m3fn": "F8_E4M3", "torch.float8_e5m2": "F8_E5M2",
		"torch.int64": "I64", "torch.int32": "I32", "torch.int16": "I16", "torch.int8": "I8",
		"torch.uint64": "U64", "torch.uint32": "U32", "torch.uint16": "U16", "torch.uint8": "U8",
		"torch.bool": "BOOL",
	}
	pthNames = func() map[string]nameKind {
		names := map[string]nameKind{
			"torch.storage.TypedStorage": nameRecord, "torch.storage._TypedStorage": nameRecord,
			"torch._utils._rebuild_tensor":               nameCall,
			"torch._utils._rebuild_tensor_v2":            nameCall,
			"torch._utils._rebuild_tensor_v3":            nameCall,
			"torch._utils._rebuild_parameter":            nameCall,
			"torch._utils._rebuild_parameter_with_state": nameCall,
			"torch._tensor._rebuild_from_type_v2":        nameCall,
		}
		for name := range pthStorages {
			names[name] = nameRecord
		}
		for name := range pthDTypes {
			names[name] = nameRecord
		}
		return names
	}()
)

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
	class, _ := parts[1].(pyName)
	dtype := pthStorages[string(class)]
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

// rebuild makes a tensor as torch._utils does.
func (p *pthReader) rebuild(name string, args []any) (any, error) {
	_, name, _ = strings.Cut(name, "._") // of the module _utils or _tensor
	_, name, _ = strings.Cut(name, ".")
	switch name {
	case "_rebuild_from_type_v2": // function, class, its arguments, state
		if len(args) == 4 {
			f, ok := args[0].(pyName)
			if inner, ok2 := args[2].(*pyTuple); ok && ok2 && strings.HasPrefix(string(f), "torch._utils._rebuild_") {
				return p.rebuild(string(f), inner.items)
			}
		}
		return nil, fmt.Errorf("a tensor of a class of its own is %w; save the state_dict", ErrUnsupported)
	case "_rebuild_parameter", "_rebuild_parameter_with_state":
		if len(args) > 0 {
			if t, ok := args[0].(*view); ok {
				return t, nil
			}
		}
		return nil, damaged("%s without a tensor", name)
	}
	return p.rebuildTensor(name, args)
}

// rebuildTensor makes a tensor of (storage, offset, shape, strides, …). With v3 the storage is of
// bytes and the seventh argument is the dtype.
func (p *pthReader) rebuildTensor(name string, args []any) (*view, error) {
	if len(args) < 4 {
		return nil, damaged("%s of %d arguments", name, len(args))
	}
	part, ok := args[0].(pthPart)
	offset, ok2 := args[1].(int64)
	if !ok || !ok2 || offset < 0 {
		return nil, damaged("%s of %s at %s", name, pickleText(args[0]), pickleText(args[1]))
	}
	if err := p.budget.spend(viewSize + slotSize*int64(len(sequence(args[2])))); err != nil {
		return nil, err
	}
	width := int64(elementSizes[part.dtype])
	v := &view{storage: part.storage, dtype: part.dtype, width: int(width)}
	available := part.count
	if name == "_rebuild_tensor_v3" && len(args) > 6 {
		dtype, _ := args[6].(pyName)
		if v.dtype = pthDTypes[string(dtype)]; v.dtype == "" {
			return nil, fmt.Errorf("a tensor of %s is %w; save it as torch.float32", pickleText(args[6]), ErrUnsupported)
		}
		v.width = elementSizes[v.dtype]
		available = available * width / int64(v.width)
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
