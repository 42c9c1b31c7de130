package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/big"
	"slices"
	"strings"
	"sync"
)

// A PyTorch checkpoint is a pickle whose tensors refer to storages, typed vectors of numbers, by a key, with shape,
// strides and an offset into the storage; several tensors may share one. Since PyTorch 1.6 it is a zip archive of
// NAME/data.pkl and the storages NAME/data/KEY, which are not compressed. Before that it was a row of pickles (a
// magic number, a version, the machine, the checkpoint, the storages' keys) and then, for each key, a count of eight
// bytes and the numbers.

const (
	pthMagic = "119547037146038801333356" // 0x1950a86a20f9469cfc6c
	// pthExpansion is how many times a file's size its tensors or its inflated entries may have, beside
	// pthAllowance: tensors may share a storage or repeat a value by a stride of 0, which would make a few bytes
	// ask for any memory.
	pthExpansion = 16
	pthAllowance = 1 << 20
)

// pthStorages are the storage classes of package torch, pthDTypes its element types.
var (
	pthStorages = map[string]string{
		"torch.DoubleStorage": "F64", "torch.FloatStorage": "F32", "torch.HalfStorage": "F16", "torch.BFloat16Storage": "BF16",
		"torch.LongStorage": "I64", "torch.IntStorage": "I32", "torch.ShortStorage": "I16", "torch.CharStorage": "I8",
		"torch.ByteStorage": "U8", "torch.BoolStorage": "BOOL",
		"torch.storage.UntypedStorage": "U8", "torch.storage._UntypedStorage": "U8", "torch.UntypedStorage": "U8",
	}
	pthDTypes = map[string]string{
		"torch.float64": "F64", "torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16",
		"torch.float8_e4m3fn": "F8_E4M3", "torch.float8_e5m2": "F8_E5M2",
		"torch.int64": "I64", "torch.int32": "I32", "torch.int16": "I16", "torch.int8": "I8",
		"torch.uint64": "U64", "torch.uint32": "U32", "torch.uint16": "U16", "torch.uint8": "U8", "torch.bool": "BOOL",
	}
	pthNames = func() map[string]int {
		names := map[string]int{
			"torch.storage.TypedStorage": nameRecord, "torch.storage._TypedStorage": nameRecord,
			"torch._utils._rebuild_tensor": nameCall, "torch._utils._rebuild_tensor_v2": nameCall, "torch._utils._rebuild_tensor_v3": nameCall,
			"torch._utils._rebuild_parameter": nameCall, "torch._utils._rebuild_parameter_with_state": nameCall,
			"torch._tensor._rebuild_from_type_v2": nameCall,
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

// Pth is an opened PyTorch checkpoint, as torch.save writes it (.pth, .pt, .bin). Its tensors are those of the
// state dict: see OpenPth. Values are read on demand. Its methods may be called from several goroutines at once if
// the underlying reader allows it, which *os.File does.
type Pth struct {
	r        io.ReaderAt
	closer   io.Closer // nil unless Open opened the file
	label    string
	names    []string
	entries  map[string]*pthTensor
	contents []Content
}

// Content describes what a checkpoint holds beside the tensors.
type Content struct {
	Key     string   // such as "epoch", or "model.KEY" for what is no tensor in the state dict
	Text    string   // a scalar's value, otherwise type and size
	Entries []string // of a dictionary or Namespace such as args: "name=value", up to 1000
}

// pthTensor is a view of a storage.
type pthTensor struct {
	storage *pthStorage
	base    int64 // where its part of the storage begins, in elements
	offset  int64 // from there, in elements
	dtype   string
	shape   []int
	stride  []int
	count   int
}

// pthStorage is a vector of numbers in the file.
type pthStorage struct {
	key   string
	dtype string
	count int64 // elements
	// One of these, once its place is known:
	at    io.ReaderAt // its bytes, or nil
	entry *zip.File   // compressed
	mu    sync.Mutex
}

// pthPart is what a persistent id refers to: a storage, or in old files a part of one.
type pthPart struct {
	*pthStorage
	base, count int64 // elements
}

// OpenPth parses the PyTorch checkpoint of size bytes behind r, of the zip format or the one before, and reads no
// tensor values. If r has a method Name() string, as *os.File has, errors name the file by it.
//
// The tensors are those of the state dict: the entry "model", "state_dict", "model_state_dict" or "module" of the
// checkpoint, the first that is a dictionary of tensors, else the checkpoint itself. A prefix "module." that all keys
// have is removed. Contents lists the rest.
//
// Nothing in the file is ever executed. What is neither a tensor nor a plain value (containers, numbers, strings,
// argparse.Namespace, numpy scalars, paths, torch devices and dtypes) is refused by its name, as are files cut off,
// views that leave their storage and counts that the file cannot hold. Memory use is bounded by a small multiple of
// the pickle actually present.
func OpenPth(r io.ReaderAt, size int64) (*Pth, error) {
	label := "pth"
	if n, ok := r.(interface{ Name() string }); ok {
		label = "pth: " + n.Name()
	}
	return openPth(r, size, label)
}

// isPth tells a checkpoint, or what was meant to be one, by its first bytes.
func isPth(head []byte) bool {
	return bytes.HasPrefix(head, []byte("PK")) || // zip
		len(head) > 1 && head[0] == 0x80 && head[1] <= 5 || // a pickle
		bytes.HasPrefix(head, []byte("L"+pthMagic[:14])) // one of protocol 0
}

func openPth(r io.ReaderAt, size int64, label string) (*Pth, error) {
	f := &Pth{r: r, label: label, entries: map[string]*pthTensor{}}
	fail := func(err error) (*Pth, error) { return nil, fmt.Errorf("%s: %w", label, err) }
	// A wrong size must not make later reads allocate for bytes that are not there.
	var head, last [2]byte
	if size < int64(len(head)) {
		return fail(fmt.Errorf("%d bytes is too short for a PyTorch checkpoint; it may be empty or cut off: fetch or write it again", size))
	}
	err := readFullAt(r, head[:], 0)
	if err == nil {
		err = readFullAt(r, last[:1], size-1)
	}
	if err != nil {
		return fail(err)
	}
	var top any
	storages := map[string]*pthStorage{}
	load := func(id any) (any, error) { return persistentStorage(storages, id, size) }
	if string(head[:]) == "PK" {
		top, err = openPthZip(r, size, storages, load)
	} else {
		top, err = openPthLegacy(r, size, storages, load)
	}
	if err != nil {
		return fail(err)
	}
	if err := f.take(top); err != nil {
		return fail(err)
	}
	limit := size*pthExpansion + pthAllowance
	for _, name := range f.names {
		t := f.entries[name]
		if t.count > 0 && t.storage.at == nil && t.storage.entry == nil {
			return fail(fmt.Errorf("tensor %s: its storage %s is not in the file; it is cut off or damaged: fetch it again", Quote(name), Quote(t.storage.key)))
		}
		if limit -= int64(t.count) * int64(safeSizes[t.dtype]); limit < 0 {
			return fail(fmt.Errorf("tensor %s: with shape %v the tensors are more than %d times as large as the file; save them as .contiguous()", Quote(name), t.shape, pthExpansion))
		}
	}
	return f, nil
}

// openPthZip reads the pickle of a zip archive and finds its storages.
func openPthZip(r io.ReaderAt, size int64, storages map[string]*pthStorage, load func(any) (any, error)) (any, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w; the file is cut off or damaged: fetch it again", err)
	}
	var pickle *zip.File
	entries := make(map[string]*zip.File, len(z.File))
	for _, e := range z.File {
		entries[e.Name] = e
		if _, name, ok := strings.Cut(e.Name, "/"); ok && name == "data.pkl" {
			if pickle != nil {
				return nil, fmt.Errorf("both %s and %s are in the archive; a PyTorch checkpoint has one data.pkl", Quote(pickle.Name), Quote(e.Name))
			}
			pickle = e
		}
	}
	if pickle == nil {
		return nil, errors.New("a zip archive without NAME/data.pkl; it is no PyTorch checkpoint")
	}
	prefix := strings.TrimSuffix(pickle.Name, "data.pkl")
	if entries[prefix+"constants.pkl"] != nil {
		return nil, errors.New("a TorchScript program and no checkpoint; load it in Python with torch.jit.load and save its state_dict()")
	}
	if e := entries[prefix+"byteorder"]; e != nil {
		b, err := zipBytes(r, size, e, 16)
		if err != nil {
			return nil, err
		}
		if string(b) != "little" {
			return nil, fmt.Errorf("byte order %s; save it again on a little-endian machine", Quote(string(b)))
		}
	}
	b, err := zipBytes(r, size, pickle, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	u := newUnpickler(bytes.NewReader(b), int64(len(b)))
	u.names, u.persistent, u.extern = pthNames, load, rebuild
	top, err := u.next()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Quote(pickle.Name), err)
	}
	inflated := size*pthExpansion + pthAllowance
	for _, s := range storages {
		name := prefix + "data/" + s.key
		e := entries[name]
		if e == nil {
			continue // an error only if the state dict needs it
		}
		if want := s.count * int64(safeSizes[s.dtype]); e.UncompressedSize64 < uint64(want) {
			return nil, fmt.Errorf("entry %s has %d bytes, but the checkpoint says %d of %s; it is damaged", Quote(name), e.UncompressedSize64, s.count, s.dtype)
		}
		if e.Method == zip.Store {
			if s.at, err = zipSection(r, size, e); err != nil {
				return nil, err
			}
			continue
		}
		if e.UncompressedSize64 > uint64(inflated) {
			return nil, fmt.Errorf("entry %s: %d bytes in a file of %d; pack it again without compression", Quote(name), e.UncompressedSize64, size)
		}
		inflated -= int64(e.UncompressedSize64)
		s.entry = e
	}
	return top, nil
}

// zipSection returns the bytes of an entry that is not compressed.
func zipSection(r io.ReaderAt, size int64, e *zip.File) (*io.SectionReader, error) {
	off, err := e.DataOffset()
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w; the file is damaged", Quote(e.Name), err)
	}
	if n := e.UncompressedSize64; off > size || n > uint64(size-off) || n != e.CompressedSize64 {
		return nil, fmt.Errorf("entry %s: %d bytes at %d, but the file has %d; it is cut off or damaged: fetch it again", Quote(e.Name), n, off, size)
	}
	return io.NewSectionReader(r, off, int64(e.UncompressedSize64)), nil
}

