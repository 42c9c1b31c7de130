package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gomae/gomae/multimae/train"
	"github.com/gomae/gomae/multimae/train/mpi"
)

// together calls do, which trains, as one of the ranks that an MPI launcher started, if the flags ask
// for that. Rank 0 is the one that says how it goes; the others only say how they end all.
func (e *env) together(f *runFlags, do func() error) error {
	processes, launcher := mpi.Launched()
	if !f.mpi {
		if f.mpiLib != "" {
			return usagef("-mpi-lib %s: it has no effect without -mpi", f.mpiLib)
		}
		if f.mpiBFloat16 {
			return usagef("-mpi-bfloat16: it has no effect without -mpi")
		}
		if processes > 1 {
			return usagef("%s started %d processes, which would all train in %s; add -mpi, and they train one model together", launcher, processes, quote(f.out))
		}
		return do()
	}
	stderr := e.stderr
	name := "this rank"
	w, err := mpi.Start(mpi.Options{Lib: f.mpiLib, Lost: func(err error) {
		fmt.Fprintf(stderr, "%s: %v; go on with -resume\n", name, err)
	}})
	if err != nil {
		return fmt.Errorf("-mpi: %w", err)
	}
	rank := w.Rank()
	name = fmt.Sprintf("rank %d on %s", rank, w.Host(rank))
	f.ranks, f.build = w, build()
	if w.Size() == 1 {
		e.logf("one rank, by %s: start more with \"mpirun -n R gomae …\"", w.Library())
	} else {
		// Launchers say how a process died, and know it by its number only.
		e.logf("rank %d of %d: process %d on %s", rank, w.Size(), os.Getpid(), w.Host(rank))
		if f.workers == 0 {
			f.workers = shareOfCores(w)
		}
	}
	if rank == 0 && w.Size() > 1 {
		e.logf("%d ranks by %s, each on %s", w.Size(), w.Library(), count(f.workers, "core"))
	}
	if rank > 0 {
		e.stdout, e.stderr = io.Discard, io.Discard
		f.watch, f.cpuProfile, f.memProfile = watchFlags{}, "", "" // one rank shows the run, and ranks may share a folder
	}
	err = do()
	// Close waits for the other ranks. A rank that left it to end would end them, while rank 0 saves.
	switch {
	case err == nil:
		return e.save(w.Close)
	case w.Size() == 1:
		w.Close()
		return err
	case everywhere(err):
		if rank == 0 && !errors.Is(err, errReported) {
			fmt.Fprintf(stderr, "gomae: %v\n", err)
		}
		e.save(w.Close)
		return errReported
	}
	if rank > 0 { // often all have the same error, and one message is enough
		time.Sleep(time.Second / 2)
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	code := 1
	if errors.As(err, new(*usageError)) {
		code = 2
	}
	w.Abort(code)
	return errReported
}

// everywhere reports whether all ranks have an error, and so end by themselves.
func everywhere(err error) bool {
	return errors.Is(err, errReported) || errors.Is(err, train.ErrDiffer) ||
		errors.As(err, new(*train.RankError)) || errors.As(err, new(*train.DivergedError))
}

// shareOfCores returns how many cores a rank takes that shares its host with others. A launcher may
// have bound it to some cores already.
func shareOfCores(w *mpi.World) int {
	own, local := w.Host(w.Rank()), 0
	for r := range w.Size() {
		if w.Host(r) == own {
			local++
		}
	}
	return max(1, min(runtime.GOMAXPROCS(0), cores()/local))
}

// cores returns the number of cores of the machine, whatever this process may use of them.
func cores() int {
	b, err := os.ReadFile("/sys/devices/system/cpu/online") // such as 0-3,8-11
	if err != nil {
		return runtime.NumCPU()
	}
	n := 0
	for _, span := range strings.Split(strings.TrimSpace(string(b)), ",") {
		from, to, found := strings.Cut(span, "-")
		if !found {
			to = from
		}
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || b < a {
			return runtime.NumCPU()
		}
		n += b - a + 1
	}
	return n
}

// build tells programs apart, also those that were built from changed files.
func build() string {
	name := version() + ", " + runtime.Version()
	path, err := os.Executable()
	if err != nil {
		return name
	}
	file, err := os.Open(path)
	if err != nil {
		return name
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return name
	}
	return fmt.Sprintf("%s, checksum %x", name, h.Sum(nil)[:6])
}
