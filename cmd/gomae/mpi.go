package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime"
	"slices"
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
		var share int // asked for also by a rank that has -workers, because the others wait for it
		if share, err = shareOfCores(w, w.Host(rank)+" "+allowedCores()); f.workers == 0 {
			f.workers = share
		}
	}
	if rank == 0 && w.Size() > 1 {
		e.logf("%d ranks by %s, each on %s", w.Size(), w.Library(), count(f.workers, "core"))
	}
	if rank > 0 {
		e.stdout, e.stderr = io.Discard, io.Discard
		f.watch, f.cpuProfile, f.memProfile = watchFlags{}, "", "" // one rank shows the run, and ranks may share a folder
	}
	if err == nil {
		err = do()
	}
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

// shareOfCores returns how many cores this rank takes: an equal share of those that it may use, if
// other ranks may use the same ones. A launcher may also have bound each rank to cores of its own.
// place names the host and these cores. All ranks call it.
func shareOfCores(ranks train.Ranks, place string) (int, error) {
	sum := crc32.ChecksumIEEE([]byte(place))
	all := make([]float32, 2*ranks.Size()) // two numbers a rank, for float32 has all integers to 2^24 only
	own := all[2*ranks.Rank():][:2]
	own[0], own[1] = float32(sum>>16), float32(sum&0xffff)
	if err := ranks.Sum(context.Background(), all); err != nil {
		return 0, err
	}
	sharers := 0
	for pair := range slices.Chunk(all, 2) {
		if slices.Equal(pair, own) {
			sharers++
		}
	}
	// Go lowers GOMAXPROCS to the limit of a container, which its ranks share. Who sets it means each rank.
	n := runtime.GOMAXPROCS(0) / sharers
	if os.Getenv("GOMAXPROCS") != "" {
		n = min(runtime.GOMAXPROCS(0), runtime.NumCPU()/sharers)
	}
	return max(1, n), nil
}

// allowedCores lists the cores that this process may use, such as 0-3,8-11; "" if the system does not say.
func allowedCores() string {
	b, _ := os.ReadFile("/proc/self/status")
	_, after, _ := strings.Cut(string(b), "\nCpus_allowed_list:")
	list, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(list)
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