// zipBytes returns an entry of at most limit bytes.
func zipBytes(r io.ReaderAt, size int64, e *zip.File, limit uint64) ([]byte, error) {
	n := e.UncompressedSize64
	if n > limit || n > uint64(size*pthExpansion+pthAllowance) {
		return nil, fmt.Errorf("entry %s: %d bytes in a file of %d; it is damaged, or pack it again without compression", Quote(e.Name), n, size)
	}
	var from io.Reader
	if e.Method == zip.Store {
		s, err := zipSection(r, size, e)
		if err != nil {
			return nil, err
		}
		from = s
	} else {
		rc, err := e.Open()
		if err != nil {
			return nil, fmt.Errorf("entry %s: %w", Quote(e.Name), err)
		}
		defer rc.Close()
		from = rc
	}
	b := make([]byte, n)
	_, err := io.ReadFull(from, b)
	if err == nil {
		// The end is where the checksum is compared, and there may be no more.
		if k, e := from.Read(make([]byte, 1)); k != 0 || e != io.EOF {
			err = fmt.Errorf("longer than it says: %w", cmpErr(e, "%d bytes more", k))
		}
	}
	if err == nil && crc32.ChecksumIEEE(b) != e.CRC32 && e.CRC32 != 0 {
		err = zip.ErrChecksum
	}
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w; the file is damaged: fetch it again", Quote(e.Name), err)
	}
	return b, nil
}

