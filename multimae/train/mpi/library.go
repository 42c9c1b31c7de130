//go:build linux && !android && (amd64 || arm64) && !nompi

package mpi

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"
)

// handle holds a request of the library: a pointer, or with MPICH an int.
type handle uint64

// library is an open MPI library: its functions, and the constants that differ between the three
// binary interfaces.
type library struct {
	path    string
	opened  uintptr // of Dlopen
	version string  // the first line of what it says about itself
	f       map[string]uintptr

	world, float, errorsReturn uintptr
	funneled                   uintptr

	// What short calls write to. It is here because variables of a function may be on the stack,
	// which Go moves.
	text   [1 << 14]byte // more than any library's MPI_MAX_LIBRARY_VERSION_STRING
	ints   [2]int32
	status [64]byte // more than any library's MPI_Status
}

// functions are those that the package calls.
var functions = []string{
	"MPI_Get_library_version", "MPI_Initialized", "MPI_Init_thread", "MPI_Comm_set_errhandler", "MPI_Comm_rank", "MPI_Comm_size",
	"MPI_Iallgather", "MPI_Ialltoallv", "MPI_Ibarrier", "MPI_Isend", "MPI_Irecv", "MPI_Test",
	"MPI_Error_string", "MPI_Abort", "MPI_Finalize",
}

// names returns what libraries to try, in order. Those beside the launcher come first: a library that
// is not the launcher's own sees a world of one rank.
func names() []string {
	files := []string{"libmpi_abi.so.1", "libmpi.so.12", "libmpich.so.12", "libmpi.so.40"}
	if os.Getenv("OMPI_COMM_WORLD_SIZE") != "" {
		files = append([]string{"libmpi.so.40"}, files[:3]...)
	}
	var list []string
	parent, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", os.Getppid()))
	run, _ := exec.LookPath("mpirun")
	for _, launcher := range []string{parent, run} {
		if launcher == "" {
			continue
		}
		lib := filepath.Join(filepath.Dir(filepath.Dir(launcher)), "lib")
		for _, f := range files {
			if _, err := os.Stat(filepath.Join(lib, f)); err == nil {
				list = append(list, filepath.Join(lib, f))
			}
		}
	}
	return append(list, files...)
}

