//go:build (darwin || linux || windows) && (amd64 || arm64) && !android && !noonnx

package teacher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/gomae/gomae/internal/regular"
)

// The version of the C API that is asked for, and the oldest release that has it. Functions are only
// ever added at the end of the table, so that any newer release has those of ortAPI at their places.
const (
	apiVersion = 14
	oldestORT  = "1.14"
)

// ortAPI holds the functions of the table OrtApi that are called here. Handles are pointers to what
// only the library knows. A function that can fail returns a status, nil for success.
type ortAPI struct {
	getErrorMessage func(status unsafe.Pointer) string
	releaseStatus   func(status unsafe.Pointer)

	createEnv         func(logLevel int32, id string, env *unsafe.Pointer) unsafe.Pointer
	createMemoryInfo  func(allocatorType, memType int32, info *unsafe.Pointer) unsafe.Pointer
	getAllocator      func(allocator *unsafe.Pointer) unsafe.Pointer
	allocatorFree     func(allocator, p unsafe.Pointer) unsafe.Pointer
	createOptions     func(options *unsafe.Pointer) unsafe.Pointer
	setOptimization   func(options unsafe.Pointer, level int32) unsafe.Pointer
	setIntraOpThreads func(options unsafe.Pointer, n int32) unsafe.Pointer
	setInterOpThreads func(options unsafe.Pointer, n int32) unsafe.Pointer
	releaseOptions    func(options unsafe.Pointer)

	createSession  func(env unsafe.Pointer, path unsafe.Pointer, options unsafe.Pointer, session *unsafe.Pointer) unsafe.Pointer
	releaseSession func(session unsafe.Pointer)
	inputCount     func(session unsafe.Pointer, n *uintptr) unsafe.Pointer
	outputCount    func(session unsafe.Pointer, n *uintptr) unsafe.Pointer
	inputName      func(session unsafe.Pointer, i uintptr, allocator unsafe.Pointer, name *unsafe.Pointer) unsafe.Pointer
	outputName     func(session unsafe.Pointer, i uintptr, allocator unsafe.Pointer, name *unsafe.Pointer) unsafe.Pointer
	inputType      func(session unsafe.Pointer, i uintptr, info *unsafe.Pointer) unsafe.Pointer
	outputType     func(session unsafe.Pointer, i uintptr, info *unsafe.Pointer) unsafe.Pointer
	run            func(session, options unsafe.Pointer, inputNames **byte, inputs *unsafe.Pointer, n uintptr,
		outputNames **byte, m uintptr, outputs *unsafe.Pointer) unsafe.Pointer

	tensorOfType    func(typeInfo unsafe.Pointer, tensorInfo *unsafe.Pointer) unsafe.Pointer
	tensorOfValue   func(value unsafe.Pointer, tensorInfo *unsafe.Pointer) unsafe.Pointer
	elementType     func(tensorInfo unsafe.Pointer, t *int32) unsafe.Pointer
	dimensionCount  func(tensorInfo unsafe.Pointer, n *uintptr) unsafe.Pointer
	dimensions      func(tensorInfo unsafe.Pointer, dims *int64, n uintptr) unsafe.Pointer
	releaseTypeInfo func(typeInfo unsafe.Pointer)
	releaseTensor   func(tensorInfo unsafe.Pointer)

	createTensor func(memory unsafe.Pointer, data *float32, bytes uintptr, dims *int64, n uintptr, elementType int32, value *unsafe.Pointer) unsafe.Pointer
	tensorData   func(value unsafe.Pointer, data *unsafe.Pointer) unsafe.Pointer
	releaseValue func(value unsafe.Pointer)
}