// openPthLegacy reads the pickles of the format before PyTorch 1.6 and finds the storages behind them.
func openPthLegacy(r io.ReaderAt, size int64, storages map[string]*pthStorage, load func(any) (any, error)) (any, error) {
	u := newUnpickler(io.NewSectionReader(r, 0, size), size)
	magic, err := u.next()
	if err != nil {
		return nil, err
	}
	if m, ok := magic.(*big.Int); !ok || m.String() != pthMagic {
		return nil, errors.New("a pickle, but not one of torch.save; load it in Python and save it with torch.save")
	}
	version, err := u.next()
	if err != nil {
		return nil, err
	}
	if version != any(int64(1001)) {
		return nil, fmt.Errorf("protocol version %s, want 1001; save it again with a newer PyTorch", pickleText(version))
	}
	machine, err := u.next()
	if err != nil {
		return nil, err
	}
	if d, ok := machine.(*pyDict); ok {
		if little, ok := d.get("little_endian"); ok && little != any(true) {
			return nil, errors.New("big-endian; save it again on a little-endian machine")
		}
	}
	u.names, u.persistent, u.extern = pthNames, load, rebuild
	top, err := u.next()
	if err != nil {
		return nil, err
	}
	u.names, u.persistent, u.extern = nil, nil, nil
	keys, err := u.next()
	if err != nil {
		return nil, err
	}
	list, ok := keys.(*pyList)
	if !ok {
		return nil, fmt.Errorf("a %s where the list of storages stands; the file is damaged", pickleText(keys))
	}
	at := u.pos
	for _, k := range list.items {
		key, _ := k.(string)
		s := storages[key]
		switch {
		case s == nil:
			return nil, fmt.Errorf("storage %s belongs to no tensor; the file is damaged", pickleText(k))
		case s.at != nil:
			return nil, fmt.Errorf("storage %s is listed twice; the file is damaged", Quote(key))
		}
		var b [8]byte
		if size-at < 8 {
			return nil, fmt.Errorf("storage %s: the file ends before it; fetch it again", Quote(key))
		}
		if err := readFullAt(r, b[:], at); err != nil {
			return nil, err
		}
		at += 8
		width := int64(safeSizes[s.dtype])
		n := int64(binary.LittleEndian.Uint64(b[:]))
		switch {
		case n < 0 || n > (size-at)/width:
			return nil, fmt.Errorf("storage %s: %d values of %s, but only %d bytes follow; the file is cut off: fetch it again", Quote(key), n, s.dtype, size-at)
		case n != s.count:
			return nil, fmt.Errorf("storage %s: %d values, but the checkpoint says %d; the file is damaged", Quote(key), n, s.count)
		}
		s.at = io.NewSectionReader(r, at, n*width)
		at += n * width
	}
	return top, nil
}