// open opens the library at path, or the first one that there is.
func open(path string) (*library, error) {
	try := []string{path}
	if path == "" {
		try = names()
	} else if _, err := os.Stat(path); err == nil && filepath.Base(path) == path {
		try = append(try, "./"+path) // the system looks for a name without a slash in its own folders only
	}
	var errs []error
	for _, name := range try {
		// Global, for the plug-ins of Open MPI look for its symbols.
		h, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_GLOBAL)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		lib, err := bind(name, h)
		if err == nil {
			return lib, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no MPI library can be opened: %w", errors.Join(errs...))
}

// bind finds functions and constants.
func bind(path string, h uintptr) (*library, error) {
	lib := &library{path: path, opened: h, f: map[string]uintptr{}}
	for _, name := range functions {
		p, err := purego.Dlsym(h, name)
		if err != nil {
			return nil, fmt.Errorf("%s is no MPI library: %w", path, err)
		}
		lib.f[name] = p
	}
	lib.call("MPI_Get_library_version", address(lib.text[:]), address(lib.ints[:]))
	about := cString(lib.text[:])
	lib.version = strings.Join(strings.Fields(strings.SplitN(about, "\n", 2)[0]), " ")
	switch {
	case strings.HasPrefix(about, "Open MPI"):
		for name, to := range map[string]*uintptr{
			"ompi_mpi_comm_world": &lib.world, "ompi_mpi_float": &lib.float, "ompi_mpi_errors_return": &lib.errorsReturn,
		} {
			p, err := purego.Dlsym(h, name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			*to = p
		}
		lib.funneled = 1
		// Its handlers of signals would take the place of Go's.
		if setenv, err := purego.Dlsym(h, "setenv"); err == nil {
			key := append(lib.text[:0], "OMPI_MCA_opal_signal\x00\x00"...)
			purego.SyscallN(setenv, address(key), address(key[len(key)-1:]), 1)
		}
	case lib.standard(h):
		lib.world, lib.float, lib.errorsReturn, lib.funneled = 0x101, 0x210, 0x143, 1024
	case slices.ContainsFunc([]string{"MPICH", "Intel", "MVAPICH", "CRAY"}, func(maker string) bool {
		return strings.HasPrefix(strings.ToUpper(about), strings.ToUpper(maker))
	}):
		lib.world, lib.float, lib.errorsReturn, lib.funneled = 0x44000000, 0x4c00040a, 0x54000001, 1
	default:
		return nil, fmt.Errorf("%s: its binary interface is not known: it says that it is %q", path, lib.version)
	}
	return lib, nil
}

// standard reports whether the library has the standard ABI: one that has not either lacks the
// function that would say so, or says version −1.
func (lib *library) standard(h uintptr) bool {
	f, err := purego.Dlsym(h, "MPI_Abi_get_version")
	if err != nil {
		return false
	}
	version := lib.ints[:]
	r, _, _ := purego.SyscallN(f, address(version), address(version[1:]))
	return int32(r) == 0 && version[0] >= 1
}

// serve owns the library. All of its functions are called from here.
func (w *World) serve(started chan<- error) {
	runtime.LockOSThread()
	// A thread that began as Go's must not end here: some C libraries do not survive that.
	defer runtime.UnlockOSThread()
	err := w.join()
	started <- err
	if err != nil {
		return
	}
	ticks := time.NewTicker(between / 4)
	defer ticks.Stop()
	for {
		select {
		case c := <-w.calls:
			c.done <- c.do()
		case <-ticks.C:
			w.beat.tick()
		case <-w.closed:
			return
		}
	}
}

// join opens the library and enters the world.
func (w *World) join() (err error) {
	if w.lib, err = open(w.o.Lib); err != nil {
		return err
	}
	lib := w.lib
	out := lib.ints[:]
	first, second := address(out), address(out[1:])
	lib.call("MPI_Initialized", first)
	if out[0] != 0 {
		return errors.New("MPI has been started in this process already")
	}
	if err := w.failed("MPI_Init_thread", lib.call("MPI_Init_thread", 0, 0, lib.funneled, first)); err != nil {
		return err
	}
	if uintptr(out[0]) < lib.funneled {
		return fmt.Errorf("%s: allows no threads beside the one that calls it (MPI_THREAD_FUNNELED)", lib.path)
	}
	if err := w.failed("MPI_Comm_set_errhandler", lib.call("MPI_Comm_set_errhandler", lib.world, lib.errorsReturn)); err != nil {
		return err
	}
	lib.call("MPI_Comm_rank", lib.world, first)
	lib.call("MPI_Comm_size", lib.world, second)
	w.rank, w.size = int(out[0]), int(out[1])
	for i := range 2 {
		w.counts[i], w.displs[i] = make([]int32, w.size), make([]int32, w.size)
	}
	if n, launcher := Launched(); n > 1 && w.size == 1 {
		return fmt.Errorf("%s started %d processes, but %s (%s) sees only this one: it belongs to another launcher", launcher, n, lib.path, lib.version)
	}
	return nil
}

// pause is time.Sleep for pauses below a millisecond, which that cannot make.
func pause(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&t, nil)
}

func (lib *library) call(name string, args ...uintptr) int32 {
	r, _, _ := purego.SyscallN(lib.f[name], args...)
	return int32(r)
}

// The library writes to what the arguments of the following point to until test says that it has
// ended: the caller keeps it alive.

func (lib *library) iallgather(x, all []float32, req *handle) int32 {
	n := uintptr(len(x))
	return lib.call("MPI_Iallgather", address(x), n, lib.float, address(all), n, lib.float, lib.world, pointer(req))
}

func (lib *library) ialltoallv(x []float32, counts, displs []int32, to []float32, toCounts, toDispls []int32, req *handle) int32 {
	return lib.call("MPI_Ialltoallv", address(x), address(counts), address(displs), lib.float,
		address(to), address(toCounts), address(toDispls), lib.float, lib.world, pointer(req))
}

func (lib *library) ibarrier(req *handle) int32 {
	return lib.call("MPI_Ibarrier", lib.world, pointer(req))
}

func (lib *library) isend(x []float32, to, tag int, req *handle) int32 {
	return lib.call("MPI_Isend", address(x), uintptr(len(x)), lib.float, uintptr(to), uintptr(tag), lib.world, pointer(req))
}

func (lib *library) irecv(x []float32, from, tag int, req *handle) int32 {
	return lib.call("MPI_Irecv", address(x), uintptr(len(x)), lib.float, uintptr(from), uintptr(tag), lib.world, pointer(req))
}

func (lib *library) test(req *handle, flag *int32) int32 {
	return lib.call("MPI_Test", pointer(req), uintptr(unsafe.Pointer(flag)), address(lib.status[:]))
}

func (lib *library) errorString(code int32) string {
	lib.call("MPI_Error_string", uintptr(code), address(lib.text[:]), address(lib.ints[:]))
	return cString(lib.text[:])
}

func (lib *library) abort(code int) { lib.call("MPI_Abort", lib.world, uintptr(code)) }

// finalize leaves the world, and closes the library: MPICH tells its launcher only then, and
// otherwise at the end of a C program, that the process has not died.
func (lib *library) finalize() int32 {
	code := lib.call("MPI_Finalize")
	if code == 0 {
		purego.Dlclose(lib.opened)
	}
	return code
}

func pointer(h *handle) uintptr { return uintptr(unsafe.Pointer(h)) }

func address[T any](s []T) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(s))) }

func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