// bind fills the functions from the table, where each has its number.
func (a *ortAPI) bind(table unsafe.Pointer) {
	for _, f := range []struct {
		at int
		f  any
	}{
		{2, &a.getErrorMessage}, {3, &a.createEnv}, {7, &a.createSession}, {9, &a.run},
		{10, &a.createOptions}, {23, &a.setOptimization}, {24, &a.setIntraOpThreads}, {25, &a.setInterOpThreads},
		{30, &a.inputCount}, {31, &a.outputCount}, {33, &a.inputType}, {34, &a.outputType},
		{36, &a.inputName}, {37, &a.outputName}, {49, &a.createTensor}, {51, &a.tensorData},
		{55, &a.tensorOfType}, {60, &a.elementType}, {61, &a.dimensionCount}, {62, &a.dimensions},
		{65, &a.tensorOfValue}, {69, &a.createMemoryInfo}, {76, &a.allocatorFree}, {78, &a.getAllocator},
		{93, &a.releaseStatus}, {95, &a.releaseSession}, {96, &a.releaseValue}, {98, &a.releaseTypeInfo},
		{99, &a.releaseTensor}, {100, &a.releaseOptions},
	} {
		purego.RegisterFunc(f.f, *(*uintptr)(unsafe.Add(table, uintptr(f.at)*unsafe.Sizeof(uintptr(0)))))
	}
}

// ort is a library that has been opened. It stays open until the process ends, because it has
// threads and other state of its own.
type ort struct {
	ortAPI
	version   string
	env       unsafe.Pointer
	memory    unsafe.Pointer // says that tensors are in memory that the caller owns
	allocator unsafe.Pointer // of what the library allocates for the caller
}

var opened struct {
	sync.Mutex
	byPath map[string]*ort
}

// openORT opens the library at path or, where that is "", what the environment variable names or else
// the first that is found.
func openORT(path string) (*ort, error) {
	if path == "" {
		path = os.Getenv(LibraryVariable)
	}
	opened.Lock()
	defer opened.Unlock()
	if o := opened.byPath[path]; o != nil {
		return o, nil
	}
	o, err := loadORT(path)
	if err != nil {
		return nil, err
	}
	if opened.byPath == nil {
		opened.byPath = map[string]*ort{}
	}
	opened.byPath[path] = o
	return o, nil
}