// persistentStorage returns what a persistent id names: ("storage", class, key, device, elements), with a view
// (key, offset, elements) or None behind it in the old format.
func persistentStorage(storages map[string]*pthStorage, id any, size int64) (any, error) {
	parts := sequence(id)
	if len(parts) < 5 || parts[0] != any("storage") {
		return nil, errors.New("a persistent id that is no storage; the file is damaged")
	}
	class, _ := parts[1].(pyName)
	dtype := pthStorages[string(class)]
	key, ok := parts[2].(string)
	count, ok2 := parts[4].(int64)
	if dtype == "" || !ok || !ok2 || count < 0 || count > (size*pthExpansion+pthAllowance)/int64(safeSizes[dtype]) {
		return nil, fmt.Errorf("storage %s: %s elements of %s in a file of %d bytes; it is cut off or damaged", Quote(key), pickleText(parts[4]), pickleText(parts[1]), size)
	}
	s := storages[key]
	if s == nil {
		s = &pthStorage{key: key, dtype: dtype, count: count}
		storages[key] = s
	}
	if s.dtype != dtype || s.count != count {
		return nil, fmt.Errorf("storage %s: %d of %s and also %d of %s; the file is damaged", Quote(key), s.count, s.dtype, count, dtype)
	}
	part := pthPart{s, 0, count}
	if len(parts) > 5 && parts[5] != nil {
		view := sequence(parts[5])
		if len(view) != 3 {
			return nil, fmt.Errorf("storage %s: a view that is none; the file is damaged", Quote(key))
		}
		from, ok := view[1].(int64)
		n, ok2 := view[2].(int64)
		if !ok || !ok2 || from < 0 || n < 0 || from > count || n > count-from {
			return nil, fmt.Errorf("storage %s: a view of %s elements at %s leaves its %d; the file is damaged", Quote(key), pickleText(view[2]), pickleText(view[1]), count)
		}
		part.base, part.count = from, n
	}
	return part, nil
}

