//go:build linux && !android && (amd64 || arm64) && !nompi

package mpi

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ebitengine/purego"
)

// The benchmarks are run by a launcher, with as many iterations in all ranks:
//
//	go test -c -o mpi.test ./multimae/train/mpi
//	mpirun -n 2 ./mpi.test -test.run '^$' -test.bench . -test.benchtime 200x

// joined is the world of the benchmarks.
var joined = sync.OnceValues(func() (*World, error) {
	w, err := Start(Options{})
	if err == nil {
		leave = w.Close
	}
	return w, err
})

func benchmark(b *testing.B, sum func(w *World, x []float32) error) {
	if n, _ := Launched(); n < 2 {
		b.Skip("was not started by mpirun")
	}
	w, err := joined()
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{8, 1 << 10, 1 << 14, 1 << 18, 1 << 20, 1 << 22} {
		b.Run(fmt.Sprintf("values=%d/ranks=%d", n, w.Size()), func(b *testing.B) {
			x := make([]float32, n)
			b.SetBytes(int64(4 * n))
			began := cpuTime(b)
			for range b.N {
				if err := sum(w, x); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

func BenchmarkSum(b *testing.B) {
	benchmark(b, func(w *World, x []float32) error { return w.Sum(context.Background(), x) })
}

func BenchmarkSumBFloat16(b *testing.B) {
	benchmark(b, func(w *World, x []float32) error { return w.SumBFloat16(context.Background(), x) })
}

// cpuTime returns how long cores have worked for this process.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAllreduce lets the library add up.
func BenchmarkAllreduce(b *testing.B) {
	benchmark(b, func(w *World, x []float32) error {
		return w.call(func() error {
			lib := w.lib
			if lib.f["MPI_Iallreduce"] == 0 {
				h, err := purego.Dlopen(lib.path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
				if err != nil {
					return err
				}
				lib.f["MPI_Iallreduce"], err = purego.Dlsym(h, "MPI_Iallreduce")
				purego.Dlclose(h) // World.Close unloads the library
				if err != nil {
					return err
				}
			}
			sum, inPlace := uintptr(0x21), uintptr(1)
			switch lib.funneled {
			case 1024: // the standard ABI
			default:
				sum, inPlace = 0x58000003, ^uintptr(0) // MPICH's
			}
			code := lib.call("MPI_Iallreduce", inPlace, address(x), uintptr(len(x)), lib.float, sum, lib.world, pointer(&w.req))
			return w.wait(context.Background(), "MPI_Iallreduce", code)
		})
	})
}
