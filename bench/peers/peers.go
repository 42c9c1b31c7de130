// Package peers is the common part of the programs in its subfolders. Each of them times another
// library on the matrix products of this project's benchmarks and prints what go test -bench prints
// for ours, under the same names:
//
//	go run ./bench/peers/blas -lib onednn     # or openblas
//	go run ./bench/peers/gonum
//	cd bench/peers/gomlx && go run .          # a module of its own
//
// With -turns 61 -seconds 0.03, gomae and the library take turns of milliseconds instead, and their times
// are compared within each: where a machine is slower from one second to the next, that tells apart what
// minutes of measuring do not.
//
// A result is compared with float64 before it is timed. A library that cannot pack weights ahead of
// time is timed as weights=packed nevertheless, because that is what it offers for inference.
// Nothing is downloaded: if a library is missing, its program exits with code 3 and a last line that
// says how to install it.
package peers

import (
	"runtime/debug"
	"time"
)

// Measure computes a layer repeatedly for about d. It returns the number of calls and their total
// time.
type Measure func(d time.Duration) (calls int, took time.Duration, err error)

// perCall returns the number of calls and the mean time of one in nanoseconds.
func (m Measure) perCall(d time.Duration) (calls int, ns float64, err error) {
	calls, took, err := m(d)
	return calls, float64(took.Nanoseconds()) / float64(calls), err
}

// Peer is another library.
type Peer struct {
	Name    string // such as openblas
	Install string // the command that installs it
	GELU    bool   // whether it has linear layers with GELU
	// Start prepares the library for a number of threads. It returns an *AbsentError if the library is
	// not installed.
	Start func(threads int) (Library, error)
}

// Library is a peer at a number of threads.
type Library struct {
	Version, Variant string // Variant may be empty
	// Compute computes a layer once. It returns the result and a function that times it.
	Compute func(l *Layer) (y []float32, m Measure, err error)
	Done    func() error // called after the last Measure of a layer; may be nil
	Close   func() error // may be nil
}

// AbsentError reports that a library cannot be used here.
type AbsentError struct{ Why string }

func (e *AbsentError) Error() string { return e.Why }

// Loop returns the Measure of a function.
func Loop(f func()) Measure {
	return func(d time.Duration) (int, time.Duration, error) {
		start, n := time.Now(), 0
		for n == 0 || time.Since(start) < d {
			f()
			n++
		}
		return n, time.Since(start), nil
	}
}

// Fastest returns the Loop of the function that is fastest in a short trial. There must be one at
// least.
func Fastest(fs ...func()) Measure {
	var fastest func()
	var least time.Duration
	for _, f := range fs {
		f()
		calls, took, _ := Loop(f)(50 * time.Millisecond)
		if mean := took / time.Duration(calls); fastest == nil || mean < least {
			fastest, least = f, mean
		}
	}
	return Loop(fastest)
}

// ModuleVersion returns the version of a module in this build, or "unknown".
func ModuleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == path {
				return d.Version
			}
		}
	}
	return "unknown"
}