// rebuild makes a tensor as torch._utils does.
func rebuild(name string, args []any) (any, error) {
	_, name, _ = strings.Cut(name, "._") // of the module _utils or _tensor
	_, name, _ = strings.Cut(name, ".")
	switch name {
	case "_rebuild_from_type_v2": // function, class, its arguments, state
		if len(args) == 4 {
			f, ok := args[0].(pyName)
			if inner, ok2 := args[2].(*pyTuple); ok && ok2 && strings.HasPrefix(string(f), "torch._utils._rebuild_") {
				return rebuild(string(f), inner.items)
			}
		}
		return nil, errors.New("_rebuild_from_type_v2 of no tensor; save the state_dict")
	case "_rebuild_parameter", "_rebuild_parameter_with_state":
		if len(args) > 0 {
			if t, ok := args[0].(*pthTensor); ok {
				return t, nil
			}
		}
		return nil, fmt.Errorf("%s of no tensor; the file is damaged", name)
	}
	// storage, offset, shape, strides; v3 has the dtype as seventh, where the storage is of bytes.
	if len(args) < 4 {
		return nil, fmt.Errorf("%s of %d arguments; the file is damaged", name, len(args))
	}
	part, ok := args[0].(pthPart)
	offset, ok2 := args[1].(int64)
	if !ok || !ok2 || offset < 0 {
		return nil, fmt.Errorf("%s of a %s at %s; the file is damaged", name, pickleText(args[0]), pickleText(args[1]))
	}
	t := &pthTensor{storage: part.pthStorage, base: part.base, offset: offset, dtype: part.dtype}
	elements := part.count
	if name == "_rebuild_tensor_v3" && len(args) > 6 {
		dtype, _ := args[6].(pyName)
		if t.dtype = pthDTypes[string(dtype)]; t.dtype == "" {
			return nil, fmt.Errorf("tensors of %s are not supported; save it as torch.float32", pickleText(args[6]))
		}
		elements = elements * int64(safeSizes[part.dtype]) / int64(safeSizes[t.dtype])
	}
	var err error
	if t.shape, err = pthInts("shape", args[2]); err != nil {
		return nil, err
	}
	if t.stride, err = pthInts("strides", args[3]); err != nil {
		return nil, err
	}
	if len(t.shape) != len(t.stride) {
		return nil, fmt.Errorf("shape %v with strides %v; the file is damaged", t.shape, t.stride)
	}
	if t.count, ok = elementsOf(t.shape); !ok {
		return nil, fmt.Errorf("shape %v: its size overflows", t.shape)
	}
	if t.count == 0 {
		return t, nil
	}
	end := offset // index of the last element
	for i, d := range t.shape {
		if s := int64(t.stride[i]); d > 1 && s > 0 {
			if int64(d-1) > (elements-min(end, elements))/s {
				end = elements
				break
			}
			end += int64(d-1) * s
		}
	}
	if end >= elements {
		return nil, fmt.Errorf("shape %v with strides %v at %d leaves its storage %s of %d elements; the file is damaged", t.shape, t.stride, offset, Quote(part.key), elements)
	}
	return t, nil
}

// elementsOf is elements for a tensor whose bytes must have a number too.
func elementsOf(shape []int) (int, bool) {
	n, ok := elements(shape)
	return n, ok && int64(n) <= math.MaxInt64/8
}