// loadORT loads the library at path or, where that is "", the first of the candidates that can be
// used.
func loadORT(path string) (*ort, error) {
	if path != "" {
		file, err := libraryAt(path)
		if err != nil {
			return nil, err
		}
		return newORT(file)
	}
	var first error
	for _, file := range candidates() {
		o, err := newORT(file)
		if err == nil {
			return o, nil
		}
		absent := errors.Is(err, errNotLoaded) && !strings.ContainsAny(file, `/\`) // the system's loader knows none
		if first == nil && !absent {
			first = err
		}
	}
	if first != nil {
		return nil, first
	}
	return nil, ErrNoRuntime
}

var errNotLoaded = errors.New("cannot be loaded")

// newORT loads the library from a file. Its errors name the file.
func newORT(file string) (*ort, error) {
	lib, err := loadLibrary(file)
	if err != nil {
		return nil, fmt.Errorf("%s %w: %w", file, errNotLoaded, err)
	}
	o, err := bindORT(lib)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return o, nil
}

// bindORT returns the functions of a library that is loaded.
func bindORT(lib uintptr) (*ort, error) {
	base, err := symbol(lib, "OrtGetApiBase")
	if err != nil {
		return nil, errors.New("not ONNX Runtime: it has no function OrtGetApiBase")
	}
	var getBase func() unsafe.Pointer
	purego.RegisterFunc(&getBase, base)
	// OrtApiBase has two functions: GetApi and GetVersionString.
	entries := getBase()
	var getAPI func(version uint32) unsafe.Pointer
	var getVersion func() string
	purego.RegisterFunc(&getAPI, *(*uintptr)(entries))
	purego.RegisterFunc(&getVersion, *(*uintptr)(unsafe.Add(entries, unsafe.Sizeof(uintptr(0)))))
	o := &ort{version: getVersion()}
	var table unsafe.Pointer
	// A library that is too old writes to stderr when it is asked for the table.
	if atLeast(o.version, oldestORT) {
		table = getAPI(apiVersion)
	}
	if table == nil {
		return nil, fmt.Errorf("ONNX Runtime %s is too old, %s or newer is needed: %s --upgrade", o.version, oldestORT, installHint)
	}
	o.bind(table)
	const fatal = 4 // errors are returned as a status; the library need not write them to stderr, too
	if err := o.check(o.createEnv(fatal, "gomae", &o.env)); err != nil {
		return nil, err
	}
	if err := o.check(o.createMemoryInfo(0, 0, &o.memory)); err != nil {
		return nil, err
	}
	return o, o.check(o.getAllocator(&o.allocator))
}

// atLeast compares versions such as "1.14.1" and "1.14".
func atLeast(version, least string) bool {
	return slices.Compare(versionOf(version), versionOf(least)) >= 0
}

// check returns the error of a status, which it releases.
func (o *ort) check(status unsafe.Pointer) error {
	if status == nil {
		return nil
	}
	defer o.releaseStatus(status)
	return errors.New(strings.Join(strings.Fields(o.getErrorMessage(status)), " ")) // in one line
}

// session is a network in ONNX Runtime. Several goroutines may run it at once; each computes alone,
// so that the result does not depend on how many there are.
type session struct {
	o       *ort
	handle  unsafe.Pointer
	ins     []port
	outs    []port
	inName  *byte // of the chosen input and output, as C takes them
	outName *byte
}

// openSession reads a network from an .onnx file.
func openSession(library, file string) (*session, error) {
	f, err := regular.Open(file)
	if err != nil {
		return nil, err
	}
	f.Close()
	o, err := openORT(library)
	if err != nil {
		return nil, err
	}
	var options unsafe.Pointer
	if err := o.check(o.createOptions(&options)); err != nil {
		return nil, err
	}
	defer o.releaseOptions(options)
	const allOptimizations = 99
	for _, status := range []unsafe.Pointer{
		o.setOptimization(options, allOptimizations), o.setIntraOpThreads(options, 1), o.setInterOpThreads(options, 1),
	} {
		if err := o.check(status); err != nil {
			return nil, err
		}
	}
	s := &session{o: o}
	path, err := systemPath(file)
	if err != nil {
		return nil, err
	}
	if err := o.check(o.createSession(o.env, path, options, &s.handle)); err != nil {
		return nil, fmt.Errorf("ONNX Runtime %s cannot read it: %w", o.version, err)
	}
	if s.ins, err = s.ports(o.inputCount, o.inputName, o.inputType); err == nil {
		s.outs, err = s.ports(o.outputCount, o.outputName, o.outputType)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// ports lists the inputs or the outputs of the network.
func (s *session) ports(count func(unsafe.Pointer, *uintptr) unsafe.Pointer,
	name func(unsafe.Pointer, uintptr, unsafe.Pointer, *unsafe.Pointer) unsafe.Pointer,
	info func(unsafe.Pointer, uintptr, *unsafe.Pointer) unsafe.Pointer,
) (list []port, err error) {
	var n uintptr
	if err := s.o.check(count(s.handle, &n)); err != nil {
		return nil, err
	}
	for i := range n {
		var text, t unsafe.Pointer
		if err := s.o.check(name(s.handle, i, s.o.allocator, &text)); err != nil {
			return nil, err
		}
		p := port{name: goString(text)}
		s.o.check(s.o.allocatorFree(s.o.allocator, text))
		if err := s.o.check(info(s.handle, i, &t)); err != nil {
			return nil, err
		}
		var tensor unsafe.Pointer // part of t; nil for what is no tensor
		err := s.o.check(s.o.tensorOfType(t, &tensor))
		if err == nil && tensor != nil {
			p.element, p.shape, err = s.o.shape(tensor)
		}
		s.o.releaseTypeInfo(t)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// shape returns the type and the dimensions of a tensor; -1 stands for one that is free.
func (o *ort) shape(tensor unsafe.Pointer) (element, []int, error) {
	var t int32
	var n uintptr
	err := o.check(o.elementType(tensor, &t))
	if err == nil {
		err = o.check(o.dimensionCount(tensor, &n))
	}
	dims := make([]int64, n)
	if err == nil && n > 0 {
		err = o.check(o.dimensions(tensor, &dims[0], n))
	}
	shape := make([]int, n)
	for i, d := range dims {
		shape[i] = int(d)
	}
	return element(t), shape, err
}

func (s *session) inputs() []port  { return s.ins }
func (s *session) outputs() []port { return s.outs }

// choose says which input and output run uses.
func (s *session) choose(input, output string) {
	s.inName, s.outName = cString(input), cString(output)
}

// run computes the output from x, whose shape is given. The output must be released. A
// network that has been started runs to its end.
func (s *session) run(_ context.Context, x []float32, shape []int) (*output, error) {
	dims := make([]int64, len(shape))
	for i, n := range shape {
		dims[i] = int64(n)
	}
	// The library reads x and dims from Go's memory, which does not move, and the tensor must not
	// outlive it.
	var pinned runtime.Pinner
	pinned.Pin(&x[0])
	defer pinned.Unpin()
	var in, out unsafe.Pointer
	const isFloat = int32(elementFloat32)
	if err := s.o.check(s.o.createTensor(s.o.memory, &x[0], uintptr(4*len(x)), &dims[0], uintptr(len(dims)), isFloat, &in)); err != nil {
		return nil, err
	}
	defer s.o.releaseValue(in)
	if err := s.o.check(s.o.run(s.handle, nil, &s.inName, &in, 1, &s.outName, 1, &out)); err != nil {
		return nil, err
	}
	result, err := s.o.read(out)
	if err != nil {
		s.o.releaseValue(out)
		return nil, err
	}
	return result, nil
}

// read returns the content of a tensor.
func (o *ort) read(value unsafe.Pointer) (*output, error) {
	var info, data unsafe.Pointer
	if err := o.check(o.tensorOfValue(value, &info)); err != nil {
		return nil, err
	}
	t, shape, err := o.shape(info)
	o.releaseTensor(info)
	if err == nil {
		err = o.check(o.tensorData(value, &data))
	}
	if err != nil {
		return nil, err
	}
	n := 1
	for _, d := range shape {
		n *= d
	}
	if n == 0 || data == nil {
		return nil, fmt.Errorf("the output is empty: shape %v", shape)
	}
	out := &output{shape: shape}
	switch t {
	case elementFloat32:
		// The values stay where they are: there may be a hundred megabytes of them.
		out.values = unsafe.Slice((*float32)(data), n)
		out.free = func() { o.releaseValue(value) }
		return out, nil
	case elementInt64:
		out.ids = toInts(unsafe.Slice((*int64)(data), n))
	case elementInt32:
		out.ids = toInts(unsafe.Slice((*int32)(data), n))
	case elementUint8:
		out.ids = toInts(unsafe.Slice((*uint8)(data), n))
	default:
		return nil, fmt.Errorf("the output is of type %v; want float32, or int64, int32 or uint8 for ids", t)
	}
	o.releaseValue(value)
	return out, nil
}

func toInts[T int64 | int32 | uint8](from []T) []int {
	to := make([]int, len(from))
	for i, v := range from {
		to[i] = int(v)
	}
	return to
}

func (s *session) close() {
	if s.handle != nil {
		s.o.releaseSession(s.handle)
		s.handle = nil
	}
}

// cString returns text as C takes it, with a zero at its end.
func cString(text string) *byte { return &append([]byte(text), 0)[0] }

// goString copies a text of C.
func goString(p unsafe.Pointer) string {
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}