// pthInts returns a shape or strides.
func pthInts(what string, v any) ([]int, error) {
	items := sequence(v)
	if _, ok := v.(*pyTuple); !ok || len(items) > maxSafeRank {
		return nil, fmt.Errorf("%s %s, want a tuple of at most %d numbers; the file is damaged", what, pickleText(v), maxSafeRank)
	}
	list := make([]int, len(items))
	for i, item := range items {
		n, ok := item.(int64)
		if !ok || n < 0 || n > math.MaxInt {
			return nil, fmt.Errorf("%s %s, want numbers of 0 or more; the file is damaged", what, pickleText(v))
		}
		list[i] = int(n)
	}
	return list, nil
}

// take finds the state dict and describes the rest.
func (f *Pth) take(top any) error {
	all, ok := top.(*pyDict)
	if !ok {
		return fmt.Errorf("holds a %s; want a dictionary of tensors, or one with such a dictionary as \"model\"", pickleText(top))
	}
	model, key := (*pyDict)(nil), ""
	for _, k := range []string{"model", "state_dict", "model_state_dict", "module"} {
		v, _ := all.get(k)
		if d, ok := v.(*pyDict); ok && (d.hasTensor() || len(d.keys) == 0 && !all.hasTensor()) {
			model, key = d, k
			break
		}
	}
	if model == nil && (all.hasTensor() || len(all.keys) == 0) {
		model = all
	}
	if model == nil {
		return fmt.Errorf("no state dict among its keys %s; want \"model\", \"state_dict\", \"model_state_dict\" or \"module\"", pickleText(&pyList{all.keys}))
	}
	for i, k := range model.keys {
		name, isString := k.(string)
		if t, ok := model.values[i].(*pthTensor); ok {
			switch {
			case !isString:
				return fmt.Errorf("key %s of the state dict is no string; it is no state dict", pickleText(k))
			case f.entries[name] != nil:
				return fmt.Errorf("tensor %s is given twice; the file is damaged", Quote(name))
			}
			f.names = append(f.names, name)
			f.entries[name] = t
			continue
		}
		if key != "" {
			name = key + "." + name
		}
		if !isString {
			name += pickleText(k)
		}
		f.contents = append(f.contents, describe(name, model.values[i]))
	}
	if key != "" {
		for i, k := range all.keys {
			if k != any(key) {
				name, ok := k.(string)
				if !ok {
					name = pickleText(k)
				}
				f.contents = append(f.contents, describe(name, all.values[i]))
			}
		}
	}
	const wrapped = "module." // by torch.nn.DataParallel
	if len(f.names) > 0 && !slices.ContainsFunc(f.names, func(s string) bool { return !strings.HasPrefix(s, wrapped) }) {
		entries := make(map[string]*pthTensor, len(f.names))
		for i, name := range f.names {
			f.names[i] = name[len(wrapped):]
			entries[f.names[i]] = f.entries[name]
		}
		f.entries = entries
	}
	return nil
}

func (d *pyDict) hasTensor() bool {
	return slices.ContainsFunc(d.values, func(v any) bool { _, ok := v.(*pthTensor); return ok })
}

func describe(key string, v any) Content {
	c := Content{Key: key, Text: pickleText(v)}
	if o, ok := v.(*pyObject); ok {
		v = o.state
	}
	if d, ok := v.(*pyDict); ok {
		const most = 1000
		for i := range d.keys[:min(len(d.keys), most)] {
			name, ok := d.keys[i].(string)
			if !ok {
				name = pickleText(d.keys[i])
			}
			c.Entries = append(c.Entries, name+"="+pickleText(d.values[i]))
		}
	}
	return c
}

// Label is how errors call the file: "pth: " and its name.
func (f *Pth) Label() string { return f.label }

// Close closes the file if Open or OpenFS opened it, and does nothing otherwise.
func (f *Pth) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// Names returns the names of the state dict's tensors in its order. The slice is the caller's.
func (f *Pth) Names() []string { return slices.Clone(f.names) }

// Contents describes what the checkpoint holds beside its tensors, in its order. The slice is the caller's.
func (f *Pth) Contents() []Content { return slices.Clone(f.contents) }

// Shape returns the shape of a tensor, empty for a scalar, and whether the state dict has the tensor. The slice is
// the caller's.
func (f *Pth) Shape(name string) ([]int, bool) {
	t, ok := f.entries[name]
	if !ok {
		return nil, false
	}
	return append([]int{}, t.shape...), true
}

// DType returns the name that safetensors has for a tensor's element type ("F32", "I64", …), "" if the state dict
// lacks the tensor.
func (f *Pth) DType(name string) string {
	if t := f.entries[name]; t != nil {
		return t.dtype
	}
	return ""
}

// Float32 reads a floating-point tensor in row-major order: see Safetensors.Float32.
func (f *Pth) Float32(name string) ([]float32, error) { return f.values(name).newFloat32() }

// ReadFloat32 is Float32 into dst, whose length must be the tensor's element count. After an error dst may be partly
// written.
func (f *Pth) ReadFloat32(name string, dst []float32) error { return f.values(name).float32(dst) }

// Float64 reads a floating-point tensor in row-major order: see Safetensors.Float64.
func (f *Pth) Float64(name string) ([]float64, error) { return f.values(name).float64() }

// Int64 reads an integer or boolean tensor in row-major order: see Safetensors.Int64.
func (f *Pth) Int64(name string) ([]int64, error) { return f.values(name).int64() }

func (f *Pth) values(name string) tensorValues {
	t := f.entries[name]
	if t == nil {
		return tensorValues{label: f.label, name: name}
	}
	return tensorValues{f.label, name, t.dtype, t.shape, t.count, t.bytes}
}

// bytes calls convert for the tensor's values in row-major order, whatever its strides: see tensorValues.
func (t *pthTensor) bytes(convert func(i int, b []byte) error) error {
	if t.count == 0 {
		return nil
	}
	r, err := t.storage.open()
	if err != nil {
		return err
	}
	width := safeSizes[t.dtype]
	begin := t.base*int64(safeSizes[t.storage.dtype]) + t.offset*int64(width)
	last, contiguous, step := int64(0), true, 1
	for i := len(t.shape) - 1; i >= 0; i-- {
		if t.shape[i] > 1 {
			contiguous = contiguous && t.stride[i] == step
			last += int64(t.shape[i]-1) * int64(t.stride[i])
			step *= t.shape[i]
		}
	}
	if contiguous {
		return chunks(r, begin, begin+int64(t.count)*int64(width), width, convert)
	}
	// Read all that lies between its values at once, unless that is most of what would be read.
	var span []byte
	if n := (last + 1) * int64(width); n <= 16*int64(t.count)*int64(width)+1<<16 {
		span = make([]byte, n)
		if err := readFullAt(r, span, begin); err != nil {
			return err
		}
	}
	at, index := int64(0), make([]int, len(t.shape))
	buf := make([]byte, 0, min(safeChunk, t.count*width))
	for i := 0; i < t.count; {
		buf = buf[:0]
		first := i
		for ; i < t.count && len(buf)+width <= cap(buf); i++ {
			n := len(buf)
			buf = buf[:n+width]
			if span != nil {
				copy(buf[n:], span[at*int64(width):][:width])
			} else if err := readFullAt(r, buf[n:], begin+at*int64(width)); err != nil {
				return err
			}
			for k := len(index) - 1; k >= 0; k-- { // the next in row-major order
				index[k]++
				at += int64(t.stride[k])
				if index[k] < t.shape[k] {
					break
				}
				at -= int64(index[k]) * int64(t.stride[k])
				index[k] = 0
			}
		}
		if err := convert(first, buf); err != nil {
			return err
		}
	}
	return nil
}

// open returns the storage's bytes, inflated at the first call where they are compressed.
func (s *pthStorage) open() (io.ReaderAt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		rc, err := s.entry.Open()
		if err != nil {
			return nil, err
		}
		defer rc.Close()
		b := make([]byte, s.entry.UncompressedSize64)
		if _, err := io.ReadFull(rc, b); err != nil {
			return nil, err
		}
		if _, err := rc.Read(make([]byte, 1)); err != io.EOF { // where the checksum is compared
			return nil, cmpErr(err, "longer than it says")
		}
		s.at = bytes.NewReader(b)
	}
	return s.at, nil
}

// WritePth streams tensors to w as a PyTorch checkpoint of the zip format, in the order given: torch.load returns
// {"model": OrderedDict of tensors}, also with weights_only=True. The same tensors give the same bytes. Numbers start at
// multiples of 64 bytes, as torch.save has them. Nothing is written before every name, shape and type has been checked.
//
// Use it inside WriteFileAtomic to write a file.
func WritePth(w io.Writer, tensors []Tensor) error {
	if err := checkTensors(tensors); err != nil {
		return fmt.Errorf("pth: %w", err)
	}
	out := &countingWriter{w: w}
	z := zip.NewWriter(out)
	entry := func(name string, size int64, write func(io.Writer) error) error {
		// Sizes and checksum stand before the numbers, where readers that map a file want them.
		sum := crc32.NewIEEE()
		if err := write(sum); err != nil {
			return err
		}
		if err := z.Flush(); err != nil {
			return err
		}
		h := &zip.FileHeader{Name: "archive/" + name, Method: zip.Store, CRC32: sum.Sum32(), CompressedSize64: uint64(size), UncompressedSize64: uint64(size)}
		const localHeader, align = 30, 64
		pad := -(out.n + localHeader + int64(len(h.Name)) + 4) & (align - 1)
		h.Extra = append([]byte{'F', 'B', byte(pad), 0}, bytes.Repeat([]byte{'Z'}, int(pad))...)
		e, err := z.CreateRaw(h)
		if err != nil {
			return err
		}
		return write(e)
	}
	text := func(name string, b []byte) error {
		return entry(name, int64(len(b)), func(w io.Writer) error { _, err := w.Write(b); return err })
	}
	err := text("data.pkl", pthPickle(tensors))
	if err == nil {
		err = text("byteorder", []byte("little"))
	}
	buf := make([]byte, safeChunk)
	for i, t := range tensors {
		if err != nil {
			break
		}
		dtype, n := safeTypeOf(t.Data)
		err = entry(fmt.Sprintf("data/%d", i), int64(n)*int64(safeSizes[dtype]), func(w io.Writer) error { return writeSafeData(w, buf, t.Data) })
		if err != nil {
			err = fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	if err == nil {
		err = text("version", []byte("3\n"))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return fmt.Errorf("pth: writing: %w", err)
	}
	return nil
}

// countingWriter knows how many bytes it has written.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// pthPickle is the pickle of {"model": OrderedDict([(name, tensor), …])} in protocol 2. Tensor i is all of storage i.
func pthPickle(tensors []Tensor) []byte {
	b := []byte("\x80\x02}")
	str := func(s string) {
		b = binary.LittleEndian.AppendUint32(append(b, 'X'), uint32(len(s)))
		b = append(b, s...)
	}
	num := func(n int) {
		if n <= math.MaxInt32 {
			b = binary.LittleEndian.AppendUint32(append(b, 'J'), uint32(n))
			return
		}
		b = binary.LittleEndian.AppendUint64(append(b, 0x8a, 8), uint64(n))
	}
	const orderedDict = "ccollections\nOrderedDict\n)R"
	str("model")
	b = append(b, orderedDict+"("...)
	for i, t := range tensors {
		dtype, n := safeTypeOf(t.Data)
		class := map[string]string{"F32": "FloatStorage", "F64": "DoubleStorage", "I64": "LongStorage", "U8": "ByteStorage"}[dtype]
		str(t.Name)
		b = append(b, "ctorch._utils\n_rebuild_tensor_v2\n(("...)
		str("storage")
		b = append(b, "ctorch\n"+class+"\n"...)
		str(fmt.Sprint(i))
		str("cpu")
		num(n)
		b = append(b, "tQ"...)
		num(0) // offset
		b = append(b, '(')
		for _, d := range t.Shape {
			num(d)
		}
		b = append(b, "t("...)
		for k := range t.Shape {
			stride := 1
			for _, d := range t.Shape[k+1:] {
				stride *= max(d, 1)
			}
			num(stride)
		}
		b = append(b, "t\x89"+orderedDict+"tR"...) // needs no gradient, has no hooks
	}
	return append(b, "us."...)
}
